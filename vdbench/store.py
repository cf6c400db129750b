"""Immutable blocks of measured rows: one file a block, named by a hash of what it holds.

A block is written to a temporary name in its own folder and renamed, so a file that has its final name is
whole, whatever was killed when. Resuming is asking for the same address again.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from vdbench import schema

Table = dict[str, np.ndarray[Any, Any]]
"""Columns of equal length by name."""

Address = Mapping[str, Any]
"""What a block holds, as JSON: versions, problem, parameters, estimator, precision, chunk, range of units."""


def digest(address: Address) -> str:
    """32 hexadecimal digits that name an address."""
    text = json.dumps({"schema": schema.BLOCKS, **address}, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Store:
    """The blocks of one run folder.

    Attributes:
        folder: ``RUN/blocks``; made when the first block is written.
    """

    folder: Path

    def path(self, address: Address) -> Path:
        """Where the block of an address is, or would be."""
        return self.folder / f"{digest(address)}.parquet"

    def has(self, address: Address) -> bool:
        """Whether the block is there."""
        return self.path(address).exists()

    def read(self, address: Address) -> Table:
        """The columns of a stored block."""
        import pyarrow.parquet as pq

        table = pq.read_table(self.path(address))
        return {name: table.column(name).to_numpy() for name in table.column_names}

    def write(self, address: Address, columns: Table) -> None:
        """Store a block; atomic, and without effect on one that is there already."""
        if self.has(address):
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.table({name: pa.array(values) for name, values in columns.items()})
        table = table.replace_schema_metadata(
            {"vdbench": json.dumps(dict(address), sort_keys=True)}
        )
        with atomic(self.path(address)) as temporary:
            pq.write_table(table, temporary)

    def get(self, address: Address, compute: Callable[[], Table]) -> Table:
        """The block of an address, computed and stored if it is not there."""
        if not self.has(address):
            self.write(address, compute())
        return self.read(address)


class atomic:
    """Write a file under a temporary name in its folder and rename it when all went well.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "file.txt"
        >>> with atomic(target) as temporary:
        ...     _ = temporary.write_text("whole")
        >>> target.read_text()
        'whole'
    """

    def __init__(self, path: Path) -> None:
        """Prepare to write ``path``; its folder is made."""
        self.path = path
        self.temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")

    def __enter__(self) -> Path:
        """The temporary name."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self.temporary

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """Rename, or take away what was begun."""
        if kind is None:
            os.replace(self.temporary, self.path)
        else:
            self.temporary.unlink(missing_ok=True)


def concatenate(parts: list[Table]) -> Table:
    """Rows of several tables with the same columns, in order."""
    import numpy as np

    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def now() -> str:
    """The time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
