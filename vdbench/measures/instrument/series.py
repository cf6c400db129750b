"""One figure, measured again and again: tables of repetitions, and what is read from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vdbench.estimation.options import identity
from vdbench.measures.context import Context
from vdbench.measures.metrics import MetricValue
from vdbench.measures.session import Session
from vdbench.store import Table

Numbers = NDArray[np.float64]


class Address(NamedTuple):
    """Which figure: of which estimator, and where in the network."""

    label: str
    metric: str
    layer: str
    role: str
    against: str


ROOTS = ("snr",)
"""Metrics that are the root of what was estimated, cut off at zero: they are judged by their squares."""

ARRAYS = ("repetition", "value", "low", "high", "n")
"""What a series has of every repetition, and a table in columns of the same names."""


@dataclass(frozen=True)
class Series:
    """One figure of all repetitions, each array of shape (R,).

    Attributes:
        repetition: Number of the repetition.
        value: The estimate.
        low: Lower end of its interval.
        high: Upper end.
        level: Level of the interval.
        n: Units.
    """

    repetition: NDArray[np.int64]
    value: Numbers
    low: Numbers
    high: Numbers
    level: float
    n: NDArray[np.int64]

    def holds(self, truth: float | Numbers) -> NDArray[np.bool_]:
        """Whether each interval holds the truth; one without ends holds everything."""
        return (self.low <= truth) & (truth <= self.high)

    def first(self, count: int) -> Series:
        """The first so many repetitions."""
        return self.only(self.repetition < count)

    @property
    def stated(self) -> Series:
        """The repetitions that gave a value."""
        return self.only(~np.isnan(self.value))

    def only(self, kept: NDArray[np.bool_]) -> Series:
        """Some of the repetitions, by a mask of shape (R,)."""
        return Series(**{name: getattr(self, name)[kept] for name in ARRAYS}, level=self.level)

    @property
    def exact(self) -> bool:
        """Whether no repetition has any uncertainty: the value is known from one unit."""
        return bool(((self.low == self.value) & (self.value == self.high)).all())


class Writer:
    """Collects figures of repetitions into a table, one row a figure and repetition."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._rows: list[tuple[Any, ...]] = []

    def add(self, repetition: int, label: str, figure: MetricValue) -> None:
        """Add a figure."""
        e = figure.estimate
        place = (repetition, label, figure.metric, figure.layer, figure.role, figure.against)
        self._rows.append((*place, e.value, e.low, e.high, figure.level, e.n))

    def table(self) -> Table:
        """Columns of the address, of `ARRAYS`, and of the level."""
        names = ("repetition", *Address._fields, "value", "low", "high", "level", "n")
        whole = dict.fromkeys(("repetition", "n"), np.int64)
        kinds: dict[str, Any] = {**dict.fromkeys(Address._fields, object), **whole}
        columns = zip(names, zip(*self._rows, strict=True), strict=True)
        return {name: np.array(values, dtype=kinds.get(name, float)) for name, values in columns}


def read(tables: Iterable[Table]) -> dict[Address, Series]:
    """The series of every address, in the order in which addresses first come."""
    import pandas as pd

    found: dict[Address, list[Series]] = {}
    for table in tables:
        for key, rows in pd.DataFrame(table).groupby(list(Address._fields), sort=False):
            columns = {name: rows[name].to_numpy() for name in ARRAYS}
            part = Series(**columns, level=float(rows["level"].iloc[0]))
            found.setdefault(Address(*map(str, key)), []).append(part)
    return {address: joined(parts) for address, parts in found.items()}


def joined(parts: Sequence[Series]) -> Series:
    """One series of several, in order."""
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS}
    return Series(**columns, level=parts[0].level)


def blocks(
    session: Session,
    what: str,
    version: str,
    contexts: Sequence[Context],
    spans: Sequence[tuple[int, int]],
    compute: Callable[[int, int], Table],
    about: Mapping[str, Any],
) -> Iterator[Table]:
    """Tables of consecutive spans of repetitions, one held at a time.

    Args:
        session: Its store and progress.
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
        session.progress.detail(f"{what} of {whose}: {start} of {spans[-1][1]}")
        session.progress.share(start / spans[-1][1])
        more = {"group": group, "span": [start, stop], **about}
        address = session.address(contexts[0], f"instrument.{what}", version, **more)

        def measured(span: tuple[int, int] = (start, stop)) -> Table:
            return compute(*span)

        yield session.store.get(address, measured)
