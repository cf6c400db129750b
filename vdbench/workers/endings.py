"""How a process ended, in words."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from vdbench.errors import CellError


class Lost(CellError):
    """A process ended, or was ended, before it had answered."""


def words(status: int | None, memory: bool = False) -> str:
    """What ended a process.

    Args:
        status: As ``os.waitpid`` gives it; None where it is not known.
        memory: Whether the system was seen to kill processes for their memory in the meantime.
    """
    if status is None:
        return "its process ended, and how is not known"
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"its process ended with exit code {code}"
    if code == -signal.SIGKILL and memory:
        return "out of memory: the system killed its process (SIGKILL)"
    return f"its process was ended by signal {name(-code)}"


def name(number: int) -> str:
    """``SIGSEGV`` for 11."""
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return str(number)


def killed_for_memory() -> int:
    """How many processes the system has killed for their memory, as far as it says."""
    total = 0
    for path, key in (("/proc/vmstat", "oom_kill"), ("/sys/fs/cgroup/memory.events", "oom_kill")):
        with contextlib.suppress(OSError, ValueError):
            for line in Path(path).read_text().splitlines():
                if line.split()[0] == key:
                    total += int(line.split()[1])
    return total
