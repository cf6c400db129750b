"""The decomposition of variance and the bias measure, on a problem whose every minibatch can be enumerated.

Five examples in minibatches of two: ten minibatches, each with a closed form for the mean and the variance of the
gradient given it (tests/estimators/oracles.py). So every expectation is a finite sum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import oracles
import pytest
import torch
from oracles import Linear, Oracle, random_linear

from estimators.naive import Naive
from vdbench.errors import CellError
from vdbench.estimation.base import Estimator, Gradient
from vdbench.estimation.draws import Trace
from vdbench.estimation.options import get
from vdbench.measures import bias, few_examples, variance_units
from vdbench.measures.context import Context
from vdbench.noise import Key
from vdbench.problems.priors import GaussianPrior
from vdbench.statistics import ratio_root
from vdbench.statistics.sequential import two_sided
from vdbench.store import Table, concatenate

SIZE = 2
ROLES = ("mean", "scale", "bias")
PLACE = random_linear(2015, 5, 2, True)


def context(estimator: Estimator, together: int | None = None, **changes: object) -> Context:
    problem = replace(PLACE.problem(), prior=GaussianPrior(0.25))
    made = Context(problem, PLACE.parameters(), estimator, "", SIZE, Key(("cell",)), {})
    return replace(made, together=together, **changes)  # type: ignore[arg-type]


def minibatches() -> list[Linear]:
    return [
        replace(PLACE, x=PLACE.x[list(pair)], y=PLACE.y[list(pair)])
        for pair in combinations(range(len(PLACE.x)), SIZE)
    ]


def expected(oracle: Oracle) -> dict[str, float]:
    """Every column's expectation: the law of total variance over the ten minibatches."""
    found = {}
    given = [oracle(batch) for batch in minibatches()]
    for role in ROLES:
        means = np.stack([moments[role][0] for moments in given])
        noise = np.stack([moments[role][1] for moments in given]).mean()
        data = means.var(axis=0).mean()
        signal = (means.mean(axis=0) ** 2).mean()
        values = {"noise": noise, "data": data, "total": noise + data, "signal": signal}
        found |= {f"0|{role}|{quantity}": float(value) for quantity, value in values.items()}
    return found


def additive(table: Table) -> None:
    """Noise + data = total in every unit, to rounding."""
    for role in ROLES:
        noise, data, total = (table[f"0|{role}|{q}"] for q in ("noise", "data", "total"))
        room = 1e-13 * (noise + np.abs(data) + total)
        assert (np.abs(noise + data - total) <= room).all()


def test_averages_are_the_exact_ones() -> None:
    comparisons = []
    for name, oracle in (("naive", oracles.naive), ("local", oracles.local)):
        table = variance_units.rows(context(get(name)), 0, 3000)
        additive(table)
        want = expected(oracle)
        assert set(table) == set(want)
        for column, rows in table.items():
            logs = column.endswith(("noise", "total"))
            comparisons.append(oracles.compare_rows(f"{name} {column}", rows, want[column], logs))
    wrong = oracles.alarms(comparisons)
    assert not wrong, "\n".join(wrong)
    assert len(comparisons) == 2 * 3 * 4


def test_averages_tell_apart_what_differs() -> None:
    """Power: the same rows beside another estimator's noise raise an alarm, and with the parts swapped."""
    table = variance_units.rows(context(get("naive")), 0, 3000)
    other, own = expected(oracles.local), expected(oracles.naive)
    for role in ROLES[:2]:
        noise, data = (table[f"0|{role}|{q}"] for q in ("noise", "data"))
        for rows, wrong in [
            (noise, other[f"0|{role}|noise"]),
            (noise, own[f"0|{role}|data"]),
            (data, own[f"0|{role}|total"]),
        ]:
            assert oracles.alarms([oracles.compare_rows("", rows, wrong)] * 24)


def few(name: str, units: int) -> Table:
    """Noise from one of the two examples of each minibatch."""
    return few_examples.rows(context(get(name), examples=1), SIZE, 0, units)


