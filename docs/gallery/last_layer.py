"""A Bayesian last layer: the body of a trained network is frozen, only the head has noise."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vdbench
from gallery.shared import NOISE, Data, pictures, split

WIDTHS = {"full": (32, 64), "reduced": (4, 12)}


class Classifier(nn.Module):
    def __init__(self, channels: int, features: int, classes: int = 5) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.MaxPool2d(4),
            nn.Flatten(),
            nn.Linear(channels * 16, features),
            nn.ReLU(),
        )
        self.head = nn.Linear(features, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def network(size: str) -> nn.Module:
    net = Classifier(*WIDTHS[size])
    (images, labels), _ = data(size)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(10):
        optimizer.zero_grad()
        F.cross_entropy(net(images), labels).backward()
        optimizer.step()
    net.body.requires_grad_(False)
    return net.eval()


def data(size: str) -> tuple[Data, Data]:
    return split(*pictures(192, 1, 16, 5, seed=8))


def problem(size: str = "full") -> vdbench.Problem:
    train, test = data(size)
    return vdbench.noisy(network(size), train, test=test, layers="head", parameterization=NOISE)
