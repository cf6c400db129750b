"""A U-Net that finds a patch in a picture: GroupNorm, transposed convolutions, a class for every pixel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vdbench
from gallery.shared import NOISE, Data, generator, split

WIDTHS = {"full": 16, "reduced": 4}


class DoubleConv(nn.Sequential):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.GroupNorm(2, outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1),
            nn.GroupNorm(2, outputs),
            nn.ReLU(inplace=True),
        )


class UNet(nn.Module):
    def __init__(self, width: int, classes: int = 2) -> None:
        super().__init__()
        self.down1 = DoubleConv(1, width)
        self.down2 = DoubleConv(width, 2 * width)
        self.bottom = DoubleConv(2 * width, 4 * width)
        self.pool = nn.MaxPool2d(2)
        self.up2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.conv2 = DoubleConv(4 * width, 2 * width)
        self.up1 = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.conv1 = DoubleConv(2 * width, width)
        self.outc = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.down1(x)
        b = self.down2(self.pool(a))
        c = self.bottom(self.pool(b))
        b = self.conv2(torch.cat([b, self.up2(c)], dim=1))
        a = self.conv1(torch.cat([a, self.up1(b)], dim=1))
        return self.outc(a)


def pixels(outputs: Tensor, targets: Tensor) -> Tensor:
    """The log-probability of every pixel's class, summed over a picture."""
    return -F.cross_entropy(outputs, targets, reduction="none").flatten(1).sum(1)


def network(size: str) -> nn.Module:
    return UNet(WIDTHS[size])


def data(size: str) -> tuple[Data, Data]:
    draw = generator(4)
    masks = torch.zeros(160, 16, 16, dtype=torch.int64)
    corners = torch.randint(10, (160, 2), generator=draw)
    for mask, (row, column) in zip(masks, corners.tolist(), strict=True):
        mask[row : row + 6, column : column + 6] = 1
    images = masks[:, None] + 0.5 * torch.randn(160, 1, 16, 16, generator=draw)
    return split(images, masks)


def problem(size: str = "full") -> vdbench.Problem:
    train, test = data(size)
    return vdbench.noisy(network(size), train, test=test, likelihood=pixels, parameterization=NOISE)
