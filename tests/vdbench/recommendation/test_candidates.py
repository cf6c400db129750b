"""Who takes part, on problems of every kind."""

from __future__ import annotations

import pytest
from torch import nn

import vdbench
from vdbench import problems
from vdbench.estimation.options import label
from vdbench.recommendation.candidates import Field, field_of


def of(problem: vdbench.Problem, sizes: tuple[int, ...] = (16,), **more: object) -> Field:
    return field_of(problem, vdbench.get("naive"), sizes, (1, 2), **more)  # type: ignore[arg-type]


def names(field: Field) -> set[str]:
    return {candidate.label for candidate in field.candidates}


def dense(**options: object) -> vdbench.Problem:
    return problems.build("mine", "classification", {"widths": [4], **options})


def convolution() -> vdbench.Problem:
    net = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 10)
    )
    return vdbench.noisy(net, "digits", name="conv")


def test_the_baseline_comes_first_and_only_its_objective_is_tried() -> None:
    field = of(dense(), (16, 64))
    assert (field.candidates[0].label, field.candidates[0].batch_size) == ("naive", 16)
    assert {"local", "flipout", "antithetic(local)", "samples(local, samples=2)"} <= names(field)
    assert "declares a bias" in field.left_out["moment-matching"]
    assert "has an anchor" in field.left_out["svrg(naive)"]
    assert "is fitted anew" in field.left_out["quadratic-control-variate"]
    assert "another objective" in field.left_out["deterministic"]
    assert "is not valid here" in field.left_out["arm"]
    assert not names(field) & set(field.left_out)
    for candidate in field.candidates:
        assert candidate.estimator.declaration.unbiased
    assert len(set(map(str, field.candidates))) == len(field.candidates)


def test_on_convolutions_flipout_takes_the_place_of_local() -> None:
    field = of(convolution())
    assert "flipout" in names(field)
    assert "local" not in names(field)
    assert "another objective" in field.left_out["local"]
    assert "antithetic(flipout)" in names(field)
    mixed = {name for name in names(field) if "local" in name}
    assert all(n.startswith("per-layer(") and "default=flipout" in n for n in mixed), mixed


def test_learned_masks_have_their_own_estimators() -> None:
    problem = dense(parameterization="learned-binary", prior="bernoulli")
    field = field_of(problem, vdbench.get("reinforce"), (16,), (1,))
    assert {"reinforce", "rloo", "arm", "disarm", "rebar"} <= names(field)
    assert "naive" in field.left_out
    with pytest.raises(vdbench.InputError, match="the baseline 'naive' is not valid here"):
        of(problem)


def test_what_somebody_names_is_tried_alone_or_refused() -> None:
    field = of(dense(), estimators=["local", {"name": "grouped", "options": {"groups": [2, 4]}}])
    assert names(field) == {"naive", "local", "grouped(groups=2)", "grouped"}
    with pytest.raises(vdbench.InputError, match="'local' estimates the gradient of another"):
        of(convolution(), estimators=["local"])
    with pytest.raises(vdbench.InputError, match="estimator 'locla' is unknown"):
        of(dense(), estimators=["locla"])
    with pytest.raises(vdbench.InputError, match="nothing to compare the baseline 'naive' with"):
        of(dense(), estimators=["naive"])
    with pytest.raises(vdbench.InputError, match="3 is no estimator"):
        of(dense(), estimators=[3])


def test_what_is_most_often_good_is_tried_first() -> None:
    order = [str(c) for c in of(dense(), (16, 64)).candidates]
    assert order.index("local at M = 16") < order.index("antithetic(local) at M = 16")
    assert order.index("local at M = 64") < order.index("score at M = 16")


def test_labels_are_those_of_a_suite() -> None:
    for candidate in of(dense()).candidates:
        assert candidate.label == label(candidate.estimator)


def test_a_baseline_without_noise_is_tried_at_two_sizes_and_never_averaged() -> None:
    field = field_of(dense(), vdbench.get("deterministic"), (16, 32), (1, 2))
    assert [(label(c.estimator), c.batch_size) for c in field.candidates] == [
        ("deterministic", 16),
        ("deterministic", 32),
    ]
    assert "draws no noise" in field.left_out["samples(deterministic, samples=2)"]
