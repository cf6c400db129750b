from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reports.document import Code, Explore, Facts, Paragraph, Picture, Table
from reports.results.groups import groups_of
from reports.results.load import load
from reports.results.open_pairs import growth, open_pairs
from reports.sections.glance import Glance
from reports.sections.glance_sentences import verdict
from reports.sections.open_questions import command, needed
from reports.sections.section import Findings
from reports.sections.settle import more_units, rounded, without_out

Row = dict[str, Any]
SENTENCE = re.compile(r"[.!?](?:\s|$)")


def sentences(text: list[str]) -> int:
    """Count sentences: full stops that end one, not those of decimals."""
    return len(SENTENCE.findall(" ".join(text)))


@pytest.fixture(scope="module")
def found(run_folder: Path) -> Findings:
    return Findings(load([run_folder]))


def test_the_first_section_has_what_a_reader_asks(found: Findings) -> None:
    blocks = Glance().blocks(found)
    facts = next(block for block in blocks if isinstance(block, Facts))
    names = dict(facts.items)
    assert names["Model"].startswith("digits-mlp: a network of two hidden layers, 4,810 parameters")
    assert names["Data"] == "digits, 1,437 training examples"
    assert names["Machine"] == "a processor (cpu), 2 threads, torch 2.13.0"
    assert names["Load"] == "not recorded"
    show = next(block for block in blocks if isinstance(block, Explore)).show
    assert show["metric"] == "ratio.efficiency.variance_seconds"
    assert any(isinstance(block, Picture) and block.show == show for block in blocks)
    table = next(block for block in blocks if isinstance(block, Table))
    assert [row[0] for row in table.rows] == [heading for _, heading in table.links]


def test_a_busy_machine_matters_to_times_alone(
    make_run: Callable[..., Path], first_rows: list[Row]
) -> None:
    machine = {"cpu": {"model": "a processor", "logical_cores": 2}, "load_average": [9.0, 9.0, 9.0]}
    untimed = [row for row in first_rows if row["metric"].startswith(("variance.", "ratio.var"))]
    said = []
    for name, rows in (("timed", first_rows), ("untimed", untimed)):
        blocks = Glance().blocks(Findings(load([make_run(rows, name, environment=machine)])))
        said.append(dict(next(b for b in blocks if isinstance(b, Facts)).items)["Load"])
    assert "so absolute times are not those of an idle machine" in said[0]
    assert said[1] == "9.0 processes at the start; no times were measured"


def test_the_suite_s_description_is_the_question(
    make_run: Callable[..., Path], first_rows: list[Row]
) -> None:
    folder = make_run(first_rows, suite={"name": "s", "description": "Which is lower?"})
    first = Glance().blocks(Findings(load([folder])))[0]
    assert getattr(first, "text", "") == "Which is lower?."[:-1]


def test_one_place_is_answered_with_size_certainty_and_cost(
    make_run: Callable[..., Path], first_rows: list[Row]
) -> None:
    said = verdict(Findings(load([make_run(first_rows)])))
    assert len(said) == sentences(said) == 2
    assert said[0].startswith(
        "Use local: its variance × time is significantly lower than that of all 3 others, 0.154 ["
    )
    assert "for the means μ and 0.196 [" in said[0]
    assert said[1].startswith("Time per gradient: local 830 [")


def test_sets_that_cannot_be_separated_are_counted(
    make_run: Callable[..., Path], first_rows: list[Row]
) -> None:
    """Twenty more estimators with the figures of the lowest one: the answer is no longer than with one."""
    local = [row for row in first_rows if "local" in (row["label"], row["against"])]
    more = [row | {key: f"copy-{k}" for key in ("label", "against") if row[key] == "local"}
            for k in range(20) for row in local]  # fmt: skip
    more = [row for row in more if row["metric"] != "pairwise.variance.total"]
    run = make_run([*first_rows, *more])
    said = verdict(Findings(load([run])))
    assert len(said) == sentences(said) == 2
    assert "is not separated from 20 of 24 estimators" in said[0]
    assert len(" ".join(said)) < 500
    assert "copy-19" not in " ".join(said[:1])


