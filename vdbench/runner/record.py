"""The record of a run: ``run.json``, with all that is needed to know what was run, where, and how it went."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from vdbench import schema
from vdbench.errors import InputError
from vdbench.estimation.base import Estimator, objective
from vdbench.estimation.options import label, options
from vdbench.measures.cells import named
from vdbench.measures.registry import FullSuite
from vdbench.problems.problem import Problem
from vdbench.runner import environment
from vdbench.store import Damaged, Ledger, atomic, now, records, tables
from vdbench.store.shares import OURS

CHANGEABLE = ("description", "timeout", "timeout_run", "memory")
"""Keys of a suite on which no figure depends."""

LEFT = (
    *OURS,
    "damaged",
    "logs",
    "receipts",
    "report",
    "kills",
    "errors.log",
    "results.parquet",
    "training.parquet",
)
"""All that a run leaves beside ``run.json``."""


@dataclass
class Record:
    """``run.json`` in memory.

    Attributes:
        folder: The run folder.
        content: What is in the file.
        ledger: What did not fit in the folder; part of the record.
        shared: Whether several processes work on the folder: the file is begun where there is none, and left alone.
    """

    folder: Path
    content: dict[str, Any] = field(default_factory=dict)
    ledger: Ledger = field(default=None)  # type: ignore[assignment]
    shared: bool = False
    _before: list[dict[str, Any]] = field(default_factory=list)
    _cells: list[dict[str, Any]] = field(default_factory=list)
    _next: float = 0.0

    def __post_init__(self) -> None:
        """Begin a ledger, where there is none."""
        if self.ledger is None:
            self.ledger = Ledger(self.folder)

    @property
    def path(self) -> Path:
        """``RUN/run.json``."""
        return self.folder / "run.json"

    def open(self, asked: Mapping[str, Any], rest: Mapping[str, Any], identity: str = "") -> None:
        """Begin a record, or take up the one in the folder.

        A record that is damaged is set aside, and begun anew: blocks are found by their addresses, not by it.

        Args:
            asked: What makes the run this run: the suite, the device, the estimators chosen.
            rest: What else is recorded of a new run.
            identity: A hash of what makes the run this run, as it is in the seal of its table.

        Raises:
            InputError: The folder holds something else, or another run.
        """
        try:
            found = self._found()
        except OSError as error:
            raise InputError(f"--out {self.folder}: its run.json cannot be read.") from error
        if found is not None:
            self.content = found
            self._resume(asked)
        elif self._occupied():
            raise InputError(
                f"--out {self.folder}: expected a new or empty folder, or one with a run of vdbench."
            )
        else:
            self._not_of_another(identity)
            # a folder that lost its record may hold files of a version without seals
            self.content = {"schema": schema.RUN, "blocks": schema.BLOCKS, **asked,
                            "started": now(), "chunks": {}, **rest, "sealed": not self._ours()}  # fmt: skip
        self.content["identity"] = identity
        self.ledger.strict = bool(self.content.get("sealed"))
        self.ledger.found[:0] = self.content.get("damaged", [])
        self._before = list(self.content.get("cells", []))
        if self.shared and found is not None:
            return
        try:
            self._write()
        except OSError as error:
            raise InputError(
                f"--out {self.folder}: it cannot be written to, {error.strerror}."
            ) from error

    def _found(self) -> dict[str, Any] | None:
        """The record in the folder; None where there is none that fits."""
        try:
            return records.read(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except Damaged as error:
            if not self._ours():
                raise InputError(f"--out {self.folder}: its run.json cannot be read.") from error
            self.ledger.set_aside(self.path, str(error))
            return None

    def _not_of_another(self, identity: str) -> None:
        """Where the record is lost, see that the table in the folder is not another run's."""
        try:
            said = tables.read(self.folder / "results.parquet").address or {}
        except (OSError, Damaged):
            return
        if said.get("run", identity) != identity:
            raise InputError(
                f"--out {self.folder}: it has no run.json, and its results.parquet is another run's; "
                "expected the same suite and options, or a new folder."
            )

    def _ours(self) -> bool:
        """Whether the folder has what a run leaves."""
        return any((self.folder / name).is_dir() for name in OURS)

    def _occupied(self) -> bool:
        """Whether there is something else; what a run leaves that is killed as it begins is nothing."""
        if not self.folder.is_dir():
            return self.folder.exists()
        names = [p.name for p in self.folder.iterdir()]
        known = LEFT if self._ours() else ("damaged",)
        return any(n not in known and not n.startswith(f".{self.path.name}.") for n in names)

    def add(self, cell: dict[str, Any]) -> None:
        """Note how a cell ended."""
        self._cells.append(cell)

    def _resume(self, asked: Mapping[str, Any]) -> None:
        self.content["suite"] = completed(self.content.get("suite"))
        for key, value in asked.items():
            old, new = decisive(self.content.get(key)), decisive(value)
            if old != new:
                raise InputError(
                    f"--out {self.folder} holds another run, {difference(key, old, new)}; "
                    "expected the same suite and options, or a new folder."
                )
        if self.content.get("blocks", 1) != schema.BLOCKS:
            self.ledger.once(
                f"{self.folder}: its blocks and checkpoints are those of an earlier version of vdbench; they stay "
                "where they are, and all is measured again."
            )
        # all files but the blocks are written anew
        self.content |= {"schema": schema.RUN, "blocks": schema.BLOCKS}
        self.content.setdefault("resumed", []).append(now())
        self.content.pop(
            "finished", None
        )  # it says that a run has come to its end, not when it once did

    def save(self) -> None:
        """Write the file, atomically; cells that this session has not come to stay as they were."""
        if not self.shared:
            self._write()

    def _write(self) -> None:
        done = {named(cell) for cell in self._cells}
        waiting = [cell for cell in self._before if named(cell) not in done]
        self.content["cells"] = [*self._cells, *waiting]
        self.content["damaged"] = self.ledger.found
        self.content["unsealed"] = len(self.ledger.unsealed)
        with atomic(self.path) as temporary:
            temporary.write_text(records.text(self.content), encoding="utf-8")

    def try_to_save(self) -> None:
        """Write the file, or say that it cannot be; it is written again.

        It has all cells, so it is written less often as it grows: a twentieth of the time goes into it at most. What
        a kill takes of it is found anew, by the blocks.
        """
        if time.monotonic() < self._next:
            return
        began = time.monotonic()
        try:
            self.save()
        except OSError as error:
            self.ledger.once(f"run.json cannot be written now, {error.strerror}.")
        ended = time.monotonic()
        self._next = ended + 20 * (ended - began)

    def chunk(self, name: str) -> int | None:
        """Draws taken together, as fixed when this cell was first measured; None if it was not."""
        found = self.content["chunks"].get(name)
        return None if found is None else int(found)

    def fix_chunk(self, name: str, together: int) -> None:
        """Fix it, once and for all."""
        if self.content["chunks"].get(name) != together:
            self.content["chunks"][name] = together
            self.try_to_save()

    def close(self, seconds: float) -> None:
        """Note the end and the time spent, over all the times the run was taken up."""
        self._before = []
        self.content["wall_seconds"] = self.content.get("wall_seconds", 0.0) + seconds
        self.content["finished"] = now()
        self.save()


