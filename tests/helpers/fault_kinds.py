"""Kinds of faults: each does something to a run folder, its cache or the system, and is over when it is left."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import psutil
import pyarrow.parquet as pq

from vdbench.store import arrays, damage, files, records, tables

Generator = np.random.Generator


class Killed(BaseException):
    """The process ends here."""


@dataclass
class At:
    """Where a fault happens.

    Attributes:
        run: The run folder.
        cache: Its cache.
        other: Folder of a run of the same suite with another seed, and its cache.
        changed: Bytes of files that must still be somewhere when all is over.
    """

    run: Path
    cache: Path
    other: Path
    changed: list[bytes] = field(default_factory=list)

    def some(self, part: str, generator: Generator) -> Path:
        """One file of a part of the run: ``blocks``, ``checkpoints``, ``training``, ``cache`` or its own name."""
        if part == "cache":
            shutil.rmtree(self.run / "checkpoints")
        folder = self.cache / "checkpoints" if part == "cache" else self.run / part
        if not folder.is_dir():
            return folder
        found = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
        return found[generator.integers(len(found))]

    def twin(self, path: Path) -> Path:
        """The file of the same kind in the other run."""
        folder = self.other / ("cache" if self.cache in path.parents else "run")
        root = self.cache if self.cache in path.parents else self.run
        place = folder / path.relative_to(root)
        return place if place.exists() else sorted(place.parent.glob(f"*{path.suffix}"))[0]


Change = Callable[[At, Path, Generator], None]


def flip(at: At, path: Path, generator: Generator) -> None:
    """One bit."""
    content = bytearray(path.read_bytes())
    content[generator.integers(len(content))] ^= 1 << int(generator.integers(8))
    path.write_bytes(content)


def burst(at: At, path: Path, generator: Generator) -> None:
    """Some bytes in a row are others."""
    content = bytearray(path.read_bytes())
    start, many = generator.integers(len(content)), int(generator.integers(2, 64))
    part = generator.bytes(len(content[start : start + many]))
    content[start : start + many] = part
    path.write_bytes(content)


def truncate(at: At, path: Path, generator: Generator) -> None:
    """The end is lost."""
    content = path.read_bytes()
    path.write_bytes(content[: generator.integers(1, len(content))])


def empty(at: At, path: Path, generator: Generator) -> None:
    """All is lost but the name."""
    path.write_bytes(b"")


def zeros(at: At, path: Path, generator: Generator) -> None:
    """A page of zeros, as a loss of power may leave."""
    content = bytearray(path.read_bytes())
    start = int(generator.integers(len(content)))
    content[start : start + 4096] = bytes(len(content[start : start + 4096]))
    path.write_bytes(content)


def remove(at: At, path: Path, generator: Generator) -> None:
    """The file is gone."""
    path.unlink()


def folder(at: At, path: Path, generator: Generator) -> None:
    """A folder has its name."""
    path.unlink()
    path.mkdir()


def swap(at: At, path: Path, generator: Generator) -> None:
    """Two files have each other's names."""
    others = sorted(p for p in path.parent.glob(f"*{path.suffix}") if p != path)
    other = others[generator.integers(len(others))]
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(mine)


def overwrite(at: At, path: Path, generator: Generator) -> None:
    """Another's content under this name: another estimator's, or another measure's."""
    others = sorted(p for p in path.parent.glob(f"*{path.suffix}") if p != path)
    path.write_bytes(others[generator.integers(len(others))].read_bytes())


def foreign(at: At, path: Path, generator: Generator) -> None:
    """The content of another run's file."""
    path.write_bytes(at.twin(path).read_bytes())


