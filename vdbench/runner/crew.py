"""A run that is open in a process elsewhere, as a part of which it does the jobs that it is told by name.

It has processes of its own for estimators, and writes sealed blocks into the folder that all machines see, or into one
of its own whose files also go to a URL. Nothing else comes back but what became of the cells.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import pickle
import shutil
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from vdbench.errors import InputError, one_line
from vdbench.estimation import registry
from vdbench.measures.progress import Quiet
from vdbench.problems import given
from vdbench.runner import environment, prepare
from vdbench.runner.orders import Order, Receipt, versions
from vdbench.runner.receipts import Part
from vdbench.store import records, shares


class _Told(Quiet):
    """Keeps the lines that a run says."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)

    def take(self) -> list[str]:
        """Those since it was last asked."""
        lines, self.lines = self.lines, []
        return lines


class Crew:
    """A run that is open in this process, and does jobs that it is told."""

    def __init__(self, order: Order) -> None:
        """Open it.

        Raises:
            InputError: This machine cannot do what the run asks for; one sentence says why.
        """
        self._same_versions(order)
        self._scratch = Path(tempfile.mkdtemp(prefix="vdbench-"))
        self._told = _Told()
        folder = self._scratch / "run" if order.url else Path(order.folder)
        if order.url:
            shares.use(folder, order.url)
        else:
            _see(folder, order.identity)
        for name, content in order.others.items():
            with contextlib.suppress(Exception):  # one that is needed is missed by its name
                registry.add({name: pickle.loads(content)})
        self.run, threads = prepare.prepared(
            order.suite,
            folder,
            order.device,
            (),
            order.only,
            self._plugins(order),
            (*order.allowed, given.GIVEN),
            self._told,
            False,
            True,
            1,
        )
        self.run.part = Part("", lambda job: True, kept=False)
        self.run.held = pickle.loads(order.held)
        torch.set_num_threads(threads or order.threads)
        self._jobs = {job.name: job for job in self.run.begin("")}
        self._trained: set[tuple[str, str]] = set()
        self._machine = {
            "host": socket.gethostname(),
            "environment": environment.describe(self.run.session.device.type),
        }

    def _same_versions(self, order: Order) -> None:
        here = versions()
        for name, version in order.versions.items():
            if here.get(name) != version:
                raise InputError(
                    f"{socket.gethostname()} has {name} {here.get(name)}, and the run {version}; expected the same "
                    "versions on all machines."
                )

    def _plugins(self, order: Order) -> list[Path]:
        """Files of estimators, as the run's own machine has them.

        One of the same name has the same path in all runs of this process: loaded again, it replaces what it was.
        """
        made: list[Path] = []
        for name, content in order.plugins:
            same = sum(path.name == name for path in made)
            path = _files() / str(same) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            made.append(path)
        return made

    def do(self, names: Sequence[str]) -> Receipt:
        """Have jobs done, with the trainings that they need, and tell what became of them."""
        wanted = set(names)
        part = self.run.part = Part("", lambda job: job.name in wanted, kept=False)
        every = list(self._jobs.values())
        trainings = [job for job in every if job.name in wanted and not job.measure]
        needed = [j for j in part.of_jobs(every) if j.measure or j.place[:2] not in self._trained]
        ledger = self.run.session.store.ledger
        seen, used = len(ledger.found), set(ledger.used)
        ledger.used.clear()
        self.run.do([*trainings, *needed])
        failed = {(problem, checkpoint) for problem, checkpoint, _ in part.untrained}
        self._trained |= {j.place[:2] for j in (*trainings, *needed) if not j.measure} - failed
        files = sorted(name for name in ledger.used if name.partition("/")[0] in shares.OURS)
        ledger.used |= used
        return Receipt(
            part.cells, part.untrained, files, ledger.found[seen:], self._told.take(), self._machine
        )

    def close(self) -> None:
        """End its processes, and take away what is of this machine alone."""
        self.run.end()
        shares.leave(self.run.session.folder)
        shutil.rmtree(self._scratch, ignore_errors=True)


def _see(folder: Path, identity: str) -> None:
    """See that this machine has the run folder.

    Raises:
        InputError: It has not, or another.
    """
    with contextlib.suppress(OSError):
        if records.read(folder / "run.json").get("identity") == identity:
            return
    raise InputError(
        f"{socket.gethostname()} does not see the run folder {folder}; expected a folder that all machines share, "
        "or --share URL."
    )


@functools.cache
def _files() -> Path:
    """A folder of this process, gone with it."""
    made = Path(tempfile.mkdtemp(prefix="vdbench-plugins-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


_held: dict[tuple[str, str], Crew] = {}


def crew(order: Order) -> Crew:
    """The crew of a session of a run in this process, opened once for each choice of GPUs."""
    key = (order.key, os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    if key not in _held:
        for other in [one for one in _held if one[0] != order.key]:
            _held.pop(other).close()
        _held[key] = Crew(order)
    return _held[key]


@atexit.register
def dismiss() -> None:
    """Close the crews of this process."""
    while _held:
        _held.popitem()[1].close()


def attempt(order: Order, names: Sequence[str]) -> Receipt | str:
    """Do jobs in this process; one sentence where this machine cannot do what the run asks for."""
    try:
        return crew(order).do(names)
    except InputError as error:
        return str(error)
    except OSError as error:
        return f"{socket.gethostname()}: {error.strerror or one_line(error)}"
