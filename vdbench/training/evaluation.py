"""What parameters are worth: the ELBO and its terms, and prediction by mean weights and by posterior samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vdbench.datasets import Split
from vdbench.datasets.splits import NO_TEST
from vdbench.errors import InputError
from vdbench.estimation.draws import gather, minibatch
from vdbench.noise import Key, Noise, stream
from vdbench.problems.layers import Layer, Sampler
from vdbench.problems.likelihoods import Categorical
from vdbench.problems.problem import Batch, Parameters, Problem

ROWS = 1000
"""Examples in one forward pass of `predict` and `bound`, so that memory does not grow with the data set."""

PILOT = 8
"""Pairs of weight samples that decide whether pairs are taken; they are used for nothing else."""

PILOT_ROWS = 128
"""Examples that they are tried on."""

BINS = 15
"""Bins of the expected calibration error."""

Weights = Mapping[str, Tensor]
"""One weight a noisy layer, by the layer's name."""


@dataclass(frozen=True)
class Evaluation:
    """What parameters are worth, estimated with the same weight samples for every estimator.

    Attributes:
        elbo: Evidence lower bound of the training set, nats.
        nll: −log posterior predictive of the test set, nats an example; NaN without a test split.
        error: Share of the test set misclassified by the posterior predictive, percent; NaN for a regression, and
            without a test split.
        pairs: Whether the weight samples were antithetic pairs.
    """

    elbo: float
    nll: float
    error: float
    pairs: bool = False


def evaluate(
    problem: Problem, parameters: Parameters, key: Key, samples: int, examples: int | None = None
) -> Evaluation:
    """Evaluate with weight samples shared by all who use the same key, in antithetic pairs ±ε where those are better.

    Args:
        problem: Model and data.
        parameters: Where.
        key: Address of the weight samples.
        samples: S, even.
        examples: Training examples that the ELBO is estimated from, drawn below ``key``; default all.
    """
    train = Batch(*problem.data.train)
    if examples is not None and examples < problem.examples:
        train = gather(problem, minibatch(problem, examples, key / "evaluation" / "examples"))
    test = Batch(*problem.data.test)
    batches = (train, test) if problem.data.has_test else (train,)
    with torch.no_grad():
        pairs = pairs_are_better(problem, parameters, key, Split(*train))
        outputs = [_outputs(problem, parameters, key, s, batches, pairs) for s in range(samples)]
        fit = torch.stack([problem.likelihood(a, train.targets) for a, *_ in outputs])
        elbo = problem.examples * fit.mean() - problem.kl(parameters)
        if not problem.data.has_test:
            return Evaluation(float(elbo), float("nan"), float("nan"), pairs)
        each = torch.stack([problem.likelihood(b, test.targets) for _, b in outputs])
        predictive = torch.logsumexp(each, 0) - np.log(samples)
        error = float("nan")
        if isinstance(problem.likelihood, Categorical):
            mean = torch.stack([b.softmax(-1) for _, b in outputs]).mean(0)
            error = 100 * float((mean.argmax(-1) != test.targets).double().mean())
    return Evaluation(float(elbo), float(-predictive.mean()), error, pairs)


def _outputs(
    problem: Problem,
    parameters: Parameters,
    key: Key,
    sample: int,
    batches: tuple[Batch, ...],
    pairs: bool,
) -> tuple[Tensor, ...]:
    use = fixed(sampled_weights(problem, parameters, key, sample, pairs))
    return tuple(problem.outputs(use, batch.inputs, parameters) for batch in batches)


# -- weights --------------------------------------------------------------------------------------------------


