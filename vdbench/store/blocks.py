"""Immutable blocks of measured rows: one file a block, named by a hash of what it holds.

A block is written to a temporary name in its own folder and renamed, so a file that has its final name is
whole, whatever was killed when. Resuming is asking for the same address again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from vdbench.errors import CellError
from vdbench.store import tables
from vdbench.store.damage import Damaged, Ledger
from vdbench.store.seals import Address, digest
from vdbench.store.tables import Table


@dataclass(frozen=True)
class Store:
    """The blocks of one run folder.

    Attributes:
        folder: ``RUN/blocks``; made when the first block is written.
        ledger: Told what was read and what did not fit; one of its own by default.
        measuring: Whether what is not stored may be measured.
        guards: Called before anything is stored; each raises an error where it must not be.
        before: Called before anything is measured; each raises an error where it cannot be.
    """

    folder: Path
    ledger: Ledger = field(default=None, compare=False)  # type: ignore[assignment]
    measuring: bool = True
    guards: list[Callable[[], None]] = field(default_factory=list, compare=False)
    before: list[Callable[[], None]] = field(default_factory=list, compare=False)

    def __post_init__(self) -> None:
        """Begin a ledger, where there is none."""
        if self.ledger is None:
            object.__setattr__(self, "ledger", Ledger(self.folder.parent))

    def path(self, address: Address) -> Path:
        """Where the block of an address is, or would be."""
        return self.folder / f"{digest(address)}.parquet"

    def has(self, address: Address) -> bool:
        """Whether the block is there and fits; one that does not is set aside."""
        return self.find(address) is not None

    def read(self, address: Address) -> Table:
        """The columns of a stored block.

        Raises:
            Damaged: The file is not what was asked for.
            OSError: It is not there, or cannot be read.
        """
        path = self.path(address)
        found = tables.read(path, address)
        self.ledger.accept(path, found.sealed)
        return found.values

    def find(self, address: Address) -> Table | None:
        """The columns of a block, None where it is not there; one that does not fit is set aside.

        Raises:
            OSError: It cannot be read, or not be set aside.
        """
        try:
            return self.read(address)
        except FileNotFoundError:
            return None
        except Damaged as error:
            self.ledger.set_aside(self.path(address), str(error))
            return None

    def write(self, address: Address, columns: Table) -> Table:
        """Store a block; atomic, and without effect on one that is there already.

        Returns:
            The columns as `read` gives them. They are not read back: the seal that is written is that of these
            columns, and whoever reads the file later checks it.
        """
        import pyarrow as pa

        path = self.path(address)
        stored = self.find(address) if path.exists() else None
        if stored is not None:
            return stored
        table = pa.table({name: pa.array(values) for name, values in columns.items()})
        written = tables.write(path, table, address)
        self.ledger.accept(path, sealed=True)
        return written

    def get(self, address: Address, compute: Callable[[], Table]) -> Table:
        """The block of an address, computed and stored if it is not there.

        Raises:
            CellError: It is not there, and nothing may be measured.
        """
        found = self.find(address)
        if found is None:
            self.must_measure()
            columns = compute()
            self.guard()
            found = self.write(address, columns)
        return found

    def guard(self) -> None:
        """See that what was measured may be stored."""
        for guard in self.guards:
            guard()

    def must_measure(self) -> None:
        """Refuse to go on where nothing may be measured.

        Raises:
            CellError: Nothing may be; or what is called before says why not.
        """
        if not self.measuring:
            raise CellError("not measured yet: the run folder has no block of it.")
        for ask in self.before:
            ask()


def concatenate(parts: list[Table]) -> Table:
    """Rows of several tables with the same columns, in order."""
    import numpy as np

    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
