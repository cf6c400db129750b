"""Which critical value the pairs of a place get: that of the largest error, or Bonferroni's."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from vdbench.measures.metrics import LookSchedule, UnitRows
from vdbench.measures.together import Together
from vdbench.measures.variance_metrics import variance_ratios
from vdbench.problems.problem import Group
from vdbench.statistics.sequential import two_sided

MEAN, SCALE = Group("fc1", "mean"), Group("fc1", "scale")
SCHEDULE = LookSchedule((400,), 0.95, 0.1)


def _rows(seed: int, n: int, groups: tuple[Group, ...] = (MEAN,), factor: float = 1.0) -> UnitRows:
    random = np.random.default_rng(seed)
    table = {
        f"{g.layer}|{g.role}|{q}": factor * random.gamma(2, size=n)
        for g in groups
        for q in ("noise", "total")
    }
    return UnitRows(table, dict.fromkeys(groups, 10))


def test_pairs_reach_less_far_than_by_bonferroni_and_further_than_one() -> None:
    units = {
        name: _rows(i, n) for i, (name, n) in enumerate({"a": 300, "b": 300, "c": 400}.items())
    }
    bonferroni = two_sided(1 - 0.05 / 3)
    z, level = Together(units, SCHEDULE).reach(MEAN, "total", bonferroni)
    assert two_sided(0.95) < z < bonferroni
    assert level == pytest.approx(1 - math.erfc(z / math.sqrt(2)), rel=1e-9)
    # a smaller one that is given stays
    assert Together(units, SCHEDULE).reach(MEAN, "total", 1.5) == (1.5, None)


def test_an_estimator_without_a_role_or_a_variance_is_in_none_of_its_pairs() -> None:
    both = {"a": _rows(0, 200, (MEAN, SCALE)), "b": _rows(1, 200, (MEAN, SCALE))}
    more = {"no scale": _rows(2, 200), "zero": _rows(3, 200, (MEAN, SCALE), factor=0.0)}
    alone = Together(both, SCHEDULE).reach(SCALE, "noise", 3.0)
    assert Together({**both, **more}, SCHEDULE).reach(SCALE, "noise", 3.0) == alone
    assert Together({"a": both["a"], **more}, SCHEDULE).reach(SCALE, "noise", 3.0) == (3.0, None)


def test_intervals_of_all_looks_keep_bonferroni() -> None:
    units = {name: _rows(i, 400) for i, name in enumerate("abc")}
    anytime = dataclasses.replace(SCHEDULE, anytime=True)
    assert Together(units, anytime).reach(MEAN, "total", 2.5) == (2.5, None)
    (total, *_) = variance_ratios(units["a"], units["b"], anytime, "b", 3, Together(units, anytime))
    assert total.level == pytest.approx(1 - 0.05 / 3)
    assert "largest_error" not in total.detail
