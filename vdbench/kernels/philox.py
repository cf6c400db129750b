"""Philox-4x32-10: random numbers that are a function of a counter and a key, and of nothing else.

Four words of 32 bits are made from a counter of four words and a key of two (Salmon, Moraes, Dror & Shaw, "Parallel
random numbers: as easy as 1, 2, 3", SC 2011). There is no state: the word at any place of a stream is had without those
before it, in any order, and any device makes the same words.

A *stream* is five words: the key, and the last three words of the counter. The first word of the counter numbers its
blocks from 0. The words of a stream are the first words of its blocks, then their second, third and fourth ones, so
that each quarter is written in one piece. Of its words

- a sign takes one bit, the lowest of a word first;
- a uniform number takes one word, of which it keeps as many leading bits as its precision has, less one: it is the
  middle of one of 2ᵇ equal parts of (0, 1), never 0 and never 1;
- two normal numbers take two words (Box & Muller 1958): r cos t and r sin t with r² = −2 ln((w₀ + ½)/2³²) and
  t = 2π w₁/2³². Words are rounded to float32 first, so that a stream has the same numbers in every precision but for
  the rounding of the last steps. The largest is 6.76.

Words are held as int64, 0 to 2³² − 1: torch has no arithmetic on unsigned ones. A product of two words wraps around in
int64; its low word is right all the same, and its high word is once the sign's copies are masked. On a CPU the same
lines of integer arithmetic run on numpy's arrays, whose loops take half the time of torch's there.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
"""What the first and the third word of the counter are multiplied by in each round."""

WEYL = (0x9E3779B9, 0xBB67AE85)
"""What is added to the words of the key after each round: 32 bits of the golden ratio and of √3 − 1."""

ROUNDS = 10
WORD = 0xFFFFFFFF

BLOCKS = {"cpu": 2**14, "cuda": 2**22}
"""Blocks whose words are made at once: what a CPU's cache holds, and what fills a GPU."""

Array = Any  # a tensor or an array of numpy: arithmetic is written once for both


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
    return torch.stack(_rounds(*counter.unbind(-1), *key.unbind(-1)), -1)


def _rounds(c0: Array, c1: Array, c2: Array, c3: Array, k0: Array, k1: Array) -> tuple[Array, ...]:
    """Words of a block, of which each has the shape of all six together."""
    for _ in range(ROUNDS):
        first, second = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            _high(second) ^ (c1 ^ k0),
            second & WORD,
            _high(first) ^ (c3 ^ k1),
            first & WORD,
        )
        k0, k1 = (k0 + WEYL[0]) & WORD, (k1 + WEYL[1]) & WORD
    return c0, c1, c2, c3


def _high(product: Array) -> Array:
    return (product >> 32) & WORD


# -- the numbers of streams -------------------------------------------------------------------------------------


def normals(streams: Tensor, out: Tensor) -> Tensor:
    """Numbers of N(0, 1).

    Args:
        streams: Words 0 to 2³² − 1, int64, shape (K, 5): two of the key, then the last three of the counter.
        out: Filled with them, shape (K, n), of floating point; row k has the n numbers of stream k, which are equal to
            those that it has when it is filled alone; for another n they are others.

    Returns:
        ``out``.

    Raises:
        ValueError: A row asks for more than a stream has, 2³⁴ words.

    Example:
        >>> normals(torch.arange(5)[None], torch.empty(1, 1000)).std().round(decimals=1)
        tensor(1.)
    """
    return _filled(streams, out, _normal)


def uniforms(streams: Tensor, out: Tensor) -> Tensor:
    """Numbers of U(0, 1); arguments, result and errors as of `normals`."""
    return _filled(streams, out, _uniform)


