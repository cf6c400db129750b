"""Where noise is: log α of weights, as digits and by the pixels that a first layer sees."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from reports.results.estimate import Estimate
from reports.results.trainings import Key, Trainings

if TYPE_CHECKING:
    import pandas as pd

DIGITS = -1 / (2 * math.log(10))
"""Decimal digits of a weight that its noise leaves, −log₁₀ √α, over log α."""


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
