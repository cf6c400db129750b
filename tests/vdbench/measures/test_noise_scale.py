"""The gradient noise scale against its exact value, over all minibatches of a small linear problem."""

from __future__ import annotations

import math
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
from vdbench.problems.problem import Group

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


def exact(role: str) -> float:
    """B, by the law of total variance over all minibatches and the squared mean."""
    pairs = combinations(range(len(PLACE.x)), SIZE)
    given = [oracles.naive(replace(PLACE, x=PLACE.x[list(p)], y=PLACE.y[list(p)])) for p in pairs]
    means = np.stack([moments[role][0] for moments in given])
    noise = np.stack([moments[role][1] for moments in given]).mean(0).sum()
    data, signal = means.var(axis=0).sum(), (means.mean(axis=0) ** 2).sum()
    return SIZE * float((noise + data) / signal)


def test_values_are_the_exact_ones() -> None:
    """Intervals at 1 − 1e-5 hold them: a false alarm in 1 of 50,000 runs; twice and half the value are excluded."""
    context = Context(PLACE.problem(), PLACE.parameters(), get("naive"), "", SIZE, Key(("b",)), {})
    rows = UnitRows(variance_units.rows(context, 0, 20000), context.sizes)
    found = {v.role: v.estimate for v in values(rows, SIZE, 1 - 1e-5) if v.layer == "0"}
    for role in ("mean", "scale"):
        want = exact(role)
        assert found[role].low <= want <= found[role].high, (role, want, found[role])
        narrow = {v.role: v.estimate for v in values(rows, SIZE, 0.95) if v.layer == "0"}[role]
        assert want / 2 < narrow.low < narrow.high < 2 * want, (role, want, narrow)


@pytest.mark.parametrize("signal", [0.0, 0.02, 0.1, 1.0])
def test_intervals_hold_where_the_gradient_is_small(signal: float) -> None:
    """Gaussian gradients of 100 components, 64 units: 1,000 intervals at 95 % miss at most 8 %.

    Were the rate 5 %, so many misses would come in fewer than 1 of 10,000 runs.
    """
    rng, missed, size, group = np.random.default_rng(0), 0, 10, Group("0", "mean")
    truth = size / signal**2 if signal else math.inf
    for _ in range(1000):
        a, b = (signal / 10 + rng.standard_normal((64, 2, 100)) / 10 for _ in range(2))
        total = sum((a[:, i] - b[:, j]) ** 2 for i in (0, 1) for j in (0, 1)).mean(1) / 8
        square = sum(a[:, i] * b[:, j] for i in (0, 1) for j in (0, 1)).mean(1) / 4
        table = {"0|mean|total": total, "0|mean|signal": square}
        estimate = values(UnitRows(table, {group: 100}), size, 0.95)[0].estimate
        missed += not estimate.low <= truth <= estimate.high
    assert missed <= 80, missed


def test_a_suite_measures_it_and_its_report_shows_it(elsewhere: Path) -> None:
    done = vdbench.run(SUITE, elsewhere / "run")
    assert not done.failed
    table = done.results
    assert set(table["metric"]) == {"noise_scale"}
    assert set(table["unit"]) == {"examples"}
    assert set(table["label"]) == {"naive", "local"}
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
