"""Images of log α over the pixels that a first layer sees."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from reports.figures.medium import canvas
from reports.results.log_alpha import maps_of
from reports.results.trainings import Trainings

ACROSS = 4
"""Images side by side."""


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
