"""One suite measured in every way that there is, and the figures compared value by value.

``python tests/helpers/engine_table.py FOLDER [WAY…]`` prints the table (``make engines``). Ways whose package is not
installed are left out in one line each. `tests/vdbench/runner/test_engines.py` runs some of them.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fault_campaign import SUITE, cache, figures

import vdbench
from vdbench.measures.progress import Quiet
from vdbench.runner.run_suite import work

TIMED: dict[str, Any] = {**SUITE, "measures": {**SUITE["measures"], "throughput": {"rounds": 8}}}


def jobs_8(out: Path) -> None:
    """Up to eight cells at a time."""
    vdbench.run(TIMED, out, isolate=True, jobs=8)


def workers_3(out: Path) -> None:
    """Three parts of a shared folder."""
    for index in range(3):
        work(TIMED, out, index, 3)
    vdbench.run(TIMED, out, isolate=True)


def killed(out: Path) -> None:
    """Killed three times, each time after some more blocks; then resumed."""
    code = (
        "import json, sys, vdbench; vdbench.run(json.loads(sys.argv[1]), sys.argv[2], isolate=True)"
    )
    for least in (1, 4, 8):
        run = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code, json.dumps(TIMED), str(out)]
        )
        while run.poll() is None and len(list(out.glob("blocks/*.parquet"))) < least:
            time.sleep(0.02)
        run.send_signal(signal.SIGKILL)
        run.wait()
    vdbench.run(TIMED, out, isolate=True)


def ray(out: Path) -> None:
    """Tasks of a cluster on this machine."""
    away(out, "ray", cpus=2)


def ray_kill(out: Path) -> None:
    """Two nodes, one of which is killed in mid-run."""
    with cluster() as (_, node, kill):
        away(out, "ray", seen=After(3, lambda: kill(node)))


def ray_s3(out: Path) -> None:
    """Blocks by S3: moto's server."""
    with s3() as bucket:
        away(out, "ray", share=f"{bucket}/run", cpus=2)


def submitit(out: Path) -> None:
    """Elements in processes of this machine."""
    away(out, "slurm", cluster="local", parts=2)


def slurm(out: Path) -> None:
    """Array jobs of the Slurm that runs here."""
    away(out, "slurm", parts=2)


WAYS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "--jobs 8": (jobs_8, ()),
    "worker --of 3": (workers_3, ()),
    "resumed after three kills": (killed, ()),
    "Ray": (ray, ("ray",)),
    "Ray, one of two nodes killed": (ray_kill, ("ray",)),
    "Ray, blocks by S3 (moto)": (ray_s3, ("ray", "s3fs", "moto")),
    "submitit, local": (submitit, ("submitit",)),
    "Slurm": (slurm, ("submitit", "a cluster of Slurm")),
}
"""Ways to measure, each with what it needs: packages, and a cluster that answers."""


class After(Quiet):
    """Does something once so many cells are finished."""

    def __init__(self, cells: int, act: Callable[[], None]) -> None:
        self._cells, self._act = cells, act

    def done(self, name: str, status: str, reason: str) -> None:
        """Count."""
        self._cells -= 1
        if not self._cells:
            self._act()


def away(
    out: Path, engine: str, seen: Quiet | None = None, share: str = "", **options: Any
) -> vdbench.Finished:
    """A run by an engine."""
    return vdbench.run(
        TIMED, out, isolate=True, engine=engine, engine_options=options, share=share, progress=seen
    )


@contextlib.contextmanager
def cluster() -> Iterator[tuple[Any, Any, Callable[[Any], None]]]:
    """A simulated cluster of two nodes; the second, and what kills a node with all that runs there."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray as ray_
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    node = made.add_node(num_cpus=1)
    ray_.init(address=made.address, log_to_driver=False, logging_level="error")
    try:
        yield made, node, lambda one: made.remove_node(one, allow_graceful=False)
    finally:
        ray_.shutdown()
        made.shutdown()


@contextlib.contextmanager
def s3() -> Iterator[str]:
    """A bucket of moto's server, with the settings that find it in the environment."""
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }  # fmt: skip
    before = {key: os.environ.get(key) for key in settings}
    os.environ.update(settings)
    try:
        import s3fs

        s3fs.S3FileSystem(skip_instance_cache=True).mkdir("vdbench")
        yield "s3://vdbench"
    finally:
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})
        server.stop()


def missing(way: str) -> list[str]:
    """What a way needs and what is not here."""
    return [name for name in WAYS[way][1] if not _there(name)]


def _there(name: str) -> bool:
    if "Slurm" not in name:
        return importlib.util.find_spec(name) is not None
    sinfo = shutil.which("sinfo")
    return sinfo is not None and not subprocess.run([sinfo], capture_output=True).returncode


def measured(way: str, folder: Path) -> Path:
    """The run folder of a way, measured anew with a cache of its own."""
    place = folder / "".join(c if c.isalnum() else "-" for c in way)
    shutil.rmtree(place, ignore_errors=True)
    with cache(place / "cache"):
        WAYS[way][0](place / "run")
    return place / "run"


def one_worker(folder: Path) -> Path:
    """What the others are compared with: one cell at a time, each in a process of its own."""
    with cache(folder / "cache"):
        vdbench.run(TIMED, folder / "run", isolate=True)
    return folder / "run"


def main() -> None:
    """Print the table; exit code 1 where a value differs."""
    folder, *ways = sys.argv[1:]
    whole = one_worker(Path(folder) / "one")
    expected, bad = figures(whole), 0
    print(
        f"{'how':34}{'figures':>9}{'equal':>8}{'machines or parts':>20}{'seconds':>9}", flush=True
    )
    print(f"{'one worker':34}{len(expected):>9}{'':>8}{'':>20}", flush=True)
    for way in ways or WAYS:
        if missing(way):
            print(f"{way:34}left out: {', '.join(missing(way))} is not here")
            continue
        began = time.perf_counter()
        run = measured(way, Path(folder))
        seconds, found = time.perf_counter() - began, figures(run)
        about = json.loads((run / "run.json").read_text())
        equal = found.equals(expected)
        bad += not equal
        parts = len(about["workers"]) or about["jobs"]
        print(
            f"{way:34}{len(found):>9}{'yes' if equal else 'NO':>8}{parts:>20}{seconds:>9.0f}",
            flush=True,
        )
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
