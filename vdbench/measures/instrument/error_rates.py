"""Verdicts: how often two runs are called different, of equal things and of things that differ by a known factor.

A verdict is a report's: the paired ratio's interval excludes 1, at the suite's level with one comparison. Equal
things are the same estimator under two seeds (pairs of the repetitions that coverage has measured). A difference is
planted exactly: scaling the rows of one run by 1 + δ scales the ratio and both ends of its interval by 1 + δ, and
leaves relative widths, and so the stop, as they were; it is therefore the interval that is scaled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vdbench.measures.instrument.evidence import FAMILY_WISE
from vdbench.measures.instrument.series import ARRAYS, Address, Series
from vdbench.measures.metrics import MetricValue
from vdbench.statistics.proportions import at_most, holm, share

NOISES = {"again": "independent", "shared": "shared"}
"""How comparisons are called by what their two runs have in common."""


@dataclass(frozen=True)
class Pairs:
    """Comparisons of equal things, runs that aimed at one precision.

    Attributes:
        series: By figure, of the metrics ``again.…`` and ``shared.…``, one value a pair.
        level: Of the verdicts, and of the shares' own intervals.
        precision: Relative half-width that runs aimed at.
        families: Places that share the error `FAMILY_WISE`.
    """

    series: Mapping[Address, Series]
    level: float
    precision: float
    families: int = 1

    def of(self, kind: str) -> dict[Address, Series]:
        """The comparisons of one kind that have a value: not of what is exactly zero in both runs."""
        return {
            address: series
            for address, series in self.series.items()
            if address.metric.startswith(f"{kind}.") and not np.isnan(series.value).any()
        }


def called(series: Series, factor: float = 1.0) -> tuple[int, int]:
    """How many comparisons call the first run higher, and how many lower, once it is scaled."""
    return int((series.low * factor > 1).sum()), int((series.high * factor < 1).sum())


def false_alarms(pairs: Pairs) -> dict[str, list[MetricValue]]:
    """Shares of equal pairs that are called different, by estimator; and pooled, comparison i from estimator i mod E.

    A pair of one estimator shares its minibatches with the other estimators' pairs of the same number: the pooled
    share takes each number from one estimator only, so that its comparisons are independent.
    """
    found = pairs.of("again")
    tests: list[tuple[str, Address, Series]] = [(a.label, a, s) for a, s in found.items()]
    tests += [("", a, s) for a, s in _pooled(found)]
    counts = [sum(called(s)) for _, _, s in tests]
    p = holm(
        [at_most(k, len(s.value), 1 - s.level) for k, (_, _, s) in zip(counts, tests, strict=True)],
        pairs.families,
    )
    figures: dict[str, list[MetricValue]] = {}
    for (label, address, series), count, value in zip(tests, counts, p, strict=True):
        metric = address.metric.removeprefix("again.")
        rejected = value <= FAMILY_WISE
        figures.setdefault(label, []).append(
            MetricValue(
                f"false_alarms.{metric}" if label else f"false_alarms.pooled.{metric}",
                share(count, len(series.value), pairs.level),
                pairs.level,
                "1",
                address.layer,
                address.role,
                status="rejected" if rejected else "ok",
                message=f"at most {100 * (1 - series.level):.4g} % {'' if rejected else 'not '}rejected, "
                f"p = {value:.2g} (Holm over {len(tests)} figures); runs at ±{pairs.precision:g}, "
                f"{units(series)}" + ("" if label else "; comparison i is of estimator i mod E"),
            )
        )
    return figures


def _pooled(found: Mapping[Address, Series]) -> Iterator[tuple[Address, Series]]:
    places = dict.fromkeys((a.metric, a.layer, a.role) for a in found)
    for metric, layer, role in places:
        mine = [s for a, s in found.items() if (a.metric, a.layer, a.role) == (metric, layer, role)]
        if len(mine) > 1:
            count = min(len(s.value) for s in mine)
            chosen = [mine[i % len(mine)] for i in range(count)]
            columns = {
                name: np.array([getattr(s, name)[i] for i, s in enumerate(chosen)])
                for name in ARRAYS
            }
            yield (
                Address("", metric, layer, role, ""),
                Series(**columns, level=mine[0].level),
            )


def power(pairs: Pairs, label: str, differences: Sequence[float]) -> list[MetricValue]:
    """Shares of comparisons that call a planted difference in the right direction, and in the wrong one.

    Each figure's ``step`` is the difference δ, and it is ``against`` runs at the same precision.
    """
    figures = []
    for kind, noise in NOISES.items():
        for address, series in pairs.of(kind).items():
            if address.label == label:
                for difference in differences:
                    right, wrong = called(series, 1 + difference)
                    metric = address.metric.removeprefix(f"{kind}.")
                    for name, count in (("power", right), ("wrong", wrong)):
                        figures.append(
                            MetricValue(
                                f"{name}.{noise}.{metric}",
                                share(count, len(series.value), pairs.level),
                                pairs.level,
                                "1",
                                address.layer,
                                address.role,
                                step=difference,
                                message=f"+{100 * difference:g} % planted, runs at "
                                f"±{pairs.precision:g}, {units(series)}",
                                against=f"precision={pairs.precision:g}",
                            )
                        )
    return figures


def units(series: Series) -> str:
    """How many units comparisons rest on: ``64 to 256 units, 190 on average``."""
    low, high = int(series.n.min()), int(series.n.max())
    return (
        f"{low} units"
        if low == high
        else f"{low} to {high} units, {series.n.mean():.0f} on average"
    )
