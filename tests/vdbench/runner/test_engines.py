"""Jobs that are done elsewhere: the same figures whoever does them, and what is lost is said.

The runs on Ray, by S3 and through submitit are marked ``long``; each is skipped where its package is not installed.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_table import TIMED, WAYS, measured, missing
from fault_campaign import SUITE, figures

import vdbench
from vdbench.errors import InputError
from vdbench.measures.cells import Place
from vdbench.runner import crew, engines, orders, prepare
from vdbench.runner.bench import Job
from vdbench.runner.engines import on_slurm
from vdbench.store import Store, shares

PLACE = Place("p", "initial", 4)


# --- options ---------------------------------------------------------------------------------


def test_local_is_no_engine() -> None:
    assert engines.named("local", {}, "") is None


@pytest.mark.parametrize(
    ("name", "options", "share", "expected"),
    [
        ("rya", {}, "", "Did you mean 'ray'"),
        ("", {}, "", "there is none"),
        ("local", {"address": "auto"}, "", "it is for --engine ray or slurm"),
        ("local", {}, "s3://bucket", "--share: it is for"),
    ],
)
def test_an_engine_that_there_is_not_is_refused(
    name: str, options: dict[str, Any], share: str, expected: str
) -> None:
    with pytest.raises(InputError, match=expected):
        engines.named(name, options, share)


def test_an_engine_needs_processes_of_its_own() -> None:
    with pytest.raises(InputError, match="isolate=False"):
        engines.named("ray", {}, "", isolate=False)


def test_a_package_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = engines.importlib.import_module

    def without(name: str) -> Any:
        if name in ("ray", "submitit"):
            raise ModuleNotFoundError(name)
        return real(name)

    monkeypatch.setattr(engines.importlib, "import_module", without)
    with pytest.raises(InputError, match=r"needs the package ray.*vdbench\[ray\]"):
        engines.named("ray", {}, "")
    with pytest.raises(InputError, match=r"needs the package submitit.*vdbench\[slurm\]"):
        engines.named("slurm", {}, "")


def test_a_folder_of_that_name_is_no_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray leaves a folder ``ray`` among temporary files, and Python imports it where it is called from there."""
    (tmp_path / "no_package_of_ours").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="needs the package no_package_of_ours"):
        engines._need("no_package_of_ours", "--engine ray", "vdbench[ray]")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"adress": "auto"}, "Did you mean 'address'"),
        ({"cpus": 0}, "greater than or equal to 1"),
        ({"gpu_share": 2}, "less than or equal to 1"),
        ({"retries": "often"}, "valid integer"),
    ],
)
def test_an_option_of_ray_that_cannot_be_is_refused(options: dict[str, Any], expected: str) -> None:
    from vdbench.runner.engines import on_ray

    with pytest.raises(InputError, match=expected):
        engines._options("ray", on_ray.Options, options)


@pytest.mark.parametrize("text", ["address", "=auto", "a=1,a=2"])
def test_options_that_are_no_options_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--engine-option"):
        engines.parsed(text.split(","))


def test_options_are_read_as_yaml_reads_them() -> None:
    found = engines.parsed(["cpus=4", "address=ray://host:10001", "slurm_exclusive=false", "x={"])
    assert found == {
        "cpus": 4, "address": "ray://host:10001", "slurm_exclusive": False, "x": "{",
    }  # fmt: skip


# --- what is asked for -----------------------------------------------------------------------


def test_what_is_timed_has_a_node_or_a_gpu_of_its_own() -> None:
    from vdbench.runner.engines.on_ray import resources

    timed, other = Job(PLACE, "throughput", (0,), True), Job(PLACE, "variance", (1,))
    assert resources(timed, "cpu", 1, 16, 0.25) == {"num_cpus": 16}
    assert resources(other, "cpu", 2, 16, 0.25) == {"num_cpus": 2}
    assert resources(timed, "cuda", 1, 16, 0.25) == {"num_cpus": 1, "num_gpus": 1}
    assert resources(other, "cuda", 1, 16, 0.25) == {"num_cpus": 1, "num_gpus": 0.25}


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 100])
def test_each_job_is_dealt_out_once(parts: int) -> None:
    todo = [Job(PLACE, "variance", (n,)) for n in range(7)]
    dealt = on_slurm.shares(todo, parts)
    assert len(dealt) == min(parts, 7)
    assert sorted((job for mine in dealt for job in mine), key=lambda j: j.cells) == todo


