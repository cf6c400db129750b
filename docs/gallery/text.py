"""A classifier of sentences: word vectors, their mean over the words that there are, two dense layers."""

from __future__ import annotations

import torch
from gallery.sizes import NOISE, dataset, sentences
from torch import Tensor, nn

import vdbench
from vdbench.datasets import Dataset

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


def data(size: str) -> Dataset:
    tokens = sentences(256, 12, SIZES[size][0], seed=5)
    return dataset("sentences", tokens, tokens[:, 0] % 4, classes=4)


def problem(size: str = "full") -> vdbench.Problem:
    return vdbench.noisy(network(size), data(size), parameterization=NOISE)
