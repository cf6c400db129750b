"""What values a quantity can have: an interval says nothing about the others."""

from __future__ import annotations

import math

POSSIBLE: dict[str, tuple[float, float]] = {
    "variance.total": (0, math.inf),
    "variance.noise": (0, math.inf),
    "variance.data": (0, math.inf),
    "floor.variance.noise": (0, math.inf),
    "snr": (0, math.inf),
    "relative_bias": (0, math.inf),
    "adjusted.relative_bias": (0, math.inf),
    "noise_scale": (0, math.inf),
    "rounding.variance": (0, math.inf),
    "rounding.bias": (0, math.inf),
    "rounding.error": (0, math.inf),
    "adjusted.rounding.variance": (0, math.inf),
    "adjusted.rounding.bias": (0, math.inf),
    "adjusted.rounding.error": (0, math.inf),
    "efficiency.variance_seconds": (0, math.inf),
    "time.seconds_per_gradient": (0, math.inf),
    "convergence.seconds_to_target": (0, math.inf),
    "training.seconds": (0, math.inf),
    "training.epochs": (0, math.inf),
    "training.kl": (0, math.inf),
    "memory.peak_bytes": (0, math.inf),
    "test.error": (0, 100),
    "test.error.mean_weights": (0, 100),
    "test.ece": (0, 100),
    "test.ece.mean_weights": (0, 100),
    "sparsity.share": (0, 100),
    "sparsity.error": (0, 100),
    "sparsity.compression": (1, math.inf),
}
"""Metrics with values that are bounded, in their unit; differences of percentages are so by `possible`."""


def possible(metric: str) -> tuple[float, float]:
    """Return the lowest and the highest value that a quantity can have."""
    if metric in POSSIBLE:
        return POSSIBLE[metric]
    kind, _, of = metric.rpartition("difference.")
    if kind in ("", "adjusted.") and of in POSSIBLE:
        low, high = POSSIBLE[of]
        return low - high, high - low
    if metric.startswith(("ratio.", "pairwise.", "adjusted.ratio.", "target.")):
        return 0.0, math.inf
    if metric.startswith("correlation."):
        return -1.0, 1.0
    return -math.inf, math.inf


def clip(metric: str, value: float, low: float, high: float) -> tuple[float, float]:
    """Return the ends of an interval without what cannot be.

    An unbiased estimate may lie outside of its range, as that of a small data part does below zero: the interval then
    ends at the estimate. One that lies wholly outside is left as it is.
    """
    least, most = possible(metric)
    if any(math.isnan(x) for x in (value, low, high)):
        return low, high  # there is no interval
    if high < least or low > most:
        return low, high
    return min(value, max(low, least)), max(value, min(high, most))
