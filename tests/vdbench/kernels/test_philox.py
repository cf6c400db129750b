"""Philox against the vectors published with it and a twin in Python's integers; its numbers against their laws.

Where a test is statistical its false-alarm rate is stated; streams are fixed, so that a failure is everyone's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from vdbench.kernels import philox
from vdbench.kernels.philox import LAWS, WORD, normals, philox_4x32, signs, signs_of_bits, uniforms

PUBLISHED = [  # Random123, tests/kat_vectors: philox4x32 10
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip

FALSE_ALARM = 1e-6
STREAMS = torch.tensor([[1, 2, 3, 4, 5], [WORD] * 5, [0] * 5, [WORD, 0, 7, WORD, 1 << 31]])
PRECISIONS = (torch.float32, torch.float64)

CONSTANTS = {
    32: ((0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)),
    64: ((0xD2E7470EE14C6C93, 0xCA5A826395121157), (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)),
}
"""Multipliers and additions of Philox with words of 32 and of 64 bits."""


def words(text: str) -> Tensor:
    return torch.tensor([int(word, 16) for word in text.split()], dtype=torch.int64)


def twin(counter: Sequence[int], key: Sequence[int], bits: int) -> list[int]:
    """Philox-4 with ten rounds, as its paper writes it, in integers without an end."""
    (m0, m1), (w0, w1) = CONSTANTS[bits]
    top = (1 << bits) - 1
    (left0, right0, left1, right1), (k0, k1) = counter, key
    for _ in range(10):
        high0, low0 = divmod(m0 * left0, 1 << bits)
        high1, low1 = divmod(m1 * left1, 1 << bits)
        left0, right0, left1, right1 = high1 ^ right0 ^ k0, low1, high0 ^ right1 ^ k1, low0
        k0, k1 = (k0 + w0) & top, (k1 + w1) & top
    return [left0, right0, left1, right1]


def stream_words(stream: Sequence[int], blocks: int) -> list[int]:
    """The words of a stream's first blocks, in the order in which its numbers take them."""
    made = [twin([block, *stream[2:]], stream[:2], 32) for block in range(blocks)]
    return [block[quarter] for quarter in range(4) for block in made]


# -- integers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("counter", "key", "expected"), PUBLISHED)
def test_the_published_vectors(counter: str, key: str, expected: str) -> None:
    assert philox_4x32(words(counter), words(key)).tolist() == words(expected).tolist()
    assert twin(words(counter).tolist(), words(key).tolist(), 32) == words(expected).tolist()


def test_the_twin_with_words_of_64_bits_is_numpys_philox() -> None:
    """Numpy has Philox-4x64, which differs in the width of words and in the constants alone."""
    rng = np.random.Generator(np.random.PCG64(1))
    for _ in range(20):
        counter, key = (rng.integers(0, 2**64, n, dtype=np.uint64) for n in (4, 2))
        before = counter.copy()
        before[0] -= 1  # numpy adds 1 to the counter before it makes a block
        theirs = np.random.Philox(counter=before, key=key)
        counter, key = counter.tolist(), key.tolist()
        assert [int(w) for w in theirs.random_raw(4)] == twin(counter, key, 64)


def test_a_table_of_counters_and_keys_gives_what_each_gives_alone() -> None:
    rng = np.random.Generator(np.random.PCG64(2))
    counters, keys = (
        torch.from_numpy(rng.choice([0, 1, 1 << 31, WORD, *rng.integers(0, 1 << 32, 200)], (50, n)))
        for n in (4, 2)
    )
    every = philox_4x32(counters[:, None], keys[:7])
    assert every.shape == (50, 7, 4)
    for i, counter in enumerate(counters.tolist()):
        for j, key in enumerate(keys[:7].tolist()):
            assert every[i, j].tolist() == twin(counter, key, 32)


# -- numbers are what the documentation says of the words -------------------------------------------------------


