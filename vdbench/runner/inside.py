"""What is done in the processes of a run: each function is sent there by `vdbench.runner.apart`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import torch

from vdbench import problems
from vdbench.errors import InputError
from vdbench.estimation import registry
from vdbench.estimation.base import Estimator
from vdbench.measures.cells import Cell, Outcome, Place
from vdbench.measures.progress import Quiet
from vdbench.measures.session import Session
from vdbench.problems.problem import Problem
from vdbench.runner.bench import Bench, Built, Job
from vdbench.store import Ledger, Store, shares
from vdbench.store.damage import News
from vdbench.suite.schema import Suite
from vdbench.workers import server


@dataclass(frozen=True)
class Setup:
    """What the processes of a run know of it.

    Attributes:
        suite: What is asked for.
        folder: The run folder, absolute.
        device: Where gradients are computed.
        plugins: Files of estimators.
        cells: Those of the plan that are on the problem, by their numbers.
        others: Estimators that came neither with vdbench nor from a file or package, by name.
        measuring: Whether what is not stored may be measured.
        strict: Whether all files of the folder must have a seal.
        chunks: Draws taken together on the problem, as far as they are fixed.
        threads: Torch's own number of threads in the run's process.
        url: Of the run folder's blocks, checkpoints and trainings; '' for none.
    """

    suite: Suite
    folder: Path
    device: str
    plugins: tuple[str, ...]
    cells: Mapping[int, Cell]
    others: Mapping[str, type[Estimator]]
    measuring: bool
    strict: bool
    chunks: Mapping[str, int]
    threads: int
    url: str


class Teller(Quiet):
    """Tells the run's own progress."""

    def note(self, text: str) -> None:
        """Pass it on."""
        server.tell(("note", text))

    def detail(self, text: str) -> None:
        """Pass it on."""
        server.tell(("detail", text))

    def share(self, share: float) -> None:
        """Pass it on."""
        server.tell(("share", share))


class Numbers:
    """Draws taken together, as they were when the process began; new ones are told to the run."""

    def __init__(self, known: Mapping[str, int]) -> None:
        """Begin with those that are fixed."""
        self._known = dict(known)

    def chunk(self, name: str) -> int | None:
        """As fixed; None if it is not."""
        return self._known.get(name)

    def fix_chunk(self, name: str, together: int) -> None:
        """Fix it, once and for all."""
        if self._known.get(name) != together:
            self._known[name] = together
            server.tell(("chunk", name, together))


# -- problems ---------------------------------------------------------------------------------------------------


def settle(
    folder: str, environment: Mapping[str, str], path: list[str], plugins: Mapping[str, Path]
) -> None:
    """Be set up as the run's own process: its folder, its environment, where it finds modules, its plug-ins."""
    server.pristine = False  # code of the user's follows
    registry.discover()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[:] = path
    torch.set_num_threads(1)
    for module, file in plugins.items():
        with contextlib.suppress(InputError):  # then its classes are sent along
            registry.load_plugin(file, module)


def build(name: str, factory: str, options: dict[str, Any]) -> bytes | None:
    """Build a problem and keep it; how it travels, or None where it cannot, or where building it failed."""
    try:
        server.here["problem"] = problem = problems.build(name, factory, options)
        content: bytes = cloudpickle.dumps(problem, protocol=5)
    except Exception:
        return None
    return content


def unpack(content: bytes) -> Problem:
    """The problem that `build` has packed."""
    import pickle

    found: Problem = pickle.loads(content)
    return found


def hold(problem: Problem) -> None:
    """Keep a problem."""
    server.here["problem"] = problem


def open_problem(setup: Setup, fingerprint: str) -> None:
    """Prepare for what is measured on the problem that this process has."""
    registry.add(setup.others)
    ledger = Ledger(setup.folder, strict=setup.strict)
    ledger.say = lambda text: server.tell(("ledger", ledger.news(), text))
    if setup.url:
        shares.use(setup.folder, setup.url)
    store = Store(setup.folder / "blocks", ledger, setup.measuring)
    session = Session(
        setup.suite, store, setup.folder, torch.device(setup.device), Teller(), setup.plugins,
        caught=(BaseException,),
    )  # fmt: skip
    problem = server.here.pop("problem").in_precision("cpu", setup.suite.precision)
    built = Built(problem, fingerprint)
    server.here["bench"] = Bench(session, built, setup.cells, Numbers(setup.chunks), setup.threads)


def open_place(place: Place) -> News:
    """Have the parameters of a place, and its picture, before estimators are forked."""
    bench = _bench()
    if bench.session.device.type == "cpu":
        bench.open(place)
    return bench.session.store.ledger.news()


# -- jobs -------------------------------------------------------------------------------------------------------


def begin(log: Path, memory: float | None) -> None:
    """Print into a file, and take no more memory than is allowed.

    Args:
        log: The file.
        memory: GiB beyond what the process has; None for nine tenths of the machine's.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.close(file)
    _bench().settle()
    if _bench().session.device.type == "cpu":
        import resource  # not everywhere

        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        most = _held() + int(0.9 * total if memory is None else memory * 2**30)
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def _held() -> int:
    """Bytes of memory that the process may write to."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0


Answer = tuple[str, Any, News]
"""A cause, or what was asked for; and what the ledger has to say."""


def train(place: Place) -> Answer:
    """See that the checkpoint of a place is in the run folder."""
    return _attempt(lambda: _bench().train(place), [])


def measure(job: Job) -> Answer:
    """What becomes of the cells of a job: number of the cell, and the values of its outcome."""
    bench = _bench()
    return _attempt(lambda: [_plain(bench, job, o) for o in bench.measure(job)], [])


def _plain(bench: Bench, job: Job, outcome: Outcome) -> tuple[int, dict[str, Any]]:
    number = next(n for n in job.cells if bench.cells[n] is outcome.cell)
    return number, {k: v for k, v in vars(outcome).items() if k != "cell"}


def ask(place: Place, number: int, question: Callable[..., Any], more: tuple[Any, ...]) -> Answer:
    """What a function says of an estimator's context."""
    bench = _bench()
    estimator = bench.cells[number].estimator
    return _attempt(lambda: bench.ask(place, estimator, question, *more), None)


def _attempt(do: Callable[[], Any], nothing: Any) -> Answer:
    session = _bench().session
    try:
        answer = do()
    except BaseException as error:
        return session.cause(error), nothing, session.store.ledger.news()
    finally:
        _flush()
    return "", answer if answer is not None else nothing, session.store.ledger.news()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            stream.flush()


def _bench() -> Bench:
    found: Bench = server.here["bench"]
    return found
