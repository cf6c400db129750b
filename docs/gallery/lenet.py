"""LeNet-5: convolutions, pooling and dense layers."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

import vdbench
from gallery.shared import NOISE, Data, pictures, split

WIDTHS = {"full": (6, 16, 120, 84), "reduced": (3, 6, 20, 16)}


class LeNet(nn.Module):
    def __init__(self, a: int, b: int, c: int, d: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, a, 5, padding=2)
        self.conv2 = nn.Conv2d(a, b, 5)
        self.fc1 = nn.Linear(b * 5 * 5, c)
        self.fc2 = nn.Linear(c, d)
        self.fc3 = nn.Linear(d, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = x.view(-1, self.fc1.in_features)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))


def network(size: str) -> nn.Module:
    return LeNet(*WIDTHS[size])


def data(size: str) -> tuple[Data, Data]:
    return split(*pictures(256, 1, 28, 10, seed=2))


def problem(size: str = "full") -> vdbench.Problem:
    train, test = data(size)
    return vdbench.noisy(network(size), train, test=test, parameterization=NOISE)
