"""What a run leaves on disk: sealed, addressed files, written at once or not at all.

A block, a checkpoint, a training's state and a table carry their whole address, the version of their layout and a
checksum. All three are checked on every read, against the address that is asked for. What does not fit is set aside,
never deleted and never used.
"""

from __future__ import annotations

from vdbench.store import arrays, records, shares, tables
from vdbench.store.blocks import Store, concatenate
from vdbench.store.damage import Damaged, Ledger
from vdbench.store.files import atomic, now
from vdbench.store.seals import Address, digest
from vdbench.store.tables import Table

__all__ = [
    "Address",
    "Damaged",
    "Ledger",
    "Store",
    "Table",
    "arrays",
    "atomic",
    "concatenate",
    "digest",
    "now",
    "records",
    "shares",
    "tables",
]
