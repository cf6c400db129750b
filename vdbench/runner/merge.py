"""Runs of one suite, joined: the union of what they have stored, and the table made anew from it.

Nothing is measured and nothing is overwritten. Files that are damaged are not taken. Where two runs have a file of the
same name with different content, nothing is written at all, unless they differ only in how long a training took.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import ValidationError

from vdbench import schema
from vdbench.errors import InputError
from vdbench.measures.progress import Progress
from vdbench.measures.registry import FullSuite
from vdbench.problems import given
from vdbench.runner import record
from vdbench.runner.finished import Finished
from vdbench.runner.run_suite import run
from vdbench.store import Damaged, Ledger, arrays, atomic, records, shares, tables
from vdbench.store.seals import Content, checksum
from vdbench.suite.schema import Suite

TIMED = ("throughput", "memory", "convergence")
"""Measures whose figures are of one processor."""

AGREE = {
    "device": ("device",),
    "threads": ("threads",),
    "threads of cells": ("cell_threads",),
    "version of vdbench": ("versions", "vdbench"),
    "version of torch": ("versions", "torch"),
    "version of numpy": ("versions", "numpy"),
    "source of vdbench": ("git", "vdbench", "commit"),
    "instruction set": ("environment", "torch", "cpu_capability"),
    "device's name": ("environment", "device", "name"),
}
"""What runs must have in common, and where ``run.json`` has it; the last only where times or a GPU are measured."""


class Conflict(NamedTuple):
    """A file that two runs have with different content.

    Attributes:
        file: Its name in a run folder.
        runs: The two.
        what: It holds.
    """

    file: str
    runs: str
    what: str


@dataclass(frozen=True)
class Merged:
    """What became of a merge.

    Attributes:
        finished: The run; None where nothing was written, for conflicts.
        files: How many files were joined.
        damaged: Files that were not taken, and why.
        conflicts: Files that differ.
    """

    finished: Finished | None
    files: int
    damaged: list[dict[str, str]]
    conflicts: list[Conflict]


def merge(
    folders: Sequence[Path],
    out: Path,
    plugins: Sequence[str | Path] = (),
    progress: Progress | None = None,
    allow: Sequence[str] = (),
) -> Merged:
    """Join runs of one suite.

    Args:
        folders: Their folders.
        out: A new or empty folder; or one with such a run, which is then one of them.
        plugins: Python files that register estimators of the suite.
        progress: Told what is done.
        allow: Modules or factories that the suite may run, as of `vdbench.run`.

    Raises:
        InputError: They cannot be joined; one sentence says why.
    """
    every = list(dict.fromkeys([*([out] if (out / "run.json").exists() else []), *folders]))
    if len(every) < 2:
        raise InputError("merge: expected at least two run folders.")
    runs = {folder: _record(folder) for folder in every}
    joined = _joined(runs, out)
    if out not in runs and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out {out}: expected a new or empty folder, or one of the runs.")
    if out in runs and (runs[out].get("only") or []) != joined["only"]:
        raise InputError(f"--out {out}: it is a run of fewer estimators; expected a new folder.")
    chosen, damaged, conflicts = _union(every)
    if conflicts:
        return Merged(None, 0, damaged, conflicts)
    ledger = Ledger(out)
    try:
        for name, path in chosen.items():
            if path != out / name:
                _aside(ledger, out / name)
                with atomic(out / name) as temporary:
                    shutil.copyfile(path, temporary)
        joined["damaged"] += ledger.found
        with atomic(out / "run.json") as temporary:
            temporary.write_text(records.text(joined), encoding="utf-8")
    except OSError as error:
        raise InputError(f"--out {out}: it cannot be written to, {error.strerror}.") from error
    finished = run(
        _suite(joined),
        out,
        device=joined["device"],
        only=joined["only"],
        plugins=plugins,
        progress=progress,
        allow=allow,
        stored_only=True,
    )
    return Merged(finished, len(chosen), damaged, [])


def _aside(ledger: Ledger, path: Path) -> None:
    """Set a damaged file aside whose name a whole one gets."""
    try:
        _read(path)
    except FileNotFoundError:
        return
    except Damaged as error:
        ledger.set_aside(path, str(error))


def _record(folder: Path) -> dict[str, Any]:
    found = records.of_run(folder)
    if found.get("blocks", 1) != schema.BLOCKS:
        raise InputError(
            f"'{folder}': its blocks are of an earlier version of vdbench; run its suite again on the folder first."
        )
    found["suite"] = _suite(found).model_dump(mode="json")
    return found


def _suite(content: Mapping[str, Any]) -> Suite:
    try:
        found: Suite = FullSuite.model_validate(content.get("suite"))
    except ValidationError as error:
        raise InputError("the suite in run.json is not one of this version of vdbench.") from error
    return found


# --- what must agree -------------------------------------------------------------------------


def _joined(runs: Mapping[Path, dict[str, Any]], out: Path) -> dict[str, Any]:
    """One record of all; raises `InputError` where they cannot be joined."""
    (first, base), *others = runs.items()
    for folder, other in others:
        _agree(first, base, folder, other)
    for problem in base["suite"].get("problems", []):
        if problem.get("factory") == given.GIVEN:
            raise given.missing(str(problem.get("name")))
    every = list(runs.values())
    only = [one.get("only") or [] for one in every]
    parts = [
        {key: one[key] for key in ("started", "finished", "wall_seconds") if key in one}
        for one in every
    ]
    return {
        **{k: v for k, v in base.items() if k not in ("finished", "resumed", "cells")},
        "only": list(dict.fromkeys(name for part in only for name in part)) if all(only) else [],
        "chunks": {k: v for one in every for k, v in one.get("chunks", {}).items()},
        "estimators": {k: v for one in every for k, v in one.get("estimators", {}).items()},
        "plugins": list(dict.fromkeys(p for one in every for p in one.get("plugins", []))),
        "started": min(str(one.get("started", "")) for one in every),
        "wall_seconds": sum(one.get("wall_seconds", 0.0) for one in every),
        "sealed": all(one.get("sealed") for one in every),
        "damaged": [
            # such files are not copied
            entry if folder == out else {**entry, "kept": f"{folder.name}/{entry['kept']}"}
            for folder, one in runs.items()
            for entry in one.get("damaged", [])
        ],
        "merged": parts,
    }


def _agree(first: Path, base: dict[str, Any], folder: Path, other: dict[str, Any]) -> None:
    """See that two runs are of one suite, version and kind of machine."""
    one, two = record.decisive(base["suite"]), record.decisive(other["suite"])
    if one != two:
        said = record.difference("suite", one, two, ("is", ""))
        raise InputError(f"'{first}' and '{folder}' are runs of other suites: {said}.")
    measures = [name for name, asked in base["suite"]["measures"].items() if asked is not None]
    timed = any(name in TIMED for name in measures)
    for what, place in AGREE.items():
        if what == "device's name" and not (timed or base.get("device") == "cuda"):
            continue
        a, b = _at(base, place), _at(other, place)
        if a != b and not (what.startswith("source") and None in (a, b)):
            raise InputError(f"'{first}' and '{folder}' cannot be joined: {what} is {a} and {b}.")
    for name in ("chunks", "estimators"):
        mine, theirs = base.get(name) or {}, other.get(name) or {}
        for key in sorted(set(mine) & set(theirs)):
            if mine[key] != theirs[key]:
                what = "draws taken together of" if name == "chunks" else "the declaration of"
                raise InputError(f"'{first}' and '{folder}' cannot be joined: {what} {key} differ.")


def _at(content: Any, place: Sequence[str]) -> Any:
    for key in place:
        content = content.get(key) if isinstance(content, dict) else None
    return content


# --- the files -------------------------------------------------------------------------------


def _union(
    folders: Sequence[Path],
) -> tuple[dict[str, Path], list[dict[str, str]], list[Conflict]]:
    """The file to take of each name, those that are damaged, and those that differ."""
    chosen: dict[str, Path] = {}
    sums: dict[str, tuple[int, str]] = {}
    damaged, conflicts = [], []
    for folder, name in _files(folders):
        path = folder / name
        try:
            content = _read(path)
        except Damaged as error:
            damaged.append({"file": f"{folder.name}/{name}", "why": str(error)})
            continue
        rank = (_progress(content), checksum(_untimed(content.values), content.address))
        before = sums.get(name)
        if before is None or rank[0] > before[0]:
            chosen[name], sums[name] = path, rank
        elif rank[0] == before[0] and rank[1] != before[1]:
            runs = f"{chosen[name].parent.parent.name} and {folder.name}"
            conflicts.append(Conflict(name, runs, _what(content)))
    return chosen, damaged, conflicts


def _files(folders: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    for part in shares.OURS:
        for folder in folders:
            for path in sorted((folder / part).glob("*")):
                if path.suffix in (".parquet", ".npz") and path.name.count(".") == 1:
                    yield folder, f"{part}/{path.name}"


def _read(path: Path) -> Content:
    found = tables.read(path) if path.suffix == ".parquet" else arrays.read(path)
    if found.address is not None and path.stem not in found.names:
        raise Damaged("it is another's", "misplaced")
    if path.suffix == ".parquet" and found.address is None:
        raise Damaged("it does not say what it holds")
    return found


def _untimed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values without the times beside them: where two differ in times alone, the first run's is taken."""
    kept = {name: value for name, value in values.items() if name != "seconds"}
    if "metric" in kept and "value" in kept:
        untimed = np.array(["seconds" not in str(metric) for metric in kept["metric"]], dtype=bool)
        kept = {name: value[untimed] for name, value in kept.items()}
    return kept


def _progress(content: Content) -> int:
    """How far a training under way is; one that is at its end, and anything else, is farthest."""
    steps = content.values.get("step")
    under_way = steps is not None and any(name.startswith("tracked/") for name in content.values)
    return int(steps) if under_way and steps is not None else 2**62


def _what(content: Content) -> str:
    said = content.address or {}
    estimator = said.get("estimator")
    name = estimator.get("name", "") if isinstance(estimator, dict) else str(estimator or "")
    parts = (said.get("measure") or said.get("kind") or "", name, said.get("place") or "")
    return " ".join(str(part) for part in parts if part)
