"""The errors vdbench raises on purpose, and how it words them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class VdbenchError(Exception):
    """Base of every error that vdbench raises on purpose."""


class InputError(VdbenchError):
    """Something the user gave is wrong; the message is one sentence saying what, where and what was expected.

    The command line prints the message to stderr and exits with 2; no traceback is shown.

    Example:
        >>> import vdbench
        >>> try:
        ...     vdbench.get("locla")
        ... except vdbench.InputError as error:
        ...     print(error)
        estimator 'locla' is unknown. Did you mean 'local'?
    """


class CellError(VdbenchError):
    """A cell of a suite could not be measured; its cause is recorded, and the other cells are measured.

    An estimator raises it, with one sentence, on a problem that it is not valid for.

    Example:
        >>> import vdbench
        >>> from vdbench import problems
        >>> options = {"parameterization": "binary-dropout", "prior": "none"}
        >>> problem = problems.build("mine", "classification", options)
        >>> try:
        ...     vdbench.need_posterior(vdbench.get("local"), problem)
        ... except vdbench.CellError as error:
        ...     print(str(error).split(",")[0])
        estimator 'local' is derived for independent normal weights
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """Word the way back from a mistyped name.

    Args:
        name: What the user wrote.
        known: The valid names.

    Returns:
        ``" Did you mean 'local'?"`` where one name is close, else ``" Expected one of: …."`` (with a
        leading space, ready to be appended to a sentence).
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f" Did you mean '{close[0]}'?"
    return f" Expected one of: {', '.join(names)}." if names else ""


def one_line(error: BaseException) -> str:
    """What an error says, on one line."""
    return " ".join(str(error).split())
