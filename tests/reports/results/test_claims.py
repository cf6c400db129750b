"""Claims of a suite: which of our figures each is about, and what its interval says."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from scipy.special import stdtrit

from reports import headline
from reports.results.claims import Answer, Claim, Held, answers
from reports.results.estimate import Estimate
from reports.results.load import Results, Run
from reports.results.load import load as load_run
from reports.sections import claims as section
from reports.words.numbers import show
from vdbench.measures.registry import load
from vdbench.runner import plan
from vdbench.statistics.verdicts import adjusted_level
from vdbench.suite import yaml_file

NAMES = ["run", "problem", "checkpoint", "batch_size", "label", "metric", "layer", "role",
         "against", "value", "ci_low", "ci_high", "n", "unit", "status", "level"]  # fmt: skip


def results(rows: list[tuple[object, ...]], claims: list[dict[str, object]]) -> Results:
    frame = pd.DataFrame(rows, columns=NAMES)
    return Results(frame, {"r": Run("r", {"level": 0.95, "suite": {"claims": claims}}, [])})


def row(value: float, low: float, high: float, **other: object) -> tuple[object, ...]:
    usual = {
        "run": "r", "problem": "p", "checkpoint": "initial", "batch_size": 8, "label": "local",
        "metric": "ratio.variance.noise", "layer": "all", "role": "mean", "against": "naive",
        "n": 64, "unit": "1", "status": "converged", "level": 0.95,
    } | other  # fmt: skip
    return tuple({**usual, "value": value, "ci_low": low, "ci_high": high}[x] for x in NAMES)


BASE = {"says": "lower", "metric": "ratio.variance.noise", "estimator": "local", "role": "mean"}


@pytest.mark.parametrize(
    ("low", "high", "held"),
    [
        (None, 1, Held.YES),
        (0.3, 0.6, Held.YES),
        (0.45, 1, Held.OPEN),
        (1, None, Held.NO),
        (None, 0.2, Held.NO),
        (None, 0.5, Held.OPEN),
    ],
)
def test_an_interval_lies_within_apart_or_neither(
    low: float | None, high: float | None, held: Held
) -> None:
    found = results([row(0.5, 0.4, 0.6)], [{**BASE, "low": low, "high": high}])
    (answer,) = answers(found, "r")
    assert (answer.held, answer.ours.low, answer.ours.high) == (held, 0.4, 0.6)  # type: ignore[union-attr]


def test_rounding_does_not_move_an_end_onto_the_limit_of_a_claim() -> None:
    claim = Claim(says="", metric="m", estimator="e", low=0.7)
    ours = Estimate(0.9066, 0.6951, 0.9998)
    assert section.edge(claim, ours) == 0.7
    assert show(ours, section.edge(claim, ours)) == "0.907 [0.695, 1.000]"
    assert section.edge(replace(claim, low=None), ours) is None
    assert section.edge(replace(claim, high=1.0), ours) == 1.0


def test_a_terminal_says_first_how_many_claims_hold() -> None:
    folder = Path(__file__).parents[3] / "docs/results/small/coordinates"
    every = answers(load_run([folder]), "coordinates")
    assert len(every) > 1
    assert headline([folder])[0] == section.counted(every)


def test_several_claims_hold_together() -> None:
    """Each interval is widened to the level of Bonferroni's correction, from t of 95 % to that of 97.5 %.

    The reciprocal is the scale on which the upper end moves farthest.
    """
    claims = [{**BASE, "high": 1.0}, {**BASE, "role": "scale", "high": 1.0}, {**BASE, "role": "no"}]
    rows = [row(0.5, 0.25, 1.0), row(0.5, 0.25, 0.8, role="scale")]
    every = answers(results(rows, claims), "r")
    factor = stdtrit(63, 0.9875) / stdtrit(63, 0.975)
    assert every[0].ours.high == pytest.approx(1 / (2 - factor))  # type: ignore[union-attr]
    assert every[0].ours.low == pytest.approx(0.5 - 0.25 * factor)  # type: ignore[union-attr]
    assert every[0].ours.level == adjusted_level(0.95, 2)  # type: ignore[union-attr]
    assert [x.held for x in every] == [Held.OPEN, Held.YES, Held.UNMEASURED]


@pytest.mark.parametrize("ends", [(0.3, math.inf), (0.6, 0.9), (0.1, 0.4)])
def test_an_interval_that_cannot_be_widened_supports_no_claim(ends: tuple[float, float]) -> None:
    """One without an end, or apart from its figure: alone it holds at its own level, of two nothing is known."""
    rows = [row(0.5, *ends), row(0.5, 0.25, 0.9, role="scale")]
    low, other = {**BASE, "low": 0.05}, {**BASE, "role": "scale", "high": 1.0}
    (alone,) = answers(results(rows, [low]), "r")
    both = answers(results(rows, [low, other]), "r")
    assert alone.held is Held.YES
    assert both[0].held is Held.OPEN


def test_few_seeds_widen_more() -> None:
    """A mean of three seeds has two degrees of freedom: half-widths grow as quantiles of Student's t."""
    rows = [row(0.5, -0.1, 1.1), row(0.5, 0.25, 0.9, role="scale")]
    table = results(rows, [{**BASE, "high": 9.0}, {**BASE, "role": "scale", "high": 1.0}])
    table.frame["n"] = 3
    found = answers(table, "r")[0].ours
    assert found is not None
    factor = stdtrit(2, 0.9875) / stdtrit(2, 0.975)
    assert found.high == pytest.approx(0.5 + 0.6 * factor)