def test_few_examples_give_the_variance_of_the_whole_minibatch() -> None:
    """Every column of local and per-example, the data part from each other."""
    comparisons = []
    for name, oracle, other in (
        ("local", oracles.local, "per-example"),
        ("per-example", oracles.per_example, "local"),
    ):
        table = few_examples.combine(
            few(name, 3000), variance_units.rows(context(get(other)), 0, 3000)
        )
        additive(table)
        assert (table["0|mean|total"] < 0).any()
        want = expected(oracle)
        assert set(table) == set(want)
        for column, rows in table.items():
            logs = column.endswith("noise")
            comparisons.append(oracles.compare_rows(f"{name} {column}", rows, want[column], logs))
    wrong = oracles.alarms(comparisons)
    assert not wrong, "\n".join(wrong)


def test_few_examples_do_not_give_the_variance_of_noise_that_a_minibatch_shares() -> None:
    """Power, and why only estimators with independent examples are let in: naive's noise has a covariance."""
    want = expected(oracles.naive)
    rows = few("naive", 12000)["0|mean|noise"]
    assert oracles.alarms([oracles.compare_rows("", rows, want["0|mean|noise"], True)] * 24)


def test_independence_is_measured_before_few_examples_are_used() -> None:
    """Of one example repeated 16 times: naive declares what it is, and would be refused if it did not."""
    for name in ("local", "per-example"):
        table = few_examples.dependence(context(get(name), examples=1), 16)
        few_examples.refuse_dependence(name, table)
    table = few_examples.dependence(context(get("naive"), examples=1), 16)
    with pytest.raises(CellError, match="not independent from example to example"):
        few_examples.refuse_dependence("naive", table)


def test_deterministic_has_data_variance_alone() -> None:
    table = variance_units.rows(context(get("deterministic")), 0, 2000)
    additive(table)
    want = expected(oracles.deterministic)
    comparisons = []
    for role in ROLES:
        assert not table[f"0|{role}|noise"].any()
        np.testing.assert_allclose(table[f"0|{role}|data"], table[f"0|{role}|total"], rtol=1e-13)
        for quantity in ("data", "signal"):
            column = f"0|{role}|{quantity}"
            comparisons.append(oracles.compare_rows(column, table[column], want[column]))
    assert not oracles.alarms(comparisons)
    assert not table["0|scale|total"].any()


@pytest.mark.parametrize("name", ["naive", "local", "score"])
def test_rows_do_not_depend_on_how_they_are_taken(name: str) -> None:
    """Neither on the draws taken together nor on the partition into blocks, to rounding."""
    whole = variance_units.rows(context(get(name), 16), 0, 8)
    parts = [variance_units.rows(context(get(name), 16), *span) for span in ((0, 4), (4, 8))]
    joined = concatenate(parts)
    for column, rows in whole.items():
        np.testing.assert_allclose(joined[column], rows, rtol=1e-11, atol=1e-12, err_msg=column)
    for together in (0, 4, 12, 1000):
        other = variance_units.rows(context(get(name), together), 0, 8)
        for column, rows in whole.items():
            np.testing.assert_allclose(other[column], rows, rtol=1e-11, atol=1e-12, err_msg=column)


def test_rows_are_those_of_their_units() -> None:
    """Unit 5 is unit 5 whichever block it is in, to rounding, and units differ."""
    at = context(get("local"), 4)
    whole, alone = variance_units.rows(at, 0, 8), variance_units.rows(at, 5, 6)
    for column, rows in whole.items():
        np.testing.assert_allclose(alone[column][0], rows[5], rtol=1e-11, atol=1e-12)
        assert len(set(rows)) == 8


def test_elbo_adds_the_gradient_of_minus_kl_to_the_signal_alone() -> None:
    """The variance is the likelihood's; the mean is moved by −μ/s² and −½(σ²/s² − 1)."""
    plain = variance_units.rows(context(get("naive")), 0, 32)
    full = variance_units.rows(context(get("naive"), objective="elbo"), 0, 32)
    for column, rows in plain.items():
        same = np.allclose(full[column], rows, rtol=1e-9, atol=1e-12)
        assert same == (not column.endswith(("mean|signal", "scale|signal"))), column

    s2, sigma2 = 0.25, PLACE.sigma**2
    slopes = {"mean": -PLACE.mu / s2, "scale": -0.5 * (sigma2 / s2 - 1), "bias": np.zeros(1)}
    everything = {
        "batch_size": 5,
        "objective": "elbo",
    }  # one minibatch: signal is exact in every row
    table = variance_units.rows(context(get("deterministic"), **everything), 0, 4)  # type: ignore[arg-type]
    for role, (gradient, _) in oracles.deterministic(PLACE).items():
        want = ((gradient + slopes[role]) ** 2).mean()
        np.testing.assert_allclose(table[f"0|{role}|signal"], want, rtol=1e-12)
        np.testing.assert_allclose(table[f"0|{role}|total"], 0, atol=1e-20)


