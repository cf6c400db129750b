"""A classifier of sentences: word vectors, their mean over the words that there are, two dense layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import vdbench
from gallery.shared import NOISE, Data, sentences, split

SIZES = {"full": (1000, 64, 64), "reduced": (40, 8, 12)}


class TextClassifier(nn.Module):
    def __init__(self, words: int, width: int, hidden: int, classes: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width, padding_idx=0)
        self.hidden = nn.Linear(width, hidden)
        self.out = nn.Linear(hidden, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        there = (tokens != 0).unsqueeze(-1)
        mean = (self.embedding(tokens) * there).sum(1) / there.sum(1)
        return self.out(torch.tanh(self.hidden(mean)))


def network(size: str) -> nn.Module:
    return TextClassifier(*SIZES[size])


def data(size: str) -> tuple[Data, Data]:
    tokens = sentences(256, 12, SIZES[size][0], seed=5)
    return split(tokens, tokens[:, 0] % 4)


def problem(size: str = "full") -> vdbench.Problem:
    train, test = data(size)
    return vdbench.noisy(network(size), train, test=test, parameterization=NOISE)
