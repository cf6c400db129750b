"""Prediction by mean weights and by samples, calibration, the bound in batches: against hand-made cases."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vdbench import problems
from vdbench.datasets import Dataset, Split
from vdbench.noise import Key, stream
from vdbench.problems.from_module import noisy
from vdbench.problems.gaussian import MeanLogVariance, ThetaLogAlpha
from vdbench.problems.likelihoods import Categorical, GaussianNoise
from vdbench.problems.problem import Problem
from vdbench.training.evaluation import (
    PILOT,
    bound,
    calibration_error,
    evaluate,
    fixed,
    mean_weights,
    pairs_are_better,
    predict,
    sampled_weights,
    samples_of,
)

KEY = Key(("tests", "evaluation"))


def classifier(sigma: float = 0.4) -> Problem:
    noise = stream(KEY, dtype=torch.float64)

    def split(name: str) -> Split:
        return Split(noise(name, (41, 4)), (noise(name, (41,), "uniform") * 3).long())

    data = Dataset("synthetic", split("train"), split("test"), 3)
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    return noisy(module, data, parameterization=MeanLogVariance(sigma), keep_weights=False)


def test_calibration_error_by_hand() -> None:
    """Bins of a third: two examples at 0.5 (one right), one at 0.9 (wrong), one at 1 (right)."""
    probabilities = torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.2, 0.3], [0.9, 0.1, 0.0], [1.0, 0, 0]])
    targets = torch.tensor([0, 1, 1, 0])
    # (1/3, 2/3]: |1/2 − 1/2| = 0; (2/3, 1]: |1/2 − 0.95| = 0.45 for half of the examples
    assert calibration_error(probabilities, targets, 3) == pytest.approx(22.5, abs=1e-4)
    # in 15 bins the last two part: |0 − 0.9| and |1 − 1|
    assert calibration_error(probabilities, targets) == pytest.approx(22.5, abs=1e-4)
    wrong = torch.tensor([0, 0, 1, 1])  # both at 0.5 right, both above wrong
    assert calibration_error(probabilities, wrong) == pytest.approx(
        100 * (2 * 0.5 + 0.9 + 1) / 4, abs=1e-4
    )


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    """((b−1)/B, b/B]: 0.5 with B = 2 is in the first bin, so that two errors of opposite sign do not cancel."""
    probabilities = torch.tensor([[0.5, 0.5], [0.75, 0.25]])
    # first bin: right, 1 − 0.5; second: wrong, 0 − 0.75
    assert calibration_error(probabilities, torch.tensor([0, 1]), 2) == pytest.approx(62.5)


def test_a_calibrated_model_has_no_calibration_error_on_average() -> None:
    """Targets drawn from the very probabilities: ECE is of the order 1/√n, and the error 100·(1 − mean confidence)."""
    noise = stream(KEY / "calibrated", dtype=torch.float64)
    share = 0.5 + 0.5 * noise("share", (40000,), "uniform")
    targets = (noise("target", (40000,), "uniform") > share).long()
    # Σ_b √(n_b p(1−p))·√(2/π)/n ≤ 15·0.5·√(40000/15)·0.8/40000 = 0.8 %; three times that is far out
    found = calibration_error(torch.stack([share, 1 - share], 1), targets)
    assert 0 < found < 2.4
    # overconfident by 0.1 everywhere below 0.9
    sharp = (share + 0.1).clamp_max(1)
    off = calibration_error(torch.stack([sharp, 1 - sharp], 1), targets)
    assert off == pytest.approx(100 * float((sharp - share).mean()), abs=2.4)


def logits(problem: Problem, weights: dict[str, Tensor], parameters: dict[str, Tensor]) -> Tensor:
    x = problem.data.test.inputs
    hidden = (x @ weights["0"].T + parameters["0.bias"]).relu()
    return hidden @ weights["2"].T + parameters["2.bias"]


@pytest.mark.parametrize("rows", [1000, 41, 7, 1])
def test_prediction_by_hand_in_batches_of_any_size(rows: int) -> None:
    problem = classifier()
    parameters, test = problem.initial(KEY), problem.data.test
    each = [sampled_weights(problem, parameters, KEY, s) for s in range(4)]
    shares = torch.stack([logits(problem, w, parameters).softmax(-1) for w in each]).mean(0)
    found = predict(problem, parameters, samples_of(problem, parameters, KEY, 4), test, rows)
    right = shares[torch.arange(41), test.targets]
    assert found.nll == pytest.approx(float(-right.log().mean()), rel=1e-12)
    assert found.error == pytest.approx(
        100 * float((shares.argmax(-1) != test.targets).double().mean())
    )
    assert found.ece == pytest.approx(calibration_error(shares, test.targets))
    one = predict(problem, parameters, [mean_weights(problem, parameters)], test, rows)
    means = {name: parameters[f"{name}.mean"] for name in ("0", "2")}
    plain = logits(problem, means, parameters)
    assert one.nll == pytest.approx(float(-Categorical()(plain, test.targets).mean()), rel=1e-12)
    assert one.nll != found.nll


def test_samples_are_antithetic_pairs_about_the_mean() -> None:
    problem = classifier()
    parameters = problem.initial(KEY)
    mean = mean_weights(problem, parameters)
    plus, minus, other = (sampled_weights(problem, parameters, KEY, s) for s in range(3))
    for name, value in mean.items():
        assert torch.allclose(plus[name] + minus[name], 2 * value, atol=1e-12)
        assert not torch.allclose(other[name], plus[name])


def test_independent_samples_begin_the_pairs() -> None:
    """So that who takes pairs and who does not share half of their noise."""
    problem = classifier()
    parameters = problem.initial(KEY)
    alone = list(samples_of(problem, parameters, KEY, 3, pairs=False))
    plus = [sampled_weights(problem, parameters, KEY, 2 * s) for s in range(3)]
    for one, other in zip(alone, plus, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def line(off: float) -> Problem:
    """A regression on its own prediction, off by as much as is given: log-likelihood −(ε·x − off)²/2 and a constant."""
    x = torch.tensor([[1.0], [1.0]], dtype=torch.float64)
    data = Dataset("line", Split(x, 2 * x + off), Split(x, 2 * x + off), 1)
    module = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        module.weight.fill_(2.0)
    return noisy(
        module, data, likelihood=GaussianNoise(1.0), parameterization=MeanLogVariance(sigma=0.3)
    )


def test_pairs_are_taken_where_they_are_less_noisy() -> None:
    """ρ = (Var q − Var l)/(Var q + Var l), with l = off·ε odd and q = ε²/2 even: −1 far off, 1 at the prediction."""
    for off, better in ((100.0, True), (0.0, False)):
        problem = line(off)
        assert pairs_are_better(problem, problem.start, KEY, problem.data.train) is better
        found = evaluate(problem, problem.start, KEY, 4)
        weights = list(samples_of(problem, problem.start, KEY, 4, better))
        assert found.pairs is better
        assert found.nll == predict(problem, problem.start, weights, problem.data.test).nll
        assert bound(problem, problem.start, KEY, 4).pairs is better


def test_the_choice_is_as_good_as_the_better_of_both() -> None:
    """Variance of the mean log-likelihood of two samples over 400 keys, each with a pilot of its own.

    Wrong choices may cost a tenth. Limits are four standard errors of what is compared: 1e-4 of false alarms.
    """
    problem = classifier(1.0)
    parameters, split = problem.initial(KEY), problem.data.train
    found: dict[str, list[float]] = {"pairs": [], "alone": [], "chosen": []}
    for k in range(400):
        both = {}
        for name, pairs in (("pairs", True), ("alone", False)):
            weights = samples_of(problem, parameters, KEY / k, 2, pairs)
            both[name] = float(np.mean([fit(problem, parameters, w) for w in weights]))
            found[name].append(both[name])
        chosen = pairs_are_better(problem, parameters, KEY / k, split)
        found["chosen"].append(both["pairs" if chosen else "alone"])
    squares = {name: (np.array(v) - np.mean(v)) ** 2 for name, v in found.items()}
    best = min(squares["pairs"], squares["alone"], key=lambda s: float(s.mean()))
    worse = squares["chosen"] - 1.1 * best
    told = {name: float(s.mean()) for name, s in squares.items()}
    assert worse.mean() < 4 * worse.std() / 20, told
    for name in ("pairs", "alone"):
        gap = np.array(found["chosen"]) - found[name]
        assert abs(gap.mean()) < 4 * gap.std() / 20 + 1e-12, (name, gap.mean(), gap.std() / 20)


def fit(problem: Problem, parameters: dict[str, Tensor], weights: dict[str, Tensor]) -> float:
    """Mean log-likelihood of the training set under one weight."""
    with torch.no_grad():
        outputs = problem.outputs(fixed(weights), problem.data.train.inputs, parameters)
        return float(problem.likelihood(outputs, problem.data.train.targets).mean())


def test_some_examples_estimate_the_bound_with_the_error_of_a_sample() -> None:
    """Without replacement: mean N·ℓ̄, variance N²(1 − n/N)S²/n over keys, S² of the log-likelihoods one by one.

    The weights have next to no noise, so that nothing else varies. 300 keys: mean and variance are tested at 4 standard
    errors each, a false alarm in 8,000 runs; that of the variance allows for a kurtosis of 6.
    """
    problem = problems.build("toy", "classification", {"dataset": "digits", "widths": []})
    parameters = dict(problem.initial(KEY))
    parameters = {
        n: torch.full_like(v, -60.0) if n.endswith("log_variance") else v
        for n, v in parameters.items()
    }
    (layer,) = problem.layers
    train, count, keys = problem.data.train, 40, 300
    logits = train.inputs @ parameters[f"{layer.name}.mean"].T + parameters[f"{layer.name}.bias"]
    each = -torch.nn.functional.cross_entropy(logits, train.targets, reduction="none").double()
    whole = problem.examples * float(each.mean())
    variance = problem.examples**2 * (1 - count / problem.examples) * float(each.var()) / count
    found = np.array(
        [bound(problem, parameters, KEY / k, 2, count).log_likelihood for k in range(keys)]
    )
    error = math.sqrt(variance / keys)
    assert abs(found.mean() - whole) < 4 * error, (found.mean(), whole, error)
    ratio, room = found.var(ddof=1) / variance, 4 * math.sqrt(5 / keys)
    assert abs(ratio - 1) < room, (ratio, room)


@pytest.mark.parametrize("examples", [None, 13])
def test_bound_and_prediction_are_evaluate_in_batches(examples: int | None) -> None:
    problem = classifier()
    parameters = problem.initial(KEY)
    whole = evaluate(problem, parameters, KEY, 6, examples)
    found = bound(problem, parameters, KEY, 6, examples, rows=5)
    assert found.elbo == pytest.approx(whole.elbo, rel=1e-12)
    assert found.elbo == pytest.approx(found.log_likelihood - found.kl, rel=1e-12)
    assert found.kl == pytest.approx(float(problem.kl(parameters)), rel=1e-12)
    draws = samples_of(problem, parameters, KEY, 6, whole.pairs)
    assert found.pairs == whole.pairs
    test = predict(problem, parameters, draws, problem.data.test, rows=5)
    assert test.nll == pytest.approx(whole.nll, rel=1e-12)
    assert test.error == pytest.approx(whole.error, rel=1e-12)


def test_a_regression_has_a_density_and_no_error() -> None:
    x = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    data = Dataset("line", Split(x, x), Split(x, 3 * x), 1)
    module = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        module.weight.fill_(2.0)
    problem = noisy(module, data, likelihood=GaussianNoise(0.5))
    found = predict(
        problem, problem.start, [mean_weights(problem, problem.start)], problem.data.test
    )
    # residuals −1 and −2
    expected = 0.5 * math.log(2 * math.pi * 0.5) + 0.5 * np.mean([1 / 0.5, 4 / 0.5])
    assert found.nll == pytest.approx(expected)
    assert math.isnan(found.error)
    assert math.isnan(found.ece)


def test_memory_holds_one_batch_at_a_time() -> None:
    """No forward pass sees more than its rows."""
    seen: list[int] = []

    class Counts(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(len(x))
            return x

    problem = classifier()
    counted = noisy(
        nn.Sequential(Counts(), nn.Linear(4, 3)).double(), problem.data, keep_weights=True
    )
    seen.clear()
    parameters = dict(counted.start)
    predict(counted, parameters, samples_of(counted, parameters, KEY, 2), problem.data.test, 9)
    bound(counted, parameters, KEY, 2, rows=9)
    assert max(seen) == 9
    assert sum(seen) == (4 + 2 * PILOT) * 41


def test_other_coordinates_have_their_own_mean() -> None:
    problem = replace(classifier(), parameterization=ThetaLogAlpha(0.3))
    start = problem.initial(KEY)
    assert torch.equal(mean_weights(problem, start)["0"], start["0.theta"])
