"""How many draws a problem takes, predicted from a textbook estimator, so that one that takes few can be chosen.

The estimator that is checked draws nothing for it: what it gets wrong cannot lead to problems where that does not show.
Where no gradient passes through a draw, or the estimator that is checked makes much noise, the textbook's is the score
function of two samples, each with the other's cost for a baseline: problems on which it needs few draws are those on
which other score functions, and estimators made of them, need few.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vdbench.certificate.planning import needed_of
from vdbench.certificate.reference_problems import Stage, served
from vdbench.certificate.sampling import Draws, Subject
from vdbench.certificate.stages.sampled import textbook
from vdbench.certificate.two_looks import Rows
from vdbench.estimation import draws
from vdbench.estimation.autodiff import differentiate
from vdbench.estimation.base import Declaration, Estimator, Gradient
from vdbench.estimation.binary_masks import Masked, MaskEstimator, kept, score
from vdbench.noise import Key, Noise, draw
from vdbench.problems.layers import Layer
from vdbench.problems.problem import Batch, Parameters, Problem

PILOT, SCORES = 512, 1024
"""Draws that judge a problem, of weight sampling and of a score function."""

NOISY, TRIED, TRIALS = 3.0, "rectified", 2048
"""How many times the textbook's draws an estimator of much noise needs; where, and in how many, that is seen."""


def noisy(subject: Subject) -> bool:
    """Whether problems are to be those on which a score function takes few draws.

    They are for an estimator of independent normal weights that claims no bias, and needs many times the draws that
    weight sampling needs. That is seen on a fixed problem, in draws that are used for nothing else; the problems that
    are drawn have no part in it, so that none is chosen because the estimator does well there.
    """
    estimator = subject.estimator
    declared = estimator.declaration
    if declared.posteriors != "independent-normal" or not (declared.unbiased and declared.pure):
        return False
    at = subject.placed(TRIED)
    truth = at.truth(served(estimator, at))
    if truth is None or estimator.passes_each_weight:
        return False
    exact = {name: g.flatten().cpu().numpy() for name, g in truth.items()}
    key = subject.key / "noisy"
    usual = needed_of(at, textbook(at, "elbo", key / "textbook", TRIALS), exact)
    try:
        drawn = subject.on(at)
        with np.errstate(all="ignore"):
            return not drawn.alone and _wanted(drawn, key, exact) > NOISY * usual
    except Exception:  # the checks report what it raises
        return False


def _wanted(drawn: Draws, key: Key, exact: dict[str, Rows]) -> float:
    return needed_of(drawn.stage, drawn.many(key / "draws", TRIALS), exact)


def of_paths(stage: Stage, key: Key) -> float:
    """Draws with which textbook weight sampling shows a bias of `SEEN` in every layer and role, roughly."""
    return needed_of(stage, textbook(stage, "elbo", key, PILOT))


def of_scores(stage: Stage, key: Key) -> float:
    """The same of a textbook score function of two samples."""
    masks = stage.problem.parameterization.learned_law
    estimator: Estimator = OfMasks() if masks else OfWeights()
    rows = _rows(estimator, stage, key / "scores")
    truth = stage.truth("elbo")
    exact = None if truth is None else {n: g.flatten().numpy() for n, g in truth.items()}
    if exact is None:
        paths = textbook(stage, "elbo", key / "paths", PILOT)
        exact = {name: part.mean(0) for name, part in paths.items()}
    return needed_of(stage, rows, exact)


def _rows(estimator: Estimator, at: Stage, key: Key) -> dict[str, Rows]:
    where = (estimator, at.problem, at.parameters)
    requests = draws.trace(*where, at.batch, ()).requests
    like = next(iter(at.parameters.values()))
    noise = {r: draw(key, r, like.new_empty((SCORES, *r.shape))) for r in requests}
    batches = Batch(*(t.expand(SCORES, *t.shape) for t in at.batch))
    found = draws.vectorised(*where, batches, noise)
    return {n: g.detach().flatten(1).double().cpu().numpy() for n, g in found.gradients.items()}


class OfMasks(MaskEstimator):
    """½(f − f′)(s − s′) for each example, of two samples of its masks, s the score of each."""

    declared = Declaration(
        "textbook of masks", "elbo", True, ("uniform",), True, "1", posteriors="learned-binary"
    )

    def surrogate(self, network: Masked, noise: Noise) -> tuple[Tensor, Tensor]:
        """Of two samples of each example's masks."""
        masks = [network.each(kept, network.uniforms(noise.at("sample", s))) for s in range(2)]
        one, other = (network.costs(drawn) for drawn in masks)
        scores = [network.each(score, drawn) for drawn in masks]
        apart = {n: scores[0][n] - scores[1][n] for n in scores[0]}
        value = (one + other).sum() / 2
        return network.slope((one - other) / 2, apart) + value, value


class OfWeights(Estimator):
    """½(f − f′)(s − s′) of two samples of independent normal weights, s the gradient of the log-density of each."""

    declared = Declaration("textbook of weights", "elbo", True, ("normal",), False, "1")

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """One draw."""

        def target(free: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            at = {**parameters, **free}
            both = [_sampled(problem, at, batch, noise.at("sample", s)) for s in range(2)]
            (one, density), (other, density_too) = both
            value = (one + other) / 2
            slope = (one - other).detach() / 2 * (density - density_too)
            return slope + value, value

        return Gradient(*differentiate(target, problem.free(parameters)))


def _sampled(problem: Problem, at: Parameters, batch: Batch, noise: Noise) -> tuple[Tensor, Tensor]:
    """The log-likelihood under a sample of the weights, and the sample's log-density; the sample is a constant."""
    weights, densities = {}, []
    for layer in problem.layers:
        q = problem.posterior(layer, at)
        weight = (q.mean + q.scale * noise(layer.name, q.mean.shape)).detach()
        weights[layer.name] = weight
        standard = (weight - q.mean) / q.scale
        densities.append(-(standard.square() / 2 + q.scale.abs().log()).sum())

    def sampler(layer: Layer, x: Tensor) -> Tensor:
        return layer.linear(x, weights[layer.name])

    cost = problem.scale(batch) * problem.log_likelihood(sampler, batch, at).sum()
    return cost, torch.stack(densities).sum()


def size(stage: Stage) -> int:
    """Numbers that one draw holds, roughly: activations of every layer, and parameters."""
    uses = stage.problem.uses.values()
    held = len(stage.batch.inputs) * sum(use.inputs + use.outputs for use in uses)
    return held + sum(math.prod(value.shape) for value in stage.parameters.values())
