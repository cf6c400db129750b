"""Logarithmic axes: what range they show, and their ticks; and the unit of times."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter

from reports.results.estimate import Estimate
from reports.words.numbers import MINUS, format_number

LONGEST = 1000
"""How far, as a ratio, an interval may stretch a logarithmic axis beyond the figures."""
MOST = 6
"""Ticks on an axis, at most."""
STEPS = (
    (1, 1.2, 1.5, 2, 3, 5, 7), (1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,), (3,), (2,), (5,)
)  # fmt: skip
"""Multiples of powers of ten that have a tick, the densest choice first."""


def log_ticks(axis: Any, factor: float = 1, share: float = 1) -> None:
    """Put readable ticks on a logarithmic axis, also where it spans less than a decade.

    Args:
        axis: The axis.
        factor: What its figures are multiplied by when written, such as 1,000 for s as ms.
        share: How much of its place the axis will have when the figure is laid out, such as half beside words.
    """
    low, high = sorted(axis.get_view_interval())
    places, powers = ticks(low, high, max(share * room_for(axis), 1.5))
    axis.set_major_locator(FixedLocator(places))
    axis.set_major_formatter(lambda x, _: (power if powers else short)(x * factor))
    axis.set_minor_locator(FixedLocator(between(low, high)))
    axis.set_minor_formatter(NullFormatter())


def between(low: float, high: float) -> list[float]:
    """Return the places of short ticks without names: 2 to 9 of each power of ten, or its powers on a long axis."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = range(1, 10) if len(powers) <= 7 else (1,)
    return [s * 10.0**k for k in powers for s in steps if low <= s * 10.0**k <= high]


def room_for(axis: Any) -> float:
    """Return how many ticks' names an axis has room for: letters are narrower than high."""
    upright = axis.axis_name == "y"
    figure, place = axis.axes.figure, axis.axes.get_position()
    inches = (
        place.height * figure.get_figheight() if upright else place.width * figure.get_figwidth()
    )
    size = axis.get_ticklabels()[0].get_fontsize() / 72
    return float(min(max(inches / size / (2 if upright else 2.9), 1.5), MOST))


def ticks(low: float, high: float, most: float) -> tuple[list[float], bool]:
    """Choose the places of ticks on a logarithmic axis, and whether all are powers of ten.

    Args:
        low: The axis's lower end, positive.
        high: Its upper end.
        most: Into how many parts of its length the axis may be cut by them, at the closest.

    Returns:
        The densest choice of round numbers that stand so far apart; at least two where there are.
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for steps in STEPS:
        found = [s * 10.0**k for k in range(first, last + 1) for s in steps]
        found = [x for x in found if low <= x <= high]
        if len(found) > 1 and stand_apart(found, high / low, most):
            return found, steps == (1,)
    for stride in range(1, last - first + 1):
        found = [
            10.0**k for k in range(first, last + 1) if not k % stride and low <= 10.0**k <= high
        ]
        if len(found) > 1 and stand_apart(found, high / low, most):
            return found, True
    return [float(x) for x in MaxNLocator(2).tick_values(low, high) if low <= x <= high], False


def stand_apart(places: list[float], length: float, most: float) -> bool:
    """Whether ticks are nowhere closer than an axis of a length, as a ratio, over ``most``."""
    closest = min(b / a for a, b in pairwise(places))
    return math.log(closest) * most >= math.log(length)


def short(x: float) -> str:
    """Write a tick's number so that it does not run into the next one: 20,000 as ``20k``."""
    if 1e-3 <= x < 1e6:
        return f"{format_number(x / 1e3, 2)}k" if x >= 1e3 else format_number(x, 2)
    mantissa, exponent = f"{x:.1e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}".replace("-", MINUS)


def power(x: float) -> str:
    """Write a power of ten as such, near 1 as a plain number."""
    exponent = round(math.log10(x)) if x > 0 else 0
    if abs(exponent) < 2:
        return f"{x:g}"
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def bounds(estimates: list[Estimate], reference: float | None = None) -> tuple[float, float] | None:
    """Return the range of a logarithmic axis that shows all positive figures; None without any."""
    values = [e.value for e in estimates if math.isfinite(e.value) and e.value > 0]
    ends = [x for e in estimates if e.value > 0 for x in (e.value, e.low, e.high)]
    ends = [x for x in ends if math.isfinite(x) and x > 0]
    if reference is not None:
        ends.append(reference)
    if not ends:
        return None
    low = max(min(ends), min(values or ends) / LONGEST)
    high = min(max(ends), max(max(values or ends), reference or 0) * LONGEST)
    room = max((high / low) ** 0.07, 1.08)
    return low / room, high * room
