"""Where noise is: a table of each layer's log α, and images of log α over the pixels that a first layer sees."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from reports.document import Table
from reports.figures.medium import canvas
from reports.results.trainings import Key, Trainings
from reports.sections.tables import drop_empty
from reports.words.numbers import Estimate, percent, show

if TYPE_CHECKING:
    import pandas as pd

DIGITS = -1 / (2 * math.log(10))
"""Decimal digits of a weight that its noise leaves, −log₁₀ √α, over log α."""
ACROSS = 4
"""Images side by side."""


def noise_table(found: Trainings) -> Table:
    """Build the table of the noise that each layer's weights have at the end."""
    rows = []
    for key in found.keys:
        for layer in found.layers("alpha.log_median", key):
            median = found.finals("alpha.log_median", layer).get(key)
            if median is not None and median.measured:
                rows.append([found.name(key), layer, show(median), show(digits(median), 0)])
    said = (
        "The median of log α = log σ²/μ² over a layer's weights (or over what has an α of its own), and the "
        "significant digits that such noise leaves of a weight, −log₁₀ √α: none at α = 1, one at α = 0.01. "
        f"Means over training seeds, intervals at {percent(found.run.level)}."
    )
    columns = ["problem", "layer", "median log α", "significant digits"]
    return drop_empty(Table(columns, rows, said, folded=len(rows) > 12))


def digits(log_alpha: Estimate) -> Estimate:
    """Turn an estimate of log α into one of significant digits."""
    return replace(
        log_alpha,
        value=DIGITS * log_alpha.value,
        low=DIGITS * log_alpha.high,
        high=DIGITS * log_alpha.low,
    )


def maps_of(found: Trainings) -> dict[Key, np.ndarray]:
    """Return log α by pixel, (side, side), a mean over seeds, of the trainings in which it differs at all."""
    rows = found.epochs[found.epochs["metric"] == "log_alpha_map"]
    maps = {}
    for key in found.keys:
        mine = rows[(rows["problem"] == key[0]) & (rows["estimator"] == key[1])]
        image = _image(mine)
        if image is not None and float(np.ptp(image)) > 0:
            maps[key] = image
    return maps


def _image(rows: pd.DataFrame) -> np.ndarray | None:
    if rows.empty:
        return None
    values = rows.groupby("bin")["value"].mean().sort_index().to_numpy()
    side = math.isqrt(len(values))
    return values.reshape(side, side) if side * side == len(values) else None


def map_figure(found: Trainings) -> Figure:
    """Draw log α by pixel, an image a training, all on one scale."""
    maps = maps_of(found)
    across = min(len(maps), ACROSS)
    down = math.ceil(len(maps) / across)
    figure = canvas(1.4 + 1.9 * across, 0.5 + 2.1 * down, narrow=across == 1)
    cells = list(figure.subplots(down, across, squeeze=False).flat)
    low = min(float(image.min()) for image in maps.values())
    high = max(float(image.max()) for image in maps.values())
    drawn = None
    for axes, (key, image) in zip(cells, maps.items(), strict=False):
        drawn = axes.imshow(image, vmin=low, vmax=high, cmap="cividis", interpolation="nearest")
        axes.set_title(found.name(key))
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(visible=False)
    for axes in cells[len(maps) :]:
        axes.set_axis_off()
    assert drawn is not None
    figure.colorbar(drawn, ax=cells, label="log α, mean over outputs", shrink=0.8)
    return figure
