"""Runs in processes of their own, which may be killed: forked from one that has imported torch."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from vdbench import workers
from vdbench.errors import CellError
from vdbench.workers import Lost, Process

PATIENCE = 600.0
"""Seconds after which a run is taken to hang."""

MODULES = ("vdbench.cli", "vdbench.runner.warm")
"""What a run needs, imported before it begins."""


class Launcher:
    """Starts runs: ``with Launcher() as launcher: launcher.start(…)``."""

    def __init__(self) -> None:
        """Nothing is started yet."""
        self._started: list[Launched] = []

    def __enter__(self) -> Launcher:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End what still runs."""
        for one in self._started:
            one.process.kill()

    def start(self, suite: Path, out: Path, cache: Path, report: bool = False) -> Launched:
        """Start ``vdbench run``.

        Args:
            suite: The suite's file.
            out: The run folder; what the run prints goes to ``OUT.log``.
            cache: Of this run alone, so that trainings are killed and taken up too.
            report: Whether it writes its report, as the command does; else the call behind the command is made.
        """
        process = workers.root(MODULES).fork()
        made = Launched(process, out)
        self._started.append(made)
        process.start(_run, str(suite), str(out), str(cache), report)
        return made


def _run(suite: str, out: str, cache: str, report: bool) -> int:
    """In the process of a run: run, and give the exit code."""
    os.environ["VDBENCH_CACHE"] = cache
    log = os.open(f"{out}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    try:
        if report:
            sys.argv = ["vdbench", "run", suite, "--out", out]
            importlib.import_module("vdbench.cli").main()
        else:
            importlib.import_module("vdbench.runner").run(suite, out)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


@dataclass
class Launched:
    """A run in a process of its own.

    Attributes:
        process: Which.
        out: Its run folder.
        code: Its exit code once it is known to have ended; below zero for a signal's.
    """

    process: Process
    out: Path
    code: int | None = None

    @property
    def pid(self) -> int:
        """Number of its process."""
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        if self.code is None:
            workers.wait([self.process], 0)
            try:
                answer = self.process.take(lambda message: None)
            except Lost:
                status = self.process.status
                self.code = -signal.SIGKILL if status is None else os.waitstatus_to_exitcode(status)
            else:
                if answer is not None:
                    self.code = answer[0]
                    self.process.kill()
        return self.code is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it has not ended."""
        if self.alive:
            with suppress(ProcessLookupError):  # it ends at this moment
                os.kill(self.pid, number)

    def kill(self) -> bool:
        """Kill it; whether that is what ended it."""
        self.send(signal.SIGKILL)
        return self.wait() == -signal.SIGKILL

    def wait(self, seconds: float = PATIENCE) -> int:
        """Its exit code, once it has ended.

        Raises:
            CellError: It hangs; it was killed.
        """
        deadline = time.monotonic() + seconds
        while self.alive:
            if time.monotonic() > deadline:
                self.send(signal.SIGKILL)
                self.wait(30)
                raise CellError(f"the run in {self.out.name} hangs; see {self.out.name}.log.")
            time.sleep(0.001)
        assert self.code is not None
        return self.code

    def finish(self) -> None:
        """Let it come to its end.

        Raises:
            CellError: It failed, or hangs.
        """
        if self.wait() != 0:
            log = Path(f"{self.out}.log")
            said = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
            last = said[-1] if said else "it said nothing"
            raise CellError(f"the run in {self.out.name} ended with exit code {self.code}: {last}")
