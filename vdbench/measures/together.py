"""Intervals of all paired ratios of a place that hold together: the narrower of two ways to make them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from vdbench.measures.metrics import LookSchedule, UnitRows
from vdbench.problems.problem import Group
from vdbench.statistics.simultaneous import largest_error
from vdbench.statistics.tails import FEWEST


class Together:
    """Critical values of all pairs of the estimators of a place.

    One family are all pairs in one quantity and role, averaged over layers; another are they in every single layer.
    Its critical value is the quantile of its largest error, where that is below Bonferroni's.
    """

    def __init__(self, units: Mapping[str, UnitRows], schedule: LookSchedule) -> None:
        """Take the units of all estimators, by label."""
        self._units, self._schedule = units, schedule
        self._found: dict[tuple[bool, str, str], float | None] = {}

    def reach(self, group: Group, quantity: str, z: float) -> tuple[float, float | None]:
        """The critical value for the pairs of a layer and role, and the level of each; None for Bonferroni's.

        Args:
            group: The layer, or ``all``, and the role.
            quantity: ``total`` or ``noise``.
            z: Bonferroni's critical value.
        """
        if self._schedule.anytime:  # its intervals hold at all looks, and the bootstrap is of one
            return z, None
        key = (group.layer == "all", group.role, quantity)
        if key not in self._found:
            self._found[key] = self._largest(*key)
        found = self._found[key]
        if found is None or not 0 < found < z:
            return z, None
        return found, 2 * NormalDist().cdf(found) - 1

    def _largest(self, average: bool, role: str, quantity: str) -> float | None:
        rows: list[NDArray[np.float64]] = []
        pairs: list[tuple[int, int]] = []
        groups = {g: None for units in self._units.values() for g in units.groups()}
        for group in groups:
            if group.role != role or (group.layer == "all") != average:
                continue
            mine = [u.of(group, quantity) for u in self._units.values() if group in u.groups()]
            mine = [np.asarray(row) for row in mine if len(row) >= FEWEST and row.mean() > 0]
            pairs += combinations(range(len(rows), len(rows) + len(mine)), 2)
            rows += mine
        return largest_error(rows, pairs, self._schedule.level) if pairs else None
