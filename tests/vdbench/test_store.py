"""Blocks: whole or not there, whatever is killed when, and named by all that they hold."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdbench import schema
from vdbench import store as store_module
from vdbench.errors import CellError
from vdbench.store import Damaged, Store, Table, arrays, atomic, digest, tables

ROOT = Path(store_module.__file__).resolve().parents[2]
ADDRESS = {
    "problem": "abc",
    "estimator": {"name": "score", "options": {"samples": 2}, "version": "1"},
    "precision": "float32",
    "chunk": 8,
    "units": [0, 16],
    "torch": "2.13.0",
    "threads": 1,
    "level": 0.95,
}
COLUMNS: Table = {
    "unit": np.arange(4),
    "value": np.array([0.1, np.nan, np.inf, -1e-300]),
    "label": np.array(["a", "µ", "", "score(samples=2)"], dtype=object),
    "whole": np.array([True, False, True, True]),
}


def equal(one: Table, other: Table) -> bool:
    return list(one) == list(other) and all(
        np.array_equal(one[n], other[n], equal_nan=one[n].dtype.kind == "f") for n in one
    )


def test_what_is_written_is_read_to_the_bit(tmp_path: Path) -> None:
    store = Store(tmp_path / "run" / "blocks")
    assert not store.has(ADDRESS)
    store.write(ADDRESS, COLUMNS)
    assert store.has(ADDRESS)
    found = store.read(ADDRESS)
    assert equal(found, COLUMNS)
    assert {n: v.dtype for n, v in found.items()} == {n: v.dtype for n, v in COLUMNS.items()}
    assert [p.name for p in store.folder.iterdir()] == [f"{digest(ADDRESS)}.parquet"]


def test_a_block_says_what_it_holds(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(ADDRESS, COLUMNS)
    metadata = pq.read_schema(store.path(ADDRESS)).metadata
    assert b'"estimator": {"name": "score"' in metadata[b"vdbench"]


def changed() -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {"same": dict(ADDRESS), "more": {**ADDRESS, "seed": 0}}
    for name in ADDRESS:
        found[f"without {name}"] = {k: v for k, v in ADDRESS.items() if k != name}
        found[f"other {name}"] = {**ADDRESS, name: f"other than {ADDRESS[name]}"}
    score = {"name": "score", "options": {"samples": 3}, "version": "1"}
    found["nested option"] = {**ADDRESS, "estimator": score}
    found["later units"] = {**ADDRESS, "units": [16, 32]}
    found["reversed units"] = {**ADDRESS, "units": [16, 0]}
    found["text for a number"] = {**ADDRESS, "chunk": "8"}
    found["float for a number"] = {**ADDRESS, "chunk": 8.0}
    found["a rounding error"] = {**ADDRESS, "level": 0.95 + 2**-53}
    found["moved value"] = {**ADDRESS, "problem": "float32", "precision": "abc"}
    return found


def test_any_change_of_an_address_changes_its_digest() -> None:
    digests = {name: digest(address) for name, address in changed().items()}
    assert len(set(digests.values())) == len(digests)
    assert all(len(d) == 32 and set(d) <= set("0123456789abcdef") for d in digests.values())


def test_the_order_of_an_address_does_not_count() -> None:
    assert digest(dict(reversed(ADDRESS.items()))) == digest(ADDRESS) == digest(dict(ADDRESS))
    assert digest({**ADDRESS, "units": (0, 16)}) == digest(ADDRESS)


def test_the_layout_is_part_of_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest(ADDRESS)
    monkeypatch.setattr(schema, "BLOCKS", schema.BLOCKS + 1)
    assert digest(ADDRESS) != before


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    ),
    max_leaves=4,
)
MAPS = st.dictionaries(st.text("ab", max_size=2), JSON, max_size=3)


def typed(value: object) -> object:
    """A value that compares as JSON does: True is not 1."""
    if isinstance(value, dict):
        return {key: typed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [typed(inner) for inner in value]
    return (type(value), value)


@given(MAPS, MAPS)
def test_two_addresses_share_a_digest_only_if_equal(one: dict, other: dict) -> None:  # type: ignore[type-arg]
    assert (digest(one) == digest(other)) == (typed(one) == typed(other))


def test_get_computes_once(tmp_path: Path) -> None:
    store, calls = Store(tmp_path), []

    def compute() -> Table:
        calls.append(1)
        return COLUMNS

    assert equal(store.get(ADDRESS, compute), COLUMNS)
    assert equal(store.get(dict(reversed(ADDRESS.items())), compute), COLUMNS)
    assert equal(Store(tmp_path).get(ADDRESS, compute), COLUMNS)
    assert calls == [1]
    store.get({**ADDRESS, "chunk": 9}, compute)
    assert calls == [1, 1]


def test_a_block_is_immutable(tmp_path: Path) -> None:
    """A second worker's block of the same address changes nothing, not even the file."""
    store = Store(tmp_path)
    store.write(ADDRESS, COLUMNS)
    before = store.path(ADDRESS).stat()
    store.write(ADDRESS, {"unit": np.array([99])})
    assert equal(store.read(ADDRESS), COLUMNS)
    assert store.path(ADDRESS).stat().st_ino == before.st_ino


