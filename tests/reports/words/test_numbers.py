from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.results.estimate import Estimate
from reports.words.numbers import format_interval, number, show, show_bytes, show_seconds, slug

NAN = math.nan


@pytest.mark.parametrize(
    ("figures", "text"),
    [
        ((1830.0, 1800.0, 1860.0), "1,830 [1,800, 1,860]"),
        ((1.0213, 0.9812, 1.0613), "1.02 [0.98, 1.06]"),
        ((0.115, 0.1115, 0.1185), "0.115 [0.112, 0.118]"),
        ((-1080.2, -1098.0, -1062.0), "−1,080 [−1,098, −1,062]"),
        ((4.2e-7, 4.0e-7, 4.4e-7), "4.20e−7 [4.00e−7, 4.40e−7]"),
        ((5.0, -40.0, 50.0), "5 [−40, 50]"),
        ((0.0, 0.0, 0.0), "0 (exact)"),
        ((0.0, 0.0, 2.0), "0 [0, 2.0]"),
        ((0.0, -1.0, 0.0), "0 [−1.0, 0]"),
        ((0.0, 0.0, math.inf), "0 [0, ∞]"),
        ((3.0, 3.0, 4.0), "3.0 [3.0, 4.0]"),
        ((0.0, -9.0, 6.0), "0 [−9, 6]"),
        ((658.3, 620.0, 700.0), "660 [620, 700]"),
        ((-7146.6, -7171.2, -7121.8), "−7,147 [−7,171, −7,122]"),
        ((1.21e6, 1.1e6, 1.3e6), "1.21e6 [1.10e6, 1.30e6]"),
        ((0.0, -9e-5, 6e-5), "0 [−9e−5, 6e−5]"),
        ((1.0, 1 - 1e-9, 1 + 1e-9), "1.00000"),
        ((3.14159, NAN, NAN), "3.142"),
        ((2.0, 1.0, math.inf), "2.0 [1.0, ∞]"),
        ((NAN, NAN, NAN), "–"),
    ],
)
def test_intervals_decide_the_digits(figures: tuple[float, float, float], text: str) -> None:
    assert format_interval(*figures) == text


def test_rounding_never_moves_an_end_across_the_line_it_is_judged_by() -> None:
    assert format_interval(0.95, 0.9, 0.9996, apart=1) == "0.9500 [0.9000, 0.9996]"
    assert format_interval(0.95, 0.9, 1.0, apart=1) == "0.95 [0.90, 1.00]"


def test_a_figure_keeps_the_digits_that_its_nearer_end_supports() -> None:
    assert format_interval(123.6, 90, 600) == "120 [90, 600]"
    assert format_interval(170, 50, 800) == "170 [50, 800]"
    assert format_interval(0.907, 0.651, 1.0) == "0.91 [0.65, 1.00]"
    assert format_interval(0.3, 0.25, 40) == "0.30 [0.25, 40.0]"
    assert format_interval(130, 1, 110_809_000) == "130 [1, 1.11e8]"
    assert format_interval(130, 1.00002, 1.10809e8, apart=1).endswith(", 1.11e8]")


def test_a_ratio_that_is_1_up_to_rounding_has_no_more_digits_than_float32() -> None:
    assert format_interval(1 - 1e-9, 1 - 2e-9, 1 + 1e-9, apart=1) == "1"
    assert format_interval(0.99999, 0.99998, 0.999995, apart=1).startswith("0.9999")


@given(st.floats(-1e12, 1e12), st.floats(0, 1e12), st.floats(0, 1e12))
def test_what_is_printed_is_within_the_interval_it_describes(
    value: float, below: float, above: float
) -> None:
    low, high = value - below, value + above
    text = format_interval(value, low, high)
    if "[" in text:
        printed = [number(x.strip("[],")) for x in text.split()]
        slack = 0.51 * max(high - low, 1e-5 * abs(value)) + 1e-300
        assert abs(printed[0] - value) <= slack
        assert printed[1] <= printed[0] <= printed[2]


def test_status_is_shown() -> None:
    assert show(Estimate(2.0, 1.9, 2.1, status="bounded")) == "2.00 [1.90, 2.10] †"
    assert show(Estimate(NAN, status="failed")) == "failed"
    assert show(None) == "–"


def test_what_is_undefined_is_a_dash_with_its_reason_and_no_failure() -> None:
    why = {"why": "division by zero"}
    assert show(Estimate(NAN, status="undefined", detail=why)) == "– (division by zero)"
    assert show(Estimate(NAN, status="undefined")) == "–"


def test_units_fit_the_size() -> None:
    assert show_seconds(Estimate(8.3e-4, 8.1e-4, 8.5e-4)) == "830 [810, 850] µs"
    assert show_seconds(Estimate(31e-3, 30e-3, 32e-3)) == "31.0 [30.0, 32.0] ms"
    assert show_seconds(Estimate(125.0, 120.0, 130.0)) == "125 [120, 130] s"
    assert show_bytes(Estimate(3 * 2**20, NAN, NAN)) == "3 MiB"


def test_file_names_are_plain() -> None:
    assert slug("../<b>Å b/c·4") == "b-b-c-4"
    assert slug("///") == "x"
