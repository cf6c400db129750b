"""What was damaged, what was kept and what could not be checked is in the report; damaged tables are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import reports
from reports.document import Paragraph, Table
from reports.results.load import load
from reports.sections.outcomes import outcome_blocks
from vdbench.errors import InputError
from vdbench.store import records, tables

DAMAGED = {
    "file": "blocks/a.parquet",
    "kept": "damaged/a-0123.parquet",
    "why": "it cannot be read, it is empty",
    "when": "2026-01-01T00:00:00+00:00",
}


def test_damaged_files_are_listed(
    make_run: Callable[..., Path], first_rows: list[dict[str, Any]]
) -> None:
    plain = outcome_blocks(load([make_run(first_rows)]))
    run = make_run(first_rows, "other", damaged=[DAMAGED], unsealed=3)
    blocks = outcome_blocks(load([run]))[len(plain) :]
    table, told = blocks
    assert isinstance(table, Table)
    assert table.rows == [[DAMAGED["file"], DAMAGED["why"], DAMAGED["kept"]]]
    assert table.caption.startswith("1 file was damaged and set aside. No figure comes from them")
    assert isinstance(told, Paragraph)
    assert told.text.startswith("3 files have no checksum")


def test_figures_that_were_kept_are_listed(
    make_run: Callable[..., Path], first_rows: list[dict[str, Any]]
) -> None:
    run = make_run(first_rows)
    info = json.loads((run / "run.json").read_text())
    info["cells"][0]["kept"] = "OSError: No space left on device"
    (run / "run.json").write_text(json.dumps(info))
    table = next(b for b in outcome_blocks(load([run])) if isinstance(b, Table))
    said = "figures of an earlier session are kept; the last one failed: OSError: No space left"
    assert any(said in str(text) for row in table.rows for text in row)


def test_a_sealed_table_or_record_that_was_changed_is_refused(
    make_run: Callable[..., Path], first_rows: list[dict[str, Any]]
) -> None:
    run = make_run(first_rows)
    path = run / "results.parquet"
    table = pq.read_table(path)
    tables.write(path, table, {"kind": "results"})
    load([run])
    metadata = pq.read_table(path).schema.metadata
    pq.write_table(table.slice(1).replace_schema_metadata(metadata), path)
    with pytest.raises(InputError, match=r"does not match its checksum; run the suite again"):
        reports.headline([run])
    tables.write(path, table, {"kind": "results"})
    info = records.text(json.loads((run / "run.json").read_text()))
    (run / "run.json").write_text(info)
    load([run])
    (run / "run.json").write_text(info.replace('"level": 0.95', '"level": 0.90'))
    with pytest.raises(InputError, match=r"does not match its checksum; run the suite again"):
        load([run])