def pairs_are_better(
    problem: Problem, parameters: Parameters, key: Key, split: Split, rows: int = ROWS
) -> bool:
    """Whether the mean log-likelihood is less noisy in antithetic pairs ±ε than in independent samples, here.

    The mean of a pair has the variance (1 + ρ)/2 of one sample's, that of two independent samples ½: pairs are better
    where ρ < 0, as in networks that are nearly linear in their weights. Trained ones have ρ from 0 to 0.6. ρ is that
    of `PILOT` pairs on the first examples; both kinds of samples have the same mean, whatever is chosen.

    Args:
        problem: Model and data.
        parameters: Where.
        key: Address of the weight samples; the pilot's are others.
        split: Examples of the evaluation.
        rows: Examples in one forward pass.

    Returns:
        False for binary noise, which has no pairs.
    """
    if problem.parameterization.law == "binary":
        return False
    few = Split(split.inputs[:PILOT_ROWS], split.targets[:PILOT_ROWS])
    with torch.no_grad():
        found = [
            float(_forward(problem, parameters, weights, few, rows, False)[0].mean())
            for weights in samples_of(problem, parameters, key / "pilot", 2 * PILOT)
        ]
    both = np.array(found).reshape(PILOT, 2) - np.mean(found)
    return bool((both[:, 0] * both[:, 1]).sum() < 0)


