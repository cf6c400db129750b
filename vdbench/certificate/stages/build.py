"""A drawn problem, made: its numbers, the scale of its targets, and its exact gradients.

Targets lie about as far from the mean prediction as the noise moves it. So the gradient in means and in scales are
both as large as their noise, however small or large the noise is, and as few draws as can be show a bias.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from vdbench.certificate import exact_gradients
from vdbench.certificate.exact_gradients import Truth
from vdbench.certificate.reference_problems import Stage
from vdbench.certificate.stages import moments, predicted, recipes
from vdbench.certificate.stages.recipes import Recipe
from vdbench.certificate.stages.sampled import outputs
from vdbench.certificate.stages.softmax import expected_log_likelihood
from vdbench.certificate.toy_networks import small
from vdbench.datasets import Dataset, Split
from vdbench.estimation.autodiff import differentiate
from vdbench.estimation.draws import gather
from vdbench.noise import Key, stream
from vdbench.problems.from_module import ours
from vdbench.problems.likelihoods import Categorical, GaussianNoise
from vdbench.problems.parameterization import Parameterization
from vdbench.problems.priors import GaussianPrior, NoPrior
from vdbench.problems.problem import Batch, Parameters, Problem

TRIES, ENOUGH = 3, 60_000
"""Problems that are drawn for one stage, at most, and draws of the textbook estimator that are few enough."""

NOISY_TRIES, NOISY_ENOUGH = 32, 20_000
"""The same where the textbook estimator is a score function: others make more noise, or take fewer draws."""

LARGE, BUDGET = 1200, 48_000
"""Numbers of a draw from which on it counts for more than one; numbers of all problems that are tried for a stage."""


@functools.lru_cache(maxsize=6)
def drawn(
    kind: str, key: Key, rounds: int = 1, few: bool = False, noisy: bool = False
) -> dict[str, Stage]:
    """The drawn stages of a kind of posterior, by name; other keys draw others.

    Args:
        kind: What an estimator declares as ``posteriors``.
        key: Address of the draw.
        rounds: How many of each family.
        few: Whether none is to have many weights.
        noisy: Whether they are for an estimator that makes much noise.

    Returns:
        The same stages for the same arguments; nobody may write into them.
    """
    found: dict[str, Stage] = {}
    families = recipes.OF_FEW_WEIGHTS if few else recipes.FAMILIES
    families = recipes.OF_NOISY if noisy else families
    for number in range(rounds):
        forms: dict[object, recipes.Coordinates] = {}
        for family, coordinates in recipes.BY_KIND[kind]:
            here = key / "drawn" / number / family / coordinates.__name__
            forms.setdefault(
                coordinates, coordinates(random.Random((key / "coordinates" / number).seed()))
            )
            name = f"drawn {family}" + recipes.said(coordinates, kind)
            name += f" {number + 1}" if number else ""
            form = forms[coordinates]()
            found[name] = _best(name, families[family], form, here, noisy)
    return found


@functools.lru_cache(maxsize=64)
def _best(
    name: str, family: recipes.Family, form: Parameterization, key: Key, noisy: bool
) -> Stage:
    """The first problem that takes few draws, or the one that takes the fewest; kinds of posterior share many."""
    best: tuple[float, Stage] | None = None
    noisy, tried = noisy or form.learned_law, 0  # no gradient passes through a draw of masks
    for k in range(NOISY_TRIES if noisy else TRIES):
        rng = random.Random((key / k).seed())
        recipe = recipes.seeded_modules(
            lambda rng=rng: family(rng, lambda: form),  # type: ignore[misc]
            (key / k).seed(),
        )
        stage = made(name, recipe, key / k)
        wanted = _wanted(stage, key / k / "pilot", noisy)
        if best is None or wanted < best[0]:
            best = wanted, stage
        tried += predicted.size(stage)
        if wanted <= (NOISY_ENOUGH if noisy else ENOUGH) or (noisy and tried > BUDGET):
            break
    assert best is not None
    return best[1]


def _wanted(stage: Stage, key: Key, noisy: bool) -> float:
    """Draws with which a textbook estimator shows a bias of a tenth; of large ones fewer are allowed."""
    if not noisy:
        return predicted.of_paths(stage, key)
    return predicted.of_scores(stage, key) * max(1.0, predicted.size(stage) / LARGE)


def made(name: str, recipe: Recipe, key: Key) -> Stage:
    """The stage of a recipe, in float64."""
    rand = _numbers(key / "numbers")
    inputs = _inputs(recipe, rand)
    blank = _targets(recipe, rand)
    problem, parameters = _problem(name, recipe, inputs, blank, rand)
    batch = gather(problem, np.arange(recipe.examples))
    if not recipe.classes:
        targets = blank.clone()
        side = torch.sign(rand(1, recipe.outputs))
        # those outside the minibatch too: what is fitted to the data fits the minibatch
        for part in (slice(recipe.examples), slice(recipe.examples, recipe.total)):
            if len(inputs[part]):
                there = Batch(inputs[part], blank[part])
                targets[part] = _near(problem, recipe, parameters, there, side, rand, key)
        split = Split(inputs, targets)
        problem = replace(problem, data=replace(problem.data, train=split, test=split))
        batch = gather(problem, np.arange(recipe.examples))
    return Stage(name, problem, parameters, batch, exact=_exact(problem, recipe, parameters, batch))


Numbers = Callable[..., Tensor]


def _numbers(key: Key) -> Numbers:
    noise = stream(key, "cpu", torch.float64)
    count = iter(range(10**6))
    return lambda *shape: noise(str(next(count)), shape, "normal")


def _inputs(recipe: Recipe, rand: Numbers) -> Tensor:
    """Features with a mean of their own, so that examples add up; the last of a minibatch may be large."""
    centre = 0.7 * torch.sign(rand(1, *recipe.inputs)) if recipe.classes == 0 else 0.0
    inputs = centre + 0.5 * rand(recipe.total, *recipe.inputs)
    if recipe.classes:
        inputs = 2 * inputs
    if recipe.heavy:
        inputs[recipe.examples - 1] *= math.sqrt(recipe.examples / 3)
    return inputs


def _targets(recipe: Recipe, rand: Numbers) -> Tensor:
    if recipe.classes:
        return torch.arange(recipe.total) % recipe.classes
    return rand(recipe.total, recipe.outputs)


def _problem(
    name: str, recipe: Recipe, inputs: Tensor, targets: Tensor, rand: Numbers
) -> tuple[Problem, dict[str, Tensor]]:
    body = nn.Sequential(*recipe.modules).double()
    for module in body:
        _set(module, recipe, rand)
    split = Split(inputs, targets)
    independent = recipe.form.sharing == "weights"
    problem = ours(
        body,
        Dataset(name, split, split, recipe.classes),
        name=name,
        likelihood=Categorical() if recipe.classes else GaussianNoise(1 / (2 * math.pi)),
        parameterization=recipe.form,
        prior=GaussianPrior(1.0) if independent else NoPrior(),
        layers=lambda path, module: path not in recipe.quiet,
        keep_weights=True,
    )
    return small(problem), _parameters(problem, recipe, rand)


def _set(module: nn.Module, recipe: Recipe, rand: Numbers) -> None:
    """Weights of typical size, biases and a LayerNorm's numbers of any."""
    with torch.no_grad():
        for key, value in module.named_parameters():
            if isinstance(module, nn.LayerNorm):
                value.copy_((1.0 if key == "weight" else 0.3) + 0.3 * rand(*value.shape))
            elif key == "weight":
                size = recipe.size / math.sqrt(value[0].numel())
                draw = rand(*value.shape)
                # none next to 0, where σ = √α·|θ| is too
                value.copy_(size * torch.sign(draw) * (0.4 + 0.6 * draw.abs()))
            else:
                value.copy_(0.5 * recipe.size * rand(*value.shape))