def test_a_widened_interval_ends_where_the_figure_s_range_does() -> None:
    """Of two claims, that of a rank correlation of 0.9 [0.7, 0.99] is widened beyond 1, and cut there."""
    name = "correlation.target.steps.own"
    rows = [row(0.9, 0.7, 0.99, metric=name), row(0.5, 0.4, 0.6)]
    found = answers(
        results(rows, [{**BASE, "metric": name, "low": 0.1}, {**BASE, "low": 0.1}]), "r"
    )
    assert found[0].ours is not None
    assert found[0].ours.low < 0.7
    assert found[0].ours.high == 1.0


def test_a_quotient_of_two_figures() -> None:
    """Of other places independent, and half-widths add in squares; of one place not, and they add."""
    rows = [
        row(8, 4, 16, metric="variance.noise", against=""),
        row(2, 1, 4, metric="variance.noise", against="", problem="q"),
        row(2, 1, 4, metric="variance.noise", against="", role="scale"),
    ]
    claim = {**BASE, "metric": "variance.noise", "problem": "p", "low": 3, "high": 5}
    apart = [{**claim, "over": {"problem": "q"}}]
    (answer,) = answers(results(rows, apart), "r")
    width = 2 ** math.sqrt(2)
    assert answer.ours == Estimate(4, 4 / width, 4 * width, 64, "1", level=0.95)
    (answer,) = answers(results(rows, [{**claim, "over": {"role": "scale"}}]), "r")
    assert answer.ours is not None
    # end to end it holds at 90 %, and is widened to 95 %
    assert answer.ours.low < 1
    assert answer.ours.high > 16


def test_a_claim_that_names_several_rows_is_of_none() -> None:
    rows = [row(0.5, 0.4, 0.6), row(0.5, 0.4, 0.6, checkpoint="trained")]
    (answer,) = answers(results(rows, [{**BASE, "high": 1}]), "r")
    assert answer.held is Held.UNMEASURED


def test_a_recalled_number_is_not_printed() -> None:
    claim = Claim("says", "m", "local", low=20, high=2000, source="A 2000", verified=False)
    (cells,) = section.claims_table([Answer(claim, None, Held.UNMEASURED)], Run("r", {}, [])).rows
    assert "from memory, not checked" in cells[1]
    assert "20" not in cells[2]


@pytest.mark.parametrize(
    "name", [n for n in yaml_file.names() if "claims" in yaml_file.content(n)[1]]
)
@pytest.mark.parametrize("scale", ["full", "small"])
def test_claims_of_bundled_suites_name_what_is_measured(name: str, scale: str) -> None:
    made = load(name, [f"scale={scale}"])
    cells = plan.cells(made)
    for claim in made.claims:
        for moved in ({}, claim.over):
            at = {"problem": claim.problem, "checkpoint": claim.checkpoint} | moved
            label = moved.get("estimator", claim.estimator)
            size = moved.get("batch_size", claim.batch_size)
            found = [
                c for c in cells
                if c.label == label
                and at["problem"] in ("", c.place.problem)
                and at["checkpoint"] in ("", c.place.checkpoint)
                and size in (None, 0, c.place.batch_size)
            ]  # fmt: skip
            assert found, (claim.says, at, label, size)
        assert claim.low is not None or claim.high is not None
