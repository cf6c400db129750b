"""What the metrics are called on the page, with their units."""

from __future__ import annotations

SQUARE = "gradient²"
METRICS = {
    "ratio.efficiency.variance_seconds": (
        "variance × time, relative to the baseline",
        "× baseline",
    ),
    "ratio.variance.total": ("variance, relative to the baseline", "× baseline"),
    "ratio.variance.noise": ("noise part, relative to the baseline", "× baseline"),
    "variance.total": ("variance, total", SQUARE),
    "variance.noise": ("variance, noise part", SQUARE),
    "variance.data": ("variance, data part", SQUARE),
    "efficiency.variance_seconds": ("variance × time", "gradient² s"),
    "time.seconds_per_gradient": ("time per gradient", "s"),
    "ratio.time.seconds_per_gradient": (
        "time per gradient, relative to the baseline",
        "× baseline",
    ),
    "time.seconds_per_epoch": ("time per epoch", "s"),
    "throughput.examples_per_second": ("examples per second", "examples/s"),
    "throughput.gradients_per_second": ("gradients per second", "gradients/s"),
    "memory.peak_bytes": ("peak memory", "bytes"),
    "snr": ("signal-to-noise ratio", ""),
    "relative_bias": ("relative bias", ""),
    "adjusted.relative_bias": ("relative bias, adjusted interval", ""),
    "convergence.final_elbo": ("final ELBO", "nats"),
    "convergence.seconds_to_target": ("time to the target ELBO", "s"),
    "test.error": ("test error", "%"),
    "test.nll": ("test NLL", "nats per example"),
    "pairwise.variance.total": ("variance, paired ratio", ""),
    "pairwise.variance.noise": ("noise part, paired ratio", ""),
    "pairwise.efficiency.variance_seconds": ("variance × time, paired ratio", ""),
    "pairwise.time.seconds_per_gradient": ("time per gradient, paired ratio", ""),
}
"""Name and unit of each metric, in the order of the page's menus; one that is not here is called as in the results."""
