"""Estimators that serve another objective on a problem: not ranked with the others, not accused, and said so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reports.document import Bullets, Table
from reports.results.groups import BIAS, Group, groups_of
from reports.results.load import load
from reports.results.ranking import order
from reports.sections.bias import bias_summary
from reports.sections.method import method_blocks
from reports.sections.summary_sentences import sentences
from reports.words.verdicts import verdict

Row = dict[str, Any]
ELBO, LOCAL = "weight-space ELBO", "elbo-local-noise"
PLACE = "digits-mlp"


@pytest.fixture
def group(
    make_run: Callable[..., Path], first_rows: list[Row], figure: Callable[..., Row]
) -> Callable[..., Group]:
    """The group of a run in which local was found to differ from the reference in the scale role."""

    def made(objectives: dict[str, str], **info: Any) -> Group:
        about = {
            "layers": ["fc1", "fc2", "fc3"],
            "shared": ["fc1", "fc2"],
            "objectives": objectives,
        }
        rows = [
            *first_rows,
            *(
                figure(label, BIAS, 0.3, 0.2, 0.4, role="scale", unit="1")
                for label in ("local", "per-example")
            ),
        ]
        folder = make_run(rows, problems={PLACE: about}, reference="naive", **info)
        return groups_of(load([folder]))[0]

    return made


SERVED = {"naive": ELBO, "per-example": ELBO, "local": LOCAL}


def test_another_objective_is_not_ranked_and_no_bias(group: Callable[..., Group]) -> None:
    found = group(SERVED)
    assert found.objective_of("local") == LOCAL
    assert (
        found.objective_of("deterministic") == "plug-in"
    )  # as declared, where the problem says nothing
    assert found.why_not_ranked("local") == "different objective; for reference only"
    assert not found.biases("local")
    assert verdict(found, "local") == "not ranked"
    assert found.why_not_ranked("per-example") == "declared unbiased, but found biased"
    assert verdict(found, "per-example") == "biased"
    assert order(found).index("naive") < order(found).index("local")
    remarks = {row[0]: row[-1] for row in bias_summary(found).rows}
    assert remarks["local"] == "different objective: a bias is expected"
    assert remarks["per-example"] == "declared unbiased; not ranked"


def test_the_same_figures_of_the_same_objective_are_a_bias(group: Callable[..., Group]) -> None:
    """The control: it is what the problem says of objectives that makes the difference."""
    found = group({"naive": ELBO, "per-example": ELBO, "local": ELBO})
    assert found.why_not_ranked("local") == "declared unbiased, but found biased"
    assert not found.local_noise()
    assert not [line for line in sentences(found) if line.lead == "Different objective"]


def test_a_baseline_of_another_objective_than_the_reference(group: Callable[..., Group]) -> None:
    """It is ranked among its like, and its difference from the reference is no bias."""
    found = group(SERVED, baseline="local")
    assert found.ranked("local")
    assert not found.biases("local")
    assert found.why_not_ranked("per-example") == "different objective; for reference only"
    remarks = {row[0]: row[-1] for row in bias_summary(found).rows}
    assert remarks["local"] == "different objective: a bias is expected"


def test_the_report_says_so(group: Callable[..., Group]) -> None:
    found = group(SERVED)
    (line,) = (line for line in sentences(found) if line.lead == "Different objective")
    assert (
        "the weights of layers fc1 and fc2 are used at several positions of each example, as in a convolution, and "
        "local draws" in line.body
    )
    assert f"that of another objective ({LOCAL} instead of {ELBO})" in line.body
    blocks = method_blocks(load_of(found), [found])
    (table,) = (b for b in blocks if isinstance(b, Table) and b.columns[0] == "estimator")
    objectives = {row[0]: row[1] for row in table.rows}
    assert objectives["local"] == f"{ELBO}; on {PLACE} {LOCAL}"
    assert objectives["naive"] == ELBO
    assert any(isinstance(block, Bullets) for block in blocks)


def load_of(group: Group) -> Any:
    """Results with the group's run alone."""
    from reports.results.load import Results

    frame = group.curves.iloc[:0]
    return Results(frame, {group.run.name: group.run})
