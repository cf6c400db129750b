"""Processes of a run are forked from its own where that has computed nothing, and are then as new ones are."""

from __future__ import annotations

import subprocess
import sys

import pytest

START = """
import gc, os, sys
from vdbench.runner import early
from vdbench.workers import processes

early.start()
"""

FORKED = (
    START
    + """
class Mine: ...

def seen():
    main = sys.modules["__main__"]
    return hasattr(main, "Mine"), gc.get_freeze_count() > 10**5, gc.isenabled(), os.getppid()

root, = processes._roots.values()
assert "torch._dynamo" not in sys.modules, "the root alone needs it"
assert gc.isenabled() and not gc.get_freeze_count()
print(root.fork().call(seen) == (False, True, True, root.pid), len(processes._spawns))
"""
)


def printed(code: str) -> str:
    return subprocess.check_output([sys.executable, "-W", "ignore", "-c", code], text=True).strip()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no forks")
def test_a_fresh_process_forks_the_root_which_knows_nothing_of_it() -> None:
    """Without what is in its ``__main__``, and with a heap that no collection goes through."""
    assert printed(FORKED) == "True 0"


@pytest.mark.parametrize(
    "touched",
    [
        "import numpy",
        "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
    ],
)
def test_a_process_that_may_have_computed_is_not_forked(touched: str) -> None:
    seen = "print(len(processes._roots), 'torch' in sys.modules)"
    assert printed(f"{touched}\n{START}\n{seen}") == "0 False"
