"""Slopes and floors against laws that are known, and what they are fitted to."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vdbench.runner.results import Row
from vdbench.runner.scaling import rows
from vdbench.statistics import Estimate
from vdbench.statistics.fits import floor, slope

SIZES = (8, 32, 128, 512)


def figure(value: float, log_half: float = 0.05) -> Estimate:
    return Estimate(value, value * math.exp(-log_half), value * math.exp(log_half), 100)


def test_a_power_law_has_its_slope() -> None:
    found, misfit = slope(SIZES, [figure(3 * m**-0.7) for m in SIZES], True)
    assert found.value == pytest.approx(-0.7, abs=1e-12)
    assert misfit < 1e-9
    # equal weights: half-width h/√Σ(x − x̄)² of independent figures
    spread = math.sqrt(((np.log(SIZES) - np.mean(np.log(SIZES))) ** 2).sum())
    assert found.high - found.value == pytest.approx(0.05 / spread, rel=1e-12)


def test_equation_5_has_its_floor() -> None:
    """N²C = 0.2 and N²(V − C) = 8, also with figures of unequal precision."""
    figures = [figure(0.2 + 8 / m, 0.01 * m**0.3) for m in SIZES]
    found, off = floor(SIZES, figures)
    assert off < 1e-6
    assert floor(SIZES, [figure(m**-0.5) for m in SIZES])[1] > 1  # no line in 1/M: it says so
    assert found.value == pytest.approx(0.2, rel=1e-10)
    assert found.low < 0.2 < found.high
    bent, misfit = slope(SIZES, figures, True)
    assert -1 < bent.value < -0.3
    assert misfit > 3


def test_intervals_cover_as_often_as_they_say() -> None:
    """1,000 noisy power laws: 95 % intervals of the figures give 95 % intervals of slope and floor."""
    runs, sd = 1000, 0.03
    rng = np.random.default_rng(5)
    hits = {"slope": 0, "floor": 0, "dependent": 0}
    for noise in rng.standard_normal((runs, len(SIZES))) * sd:
        power = [
            figure(m**-1.0 * math.exp(e), 1.96 * sd) for m, e in zip(SIZES, noise, strict=True)
        ]
        line = [
            figure(1 + 8 / m + e, 1.96 * sd / (1 + 8 / m))
            for m, e in zip(SIZES, noise, strict=True)
        ]
        hits["slope"] += _holds(slope(SIZES, power, True)[0], -1)
        hits["floor"] += _holds(floor(SIZES, line)[0], 1)
        hits["dependent"] += _holds(slope(SIZES, power, False)[0], -1)
    error = math.sqrt(0.95 * 0.05 / runs)
    for what in ("slope", "floor"):
        assert abs(hits[what] / runs - 0.95) < 4 * error, hits  # false alarms: 1 in 16,000 each
    assert hits["dependent"] >= hits["slope"], hits


def _holds(estimate: Estimate, truth: float) -> bool:
    return estimate.low <= truth <= estimate.high


def row(**changes: object) -> Row:
    return {
        "problem": "p", "checkpoint": "c", "estimator": "local", "options": "{}", "label": "local",
        "batch_size": 8, "samples": 1, "layer": "all", "role": "mean", "metric": "variance.noise",
        "value": 1.0, "ci_low": 0.9, "ci_high": 1.1, "level": 0.95, "n": 64, "unit": "gradient^2",
        "status": "converged", "message": "", "against": "", **changes,
    }  # fmt: skip


def at(m: int, value: float, **changes: object) -> Row:
    interval = {"value": value, "ci_low": 0.95 * value, "ci_high": 1.05 * value}
    return row(batch_size=m, **interval, **changes)


def test_rows_over_minibatch_sizes() -> None:
    found = rows([at(m, 1 / m, message="from few") for m in reversed(SIZES)])
    assert [r["metric"] for r in found] == ["slope.variance.noise", "floor.variance.noise"]
    fitted, base = found
    assert fitted["value"] == pytest.approx(-1)
    assert (fitted["batch_size"], fitted["against"], fitted["unit"]) == (0, "batch_size", "1")
    assert fitted["message"].startswith("over M = 8, 32, 128, 512; ")
    assert fitted["message"].endswith("; from few")
    assert abs(base["value"]) < 1e-12
    assert base["unit"] == "gradient^2"


def test_rows_over_samples() -> None:
    inner = '{"of":{"name":"score","options":{"samples":2}},"samples":%d}'
    made = [
        at(32, 1 / s, samples=2 * s, estimator="samples", options=inner % s,
           label=f"samples(score(samples=2), samples={s})")
        for s in (1, 2, 4)
    ]  # fmt: skip
    (found,) = rows(made)
    assert found["metric"] == "slope.variance.noise"
    assert found["value"] == pytest.approx(-1)
    assert found["label"] == "samples(score(samples=2))"
    assert found["options"] == '{"of":{"name":"score","options":{"samples":2}}}'
    assert (found["samples"], found["batch_size"], found["against"]) == (0, 32, "samples")


def test_what_is_no_family_has_no_slope() -> None:
    """Two sizes; other estimators, layers and checkpoints; no interval; no value."""
    assert not rows([at(8, 1), at(32, 0.5)])
    mixed = [at(8, 1), at(32, 0.5, layer="fc1"), at(128, 0.2, label="naive"), at(512, 0.1)]
    assert not rows(mixed)
    unknown = {"ci_low": 0.0, "ci_high": math.inf}
    assert not rows([at(8, 1), at(32, 0.5), at(128, 0.2) | unknown])
    assert not rows([at(8, 1), at(32, 0.5), at(128, 0.0)])
    assert not rows([at(8, 1), at(32, 0.5), at(128, math.nan)])
