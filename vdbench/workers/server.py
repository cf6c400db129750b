"""What runs in a process of a family: it forks when asked, runs the functions that it is sent, and tells how it went.

``python -m vdbench.workers FD MODULE…`` is the root of a family: it imports modules, and serves the socket FD.
It ends when that socket is closed, and with it all that came from it, whatever happened to the process that it serves.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import pickle
import select
import signal
import socket
import sys
import time
import traceback
import warnings
from typing import Any

from vdbench.workers.frames import Link, pair

PR_SET_PDEATHSIG = 1
GRACE = 0.2
"""Seconds by which a process outlives its children when the process that it serves is gone."""

here: dict[str, Any] = {}
"""What functions keep in this process; forks inherit it."""

serving: Link | None = None
"""The socket that this process serves; None in a process that is no part of a family."""

pristine = False
"""Whether this process has imported and not computed, so that it can be the root of a family itself."""


def tell(message: Any) -> None:
    """Say something to who waits for the function at work."""
    assert serving is not None
    serving.send(("told", message))


def main() -> None:
    """Import, then serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # what is imported stays: its hundreds of thousands of objects are not looked through for garbage, here or in forks
    gc.disable()
    for module in sys.argv[2:]:
        importlib.import_module(module)
    gc.freeze()
    gc.enable()
    serve(Link(socket.socket(fileno=int(sys.argv[1]))), depth=0)


def serve(link: Link, depth: int) -> None:
    """Do what is asked, until the socket is closed; does not return."""
    global serving
    serving = link
    family = _Children(link, depth)
    try:
        while not link.over:
            for message in family.wait():
                family.do(message)
    except BaseException:  # a process must not go on in what its parent was doing
        traceback.print_exc()
    finally:
        family.end()
        os._exit(0)


class _Children:
    """The forks of this process."""

    def __init__(self, link: Link, depth: int) -> None:
        self._link, self._depth = link, depth
        self._alive: set[int] = set()
        self._awake, waker = pair()
        for end in (self._awake, waker):
            end.setblocking(False)
        self._waker = waker
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)

    def wait(self) -> list[Any]:
        """What is asked, once something is; says which children have ended."""
        ends: list[Any] = [self._link, self._awake]
        ready, _, _ = select.select(ends, [], [])
        if self._awake in ready:
            with contextlib.suppress(BlockingIOError):
                self._awake.recv(4096)
            self._reap()
        return self._link.receive() if self._link in ready else []

    def do(self, message: Any) -> None:
        """Do one thing that is asked."""
        kind, *rest = message
        if kind == "fork":
            self._fork()
        elif kind == "kill":
            if rest[0] in self._alive:
                kill_group(rest[0])
        elif kind == "call":
            self._link.send(_called(rest[0]))

    def _fork(self) -> None:
        file = self._link.files.popleft()
        parent = os.getpid()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        child = fork()
        if child == 0:
            _die_with(parent)
            self._forget()
            serve(Link(socket.socket(fileno=file)), self._depth + 1)
        os.close(file)
        self._alive.add(child)
        self._link.send(("forked", child))

    def _forget(self) -> None:
        """In a fork: what is its parent's."""
        signal.set_wakeup_fd(-1)
        for file in self._link.files:
            os.close(file)
        for one in (self._link, self._awake, self._waker):
            one.close()

    def _reap(self) -> None:
        for child in list(self._alive):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                self._alive.discard(child)
                kill_group(child)  # what it has left behind
                with contextlib.suppress(OSError):
                    self._link.send(("ended", child, status))

    def end(self) -> None:
        """End what came from this process; the deepest act first, so that each still has its children."""
        time.sleep(max(0, 2 - self._depth) * GRACE if self._alive else 0)
        for child in self._alive:
            kill_group(child)


def fork() -> int:
    """A fork in a session of its own, in which a terminal's signals do not come; 0 in the child."""
    with warnings.catch_warnings():
        # numpy's threads are at rest, and its library handles forks
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.setsid()
    return child


def kill_group(child: int) -> None:
    """Kill a process and what it has started in its session."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(OSError):
            kill(child, signal.SIGKILL)


def _die_with(parent: int) -> None:
    """Be killed when the process ends that forked this one."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _called(content: bytes) -> tuple[str, Any]:
    """Run a function that was sent, and put what became of it into a message."""
    try:
        function, arguments = pickle.loads(content)
        return _sendable(function(*arguments))
    except ModuleNotFoundError as error:
        return "lacks", str(error.name)
    except BaseException as error:
        return "raised", "".join(traceback.format_exception(error))


def _sendable(value: Any) -> tuple[str, Any]:
    pickle.dumps(value)
    return "returned", value
