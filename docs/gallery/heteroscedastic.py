"""A regressor that gives the noise too: outputs are a mean and a log-variance, the likelihood is normal."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import vdbench
from gallery.shared import NOISE, Data, generator, split

WIDTHS = {"full": 128, "reduced": 16}


class Regressor(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(4, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.mean = nn.Linear(width, 1)
        self.log_variance = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.body(x)
        return torch.cat([self.mean(h), self.log_variance(h)], dim=1)


def network(size: str) -> nn.Module:
    return Regressor(WIDTHS[size])


def data(size: str) -> tuple[Data, Data]:
    draw = generator(10)
    x = torch.rand(400, 4, generator=draw) * 4 - 2
    spread = 0.1 + 0.5 * x[:, 1:2].sigmoid()
    return split(x, torch.sin(x[:, :1]) + spread * torch.randn(400, 1, generator=draw))


def problem(size: str = "full") -> vdbench.Problem:
    train, test = data(size)
    return vdbench.noisy(
        network(size), train, test=test, likelihood="heteroscedastic", parameterization=NOISE
    )
