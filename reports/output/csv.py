"""A report's figures as CSV files, at full precision."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from reports.results.groups import BIAS, Group
from reports.results.load import Results
from reports.results.published import matches_of

if TYPE_CHECKING:
    import pandas as pd

FILES = {
    "variance": ("variance.",),
    "ratio": ("ratio.",),
    "pairwise": ("pairwise.",),
    "cost": ("time.", "throughput.", "memory.", "efficiency."),
    "convergence": ("convergence.",),
    "test": ("test.",),
    "training": ("training.", "alpha.", "sparsity.", "difference.", "adjusted.difference."),
    "slopes": ("slope.", "floor."),
    "instrument": ("coverage.", "width.", "false_alarms.", "power.", "wrong.", "kills."),
    "bias": ("snr", "relative_bias", BIAS),
}
"""CSV files, and the beginnings of the metrics in each."""

COLUMNS = (
    "run",
    "problem",
    "checkpoint",
    "batch_size",
    "precision",
    "device",
    "label",
    "layer",
    "role",
    "metric",
    "against",
    "step",
    "seconds",
    "value",
    "ci_low",
    "ci_high",
    "level",
    "n",
    "unit",
    "status",
    "message",
)


FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a cell of a spreadsheet begins with that is computed."""


def write_csv(results: Results, folder: Path) -> None:
    """Write one CSV a kind of figure, at full precision, with intervals; no empty one."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = [name for name in COLUMNS if name != "run" or results.several]
    for name, prefixes in FILES.items():
        rows = results.frame[results.frame["metric"].str.startswith(prefixes)]
        if len(rows):
            save_csv(rows[columns], folder / f"{name}.csv")


def save_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write a table with the shortest digits that give the same numbers back."""
    frame = frame.copy()
    for name in ("batch_size", "n"):
        frame[name] = frame[name].astype("Int64")
    tame(frame).to_csv(path, index=False, lineterminator="\n", encoding="utf-8")


def tame(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose texts no spreadsheet takes for formulas: a quote stands before what would be one."""
    import pandas as pd

    tamed = frame.copy()
    for name, column in frame.items():
        if not pd.api.types.is_numeric_dtype(column):
            tamed[name] = column.map(text)
    return tamed


def text(cell: object) -> object:
    """Return a cell, with a quote before a text that begins as a formula does; a number is left as it is."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell


def write_published(groups: list[Group], folder: Path) -> None:
    """Write published values and ours as a CSV file; none where there are none."""
    import pandas as pd

    rows = [
        {
            "run": group.run.name, **asdict(theirs), "problem": group.problem,
            "batch_size": group.batch_size, "checkpoint": group.checkpoint, "published": theirs.value,
            "value": ours.value, "ci_low": ours.low, "ci_high": ours.high, "level": ours.level,
            "n": ours.n,
        }
        for group in groups
        for match in matches_of(group)
        for theirs, ours in ((match.theirs[x], match.ours[x]) for x in match.ours)
    ]  # fmt: skip
    if rows:
        frame = pd.DataFrame(rows)
        tame(frame).to_csv(
            folder / "published.csv", index=False, lineterminator="\n", encoding="utf-8"
        )
