"""Toy costs and logistic regression: exact variances against closed forms, and estimators against the exact ones."""

from __future__ import annotations

import math

import oracles
import pytest
import torch
from torch.nn import functional as F

from vdbench import problems, suite
from vdbench.errors import InputError
from vdbench.estimation.base import Estimator
from vdbench.estimation.draws import gradients, trace, vectorised
from vdbench.estimation.options import get
from vdbench.estimation.options import options as chosen
from vdbench.noise import Key, stream
from vdbench.problems.likelihoods import Bernoulli
from vdbench.problems.problem import Batch, Problem
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


# -- costs of many weights ----------------------------------------------------------------------------------------


def test_the_square_of_a_sum_has_its_closed_forms() -> None:
    """g_i = S/d with S ~ N(0, dσ²): Var(g_i) = σ²/d, Var(ε_i g_i) = σ²(d + 1)/d²; at σ = 2 the scale is ∂/∂σ."""
    d, draws = 5, 40_000
    made = problems.build("p", "toy-dimension", {"cost": "square-of-sum", "d": d})
    found = _drawn(made, draws)
    want = {"0.mean": 4 / d, "0.log_variance": 4 * (d + 1) / d**2}
    comparisons = []
    for name, truth in want.items():
        squares = (found[name] - found[name].mean(0)).square().mean(1).numpy()
        comparisons.append(oracles.compare_rows(name, squares, truth * (draws - 1) / draws, True))
    assert not oracles.alarms(comparisons), comparisons


@pytest.mark.parametrize("d", [4, 64])
def test_the_gradient_of_the_largest_falls_on_the_largest_noise(d: int) -> None:
    """As sharpness grows, Σ g_μ² is 1 and Σ g_σ² the square of the largest of d normal numbers (by quadrature)."""
    x = torch.linspace(-9, 9, 200_001, dtype=torch.float64)
    density = torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    of_largest = d * density * torch.special.ndtr(x) ** (d - 1)
    second = float(torch.trapezoid(x**2 * of_largest, x))
    made = problems.build("p", "toy-dimension", {"cost": "largest", "d": d})
    found = _drawn(made, 20_000)
    assert float(found["0.mean"].square().sum(1).mean()) == pytest.approx(1, rel=0.02)
    rows = found["0.log_variance"].square().sum(1).numpy()
    error = float(rows.std()) / 20_000**0.5
    # 5 standard errors, and 3 %: the smooth maximum differs from the sharp one where two weights are nearly equal
    assert float(rows.mean()) == pytest.approx(second, abs=5 * error + 0.03 * second), error


def _drawn(
    made: Problem, draws: int, estimator: Estimator | None = None
) -> dict[str, torch.Tensor]:
    estimator = estimator or get("naive")
    made = made.to("cpu", torch.float64)
    at, batch = made.initial(Key()), Batch(*made.data.train)
    requests = trace(estimator, made, at, batch).requests
    source = stream(Key(("draws",)), dtype=torch.float64)
    noise = {request: source(str(request), (draws, *request.shape)) for request in requests}
    drawn = vectorised(estimator, made, at, oracles.repeat(batch, draws), noise).gradients
    return {name: value.flatten(1) for name, value in drawn.items()}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cost": "larges"}, "has no cost 'larges'. Did you mean 'largest'"),
        ({"d": 1}, "d must be a number from 2"),
        ({"d": 2.5}, "d must be a number from 2"),
    ],
)
def test_options_of_the_costs_of_many_are_checked(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        problems.build("p", "toy-dimension", options)


# -- sticking the landing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("a", [0.25, 0.5, 1.0, 2.0])
def test_sticking_the_landing_has_its_closed_form(a: float) -> None:
    """Cost (w − 1)² and prior N(0, 1): the posterior is N(2/3, 1/3), λ = 3; q = N(1, a/λ), δ = 1/3, w = μ + σε.

    Along the path the gradient in μ is −λ(w − 2/3) + ε/σ, in σ that times ε. With the score it is −λ(w − 2/3), and that
    times ε plus 1/σ. Their variances are (1/σ − λσ)² and λ²σ² in μ, λ²δ² + 2(1/σ − λσ)² and λ²δ² + 2λ²σ² in σ.
    """
    rate, delta, draws = 3.0, 1 / 3, 8000
    sigma = math.sqrt(a / rate)
    spec = {"cost": "quadratic", "sigma": sigma, "prior": {"kind": "gaussian", "variance": 1.0}}
    made = problems.build("p", "toy-cost", spec)
    half = sigma**2 / 4  # of ∂/∂log σ² = ½σ·∂/∂σ, squared
    comparisons = []
    for drop, spread in ((True, (1 / sigma - rate * sigma) ** 2), (False, (rate * sigma) ** 2)):
        found = _drawn(made, draws, get("sticking-the-landing", drop_score=drop))
        scale = ((rate * delta) ** 2 + 2 * spread) * half
        for name, truth in (("0.mean", spread), ("0.log_variance", scale)):
            values = found[name].flatten().numpy()
            squares = (values - values.mean()) ** 2 * draws / (draws - 1)
            if truth < 1e-12:
                assert squares.max() < 1e-12  # σ is made in float32
            else:
                comparisons.append(oracles.compare_rows(f"{drop} {name}", squares, truth, True))
    wrong = oracles.alarms(comparisons)
    assert not wrong, "\n".join(wrong)
