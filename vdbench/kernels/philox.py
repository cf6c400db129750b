"""Philox-4x32-10: random numbers that are a function of a counter and a key, and of nothing else.

Four words of 32 bits are made from a counter of four words and a key of two (Salmon, Moraes, Dror & Shaw, "Parallel
random numbers: as easy as 1, 2, 3", SC 2011). There is no state: the word at any place of a stream is had without those
before it, in any order, on any number of threads, and any device makes the same words.

Words are held as int64, 0 to 2³² − 1: torch has no arithmetic on unsigned words. A product of two words has 64 bits and
wraps around in int64; its low word is right all the same, and its high word is too once the sign's copies are masked.
"""

from __future__ import annotations

import torch
from torch import Tensor

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
"""What the first and the third word of the counter are multiplied by in each round."""

WEYL = (0x9E3779B9, 0xBB67AE85)
"""What is added to the words of the key after each round: the golden ratio's and √3 − 1's first 32 bits."""

ROUNDS = 10
WORD = 0xFFFFFFFF


def philox_4x32(counter: Tensor, key: Tensor) -> Tensor:
    """Philox-4x32 with ten rounds.

    Args:
        counter: Words 0 to 2³² − 1, int64, shape (..., 4).
        key: The same, shape (..., 2); its leading dimensions are broadcast against the counter's.

    Returns:
        Words 0 to 2³² − 1, int64, shape (..., 4).

    Example:
        >>> zero = torch.zeros(4, dtype=torch.int64)
        >>> [f"{word:08x}" for word in philox_4x32(zero, zero[:2]).tolist()]
        ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    c0, c1, c2, c3 = counter.unbind(-1)
    k0, k1 = key.unbind(-1)
    for _ in range(ROUNDS):
        first, second = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            _high(second) ^ c1 ^ k0,
            second & WORD,
            _high(first) ^ c3 ^ k1,
            first & WORD,
        )
        k0, k1 = (k0 + WEYL[0]) & WORD, (k1 + WEYL[1]) & WORD
    return torch.stack((c0, c1, c2, c3), -1)  # each has the shape of both by now


def _high(product: Tensor) -> Tensor:
    return (product >> 32) & WORD
