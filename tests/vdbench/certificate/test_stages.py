"""Drawn problems: their exact gradients against draws, what they cover, and that seeds draw others."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import ndtri
from torch import nn

from vdbench.certificate.reference_problems import KINDS, Stage, stage
from vdbench.certificate.stages import build, features
from vdbench.certificate.stages.build import drawn
from vdbench.certificate.stages.features import REQUIRED
from vdbench.certificate.stages.recipes import BY_KIND, CORRELATED, RANKED, SYMMETRIC
from vdbench.certificate.stages.sampled import textbook
from vdbench.certificate.stages.softmax import expected_log_likelihood
from vdbench.datasets import Dataset
from vdbench.noise import Key
from vdbench.problems.from_module import noisy, ours
from vdbench.problems.problem import Problem

pytestmark = pytest.mark.usefixtures("one_thread")

DRAWS = 2048


@pytest.mark.parametrize("kind", ["independent-normal", "row-shared"])
@pytest.mark.parametrize("objective", ["elbo", "elbo-local-noise", "mean-weights"])
def test_exact_gradients_are_the_means_of_draws(kind: str, objective: str) -> None:
    if (kind, objective) == ("row-shared", "elbo-local-noise"):
        pytest.skip("the textbook sampler of pre-activations is of independent weights")
    stages = {n: at for n, at in drawn(kind, Key(("test", 1))).items() if at.exact is not None}
    _compare(stages, objective)


@pytest.mark.parametrize("objective", ["elbo", "elbo-local-noise", "mean-weights"])
def test_exact_gradients_of_every_family_of_noise(objective: str) -> None:
    stages = {
        n: at for n, at in drawn("any", Key(("test", 1))).items() if n.startswith("drawn pair")
    }
    forms = (RANKED, *SYMMETRIC, *CORRELATED)
    assert {at.problem.parameterization for at in stages.values()} == set(forms)
    _compare(stages, objective)


def _compare(stages: dict[str, Stage], objective: str) -> None:
    """A family-wise rate of 1e-4 over all coordinates; of heavy-tailed ones the limit is twice as wide."""
    columns = sum(v.numel() for at in stages.values() for v in at.parameters.values())
    limit = 2 * -float(ndtri(1e-4 / columns / 2))
    for name, at in stages.items():
        truth, rows = at.truth(objective), textbook(at, objective, Key(("draws",)), DRAWS)
        assert truth is not None
        size = max(float(g.abs().max()) for g in truth.values())
        for parameter, g in truth.items():
            exact, found = g.flatten().numpy(), rows[parameter]
            error = found.std(0) / DRAWS**0.5 + 1e-10 * size
            z = np.abs(found.mean(0) - exact) / error
            assert z.max() < limit, f"{name}, {parameter}: {z.max():.1f} standard errors off"


@pytest.mark.parametrize("kind", REQUIRED)
@pytest.mark.parametrize("seed", range(2))
def test_every_certificate_exercises_the_whole_list(kind: str, seed: int) -> None:
    assert not missing(kind, seed)


@pytest.mark.parametrize("seed", range(2))
def test_problems_of_few_weights_exercise_the_whole_list(seed: int) -> None:
    """And none has more than a hundred weights, but that of six layers."""
    assert not missing("independent-normal", seed, few=True)
    for name, at in drawn("independent-normal", Key(("check", seed)), 1, True).items():
        weights = sum(math.prod(layer.weight_shape) for layer in at.problem.layers)
        assert weights <= (150 if name == "drawn deep" else 100), name


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long)])
def test_problems_of_noisy_estimators_exercise_the_whole_list(seed: int) -> None:
    """With the same families, the deepest of four layers and not of six."""
    assert not missing("independent-normal", seed, noisy=True)
    usual, noisy = (
        drawn("independent-normal", Key(("check", seed)), 1, False, loud) for loud in (False, True)
    )
    assert list(usual) == list(noisy)
    assert [len(x["drawn deep"].problem.layers) for x in (usual, noisy)] == [6, 4]


def missing(
    kind: str, seed: int, few: bool = False, noisy: bool = False
) -> dict[str, tuple[str, ...]]:
    """Parts of features that no problem of a certificate has."""
    made = drawn(kind, Key(("check", seed)), 1, few, noisy)
    stages = [*map(stage, KINDS[kind].exact), *made.values()]
    found = features.exercised(kind, stages, [])
    return {c.feature: c.missing for c in found if c.missing}


def test_the_largest_sizes_are_those_of_the_problems() -> None:
    """What lies beyond them is said to be not exercised."""
    stages = {
        n: list(drawn("independent-normal", Key(("check", 0)), 1, n).values())
        for n in (False, True)
    }
    for few, inputs in ((False, 33), (True, 8)):
        found = {
            c.feature: c.beyond for c in features.exercised("independent-normal", stages[few], [])
        }
        assert found["inputs of a layer"] == f"above {inputs}"
        assert found["examples of the minibatch, M"] in {f"above {m}" for m in range(131, 144)}
        assert found["noisy layers"] == "above 6"


@pytest.mark.parametrize(
    "kind", ["independent-normal", pytest.param("any", marks=pytest.mark.long)]
)
def test_what_is_known_of_the_networks_is_what_is_seen(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The problems are made without trying the module: `noisy`, which tries it, makes the same of each."""
    made: list[tuple[Problem, Problem]] = []

    def both(body: nn.Module, data: Dataset, **options: Any) -> Problem:
        made.append((ours(body, data, **options), noisy(body, data, **options)))
        return made[-1][0]

    monkeypatch.setattr(build, "ours", both)
    drawn(kind, Key(("made twice",)))
    assert len(made) >= len(BY_KIND[kind])
    for known, seen in made:
        assert known.uses == seen.uses
        assert known.groups == seen.groups
        assert all(f.plain for folds in seen.behaviour.folds.values() for f in folds)
        assert known.behaviour == replace(seen.behaviour, folds={}, said=())
        assert list(known.start) == list(seen.start)
        assert all(torch.equal(value, seen.start[name]) for name, value in known.start.items())


