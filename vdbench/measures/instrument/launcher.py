"""Runs in processes of their own, which may be killed: started quickly, from a helper that has imported torch."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from vdbench.errors import CellError

PATIENCE = 600.0
"""Seconds after which a run is taken to hang."""


class Launcher:
    """The helper process, while it is used: ``with Launcher() as launcher: launcher.start(…)``."""

    def __init__(self) -> None:
        """Start the helper; it is shielded from Ctrl-C, and ends with this process."""
        # -P: modules are looked up where this process does, and not in the current folder first
        path = os.pathsep.join(p or os.getcwd() for p in sys.path)
        self._helper = subprocess.Popen(
            [sys.executable, "-P", "-m", "vdbench.cli.fork_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        )

    def __enter__(self) -> Launcher:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the helper end, and with it what still runs."""
        assert self._helper.stdin is not None
        assert self._helper.stdout is not None
        self._helper.stdin.close()
        self._helper.wait(30)
        self._helper.stdout.close()

    def start(self, suite: Path, out: Path, cache: Path, report: bool = False) -> Launched:
        """Start ``vdbench run``, one at a time.

        Args:
            suite: The suite's file.
            out: The run folder; what the run prints goes to ``OUT.log``.
            cache: Of this run alone, so that trainings are killed and taken up too.
            report: Whether it writes its report, as the command does; else the call behind the command is made.
        """
        job = {"suite": str(suite), "out": str(out), "cache": str(cache), "report": report}
        assert self._helper.stdin is not None
        self._helper.stdin.write(f"{json.dumps(job)}\n".encode())
        self._helper.stdin.flush()
        return Launched(self, self.answer(PATIENCE), out)

    def answer(self, seconds: float) -> int:
        """The next number that the helper says.

        Raises:
            CellError: It does not, in so many seconds.
        """
        assert self._helper.stdout is not None
        ready, _, _ = select.select([self._helper.stdout], [], [], seconds)
        line = self._helper.stdout.readline() if ready else b""
        if not line:
            raise CellError(
                "the helper process of killed runs ended or hangs; stderr may say more."
            )
        return int(line)

    @property
    def spoke(self) -> bool:
        """Whether an answer is there."""
        assert self._helper.stdout is not None
        return bool(select.select([self._helper.stdout], [], [], 0)[0])


@dataclass
class Launched:
    """A run in a process of its own.

    Attributes:
        launcher: Who started it.
        pid: Its process.
        out: Its run folder.
        code: Its exit code once it is known to have ended; below zero for a signal's.
    """

    launcher: Launcher
    pid: int
    out: Path
    code: int | None = None

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        if self.code is None and self.launcher.spoke:
            self.code = self.launcher.answer(0)
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
