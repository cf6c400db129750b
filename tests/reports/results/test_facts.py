"""Facts come from ``detail``; only the reader of runs reads sentences, those of runs made before it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import reports
from reports.results.load import load, row_detail
from vdbench.errors import InputError

FOLDER = Path(reports.__file__).parent
READER = FOLDER / "results" / "load.py"
SEARCHING = {
    "search", "match", "findall", "finditer", "sub", "split", "partition", "rpartition", "removeprefix", "removesuffix",
    "index", "find", "startswith", "endswith", "contains", "extract",
}  # fmt: skip
"""What takes a text apart."""
SENTENCES = {"message", "reason"}


def sentences_taken_apart(path: Path) -> Iterator[str]:
    """Find calls that take a message or reason apart."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            inside = [x for part in (node.func.value, *node.args) for x in ast.walk(part)]
            named = {x.attr for x in inside if isinstance(x, ast.Attribute)}
            named |= {
                x.value for x in inside if isinstance(x, ast.Constant) and isinstance(x.value, str)
            }
            if node.func.attr in SEARCHING and SENTENCES & named:
                yield f"{path.name}:{node.lineno}"


def test_no_sentence_is_taken_apart_outside_the_reader() -> None:
    others = [path for path in sorted(FOLDER.rglob("*.py")) if path != READER]
    assert len(others) > 40
    assert [found for path in others for found in sentences_taken_apart(path)] == []


@pytest.mark.parametrize(
    "code",
    [
        're.match("target (.*)", estimate.message)',
        'estimate.message.partition(";")',
        'frame["message"].str.contains("noise")',
        'str(cell.get("reason") or "").split()',
    ],
)
def test_taking_one_apart_would_be_found(code: str, tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(code)
    assert list(sentences_taken_apart(path)) == ["x.py:1"]


@pytest.mark.parametrize(
    ("metric", "message", "detail"),
    [
        (
            "variance.noise",
            "n = 3 is too small; noise from 8 of 128 examples, scaled; data part and mean from score(samples=4)",
            {"examples": 8, "batch_size": 128, "data_from": "score(samples=4)"},
        ),
        ("relative_bias", "n = 3 is too small; reference: naive", {"reference": "naive"}),
        (
            "adjusted.difference.test.error",
            "minus none (local), paired by seed; level adjusted for 6 comparisons",
            {"comparisons": 6},
        ),
        (
            "convergence.seconds_to_target",
            "target -7961.83 nats, reached by 4 of 5 seeds",
            {"target": -7961.83, "reached": 4, "seeds": 5},
        ),
        (
            "slope.variance.noise",
            "over M = 8, 32, 128; the figures lie up to 0.37 half-widths from the line",
            {"points": 3, "distance": 0.37},
        ),
        ("time.seconds_per_epoch", "44 gradients", {"steps": 44}),
        (
            "coverage.snr",
            "at least 99.75 % not rejected, p = 1 (Holm over 4 figures)",
            {"claimed": 0.9975},
        ),
        (
            "kills.equal",
            "80 kills in 8 campaigns; 1410 figures of a small suite each, compared bit by bit; times are not",
            {"kills": 80, "campaigns": 8, "figures": 1410},
        ),
        ("false_alarms.snr", "at most 5 % not rejected, p = 1", {}),
        ("variance.total", "", {}),
    ],
)
def test_messages_of_old_runs_give_the_same_facts(
    metric: str, message: str, detail: dict[str, Any]
) -> None:
    assert row_detail("", metric, "ok", message) == pytest.approx(detail)
    assert row_detail(None, metric, "ok", message) == pytest.approx(detail)


def test_what_a_run_writes_as_facts_goes_before_its_sentence() -> None:
    said = "target -1 nats, reached by 4 of 5 seeds"
    found = row_detail('{"target": -2.5}', "convergence.seconds_to_target", "ok", said)
    assert found == {"target": -2.5}


def test_why_there_is_no_value_is_kept() -> None:
    said = "no value: the denominator is not above zero; reference: naive"
    assert row_detail("", "relative_bias", "undefined", said) == {
        "reference": "naive", "why": "the denominator is not above zero",
    }  # fmt: skip
    assert row_detail("{}", "snr", "undefined", "no value") == {"why": ""}


CELL = {"problem": "A", "checkpoint": "trained", "batch_size": 8, "estimator": "local", "measure": "training",
        "n": 3, "seconds": 1.0, "status": "ok", "reason": "3 seeds of up to 5 epochs"}  # fmt: skip


def trained(figure: Callable[..., Any], **more: Any) -> list[dict[str, Any]]:
    return [figure("local", "test.error", 2.0, 1.0, 3.0, problem="A", checkpoint="trained", **more)]


def test_early_stops_are_shown_from_facts(
    figure: Callable[..., Any], make_run: Callable[..., Path], report: Callable[..., str]
) -> None:
    detail = {"stopped_early": [None, 3, None], "best": [5, 2, 4]}
    folder = make_run(trained(figure, detail="{}"), cells=[CELL | {"detail": detail}], schema=2)
    text = report(folder)
    assert "| training stopped early: seed 1 at epoch 3; best epochs: 5, 2, 4 |" in text


def test_early_stops_of_old_runs_are_shown_from_their_epochs(
    figure: Callable[..., Any], make_run: Callable[..., Path], report: Callable[..., str]
) -> None:
    suite = {
        "measures": {"training": {"epochs": 9}},
        "problems": [{"name": "A", "training": {"epochs": 5}}],
    }
    folder = make_run(trained(figure), cells=[CELL], suite=suite)
    assert "Every measurement succeeded" in report(folder)
    epochs = [
        {"problem": "A", "estimator": "local", "seed": seed, "epoch": float(epoch), "step": 1.0 * epoch,
         "layer": "all", "metric": "test.error", "bin": None, "value": 1.0}
        for seed, last in enumerate((5, 3, 5)) for epoch in range(last + 1)
    ]  # fmt: skip
    pd.DataFrame(epochs).to_parquet(folder / "training.parquet")
    assert "| training stopped early: seed 1 at epoch 3 |" in report(folder)


def test_why_cells_stopped_is_told_alike_for_old_runs_and_new(
    figure: Callable[..., Any], make_run: Callable[..., Path]
) -> None:
    cell = CELL | {"measure": "variance"}
    old = [
        cell | {"reason": "±0.05 reached at 1472 units"},
        cell | {"reason": "bound of 704 units reached; widest is ±0.21, noise of fc4 theta"},
    ]
    details = [
        {"stop": "precision", "units": 1472},
        {"stop": "max_units", "units": 704, "width": 0.21, "widest": "noise of fc4 theta"},
    ]
    new = [cell | {"detail": detail} for detail in details]
    for name, cells in (("old", old), ("new", new)):
        run = load([make_run(trained(figure), name=name, cells=cells)]).runs[name]
        assert [found["detail"] for found in run.cells] == details


def test_a_schema_to_come_is_refused(
    figure: Callable[..., Any], make_run: Callable[..., Path]
) -> None:
    with pytest.raises(InputError, match="has schema 4; this version reads schemas 1 to 3"):
        load([make_run(trained(figure), schema=4)])
