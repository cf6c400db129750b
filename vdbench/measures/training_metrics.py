"""Whole trainings as figures: means over seeds, differences between problems seed by seed, and every epoch's table.

A figure without a step is of the parameters that a training gave: the last ones, or those of the best validated
epoch. One with a step is of the parameters at that step.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from vdbench import statistics
from vdbench.measures.cells import Outcome
from vdbench.measures.metrics import MetricValue
from vdbench.statistics import Estimate
from vdbench.store import Table, tables
from vdbench.suite import training_recipe
from vdbench.suite.schema import Suite

FILE = "training.parquet"
"""In the run folder: problem, estimator, seed and the columns of `vdbench.training.history`, a row a number."""

FINAL = "final."
"""What begins the names of what a training gave, in its table."""

UNITS = {
    "test.error": "percent", "test.error.mean_weights": "percent",
    "test.nll": "nats/example", "test.nll.mean_weights": "nats/example",
    "test.ece": "percent", "test.ece.mean_weights": "percent",
    "training.elbo": "nats", "training.expected_log_likelihood": "nats", "training.kl": "nats",
    "training.seconds": "s", "training.epochs": "epochs", "alpha.log_median": "1",
    "sparsity.share": "percent", "sparsity.compression": "1", "sparsity.error": "percent",
}  # fmt: skip
"""Metrics and their units, in the order of the rows."""

OF_EXAMPLES = ("training.elbo", "training.expected_log_likelihood")
"""Metrics that may be estimated from some of the training examples."""

COMPARED = ("test.error", "test.error.mean_weights", "test.nll", "test.nll.mean_weights",
            "test.ece", "test.ece.mean_weights")  # fmt: skip
"""Metrics of which differences between problems are taken."""


def values(seeds: Sequence[Table], level: float, message: str = "") -> list[MetricValue]:
    """What the trainings of one cell gave, then their course at the tracked epochs that all of them reached.

    Args:
        seeds: Their tables.
        level: Of the intervals.
        message: What is said of metrics `OF_EXAMPLES`.
    """
    found = []
    for metric, unit in UNITS.items():
        for layer in _layers(seeds[0], FINAL + metric):
            values = [_final(table, metric, layer) for table in seeds]
            found.append(MetricValue(metric, _mean(values, level), level, unit, layer=layer))
    for metric, unit in UNITS.items():
        for layer in _layers(seeds[0], metric):
            found += _course(seeds, metric, layer, level, unit)
    return [
        replace(value, message=message) if value.metric in OF_EXAMPLES else value
        for value in found
        if value.estimate.n
    ]


def _course(
    seeds: Sequence[Table], metric: str, layer: str, level: float, unit: str
) -> Iterator[MetricValue]:
    curves = [_curve(table, metric, layer) for table in seeds]
    clocks = [_curve(table, "seconds", "all") for table in seeds]
    for step, first in curves[0].items():
        if math.isnan(first) or not all(step in curve for curve in curves):
            continue
        estimate = _mean([curve[step] for curve in curves], level)
        seconds = float(np.mean([clock.get(step, 0.0) for clock in clocks]))
        yield MetricValue(metric, estimate, level, unit, layer=layer, step=step, seconds=seconds)


def _layers(table: Table, metric: str) -> list[str]:
    return list(dict.fromkeys(table["layer"][table["metric"] == metric].tolist()))


def _final(table: Table, metric: str, layer: str) -> float:
    mine = (table["metric"] == FINAL + metric) & (table["layer"] == layer)
    return float(table["value"][mine][0])


def _curve(table: Table, metric: str, layer: str) -> dict[float, float]:
    mine = (table["metric"] == metric) & (table["layer"] == layer)
    return dict(zip(table["step"][mine].tolist(), table["value"][mine].tolist(), strict=True))


def _mean(values: Sequence[float], level: float) -> Estimate:
    """Student's interval over seeds; no value where a seed has none, n 0 where no seed has (a regression's error)."""
    if all(math.isfinite(value) for value in values):
        return statistics.seed_mean(values, level)
    nothing = all(math.isnan(value) for value in values)
    return Estimate(math.nan, math.nan, math.nan, 0 if nothing else len(values))


def differences(
    suite: Suite, outcomes: Sequence[Outcome]
) -> Iterator[tuple[Outcome, list[MetricValue]]]:
    """Differences to the baseline problem, or to the problem of the baseline group at the same x, paired by seed.

    A cell is compared with the other problem's cell of the same estimator, or with its only one. Each difference
    comes twice: ``difference.…`` at the suite's level, ``adjusted.difference.…`` at one that holds for all the
    compared cells together (Bonferroni).

    Yields:
        An outcome of another problem, and its differences.
    """
    base = training_recipe.bases(suite)
    others = [o for o in outcomes if o.cell.problem in base]
    found = [(o, _counterpart(o, base[o.cell.problem], outcomes)) for o in others]
    pairs = [(o, against) for o, against in found if against is not None]
    adjusted = 1 - (1 - suite.level) / max(1, len(pairs))
    for outcome, against in pairs:
        name = against.cell.problem
        if against.cell.label != outcome.cell.label:
            name = f"{name} ({against.cell.label})"
        yield (
            outcome,
            [
                *_differences(outcome, against, suite.level, "difference", name, len(pairs)),
                *_differences(outcome, against, adjusted, "adjusted.difference", name, len(pairs)),
            ],
        )


def _counterpart(outcome: Outcome, base: str, outcomes: Sequence[Outcome]) -> Outcome | None:
    cells = {o.cell.label: o for o in outcomes if o.cell.problem == base}
    if len(cells) == 1:
        return next(iter(cells.values()))
    return cells.get(outcome.cell.label)


def _differences(
    outcome: Outcome, against: Outcome, level: float, kind: str, name: str, count: int
) -> list[MetricValue]:
    found = []
    for metric in COMPARED:
        if not (
            _layers(outcome.data[0], FINAL + metric) and _layers(against.data[0], FINAL + metric)
        ):
            continue
        values = [
            _final(mine, metric, "all") - _final(theirs, metric, "all")
            for mine, theirs in zip(outcome.data, against.data, strict=True)
        ]
        estimate = _exact_zero(_mean(values, level), values)
        many = f"; level adjusted for {count} comparisons" if kind.startswith("adjusted") else ""
        message = f"minus {name}, paired by seed{many}"
        if estimate.n:
            found.append(
                MetricValue(
                    f"{kind}.{metric}",
                    estimate,
                    level,
                    UNITS[metric],
                    message=message,
                    against=against.cell.problem,
                    detail={"comparisons": count if many else 1},
                )
            )
    return found


def _exact_zero(estimate: Estimate, values: Sequence[float]) -> Estimate:
    """The same, with a mean that is nothing but rounding as 0: errors are multiples of one example."""
    rounding = 1e-12 * max(map(abs, values))
    return replace(estimate, value=0.0) if abs(estimate.value) < rounding else estimate


def write(
    outcomes: Sequence[Outcome],
    path: Path,
    run: str = "",
    kept: Collection[tuple[str, str]] = (),
) -> None:
    """Write every epoch of every training, with a seal, atomically.

    Args:
        outcomes: Of the cells.
        path: The file.
        run: Identity of the run.
        kept: Problems and estimators that failed, and of which the file keeps what it has.
    """
    import pandas as pd

    frames = []
    if kept and path.exists():
        before, _ = tables.read_frame(path)
        mine = pd.Series(list(zip(before["problem"], before["estimator"], strict=True)))
        frames.append(before[mine.isin(list(kept)).to_numpy()])
    for outcome in outcomes:
        for seed, table in enumerate(outcome.data):
            frame = pd.DataFrame(table)
            frame.insert(0, "problem", outcome.cell.problem)
            frame.insert(1, "estimator", outcome.cell.label)
            frame.insert(2, "seed", seed)
            frames.append(frame)
    if frames:
        whole = pd.concat(frames, ignore_index=True)
        tables.write_frame(path, whole, {"kind": "trainings", "run": run})
