"""Surprising answers of committed runs, beside plain torch that uses no estimator of vdbench.

Each test recomputes the figure at the weights that the run began with, by draws of its own, and compares at five
standard errors of its own beside the run's interval.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vdbench.measures.cells import SWEPT
from vdbench.measures.registry import load
from vdbench.noise import Key
from vdbench.problems import build

RUNS = Path(__file__).parents[2] / "docs" / "results" / "small"


def cost(weights: list[Tensor], x: Tensor, y: Tensor) -> Tensor:
    first, one, second, two = weights
    hidden = torch.relu(x @ first.T + one)
    return -F.cross_entropy(hidden @ second.T + two, y, reduction="sum")


@pytest.mark.parametrize("sigma", [0.01, pytest.param(0.1, marks=pytest.mark.long)])
def test_a_hessian_control_variate_leaves_the_noise_of_kinks(sigma: float) -> None:
    """The noise in μ that is left after ∇L(μ + σε) − Hσε, by double backward, of a network of one hidden ReLU layer."""
    made = load("miller2017", ["scale=small"])
    spec = next(p for p in made.problems if p.name == f"digits-{sigma:g}")
    problem = build(spec.name, spec.factory, spec.options).to("cpu", torch.float64)
    start = problem.initial(Key(("vdbench", made.seed, SWEPT, "checkpoint")))
    at = [start[name] for name in ("fc1.mean", "fc1.bias", "fc2.mean", "fc2.bias")]
    generator = torch.Generator().manual_seed(17)
    train, quotients = problem.data.train, []
    for _ in range(20):
        rows = torch.randperm(len(train.targets), generator=generator)[:64]
        x, y = train.inputs[rows].flatten(1), train.targets[rows]
        plain, left = [], []
        mean = [w.requires_grad_() for w in at]
        slope = torch.autograd.grad(cost(mean, x, y), mean, create_graph=True)
        for _ in range(40):
            noise = [
                sigma * torch.randn(w.shape, generator=generator, dtype=w.dtype) * (w.dim() == 2)
                for w in at
            ]
            moved = [(w + z).detach().requires_grad_() for w, z in zip(at, noise, strict=True)]
            drawn = torch.autograd.grad(cost(moved, x, y), moved)
            product = torch.autograd.grad(slope, mean, grad_outputs=noise, retain_graph=True)
            plain.append(torch.cat([g.flatten() for g in drawn[::2]]))
            left.append(
                torch.cat(
                    [(g - h).flatten() for g, h in zip(drawn[::2], product[::2], strict=True)]
                )
            )
        quotients.append([torch.stack(g).var(0).sum() for g in (left, plain)])
    numbers = torch.tensor(quotients)
    ratio = float(numbers[:, 0].sum() / numbers[:, 1].sum())
    error = float((numbers[:, 0] - ratio * numbers[:, 1]).std() / 20**0.5 / numbers[:, 1].mean())
    run = pd.read_parquet(RUNS / "miller2017" / "results.parquet")
    row = run[
        (run["metric"] == "ratio.variance.noise") & (run["problem"] == spec.name) & (run["layer"] == "all")
        & (run["role"] == "mean") & (run["label"] == "control-variate(naive)")
    ].iloc[0]  # fmt: skip
    said = f"{ratio:.3f} ± {error:.3f} beside {row['value']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]"
    assert row["ci_low"] - 5 * error <= ratio <= row["ci_high"] + 5 * error, said
