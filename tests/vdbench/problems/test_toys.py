"""Toy costs and logistic regression: exact variances against closed forms, and estimators against the exact ones."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from vdbench import problems, suite
from vdbench.errors import InputError
from vdbench.estimation.draws import gradients, trace
from vdbench.estimation.options import get
from vdbench.estimation.options import options as chosen
from vdbench.noise import Key
from vdbench.problems.likelihoods import Bernoulli
from vdbench.problems.problem import Batch
from vdbench.suite import exact_variances
from vdbench.suite.exact_variances import Toy

K = (0.1, 0.5, 1.0, 3.0, 10.0)


@pytest.mark.parametrize("sigma", [0.5, 1.0])
@pytest.mark.parametrize("k", K)
def test_the_quadratic_cost_has_its_closed_forms(k: float, sigma: float) -> None:
    toy, a, s2 = Toy("quadratic", k, 1.0, sigma), 1 - k, sigma**2
    half = s2 / 4  # ∂/∂log σ² = ½σ·∂/∂σ
    wanted = {
        "naive": (4 * s2, (4 * a**2 + 8 * s2) * half),
        "score": (a**4 / s2 + 14 * a**2 + 15 * s2, (2 * a**4 / s2 + 60 * a**2 + 74 * s2) * half),
        "measure-valued": (a**2 * (16 / math.pi - 4), (4 * a**2 + 4 * s2) * half),
    }
    for name, pair in wanted.items():
        assert exact_variances.variances(name, {}, toy) == pytest.approx(pair, rel=1e-11), name


@pytest.mark.parametrize("k", [0.3, 2.0])
def test_cosines_have_their_closed_form(k: float) -> None:
    """E[sin²(kw)] = ½(1 − e^(−2k²σ²) cos 2kμ)."""
    second = 0.5 * (1 - math.exp(-2 * k**2) * math.cos(2 * k))
    mean = math.exp(-(k**2) / 2) * math.sin(k)
    found = exact_variances.pathwise(Toy("cos", k))
    assert found[0] == pytest.approx(k**2 * (second - mean**2), rel=1e-11)


@pytest.mark.parametrize("cost", ["quadratic", "exp", "cos"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("naive", {}),
        ("antithetic", {"of": "naive"}),
        ("score", {"samples": 2}),
        ("score", {"samples": 3, "baseline": "leave-one-out"}),
        ("measure-valued", {}),
    ],
    ids=str,
)
def test_estimators_have_the_exact_variance(
    cost: str, name: str, options: dict[str, object]
) -> None:
    """6,000 draws, five standard errors of a mean of squares: one false alarm in 1.7e6 comparisons of normal means."""
    estimator, count = get(name, **options), 6000
    problem = problems.build("toy", "toy-cost", {"cost": cost, "k": 0.7})
    problem = problem.to("cpu", torch.float64)
    parameters = problem.initial(Key(("toys",)))
    batch = Batch(*problem.data.train)
    keys = [Key(("toys", cost, k)) for k in range(count)]
    batches = Batch(*(t.expand(count, *t.shape) for t in batch))
    drawn = gradients(
        estimator, problem, parameters, batches, keys, trace(estimator, problem, parameters, batch)
    )
    pair = exact_variances.variances(name, chosen(estimator), Toy(cost, 0.7))
    assert pair is not None
    for role, truth in zip(("mean", "log_variance"), pair, strict=True):
        rows = drawn.gradients[f"0.{role}"].flatten()
        square = (rows - rows.mean()).square()
        found, error = float(square.mean()), float(square.std()) / math.sqrt(count)
        said = f"{role}: {found:.6g} ± {error:.2g}, exact {truth:.6g}"
        assert abs(found - truth) <= 5 * error + 1e-12, said


def test_exact_figures_are_written_out_for_every_value_and_estimator() -> None:
    made = suite.load("mohamed2020")
    known = {(p.problem, p.estimator, p.role): p.value for p in made.published}
    assert known["quadratic-3", "naive", "mean"] == pytest.approx(4)
    toys = [p.name for p in made.problems if p.factory == "toy-cost"]
    assert {key[0] for key in known} == set(toys)
    run = {name for p in made.problems if p.name in toys for name in p.estimators or ()}
    unknown = {"control-variate(naive)", "control-variate(score, kind=delta)"}  # no sum is written
    assert {key[1] for key in known} == run - unknown
    with pytest.raises(
        InputError, match=r"published: expected \{exact: toy-cost\}.* not \{'exact': 'toys'\}"
    ):
        suite.load("mohamed2020", ["published=[{exact: toys}]"])


@pytest.mark.parametrize(
    ("factory", "options", "said"),
    [
        ("toy-cost", {"cost": "cosine"}, "toy-cost has no cost 'cosine'"),
        ("toy-cost", {"k": "1"}, "toy-cost: k must be a number, not '1'"),
        ("toy-cost", {"sigma": 0}, "sigma of the posterior"),
        ("logistic-regression", {"dataset": "digits"}, "'digits' has 10 classes; logistic-regression needs"),
        ("logistic-regression", {"dataset": "breast"}, "There is no data set 'breast'"),
    ],
)  # fmt: skip
def test_bad_options_are_refused(factory: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        problems.build("mine", factory, options)


def test_the_binary_likelihood_is_a_cross_entropy() -> None:
    logits, targets = torch.tensor([[-30.0], [0.3], [2.0]]), torch.tensor([1, 0, 1])
    want = -F.binary_cross_entropy_with_logits(logits[:, 0], targets.float(), reduction="none")
    torch.testing.assert_close(Bernoulli()(logits, targets), want)


def test_logistic_regression_is_one_noisy_output() -> None:
    made = problems.build("cancer", "logistic-regression", {})
    assert [layer.weight_shape for layer in made.layers] == [(1, 30)]
    assert made.examples == 455
