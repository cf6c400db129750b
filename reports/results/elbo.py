"""The ELBO in training: against what it can be shown, and which range of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.results.groups import Group

if TYPE_CHECKING:
    import pandas as pd

EARLY = 0.2
"""The share of the steps that may be cut off where it would flatten the rest of the curves."""


SLOWER = 4
"""The ratio of training times from which on seconds get a logarithmic axis."""


def curves_of(group: Group) -> pd.DataFrame:
    """Return the evaluations that gave a value."""
    found: pd.DataFrame = group.curves.dropna(subset=["value"])
    return found


def scales_of(group: Group) -> list[str]:
    """Return the columns that the ELBO can be shown against: ``step`` and ``seconds``, as far as they were recorded."""
    curves = curves_of(group)
    shown = {"step": curves, "seconds": timed(curves)}
    return [x for x, rows in shown.items() if rows[x].notna().any()]


def timed(curves: pd.DataFrame) -> pd.DataFrame:
    """Return the evaluations that took training: at step 0 no time has passed."""
    return curves[(curves["step"] > 0) & (curves["seconds"] > 0)]


def uneven(curves: pd.DataFrame) -> bool:
    """Whether training took so different times that only a logarithmic axis shows all curves."""
    ends = timed(curves).groupby("label")["seconds"].max()
    return bool(ends.max() > SLOWER * ends.min() > 0)


def window(curves: pd.DataFrame) -> tuple[float, float]:
    """Return the range of the ELBO's axis: all of it, or without steep first steps."""
    top, bottom = curves["value"].max(), curves["value"].min()
    late = curves[curves["step"] >= EARLY * curves["step"].max()]["value"]
    if len(late) and top - bottom > 4 * (top - late.min()) > 0:
        bottom = late.min()
    room = 0.06 * (top - bottom) or 1.0
    return float(bottom - room), float(top + room)


def is_cut(group: Group) -> bool:
    """Whether the figure leaves early values off its axis."""
    values = group.curves["value"].dropna()
    return len(values) > 0 and bool(values.min() < window(group.curves.dropna(subset=["value"]))[0])
