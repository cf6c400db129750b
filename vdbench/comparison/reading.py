"""Reading a run folder for a comparison: nothing is changed in it, and what does not fit its seal is not used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import ValidationError

from vdbench import schema
from vdbench.comparison.stored import TRAININGS, Block, Key, Stored
from vdbench.errors import InputError, one_line, shown
from vdbench.measures.registry import FullSuite
from vdbench.measures.session import parameters_digest
from vdbench.modes.registry import EAGER
from vdbench.store import Damaged, arrays, digest, records, tables
from vdbench.store.seals import Content
from vdbench.suite.schema import Suite

if TYPE_CHECKING:
    import pandas as pd

WANTED = {
    "variance", "few-examples", "rao-blackwell", "throughput", "memory", "bias", "convergence", "training",
}  # fmt: skip
"""What blocks that are compared say that they hold."""

NEEDED = {"place", "problem", "estimator", "batch_size", "objective", "precision", "device"}
"""What their addresses have in common."""

RESULTS = "results.parquet"
"""The table of figures; its seal has the cells and the files that they came from."""


def read(folder: Path) -> Stored:
    """Read a run folder.

    Raises:
        InputError: It is none, has no results yet, or its record or its results are damaged.
    """
    info = _record(folder)
    content = _results(folder, info)
    said = content.address or {}
    if content.sealed:
        files = [str(name) for name in said["files"]]
        told = list(said["cells"])
    else:
        files = sorted(f"blocks/{path.name}" for path in (folder / "blocks").glob("*.parquet"))
        files += sorted(f"checkpoints/{p.name}" for p in (folder / "checkpoints").glob("*.npz"))
        told = [cell for cell in info.get("cells") or [] if cell.get("status") != "failed"]
    suite = _suite(folder, info)
    ranked = suite.modes[0]
    told = [cell for cell in told if _in_mode(cell, ranked)]
    failed = _failed(info, ranked)
    found = Stored(
        folder.resolve().name or str(folder),
        info,
        suite,
        {_key(cell): cell for cell in told if _key(cell) not in failed},
        failed,
        [],
    )
    strict = bool(info.get("sealed"))
    for name in files:
        try:
            _take(found, name, _file(folder / name, strict))
        except Damaged as error:
            found.bad[name] = str(error)
        except FileNotFoundError:
            found.bad[name] = "it is missing"
        except OSError as error:
            raise InputError(f"'{folder / name}' cannot be read, {error.strerror}.") from error
    found.trainings = _trainings(folder, found)
    return found


def _in_mode(cell: Mapping[str, Any], ranked: str) -> bool:
    """Whether a cell is not timed, or in the mode that the run ranks by: only these are compared."""
    return cell.get("measure") != "throughput" or cell.get("mode", EAGER) == ranked


def _failed(info: Mapping[str, Any], ranked: str) -> dict[Key, str]:
    """Why cells failed last; also those that keep figures of an earlier session, which say nothing of this one."""
    found = {}
    for cell in info.get("cells") or []:
        if not _in_mode(cell, ranked):
            continue
        if cell.get("kept"):
            found[_key(cell)] = f"{cell['kept']} Its figures are of an earlier session"
        elif cell.get("status") == "failed":
            found[_key(cell)] = str(cell.get("reason", ""))
    return found


def _take(run: Stored, name: str, content: Content) -> None:
    if name.startswith("blocks/"):
        address = content.address or {}
        if address.get("measure") in WANTED and set(address) >= NEEDED:
            run.blocks.append(Block(address, content.values))
    elif name.startswith("checkpoints/"):
        values = {
            key.removeprefix("parameter/"): value
            for key, value in content.values.items()
            if key.startswith("parameter/")
        }
        made = {key: torch.from_numpy(value.copy()) for key, value in values.items()}
        run.parameters[parameters_digest(made)] = values


def _file(path: Path, strict: bool) -> Content:
    """A block or a checkpoint that is what its name, its seal and its address say.

    Raises:
        Damaged: It is not.
        OSError: It cannot be read.
    """
    found = tables.read(path) if path.suffix == ".parquet" else arrays.read(path)
    if strict and not found.sealed:
        raise Damaged("it has no seal, and all files of this run have one", "unsealed")
    if found.address is not None and digest(found.address) != path.stem:
        raise Damaged("it is another's", "misplaced")
    if found.address is None and path.parent.name == "blocks":
        raise Damaged("it does not say what it holds")
    return found


def _record(folder: Path) -> dict[str, Any]:
    found = records.of_run(folder)
    if found.get("schema") not in range(1, schema.RUN + 1):
        raise InputError(
            f"'{folder}': its run.json has schema {shown(found.get('schema'))}, "
            f"and this version reads up to {schema.RUN}."
        )
    if not _as_written(found):
        raise InputError(f"'{folder}': its run.json is not as vdbench writes it.")
    return found


def _as_written(found: Mapping[str, Any]) -> bool:
    """Whether a record, which an earlier version left without a seal, has the form that is read here."""
    keys = ("problem", "checkpoint", "batch_size", "estimator", "measure", "status", "n")
    cells, known = found.get("cells") or [], [found.get("estimators"), found.get("problems")]
    mappings = all(
        isinstance(part or {}, Mapping)
        and all(isinstance(x, Mapping) for x in (part or {}).values())
        for part in known
    )
    return (
        mappings
        and isinstance(cells, list)
        and all(
            isinstance(cell, Mapping) and set(keys) <= set(cell) and isinstance(cell["n"], int)
            for cell in cells
        )
    )


def _results(folder: Path, info: Mapping[str, Any]) -> Content:
    """The table of results: its seal has the cells and the files that figures came from."""
    path = folder / RESULTS
    try:
        found = tables.read(path)
    except FileNotFoundError as error:
        raise InputError(
            f"'{folder}' has no {RESULTS}: the run has not ended; run its suite again on the folder."
        ) from error
    except Damaged as error:
        raise InputError(
            f"'{folder}': its {RESULTS} is damaged, {one_line(error)}; run its suite again on the folder first."
        ) from error
    except OSError as error:
        raise InputError(f"'{path}' cannot be read, {error.strerror}.") from error
    said, run = found.address or {}, info.get("identity")
    if found.sealed and (said.get("kind") != "results" or run not in (None, said["run"])):
        raise InputError(f"'{folder}': its {RESULTS} is another run's.")
    return found


def _suite(folder: Path, info: Mapping[str, Any]) -> Suite:
    try:
        found: Suite = FullSuite.model_validate(info.get("suite"))
    except ValidationError as error:
        raise InputError(
            f"'{folder}': the suite in its run.json is not one of this version of vdbench."
        ) from error
    return found


def _trainings(folder: Path, run: Stored) -> pd.DataFrame | None:
    try:
        frame, content = tables.read_frame(folder / TRAININGS)
    except FileNotFoundError:
        return None
    except Damaged as error:
        run.bad[TRAININGS] = str(error)
        return None
    said = content.address or {}
    if content.sealed and run.info.get("identity") not in (None, said.get("run")):
        run.bad[TRAININGS] = "it is another run's"
        return None
    return frame


def _key(cell: Mapping[str, Any]) -> Key:
    return (
        str(cell["problem"]),
        str(cell["checkpoint"]),
        int(cell["batch_size"]),
        str(cell["estimator"]),
        str(cell["measure"]),
    )
