"""The root of a run's processes, forked from the run's own before that has computed anything.

What both need is imported once then: as long as nothing was computed and no thread was started, a fork is as good as a
new process. Nothing here is imported with this module: it is asked what has been imported before.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

COMPUTE = frozenset({"numpy", "scipy", "torch"})
"""Who has imported none of these has changed nothing that figures depend on."""

_TASKS = Path("/proc/self/task")

_fresh = False
"""Whether the process began with a command of vdbench's."""


def note() -> None:
    """Note, before anything else is imported, whether the process has computed nothing yet."""
    global _fresh
    _fresh = untouched()


def untouched() -> bool:
    """Whether this process has imported nothing that computes, and has one thread."""
    if COMPUTE & sys.modules.keys():
        return False
    try:
        return len(os.listdir(_TASKS)) == 1
    except OSError:  # not Linux
        return False


def start(noted: bool = False) -> None:
    """Have processes for cells get ready while this one reads what it is asked for, if it has computed nothing yet.

    Args:
        noted: Whether `note` may say so: nothing but imports has followed it.
    """
    from vdbench.workers import server

    if not (untouched() or server.pristine or (noted and _fresh)):
        return
    with uncollected():
        from vdbench.runner import apart

        for module in ("pandas", "pyarrow.parquet", "vdbench.runner.prepare"):
            importlib.import_module(module)
    server.pristine = True
    apart.begin()


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Within, no garbage is collected: imports make hundreds of thousands of objects, and they stay."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        # what there is now counts as old, and is not gone through at once
        if not gc.get_freeze_count():
            gc.freeze()
            gc.unfreeze()
        if collects:
            gc.enable()
