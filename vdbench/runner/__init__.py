"""Running a suite: what is to be done, doing it, and the record of it.

Names are imported when they are first used: describing the environment needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vdbench.runner.finished import Finished
    from vdbench.runner.prepare import default_folder, resolve_device, using_threads
    from vdbench.runner.run_suite import run

__all__ = ["Finished", "default_folder", "resolve_device", "run", "using_threads"]


def __getattr__(name: str) -> object:
    """Import a name from where it lives, once (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'vdbench.runner' has no attribute {name!r}")
    home = {"Finished": "finished", "run": "run_suite"}.get(name, "prepare")
    value: object = getattr(importlib.import_module(f"vdbench.runner.{home}"), name)
    globals()[name] = value
    return value
