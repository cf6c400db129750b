"""LoRA: a transformer block is frozen, and beside its projections stand small adapters, the only noisy weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vdbench
from gallery.shared import NOISE, Data, generator, split

SIZES = {"full": (64, 4, 8), "reduced": (8, 2, 2)}
LENGTH = 6


class LoRALinear(nn.Module):
    """y = Wx + s·B(Ax), W frozen."""

    def __init__(self, base: nn.Linear, rank: int, scaling: float = 2.0) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.lora_A = nn.Linear(base.in_features, rank, bias=False)
        self.lora_B = nn.Linear(rank, base.out_features, bias=False)
        self.scaling = scaling

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.scaling * self.lora_B(self.lora_A(x))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, rank: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query = LoRALinear(nn.Linear(width, width), rank)
        self.key = nn.Linear(width, width)
        self.value = LoRALinear(nn.Linear(width, width), rank)
        self.project = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm1(x)
        q, k, v = (self._split(part(h)) for part in (self.query, self.key, self.value))
        a = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.project(a)
        return x + self.mlp(self.norm2(x))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Adapted(nn.Module):
    def __init__(self, width: int, heads: int, rank: int, classes: int = 3) -> None:
        super().__init__()
        self.block = Block(width, heads, rank)
        self.head = nn.Linear(width, classes)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_("lora_" in name)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(x).mean(1))


def network(size: str) -> nn.Module:
    return Adapted(*SIZES[size])


def data(size: str) -> tuple[Data, Data]:
    draw = generator(9)
    x = torch.randn(192, LENGTH, SIZES[size][0], generator=draw)
    return split(x, (x[:, 0, 0] + x[:, 1, 1] > 0).long() + (x[:, 2, 2] > 0))


def problem(size: str = "full") -> vdbench.Problem:
    train, test = data(size)
    return vdbench.noisy(
        network(size), train, test=test, layers=["*lora_A", "*lora_B"], parameterization=NOISE
    )
