from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reports.output.paper_tables import LONGEST, paper_tables, write_tex
from reports.results.groups import groups_of
from reports.results.load import load
from reports.results.sweeps import sweeps_of

FEW = "noise from 8 of 128 examples, scaled; data part and mean from local"
PUBLISHED = [
    {"source": "Somebody & Co. 2015", "metric": "variance.total", "estimator": x, "value": v,
     "layer": "fc1", "role": "mean", "checkpoint": "initial", "verified": True}
    for x, v in (("local", 10.0), ("naive", 50.0), ("deterministic", 4.0))
]  # fmt: skip


@pytest.fixture(scope="module")
def written(
    first_rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """The tables of a run of one place, with published figures and a scaled noise part, by stem."""
    rows = [
        row | {"message": FEW}
        if row["label"] == "per-example" and row["metric"].startswith("variance.")
        else row
        for row in first_rows
    ]
    folder = run(tmp_path_factory.mktemp("paper"), rows)
    results = load([folder])
    groups = groups_of(results)
    write_tex(groups, sweeps_of(results, groups), folder / "tables")
    return {path.stem: path.read_text("utf-8") for path in (folder / "tables").glob("*.tex")}


def run(folder: Path, rows: list[dict[str, Any]]) -> Path:
    import json

    import pandas as pd

    labels = dict.fromkeys(row["label"] for row in rows)
    known = {"objective": "elbo", "unbiased": True}
    info = {
        "schema": 1, "baseline": "naive", "level": 0.95, "threads": 2,
        "suite": {"name": "quick", "objective": "likelihood", "published": PUBLISHED},
        "environment": {"device": {"name": "Some CPU"}, "torch": {"version": "2.13"}},
        "estimators": {x: known | ({"objective": "none"} if x == "deterministic" else {})
                       for x in labels},
        "problems": {"digits-mlp": {"parameterization": "theta-log_alpha",
                                    "layers": ["fc1", "fc2", "fc3"]}},
    }  # fmt: skip
    pd.DataFrame(rows).to_parquet(folder / "results.parquet")
    (folder / "run.json").write_text(json.dumps(info), encoding="utf-8")
    return folder


def test_there_is_a_table_for_each_thing_that_a_paper_prints(written: dict[str, str]) -> None:
    roles = ("mean", "scale", "layer-bias")
    expected = {f"{kind}-{role}" for kind in ("variance", "ratio") for role in roles}
    published = {"published", "published-ratios", "published-verdicts"}
    assert set(written) == expected | {"cost"} | published


def test_each_is_one_float_with_even_rows(written: dict[str, str]) -> None:
    for name, text in written.items():
        assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 1, name
        plain = re.sub(r"\\begin\{tabular\}\[.\].*?\\end\{tabular\}", "", text)
        spec = re.search(r"\\begin\{tabular\}\{@\{\}(\w+)@\{\}\}", plain)
        assert spec, name
        rows = [line for line in plain.splitlines() if line.endswith(r" \\")]
        assert len(rows) > 1, name
        assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(spec[1]) - 1}, name
        assert [text.count(f"\\{rule}rule") for rule in ("top", "mid", "bottom")] == [1, 1, 1], name


def test_labels_are_unique_and_name_the_suite(written: dict[str, str]) -> None:
    labels = [re.findall(r"\\label\{(.*?)\}", text) for text in written.values()]
    assert all(len(found) == 1 for found in labels)
    assert len({found[0] for found in labels}) == len(written)
    assert all(found[0].startswith("tab:quick-") for found in labels)


def test_captions_stand_by_themselves(written: dict[str, str]) -> None:
    said = written["variance-mean"]
    for words in (r"95\,\% intervals", "n = 400 units", "minibatches of 128", "checkpoint initial",
                  r"coordinates ($\theta $, log $\alpha $)", "N/M-scaled log-likelihood"):  # fmt: skip
        assert words in said
    assert "Machine" not in said  # a variance does not depend on it
    assert "Machine: Some CPU, 2 threads, torch 2.13." in written["cost"]
    assert "relative to that of naive, paired" in written["ratio-mean"]
    assert r"Somebody \& Co. 2015" in written["published"]


def test_who_is_not_ranked_and_what_was_scaled_is_said_below(written: dict[str, str]) -> None:
    said = written["variance-mean"]
    assert said.count(r"per-example$^\ddagger $") == 4  # a row a layer, and all of them
    assert (
        r"$^\ddagger $ per-example: noise measured on 8 of 128 examples of each minibatch" in said
    )
    assert "deterministic: different objective; for reference only." in said
    assert r"$^\ddagger $" not in written["cost"]


def test_times_of_a_paper_have_one_unit(written: dict[str, str]) -> None:
    assert r"time per gradient \\ (ms)" in written["cost"]
    assert "31.0 [30.1, 31.9]" in written["cost"]
    assert "0.620 [0.601, 0.639]" in written["cost"]


def test_tables_of_several_places_have_their_names(run_folder: Path) -> None:
    results = load([run_folder])
    stems = [item.stem for item in paper_tables(groups_of(results), [])]
    assert "variance-mean-digits-mlp-checkpoint-initial-batch-128" in stems
    assert "cost-breast-cancer-mlp-checkpoint-local-5-epochs-batch-64" in stems
    assert len(stems) == len(set(stems))
    assert not any("." in stem for stem in stems)


def test_long_tables_are_cut(
    first_rows: list[dict[str, Any]], make_run: Callable[..., Path]
) -> None:
    rows = [row for row in first_rows if row["metric"] == "variance.total"]
    rows = [row for row in rows if row["role"] == "mean" and row["label"] == "local"]
    rows = [rows[0] | {"layer": f"layer{i}"} for i in range(LONGEST + 5)]
    groups = groups_of(load([make_run(rows, baseline="local")]))
    found = {item.stem: item.table for item in paper_tables(groups, [])}
    assert set(found) == {"variance-mean-1", "variance-mean-2"}
    assert [len(table.rows) for table in found.values()] == [LONGEST, 5]
    assert found["variance-mean-2"].caption.endswith("(Part 2.)")