def test_other_seeds_draw_other_problems() -> None:
    one, other = (drawn("row-shared", Key(("check", seed))) for seed in (0, 1))
    assert one is drawn("row-shared", Key(("check", 0)))
    for name, at in one.items():
        shapes = [{n: tuple(v.shape) for n, v in s.parameters.items()} for s in (at, other[name])]
        same = shapes[0] == shapes[1] and len(at.batch.inputs) == len(other[name].batch.inputs)
        assert not same or any(
            not torch.equal(v, other[name].parameters[n]) for n, v in at.parameters.items()
        ), name


def test_the_softmax_is_exact() -> None:
    """Two classes against a Gauss–Hermite rule of their difference, ten against draws."""
    mean = torch.tensor([[0.3, -1.2], [2.0, 1.0]], dtype=torch.float64)
    variance = torch.tensor([[0.5, 1.5], [2.0, 0.1]], dtype=torch.float64)
    targets = torch.tensor([0, 1])
    points, weights = np.polynomial.hermite_e.hermegauss(80)
    for m, y in enumerate(targets.tolist()):
        gap = float(mean[m, 1 - y] - mean[m, y]) + float(variance[m].sum()) ** 0.5 * points
        exact = -(weights / weights.sum() * np.logaddexp(0, gap)).sum()
        assert float(expected_log_likelihood(mean, variance, targets)[m]) == pytest.approx(
            exact, abs=1e-8
        )
    generator = torch.Generator().manual_seed(1)
    wide = torch.randn(1, 10, generator=generator, dtype=torch.float64)
    spread = torch.rand(1, 10, generator=generator, dtype=torch.float64)
    drawn_logits = wide + spread.sqrt() * torch.randn(200_000, 10, generator=generator).double()
    values = drawn_logits.log_softmax(1)[:, 3]
    exact_mean = float(expected_log_likelihood(wide, spread, torch.tensor([3]))[0])
    assert abs(float(values.mean()) - exact_mean) < 4.5 * float(values.std()) / 200_000**0.5


def test_examples_outside_the_minibatch_are_like_those_inside() -> None:
    """Errors of the mean weights' outputs: what is fitted to the data fits the minibatch."""
    outside = {}
    for seed in range(3):
        for name, at in drawn("independent-normal", Key(("alike", seed))).items():
            train, inside = at.problem.data.train, len(at.batch.inputs)
            if at.problem.data.classes or len(train.inputs) == inside:
                continue
            weights = {
                a.name: at.problem.posterior(a, at.parameters).mean for a in at.problem.layers
            }
            found = at.problem.outputs(
                lambda layer, x, w=weights: layer.linear(x, w[layer.name]),
                train.inputs,
                at.parameters,
            )
            errors = (found - train.targets).square().mean(1)
            outside[seed, name] = float((errors[inside:].mean() / errors[:inside].mean()).sqrt())
    assert outside
    assert all(0.2 < ratio < 5 for ratio in outside.values()), outside
