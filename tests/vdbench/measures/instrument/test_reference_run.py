"""The truth that intervals are held against, and coverage itself, where closed forms tell the truth.

Five examples in minibatches of two, linear-Gaussian: every expectation is a finite sum over ten minibatches of the
closed forms in tests/estimators/oracles.py.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import oracles
import pytest

from vdbench import statistics
from vdbench.estimation.options import get, label
from vdbench.measures.context import Context
from vdbench.measures.instrument import reference_run, repeated_variance, series
from vdbench.measures.instrument.evidence import Evidence, Truth
from vdbench.measures.instrument.series import Address, Series
from vdbench.measures.metrics import LookSchedule
from vdbench.measures.registry import load
from vdbench.noise import Key
from vdbench.suite.schema import Suite

PLACE = oracles.random_linear(2015, 5, 2, True)
ORACLES = {"naive": oracles.naive, "local": oracles.local}
SUITE: Suite = load(
    {
        "name": "linear",
        "problems": [{"name": "linear"}],
        "batch_sizes": [2],
        "estimators": list(ORACLES),
        "baseline": "naive",
        "measures": {"variance": {}},
    }
)
UNITS = 128 * 48


@pytest.fixture(scope="module")
def contexts() -> list[Context]:
    problem = PLACE.problem()
    made = (
        Context(problem, PLACE.parameters(), get(name), "", 2, Key(("place",)), {})
        for name in ORACLES
    )
    return [replace(c, label=label(c.estimator)) for c in made]


@pytest.fixture(scope="module")
def closed() -> dict[Address, float]:
    """Every figure's closed form: the law of total variance over the ten minibatches."""
    found: dict[Address, float] = {}
    for name, oracle in ORACLES.items():
        given = [
            oracle(replace(PLACE, x=PLACE.x[list(pair)], y=PLACE.y[list(pair)]))
            for pair in combinations(range(5), 2)
        ]
        for role in ("mean", "scale", "bias"):
            means = np.stack([moments[role][0] for moments in given])
            noise = np.stack([moments[role][1] for moments in given]).mean()
            data, signal = means.var(axis=0).mean(), (means.mean(axis=0) ** 2).mean()
            values = {
                "variance.noise": noise,
                "variance.data": data,
                "variance.total": noise + data,
            }
            values["snr"] = math.sqrt(signal / (noise + data))
            for layer in ("0", "all"):
                found |= {Address(name, m, layer, role, ""): float(v) for m, v in values.items()}
    for address in [a for a in found if a.label == "local" and a.metric[-5:] in ("noise", "total")]:
        one = found[address] / found[address._replace(label="naive")]
        ratio = address._replace(metric=f"ratio.{address.metric}", against="naive")
        pair = Address("naive", f"pairwise.{address.metric}", *address[2:4], "local")
        found |= {ratio: one, pair: 1 / one}
    return found  # fmt: skip


@pytest.fixture(scope="module")
def measured(contexts: list[Context]) -> dict[Address, Truth]:
    """The truth as the suite measures it, from a separate run."""
    tables = {
        c.label: reference_run.rows(c, UNITS // reference_run.PARTS, 0, reference_run.PARTS)
        for c in contexts
    }
    return reference_run.values(SUITE, contexts, tables)


@pytest.mark.long
def test_the_measured_truth_is_the_closed_form(
    closed: dict[Address, float], measured: dict[Address, Truth]
) -> None:
    comparisons = []
    for address, value in closed.items():
        found = measured[address]
        power = 2 if found.root else 1  # the standard error is that of the square
        what, estimate = str(address), float(found.value) ** power
        comparisons.append(oracles.Comparison(what, estimate, found.error, value**power))
    wrong = oracles.alarms(comparisons, 1e-4)
    assert not wrong, "\n".join(wrong)
    assert len(comparisons) == 2 * 3 * 2 * 4 + 2 * 3 * 2 * 2
    assert max(c.error / abs(c.truth) for c in comparisons if "noise" in c.what) < 0.05


@pytest.mark.long
def test_the_errors_of_the_truth_are_those_of_its_rows(
    contexts: list[Context], measured: dict[Address, Truth]
) -> None:
    """The standard error from 128 means of parts is that from all rows, to its own uncertainty."""
    own = contexts[0].at("truth")
    rows = repeated_variance.variance_units.rows(own, 0, UNITS)["0|mean|noise"]
    found = measured[Address("naive", "variance.noise", "0", "mean", "")]
    assert found.value == pytest.approx(rows.mean(), rel=1e-12)
    error = rows.std(ddof=1) / math.sqrt(len(rows))
    # the relative standard error of a standard deviation of 128 values is about 1/√254; four of them
    assert found.error == pytest.approx(error, rel=4 / math.sqrt(254))


@pytest.fixture(scope="module")
def repeated(contexts: list[Context]) -> dict[Address, Series]:
    schedule = LookSchedule(statistics.fine_looks(16, 256), 0.95, 0.4, 16)
    places = [c.at("instrument") for c in contexts]
    return series.read([repeated_variance.rows(SUITE, places, schedule, 0, 100)])


def judged(found: dict[Address, Series], truths: dict[Address, float]) -> Evidence:
    return Evidence(found, {a: Truth(value) for a, value in truths.items()}, 0.95)


@pytest.mark.long
def test_intervals_cover_the_closed_forms(
    repeated: dict[Address, Series], closed: dict[Address, float]
) -> None:
    evidence = judged(repeated, closed)
    assert set(evidence.judged) == set(closed)
    rejected = {a: j for a, j in evidence.judged.items() if j.status != "ok"}
    assert not rejected, rejected
    assert all(j.coarseness == 0 and j.undefined == 0 for j in evidence.judged.values())
    stops = repeated[Address("naive", repeated_variance.STOP, "all", "all", "")]
    assert len(set(stops.n)) > 1, "every run stopped at one look: stopping was not tested"


@pytest.mark.long
def test_intervals_that_are_too_narrow_are_found_out(
    repeated: dict[Address, Series], closed: dict[Address, float]
) -> None:
    """Power: intervals of a quarter of their length are rejected, nearly all of them."""
    narrow = {}
    for address, one in repeated.items():
        low, high = (
            one.value - 0.25 * (one.value - one.low),
            one.value + 0.25 * (one.high - one.value),
        )
        narrow[address] = replace(one, low=low, high=high)
    found = judged(narrow, closed).judged
    rejected = [a for a, j in found.items() if j.status == "rejected"]
    assert len(rejected) > 0.9 * len(found)
