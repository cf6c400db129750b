"""How large a suite may be: a file is data, and no file may keep a machine busy before anything is measured.

The limits are far above what the bundled suites need. ``VDBENCH_LIMITS=4`` in the environment makes those of size
four times as large.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vdbench.errors import InputError, shown

VARIABLE = "VDBENCH_LIMITS"
DEPTH = 32
"""Mappings and lists within each other."""
NAME = 200
"""Bytes of a name; with an ending it is still the name of a file."""
WHOLE = 2**63
"""Whole numbers are below this in magnitude, as seeds and torch have them."""


@dataclass(frozen=True)
class Limits:
    """Limits of size.

    Attributes:
        bytes: Of a suite's file.
        nodes: Keys and values of a suite, those that aliases and sweeps stand for counted each time.
        problems: Of a suite, sweeps written out.
        estimators: Of a suite, grids of options written out.
        cells: Of a suite.
        threads: Of torch.
        weights: Of a built-in network.
    """

    bytes: int = 65_536
    nodes: int = 20_000
    problems: int = 1_000
    estimators: int = 500
    cells: int = 100_000
    threads: int = 1_024
    weights: int = 50_000_000


def limits() -> Limits:
    """The limits that hold here.

    Raises:
        InputError: What the environment says is no factor.
    """
    text = os.environ.get(VARIABLE, "1")
    try:
        factor = float(text)
    except ValueError:
        factor = math.nan
    if not 1 <= factor <= 1e6:
        raise InputError(f"{VARIABLE}={text}: expected a factor from 1 to 1000000, such as 4.")
    return Limits(**{key: int(value * factor) for key, value in vars(Limits()).items()})


def within(where: str, what: str, count: int, most: int) -> None:
    """Refuse more than there may be.

    Args:
        where: What messages call the suite.
        what: What is counted.
        count: How many there are.
        most: How many there may be.

    Raises:
        InputError: There are more.
    """
    if count > most:
        needed = math.ceil(count / most) * int(float(os.environ.get(VARIABLE, "1")))
        raise InputError(
            f"{where}: {count:,} {what}, more than {most:,}; {VARIABLE}={needed} in the environment allows them."
        )


def check(where: str, content: Mapping[str, Any]) -> None:
    """See that a suite is plain data of a size that can be read: no cycle, no number or text that cannot be kept.

    Args:
        where: What messages call the suite.
        content: What it says.

    Raises:
        InputError: It is not.
    """
    most, count = limits().nodes, 0
    left: list[tuple[str, Any, int]] = [("", content, 0)]
    while left:
        at, value, depth = left.pop()
        count += 1
        if count > most:
            within(where, "keys and values", count, most)
        if depth > DEPTH:
            raise InputError(f"{where}: {at[:60]}: more than {DEPTH} levels within each other.")
        if isinstance(value, Mapping):
            for key, item in value.items():
                _key(where, at, key)
                left.append((f"{at}.{key}" if at else str(key), item, depth + 1))
        elif isinstance(value, list | tuple):
            left += [(f"{at}.{place}", item, depth + 1) for place, item in enumerate(value)]
        else:
            _plain(f"{where}: {at}", value)


def _key(where: str, at: str, key: Any) -> None:
    if isinstance(key, bool) or not isinstance(key, str | int | float):
        inside = f" in {at}" if at else ""
        raise InputError(
            f"{where}: key {shown(key)}{inside}: expected a word; put it in quotes if it is one."
        )
    _plain(f"{where}: {at}: key" if at else f"{where}: key", key)


def _plain(at: str, value: Any) -> None:
    """Refuse a number that cannot be kept or a text that cannot be written."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= WHOLE:
        raise InputError(f"{at}: expected a whole number below 2**63, not one of this size.")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{at}: expected a finite number, not {value!r}.")
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InputError(f"{at}: expected text, not {shown(value)}.") from None
