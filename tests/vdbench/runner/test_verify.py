"""``vdbench verify``: what it says of a run folder, and its exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fault_campaign import SUITE

import vdbench
from vdbench import cli
from vdbench.runner.verify import verify
from vdbench.store import tables


def said(folder: Path) -> set[tuple[str, str]]:
    return {(found.file, found.state) for found in verify(folder).findings}


def test_a_run_is_clean(tiny: Path) -> None:
    found = verify(tiny)
    assert found.findings == []
    files = sum(
        len(list((tiny / part).iterdir())) for part in ("blocks", "checkpoints", "training")
    )
    assert found.files == files + 3


def test_every_kind_is_named(copied: Callable[[], Path]) -> None:
    run = copied()
    one, two, three, four, *_ = sorted((run / "blocks").iterdir())
    one.write_bytes(one.read_bytes()[:-9])
    two.unlink()
    four.write_bytes(three.read_bytes())
    (run / "blocks" / ".0123.tmp").write_bytes(b"half")
    stranger = run / "blocks" / f"{'0' * 32}.parquet"
    tables.write(stranger, pq.read_table(three), {"measure": "another"})
    (run / "damaged").mkdir()
    (run / "damaged" / "old.npz").write_bytes(b"")
    assert said(run) == {
        (f"blocks/{one.name}", "damaged"),
        (f"blocks/{two.name}", "missing"),
        (f"blocks/{four.name}", "misplaced"),
        (f"blocks/{stranger.name}", "misplaced"),
        ("blocks/.0123.tmp", "superfluous"),
        ("damaged/old.npz", "set aside"),
    }
    assert verify(run).bad == 4


def test_tables_and_record_are_checked(copied: Callable[[], Path]) -> None:
    run = copied()
    (run / "results.parquet").unlink()
    (run / "training.parquet").write_bytes(b"")
    text = (run / "run.json").read_text()
    (run / "run.json").write_text(text.replace('"seed": 0', '"seed": 1'))
    assert said(run) == {("training.parquet", "damaged"), ("run.json", "damaged")}
    (run / "run.json").write_text(text)
    assert said(run) == {("training.parquet", "damaged"), ("results.parquet", "missing")}


def test_files_of_an_earlier_version_are_unsealed(copied: Callable[[], Path]) -> None:
    run = copied()
    unsealed(run)
    finished = vdbench.run(SUITE, run)
    assert finished.failed == 0
    blocks = len(list((run / "blocks").iterdir()))
    assert json.loads((run / "run.json").read_text())["unsealed"] == blocks + 1  # and its table
    assert {state for _, state in said(run)} == {"unsealed"}
    assert verify(run).bad == 0


def unsealed(run: Path) -> None:
    """Take the seals of blocks, table and record away, as version 0.1 wrote them."""
    for path in [*(run / "blocks").iterdir(), run / "results.parquet"]:
        table = pq.read_table(path)
        kept = {k: v for k, v in table.schema.metadata.items() if k != tables.SEAL}
        pq.write_table(table.replace_schema_metadata(kept), path)
    content = json.loads((run / "run.json").read_text())
    for key in ("seal", "sealed", "identity", "damaged", "unsealed"):
        del content[key]
    (run / "run.json").write_text(json.dumps(content))


def test_exit_codes(copied: Callable[[], Path], capsys: pytest.CaptureFixture[str]) -> None:
    run = copied()

    def call(*words: str) -> tuple[int, str]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.argv", ["vdbench", "verify", *words])
            with pytest.raises(SystemExit) as left:
                cli.main()
        heard = capsys.readouterr()
        return int(left.value.code or 0), heard.out + heard.err

    code, text = call(str(run))
    assert (code, text.strip().endswith("files checked, none is damaged.")) == (0, True)
    next((run / "blocks").iterdir()).write_bytes(b"")
    code, text = call(str(run))
    assert code == 1
    assert "it cannot be read, it is empty" in text
    code, text = call(str(run), "--json")
    assert code == 1
    assert json.loads(text)["bad"] == 1
    code, text = call(str(run / "blocks"))
    assert code == 2
    assert "is not a run folder: it has neither run.json nor blocks." in text
