"""A suite that measures all there is in seconds, and its rows in an order of their own."""

from __future__ import annotations

from typing import Any

import pandas as pd

SCORE = "score(baseline=leave-one-out, samples=2)"

LABELS = ["deterministic", "naive", "per-example", "local", SCORE]

TINY: dict[str, Any] = {
    "name": "tiny",
    "problems": [{"name": "digits", "options": {"widths": [8]}}],
    "checkpoints": [{"epochs": 1, "batch_size": 256}],
    "batch_sizes": [16],
    "estimators": [
        *LABELS[:4],
        {"name": "score", "options": {"samples": 2, "baseline": "leave-one-out"}},
    ],
    "baseline": "naive",
    "measures": {
        "throughput": {"rounds": 8, "budget_seconds": 1},
        "memory": {"repetitions": 6},
        "variance": {"first_units": 8, "max_units": 32, "precision": 0.3},
        "bias": {"units": 8, "draws": 2},
        "convergence": {
            "steps": 10, "evaluations": 2, "seeds": 2, "samples": 2, "examples": 100, "batch_size": 32,
        },
    },
}  # fmt: skip

BY_PLACE = {"variance.total", "variance.noise", "variance.data", "snr", "relative_bias",
            "ratio.variance.total", "ratio.variance.noise"}  # fmt: skip


def with_measures(*names: str, **changes: Any) -> dict[str, Any]:
    """The tiny suite at initialisation with some of its measures, and other changes."""
    measures = {name: TINY["measures"][name] for name in names}
    return {**TINY, "checkpoints": ["initial"], "measures": measures, **changes}


def sorted_rows(table: pd.DataFrame, drop: tuple[str, ...] = ()) -> pd.DataFrame:
    """Rows in an order that does not depend on that of the estimators."""
    keys = [
        "problem",
        "checkpoint",
        "batch_size",
        "label",
        "metric",
        "layer",
        "role",
        "step",
        "against",
    ]
    return table.drop(columns=list(drop)).sort_values(keys, ignore_index=True)