def test_many_places_are_counted(make_run: Callable[..., Path], first_rows: list[Row]) -> None:
    rows = [row | {"problem": f"p{k}"} for k in range(5) for row in first_rows]
    said = verdict(Findings(load([make_run(rows)])))
    assert len(said) == sentences(said) == 1
    assert "local is significantly lower than all others in 10 of 10 cases" in said[0]
    assert ", 0.154 [0.142, 0.165] to 0.196 [0.181, 0.211] × naive" in said[0]


def test_nothing_measured_is_said(run_folder: Path, make_run: Callable[..., Path]) -> None:
    rows = load([run_folder]).frame.drop(columns=["run", "detail"]).to_dict("records")
    rows = [row for row in rows if row["status"] == "failed"]
    assert verdict(Findings(load([make_run(rows)]))) == [
        "Nothing was measured that estimators can be compared by."
    ]


@pytest.mark.parametrize(
    ("value", "low", "high", "factor"),
    [
        (0.9, 0.8, 1.0125, (math.log(1.0125 / 0.8) / 2 / -math.log(0.9)) ** 2),  # to exclude 1
        (1.0, 0.9, 1 / 0.9, (math.log(1 / 0.9) / math.log(1.05)) ** 2),  # to lie within 5 %
        (0.5, 0.4, 0.6, 1.0),  # settled as it is
    ],
)
def test_units_grow_with_the_square_of_the_width(
    value: float, low: float, high: float, factor: float
) -> None:
    assert growth(value, low, high) == pytest.approx(factor)


def test_open_comparisons_are_listed_with_a_command_that_can_be_run(
    make_run: Callable[..., Path], first_rows: list[Row]
) -> None:
    def wide(row: Row) -> Row:
        pair = row["metric"] == "pairwise.variance.total" and {row["label"], row["against"]} == {
            "local",
            "per-example",
        }
        return (
            row
            | {
                "value": 0.95 if row["label"] == "local" else 1 / 0.95,
                "ci_low": 0.8,
                "ci_high": 1.2,
            }
            if pair
            else row
        )

    rows = [wide(row) for row in first_rows]
    suite = {"name": "quick", "measures": {"variance": {"precision": 0.05, "max_units": 4096}}}
    folder = make_run(rows, suite=suite, command="vdbench run quick --out 'a b' --set seed=3")
    results = load([folder])
    pairs = list(open_pairs(groups_of(results)[0]))
    assert {(one.lowest, one.other, one.metric) for one in pairs} == {
        ("local", "per-example", "variance.total")
    }
    assert all(needed(one).startswith("about ") for one in pairs)
    code = command(pairs, next(iter(results.runs.values())))[1]
    words = str(getattr(code, "text", "")).split()
    assert words[:6] == ["vdbench", "run", "quick", "--set", "seed=3", "--set"]
    settings = [word for word in words if "=" in word]
    from vdbench import suite as suites

    loaded = suites.load("quick", settings)
    assert loaded.measures.variance is not None
    assert loaded.measures.variance.max_units == max(rounded(one.units or 0) for one in pairs)
    assert loaded.measures.variance.precision < 0.05


def test_what_failed_or_was_bounded_has_a_command(
    make_run: Callable[..., Path], first_rows: list[Row], report: Callable[..., str]
) -> None:
    cell = {
        "problem": "digits-mlp",
        "checkpoint": "initial",
        "batch_size": 128,
        "measure": "variance",
    }
    stop = {"stop": "max_units", "units": 400, "width": 0.1, "widest": "noise of fc1 mean"}
    cells = [cell | {"estimator": "naive", "status": "bounded", "reason": "", "n": 400, "detail": stop},
             cell | {"estimator": "local", "status": "failed", "reason": "out of memory", "n": 0}]  # fmt: skip
    suite = {"name": "quick", "measures": {"variance": {"precision": 0.05, "max_units": 400}}}
    text = report(make_run(first_rows, suite=suite, cells=cells, command="vdbench run quick"))
    section = text.split("## Failed and incomplete")[1].split("\n## ")[0]
    assert "```sh\nvdbench run quick --out runs/run\n```" in section
    more = "--set measures.variance.max_units=1600"
    assert f"```sh\nvdbench run quick {more}\n```" in section