def sampled_weights(
    problem: Problem, parameters: Parameters, key: Key, sample: int, pairs: bool = True
) -> dict[str, Tensor]:
    """Weights drawn from the posterior.

    Args:
        problem: Model.
        parameters: Where.
        key: Address of the samples.
        sample: Number of the sample.
        pairs: Whether samples 2k and 2k + 1 are the antithetic pair ±ε; binary noise has none.
    """
    pair, sign = (sample // 2, 1 - 2 * (sample % 2)) if pairs else (sample, 1)
    own = key / "evaluation" / pair
    if problem.parameterization.law == "binary":  # not symmetric: there is no −ε of the same law
        own, sign = key / "evaluation" / "sample" / sample, 1
    noise: Noise = stream(own, problem.device, problem.dtype)
    weights = {}
    for layer in problem.layers:
        q = problem.posterior(layer, parameters)
        weights[layer.name] = q.weights(sign * q.draw(noise, layer.name))
    return weights


def mean_weights(problem: Problem, parameters: Parameters) -> dict[str, Tensor]:
    """The means of the posterior, as test-time dropout uses them."""
    return {x.name: problem.posterior(x, parameters).mean for x in problem.layers}


def samples_of(
    problem: Problem, parameters: Parameters, key: Key, count: int, pairs: bool = True
) -> Iterator[dict[str, Tensor]]:
    """So many `sampled_weights`, one held at a time."""
    return (sampled_weights(problem, parameters, key, s, pairs) for s in range(count))


def fixed(weights: Weights) -> Sampler:
    """A sampler that uses given weights."""

    def sampler(layer: Layer, x: Tensor) -> Tensor:
        return layer.linear(x, weights[layer.name])

    return sampler


# -- prediction -----------------------------------------------------------------------------------------------


class Prediction(NamedTuple):
    """How well a predictive distribution does on some examples.

    Attributes:
        error: Share misclassified, percent; NaN for a regression.
        nll: −log predictive density, nats an example.
        ece: Expected calibration error, percent (`calibration_error`); NaN for a regression.
    """

    error: float
    nll: float
    ece: float


def predict(
    problem: Problem,
    parameters: Parameters,
    weights: Iterable[Weights],
    split: Split,
    rows: int = ROWS,
) -> Prediction:
    """Judge the mean of the predictive distributions under one or more weights.

    Args:
        problem: Model and likelihood.
        parameters: What the noisy weights are not part of is taken from here.
        weights: One for `mean_weights`, several for posterior samples; gone through once.
        split: Examples to be predicted.
        rows: Examples in one forward pass: memory holds their activations, and (N, classes) probabilities.

    Raises:
        InputError: There are no examples to be predicted, as where the data set has no test split.
    """
    if not len(split.targets):
        raise InputError(
            f"problem '{problem.name}': there are no examples to predict{_no_test(problem)}; "
            "expected a split with one example or more."
        )
    classifies = isinstance(problem.likelihood, Categorical)
    likelihoods: Tensor | None = None
    shares: Tensor | None = None
    count = 0
    with torch.no_grad():
        for weight in weights:
            each, probabilities = _forward(problem, parameters, weight, split, rows, classifies)
            likelihoods = each if likelihoods is None else torch.logaddexp(likelihoods, each)
            shares = probabilities if shares is None else shares + probabilities
            count += 1
        assert likelihoods is not None
        assert shares is not None
        nll = float(np.log(count) - likelihoods.mean())
        if not classifies:
            return Prediction(float("nan"), nll, float("nan"))
        mean = shares / count
        wrong = mean.argmax(-1) != split.targets
        return Prediction(
            100 * float(wrong.double().mean()), nll, calibration_error(mean, split.targets)
        )


def _no_test(problem: Problem) -> str:
    return "" if problem.data.has_test else f", as {NO_TEST}"


def _forward(
    problem: Problem,
    parameters: Parameters,
    weights: Weights,
    split: Split,
    rows: int,
    classifies: bool,
) -> tuple[Tensor, Tensor]:
    """Log-likelihoods (N,) and class probabilities (N, C) under one weight, in float64."""
    likelihoods, probabilities = [], []
    for x, y in zip(torch.split(split.inputs, rows), torch.split(split.targets, rows), strict=True):
        outputs = problem.outputs(fixed(weights), x, parameters).double()
        targets = y.double() if y.is_floating_point() else y
        likelihoods.append(problem.likelihood(outputs, targets))
        probabilities.append(outputs.softmax(-1) if classifies else outputs.new_zeros(len(x), 0))
    return torch.cat(likelihoods), torch.cat(probabilities)


def calibration_error(probabilities: Tensor, targets: Tensor, bins: int = BINS) -> float:
    """Expected calibration error, percent (Guo, Pleiss, Sun & Weinberger 2017, *On calibration of modern networks*).

    The confidence of an example is the largest of its class probabilities. Examples fall into bins of equal width by
    confidence, ((b−1)/B, b/B] for b = 1 … B; with n_b of the N examples in bin b,

        ECE = Σ_b n_b/N · |accuracy_b − mean confidence_b|.

    Args:
        probabilities: (N, C), rows that sum to 1.
        targets: Class numbers (N,).
        bins: B.
    """
    confidence, chosen = probabilities.double().max(-1)
    right = (chosen == targets).double()
    place = (torch.ceil(confidence * bins).long() - 1).clamp(0, bins - 1)
    # n_b · |accuracy − confidence| is the size of the summed differences
    gaps = torch.zeros(bins, dtype=torch.float64, device=place.device)
    gaps.index_add_(0, place, right - confidence)
    return 100 * float(gaps.abs().sum() / len(targets))


# -- the bound ------------------------------------------------------------------------------------------------


class Bound(NamedTuple):
    """The ELBO and its two terms, of the whole training set, in nats; the KL without any weight.

    Attributes:
        elbo: The bound.
        log_likelihood: The expected log-likelihood.
        kl: The KL.
        pairs: Whether the weight samples were antithetic pairs.
    """

    elbo: float
    log_likelihood: float
    kl: float
    pairs: bool


def bound(
    problem: Problem,
    parameters: Parameters,
    key: Key,
    samples: int,
    examples: int | None = None,
    rows: int = ROWS,
) -> Bound:
    """Estimate the ELBO as `evaluate` does, in batches.

    Args:
        problem: Model and data.
        parameters: Where.
        key: Address of the weight samples and of the examples.
        samples: S.
        examples: Training examples that the expected log-likelihood is estimated from; None for all.
        rows: Examples in one forward pass.
    """
    split = problem.data.train
    if examples is not None and examples < problem.examples:
        split = Split(
            *gather(problem, minibatch(problem, examples, key / "evaluation" / "examples"))
        )
    total = 0.0
    with torch.no_grad():
        pairs = pairs_are_better(problem, parameters, key, split, rows)
        for weights in samples_of(problem, parameters, key, samples, pairs):
            each, _ = _forward(problem, parameters, weights, split, rows, False)
            total += float(each.mean())
        kl = float(problem.kl(parameters))
    fit = problem.examples * total / samples
    return Bound(fit - kl, fit, kl, pairs)