@pytest.mark.parametrize("count", [1, 4, 9, 37])
def test_uniform_numbers_are_the_middles_of_the_words(count: int) -> None:
    wide = uniforms(STREAMS, torch.empty(4, count, dtype=torch.float64))
    narrow = uniforms(STREAMS, torch.empty(4, count))
    for row, stream in enumerate(STREAMS.tolist()):
        made = stream_words(stream, -(-count // 4))[:count]
        assert wide[row].tolist() == [(w + 0.5) / 2**32 for w in made]
        assert narrow[row].tolist() == [((w >> 9) + 0.5) / 2**23 for w in made]


@pytest.mark.parametrize("count", [1, 4, 9, 37])
def test_normal_numbers_are_those_of_box_and_muller(count: int) -> None:
    """In float64 to its rounding; words are rounded to float32 before."""
    found = normals(STREAMS, torch.empty(4, count, dtype=torch.float64))
    for row, stream in enumerate(STREAMS.tolist()):
        w0, w1, w2, w3 = np.array(stream_words(stream, -(-count // 4))).reshape(4, -1)
        expected: list[float] = []
        for radius, angle in ((w0, w1), (w2, w3)):
            u = (radius.astype(np.float32) + np.float32(0.5)).astype(np.float64) / 2**32
            t = math.tau * angle.astype(np.float32).astype(np.float64) / 2**32
            r = np.sqrt(-2 * np.log(u))
            expected += [*(r * np.cos(t)), *(r * np.sin(t))]
        np.testing.assert_allclose(found[row], expected[:count], rtol=0, atol=1e-13)


@pytest.mark.parametrize("count", [1, 31, 32, 33, 128, 1000])
@pytest.mark.parametrize("dtype", [*PRECISIONS, torch.bfloat16])
def test_signs_are_the_bits_of_the_words(count: int, dtype: torch.dtype) -> None:
    found = signs(STREAMS, torch.empty(4, count, dtype=dtype))
    for row, stream in enumerate(STREAMS.tolist()):
        # a stream has blocks for as many words as are wanted, not for four times as many
        made = stream_words(stream, math.ceil(math.ceil(count / 32) / 4))
        bits = [(w >> bit) & 1 for w in made for bit in range(32)][:count]
        assert found[row].tolist() == [1 - 2 * bit for bit in bits]


def test_signs_are_made_of_integers_of_any_width() -> None:
    bits = torch.tensor([-(2**63), 6])
    expected = [1] * 63 + [-1] + [1, -1, -1] + [1] * 9
    for width in (torch.uint8, torch.int16, torch.int32, torch.int64):
        assert signs_of_bits(bits.view(width), torch.empty(76)).tolist() == expected


def test_the_ends_of_the_words_give_finite_numbers() -> None:
    """0 and 2³² − 1: no logarithm of 0, no uniform number of 0 or 1."""
    ends = tuple(torch.tensor([[w]]) for w in (0, WORD, WORD, 0))
    for dtype in (*PRECISIONS, torch.bfloat16, torch.float16):
        for number in philox._uniform(ends, dtype):
            assert 0 < number < 1
    for dtype in PRECISIONS:
        drawn = torch.cat(philox._normal(ends, dtype))
        assert drawn.isfinite().all()
        assert drawn.abs().max() == pytest.approx(math.sqrt(2 * 33 * math.log(2)), rel=1e-6)


# -- how they are made makes no difference ----------------------------------------------------------------------


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_rows_are_bit_for_bit_what_each_is_alone(law: str, dtype: torch.dtype) -> None:
    for count in (1, 3, 8, 63, 250, 2050, 70_001):
        together = LAWS[law](STREAMS, torch.empty(4, count, dtype=dtype))
        for row, stream in enumerate(STREAMS):
            alone = LAWS[law](stream[None], torch.empty(1, count, dtype=dtype))
            assert torch.equal(together[row], alone[0]), count


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("step", [3, 7, 64, 1000])
def test_pieces_make_no_difference(law: str, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = torch.arange(55).view(11, 5)
    whole = LAWS[law](streams, torch.empty(11, 1030))
    monkeypatch.setitem(philox.BLOCKS, "cpu", step)
    assert torch.equal(LAWS[law](streams, torch.empty(11, 1030)), whole)


@pytest.mark.parametrize("law", LAWS)
def test_memory_that_is_not_in_one_piece_is_filled_too(law: str) -> None:
    whole = LAWS[law](STREAMS, torch.empty(4, 96))
    assert torch.equal(LAWS[law](STREAMS, torch.empty(96, 4).T), whole)
    assert LAWS[law](STREAMS, torch.empty(4, 0)).shape == (4, 0)
    assert LAWS[law](STREAMS[:0], torch.empty(0, 5)).shape == (0, 5)


def test_precisions_have_the_same_numbers_up_to_rounding() -> None:
    count = 100_000
    wide = normals(STREAMS, torch.empty(4, count, dtype=torch.float64))
    narrow = normals(STREAMS, torch.empty(4, count))
    # r ≤ 6.76 times the rounding of an angle below 2π and of a few steps
    assert (wide - narrow).abs().max() < 6.76 * 2 * math.tau * 2**-24
    short = normals(STREAMS, torch.empty(4, count, dtype=torch.bfloat16))
    assert torch.equal(short, narrow.bfloat16())
    spread = uniforms(STREAMS, torch.empty(4, count)) - uniforms(STREAMS, wide)
    assert spread.abs().max() < 2**-23


def test_more_than_a_stream_has_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^17179869185 numbers of one stream; expected 17179869184 at most\.$"
    ):
        uniforms(STREAMS[:1], torch.empty(1).expand(1, 2**34 + 1))


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("count", [5, 64, 1000])
def test_elsewhere_than_on_a_cpu_nothing_is_read_back(
    law: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a device without memory, which has shapes alone: there reading a number is an error."""
    monkeypatch.setitem(philox.BLOCKS, "meta", 7)
    found = LAWS[law](STREAMS, torch.empty(4, count, device="meta"))
    assert found.device.type == "meta"
    assert found.shape == (4, count)


def test_integers_by_torch_are_those_by_numpy() -> None:
    """Away from a CPU, tensors go through the arithmetic that numpy's arrays go through on one."""
    here = torch.stack(philox._words(STREAMS, 3, 50), -1)
    counter = torch.arange(3, 50)[None, :, None].expand(4, 47, 1)
    counter = torch.cat([counter, STREAMS[:, None, 2:].expand(4, 47, 3)], -1)
    assert torch.equal(philox_4x32(counter, STREAMS[:, None, :2]), here)


@pytest.mark.gpu
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_a_gpu_has_the_same_numbers(law: str, dtype: torch.dtype) -> None:
    here = LAWS[law](STREAMS, torch.empty(4, 70_001, dtype=dtype))
    there = LAWS[law](STREAMS.cuda(), torch.empty(4, 70_001, dtype=dtype, device="cuda")).cpu()
    if law != "normal":
        assert torch.equal(here, there)
    assert (here - there).abs().max() < 400 * torch.finfo(dtype).eps


# -- laws -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_one_long_stream_and_many_short_ones_follow_their_laws(dtype: torch.dtype) -> None:
    """Kolmogorov–Smirnov of 2 laws, 2 shapes, 3 ways to read; FALSE_ALARM over all."""
    counts = torch.arange(50_000)
    short = torch.stack([counts * 0 + 9, counts * 0, counts * 0, counts // 300, counts % 300], 1)
    found = {}
    for law, cdf in (("normal", "norm"), ("uniform", "uniform")):
        long = LAWS[law](STREAMS[:1], torch.empty(1, 200_000, dtype=dtype))[0].double().numpy()
        many = LAWS[law](short, torch.empty(50_000, 6, dtype=dtype)).double().numpy()
        found[f"{law}, one stream"] = scipy.stats.kstest(long, cdf).pvalue
        for place in (0, 1, 5):
            found[f"{law}, number {place}"] = scipy.stats.kstest(many[:, place], cdf).pvalue
    assert min(found.values()) > FALSE_ALARM / len(found), found


def test_moments_of_normal_numbers_and_of_neighbours() -> None:
    """Four moments, and correlations of values and squares at lags, of both numbers of a pair among them."""
    count = 400_000
    x = normals(STREAMS[:1], torch.empty(1, count))[0].double().numpy()
    found = {}
    for power, (moment, variance) in enumerate([(0, 1), (1, 2), (0, 15), (3, 96)], 1):
        found[f"moment {power}"] = (np.mean(x**power) - moment) / math.sqrt(variance / count)
    quarter = count // 4
    for lag in (1, 2, quarter - 1, quarter, quarter + 1, 2 * quarter):
        n = count - lag
        found[f"lag {lag}"] = np.mean(x[:n] * x[lag:]) * math.sqrt(n)
        squares = (x**2 - 1) / math.sqrt(2)
        found[f"squares, lag {lag}"] = np.mean(squares[:n] * squares[lag:]) * math.sqrt(n)
    bound = scipy.stats.norm.isf(FALSE_ALARM / len(found) / 2)
    assert max(abs(z) for z in found.values()) < bound, found


def test_signs_of_one_word_are_independent_of_each_other() -> None:
    """All 496 pairs of the 32 bits of a word, and their means; FALSE_ALARM over all."""
    drawn = signs(STREAMS[:1], torch.empty(1, 32 * 40_000, dtype=torch.float64)).view(-1, 32)
    z = (drawn.T @ drawn / math.sqrt(len(drawn)))[torch.triu_indices(32, 32, 1).unbind()]
    means = drawn.mean(0) * math.sqrt(len(drawn))
    found = torch.cat([z, means]).abs().max()
    assert found < scipy.stats.norm.isf(FALSE_ALARM / (len(z) + 32) / 2), (z, means)


def test_streams_that_differ_in_one_bit_are_independent() -> None:
    """Each of the 160 bits of a stream's address: correlation of values and sizes; FALSE_ALARM over all."""
    count = 4096
    base = STREAMS[0]
    streams = torch.stack(
        [base, *(base ^ ((torch.arange(5) == w).long() << b) for w in range(5) for b in range(32))]
    )
    x = 2 * uniforms(streams, torch.empty(len(streams), count, dtype=torch.float64)) - 1
    shapes = {"values": x * math.sqrt(3), "sizes": (2 * x.abs() - 1) * math.sqrt(3)}
    found = {
        name: float((v[1:] @ v[0]).abs().max()) / math.sqrt(count) for name, v in shapes.items()
    }
    assert max(found.values()) < scipy.stats.norm.isf(FALSE_ALARM / 320 / 2), found
