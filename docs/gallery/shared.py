"""What the files of the gallery share: made-up data with a fixed seed, and the noise that all start with."""

from __future__ import annotations

import torch
from torch import Tensor

from vdbench.problems.gaussian import MeanLogVariance

NOISE = MeanLogVariance(sigma=0.03)
"""About a tenth of the size of the weights."""


Data = tuple[Tensor, Tensor]
"""Inputs and targets."""


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def split(inputs: Tensor, targets: Tensor, test: int = 32) -> tuple[Data, Data]:
    """Training and test split: the last examples are for the test."""
    return (inputs[:-test], targets[:-test]), (inputs[-test:], targets[-test:])


def pictures(
    count: int, channels: int, side: int, classes: int, seed: int
) -> tuple[Tensor, Tensor]:
    """A bright patch on a noisy ground; its place says the class."""
    draw = generator(seed)
    images = 0.3 * torch.randn(count, channels, side, side, generator=draw)
    labels = torch.randint(classes, (count,), generator=draw)
    half = side // 4
    for image, label in zip(images, labels.tolist(), strict=True):
        row, column = (label * 7) % (side - half), (label * 5) % (side - half)
        image[:, row : row + half, column : column + half] += 1.0
    return images, labels


def sentences(count: int, length: int, words: int, seed: int) -> Tensor:
    """Rows of word numbers from 1, shorter ones filled up with 0."""
    draw = generator(seed)
    rare = torch.rand(count, length, generator=draw).square()
    tokens = 1 + (rare * (words - 1)).long()
    lengths = torch.randint(length // 2, length + 1, (count, 1), generator=draw)
    return torch.where(torch.arange(length) < lengths, tokens, 0)