def signs(streams: Tensor, out: Tensor) -> Tensor:
    """Numbers −1 and 1 with equal probability; arguments, result and errors as of `normals`."""
    rows, count = out.shape
    bits = torch.empty((rows, -(-count // 32)), dtype=torch.int32, device=out.device)
    _filled(streams, bits, _bits)
    if count % 32 == 0 and out.is_contiguous():
        return signs_of_bits(bits, out)
    return out.copy_(signs_of_bits(bits, out.new_empty((rows, 32 * bits.shape[1])))[:, :count])


LAWS = {"normal": normals, "uniform": uniforms, "sign": signs}
"""How a stream's numbers are made, by law."""


def signs_of_bits(bits: Tensor, out: Tensor) -> Tensor:
    """Signs from bits, the lowest of each integer first: −1 where it is set, else 1.

    Args:
        bits: Integers, contiguous, with as many bits at least as signs are wanted.
        out: Filled with them, contiguous, of floating point.

    Returns:
        ``out``.

    Example:
        >>> signs_of_bits(torch.tensor([5]), torch.empty(4))
        tensor([-1.,  1., -1.,  1.])
    """
    flat, eights = out.view(-1), out.numel() // 8
    octets = bits.view(-1).view(torch.uint8)[: eights + 1].int()
    table = _table(out.dtype, out.device)
    torch.index_select(table, 0, octets[:eights], out=flat[: 8 * eights].view(eights, 8))
    if len(flat) % 8:
        flat[8 * eights :] = table[octets[eights]][: len(flat) % 8]
    return out


@functools.cache
def _table(dtype: torch.dtype, device: torch.device) -> Tensor:
    """The eight signs of each octet, (256, 8)."""
    octets = torch.arange(256)[:, None] >> torch.arange(8)
    return (1 - 2 * (octets & 1)).to(device, dtype)


# -- how rows are filled ----------------------------------------------------------------------------------------

Law = Callable[[tuple[Tensor, ...], torch.dtype], tuple[Tensor, ...]]


def _filled(streams: Tensor, out: Tensor, law: Law) -> Tensor:
    """Fill ``out`` a few rows, or some blocks of one row, at a time; of each quarter what it has room for."""
    rows, count = out.shape
    blocks = -(-count // 4)
    if blocks > WORD + 1:
        raise ValueError(f"{count} numbers of one stream; expected {4 * (WORD + 1)} at most.")
    if out.dtype in (torch.float16, torch.bfloat16):
        return out.copy_(_filled(streams, out.float(), law))
    step = BLOCKS[out.device.type]
    together = max(1, step // max(1, blocks))
    streams = streams.to(out.device)
    for row in range(0, rows, together):
        part = slice(row, row + together)
        for start in range(0, blocks, step):
            stop = min(start + step, blocks)
            words = _words(streams[part], start, stop)
            for quarter, numbers in enumerate(law(words, out.dtype)):
                begin = quarter * blocks + start
                end = min(begin + stop - start, count)
                if begin < end:
                    out[part, begin:end] = numbers[:, : end - begin]
    return out


def _words(streams: Tensor, start: int, stop: int) -> tuple[Tensor, ...]:
    """Words of some blocks of K streams, (K, stop − start), contiguous, so that all are computed in the same way."""
    blocks = torch.arange(start, stop, device=streams.device)[None]
    key, counter = streams[:, :2].T[..., None], streams[:, 2:].T[..., None]
    if streams.device.type != "cpu":
        return tuple(words.contiguous() for words in _rounds(blocks, *counter, *key))
    made = _rounds(blocks.numpy(), *counter.numpy(), *key.numpy())
    return tuple(torch.from_numpy(words).contiguous() for words in made)


def _normal(words: tuple[Tensor, ...], dtype: torch.dtype) -> tuple[Tensor, ...]:
    found: list[Tensor] = []
    for radius, angle in (words[:2], words[2:]):
        u = radius.float().add_(0.5).mul_(2.0**-32).to(dtype)  # in (0, 1], 2⁻³³ at least
        r = u.log_().mul_(-2).sqrt_()
        t = angle.float().to(dtype).mul_(math.tau * 2.0**-32)
        found += [t.cos().mul_(r), t.sin_().mul_(r)]
    return tuple(found)


def _uniform(words: tuple[Tensor, ...], dtype: torch.dtype) -> tuple[Tensor, ...]:
    bits = min(32, round(-math.log2(torch.finfo(dtype).eps)))
    return tuple((w >> (32 - bits)).to(dtype).add_(0.5).mul_(2.0**-bits) for w in words)


def _bits(words: tuple[Tensor, ...], dtype: torch.dtype) -> tuple[Tensor, ...]:
    return tuple(w.to(dtype) for w in words)
