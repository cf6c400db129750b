"""Sealed JSON: the record of a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vdbench.errors import InputError
from vdbench.store.arrays import whole
from vdbench.store.damage import Damaged

SEAL = "seal"
"""Key of the checksum over the rest."""


def text(content: Mapping[str, Any]) -> str:
    """A record as JSON, with the checksum over its content."""
    rest = {key: value for key, value in content.items() if key != SEAL}
    return json.dumps({**rest, SEAL: checksum(rest)}, indent=1)


def checksum(content: Mapping[str, Any]) -> str:
    """32 hexadecimal digits over a record without its seal."""
    plain = json.dumps(json.loads(json.dumps(content)), sort_keys=True)
    return hashlib.blake2b(plain.encode(), digest_size=16).hexdigest()


def read(path: Path) -> dict[str, Any]:
    """Read a record and check its seal; one of an earlier version has none.

    Raises:
        Damaged: It is not what was written.
        OSError: It cannot be read.
    """
    try:
        content = dict(json.loads(whole(path)))
    except (TypeError, ValueError, RecursionError) as error:
        raise Damaged("it cannot be read as JSON") from error
    rest = {key: value for key, value in content.items() if key != SEAL}
    if SEAL in content and content[SEAL] != checksum(rest):
        raise Damaged("its content does not match its checksum")
    return content


def no_run(folder: Path, lacks: str = "it has no run.json") -> InputError:
    """The error for what a user has named as a run folder and is none: nothing, a file, or another folder."""
    if not folder.exists():
        lacks = "there is no such folder"
    elif not folder.is_dir():
        lacks = "it is a file"
    return InputError(f"'{folder}' is not a run folder: {lacks}.")


def of_run(folder: Path) -> dict[str, Any]:
    """The record of a run folder that a user has named.

    Raises:
        InputError: It has none, or none that can be read.
    """
    try:
        return read(folder / "run.json")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise no_run(folder) from error
    except Damaged as error:
        raise InputError(
            f"'{folder}': its run.json is damaged, {error}; run its suite again on the folder first."
        ) from error
    except OSError as error:
        raise InputError(f"'{folder}' cannot be read, {error.strerror}.") from error
