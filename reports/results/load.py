"""Read run folders, and refuse what is none in one sentence."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vdbench.errors import InputError, printable
from vdbench.schema import COLUMNS, RUN, TRAINING_COLUMNS
from vdbench.statistics import ranges
from vdbench.store import Damaged, records, tables

if TYPE_CHECKING:
    import pandas as pd

SCHEMAS = tuple(range(1, RUN + 1))
"""The versions of ``run.json`` and ``results.parquet`` that this package reads."""
ADDED = ("serves", "detail", "mode")
"""Columns that schemas 2 and 3 added, which older runs lack."""
TEXT = tuple(x for x, (kind, _) in COLUMNS.items() if kind == "str" and x not in ADDED)
NUMBERS = tuple(x for x, (kind, _) in COLUMNS.items() if kind != "str")
EPOCHS = tuple(TRAINING_COLUMNS)
"""Columns of ``training.parquet``."""

Detail = dict[str, Any]
"""Facts about a value or a cell, by the keys that runs write in ``detail``."""

SCALED = (
    r"noise from (?P<examples>\d+) of (?P<batch_size>\d+) examples, scaled; "
    r"data part and mean from (?P<data_from>[^;]+)"
)
TARGET = (
    r"target (?P<target>-?[\d.e+-]+) nats(, reached by (?P<reached>\d+) of (?P<seeds>\d+) seeds)?"
)
REFERENCE = r"reference: (?P<reference>[^;]+)"
FIT = r"over [MS] = (?P<points>[\d, ]+)(; .* up to (?P<distance>[\d.e+-]+) half-widths)?"
GRADIENTS = r"^(?P<steps>\d+) gradients"
CLAIMED = r"^at least (?P<claimed>[\d.]+) %"
KILLS = r"(?P<kills>\d+) kills in (?P<campaigns>\d+) campaigns; (?P<figures>\d+) figures"
COUNTED = r"level adjusted for (?P<comparisons>\d+) comparisons"
MESSAGES = (
    ("", (SCALED,)),
    ("convergence.seconds_to_target", (TARGET,)),
    ("relative_bias", (REFERENCE,)),
    ("adjusted.", (REFERENCE, COUNTED)),
    ("slope.", (FIT,)),
    ("floor.", (FIT,)),
    ("time.seconds_per_epoch", (GRADIENTS,)),
    ("coverage.", (CLAIMED,)),
    ("kills.", (KILLS,)),
)
"""What runs of schema 1 say in messages, by the beginning of the metric."""
REACHED = r"^±[\d.e+-]+ reached at (?P<units>\d+) units"
BOUND = r"^bound of (?P<units>\d+) units reached; widest is ±(?P<width>[\d.e+-]+), (?P<widest>.+)"
STOPS = {"precision": REACHED, "max_units": BOUND}
"""What runs of schema 1 say of why a cell stopped, by the name of the reason."""
EAGER = "eager"
"""The execution mode of runs that say nothing of it."""
WORDS = ("data_from", "conditional_on", "reference", "widest")
"""Facts that are words; the others are numbers."""


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        name: The folder's name, made unique.
        info: The content of ``run.json``.
        details: The facts about each of its cells, in their order; those in ``run.json`` where there are none.
    """

    name: str
    info: dict[str, Any]
    details: tuple[Detail, ...] = ()

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
        """What became of each cell of the suite, with ``detail`` as a mapping."""
        cells = list(self.info.get("cells") or [])
        details = self.details or tuple(dict(cell.get("detail") or {}) for cell in cells)
        return [{**cell, "detail": detail} for cell, detail in zip(cells, details, strict=True)]


