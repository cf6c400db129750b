"""Seals: the address of a file's content, the version of its layout, and a checksum over both and all values.

The seal is content, not name: a file's name is the hash of its address alone, so files that earlier versions left
without a seal keep their names.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from vdbench import schema
from vdbench.store.damage import Damaged

Address = Mapping[str, Any]
"""What a file holds, as JSON: versions, problem, parameters, estimator, precision, chunk, range of units."""

Arrays = Mapping[str, np.ndarray[Any, Any]]

VERSION = 1
"""Version of the seal itself."""


class Content(NamedTuple):
    """What was read of a file.

    Attributes:
        values: Arrays by name, in order.
        address: As the file has it; None where it has none.
        sealed: Whether it had a seal, which fits.
        schema: Version of its layout.
    """

    values: dict[str, np.ndarray[Any, Any]]
    address: dict[str, Any] | None
    sealed: bool
    schema: int = 1

    @property
    def names(self) -> list[str]:
        """What the name of its file may begin with: one that has no seal does not say of which layout it is."""
        known = (self.schema,) if self.sealed else range(1, schema.BLOCKS + 1)
        return [] if self.address is None else [digest(self.address, layout) for layout in known]


def canonical(address: Address | None, layout: int | None = None) -> str:
    """An address, and the version of the layout (this one's by default), as one text."""
    whole = None if address is None else {"schema": layout or schema.BLOCKS, **address}
    return json.dumps(whole, sort_keys=True, separators=(",", ":"))


def digest(address: Address, layout: int | None = None) -> str:
    """32 hexadecimal digits that name an address."""
    return hashlib.blake2b(canonical(address, layout).encode(), digest_size=16).hexdigest()


def checksum(values: Arrays, address: Address | None, layout: int | None = None) -> str:
    """32 hexadecimal digits over an address and over names, types, shapes and values of arrays, in order."""
    state = hashlib.blake2b(digest_size=16)
    for part in (canonical(address, layout).encode(), *_parts(values)):
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return state.hexdigest()


def _parts(values: Arrays) -> Iterator[bytes]:
    for name, value in values.items():
        yield name.encode()
        if value.dtype.kind in "OUS":
            yield f"text {value.shape}".encode()
            yield json.dumps(value.tolist(), default=str).encode()
            continue
        if value.dtype.kind == "f":
            # Parquet may write one NaN for another
            value = np.where(np.isnan(value), np.array(np.nan, value.dtype), value)
        yield f"{value.dtype.str} {value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()


def seal(values: Arrays, address: Address | None) -> str:
    """The seal of arrays, as the text that is written into their file."""
    found = {"seal": VERSION, "schema": schema.BLOCKS, "checksum": checksum(values, address)}
    return json.dumps(found)


def check(content: Content, seal: str | None, asked: Address | None) -> Content:
    """See that what was read is what was written, and what was asked for.

    Args:
        content: As read.
        seal: The text of its seal; None where it has none.
        asked: The address that is wanted; None for any.

    Raises:
        Damaged: It is not.
    """
    if seal is not None:
        try:
            said = dict(json.loads(seal))
        except (TypeError, ValueError) as error:
            raise Damaged("its seal cannot be read") from error
        for key, known in (("seal", (VERSION,)), ("schema", range(1, schema.BLOCKS + 1))):
            if said.get(key) not in known:
                raise Damaged(f"its {key} has version {said.get(key)!r}, and not {known[-1]}")
        content = content._replace(schema=said["schema"])
        if said.get("checksum") != checksum(content.values, content.address, content.schema):
            raise Damaged("its content does not match its checksum")
    if asked is not None and content.address is not None:
        same_place(content.address, asked)
    return content._replace(sealed=seal is not None)


def same_place(found: Address, asked: Address) -> None:
    """See that an address is the one asked for.

    Raises:
        Damaged: It is another's; the message says how it differs.
    """
    if canonical(found) == canonical(asked):
        return
    for key in sorted({*found, *asked}):
        old, new = (json.dumps(a.get(key), sort_keys=True) for a in (found, asked))
        if old != new:
            raise Damaged(
                f"it is another's: {key} is {_short(old)}, not {_short(new)}", "misplaced"
            )
    raise Damaged("it is another's", "misplaced")


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."