def test_targets_of_a_bounded_cell_are_named(
    make_run: Callable[..., Path], first_rows: list[Row], report: Callable[..., str]
) -> None:
    """More units reach the precision that was asked for; narrower intervals need targets that are narrower, too."""
    stop = {
        "stop": "max_units",
        "units": 400,
        "width": 0.2,
        "aim": 0.1,
        "widest": "noise of fc1 mean",
    }
    cell = {"problem": "digits-mlp", "checkpoint": "initial", "batch_size": 128, "measure": "variance",
            "estimator": "naive", "status": "bounded", "reason": "", "n": 400, "detail": stop}  # fmt: skip
    targets = [{"role": "scale", "precision": None}, {"role": "mean", "precision": 0.1}]
    variance = {"precision": 0.05, "targets": targets, "max_units": 400}
    suite = {"name": "quick", "measures": {"variance": variance}}
    folder = make_run(first_rows, suite=suite, cells=[cell], command="vdbench run quick")
    section = report(folder).split("## Failed and incomplete")[1].split("\n## ")[0]
    assert "noise of fc1 mean has ±20 %, ±10 % asked" in section
    assert "widest" not in section
    settings = [word.strip("`\n") for word in section.split() if word.startswith("measures.")]
    assert settings == ["measures.variance.max_units=1600"]
    assert "in some cells up to 4.0 times the units" in section
    (run,) = load([folder]).runs.values()
    said, code = more_units("To settle them: ", [(1600, 400)], run)
    assert isinstance(said, Paragraph)
    assert said.text.startswith("this takes about 4.0 times the units")
    assert isinstance(code, Code)
    assert code.text.split()[3:] == [
        "--set", "measures.variance.max_units=1600", "--set", "measures.variance.precision=0.025",
        "--set", "measures.variance.targets.1.precision=0.05",
    ]  # fmt: skip


@pytest.mark.parametrize("command", ["", "pytest x", "vdbench run 'x", "vdbench report x"])
def test_no_command_is_made_up(
    make_run: Callable[..., Path], first_rows: list[Row], report: Callable[..., str], command: str
) -> None:
    cells = [{"problem": "digits-mlp", "checkpoint": "initial", "batch_size": 128, "measure": "variance",
              "estimator": "local", "status": "failed", "reason": "out of memory", "n": 0}]  # fmt: skip
    text = report(make_run(first_rows, cells=cells, command=command))
    assert "To try again" not in text


def test_a_run_folder_is_taken_out_of_a_command() -> None:
    assert without_out(["vdbench", "run", "x", "--out", "y", "--out=z", "--set", "a=1"]) == [
        "vdbench",
        "run",
        "x",
        "--set",
        "a=1",
    ]


def test_what_to_do_next_follows_from_what_was_found(
    make_run: Callable[..., Path], first_rows: list[Row]
) -> None:
    def said(rows: list[Row], **about: Any) -> str:
        blocks = Glance().blocks(Findings(load([make_run(rows, **about)])))
        return " ".join(b.text for b in blocks if getattr(b, "lead", "") == "Next: ")  # type: ignore[attr-defined]

    assert said(first_rows, cells=[]).startswith("The answer above is settled")
    local = [row for row in first_rows if "local" in (row["label"], row["against"])]
    twin = [row | {key: "twin" for key in ("label", "against") if row[key] == "local"}
            for row in local]  # fmt: skip
    twin = [row for row in twin if row["metric"] != "pairwise.variance.total"]
    assert "estimator is clearly the lowest: measure more" in said([*first_rows, *twin], cells=[])
    metric = "efficiency.variance_seconds"
    same = [
        row | {"label": "local", "against": "twin", "metric": f"pairwise.{metric}", "value": 1.0, "ci_low": 0.999,
               "ci_high": 1.001}
        for row in twin if row["metric"] == metric
    ]  # fmt: skip
    equal = [row for row in twin if not row["metric"].startswith("pairwise.")]
    assert said([*first_rows, *equal, *same], cells=[]).startswith("The answer above is settled")
    failed = [{"measure": "bias", "problem": "p", "checkpoint": "c", "batch_size": 8,
               "estimator": "x", "status": "failed", "reason": "it raised"}]  # fmt: skip
    assert said(first_rows, cells=failed).startswith("Look at why 1 measurement failed.")