@dataclass(frozen=True)
class Results:
    """The rows of all runs with the columns ``run`` and ``detail`` (a mapping), and the runs by name.

    ``training`` holds the epochs of their whole trainings (``training.parquet``), None where no run has such.
    ``modes`` holds what was timed, in every execution mode; ``frame`` has of it the mode that the run ranks by.
    """

    frame: pd.DataFrame
    runs: dict[str, Run]
    training: pd.DataFrame | None = None
    modes: pd.DataFrame | None = None

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
    frames, every, runs = [], [], {}
    epochs = []
    for folder, name in zip(run_dirs, unique_names(run_dirs), strict=True):
        info = read_info(folder)
        frame = read_rows(folder)
        frame.insert(0, "run", name)
        every.append(frame[frame["mode"] != ""])
        frames.append(frame[frame["mode"].isin(["", ranked(info)])])
        known = read_epochs(folder) if (folder / "training.parquet").is_file() else None
        runs[name] = Run(name, info, cell_details(info, known))
        if known is not None:
            known.insert(0, "run", name)
            epochs.append(known)
    training = pd.concat(epochs, ignore_index=True) if epochs else None
    timed = pd.concat(every, ignore_index=True)
    return Results(pd.concat(frames, ignore_index=True), runs, training, timed)


def ranked(info: dict[str, Any]) -> str:
    """Return the execution mode that a run ranks by: the first that its suite asks for."""
    modes = (info.get("suite") or {}).get("modes") or [EAGER]
    return str(modes[0])


def unique_names(folders: Sequence[Path]) -> list[str]:
    """Name each run after its folder, numbering the names that come more than once."""
    names: list[str] = []
    for folder in folders:
        base = printable(folder.resolve().name) or "run"
        name, copy = base, 1
        while name in names:
            copy += 1
            name = f"{base} ({copy})"
        names.append(name)
    return names


def read_info(folder: Path) -> dict[str, Any]:
    """Read ``run.json`` of a folder, checking that it is one this package understands."""
    path = folder / "run.json"
    if not path.is_file():
        raise records.no_run(folder)
    try:
        info = records.read(path)
    except Damaged as error:
        raise InputError(damage(path, error, "JSON")) from error
    except OSError as error:
        raise InputError(f"'{path}' cannot be read as JSON: {one_line(error)}.") from error
    found = info.get("schema") if isinstance(info, dict) else None
    if found not in SCHEMAS:
        raise InputError(f"'{path}' has schema {found!r}; this version reads schemas 1 to {RUN}.")
    return {key: shown(value) for key, value in info.items()}


