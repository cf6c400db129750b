"""Pictures of a group: their names, and what their captions say of intervals and n."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from reports.document import Picture
from reports.results.groups import Group
from reports.words.numbers import percent, slug, span


@dataclass(frozen=True)
class Caption:
    """What pictures of one kind are called.

    Attributes:
        kind: Beginning of the names of their files.
        title: What they show, in a few words.
        text: What they show, and how to read it; BASELINE stands for the baseline's name.
        metric: The metric whose n is given.
        chart: The interactive chart that shows the same.
        together: Whether the intervals are those of verdicts, which hold together; else each is at the run's level.
    """

    kind: str
    title: str
    text: str
    metric: str
    chart: str = "estimators"
    together: bool = False

    def show(self, group: Group) -> dict[str, str]:
        """Return what the interactive chart has to show for the same figures."""
        return {"chart": self.chart, "metric": self.metric, "place": group.title}

    def of(self, group: Group, more: str = "") -> str:
        """Write the caption for a group, at which level and on how many units."""
        counts = span(e.n for key, e in group.figures.items() if key[1] == self.metric and e.n)
        said = self.text.replace("BASELINE", group.baseline) + more
        level = percent(group.run.level)
        intervals = (
            f"Intervals hold together at {level}, as those of the verdicts do; {counts}."
            if self.together
            else f"Intervals each at {level}, not adjusted for their number: verdicts rest on wider ones; {counts}."
        )
        return f"{self.title}. {said} {intervals}"


def picture(
    caption: Caption, group: Group, draw: Callable[[Group], Sequence[Any]], more: str = ""
) -> Picture:
    """Make a group's picture of one kind.

    Args:
        caption: What it is called.
        group: The group.
        draw: Draws it.
        more: What else the caption says.
    """
    name = slug(f"{caption.kind} {group.title}")
    alt = f"{caption.title}, {group.title}"
    return Picture(name, caption.of(group, more), alt, partial(draw, group), caption.show(group))


def layer_pictures(
    caption: Caption,
    group: Group,
    draw: Callable[[Group, list[str]], Sequence[Any]],
    parts: list[list[str]],
) -> list[Picture]:
    """Make a picture of each part of a group's layers, numbered where there are several."""
    name, alt = slug(f"{caption.kind} {group.title}"), f"{caption.title}, {group.title}"
    names = [f"{name}-{i + 1}" for i in range(len(parts))] if len(parts) > 1 else [name]
    return [
        Picture(name, caption.of(group), alt, partial(draw, group, layers), caption.show(group))
        for name, layers in zip(names, parts, strict=False)
    ]
