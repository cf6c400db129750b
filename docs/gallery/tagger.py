"""A tagger: a bidirectional LSTM with a label for every word, none for the padding."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vdbench
from gallery.shared import NOISE, Data, sentences, split

SIZES = {"full": (500, 32, 64), "reduced": (30, 6, 5)}
NO_LABEL = -100


class Tagger(nn.Module):
    def __init__(self, words: int, width: int, hidden: int, labels: int = 5) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width, padding_idx=0)
        self.lstm = nn.LSTM(width, hidden, batch_first=True, bidirectional=True)
        self.tag = nn.Linear(2 * hidden, labels)

    def forward(self, tokens: Tensor) -> Tensor:
        states, _ = self.lstm(self.embedding(tokens))
        return self.tag(states)


def labels(outputs: Tensor, targets: Tensor) -> Tensor:
    """The log-probability of every word's label, summed over the words of a sentence that have one."""
    scores = outputs.transpose(1, 2)
    return -F.cross_entropy(scores, targets, ignore_index=NO_LABEL, reduction="none").sum(1)


def network(size: str) -> nn.Module:
    return Tagger(*SIZES[size])


def data(size: str) -> tuple[Data, Data]:
    tokens = sentences(160, 10, SIZES[size][0], seed=6)
    before = torch.roll(tokens, 1, dims=1)
    return split(tokens, torch.where(tokens == 0, NO_LABEL, (tokens + before) % 5))


def problem(size: str = "full") -> vdbench.Problem:
    train, test = data(size)
    return vdbench.noisy(network(size), train, test=test, likelihood=labels, parameterization=NOISE)