@dataclass(frozen=True)
class Broken(Naive):
    """Its gradient in the scale is NaN."""

    def __call__(self, problem, parameters, batch, noise, state=()) -> Gradient:  # type: ignore[no-untyped-def]
        right = super().__call__(problem, parameters, batch, noise, state)
        bad = right.gradients["0.log_variance"] * math.nan
        return Gradient(right.value, {**right.gradients, "0.log_variance": bad})


@pytest.mark.parametrize("together", [0, 16])
def test_a_gradient_that_is_not_finite_is_named(together: int) -> None:
    with pytest.raises(CellError, match=r"'0\.log_variance' is not finite at cell/unit/3/a"):
        variance_units.rows(context(Broken(), together), 3, 8)


# Bias


@dataclass(frozen=True)
class Shrunk(Naive):
    """Nine tenths of the right gradient."""

    def __call__(self, problem, parameters, batch, noise, state=()) -> Gradient:  # type: ignore[no-untyped-def]
        right = super().__call__(problem, parameters, batch, noise, state)
        return Gradient(right.value, {n: 0.9 * g for n, g in right.gradients.items()})


def squares(oracle: Oracle) -> dict[str, float]:
    """E[(E[g | minibatch])²] by role."""
    given = [oracle(batch) for batch in minibatches()]
    return {role: float(np.mean([m[role][0] ** 2 for m in given])) for role in ROLES}


def bias_rows(estimator: Estimator, units: int, draws: int = 4) -> Table:
    return bias.rows(context(estimator), context(get("naive")), draws, 0, units)


def test_unbiased_estimators_have_no_bias() -> None:
    """Also the size of the reference, E[(E g)²], against its closed form."""
    comparisons = []
    estimators = [
        get("naive"),
        get("local"),
        get("per-example"),
        get("score", samples=4, baseline="leave-one-out"),
    ]
    size = squares(oracles.naive)
    for estimator in estimators:
        table = bias_rows(estimator, 1000)
        for role in ROLES:
            what = f"{estimator.declaration.name} {role}"
            bias2, reference2 = table[f"0|{role}|bias2"], table[f"0|{role}|reference2"]
            comparisons.append(oracles.compare_rows(f"{what} bias2", bias2, 0.0))
            comparisons.append(oracles.compare_rows(f"{what} reference2", reference2, size[role]))
    wrong = oracles.alarms(comparisons)
    assert not wrong, "\n".join(wrong)


def test_biased_estimators_have_the_bias_they_have() -> None:
    """A tenth for the shrunk one; for the deterministic one all of the scale's gradient, none of the mean's."""
    size = squares(oracles.naive)
    comparisons = []
    for estimator, shares in (
        (Shrunk(), {"mean": 0.1, "scale": 0.1, "bias": 0.1}),
        (get("deterministic"), {"mean": 0.0, "scale": 1.0, "bias": 0.0}),
    ):
        table = bias_rows(estimator, 1500, 16)
        for role, share in shares.items():
            what = f"{type(estimator).__name__} {role}"
            bias2, reference2 = table[f"0|{role}|bias2"], table[f"0|{role}|reference2"]
            truth = share**2 * size[role]
            comparisons.append(oracles.compare_rows(f"{what} bias2", bias2, truth))
            level = 1 - oracles.FALSE_ALARM / 6
            relative = ratio_root(bias2, reference2, two_sided(level))
            assert relative.low <= share <= relative.high, f"{what}: {relative}"
            if share == 1.0:
                assert relative.low > 0.9, f"{what}: {relative}"
    wrong = oracles.alarms(comparisons)
    assert not wrong, "\n".join(wrong)


def test_together_follows_from_shapes() -> None:
    """A given number of draws together is kept; without one it is the same every time."""
    assert context(get("naive"), 12).traced == Trace(context(get("naive")).traced.requests, 12)
    assert context(get("naive")).traced == context(get("naive")).traced
    assert context(get("naive")).problem.dtype == torch.float64
