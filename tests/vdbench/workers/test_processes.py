"""Processes that fork on request: what they answer, how they end, and that nothing of them is left."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from vdbench.workers import Lost, Process, root, server, wait

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux")


@pytest.fixture
def parent() -> Iterator[Process]:
    """A process below a root that has imported next to nothing."""
    made = root(["json"]).fork()
    yield made
    made.kill()


def keep(name: str, value: Any) -> None:
    server.here[name] = value


def kept(name: str) -> Any:
    return server.here.get(name)


def tell_and_double(number: int) -> int:
    server.tell("half way")
    return 2 * number


def test_a_function_is_called_and_says_how_far_it_is(parent: Process) -> None:
    said: list[str] = []
    assert parent.call(tell_and_double, 21, told=said.append) == 42
    assert said == ["half way"]


def test_a_fork_has_what_its_parent_had_and_keeps_the_rest_to_itself(parent: Process) -> None:
    parent.call(keep, "a", 1)
    one, two = parent.fork(), parent.fork()
    one.call(keep, "a", 2)
    assert [p.call(kept, "a") for p in (parent, one, two)] == [1, 2, 1]


def test_large_messages_come_through(parent: Process) -> None:
    content = os.urandom(5 * 2**20)
    assert parent.call(bytes, content) == content


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (lambda: os._exit(0), "ended with exit code 0"),
        (lambda: os._exit(7), "ended with exit code 7"),
        (lambda: ctypes.string_at(0), "ended by signal SIGSEGV"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "ended by signal SIGKILL"),
        (lambda: os.closerange(3, 99) or time.sleep(99), "closed the pipe"),
        (lambda: server.serving.end.send(b"\xff" * 64) and time.sleep(99), "is no message"),
        (lambda: sys.exit(3), "SystemExit: 3"),
        (lambda: 1 / 0, "ZeroDivisionError"),
    ],
)  # fmt: skip
def test_how_it_ended_is_told(end: Callable[[], Any], words: str, parent: Process) -> None:
    with pytest.raises(Lost, match=words):
        parent.fork().call(end, seconds=30)
    assert parent.call(abs, -1) == 1


def test_one_that_takes_too_long_is_killed(parent: Process) -> None:
    child = parent.fork()
    with pytest.raises(Lost, match=r"time limit of 0\.2 s"):
        child.call(time.sleep, 60, seconds=0.2)
    assert not psutil.pid_exists(child.pid)


def test_what_a_process_leaves_behind_ends_with_it(parent: Process) -> None:
    def leave() -> int:
        import subprocess

        return subprocess.Popen(["sleep", "60"]).pid

    child = parent.fork()
    left = child.call(leave)
    assert psutil.pid_exists(left)
    child.kill()
    deadline = time.monotonic() + 10
    while psutil.pid_exists(left) and psutil.Process(left).status() != "zombie":
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_several_work_at_a_time(parent: Process) -> None:
    group = [parent.fork() for _ in range(3)]
    began = time.monotonic()
    for number, child in enumerate(group):
        child.start(lambda n: (time.sleep(0.5), n)[1], number)
    answers = []
    while group:
        for child in wait(group, None):
            answer = child.take(lambda message: None)
            if answer is not None:
                answers.append(answer[0])
                group.remove(child)
    assert sorted(answers) == [0, 1, 2]
    assert time.monotonic() - began < 30


def test_a_process_ends_with_its_parent(parent: Process) -> None:
    middle = parent.fork()
    child = middle.fork()
    middle.kill()
    assert child.over
    with pytest.raises(Lost):
        child.call(abs, 1)