def edit(at: At, path: Path, generator: Generator) -> None:
    """A value is changed, and the file is written anew with all that it says of itself."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        pq.write_table(_changed(table, generator), path)
    elif path.suffix == ".npz":
        with np.load(path) as saved:
            values = {name: saved[name] for name in saved.files}
        names = [n for n in values if n.startswith("parameter/") and values[n].size]
        name = names[generator.integers(len(names))]
        values[name].reshape(-1)[0] += 1
        with open(path, "wb") as file:
            np.savez(file, **values)
    else:
        content = json.loads(path.read_text())
        names = list(content["chunks"])
        content["chunks"][names[generator.integers(len(names))]] += 1
        content["cells"][0]["status"] = "failed"
        path.write_text(json.dumps(content))


def unseal(at: At, path: Path, generator: Generator) -> None:
    """A value is changed, and the seal is taken away."""
    if path.suffix == ".parquet":
        table = _changed(pq.read_table(path), generator)
        kept = {k: v for k, v in table.schema.metadata.items() if k != tables.SEAL}
        pq.write_table(table.replace_schema_metadata(kept), path)
        return
    edit(at, path, generator)
    with np.load(path) as saved:
        values = {name: saved[name] for name in saved.files if name != arrays.SEAL}
    with open(path, "wb") as file:
        np.savez(file, **values)


def _changed(table: Any, generator: Generator) -> Any:
    import pyarrow as pa

    floats = [n for n in table.column_names if pa.types.is_floating(table.schema.field(n).type)]
    name = floats[generator.integers(len(floats))]
    values = table.column(name).to_numpy().copy()
    values[generator.integers(len(values))] = 529545.0
    place = table.column_names.index(name)
    field = table.schema.field(name)
    return table.set_column(place, field, pa.array(values, field.type))


BYTES: dict[str, Change] = {
    "bit flipped": flip,
    "bytes overwritten": burst,
    "truncated": truncate,
    "emptied": empty,
    "page of zeros": zeros,
    "removed": remove,
    "edited": edit,
    "another run's": foreign,
}
SEVERAL: dict[str, Change] = {"swapped": swap, "another's": overwrite, "a folder": folder}
PARTS: dict[str, dict[str, Change]] = {
    "blocks": {**BYTES, **SEVERAL, "edited, seal gone": unseal},
    "checkpoints": {**BYTES, **SEVERAL, "edited, seal gone": unseal},
    "cache": BYTES,
    "training": {**BYTES, "swapped": swap},
    "results.parquet": BYTES,
    "training.parquet": BYTES,
    "run.json": {**BYTES, "a folder": folder},
}
PARTS["run.json"] = {k: v for k, v in PARTS["run.json"].items() if k != "another run's"}


@contextmanager
def on_file(part: str, change: Change, at: At, generator: Generator) -> Iterator[None]:
    """Change a file; what it is then must be kept."""
    path = at.some(part, generator)
    change(at, path, generator)
    # tables are written anew: one whose content is as it was need not be kept
    if path.is_file() and part != "run.json" and not (part.endswith(".parquet") and _whole(path)):
        at.changed.append(path.read_bytes())
    yield


def _whole(path: Path) -> bool:
    try:
        return tables.read(path).sealed
    except damage.Damaged:
        return False


# --- the system ------------------------------------------------------------------------------


def _later(real: Callable[..., Any], number: int, error: BaseException, once: bool) -> Any:
    count = 0

    def called(*arguments: Any, **more: Any) -> Any:
        nonlocal count
        count += 1
        if count == number or (count > number and not once):
            raise error
        return real(*arguments, **more)

    return called


def _unfinished(at: At, generator: Generator) -> None:
    """Take away some of what there is, so that something must be measured and written."""
    for path in sorted((at.run / "blocks").iterdir()):
        if generator.random() < 0.5:
            path.unlink()
    if generator.random() < 0.3:
        shutil.rmtree(at.run / "checkpoints")
        if generator.random() < 0.5:
            shutil.rmtree(at.cache)


def writes(error: BaseException, once: bool) -> Callable[[At, Generator], Any]:
    """The k-th file cannot be written to the disk."""

    @contextmanager
    def fault(at: At, generator: Generator) -> Iterator[None]:
        _unfinished(at, generator)
        number = int(generator.integers(1, 16))
        with mock.patch.object(files, "sync", _later(files.sync, number, error, once)):
            yield

    return fault


@contextmanager
def half_a_table(at: At, generator: Generator) -> Iterator[None]:
    """The disk is full in the middle of a Parquet file."""
    _unfinished(at, generator)
    number, count, real = int(generator.integers(1, 8)), 0, pq.write_table

    def write(table: Any, path: Any, **more: Any) -> None:
        nonlocal count
        count += 1
        real(table, path, **more)
        if count >= number:
            os.truncate(path, os.path.getsize(path) // 2)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with mock.patch.object(pq, "write_table", write):
        yield


@contextmanager
def unreadable(at: At, generator: Generator) -> Iterator[None]:
    """The k-th file cannot be read."""
    error, number = OSError(errno.EIO, os.strerror(errno.EIO)), int(generator.integers(1, 20))
    broken = _later(arrays.whole, number, error, once=bool(generator.integers(2)))
    with ExitStack() as stack:
        for module in (arrays, records, tables):
            stack.enter_context(mock.patch.object(module, "whole", broken))
        yield


@contextmanager
def read_only(at: At, generator: Generator) -> Iterator[None]:
    """Nothing can be written or renamed, from some moment on; with a damaged block beside it."""
    _unfinished(at, generator)
    left = sorted((at.run / "blocks").iterdir())
    if left:
        flip(at, left[0], generator)
    error, number = OSError(errno.EROFS, os.strerror(errno.EROFS)), int(generator.integers(1, 12))
    with ExitStack() as stack:
        for place, name in ((files.os, "replace"), (damage.os, "rename")):
            broken = _later(getattr(place, name), number, error, once=False)
            stack.enter_context(mock.patch.object(place, name, broken))
        yield


@contextmanager
def no_cache(at: At, generator: Generator) -> Iterator[None]:
    """The cache folder cannot be made: a file has its name."""
    shutil.rmtree(at.cache)
    at.cache.write_bytes(b"")
    shutil.rmtree(at.run / "checkpoints")
    yield


@contextmanager
def no_errors_log(at: At, generator: Generator) -> Iterator[None]:
    """Cells fail unexpectedly, and errors.log cannot be written."""
    from vdbench.measures import variance_units

    for path in (at.run / "blocks").iterdir():
        path.unlink()
    (at.run / "errors.log").mkdir()
    with mock.patch.object(variance_units, "rows", side_effect=ZeroDivisionError("of a test")):
        yield
    (at.run / "errors.log").rmdir()


# --- processes and clocks ----------------------------------------------------------------------

FAKETIME = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)
"""Debian's libfaketime; None where it is not installed."""

