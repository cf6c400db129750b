"""``vdbench merge``: parts of a run become the whole, and what cannot be joined is refused in one sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from fault_campaign import SUITE, figures

import vdbench
from vdbench import cli
from vdbench.runner.merge import merge
from vdbench.runner.verify import verify
from vdbench.store import records, tables


def part(copied: Callable[[str], Path], name: str, keep: Callable[[int], bool]) -> Path:
    """A copy of the run with some of its blocks."""
    run = copied(name)
    for number, path in enumerate(sorted((run / "blocks").iterdir())):
        if not keep(number):
            path.unlink()
    return run


def change(run: Path, key: str, value: object) -> None:
    """Another record, with its seal."""
    content = records.read(run / "run.json")
    content[key] = value
    (run / "run.json").write_text(records.text(content))


def test_parts_become_the_whole(copied: Callable[[str], Path], tiny: Path, elsewhere: Path) -> None:
    one = part(copied, "one", lambda number: number % 3 > 0)
    two = part(copied, "two", lambda number: number % 3 < 2)
    found = merge([one, two], elsewhere / "all")
    assert found.finished is not None
    assert (found.finished.failed, found.conflicts, found.damaged) == (0, [], [])
    pd.testing.assert_frame_equal(figures(elsewhere / "all"), figures(tiny), check_exact=True)
    assert verify(elsewhere / "all").findings == []
    again = merge([two], elsewhere / "all")  # one more run into what there is
    assert again.finished is not None
    pd.testing.assert_frame_equal(figures(elsewhere / "all"), figures(tiny), check_exact=True)


def test_runs_of_some_estimators_become_a_run_of_all(elsewhere: Path, tiny: Path) -> None:
    for name in ("naive", "local"):
        vdbench.run(SUITE, elsewhere / name, only=[name])
    found = merge([elsewhere / "naive", elsewhere / "local"], elsewhere / "all")
    assert found.finished is not None
    assert found.finished.failed == 0
    pd.testing.assert_frame_equal(figures(elsewhere / "all"), figures(tiny), check_exact=True)


def test_what_is_in_none_is_not_measured(copied: Callable[[str], Path], elsewhere: Path) -> None:
    one, two = (part(copied, name, lambda number: False) for name in ("one", "two"))
    found = merge([one, two], elsewhere / "all")
    assert found.finished is not None
    table = found.finished.results
    assert set(table["status"]) == {"failed"}
    assert set(table["message"]) == {"not measured yet: the run folder has no block of it."}
    assert not (elsewhere / "all" / "blocks").exists()


def test_damaged_files_are_not_taken(copied: Callable[[str], Path], elsewhere: Path) -> None:
    one, two = copied("one"), copied("two")
    first, second, *_ = sorted((one / "blocks").iterdir())
    first.write_bytes(b"")
    second.write_bytes((one / "blocks" / second.name).read_bytes()[:-5])
    found = merge([one, two], elsewhere / "all")
    assert {entry["file"] for entry in found.damaged} == {
        f"one/blocks/{first.name}", f"one/blocks/{second.name}",
    }  # fmt: skip
    assert found.finished is not None
    assert found.finished.failed == 0


def test_a_damaged_file_of_the_target_is_set_aside(
    copied: Callable[[str], Path], tiny: Path
) -> None:
    one, two = copied("one"), copied("two")
    path = sorted((one / "blocks").iterdir())[0]
    path.write_bytes(b"half")
    merge([two], one)
    (kept,) = (one / "damaged").iterdir()
    assert kept.read_bytes() == b"half"
    (entry,) = records.read(one / "run.json")["damaged"]
    assert (entry["file"], entry["kept"]) == (f"blocks/{path.name}", f"damaged/{kept.name}")
    pd.testing.assert_frame_equal(figures(one), figures(tiny), check_exact=True)


def test_a_target_of_fewer_estimators_is_refused(
    copied: Callable[[str], Path], elsewhere: Path
) -> None:
    vdbench.run(SUITE, elsewhere / "naive", only=["naive"])
    with pytest.raises(vdbench.InputError, match="it is a run of fewer estimators"):
        merge([copied("one")], elsewhere / "naive")


def test_files_that_differ_are_a_conflict(
    copied: Callable[[str], Path], elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = copied("one"), copied("two")
    path = sorted((two / "blocks").iterdir())[0]
    table = pq.read_table(path)
    address = json.loads(table.schema.metadata[tables.ADDRESS])
    tables.write(path, table.slice(0, 1), address)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["vdbench", "merge", "one", "two", "--out", "all"])
        with pytest.raises(SystemExit) as left:
            cli.main()
    assert left.value.code == 1
    heard = capsys.readouterr()
    assert f"blocks/{path.name}  one and two" in heard.out
    assert "the runs differ in files of the same name" in heard.err
    assert not (elsewhere / "all").exists()
    assert one.exists()


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("threads", 7, "cannot be joined: threads is 1 and 7."),
        ("device", "cuda", "cannot be joined: device is cpu and cuda."),
        ("versions", {}, "cannot be joined: version of vdbench is .* and None."),
        ("suite", {**SUITE, "seed": 5}, "are runs of other suites: suite.seed is 0 and 5."),
        ("chunks", {"p/initial/4/naive": 3}, "draws taken together of p/initial/4/naive differ."),
    ],
)
def test_what_cannot_be_joined(
    key: str, value: object, expected: str, copied: Callable[[str], Path], elsewhere: Path
) -> None:
    one, two = copied("one"), copied("two")
    if key == "suite":
        value = {**records.read(one / "run.json")["suite"], "seed": 5}
    change(two, key, value)
    with pytest.raises(vdbench.InputError, match=expected):
        merge([one, two], elsewhere / "all")
    assert not (elsewhere / "all").exists()


def test_what_is_no_run(copied: Callable[[str], Path], elsewhere: Path) -> None:
    one = copied("one")
    with pytest.raises(vdbench.InputError, match="expected at least two run folders"):
        merge([one], elsewhere / "all")
    with pytest.raises(vdbench.InputError, match="is not a run folder: there is no such folder"):
        merge([one, elsewhere / "nothing"], elsewhere / "all")
    shutil.copytree(one, elsewhere / "two")
    (elsewhere / "two" / "run.json").write_text("{")
    with pytest.raises(vdbench.InputError, match=r"its run.json is damaged"):
        merge([one, elsewhere / "two"], elsewhere / "all")
    (elsewhere / "full").mkdir()
    (elsewhere / "full" / "thesis.tex").write_text("mine")
    with pytest.raises(vdbench.InputError, match="expected a new or empty folder"):
        merge([one, copied("three")], elsewhere / "full")
