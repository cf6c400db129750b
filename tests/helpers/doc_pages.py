"""The pages of the documentation, block by block, and what a test does with each: Python, YAML and shell are executed.

A comment above a block, which a page does not show, says what else a test must know of it:

    <!-- test: long -->                     the block is executed by `make long` alone
    <!-- test: with --set scale=small -->   words that a test adds to each `vdbench` command, or to a run of the suite
    <!-- test: left out: why -->            the block is not executed

Several are separated by semicolons. A Python block whose first line is ``# NAME.py``, and a YAML block that begins with
``# NAME.yaml``, are written to a file of that name.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(
    r"^(?:<!-- test: (?P<marks>[^\n]*?) -->\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.M | re.S
)
INLINE = re.compile(r"`((?:\.venv/bin/)?vdbench [^`]+)`")
NAMED = re.compile(r"# (\S+\.(?:py|yaml))$", re.M)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: Its page.
        line: Where it begins.
        kind: ``python``, ``yaml``, ``sh``, ``pycon``, ``text``.
        text: What is in it.
        long: Whether `make long` alone executes it.
        more: Words that a test adds to its commands.
        why_not: Why it is not executed; '' if it is.
    """

    page: Path
    line: int
    kind: str
    text: str
    long: bool = False
    more: tuple[str, ...] = ()
    why_not: str = ""

    @property
    def file(self) -> str:
        """The file that it is; '' for none."""
        found = NAMED.match(self.text)
        return found[1] if found else ""

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command of a shell block, without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        found = [shlex.split(line, comments=True) for line in lines]
        return [[words[0].removeprefix(".venv/bin/"), *words[1:]] for words in found if words]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """The pages that people write; those of committed runs and of estimators are made by vdbench."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        marks = [mark.strip() for mark in (found["marks"] or "").split(";") if mark.strip()]
        more, why_not, long = (), "", False
        for mark in marks:
            if mark == "long":
                long = True
            elif mark.startswith("with "):
                more = tuple(shlex.split(mark.removeprefix("with ")))
            elif mark.startswith("left out: "):
                why_not = mark.removeprefix("left out: ")
            else:
                raise ValueError(f"{page.name}: '{mark}' is no mark of a block")
        line = text[: found.start("text")].count("\n")
        yield Block(page, line, found["kind"], found["text"], long, more, why_not)


def block(page: Path, file: str) -> str:
    """The text of the block that is a file of that name; there is one."""
    (found,) = [one.text for one in blocks(page) if one.file == file]
    return found


def inline(page: Path) -> list[list[str]]:
    """The words of each ``vdbench`` command that stands in a line of text."""
    found = []
    for match in INLINE.finditer(page.read_text(encoding="utf-8")):
        text = match[1].removeprefix(".venv/bin/").replace("\\|", "|")
        found.append(shlex.split(text) if text.count("'") % 2 == 0 else text.split())
    return found