def decisive(value: Any) -> Any:
    """What of a value makes a run this run: all but a suite's description and its limits, which may change."""
    if not isinstance(value, Mapping):
        return value
    return {k: v for k, v in value.items() if k not in CHANGEABLE}


def completed(suite: Any) -> Any:
    """A recorded suite with the keys that have come since, at their defaults, which change nothing."""
    try:
        return FullSuite.model_validate(suite).model_dump(mode="json")
    except ValidationError:
        return suite  # another version's, or damaged: the difference is told


def difference(key: str, old: Any, new: Any, when: tuple[str, str] = ("was", "is now")) -> str:
    """The first place in which two values differ: ``suite.seed was 0 and is now 1``."""
    if isinstance(old, dict) and isinstance(new, dict):
        for part in sorted(set(old) | set(new)):
            if old.get(part) != new.get(part):
                return difference(f"{key}.{part}", old.get(part), new.get(part), when)
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for place, (before, after) in enumerate(zip(old, new, strict=True)):
            if before != after:
                return difference(f"{key}.{place}", before, after, when)
    return " ".join(f"{key} {when[0]} {_short(old)} and {when[1]} {_short(new)}".split())


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def setting(device: torch.device) -> dict[str, Any]:
    """Machine, versions and threads."""
    described = environment.describe(device.type)
    return {
        "environment": described,
        "git": described.get("git"),
        "versions": described.get("packages"),
        "threads": torch.get_num_threads(),
    }


def describe_estimator(estimator: Estimator) -> dict[str, Any]:
    """What an estimator declares, and its docstring's first line."""
    declared = estimator.declaration
    return {
        "name": declared.name,
        "options": options(estimator),
        "objective": declared.objective,
        "unbiased": declared.unbiased,
        "independent_examples": declared.independent_examples,
        "laws": list(declared.laws),
        "version": declared.version,
        "summary": (inspect.getdoc(type(estimator)) or label(estimator)).splitlines()[0],
    }


def describe_problem(problem: Problem, estimators: Iterable[Estimator] = ()) -> dict[str, Any]:
    """What a problem is, for a reader of the report, with the objective of each estimator on it."""
    shapes = [f"{layer.name} {'×'.join(map(str, layer.weight_shape))}" for layer in problem.layers]
    kernels = any(len(layer.weight_shape) > 2 for layer in problem.layers)
    order = "outputs × inputs × height × width" if kernels else "outputs × inputs"
    return {
        "description": f"{problem.data.name}, noisy layers {', '.join(shapes)} ({order})",
        "dataset": problem.data.name,
        "examples": problem.examples,
        "test_examples": len(problem.data.test.targets),
        "parameters": sum(v.numel() for v in problem.free(problem.start).values()),
        "layers": [layer.name for layer in problem.layers],
        "shared": list(problem.shared),
        "whole_weights": dict(problem.behaviour.whole),
        "without_noise": dict(problem.behaviour.without),
        "frozen": list(problem.behaviour.frozen),
        "said": list(problem.behaviour.said),
        "looped": problem.behaviour.why_looped,
        "objectives": {label(estimator): objective(estimator, problem) for estimator in estimators},
        "parameterization": problem.parameterization.name,
        "posterior": repr(problem.parameterization),
        "prior": repr(problem.prior),
        "likelihood": getattr(
            problem.likelihood, "__qualname__", type(problem.likelihood).__name__
        ),
    }
