"""A small transformer encoder that classifies sentences; batch first, or sequence first as torch's default is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import vdbench
from gallery.shared import NOISE, Data, sentences, split

SIZES = {"full": (1000, 64, 4, 128), "reduced": (30, 8, 2, 12)}
LENGTH = 8


class Transformer(nn.Module):
    def __init__(
        self, words: int, width: int, heads: int, hidden: int, batch_first: bool, classes: int = 4
    ) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.embedding = nn.Embedding(words, width, padding_idx=0)
        self.position = nn.Parameter(0.1 * torch.randn(LENGTH, width))
        layer = nn.TransformerEncoderLayer(width, heads, hidden, batch_first=batch_first)
        self.encoder = nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
        self.head = nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens) + self.position
        missing = tokens == 0
        if self.batch_first:
            return self.head(self.encoder(x, src_key_padding_mask=missing)[:, 0])
        return self.head(self.encoder(x.transpose(0, 1), src_key_padding_mask=missing)[0])


def network(size: str, batch_first: bool = True) -> nn.Module:
    return Transformer(*SIZES[size], batch_first).eval()


def data(size: str) -> tuple[Data, Data]:
    tokens = sentences(256, LENGTH, SIZES[size][0], seed=7)
    return split(tokens, tokens[:, :4].sum(1) % 4)


def problem(size: str = "full", batch_first: bool = True) -> vdbench.Problem:
    train, test = data(size)
    return vdbench.noisy(network(size, batch_first), train, test=test, parameterization=NOISE)
