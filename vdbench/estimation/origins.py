"""Where an estimator was registered, so that the same cell or file may register it again in a changed form."""

from __future__ import annotations

import os
import sys
import types
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class Origin(NamedTuple):
    """Where the decorator was called.

    Attributes:
        code: The code of the file or cell that was at work; each time it is run, that is another object.
        file: Its file; of a cell, a name that is no file's.
        module: The module.
        cell: Identifier of the notebook's cell; '' where it is not known.
        inputs: How many inputs the notebook had run; 0 outside.
    """

    code: types.CodeType | None
    file: str
    module: str
    cell: str
    inputs: int

    @property
    def typed(self) -> bool:
        """Whether it is a notebook's cell, or a line of an interactive session."""
        return self.module == "__main__" and not os.path.isfile(self.file)

    def __str__(self) -> str:
        """For messages."""
        if self.typed:
            return f"input {self.inputs}" if self.inputs else "an earlier input"
        return self.file or "an unknown place"


_origins: WeakKeyDictionary[type, Origin] = WeakKeyDictionary()


def note(cls: type) -> None:
    """Keep where a class is being registered."""
    _origins[cls] = here()


def of(cls: type) -> Origin | None:
    """Where a class was registered; None for one that came from another process."""
    return _origins.get(cls)


def here() -> Origin:
    """The file or cell that is at work, looking up from this call and past vdbench's own functions."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
    file, module = frame.f_code.co_filename, str(frame.f_globals.get("__name__", ""))
    code, above = frame.f_code, frame.f_back
    while above is not None:  # the outermost of the file: what runs it, not a function in it
        if above.f_code.co_filename == file:
            code = above.f_code
        above = above.f_back
    cell, count = _notebook()
    path = os.path.realpath(file) if os.path.isfile(file) else file
    return Origin(code, path, module, cell, count)


def again(old: type, new: type) -> bool:
    """Whether a class that is being registered is a later form of one that has the name.

    It is if the same file registers it that is run again; or an input of the same interactive session, in a class of
    the same name or in the same cell. Two registrations in one run of a file or cell are a mistake.
    """
    before, now = of(old), here()
    if before is None or (before.code is now.code and before.inputs == now.inputs):
        return False
    if before.typed and now.typed:
        same_cell = bool(now.cell) and before.cell == now.cell
        return before.inputs != now.inputs and (same_cell or old.__qualname__ == new.__qualname__)
    return before.file == now.file and os.path.isfile(now.file)


def _notebook() -> tuple[str, int]:
    """The cell that is run, where its program says so, and how many inputs were."""
    shell: Any = None
    if "IPython" in sys.modules:
        shell = sys.modules["IPython"].get_ipython()
    if shell is None:
        return "", 0
    parent: Any = getattr(shell, "get_parent", dict)() or {}
    cell = (parent.get("metadata") or {}).get("cellId") or ""
    return str(cell), int(getattr(shell, "execution_count", 0) or 0)