CHILD = (
    "import json, sys, warnings; warnings.simplefilter('ignore'); import vdbench;"
    "vdbench.run(json.loads(sys.argv[1]), sys.argv[2], isolate=sys.argv[3] == 'True')"
)


def _child(at: At, isolate: bool, **more: str) -> subprocess.Popen[bytes]:
    """The run that is disturbed, in a process of its own."""
    from fault_campaign import SUITE

    words = [sys.executable, "-c", CHILD, json.dumps(SUITE), str(at.run), str(isolate)]
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **more}
    return subprocess.Popen(words, env=here, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextmanager
def clock_jumps(at: At, generator: Generator) -> Iterator[None]:
    """The clock jumps back and forth, by seconds to years, while a run is at work."""
    _unfinished(at, generator)
    file = at.run.with_name("clock")

    def jump() -> None:
        sign, far = generator.choice(["+", "-"]), int(10 ** generator.uniform(0, 8.5))
        temporary = file.with_suffix(".new")
        temporary.write_text(f"{sign}{far}s\n")
        os.replace(temporary, file)

    jump()
    settings = {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(file),
                "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}  # fmt: skip
    run = _child(at, False, **settings)
    while run.poll() is None:
        jump()
        time.sleep(0.02)
    assert run.returncode == 0, "the run whose clock jumped did not come to its end"
    yield


@contextmanager
def driver_killed(at: At, generator: Generator) -> Iterator[None]:
    """The process of a run is killed at some moment."""
    _unfinished(at, generator)
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            from fault_campaign import SUITE

            import vdbench

            vdbench.run(SUITE, at.run, isolate=False)
        os._exit(0)
    time.sleep(float(generator.uniform(0.02, 1.5)))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    yield


@contextmanager
def worker_killed(at: At, generator: Generator) -> Iterator[None]:
    """Some process of a run is killed, again and again: one of its cells, or one that they come from."""
    _unfinished(at, generator)
    run = _child(at, True)
    left = 3
    while run.poll() is None and left:
        time.sleep(float(generator.uniform(0.1, 1.0)))
        with suppress(psutil.Error):
            family = psutil.Process(run.pid).children(recursive=True)
            if family:
                family[generator.integers(len(family))].kill()
                left -= 1
    run.wait()
    yield


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
SYSTEM: dict[str, Callable[[At, Generator], AbstractContextManager[None]]] = {
    "system: disk full from a write on": writes(FULL, once=False),
    "system: disk full once": writes(FULL, once=True),
    "system: disk full in a table": half_a_table,
    "system: killed in a write": writes(Killed(), once=True),
    "system: a read fails": unreadable,
    "system: read-only from a rename on": read_only,
    "system: no cache": no_cache,
    "system: errors.log cannot be written": no_errors_log,
    "system: the run's process is killed": driver_killed,
    "system: a cell's process is killed": worker_killed,
    **({"system: the clock jumps": clock_jumps} if FAKETIME else {}),
}

SLOW = ("system: a cell's process is killed", "system: the clock jumps")
"""Kinds that take a process of Python's own each; the second is there where libfaketime is installed."""


def _file_kind(
    part: str, change: Change
) -> Callable[[At, Generator], AbstractContextManager[None]]:
    return lambda at, generator: on_file(part, change, at, generator)


KINDS: dict[str, Callable[[At, Generator], AbstractContextManager[None]]] = {
    **{
        f"{part}: {name}": _file_kind(part, change)
        for part, changes in PARTS.items()
        for name, change in changes.items()
    },
    **SYSTEM,
}
"""All kinds, by name."""
