"""What is left of a run: by measure, counted once for jobs side by side, and said to be more where it is."""

from __future__ import annotations

import pytest

from vdbench.cli.pace import LAST, Left, Pace, in_words
from vdbench.measures.progress import Planned

WORK = [
    Planned(("times of a", "times of b"), "throughput", 60),
    *(Planned((f"variance {n}",), "variance", 100) for n in range(4)),
    Planned(("bias",), "bias", 50),
]


def done(pace: Pace, name: str, began: float, ended: float) -> None:
    pace.begin(name, began)
    pace.end(name, ended)


def test_nothing_is_said_before_something_is_known() -> None:
    pace = Pace(WORK)
    assert pace.left(0.0) is None
    pace.begin("times of a", 0.0)
    assert pace.left(1.0) is None
    pace.share("times of a", 0.5)
    assert str(pace.left(10.0)) == "more than 10 s left"
    assert str(Left(0.9, False)) == ""
    assert str(Left(0.9, True)) == "about 1 s left"


def test_measures_of_which_nothing_has_ended_are_left_out_and_that_is_said() -> None:
    pace = Pace(WORK)
    done(pace, "times of a", 0, 20)
    done(pace, "variance 0", 20, 30)
    assert pace.left(30) == (pytest.approx(30), False)
    pace.begin("bias", 30)
    pace.share("bias", 0.25)
    assert pace.left(32) == (pytest.approx(36), True)


def test_seconds_follow_the_planned_gradients() -> None:
    pace = Pace([Planned((name,), "variance", most) for name, most in (("a", 10), ("b", 40))])
    done(pace, "a", 0, 5)
    assert pace.left(5) == (pytest.approx(20), True)


def test_jobs_side_by_side_are_counted_once() -> None:
    pace = Pace([Planned((str(n),), "variance", 1) for n in range(8)])
    for pair in range(2):
        for n in (2 * pair, 2 * pair + 1):
            pace.begin(str(n), 10.0 * pair)
        for n in (2 * pair, 2 * pair + 1):
            pace.end(str(n), 10.0 * pair + 10)
    assert pace.left(20) == (pytest.approx(20), True)


def test_what_was_found_in_the_folder_is_soon_left_behind() -> None:
    pace = Pace([Planned((str(n),), "variance", 1) for n in range(40)])
    for n in range(20):
        done(pace, str(n), 0, 0.001)
    for n in range(LAST):
        done(pace, str(20 + n), 10.0 * n, 10.0 * n + 10)
    found = pace.left(10.0 * LAST)
    assert found is not None
    assert found.seconds < 10 * 12 + 1  # all that ended is taken to have lasted as long as the last
    assert pace._expected(pace.work[-1], 0.0) == pytest.approx(10)


def test_shares_move_the_bar_by_the_cells_of_their_job() -> None:
    pace = Pace(WORK)
    pace.begin("times of a", 0)
    pace.share("times of a", 0.5)
    pace.begin("bias", 0)
    pace.share("bias", 7)
    assert pace.at_work == 2 * 0.5 + 1
    pace.end("bias", 1)
    assert pace.at_work == 1


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "1 s"), (89, "89 s"), (91, "2 min"), (3600, "60 min"), (5400, "1.5 h"), (36000, "10 h")],
)
def test_lengths_of_time_in_words(seconds: float, said: str) -> None:
    assert in_words(seconds) == said