def test_nothing_is_left_of_a_computation_that_failed(tmp_path: Path) -> None:
    store = Store(tmp_path / "blocks")

    def compute() -> Table:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.get(ADDRESS, compute)
    with pytest.raises(ValueError, match="length"):
        store.write(ADDRESS, {"a": np.arange(2), "b": np.arange(3)})
    assert not store.has(ADDRESS)
    assert list(tmp_path.rglob("*.parquet")) == []


def test_nothing_is_left_of_a_write_that_failed(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic(target) as temporary:  # noqa: PT012
        temporary.write_text("half")
        assert target.read_text() == "old"
        raise ZeroDivisionError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_two_writers_do_not_share_a_temporary_file(tmp_path: Path) -> None:
    """Process numbers repeat on other machines and in other containers that share the folder."""
    target = tmp_path / "file.txt"
    with atomic(target) as one, atomic(target) as other:
        assert one != other
        assert {one.parent, other.parent} == {tmp_path}
        one.write_text("one")
        other.write_text("other")
    assert target.read_text() == "one"
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_writer_left_is_ignored(tmp_path: Path) -> None:
    store = Store(tmp_path)
    left = tmp_path / f".{digest(ADDRESS)}.parquet.{os.getpid()}.tmp"
    left.write_bytes(b"PAR1 half a block")
    assert not store.has(ADDRESS)
    assert equal(store.get(ADDRESS, lambda: COLUMNS), COLUMNS)
    assert list(tmp_path.glob("*.parquet")) == [store.path(ADDRESS)]


WRITER = """
import itertools, sys
from pathlib import Path
import numpy as np
from vdbench.store import Store

store = Store(Path(sys.argv[1]))
values = np.random.Generator(np.random.PCG64(0)).random(600_000)
for k in itertools.count(int(sys.argv[2])):
    store.write({"k": k}, {"value": values + k})
"""


def test_blocks_are_whole_after_kill_9(tmp_path: Path) -> None:
    """Writers are killed at different moments until one was in the middle of a block."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    whole = 0
    for attempt in range(8):
        first = 1000 * attempt
        arguments = [sys.executable, "-c", WRITER, str(tmp_path), str(first)]
        writer = subprocess.Popen(arguments, env=environment)
        try:
            until = time.monotonic() + 60
            while len(list(tmp_path.glob("*.parquet"))) < whole + 2:
                assert writer.poll() is None
                assert time.monotonic() < until, "the writer writes nothing"
                time.sleep(0.005)
            while not list(tmp_path.glob(".*.tmp")):  # between two blocks
                assert time.monotonic() < until, "the writer writes nothing"
        finally:
            writer.kill()
            writer.wait()
        whole = len(list(tmp_path.glob("*.parquet")))
        if list(tmp_path.glob(".*.tmp")):
            break
    assert list(tmp_path.glob(".*.tmp")), "no writer was killed in the middle of a block"
    for file in tmp_path.glob("*.parquet"):
        assert pq.read_table(file).num_rows == 600_000
    store, k = Store(tmp_path), first
    while store.has({"k": k}):
        k += 1
    assert len(store.get({"k": k}, lambda: {"value": np.arange(3)})["value"]) == 3


# --- seals -----------------------------------------------------------------------------------


def aside(store: Store) -> list[str]:
    return sorted(entry["why"] for entry in store.ledger.found)


def test_a_block_under_anothers_name_is_seen_and_measured_again(tmp_path: Path) -> None:
    store, other = Store(tmp_path / "run" / "blocks"), {**ADDRESS, "precision": "float64"}
    store.write(ADDRESS, COLUMNS)
    store.write(other, {"value": np.arange(2.0)})
    wrong = store.path(other).read_bytes()
    store.path(ADDRESS).write_bytes(wrong)
    assert equal(store.get(ADDRESS, lambda: COLUMNS), COLUMNS)
    assert aside(store) == ['it is another\'s: precision is "float64", not "float32"']
    (entry,) = store.ledger.found
    assert entry["file"] == f"blocks/{digest(ADDRESS)}.parquet"
    assert (tmp_path / "run" / entry["kept"]).read_bytes() == wrong
    assert equal(store.get(other, dict), {"value": np.arange(2.0)})


def test_every_bit_counts_or_changes_nothing(tmp_path: Path) -> None:
    """Each byte of a block is changed in turn: the block is refused, or read as it was."""
    store = Store(tmp_path / "blocks")
    store.write(ADDRESS, COLUMNS)
    path = store.path(ADDRESS)
    whole = path.read_bytes()
    refused = 0
    for place in range(0, len(whole), 5):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        try:
            assert equal(store.read(ADDRESS), COLUMNS), place
        except Damaged:
            refused += 1
    assert refused > len(whole) / 5 / 3


def test_every_bit_of_a_table_counts_or_changes_nothing(tmp_path: Path) -> None:
    path, frame = tmp_path / "results.parquet", pd.DataFrame(COLUMNS)
    tables.write_frame(path, frame, {"kind": "results"})
    whole = path.read_bytes()
    pd.testing.assert_frame_equal(tables.read_frame(path)[0], frame)
    for place in range(0, len(whole), 5):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        with contextlib.suppress(Damaged):
            found, content = tables.read_frame(path)
            pd.testing.assert_frame_equal(found, frame)
            assert content.address == {"kind": "results"}


def test_a_block_without_a_seal_is_accepted_and_counted(tmp_path: Path) -> None:
    store = Store(tmp_path / "blocks")
    store.write(ADDRESS, COLUMNS)
    table = pq.read_table(store.path(ADDRESS))
    kept = {b"vdbench": table.schema.metadata[b"vdbench"]}
    pq.write_table(table.replace_schema_metadata(kept), store.path(ADDRESS))
    assert equal(store.get(ADDRESS, dict), COLUMNS)
    assert store.ledger.unsealed == {f"blocks/{digest(ADDRESS)}.parquet"}
    store.ledger.strict = True  # as in a run that this version began
    assert equal(store.get(ADDRESS, lambda: COLUMNS), COLUMNS)
    assert aside(store) == ["it has no seal, and all files of this run have one"]


def test_damaged_files_are_never_overwritten(tmp_path: Path) -> None:
    store = Store(tmp_path / "blocks")
    for number in range(3):
        store.folder.mkdir(exist_ok=True)
        store.path(ADDRESS).write_bytes(bytes([number]))
        store.get(ADDRESS, lambda: COLUMNS)
        store.path(ADDRESS).unlink()
    kept = [path.read_bytes() for path in (tmp_path / "damaged").iterdir()]
    assert sorted(kept) == [b"\0", b"\1", b"\2"]


def test_nothing_is_measured_where_that_is_not_wanted(tmp_path: Path) -> None:
    store = Store(tmp_path / "blocks", measuring=False)
    with pytest.raises(CellError, match="not measured yet"):
        store.get(ADDRESS, lambda: COLUMNS)


def test_a_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    real, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (done.append("sync"), real(file))[1])
    monkeypatch.setattr(os, "replace", lambda *names: (done.append("name"), replace(*names))[1])
    with atomic(tmp_path / "file.txt") as temporary:
        temporary.write_text("whole")
    assert done == ["sync", "name", "sync"]


def test_arrays_are_sealed_with_their_address(tmp_path: Path) -> None:
    path, values = tmp_path / "checkpoints" / "a.npz", {"b": np.arange(3.0), "a": np.array("text")}
    arrays.write(path, values, ADDRESS)
    found = arrays.read(path, ADDRESS)
    assert found.sealed
    assert equal(found.values, values)  # in their order, which is that of a table's rows
    with pytest.raises(Damaged, match=r"it is another's: units is \[0, 16\], not \[0, 8\]"):
        arrays.read(path, {**ADDRESS, "units": [0, 8]})
    arrays.write(path, values, None)
    with pytest.raises(Damaged, match="its seal has no address"):
        arrays.read(path, ADDRESS)
    np.savez(path, **values)
    assert not arrays.read(path, ADDRESS).sealed


@pytest.mark.long
def test_the_seal_of_a_very_large_run_is_read(tmp_path: Path) -> None:
    """100,000 cells say more of themselves than Parquet's readers take by default."""
    cells = [{"problem": f"p{n}", "reason": "x" * 700, "basis": "a" * 32} for n in range(100_000)]
    path = tmp_path / "results.parquet"
    tables.write_frame(path, pd.DataFrame({"a": [1.0]}), {"kind": "results", "cells": cells})
    assert path.stat().st_size > 100_000_000
    found = tables.read(path).address
    assert found is not None
    assert len(found["cells"]) == 100_000
