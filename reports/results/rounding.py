"""Whether the precision of products matters to a gradient: the measure ``rounding``, case by case."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reports.results.estimate import Estimate
from reports.results.groups import NOISY, estimate_of

if TYPE_CHECKING:
    import pandas as pd

ADJUSTED = "adjusted.rounding."
QUANTITIES = ("variance", "bias", "error")

LIMIT = 0.05
"""What matters: a change of the variance, or a bias relative to the mean gradient, by more than this share."""

MATTERS, NOT, OPEN = "matters", "does not matter", "inconclusive"


@dataclass(frozen=True)
class Case:
    """One estimator at one place in one precision, in one kind of parameter.

    Attributes:
        run: Name of the run.
        place: Problem, checkpoint and minibatch size.
        precision: In which products are computed.
        label: Of the estimator.
        role: Of the parameters.
        variance: Rounded variance over exact variance.
        bias: Relative to the mean gradient.
        error: Of one draw, relative to the standard deviation of its noise.
    """

    run: str
    place: tuple[str, str, int]
    precision: str
    label: str
    role: str
    variance: Estimate
    bias: Estimate
    error: Estimate

    @property
    def verdict(self) -> str:
        """Whether rounding matters, from intervals that hold together for all cases of the run.

        It does where the variance changes, or the bias is, by more than `LIMIT`. It does not where the variance stays
        within `LIMIT`, and the bias is below it or the error of a draw is below this share of the noise: the bias is
        no more than the error.
        """
        low, high = 1 / (1 + LIMIT), 1 + LIMIT
        if self.variance.low > high or self.variance.high < low or self.bias.low > LIMIT:
            return MATTERS
        within = low <= self.variance.low and self.variance.high <= high
        small = self.bias.high <= LIMIT or self.error.high <= LIMIT
        return NOT if within and small else OPEN


def cases(frame: pd.DataFrame) -> list[Case]:
    """Collect the cases of the noisy weights, over all layers, in the order of the rows."""
    mine = frame[
        frame["metric"].str.startswith(ADJUSTED)
        & frame["role"].isin(NOISY)
        & frame["layer"].eq("all")
    ]
    found: dict[tuple[Any, ...], dict[str, Estimate]] = {}
    for each in mine.itertuples(index=False):
        row: Any = each
        place = (row.problem, row.checkpoint, int(row.batch_size))
        key = (row.run, place, row.precision, row.label, row.role)
        found.setdefault(key, {})[row.metric.removeprefix(ADJUSTED)] = estimate_of(row)
    return [
        Case(*key, *(values[quantity] for quantity in QUANTITIES))
        for key, values in found.items()
        if set(QUANTITIES) <= set(values)
    ]


def counted(some: Iterable[Case]) -> dict[str, int]:
    """How many cases have each verdict."""
    found = dict.fromkeys((MATTERS, NOT, OPEN), 0)
    for case in some:
        found[case.verdict] += 1
    return found