def _parameters(problem: Problem, recipe: Recipe, rand: Numbers) -> dict[str, Tensor]:
    """Where the problem starts, with a spread of α, σ or keep probability drawn for each number of it."""
    low, high = (math.log(bound) for bound in recipe.spread)
    found = {}
    for name, value in problem.start.items():
        part = torch.special.ndtr(rand(*value.shape))
        if name.endswith("log_alpha"):
            value = low + (high - low) * part
        elif name.endswith("log_variance"):
            value = 2 * (low + (high - low) * part)
        elif name.endswith("logit"):
            value = 6 * part - 3  # keep probabilities from 0.05 to 0.95
        elif problem.groups[name].role == "factor":
            value = value + 0.3 * rand(*value.shape)  # factors of scales and covariances
        found[name] = value
    return found


def _moments(
    problem: Problem, recipe: Recipe, at: Parameters, inputs: Tensor, objective: str
) -> moments.Moments:
    laws = {layer.name: problem.posterior(layer, at) for layer in problem.layers}
    return moments.propagated(recipe.modules, at, laws, inputs, objective)


def _near(
    problem: Problem,
    recipe: Recipe,
    at: Parameters,
    batch: Batch,
    side: Tensor,
    rand: Numbers,
    key: Key,
) -> Tensor:
    """Targets off the mean prediction by about the deviation of its noise, to a given side for each output."""
    if recipe.linear:
        found = _moments(problem, recipe, at, batch.inputs, "elbo")
        mean = found.mean
        spread = (found.second.diagonal(dim1=1, dim2=2) - mean.square()).clamp_min(0).sqrt()
    else:
        drawn_outputs = outputs(problem, at, batch, key / "targets", 256)
        mean, spread = drawn_outputs.mean(0), drawn_outputs.std(0)
    near: Tensor = mean + side * spread * (0.7 + 0.6 * torch.special.ndtr(rand(*mean.shape)))
    return near


KNOWN = tuple(exact_gradients.OBJECTIVES)
"""Objective classes whose moments are known."""


def _exact(
    problem: Problem, recipe: Recipe, parameters: Parameters, batch: Batch
) -> Callable[[str], Truth | None] | None:
    """Exact gradients by objective; None where there are none."""
    if not recipe.linear and recipe.quiet == ():
        return None
    kept: dict[str, Truth] = {}

    def value(at: Mapping[str, Tensor], objective: str) -> Tensor:
        if recipe.linear:
            found = _moments(problem, recipe, at, batch.inputs, objective)
            squares = found.second.diagonal(dim1=1, dim2=2)
            errors = squares - 2 * batch.targets * found.mean + batch.targets.square()
            return -math.pi * errors.sum()
        found = _moments(problem, recipe, at, batch.inputs, objective)
        variance = found.second.diagonal(dim1=1, dim2=2) - found.mean.square()
        if objective == "mean-weights":
            return found.mean.log_softmax(1).gather(1, batch.targets[:, None]).sum()
        return expected_log_likelihood(found.mean, variance, batch.targets).sum()

    def exact(objective: str) -> Truth | None:
        if objective not in KNOWN:
            return None
        if objective not in kept:

            def target(free: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
                total = problem.scale(batch) * value({**parameters, **free}, objective)
                return total, total

            kept[objective] = differentiate(target, problem.free(parameters))[1]
        return kept[objective]

    return exact
