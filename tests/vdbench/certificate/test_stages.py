"""Drawn problems: their exact gradients against draws, what they cover, and that seeds draw others."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import ndtri

from vdbench.certificate.reference_problems import Stage
from vdbench.certificate.stages import features
from vdbench.certificate.stages.build import drawn
from vdbench.certificate.stages.features import REQUIRED
from vdbench.certificate.stages.recipes import CORRELATED, RANKED, SYMMETRIC
from vdbench.certificate.stages.sampled import textbook
from vdbench.certificate.stages.softmax import expected_log_likelihood
from vdbench.noise import Key

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
    from vdbench.certificate.reference_problems import KINDS, stage

    stages = [*map(stage, KINDS[kind].exact), *drawn(kind, Key(("check", seed))).values()]
    found = features.exercised(kind, stages, [])
    missing = {c.feature: c.missing for c in found if c.missing}
    assert not missing


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
