"""Regression with a multilayer perceptron on a small table of standardised measurements."""

from __future__ import annotations

import torch
from torch import nn

import vdbench
from gallery.shared import NOISE, Data, generator, split
from vdbench.problems.likelihoods import GaussianNoise

FEATURES = 13
WIDTHS = {"full": 128, "reduced": 16}


def network(size: str) -> nn.Module:
    width = WIDTHS[size]
    return nn.Sequential(
        nn.Linear(FEATURES, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, 1),
    )


def data(size: str) -> tuple[Data, Data]:
    draw = generator(1)
    x = torch.randn(506, FEATURES, generator=draw)
    y = x[:, :1] * x[:, 1:2] + torch.sin(2 * x[:, 2:3]) + 0.3 * torch.randn(506, 1, generator=draw)
    return split(x, y)


def problem(size: str = "full") -> vdbench.Problem:
    train, test = data(size)
    return vdbench.noisy(
        network(size), train, test=test, likelihood=GaussianNoise(0.1), parameterization=NOISE
    )
