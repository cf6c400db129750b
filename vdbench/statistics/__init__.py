"""Estimates with intervals that hold although a run looks often and stops when it has enough."""

from vdbench.statistics.estimate import Estimate
from vdbench.statistics.few_samples import log_mean, median, product, seed_mean
from vdbench.statistics.intervals import mean, positive_mean, ratio, ratio_root
from vdbench.statistics.sequential import critical_values, fine_looks, looks

__all__ = [
    "Estimate",
    "critical_values",
    "fine_looks",
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
