"""Estimates with intervals that hold although a run looks often and stops when it has enough."""

from vdbench.statistics.intervals import (
    Estimate,
    log_mean,
    mean,
    median,
    positive_mean,
    product,
    ratio,
    ratio_root,
    seed_mean,
)
from vdbench.statistics.sequential import critical_values, looks

__all__ = [
    "Estimate",
    "critical_values",
    "log_mean",
    "looks",
    "mean",
    "median",
    "positive_mean",
    "product",
    "ratio",
    "ratio_root",
    "seed_mean",
]