def shown(value: Any) -> Any:
    """Return data with the control characters of its texts as escapes: no name commands a terminal or breaks a page."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {shown(key): shown(item) for key, item in value.items()}
    return [shown(item) for item in value] if isinstance(value, list) else value


def read_rows(folder: Path) -> pd.DataFrame:
    """Read ``results.parquet`` of a folder, checking its columns and setting their types."""
    import pandas as pd

    path = folder / "results.parquet"
    if not path.is_file():
        raise InputError(f"'{folder}' has no results.parquet: the run has not written results yet.")
    frame = read_table(path)
    missing = [name for name in (*TEXT, *NUMBERS) if name not in frame.columns]
    if missing:
        raise InputError(f"'{path}' lacks the columns {', '.join(missing)}.")
    for name in TEXT:
        frame[name] = printed(frame[name].fillna("").astype(str))
    for name in NUMBERS:
        frame[name] = frame[name].astype(float)
    clip(frame)
    if "mode" not in frame.columns:
        frame["mode"] = ""
    written = frame["detail"] if "detail" in frame.columns else [""] * len(frame)
    columns = (written, frame["metric"], frame["status"], frame["message"])
    details = [row_detail(*row) for row in zip(*columns, strict=True)]
    frame["detail"] = pd.Series(details, index=frame.index, dtype=object)
    return frame


def clip(frame: pd.DataFrame) -> None:
    """Cut off from intervals what a quantity cannot be: runs of earlier versions did not."""
    for metric in frame["metric"].unique():
        if ranges.possible(metric) == (-math.inf, math.inf):
            continue
        mine = frame["metric"] == metric
        ends = [
            ranges.clip(metric, *row)
            for row in frame.loc[mine, ["value", "ci_low", "ci_high"]].itertuples(index=False)
        ]
        frame.loc[mine, ["ci_low", "ci_high"]] = ends


def read_epochs(folder: Path) -> pd.DataFrame:
    """Read ``training.parquet`` of a folder, checking its columns."""
    path = folder / "training.parquet"
    frame = read_table(path)
    missing = [name for name in EPOCHS if name not in frame.columns]
    if missing:
        raise InputError(f"'{path}' lacks the columns {', '.join(missing)}.")
    for name in EPOCHS:
        if TRAINING_COLUMNS[name][0] == "str":
            frame[name] = printed(frame[name])
    return frame


def read_table(path: Path) -> pd.DataFrame:
    """Read a table and check its seal, where it has one."""
    try:
        return tables.read_frame(path)[0]
    except Damaged as error:
        raise InputError(damage(path, error, "parquet")) from error
    except OSError as error:
        raise InputError(f"'{path}' cannot be read as parquet: {one_line(error)}.") from error


def damage(path: Path, error: Damaged, form: str) -> str:
    """Say in one sentence that a file is damaged, and what helps."""
    return (
        f"'{path}' cannot be read as {form}: {one_line(error)}; "
        "run the suite again with --out on its folder, which makes it anew."
    )


def printed(texts: pd.Series[str]) -> pd.Series[str]:
    """Return a column of texts with their control characters as escapes; few texts are different."""
    said = {text: printable(text) for text in texts.unique() if isinstance(text, str)}
    odd = {text: plain for text, plain in said.items() if text != plain}
    return texts.replace(odd) if odd else texts


def one_line(error: object) -> str:
    """Put a message on one line, without its final full stop."""
    return " ".join(str(error).split()).rstrip(".")


def row_detail(written: object, metric: str, status: str, message: str) -> Detail:
    """Return the facts about a value: as the run wrote them, else as its message has them (schema 1).

    ``why`` is added for what has no value: the reason, which only the message has.
    """
    detail = json.loads(written) if isinstance(written, str) and written else {}
    if not detail and message:
        for start, patterns in MESSAGES:
            if metric.startswith(start):
                detail |= facts(message, *patterns)
    if status == "undefined" and message:
        detail["why"] = re.split(";", re.sub("^no value:? *", "", message))[0]
    return dict(shown(detail))


def cell_details(info: dict[str, Any], epochs: pd.DataFrame | None) -> tuple[Detail, ...]:
    """Return the facts about each cell: as the run wrote them, else as its reason and epochs have them (schema 1).

    Args:
        info: The content of ``run.json``.
        epochs: The content of ``training.parquet``; None where there is none.
    """
    found = []
    for cell in info.get("cells") or []:
        detail = dict(cell.get("detail") or {})
        if not detail:
            reason = str(cell.get("reason") or "")
            for stop, pattern in STOPS.items():
                if said := facts(reason, pattern):
                    detail = {"stop": stop, **said}
            if cell.get("measure") == "training" and epochs is not None:
                detail = stopped_early(info, cell, epochs)
        found.append(detail)
    return tuple(found)


def stopped_early(info: dict[str, Any], cell: dict[str, Any], epochs: pd.DataFrame) -> Detail:
    """Return the last epoch of each seed's training where that is before the last one planned."""
    suite = info.get("suite") or {}
    own = {item.get("name"): item.get("training") or {} for item in suite.get("problems") or []}
    common = (suite.get("measures") or {}).get("training") or {}
    planned = {**common, **own.get(cell.get("problem"), {})}.get("epochs")
    problem, estimator = str(cell.get("problem")), str(cell.get("estimator"))
    mine = epochs["problem"].eq(problem) & epochs["estimator"].eq(estimator)
    last = epochs[mine].groupby("seed")["epoch"].max().sort_index()
    if planned is None or last.empty:
        return {}
    return {"stopped_early": [int(epoch) if epoch < planned else None for epoch in last]}


def facts(text: str, *patterns: str) -> Detail:
    """Return what the named groups of some patterns find in a text: numbers, but for words."""
    found: Detail = {}
    for pattern in patterns:
        hit = re.search(pattern, text)
        for key, value in (hit.groupdict() if hit else {}).items():
            if value is not None:
                found[key] = value.strip() if key in WORDS else value
    return {key: value if key in WORDS else amount(key, value) for key, value in found.items()}


def amount(key: str, value: str) -> float | int:
    """Read a number of a message: a share from its percentage, a count of points from their list."""
    if key == "points":
        return len(value.split(","))
    if key == "claimed":
        return float(value) / 100
    return int(value) if value.isdigit() else float(value)
