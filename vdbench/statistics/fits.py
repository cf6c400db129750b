"""Straight lines fitted to estimates that have intervals, and the intervals of what is fitted.

Fits are weighted by the estimates' intervals. The half-width of a fitted number Σ c_i y_i is √Σ(c_i h_i)² where the
estimates are independent, and Σ|c_i| h_i, which is valid whatever their dependence, where they are not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from vdbench.statistics.estimate import Estimate


def slope(x: Sequence[float], y: Sequence[Estimate], independent: bool) -> tuple[Estimate, float]:
    """Fit log y = a + b log x.

    Args:
        x: Positive sizes, at least two of them different.
        y: Positive figures, each with an interval.
        independent: Whether the figures are independent of each other.

    Returns:
        b with its interval, and the largest distance of a point from the line, in half-widths of its interval.
    """
    logs, values = np.log(x), np.log([e.value for e in y])
    half = np.array([_log_half(e) for e in y])
    weights = 1 / half**2
    centred = logs - weights @ logs / weights.sum()
    coefficients = weights * centred / (weights @ centred**2)
    b = float(coefficients @ values)
    residuals = values - weights @ values / weights.sum() - b * centred
    return _combination(b, coefficients * half, y, independent), float(
        np.max(abs(residuals) / half)
    )


def floor(x: Sequence[float], y: Sequence[Estimate]) -> tuple[Estimate, float]:
    """Fit y = B + A/x to independent figures.

    Returns:
        B with its interval, and the largest distance of a figure from the fit, in half-widths of its interval.
    """
    inverse, values = 1 / np.asarray(x, dtype=float), np.array([e.value for e in y])
    half = values * np.array([_log_half(e) for e in y])
    weights = 1 / half**2
    middle = weights @ inverse / weights.sum()
    steepness = weights * (inverse - middle) / (weights @ (inverse - middle) ** 2)
    coefficients = weights / weights.sum() - middle * steepness
    b = float(coefficients @ values)
    residuals = values - b - float(steepness @ values) * inverse
    return _combination(b, coefficients * half, y, True), float(np.max(abs(residuals) / half))


def _log_half(figure: Estimate) -> float:
    return (math.log(figure.high / figure.value) + math.log(figure.value / figure.low)) / 2


def _combination(
    value: float, parts: np.ndarray[Any, Any], y: Sequence[Estimate], independent: bool
) -> Estimate:
    half = float(np.sqrt((parts**2).sum()) if independent else abs(parts).sum())
    return Estimate(value, value - half, value + half, min(e.n for e in y))
