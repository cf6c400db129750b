"""Likelihoods against torch's distributions, and their expectations against quadrature."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, distributions
from torch.func import vmap

from vdbench.noise import Key, stream
from vdbench.problems.likelihoods import (
    Bernoulli,
    CategoricalByPlace,
    Checks,
    Expected,
    GaussianNoise,
    Heteroscedastic,
    Likelihood,
    Poisson,
)

NOISE = stream(Key(("tests", "likelihoods")), dtype=torch.float64)
M, D = 5, 3
OUT = NOISE("out", (M, D))
WIDE = NOISE("wide", (M, 2 * D))
Y = NOISE("y", (M, D))
COUNTS = (NOISE("counts", (M, D), "uniform") * 5).long()
BITS = (NOISE("bits", (M, D), "uniform") > 0.5).long()


# -- values ---------------------------------------------------------------------------------------------------


def normal(mean: Tensor, variance: Tensor, y: Tensor) -> Tensor:
    return distributions.Normal(mean, variance.sqrt()).log_prob(y).sum(1)


VALUES: dict[str, tuple[Likelihood, Tensor, Tensor, Tensor]] = {
    "poisson": (Poisson(), OUT, COUNTS, distributions.Poisson(OUT.exp()).log_prob(COUNTS).sum(1)),
    "poisson of floats": (
        Poisson(), OUT, COUNTS.double(), distributions.Poisson(OUT.exp()).log_prob(COUNTS).sum(1)),
    "poisson, one count": (
        Poisson(), OUT[:, :1], COUNTS[:, 0], distributions.Poisson(OUT[:, 0].exp()).log_prob(COUNTS[:, 0])),
    "poisson, flat": (
        Poisson(), OUT[:, 0], COUNTS[:, 0], distributions.Poisson(OUT[:, 0].exp()).log_prob(COUNTS[:, 0])),
    "heteroscedastic": (Heteroscedastic(), WIDE, Y, normal(WIDE[:, :D], WIDE[:, D:].exp(), Y)),
    "mean and log variance": (
        Heteroscedastic(), WIDE[:, :2], Y[:, :1], normal(WIDE[:, :1], WIDE[:, 1:2].exp(), Y[:, :1])),
    "gaussian": (GaussianNoise(0.3), OUT, Y, normal(OUT, torch.tensor(0.3), Y)),
    "gaussian, flat": (
        GaussianNoise(0.3), OUT[:, 0], Y[:, 0], normal(OUT[:, :1], torch.tensor(0.3), Y[:, :1])),
    "binary": (
        Bernoulli(), OUT[:, :1], BITS[:, 0], distributions.Bernoulli(logits=OUT[:, 0]).log_prob(BITS[:, 0].double())),
    "binary, flat": (
        Bernoulli(), OUT[:, 0], BITS[:, 0], distributions.Bernoulli(logits=OUT[:, 0]).log_prob(BITS[:, 0].double())),
    "binary, both (M, 1)": (
        Bernoulli(), OUT[:, :1], BITS[:, :1].double(),
        distributions.Bernoulli(logits=OUT[:, 0]).log_prob(BITS[:, 0].double())),
    "binary, several labels": (
        Bernoulli(), OUT, BITS, distributions.Bernoulli(logits=OUT).log_prob(BITS.double()).sum(1)),
    "tokens": (
        CategoricalByPlace(-1), WIDE.reshape(M, 3, 2), BITS,
        distributions.Categorical(logits=WIDE.reshape(M, 3, 2)).log_prob(BITS).sum(1)),
    "pixels": (
        CategoricalByPlace(), WIDE.reshape(M, 2, 3, 1), BITS[:, :, None],
        distributions.Categorical(logits=WIDE.reshape(M, 2, 3).movedim(1, -1)).log_prob(BITS).sum(1)),
}  # fmt: skip


@pytest.mark.parametrize("case", VALUES)
def test_values_are_those_of_the_distribution(case: str) -> None:
    likelihood, outputs, targets, wanted = VALUES[case]
    found = likelihood(outputs, targets)
    assert found.shape == (M,)
    torch.testing.assert_close(found, wanted)
    stacked = vmap(likelihood)(torch.stack([outputs, 2 * outputs]), torch.stack([targets, targets]))
    torch.testing.assert_close(stacked[0], wanted)
    assert isinstance(likelihood, Checks)
    likelihood.check_targets(targets, (2, *outputs.shape[1:]))


def test_ignored_places_add_nothing() -> None:
    outputs, targets = WIDE.reshape(M, 2, 3), BITS.clone()
    targets[1, 0], targets[2, 2] = -100, -100
    found = CategoricalByPlace(ignore=-100)(outputs, targets)
    each = distributions.Categorical(logits=outputs.movedim(1, -1)).log_prob(BITS)
    each[1, 0], each[2, 2] = 0.0, 0.0
    torch.testing.assert_close(found, each.sum(1))
    CategoricalByPlace(ignore=-100).check_targets(targets, (2, 2, 3))


@pytest.mark.parametrize("case", [k for k, v in VALUES.items() if isinstance(v[0], Expected)])
def test_expectations_under_normal_outputs_are_exact(case: str) -> None:
    """Against Gauss-Hermite quadrature: each likelihood is a sum over D, so that dimensions part; 40 points each."""
    likelihood, outputs, targets, _ = VALUES[case]
    assert isinstance(likelihood, Expected)
    variance = 0.2 + NOISE("variance", tuple(outputs.shape)).square() / 4
    points, weights = (torch.tensor(v) for v in np.polynomial.hermite_e.hermegauss(40))
    weights = weights / weights.sum()
    found = likelihood.expected(outputs, variance, targets)
    wide = isinstance(likelihood, Heteroscedastic)
    at = outputs + variance.sqrt() * points.reshape(-1, *(1 for _ in outputs.shape))
    if wide:  # mean and log variance are two dimensions
        (m, s), k = at.chunk(2, 2), outputs.shape[1] // 2
        grid = [torch.cat(torch.broadcast_tensors(m, s[j]), 2) for j in range(len(points))]
        assert grid[0].shape == (40, M, 2 * k)
        inner = torch.stack(
            [(weights[:, None] * vmap(likelihood, (0, None))(g, targets)).sum(0) for g in grid]
        )
    else:
        inner = vmap(likelihood, (0, None))(at, targets)
    torch.testing.assert_close(found, (weights[:, None] * inner).sum(0), rtol=1e-9, atol=1e-9)
