"""Regression with a multilayer perceptron on a small table of standardised measurements."""

from __future__ import annotations

import torch
from gallery.sizes import NOISE, dataset, generator
from torch import nn

import vdbench
from vdbench.datasets import Dataset
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


def data(size: str) -> Dataset:
    draw = generator(1)
    x = torch.randn(506, FEATURES, generator=draw)
    y = x[:, :1] * x[:, 1:2] + torch.sin(2 * x[:, 2:3]) + 0.3 * torch.randn(506, 1, generator=draw)
    return dataset("table", x, y)


def problem(size: str = "full") -> vdbench.Problem:
    return vdbench.noisy(
        network(size), data(size), likelihood=GaussianNoise(0.1), parameterization=NOISE
    )
