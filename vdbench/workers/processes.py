"""The processes of a family, as the one sees them for which they work."""

from __future__ import annotations

import atexit
import contextlib
import gc
import multiprocessing.connection
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any

from vdbench.workers import server, travel
from vdbench.workers.endings import Lost, killed_for_memory, words
from vdbench.workers.frames import Broken, Link, pair

LINGER = 2.0
"""Seconds that a process has to end once its socket is closed, or once it was killed."""

Told = Callable[[Any], None]
"""Takes what a function says while it is at work."""


class Process:
    """One process of a family.

    Attributes:
        parent: What forked it; None for a root.
        pid: Its number.
    """

    def __init__(self, link: Link, pid: int, parent: Process | None) -> None:
        """Take over a process that serves the other end of a socket."""
        self.parent, self.pid, self._link = parent, pid, link
        self._inbox: deque[Any] = deque()
        self._children: dict[int, Process] = {}
        self._ended: tuple[int | None] | None = None
        self._why = ""
        self._memory = killed_for_memory()

    # -- what it is asked -------------------------------------------------------------------------------------

    def fork(self) -> Process:
        """A process that has all that this one has.

        Raises:
            Lost: This one has ended, or the system has no more files to open.
        """
        try:
            ours, theirs = pair()
        except OSError as error:
            raise Lost(f"no process can be started, {error.strerror}") from error
        self._send(("fork",), theirs.fileno())
        theirs.close()
        pid = self._answer(("forked",))[1]
        child = Process(Link(ours), pid, self)
        self._children[pid] = child
        return child

    def start(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Have a function called there; `take` and `answer` say what becomes of it."""
        self._sent = travel.Sent((function, arguments))
        self._send(("call", self._sent.content))

    def call(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        told: Told = lambda message: None,
        seconds: float | None = None,
        late: str = "",
    ) -> Any:
        """What a function returns there.

        Args:
            function: Which; it and its arguments travel as `vdbench.workers.travel` says.
            arguments: Of the function.
            told: Takes what the function says meanwhile.
            seconds: After which the process is killed.
            late: What is said of it then.

        Raises:
            Lost: The process has not answered; or the function raised an error.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        self.start(function, *arguments)
        while (answer := self.take(told)) is None:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                self.kill(late or f"no end within the time limit of {seconds:g} s")
            wait([self], left)
        return answer[0]

    def take(self, told: Told) -> tuple[Any] | None:
        """What the function returned that was started, once it has; None before.

        Raises:
            Lost: The process has not answered; or the function raised an error.
        """
        while self._inbox:
            kind, value = self._inbox.popleft()
            if kind == "told":
                told(value)
            elif kind == "returned":
                return (value,)
            elif kind == "raised":
                raise Lost(value.strip().splitlines()[-1])
            elif kind == "lacks":
                again = self._sent.with_module(value)
                if again is None:
                    raise Lost(f"there is no module '{value}' in a process of its own")
                self._send(("call", again))
        if self.over:
            raise Lost(self.ending)
        return None

    def kill(self, why: str = "") -> None:
        """End it now, and all that came from it."""
        if self.over:
            return
        self._why = self._why or why
        if self.parent is not None:
            with contextlib.suppress(Lost):
                self.parent._send(("kill", self.pid))
        server.kill_group(self.pid)
        deadline = time.monotonic() + LINGER
        while not self.over and time.monotonic() < deadline:
            wait([self], 0.1)
        self._inbox.clear()
        self._finish(None)

    # -- how it is --------------------------------------------------------------------------------------------

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._ended is not None

    @property
    def status(self) -> int | None:
        """As ``os.waitpid`` gives it, where it has ended and that is known."""
        return self._ended[0] if self._ended else None

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        return self._why or words(self.status, killed_for_memory() > self._memory)

    def _send(self, message: Any, file: int | None = None) -> None:
        if self.over:
            raise Lost(self.ending)
        try:
            self._link.send(message, file)
        except OSError as error:
            _settle(self)
            raise Lost(self.ending) from error

    def _answer(self, kinds: Sequence[str]) -> Any:
        while True:
            for number, message in enumerate(self._inbox):
                if message[0] in kinds:
                    del self._inbox[number]
                    return message
            if self.over:
                raise Lost(self.ending)
            wait([self], None, fresh=True)

    def _read(self) -> None:
        """Take in what has come over its socket."""
        try:
            messages = self._link.receive()
        except Broken as error:
            self.kill(f"its process sent what is no message: {error}")
            return
        for message in messages:
            if isinstance(message, tuple) and message[:1] == ("ended",):
                child = self._children.pop(message[1], None)
                if child is not None:
                    child._drain()
                    child._finish(message[2])
            elif isinstance(message, tuple) and len(message) == 2:
                self._inbox.append(message)
        if self._link.over:
            _settle(self)

    def _drain(self) -> None:
        """Take in what it had sent before it ended."""
        while not self._link.over and _readable([self._link], 0):
            with contextlib.suppress(Broken):
                self._inbox.extend(m for m in self._link.receive() if m[:1] != ("ended",))

    def _finish(self, status: int | None) -> None:
        if self._ended is None:
            self._ended = (status,)
            self._link.close()
            for child in self._children.values():  # they are killed with it
                child._why = child._why or "the process that it came from ended"
                child._finish(None)


def _settle(process: Process) -> None:
    """A socket is closed: learn how its process ended, and end it where it has not."""
    if process.parent is None:
        process._finish(None)
        return
    deadline = time.monotonic() + LINGER
    while not process.over and time.monotonic() < deadline:
        if process.parent.over:
            process._finish(None)
        else:
            wait([process.parent], 0.1, fresh=True)
    if not process.over:
        process.kill("its process closed the pipe to the run")


def wait(processes: Iterable[Process], seconds: float | None, fresh: bool = False) -> list[Process]:
    """Wait until one of some processes has said something, or has ended.

    Args:
        processes: Which.
        seconds: The longest; None for as long as it takes.
        fresh: Whether what was said before, and not yet taken, does not count.

    Returns:
        Those that have.
    """
    asked = list(processes)
    ready = [] if fresh else [one for one in asked if one._inbox or one.over]
    if ready:
        return ready
    family = {p for one in asked for p in _upwards(one) if not p.over and not p._link.over}
    links = {one._link: one for one in family}
    for link in _readable(list(links), seconds):
        one = links[link]
        if not one.over:
            one._read()
    return [one for one in asked if one._inbox or one.over]


def _readable(links: list[Any], seconds: float | None) -> list[Any]:
    return list(multiprocessing.connection.wait(links, seconds))


def _upwards(process: Process | None) -> Iterable[Process]:
    while process is not None:
        yield process
        process = process.parent


# -- roots ------------------------------------------------------------------------------------------------------

_roots: dict[tuple[int, tuple[str, ...]], Process] = {}


def possible() -> str:
    """Why this system has no such processes; '' where it has."""
    if not sys.platform.startswith("linux"):
        return f"processes are forked on Linux alone, not on {sys.platform}"
    return ""


def root(modules: Sequence[str]) -> Process:
    """The root of a family that has imported some modules; started once a process, and kept.

    Args:
        modules: Which; a process that is pristine (`vdbench.workers.server.pristine`) imports them before it forks.
    """
    key = (os.getpid(), tuple(modules))
    found = _roots.get(key)
    if found is None or found.over:
        found = _roots[key] = _started(modules)
    return found


def _started(modules: Sequence[str]) -> Process:
    ours, theirs = pair()
    if server.pristine:
        server.pristine = False
        pid = _forked(theirs, modules)
    else:
        pid = _spawned(theirs, modules)
    theirs.close()
    return Process(Link(ours), pid, None)


def _be_new(kept: int) -> None:
    """In a fork: have nothing to do with what the other process is at; one of its files is kept."""
    gc.freeze()  # nothing of it is tidied up here, where its files have other numbers
    sys.modules["__main__"] = ModuleType("__main__")  # its classes are not looked up here
    os.closerange(3, kept)
    os.closerange(kept + 1, 4096)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)


