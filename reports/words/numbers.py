"""Figures as text, to the digits that their interval supports."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from reports.results.estimate import Estimate

MISSING = "–"
MINUS = "−"
MOST_DIGITS = 6
ROUNDING = 1e-6
"""Relative distance below which a ratio is 1 up to the rounding of float32."""

SMALL, LARGE = 1e-3, 1e6
"""The sizes from and up to which numbers are written as plain decimals."""


def format_interval(value: float, low: float, high: float, apart: float | None = None) -> str:
    """Write a figure and its interval to the digits that the interval supports.

    The last digit is that of the interval's half width (one more where that begins below 25), or the figure's second
    one where the nearer end supports it.

    Args:
        value: The point estimate.
        low: Lower end of the interval.
        high: Upper end of the interval.
        apart: A number that rounding must not move an end of the interval onto or across.

    Returns:
        Text such as ``1,830 [1,800, 1,860]``; ``0 (exact)`` for a zero without uncertainty.
    """
    if not math.isfinite(value):
        return MISSING
    if value == low == high:
        return "0 (exact)" if value == 0 else format_number(value)
    ends = [end for end in (low, high) if math.isfinite(end)]
    if not ends or math.isnan(low) or math.isnan(high):
        return format_number(value)
    place = first = last_place(value, ends)
    if apart and all(abs(x / apart - 1) < ROUNDING for x in (value, *ends)):
        return format_number(apart)  # float32 does not know more
    for _ in range(MOST_DIGITS):
        if apart is None or all(same_side(end, place, value, ends, apart) for end in ends):
            break
        place -= 1

    def last(x: float) -> int:
        # many digits that keep one end off the line say nothing of the figure and of the other end
        many = apart is not None and first - place > 2
        alone = many and (x == value or same_side(x, first, value, ends, apart or 0.0))
        return own_place(x, first if alone else place, value)

    texts = [render(x, last(x), plain(value, ends)) for x in (value, low, high)]
    if len(set(texts)) == 1:  # the interval is narrower than the digits that are ever shown
        return texts[0]
    return f"{texts[0]} [{texts[1]}, {texts[2]}]"


def format_number(value: float, digits: int = 4) -> str:
    """Write a number without interval to a number of significant digits."""
    if not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    place = exponent(value) - digits + 1
    while place < 0 and float(f"{value:.{digits}g}") == round(value, -place - 1):
        place += 1  # no trailing zeros
    return render(value, place, plain(value))


def last_place(value: float, ends: Iterable[float]) -> int:
    """Return the power of ten of the last digit that an interval supports.

    It is that of the farther end; where the nearer one supports more, of the figure's second digit.
    """
    halves = [abs(end - value) for end in ends if end != value]
    if not halves:
        return exponent(value) - 3
    far, near = (_place(end(halves)) for end in (max, min))
    place = min(far, max(near, exponent(value) - 1)) if value else far
    return max(place, exponent(value or max(halves)) - MOST_DIGITS + 1)


def _place(half: float) -> int:
    place = exponent(half)
    return place - (half / 10.0**place < 2.5)


def own_place(x: float, place: int, value: float) -> int:
    """The last digit of an end of an interval: an end far from the figure has one significant digit more at most."""
    if not value or not math.isfinite(x):
        return place
    return max(place, exponent(x) - (exponent(value) - place + 1))


def same_side(end: float, place: int, value: float, ends: list[float], apart: float) -> bool:
    """Whether the printed end of an interval is where the end is, seen from ``apart``."""
    printed = number(render(end, own_place(end, place, value), plain(value, ends)))
    return (printed > apart) - (printed < apart) == (end > apart) - (end < apart)


def plain(value: float, ends: Iterable[float] = ()) -> bool:
    """Whether to write a figure and its interval as plain decimals, by the figure's size."""
    return SMALL <= abs(value or max((abs(end) for end in ends), default=0.0)) < LARGE


def render(x: float, place: int, decimal: bool) -> str:
    """Write one number down to the digit at ``place``, or to its first digit if that is smaller."""
    if not math.isfinite(x):
        return "∞" if x > 0 else f"{MINUS}∞"
    if x == 0:
        return "0"
    place = min(place, exponent(x))
    if decimal and SMALL / 100 <= abs(x) < LARGE * 100:
        text = f"{round(x, -place):,.{max(0, -place)}f}"
    else:
        mantissa, power = f"{x:.{exponent(x) - place}e}".split("e")
        text = f"{mantissa}e{int(power)}" if int(power) else mantissa
    return text.replace("-", MINUS)


def number(text: str) -> float:
    """Read a number that `render` wrote."""
    return float(text.replace(MINUS, "-").replace(",", "").replace("∞", "inf"))


def exponent(x: float) -> int:
    """Return the power of ten of the first digit."""
    return math.floor(math.log10(abs(x))) if x else 0


def show(estimate: Estimate | None, apart: float | None = None) -> str:
    """Write an estimate, with a dagger if it was bounded; a failure or lack of value in words."""
    if estimate is None:
        return MISSING
    if not estimate.measured:
        return "failed" if estimate.status == "failed" else reason(estimate)
    text = format_interval(estimate.value, estimate.low, estimate.high, apart)
    return f"{text} †" if estimate.status == "bounded" else text


def reason(estimate: Estimate) -> str:
    """Write a dash, and why a figure has no value where it is undefined."""
    why = estimate.detail.get("why", "")
    return f"{MISSING} ({why})" if why and estimate.status == "undefined" else MISSING


def show_scaled(estimate: Estimate | None, units: Iterable[tuple[float, str]]) -> str:
    """Write an estimate in the largest unit (size, name) that it reaches, or the next."""
    if estimate is None or not estimate.measured:
        return show(estimate)
    sizes = sorted(units)
    place = max(sum(abs(estimate.value) >= size for size, _ in sizes) - 1, 0)
    texts = [f"{show(estimate.scaled(1 / size))} {name}" for size, name in sizes[place:]]
    return next((text for text in texts if "e" not in text.rpartition(" ")[0]), texts[0])


def show_seconds(estimate: Estimate | None) -> str:
    """Write a time in s, ms or µs."""
    return show_scaled(estimate, [(1, "s"), (1e-3, "ms"), (1e-6, "µs")])


def time_unit(estimates: Iterable[Estimate]) -> tuple[float, str]:
    """Return how many of the unit that suits some times make a second, and its name."""
    most = max((e.value for e in estimates if e.measured), default=1.0)
    return next((x for x in ((1, "s"), (1e3, "ms")) if most * x[0] >= 1), (1e6, "µs"))


def show_bytes(estimate: Estimate | None) -> str:
    """Write a size in bytes, KiB, MiB or GiB."""
    return show_scaled(estimate, [(1, "B"), (2**10, "KiB"), (2**20, "MiB"), (2**30, "GiB")])


def percent(level: float) -> str:
    """Write a level such as 0.95 as ``95 %``."""
    return f"{100 * level:g} %"


def span(counts: Iterable[int]) -> str:
    """Write the range of some counts, such as ``n = 40`` or ``n = 40 to 400``."""
    found = sorted(set(counts))
    if not found:
        return "n not recorded"
    return f"n = {found[0]:,}" if len(found) == 1 else f"n = {found[0]:,} to {found[-1]:,}"


def slug(text: str) -> str:
    """Make a file name of any text: lower-case letters, digits, dots and hyphens."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")[:160] or "x"
