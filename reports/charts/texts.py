"""Different texts by number, so that a column repeats numbers and no text."""

from __future__ import annotations

from collections.abc import Iterable


class Texts:
    """Different texts, each with a number."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        self.numbers: dict[str, int] = {}
        for text in known:
            self.number(text)

    def number(self, text: str) -> int:
        """Return a text's number, the next one if it is new."""
        return self.numbers.setdefault(text, len(self.numbers))

    @property
    def every(self) -> list[str]:
        """The texts in the order of their numbers."""
        return list(self.numbers)
