"""The one door from vdbench to its sibling packages ``estimators``, ``suites`` and ``reports``."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from vdbench.errors import InputError


def import_own(name: str) -> Any:
    """Import ``estimators``, ``suites`` or ``reports`` and make sure that it is vdbench's own.

    Raises:
        InputError: A folder or file of the user's with that name is found first.
    """
    own = Path(__file__).resolve().parent.parent / name / "__init__.py"
    spec = importlib.util.find_spec(name)  # finds, and does not run what it finds
    if spec is not None and (spec.origin is None or Path(spec.origin).resolve() != own):
        origin = Path(spec.origin or next(iter(spec.submodule_search_locations or ["?"])))
        place = origin.parent if origin.name == "__init__.py" else origin
        raise InputError(
            f"a folder or file named '{name}' at {place} hides vdbench's own package of that name: "
            "rename it, or run vdbench from another folder."
        )
    return importlib.import_module(name)
