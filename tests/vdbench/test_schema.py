"""The schema says what is written: columns, types, statuses and facts, and its copy in docs/ is current."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import vdbench
from vdbench import schema

DOCS = Path(__file__).parents[2] / "docs" / "schema.json"

SUITE = {
    "name": "schema",
    "problems": [{"name": "p", "factory": "classification", "options": {"widths": [4]}}],
    "batch_sizes": [8, 16, 32],
    "estimators": ["naive", "local", "per-example", "deterministic"],
    "baseline": "naive",
    "threads": 1,
    "measures": {
        "variance": {
            "first_units": 16, "max_units": 16, "few_examples": {"per-example": 2}, "data_from": "local",
        },
        "bias": {"units": 4, "draws": 1},
        "noise_scale": {"units": 16},
        "throughput": {"rounds": 8},
        "convergence": {"steps": 2, "seeds": 2, "evaluations": 1, "batch_size": 8},
        "training": {
            "epochs": 8, "seeds": 2, "batch_size": 512, "evaluations": 1, "validation": 0.1, "patience": 1,
            "learning_rate": 1.0,
        },
    },
}  # fmt: skip

KINDS = {
    "string": str, "number": float | int, "integer": int, "array": list, "object": dict,
}  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> vdbench.runner.Finished:
    """A run with most kinds of rows in it."""
    return vdbench.run(SUITE, tmp_path_factory.mktemp("schema") / "run")


def facts(detail: dict[str, object]) -> None:
    for key, value in detail.items():
        assert key in schema.DETAILS, key
        assert isinstance(value, KINDS[schema.DETAILS[key][0]]), (key, value)


def test_the_table_is_as_the_schema_says(done: vdbench.runner.Finished) -> None:
    table = done.results
    assert list(table.columns) == list(schema.COLUMNS)
    for name, (kind, _) in schema.COLUMNS.items():
        assert (
            str(table[name].dtype)
            .removeprefix("large_")
            .startswith(kind if kind != "str" else ("str", "object"))
        ), name
    assert set(table["status"]) <= set(schema.STATUSES)
    for text in table["detail"]:
        facts(json.loads(text))


@pytest.mark.parametrize(
    ("metric", "keys"),
    [
        ("variance.noise", {"examples", "batch_size", "data_from"}),
        ("relative_bias", {"reference"}),
        ("time.seconds_per_epoch", {"steps"}),
        ("convergence.seconds_to_target", {"target", "reached", "seeds"}),
        ("slope.variance.noise", {"points", "distance"}),
    ],
)
def test_what_a_report_needs_is_in_detail(
    metric: str, keys: set[str], done: vdbench.runner.Finished
) -> None:
    rows = done.results[done.results["metric"] == metric]
    assert len(rows)
    assert any(keys <= set(json.loads(text)) for text in rows["detail"])


def test_the_record_is_as_the_schema_says(done: vdbench.runner.Finished) -> None:
    record = json.loads((done.folder / "run.json").read_text())
    assert record["schema"] == schema.RUN
    assert set(schema.RECORD) - {"merged", "engine"} <= set(record)
    for cell in record["cells"]:
        assert list(cell) == [name for name in schema.CELL if name not in ("kept", "mode")]
        assert cell["status"] in schema.STATUSES
        facts(cell["detail"])
    stops = {cell["detail"]["stop"] for cell in record["cells"] if cell["measure"] == "variance"}
    assert stops == {"max_units"}


def test_a_training_that_patience_ended_says_when(done: vdbench.runner.Finished) -> None:
    """With so large a step the validation NLL rises before long."""
    record = json.loads((done.folder / "run.json").read_text())
    details = [cell["detail"] for cell in record["cells"] if cell["measure"] == "training"]
    epochs = pd.read_parquet(done.folder / "training.parquet")
    assert list(epochs.columns) == list(schema.TRAINING_COLUMNS)
    assert any(epoch is not None for detail in details for epoch in detail["stopped_early"])
    for detail in details:
        for ended, best in zip(detail["stopped_early"], detail["best"], strict=True):
            assert ended is None or best < ended < 8


def test_a_record_is_json_where_a_width_is_infinite(tmp_path: Path) -> None:
    measures = {"variance": {"first_units": 1, "max_units": 1}}
    done = vdbench.run({**SUITE, "batch_sizes": [8], "measures": measures}, tmp_path / "run")

    def refuse(name: str) -> None:
        raise AssertionError(name)

    text = (done.folder / "run.json").read_text()
    record = json.loads(text, parse_constant=refuse)
    assert all("width" not in cell["detail"] for cell in record["cells"])


def test_a_checkpoint_may_be_called_as_trainings_are(tmp_path: Path) -> None:
    """Cells that train are told from cells at a checkpoint of that name."""
    named = [
        {"name": "trained", "epochs": 1, "estimator": "local", "batch_size": 256},
        {"name": "training"},
    ]
    measures = {
        "variance": {"first_units": 16, "max_units": 16},
        "convergence": {"steps": 2, "seeds": 2, "evaluations": 1},
        "training": {"epochs": 1, "seeds": 2, "batch_size": 512, "evaluations": 1},
    }
    sizes = {"batch_sizes": [8], "estimators": ["naive", "local"]}
    done = vdbench.run(
        {**SUITE, **sizes, "checkpoints": named, "measures": measures}, tmp_path / "run"
    )
    assert not done.failed
    variances = done.results[done.results["metric"] == "variance.total"]
    assert set(variances["checkpoint"]) == {"trained", "training"}


def test_the_copy_in_docs_is_current() -> None:
    """``python -m vdbench.schema > docs/schema.json`` writes it."""
    assert json.loads(DOCS.read_text()) == schema.json_schema()
