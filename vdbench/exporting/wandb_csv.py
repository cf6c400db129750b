"""CSV as Weights & Biases exports it: a table of runs, and a chart's history with __MIN and __MAX as the interval.

``runs.csv`` has a row for each estimator at each place: ``Name``, the configuration, and the figures. ``history.csv``
has ``Step``, and for each run and metric ``RUN - METRIC``, ``RUN - METRIC__MIN`` and ``RUN - METRIC__MAX``.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from vdbench.exporting.figures import Figures

ENDS = {"value": "", "ci_low": "__MIN", "ci_high": "__MAX"}
"""Columns of the table, and how those of a CSV end."""


def files(found: Figures) -> dict[str, str]:
    """The content of ``runs.csv``, and of ``history.csv`` where the run has figures by step."""
    runs = []
    for where, part in found.places():
        line: dict[str, Any] = {"Name": str(where), "State": "finished", **where._asdict()}
        for row in part.to_dict("records"):
            line |= {f"{row['name']}{end}": row[column] for column, end in ENDS.items()}
        runs.append(line)
    made = {"runs.csv": pd.DataFrame(runs).to_csv(index=False)}
    history: dict[float, dict[str, Any]] = {}
    for where, part in found.courses():
        for row in part.to_dict("records"):
            line = history.setdefault(row["step"], {"Step": row["step"]})
            line |= {f"{where} - {row['name']}{end}": row[column] for column, end in ENDS.items()}
    if history:
        made["history.csv"] = pd.DataFrame([history[s] for s in sorted(history)]).to_csv(
            index=False
        )
    return made
