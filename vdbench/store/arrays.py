"""Sealed ``.npz`` files: checkpoints, and trainings under way."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vdbench.errors import one_line
from vdbench.store import shares
from vdbench.store.damage import Damaged, Ledger
from vdbench.store.files import atomic
from vdbench.store.seals import Address, Content, check, seal

Arrays = dict[str, np.ndarray[Any, Any]]

SEAL = "seal"
"""Name of the entry that holds address and seal."""


def write(path: Path, values: Mapping[str, np.ndarray[Any, Any]], address: Address | None) -> None:
    """Write arrays with their seal, atomically, without pickle.

    Args:
        path: The file.
        values: Arrays by name; their order is kept.
        address: What they are; None where nobody will ask for it.
    """
    made = {name: np.asarray(value) for name, value in values.items()}
    text = json.dumps({"address": address, "seal": seal(made, address)}, sort_keys=True)
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, allow_pickle=False, **made, **{SEAL: np.array(text)})


def read(path: Path, asked: Address | None = None) -> Content:
    """Read arrays, and check their seal; a file of an earlier version has none.

    Args:
        path: The file.
        asked: The address that is wanted; None for any.

    Raises:
        Damaged: The file is not what it should be.
        OSError: It cannot be read.
    """
    content = whole(path)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as saved:
            values = {name: saved[name] for name in saved.files}
        text = values.pop(SEAL, None)
        said = {} if text is None else dict(json.loads(str(text)))
    except Exception as error:  # a damaged archive raises many kinds
        raise Damaged(f"it cannot be read, {one_line(error)[:120] or 'it is empty'}") from error
    address = said.get("address")
    if text is None:
        return Content(values, None, False)
    if asked is not None and address is None:
        raise Damaged("its seal has no address")
    return check(Content(values, address, True), str(said.get("seal")), asked)


def whole(path: Path) -> bytes:
    """All bytes of a file, fetched first where only the URL of its folder has it.

    Raises:
        Damaged: A folder has its name.
        OSError: It cannot be read.
    """
    try:
        shares.there(path)
        return path.read_bytes()
    except IsADirectoryError as error:
        raise Damaged("it is a folder") from error


def intact(
    path: Path, asked: Address, ledger: Ledger, like: Mapping[str, tuple[int, ...]]
) -> Arrays | None:
    """What a file holds, or None where there is none; one that does not fit is set aside.

    Args:
        path: The file.
        asked: The address that is wanted.
        ledger: Told what was found.
        like: Shapes of arrays that must be in it, by name.

    Raises:
        OSError: It cannot be read, or not be set aside.
    """
    try:
        found = read(path, asked)
        for name, shape in like.items():
            if name not in found.values or found.values[name].shape != shape:
                raise Damaged(f"{name} is not in it, or of another shape")
        ledger.accept(path, found.sealed)
    except FileNotFoundError:
        return None
    except Damaged as error:
        ledger.set_aside(path, str(error))
        return None
    return found.values
