"""The errors vdbench raises on purpose, and how it words them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

LONGEST = 300
"""Characters of the longest sentence that an error is told in."""

LISTED = 160
"""Characters of names that a sentence lists; the others are counted."""

WORD = 30
"""Characters within which a sentence is cut between words."""

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
        estimator 'local' is derived for weights whose pre-activations are normal
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """Word the way back from a mistyped name.

    Args:
        name: What the user wrote.
        known: The valid names.

    Returns:
        ``" Did you mean 'local'?"`` where one name is close, else ``" Expected one of: …."`` with as many names as a
        sentence holds (with a leading space, ready to be appended to a sentence).
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f" Did you mean '{close[0]}'?"
    return f" Expected one of: {_listed(names)}." if names else ""


def _listed(names: list[str]) -> str:
    """Names with commas between; where they are many the first ones, and how many more."""
    kept, room = 0, LISTED
    while kept < len(names) and len(names[kept]) + 2 <= room:
        room -= len(names[kept]) + 2
        kept += 1
    left = len(names) - kept
    return (
        ", ".join(names) if left <= 1 or not kept else f"{', '.join(names[:kept])} and {left} more"
    )


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
    return _cut(printable(" ".join(text.split())), LONGEST, WORD)


def _cut(text: str, most: int, word: int = 0) -> str:
    if len(text) <= most:
        return text
    end = most // 2 - 2
    head, tail = text[: most - end - 3], text[-end:]
    if (at := head.rfind(" ")) > len(head) - word:
        head = head[:at]
    if 0 <= (at := tail.find(" ")) < word:
        tail = tail[at:]
    return f"{head.rstrip()} … {tail.lstrip()}"
