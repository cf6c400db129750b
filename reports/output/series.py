"""What a monitor measured over a training, as a figure and for a notebook."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from reports.output.fragment import svg_image
from reports.words.numbers import percent
from vdbench.errors import InputError, nearest

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def figure(frame: pd.DataFrame, metric: str, layer: str) -> Figure:
    """Draw a metric over the steps of a training.

    Args:
        frame: A monitor's.
        metric: Which.
        layer: Of which layer; ``all`` for all together.

    Raises:
        InputError: The frame has nothing of that kind.
    """
    from reports.figures.medium import styled
    from reports.figures.series import series_figure

    done = frame[frame["status"] == "ok"]
    for column, asked in (("metric", metric), ("layer", layer)):
        known = list(dict.fromkeys(done[column]))
        if asked not in known:
            hint = nearest(asked, known) if known else " Nothing has been measured yet."
            raise InputError(f"the monitor has no {column} '{asked}'.{hint}")
        done = done[done[column] == asked]
    with styled():
        made: Figure = series_figure(done)
    return made


def html(frame: pd.DataFrame, title: str) -> str:
    """Write the total variance over the steps as a picture, with what failed."""
    parts = [f"<p>{escape(title)}</p>"]
    failed = frame[frame["status"] == "failed"]
    parts += [
        f"<p><strong>Failed</strong> at step {row.step}, {escape(str(row.label))}: {escape(str(row.message))}</p>"
        for row in failed.itertuples()
    ]
    if len(failed) < len(frame):
        parts.append(
            svg_image(figure(frame, "variance.total", "all"), "variance over the training")
        )
        level = percent(float(frame["level"].iloc[0]))
        parts.append(f"<p><small>Bands are intervals at {level}, each of its own step.</small></p>")
    return "\n".join(parts)
