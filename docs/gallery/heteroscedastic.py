"""A regressor that gives the noise too: outputs are a mean and a log-variance, the likelihood is normal."""

from __future__ import annotations

import math

import torch
from gallery.sizes import NOISE, dataset, generator
from torch import Tensor, nn

import vdbench
from vdbench.datasets import Dataset

WIDTHS = {"full": 128, "reduced": 16}


class Regressor(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.mean = nn.Linear(width, 1)
        self.log_variance = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.body(x)
        return torch.cat([self.mean(h), self.log_variance(h)], dim=1)


class NormalWithVariance:
    """log N(y | mean, exp(log-variance)) of outputs (M, 2) and targets (M,)."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        mean, log_variance = outputs.unbind(1)
        square = (targets - mean).square() * torch.exp(-log_variance)
        return -0.5 * (square + log_variance + math.log(2 * math.pi))


def network(size: str) -> nn.Module:
    return Regressor(WIDTHS[size])


def data(size: str) -> Dataset:
    draw = generator(10)
    x = torch.rand(400, 4, generator=draw) * 4 - 2
    spread = 0.1 + 0.5 * x[:, 1].sigmoid()
    return dataset("table", x, torch.sin(x[:, 0]) + spread * torch.randn(400, generator=draw))


def problem(size: str = "full") -> vdbench.Problem:
    return vdbench.noisy(
        network(size), data(size), likelihood=NormalWithVariance(), parameterization=NOISE
    )
