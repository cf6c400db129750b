"""The gradient noise scale against its exact value, over all minibatches of a small linear problem."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import oracles
import pytest
from oracles import random_linear

import vdbench
from vdbench.errors import InputError
from vdbench.estimation.options import get
from vdbench.measures import variance_units
from vdbench.measures.context import Context
from vdbench.measures.metrics import UnitRows
from vdbench.measures.noise_scale import values
from vdbench.measures.registry import load
from vdbench.noise import Key

SIZE = 2
PLACE = random_linear(2015, 5, 2)

SUITE = {
    "name": "scales",
    "problems": [{"name": "p", "factory": "classification", "options": {"widths": [4]}}],
    "batch_sizes": [8],
    "estimators": ["naive", "local"],
    "baseline": "naive",
    "threads": 1,
    "measures": {"noise_scale": {"units": 64}},
}


def exact(role: str) -> dict[str, float]:
    """B of each part: the law of total variance over all minibatches, and the squared mean."""
    pairs = combinations(range(len(PLACE.x)), SIZE)
    given = [oracles.naive(replace(PLACE, x=PLACE.x[list(p)], y=PLACE.y[list(p)])) for p in pairs]
    means = np.stack([moments[role][0] for moments in given])
    noise = np.stack([moments[role][1] for moments in given]).mean(0).sum()
    data, signal = means.var(axis=0).sum(), (means.mean(axis=0) ** 2).sum()
    parts = {"noise": noise, "data": data, "total": noise + data}
    return {part: SIZE * float(value / signal) for part, value in parts.items()}


def test_values_are_the_exact_ones() -> None:
    """Each within 4.4 half-widths of a 68 % interval: a false alarm in 1 of 10,000 runs over all six values."""
    context = Context(PLACE.problem(), PLACE.parameters(), get("naive"), "", SIZE, Key(("b",)), {})
    rows = UnitRows(variance_units.rows(context, 0, 4000), context.sizes)
    found = {(v.role, v.metric): v.estimate for v in values(rows, SIZE, 0.6827) if v.layer == "0"}
    compared = []
    for role in ("mean", "scale"):
        for part, want in exact(role).items():
            e = found[role, f"noise_scale.{part}"]
            error = e.high - e.value if want > e.value else e.value - e.low
            compared.append((abs(e.value - want) / error, role, part, e, want))
            if part != "data":  # power: twice and half the value are excluded
                assert want / 2 < e.low < e.high < 2 * want, compared[-1]
    assert max(compared)[0] < 4.4, compared


def test_a_suite_measures_it_and_its_report_shows_it(elsewhere: Path) -> None:
    done = vdbench.run(SUITE, elsewhere / "run")
    assert not done.failed
    table = done.results
    assert set(table["metric"]) == {f"noise_scale.{part}" for part in ("total", "noise", "data")}
    assert set(table["unit"]) == {"examples"}
    whole = table[(table["layer"] == "all") & (table["role"] == "mean")]
    for label in ("naive", "local"):
        value = whole[whole["label"] == label].set_index("metric")["value"]
        parts = value["noise_scale.noise"] + value["noise_scale.data"]
        assert value["noise_scale.total"] == pytest.approx(parts, rel=1e-6)
    import reports

    page = reports.write([done.folder])
    assert "Gradient noise scale" in page.with_name("report.md").read_text(encoding="utf-8")


def test_its_options_are_checked_as_those_of_every_measure() -> None:
    with pytest.raises(InputError, match=r"unknown key 'unit'.*Did you mean 'units'"):
        load({**SUITE, "measures": {"noise_scale": {"unit": 64}}})
    with pytest.raises(InputError, match=r"noise_scale\.units"):
        load({**SUITE, "measures": {"noise_scale": {"units": 1}}})
    with pytest.raises(InputError, match="Did you mean 'noise_scale'"):
        load({**SUITE, "measures": {"noise_scal": {}}})
