"""Read run folders, and refuse what is none in one sentence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vdbench.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
"""The version of ``run.json`` and ``results.parquet`` that this package reads."""

TEXT = (
    "suite",
    "problem",
    "checkpoint",
    "estimator",
    "options",
    "objective",
    "parameterization",
    "precision",
    "device",
    "layer",
    "role",
    "metric",
    "unit",
    "status",
    "message",
    "against",
    "label",
)
NUMBERS = (
    "batch_size",
    "samples",
    "seed",
    "step",
    "seconds",
    "value",
    "ci_low",
    "ci_high",
    "level",
    "n",
)


EPOCHS = ("problem", "estimator", "seed", "epoch", "step", "layer", "metric", "bin", "value")
"""Columns of ``training.parquet``."""


@dataclass(frozen=True)
class Run:
    """One run: its name (the folder's, made unique) and the content of ``run.json``."""

    name: str
    info: dict[str, Any]

    @property
    def baseline(self) -> str:
        """Label of the estimator that ratios are taken to; empty where there is none."""
        return str(self.info.get("baseline") or "")

    @property
    def level(self) -> float:
        """Level of the intervals, between 0 and 1."""
        return float(self.info.get("level") or 0.95)

    @property
    def estimators(self) -> dict[str, dict[str, Any]]:
        """Declarations of each estimator, by label."""
        return dict(self.info.get("estimators") or {})

    @property
    def cells(self) -> list[dict[str, Any]]:
        """What became of each cell of the suite."""
        return list(self.info.get("cells") or [])


@dataclass(frozen=True)
class Results:
    """The rows of all runs with a ``run`` column, and the runs by name.

    ``training`` holds the epochs of their whole trainings (``training.parquet``), None where no run has such.
    """

    frame: pd.DataFrame
    runs: dict[str, Run]
    training: pd.DataFrame | None = None

    @property
    def several(self) -> bool:
        """Whether the report is over more than one run."""
        return len(self.runs) > 1


def load(run_dirs: Sequence[Path]) -> Results:
    """Read run folders into one table.

    Args:
        run_dirs: Folders with ``results.parquet`` and ``run.json``.

    Returns:
        All rows, with the run's name in the first column, and the runs.

    Raises:
        InputError: If there is no folder, or one is no run or of an unknown schema.
    """
    import pandas as pd

    if not run_dirs:
        raise InputError("A report needs at least one run folder, and none was given.")
    frames, runs = [], {}
    epochs = []
    for folder, name in zip(run_dirs, unique_names(run_dirs), strict=True):
        runs[name] = Run(name, read_info(folder))
        frame = read_rows(folder)
        frame.insert(0, "run", name)
        frames.append(frame)
        if (folder / "training.parquet").is_file():
            epochs.append(read_epochs(folder))
            epochs[-1].insert(0, "run", name)
    training = pd.concat(epochs, ignore_index=True) if epochs else None
    return Results(pd.concat(frames, ignore_index=True), runs, training)


def unique_names(folders: Sequence[Path]) -> list[str]:
    """Name each run after its folder, numbering the names that come more than once."""
    names: list[str] = []
    for folder in folders:
        base = folder.resolve().name or "run"
        name, copy = base, 1
        while name in names:
            copy += 1
            name = f"{base} ({copy})"
        names.append(name)
    return names


def read_info(folder: Path) -> dict[str, Any]:
    """Read ``run.json`` of a folder, checking that it is one this package understands."""
    path = folder / "run.json"
    if not folder.is_dir():
        raise InputError(f"'{folder}' is not a run folder: there is no such folder.")
    if not path.is_file():
        raise InputError(f"'{folder}' is not a run folder: it has no run.json.")
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"'{path}' cannot be read as JSON: {one_line(error)}.") from error
    found = info.get("schema") if isinstance(info, dict) else None
    if found != SCHEMA:
        raise InputError(f"'{path}' has schema {found!r}; this version reads schema {SCHEMA}.")
    return dict(info)


def read_rows(folder: Path) -> pd.DataFrame:
    """Read ``results.parquet`` of a folder, checking its columns and setting their types."""
    import pandas as pd

    path = folder / "results.parquet"
    if not path.is_file():
        raise InputError(f"'{folder}' has no results.parquet: the run has not written results yet.")
    try:
        frame = pd.read_parquet(path)
    except Exception as error:  # pyarrow raises many kinds for a damaged file
        raise InputError(f"'{path}' cannot be read as parquet: {one_line(error)}.") from error
    missing = [name for name in (*TEXT, *NUMBERS) if name not in frame.columns]
    if missing:
        raise InputError(f"'{path}' lacks the columns {', '.join(missing)} of schema {SCHEMA}.")
    for name in TEXT:
        frame[name] = frame[name].fillna("").astype(str)
    for name in NUMBERS:
        frame[name] = frame[name].astype(float)
    return frame


def read_epochs(folder: Path) -> pd.DataFrame:
    """Read ``training.parquet`` of a folder, checking its columns."""
    import pandas as pd

    path = folder / "training.parquet"
    try:
        frame = pd.read_parquet(path)
    except Exception as error:
        raise InputError(f"'{path}' cannot be read as parquet: {one_line(error)}.") from error
    missing = [name for name in EPOCHS if name not in frame.columns]
    if missing:
        raise InputError(f"'{path}' lacks the columns {', '.join(missing)} of schema {SCHEMA}.")
    return frame


def one_line(error: object) -> str:
    """Put a message on one line, without its final full stop."""
    return " ".join(str(error).split()).rstrip(".")
