"""A dense layer along a sequence, written in five ways, has one report; and rows that follow no example are seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from layer_kinds import make
from torch import nn

from vdbench.datasets import Dataset, Split
from vdbench.estimation.base import objective
from vdbench.estimation.draws import gather, gradients, trace
from vdbench.estimation.options import get
from vdbench.noise import Key
from vdbench.problems.from_module import noisy
from vdbench.problems.gaussian import MeanLogVariance
from vdbench.problems.likelihoods import GaussianNoise
from vdbench.problems.places import PLAIN, Fold, find

WAYS = {
    "sequence": PLAIN,
    "sequence-folded": Fold(0, 3, True),
    "sequence-first": Fold(1, 1, True),
    "sequence-first-folded": Fold(0, 3, False),
}


@pytest.mark.parametrize("way", WAYS)
def test_ways_to_write_a_sequence_are_one(way: str) -> None:
    """The same draws of every estimator, to rounding, whichever way it is written."""
    kinds = {name: make(name) for name in ("sequence", way)}
    kinds[way].module.load_state_dict(kinds["sequence"].module.state_dict())
    found = {}
    for name, kind in kinds.items():
        problem = noisy(kind.module, kinds["sequence"].data).to("cpu", torch.float64)
        batch = gather(problem, np.arange(4))
        own = {}
        for label in ("naive", "local", "flipout", "grouped", "per-example", "score-local"):
            estimator = get(label)
            traced = trace(estimator, problem, problem.start, batch)
            many = type(batch)(*(v.expand(3, *v.shape) for v in batch))
            keys = [Key(("tests", "places", k)) for k in range(3)]
            own[label] = gradients(estimator, problem, problem.start, many, keys, traced).gradients
        found[name] = (problem, own)
    plain, written = found["sequence"], found[way]
    assert written[0].behaviour.folds["a"] == (WAYS[way],)
    assert written[0].uses == plain[0].uses
    assert written[0].shared == ("a",)
    for label, gradient in plain[1].items():
        for name, value in gradient.items():
            torch.testing.assert_close(
                written[1][label][name], value, rtol=1e-9, atol=1e-12, msg=f"{label} {name}"
            )


@pytest.mark.parametrize("folded", [False, True])
def test_objectives_have_their_exact_gradients(folded: bool) -> None:
    """Σ_t w·x_t under N(0, σ²) weights: noise of the weights and of the places differ, and each is exact.

    Six standard errors of 4,000 draws: a false alarm in 10⁸ of these 18 comparisons.
    """

    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(3, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if folded:
                return self.a(x.reshape(-1, 3)).view(len(x), -1, 1).sum(1)
            return self.a(x.transpose(0, 1)).sum(0)

    net = Sum()
    nn.init.zeros_(net.a.weight)
    nn.init.zeros_(net.a.bias)
    x = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(3))
    split = Split(x, torch.zeros(5, 1))
    problem = noisy(
        net,
        Dataset("sums", split, split, 1),
        likelihood=GaussianNoise(1.0),
        parameterization=MeanLogVariance(sigma=1.0),
    ).to("cpu", torch.float64)
    batch = gather(problem, np.arange(5))
    exact = {
        "elbo": -0.5 * batch.inputs.sum(1).square().sum(0),
        "elbo-local-noise": -0.5 * batch.inputs.square().sum((0, 1)),
    }
    draws = 4000
    many = type(batch)(*(v.expand(draws, *v.shape) for v in batch))
    for label in ("naive", "local", "flipout", "grouped", "per-example", "score-local"):
        estimator = get(label)
        assert objective(estimator, problem) == ("elbo-local-noise" if "local" in label else "elbo")
        traced = trace(estimator, problem, problem.start, batch)
        keys = [Key(("tests", "exact", label, k)) for k in range(draws)]
        found = gradients(estimator, problem, problem.start, many, keys, traced)
        rows = found.gradients["a.log_variance"].reshape(draws, 3)
        error = rows.std(0) / draws**0.5
        want = exact[objective(estimator, problem)]
        z = (rows.mean(0) - want) / error
        assert z.abs().max() < 6, f"{label}: {rows.mean(0)} ± {error}, exact {want}"


def changes(m: int, owner: list[int], *shape: int) -> torch.Tensor:
    rows = torch.tensor(owner).reshape(shape)
    return torch.stack([rows == j for j in range(m)])


@pytest.mark.parametrize("fold", [*WAYS.values(), Fold(1, 2, True), Fold(1, 2, False)])
def test_a_fold_is_found_and_inverted(fold: Fold) -> None:
    observed = []
    for m in (5, 3):
        x = torch.arange(m)[:, None].expand(m, 2 * fold.times if fold.times > 1 else 4)
        x = x.reshape(m, *((fold.times,) if fold.times > 1 else ()), -1)
        rows = fold.back(x[..., None], m)[..., 0]
        assert torch.equal(fold.to(rows[..., None], m)[..., 0], x)
        observed.append((m, torch.stack([rows == j for j in range(m)])))
    assert find(observed) == fold


def test_rows_that_follow_no_example_have_no_fold() -> None:
    assert find([(2, changes(2, [0, 0, 1, 0], 4)), (3, changes(3, [0, 0, 1, 1, 2, 0], 6))]) is None
    assert find([(2, torch.zeros(2, 2, dtype=torch.bool))] * 2) is None  # constant inputs
    # the number of places must not depend on the number of examples
    assert find([(2, changes(2, [0, 0, 1, 1], 4)), (3, changes(3, [0, 1, 2], 3))]) is None
