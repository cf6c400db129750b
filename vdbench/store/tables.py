"""Sealed Parquet files: blocks, and the tables that are made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vdbench.errors import one_line
from vdbench.store.arrays import whole
from vdbench.store.damage import Damaged
from vdbench.store.files import atomic
from vdbench.store.seals import Address, Content, check, seal

if TYPE_CHECKING:
    import pandas as pd

Table = dict[str, np.ndarray[Any, Any]]
"""Columns of equal length by name."""

ADDRESS, SEAL = b"vdbench", b"vdbench.seal"
"""Keys of the file's metadata."""

LARGE = 1 << 20
"""Bytes from which a file is read by several threads; a block is read in a third of the time by one."""


def write(path: Path, table: Any, address: Address) -> Table:
    """Write a table (of pyarrow) with its address and its seal, atomically; returns the columns that are sealed."""
    import pyarrow.parquet as pq

    sealed = columns(table)
    added = {
        ADDRESS: json.dumps(dict(address), sort_keys=True),
        SEAL: seal(sealed, json.loads(json.dumps(dict(address)))),
    }
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **added})
    with atomic(path) as temporary:
        pq.write_table(table, temporary)
    return sealed


def write_frame(path: Path, frame: pd.DataFrame, address: Address) -> None:
    """Write a data frame in the same way."""
    import pyarrow as pa

    write(path, pa.Table.from_pandas(frame, preserve_index=False), address)


def columns(table: Any) -> Table:
    """The columns of a table (of pyarrow), in order."""
    return {name: table.column(name).to_numpy() for name in table.column_names}


def read(path: Path, asked: Address | None = None) -> Content:
    """Read a table, and check its address and its seal; a file of an earlier version has no seal.

    Args:
        path: The file.
        asked: The address that is wanted; None for any.

    Raises:
        Damaged: The file is not what it should be.
        OSError: It cannot be read.
    """
    return _read(path, asked)[0]


def address(path: Path) -> dict[str, Any]:
    """The address that a file states, without reading the rest of it: no seal is checked.

    Raises:
        ValueError: It states none, or is no Parquet.
        OSError: It cannot be read.
    """
    import pyarrow.parquet as pq

    found: dict[str, Any] = json.loads((pq.read_schema(path).metadata or {}).get(ADDRESS, b"{}"))
    return found


def read_frame(path: Path) -> tuple[pd.DataFrame, Content]:
    """Read a table as a data frame; raises what `read` does."""
    content, table = _read(path, None)
    try:  # what pandas notes beside the columns is not under the seal: it is not used where there is one
        return table.to_pandas(ignore_metadata=content.sealed), content
    except Exception as error:
        raise Damaged(f"it cannot be read, {one_line(error)[:120]}") from error


def _read(path: Path, asked: Address | None) -> tuple[Content, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = whole(path)
    try:
        # the seal of a very large run has more than the 100 MB that are read by default
        most = {"thrift_string_size_limit": 2**31 - 1, "thrift_container_size_limit": 2**31 - 1}
        file = pq.ParquetFile(pa.BufferReader(content), **most)
        table = file.read(use_threads=len(content) > LARGE)
        metadata = table.schema.metadata or {}
        said = metadata.get(ADDRESS)
        address = None if said is None else dict(json.loads(said))
        text = metadata.get(SEAL)
        found = Content(columns(table), address, text is not None)
        sealed = None if text is None else text.decode()
    except Exception as error:  # a damaged file raises many kinds
        why = one_line(error)[:120] if content else "it is empty"
        raise Damaged(f"it cannot be read, {why}") from error
    if asked is not None and address is None:
        raise Damaged("it does not say what it holds")
    return check(found, sealed, asked), table