def _forked(end: Any, modules: Sequence[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    pid = server.fork()
    if pid == 0:
        server.pristine = True
        _be_new(end.fileno())
        sys.argv = ["", str(end.detach()), *modules]
        server.main()
    return pid


_spawns: list[subprocess.Popen[bytes]] = []


def _spawned(end: Any, modules: Sequence[str]) -> int:
    # -P: modules are looked up where this process does, and not in the current folder first
    path = os.pathsep.join(p or os.getcwd() for p in sys.path)
    made = subprocess.Popen(
        [sys.executable, "-P", "-m", "vdbench.workers", str(end.fileno()), *modules],
        stdin=subprocess.DEVNULL,
        pass_fds=[end.fileno()],
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
    )
    _spawns.append(made)
    return made.pid


@atexit.register
def close() -> None:
    """End the families that this process has started."""
    for (owner, _), process in list(_roots.items()):
        if owner == os.getpid():
            process._finish(None)
            _wait_for(process.pid)
    _roots.clear()
    for made in _spawns:
        made.returncode = 0  # waited for
    _spawns.clear()


def _wait_for(pid: int) -> None:
    """Wait a while until a root has ended, which it does once its socket is closed."""
    deadline = time.monotonic() + LINGER
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(pid, os.WNOHANG)[0] == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
