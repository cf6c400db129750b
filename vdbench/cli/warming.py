"""Processes for cells get ready while the command line reads what it is asked for."""

from __future__ import annotations

import sys

_fresh = False
"""Whether the process began with this command: one that has imported torch before may have computed with it."""


def begin() -> None:
    """Note, before anything else is imported, whether the process has computed nothing yet."""
    global _fresh
    _fresh = "torch" not in sys.modules


def warm() -> None:
    """Have processes for cells get ready while this one reads the suite; it has computed nothing yet."""
    from vdbench.runner import apart
    from vdbench.workers import server

    server.pristine = server.pristine or _fresh
    if server.pristine:
        apart.begin()
