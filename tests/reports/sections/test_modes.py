"""What the report says of execution modes: all in one table, and rankings by the one that was asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Row = dict[str, Any]
TIME = "time.seconds_per_gradient"
SECONDS = {("naive", "eager"): 1e-3, ("local", "eager"): 2e-3,
           ("naive", "graph"): 4e-4, ("local", "graph"): 2e-4}  # fmt: skip


@pytest.fixture
def timed(figure: Callable[..., Row]) -> list[Row]:
    """Two estimators in two modes: naive is faster in eager mode, local as a graph."""
    found = []
    for (label, mode), seconds in SECONDS.items():
        more = {"unit": "s", "status": "ok", "mode": mode}
        found.append(figure(label, TIME, seconds, seconds * 0.99, seconds * 1.01, **more))
        base = SECONDS["naive", mode]
        ratio = seconds / base
        found.append(figure(label, f"ratio.{TIME}", ratio, ratio * 0.99, ratio * 1.01,
                            **more | {"unit": "1", "against": "naive"}))  # fmt: skip
        for other in ("naive", "local"):
            if other != label:
                pair = seconds / SECONDS[other, mode]
                found.append(figure(label, f"pairwise.{TIME}", pair, pair * 0.99, pair * 1.01,
                                    **more | {"unit": "1", "against": other}))  # fmt: skip
        if mode == "graph":
            own = seconds / SECONDS[label, "eager"]
            found.append(figure(label, "mode.seconds_per_gradient", own, own * 0.99, own * 1.01,
                                **more | {"unit": "1", "against": "eager"}))  # fmt: skip
    share = (0.12, 0.11, 0.13)
    more = {"unit": "1", "status": "ok", "mode": "eager", "detail": '{"launch_bound": true}'}
    found.append(figure("local", "time.busy_share", *share, **more))
    return found


@pytest.mark.parametrize(("first", "fastest"), [("eager", "naive"), ("graph", "local")])
def test_rankings_are_by_the_first_mode(
    timed: list[Row],
    make_run: Callable[..., Path],
    report: Callable[..., str],
    first: str,
    fastest: str,
) -> None:
    modes = sorted(("eager", "graph"), key=lambda mode: mode != first)
    said = report(make_run(timed, schema=3, suite={"name": "quick", "modes": modes}))
    assert (
        f"**{fastest} is significantly faster than all other ranked estimators at 1 of 1 place"
        in said
    )
    assert f"Rankings are by {first}." in said
    section = said.partition("## Execution modes")[2].partition("\n## ")[0]
    eager = "| local | eager | 2.000 [1.980, 2.020] ms | – | 0.120 [0.110, 0.130] | launch-bound |"
    assert eager in section, section
    assert (
        "| local | graph | 200.0 [198.0, 202.0] µs | 0.1000 [0.0990, 0.1010] | – | – |" in section
    )
    assert "| naive | graph | 400 [396, 404] µs |" in section


def test_a_mode_that_failed_is_told_with_its_cause(
    timed: list[Row],
    figure: Callable[..., Row],
    make_run: Callable[..., Path],
    report: Callable[..., str],
) -> None:
    nothing = (float("nan"),) * 3
    failed = figure("local", "throughput", *nothing, status="failed", mode="compile", n=0,
                    message="mode compile: no compiler")  # fmt: skip
    modes = ["eager", "graph", "compile"]
    said = report(make_run([*timed, failed], schema=3, suite={"name": "quick", "modes": modes}))
    section = said.partition("## Execution modes")[2].partition("\n## ")[0]
    assert "| local | compile | failed | – | – | mode compile: no compiler |" in section
    assert "naive is significantly faster" in said


def test_a_run_of_one_mode_has_no_section_of_it(
    timed: list[Row], make_run: Callable[..., Path], report: Callable[..., str]
) -> None:
    eager = [row for row in timed if row["mode"] == "eager" and "busy" not in row["metric"]]
    said = report(make_run(eager, schema=3))
    assert "## Execution modes" not in said
    old = [{k: v for k, v in row.items() if k != "mode"} for row in eager]
    assert (
        report(make_run(old, "old")).partition("## Results")[2][:300]
        == said.partition("## Results")[2][:300]
    )
