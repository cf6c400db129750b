"""Problems that are handed over as objects, from Python: a suite's record has their hash in place of a recipe."""

from __future__ import annotations

from typing import Any

from vdbench.errors import InputError
from vdbench.problems.identity import fingerprint
from vdbench.problems.problem import Problem

GIVEN = "given"
"""The factory that stands in a suite for a problem that was handed over."""


def spec(problem: Problem) -> dict[str, Any]:
    """What stands in a suite for a problem: ``factory`` and ``options``.

    A run that is taken up with another problem of the same name is another run, as with other options.
    """
    return {"factory": GIVEN, "options": {"fingerprint": fingerprint(problem)}}


def missing(name: str) -> InputError:
    """What is wrong where a suite asks for such a problem and has none."""
    return InputError(
        f"problem '{name}' was handed over from Python, and a suite's record cannot make it anew: call vdbench.measure "
        "or vdbench.run with the problem again, and with the same out=."
    )
