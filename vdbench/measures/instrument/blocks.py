"""Blocks of repetitions in the run's store: measured once, and read by every measure that looks at them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from vdbench.estimation.options import identity
from vdbench.measures.context import Context
from vdbench.measures.session import Lab
from vdbench.store import Table


def blocks(
    lab: Lab,
    what: str,
    version: str,
    contexts: Sequence[Context],
    spans: Sequence[tuple[int, int]],
    compute: Callable[[int, int], Table],
    about: Mapping[str, Any],
) -> Iterator[Table]:
    """Tables of consecutive spans of repetitions, one held at a time.

    Args:
        lab: Its store and progress.
        what: Is repeated.
        version: Of the meaning of a row.
        contexts: Estimators that the tables are of.
        spans: First repetition and one past the last of each block.
        compute: Measures a span.
        about: What else the rows depend on.
    """
    whose = contexts[0].label if len(contexts) == 1 else f"{len(contexts)} estimators"
    group = [[identity(c.estimator), c.traced.together] for c in contexts]
    for start, stop in spans:
        lab.progress.detail(f"{what} of {whose}: {start} of {spans[-1][1]}")
        more = {"group": group, "span": [start, stop], **about}
        address = lab.address(contexts[0], f"instrument.{what}", version, **more)

        def measured(span: tuple[int, int] = (start, stop)) -> Table:
            return compute(*span)

        yield lab.store.get(address, measured)