def test_trainings_come_first_and_timed_cells_apart() -> None:
    training, timed = Job(PLACE, ""), Job(PLACE, "throughput", (0,), True)
    other = Job(PLACE, "variance", (1,))
    todo = [other, timed, training]
    assert on_slurm.stages(todo) == [
        [(False, [training])], [(True, [timed]), (False, [other])],
    ]  # fmt: skip
    assert on_slurm.stages(todo, nodes=False) == [
        [(False, [training])], [(True, [timed])], [(False, [other])],
    ]  # fmt: skip
    assert on_slurm.stages([other]) == [[(False, [other])]]


# --- a URL -----------------------------------------------------------------------------------

BLOCK = {"a": np.arange(4.0), "name": np.array(["x", "y", "x", "z"], dtype=object)}


@pytest.fixture
def two(tmp_path: Path) -> Any:
    """Two run folders with one URL."""
    pytest.importorskip("fsspec")
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        shares.use(folder, f"file://{tmp_path}/url")
    yield folders
    for folder in folders:
        shares.leave(folder)


def test_what_one_writes_another_finds(two: Sequence[Path], tmp_path: Path) -> None:
    first, second = (Store(folder / "blocks") for folder in two)
    address = {"kind": "of a test"}
    assert second.find(address) is None
    first.write(address, BLOCK)
    found = second.find(address)
    assert found is not None
    assert all((found[name] == BLOCK[name]).all() for name in BLOCK)
    assert [p.suffix for p in (tmp_path / "url" / "blocks").iterdir()] == [".parquet"]


def test_a_file_that_is_damaged_at_the_url_is_set_aside_there_too(
    two: Sequence[Path], tmp_path: Path
) -> None:
    first, second = (Store(folder / "blocks") for folder in two)
    address = {"kind": "of a test"}
    first.write(address, BLOCK)
    (there,) = (tmp_path / "url" / "blocks").iterdir()
    damaged = there.read_bytes()[:-7]
    there.write_bytes(damaged)
    assert second.find(address) is None
    assert not there.exists()
    assert [p.read_bytes() for p in (tmp_path / "url" / "damaged").iterdir()] == [damaged]
    second.write(address, BLOCK)
    assert there.read_bytes() != damaged
    third = Store(tmp_path / "three" / "blocks")
    shares.use(tmp_path / "three", f"file://{tmp_path}/url")
    assert third.find(address) is not None
    shares.leave(tmp_path / "three")


def test_many_files_are_fetched_at_once(two: Sequence[Path]) -> None:
    first = Store(two[0] / "blocks")
    names = []
    for number in range(5):
        first.write({"number": number}, BLOCK)
        names.append(f"blocks/{first.path({'number': number}).name}")
    share = shares.of(two[1] / "blocks" / "any")
    assert share is not None
    share.fetch_all([*names, "blocks/none.parquet", names[0]])
    assert sorted(p.name for p in (two[1] / "blocks").iterdir()) == sorted(n[7:] for n in names)


def test_other_files_are_not_shared(two: Sequence[Path]) -> None:
    for name in ("run.json", "results.parquet", "damaged/x.npz", "logs/x"):
        assert shares.of(two[0] / name) is None


def test_a_url_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    (tmp_path / "file").write_text("")
    for url in (f"file://{tmp_path}/file/below", "nothing://there"):
        with pytest.raises(InputError, match="it cannot be used"):
            shares.Share(tmp_path, url).probe()


# --- receipts --------------------------------------------------------------------------------


