"""The errors vdbench raises on purpose, and how it words them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

LONGEST = 300
"""Characters of the longest sentence that an error is told in."""

_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
"""What a terminal or a page may obey instead of showing: C0 and C1, directions, line separators, half characters."""


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


def unwritable(where: str, folder: Path, error: OSError) -> InputError:
    """The error for a folder in which files cannot be written.

    Args:
        where: What named it, such as an option with its value.
        folder: It.
        error: What the system said, which is not shown where the folder is a file or below one.
    """
    file = next((path for path in (folder, *folder.parents) if path.is_file()), None)
    if file is not None:
        return InputError(f"{where}: '{file}' is a file, expected a folder.")
    return InputError(f"{where}: it cannot be written, {error.strerror or error}.")


def one_line(error: BaseException) -> str:
    """What an error says, on one line, whatever its text does."""
    try:
        return " ".join(str(error).split())
    except Exception:
        return "its message cannot be told"


def printable(text: str, keep: str = "") -> str:
    r"""Text with its control characters as escapes, safe for a terminal and for any file.

    Args:
        text: Any text.
        keep: Control characters to leave, such as line ends.

    Example:
        >>> printable("\x1b[31mred")
        '\\x1b[31mred'
    """
    return _CONTROL.sub(lambda hit: hit[0] if hit[0] in keep else _escape(ord(hit[0])), text)


def _escape(code: int) -> str:
    return {9: r"\t", 10: r"\n", 13: r"\r"}.get(code) or (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    )


def shown(value: object, most: int = 80) -> str:
    """A value as Python writes it, cut short where it is long.

    Example:
        >>> shown(list(range(100)), 20)
        '[0, 1, 2, … 98, 99]'
    """
    return _cut(printable(repr(value)), most)


def sentence(text: str) -> str:
    """A message on one line, without control characters, of at most `LONGEST` characters: its middle is left out."""
    return _cut(printable(" ".join(text.split())), LONGEST)


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    end = most // 2 - 2
    return f"{text[: most - end - 3].rstrip()} … {text[-end:].lstrip()}"
