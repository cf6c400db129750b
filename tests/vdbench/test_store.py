"""Blocks: whole or not there, whatever is killed when, and named by all that they hold."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdbench import schema
from vdbench import store as store_module
from vdbench.store import Store, Table, atomic, digest

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
            time.sleep(0.003 * attempt)
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
