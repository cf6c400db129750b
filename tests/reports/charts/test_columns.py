from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reports.charts.columns import NONE, chart_data, plain
from reports.results.groups import Group, groups_of
from reports.results.load import load
from reports.sections.section import Findings


@pytest.fixture(scope="module")
def found(run_folder: Path) -> Findings:
    return Findings(load([run_folder]))


@pytest.fixture(scope="module")
def data(found: Findings) -> dict[str, Any]:
    return chart_data(found.groups, found.sweeps)


def test_every_figure_is_a_row_once(found: Findings, data: dict[str, Any]) -> None:
    rows = data["rows"]
    assert {len(column) for column in rows.values()} == {
        sum(len(group.figures) + len(group.pairs) for group in found.groups)
    }
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    assert len(text) < 90 * len(rows["value"])


def test_numbers_of_texts_lead_back(found: Findings, data: dict[str, Any]) -> None:
    rows, first = data["rows"], found.groups[0]
    for i in range(0, len(rows["value"]), 37):
        group: Group = found.groups[rows["place"][i]]
        metric = data["metric"][rows["metric"][i]]
        label, layer, role = (
            data[name][rows[key][i]]
            for name, key in (("labels", "label"), ("layer", "layer"), ("role", "role"))
        )
        against = rows["against"][i]
        if metric.startswith("pairwise."):
            e = group.pairs[metric, layer, role, label, data["labels"][against]]
        else:
            e = group.figures[label, metric, layer, role]
            assert against == (
                data["labels"].index(first.baseline) if metric.startswith("ratio.") else NONE
            )
        assert rows["value"][i] == plain(e.value)


def test_a_place_says_who_is_not_ranked_and_who_is_on_the_front(data: dict[str, Any]) -> None:
    first, labels = data["places"][0], data["labels"]
    assert {labels[i]: why for i, why in first["unranked"].items()} == {
        "deterministic": "different objective; for reference only"
    }
    assert [labels[i] for i in first["fronts"]["mean"]] == ["naive", "local"]


def test_places_that_share_a_training_share_its_curves(
    run_folder: Path, make_run: Callable[..., Path]
) -> None:
    rows = load([run_folder]).frame.drop(columns=["run", "detail"]).to_dict("records")
    rows = [row for row in rows if row["problem"] == "digits-mlp"]
    twice = [row | {"checkpoint": "later"} for row in rows if row["checkpoint"] == "initial"]
    groups = groups_of(load([make_run([*rows, *twice])]))
    found = chart_data(groups, [])
    assert [place["curves"] for place in found["places"]] == [0, 0]
    assert len(found["curves"]["step"]) == sum(row["metric"] == "convergence.elbo" for row in rows)


def test_nothing_to_draw_is_nothing() -> None:
    assert chart_data([], []) == {}
