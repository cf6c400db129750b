"""Philox against the vectors published with it, and against numpy's Philox where that can be compared."""

from __future__ import annotations

import pytest
import torch

from vdbench.kernels.philox import philox_4x32

PUBLISHED = [  # Random123, tests/kat_vectors: philox4x32 10
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip


def words(text: str) -> torch.Tensor:
    return torch.tensor([int(word, 16) for word in text.split()], dtype=torch.int64)


@pytest.mark.parametrize(("counter", "key", "expected"), PUBLISHED)
def test_the_published_vectors(counter: str, key: str, expected: str) -> None:
    assert philox_4x32(words(counter), words(key)).tolist() == words(expected).tolist()


def test_a_table_of_counters_and_keys_gives_what_each_gives_alone() -> None:
    counters = torch.stack([words(counter) for counter, _, _ in PUBLISHED])
    keys = torch.stack([words(key) for _, key, _ in PUBLISHED])
    every = philox_4x32(counters[:, None], keys)
    assert every.shape == (3, 3, 4)
    assert every.diagonal().T.tolist() == [words(expected).tolist() for _, _, expected in PUBLISHED]
    for i, counter in enumerate(counters):
        for j, key in enumerate(keys):
            assert torch.equal(every[i, j], philox_4x32(counter, key))