@dataclasses.dataclass
class Fake:
    """An engine that answers what it is told to."""

    answer: Callable[[Job], orders.Receipt | str]
    url: str = ""
    name: str = "fake"

    def do(self, order: Any, todo: Sequence[Job], took: Any, say: Any) -> None:
        """Answer."""
        self.order = order
        for job in todo:
            took([job.name], self.answer(job))


def with_engine(engine: Any, out: Path, content: Any = SUITE) -> vdbench.Finished:
    """A run whose jobs an engine has, and which reads them in this process."""
    made, threads = prepare.prepared(content, out, "cpu", (), (), (), (), None, False, False, 1)
    made.engine = engine
    with prepare.using_threads(threads):
        return made.all("")


SMALL: dict[str, Any] = {
    **SUITE,
    "checkpoints": ["initial"],
    "measures": {"bias": {"units": 4, "draws": 1}},
}


def test_what_an_engine_loses_has_failed_and_a_rerun_has_it(elsewhere: Path) -> None:
    done = with_engine(Fake(lambda job: "NodeDiedError"), elsewhere / "run", SMALL)
    assert done.failed == 2
    assert set(done.results["status"]) == {"failed"}
    assert all("fake has lost it, NodeDiedError" in m for m in done.results["message"])
    assert not (elsewhere / "run" / "blocks").exists()
    about = json.loads((elsewhere / "run" / "run.json").read_text())
    assert about["engine"]["name"] == "fake"
    assert not vdbench.run(SMALL, elsewhere / "run").failed


def test_what_failed_elsewhere_is_not_tried_again(elsewhere: Path) -> None:
    """One estimator fails there; the other's block is there."""
    vdbench.run(SMALL, elsewhere / "run")
    for path in (elsewhere / "run" / "results.parquet", elsewhere / "run" / "run.json"):
        path.unlink()

    def answer(job: Job) -> orders.Receipt:
        cells = [
            {"problem": "p", "checkpoint": "initial", "batch_size": 4, "measure": job.measure,
             "estimator": job.whose, "status": "failed" if job.whose == "naive" else "ok",
             "reason": "it hangs", "seconds": 7.0}
        ] if job.measure else []  # fmt: skip
        machine = {"host": "there", "environment": {"device": {"name": "one"}}}
        return orders.Receipt(cells, [], [], [], [], machine)

    done = with_engine(Fake(answer), elsewhere / "run", SMALL)
    table = done.results
    assert done.failed == 1
    assert list(table[table["label"] == "naive"]["message"]) == ["it hangs"]
    assert (table[table["label"] == "local"]["status"] != "failed").all()
    about = json.loads((elsewhere / "run" / "run.json").read_text())
    assert {c["estimator"]: c["seconds"] for c in about["cells"]}["local"] == 7.0
    assert about["workers"][0]["cells"] == 2


def test_what_travels_is_the_suite_and_no_data(elsewhere: Path) -> None:
    import cloudpickle

    engine = Fake(lambda job: "none")
    with_engine(engine, elsewhere / "run", SMALL)
    assert len(cloudpickle.dumps(engine.order)) < 40_000
    other = dataclasses.replace(engine.order, versions={**engine.order.versions, "torch": "0"})
    found = crew.attempt(other, [])
    assert isinstance(found, str)
    assert "expected the same versions on all machines" in found
    unseen = dataclasses.replace(engine.order, folder=str(elsewhere / "not there"))
    found = crew.attempt(unseen, [])
    assert isinstance(found, str)
    assert "does not see the run folder" in found


# --- engines ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The figures of a run in one process."""
    folder = tmp_path_factory.mktemp("expected")
    vdbench.run(TIMED, folder / "run", isolate=False)
    return figures(folder / "run")


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", [way for way, (_, needs) in WAYS.items() if needs])
def test_no_value_depends_on_who_measures(way: str, expected: Any, elsewhere: Path) -> None:
    if missing(way):
        pytest.skip(f"{', '.join(missing(way))} is not here")
    assert figures(measured(way, elsewhere)).equals(expected)
