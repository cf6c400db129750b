"""Coupled noise: what each sample is by itself, what the set is, and the variance of what is averaged over it.

On the linear-Gaussian problem the variance has a closed form: a Latin hypercube's is that of sums of functions of one
coordinate, stratum by stratum, and of products of two.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import oracles
import pytest
import torch
from linear_problems import DRAWS, moderate
from oracles import Array, Linear, Moments
from scipy.special import ndtr, ndtri
from scipy.stats import kstest
from torch import Tensor

from vdbench.errors import InputError
from vdbench.estimation.draws import gather, trace
from vdbench.estimation.options import get
from vdbench.estimation.quasi_monte_carlo import DIMENSIONS, LatinHypercube, Sobol, coupled, spread
from vdbench.noise import Key, Noise, stream
from vdbench.problems.gaussian import MeanLogVariance

KEY = Key(("coupled",))
FALSE_ALARM = 1e-5


def members(
    kind: str, samples: int, key: Key = KEY, dtype: Any = torch.float64, block: int = DIMENSIONS
) -> list[Noise]:
    noise = stream(key, dtype=dtype)
    strata = LatinHypercube() if kind == "latin-hypercube" else Sobol(noise, block)
    return coupled(noise, samples, strata)


def numbers(every: list[Noise], shape: tuple[int, ...], law: str = "normal") -> Tensor:
    return torch.stack([one("layer", shape, law) for one in every])


kinds = pytest.mark.parametrize(
    ("kind", "block"), [("latin-hypercube", 0), ("sobol", DIMENSIONS), ("sobol", 100)]
)


# The set


@kinds
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("samples", [1, 2, 8])
def test_every_coordinate_is_in_every_stratum_once(
    kind: str, block: int, samples: int, dtype: torch.dtype
) -> None:
    shape, want = (30, 20), torch.arange(samples)[:, None, None].expand(samples, 30, 20)
    for law in ("uniform", "normal", "sign"):
        found = numbers(members(kind, samples, KEY, dtype, block), shape, law).double()
        if law == "sign":
            assert samples == 1 or not found.sum(0).any(), "as many of either sign"
            assert set(found.unique().tolist()) == {-1.0, 1.0}
            continue
        uniform = torch.special.ndtr(found) if law == "normal" else found
        assert bool(((samples * uniform).long().sort(0).values == want).all())


def test_an_odd_number_of_signs_is_as_balanced_as_it_can_be() -> None:
    totals = numbers(members("latin-hypercube", 3), (4000,), "sign").sum(0)
    assert set(totals.tolist()) == {-1.0, 1.0}
    assert abs(float(totals.mean())) < 4.5 / math.sqrt(4000), "false alarm 7e-6"


def test_a_net_fills_boxes_of_two_coordinates() -> None:
    """16 points, the first two dimensions: one in each box of every shape, whatever the scrambling."""
    for key in (KEY / k for k in range(20)):
        points = numbers(members("sobol", 16, key), (2,), "uniform")
        for split in (1, 2, 4, 8, 16):
            boxes = {(int(x * split), int(y * 16 / split)) for x, y in points.tolist()}
            assert len(boxes) == 16, (split, key)


def test_later_blocks_are_the_net_again_in_another_order() -> None:
    """Within a block boxes are filled; between blocks strata are paired at random."""
    pairs = set()
    for k in range(200):
        points = numbers(members("sobol", 4, KEY / k, block=2), (4,), "uniform")
        for first in (0, 2):
            box = {(int(2 * x), int(2 * y)) for x, y in points[:, first : first + 2].tolist()}
            assert len(box) == 4
        pairs.add(tuple(sorted((int(4 * x), int(4 * y)) for x, y in points[:, [0, 2]].tolist())))
    assert len(pairs) == 24, "all pairings of four strata with four"


# Each sample


@kinds
def test_each_sample_is_of_the_law(kind: str, block: int) -> None:
    """Its coordinates are independent: 5,000 of them against the normal law, by Kolmogorov and Smirnov."""
    every, checks = numbers(members(kind, 4, KEY, torch.float32, block), (5000,)), 0
    for z in every:
        for part in (z, z[:2500] * z[2500:].sign()):  # and neighbours have signs of their own
            checks += 1
            p = kstest(part.double().numpy(), "norm").pvalue
            assert p > FALSE_ALARM / 24, (kind, block, p)
    assert checks == 8
    gaps = [oracles.compare_rows("product", (z[:-1] * z[1:]).numpy(), 0.0) for z in every.double()]
    wrong = oracles.alarms(gaps, FALSE_ALARM)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_tails_are_finite_and_alike(dtype: torch.dtype) -> None:
    """A uniform 0, and the largest below 1, which float32 would round to 1 in the last stratum."""
    for samples in (1, 2, 7, 64, 4096):
        strata = torch.arange(samples, dtype=dtype).repeat_interleave(2)
        low, high = (
            torch.zeros((), dtype=dtype),
            1 - torch.tensor(torch.finfo(dtype).eps / 2, dtype=dtype),
        )
        place = torch.stack([low, high]).repeat(samples)
        z = spread(strata, place, samples, "normal")
        assert bool(z.isfinite().all())
        assert bool((z.diff() >= 0).all())
        assert abs(float(z[0] + z[-1])) < 0.2, "0 counts as half of the smallest other"
        u = spread(strata, place, samples, "uniform")
        assert float(u.min()) >= 0
        assert float(u.max()) < 1
        assert set(spread(strata, place, samples, "sign").tolist()) == {-1.0, 1.0}


def test_normal_numbers_are_the_inverse_of_uniform_ones() -> None:
    place = torch.linspace(0.001, 0.999, 97, dtype=torch.float64).repeat(5)
    strata = torch.arange(5, dtype=torch.float64).repeat_interleave(97)
    got = spread(strata, place, 5, "normal")
    np.testing.assert_allclose(got, ndtri((strata + place).numpy() / 5), rtol=1e-12, atol=1e-14)


# Variances in closed form


def strata_moments(samples: int, power: int) -> Array:
    """E[z^n | stratum] of each of S equally likely strata of a normal number, n up to ``power``; (n + 1, S)."""
    edges = ndtri(np.arange(samples + 1) / samples)
    inner = np.where(np.isfinite(edges), edges, 0.0)
    density = np.where(np.isfinite(edges), np.exp(-(inner**2) / 2) / math.sqrt(2 * math.pi), 0.0)
    found = [np.ones(samples), -samples * np.diff(density)]
    for n in range(2, power + 1):
        found.append((n - 1) * found[n - 2] - samples * np.diff(inner ** (n - 1) * density))
    return np.array(found)


def additive(samples: int, linear: Array, square: Array) -> Array:
    """Variance of the mean of a·z + b·z² over strata: the average of those within, over S."""
    one, two, three, four = strata_moments(samples, 4)[1:]
    a, b = np.asarray(linear)[..., None], np.asarray(square)[..., None]
    mean, second = a * one + b * two, a**2 * two + 2 * a * b * three + b**2 * four
    return (second - mean**2).mean(-1) / samples


def product(samples: int) -> float:
    """Variance of the mean of z·z' of two coordinates with orders of their own."""
    between = float((strata_moments(samples, 1)[1] ** 2).mean())
    return (1 + between**2 / (samples - 1)) / samples if samples > 1 else 1.0


def hypercube_of_naive(of: Linear, samples: int) -> Moments:
    """∂/∂μ_i is linear in ε; ∂/∂σ_i is a_iε_i + G_iiσ_iε_i², and products with the other coordinates."""
    t = oracles.Terms(of)
    once = float(additive(samples, np.ones(()), np.zeros(())))
    own = np.diag(t.g) * t.sigma
    cross = ((t.g**2) @ t.sigma**2 - own**2) * product(samples)
    sigma = additive(samples, t.a, own) + cross
    return oracles.assemble(of, (t.g**2) @ t.sigma**2 * once, sigma)


def hypercube_of_local(of: Linear, samples: int) -> Moments:
    """All of it is a sum over examples of functions of one pre-activation's number."""
    t = oracles.Terms(of)
    once = float(additive(samples, np.ones(()), np.zeros(())))
    ratio = np.divide(t.r, np.sqrt(t.v), out=np.zeros_like(t.v), where=t.v > 0)
    each = additive(samples, ratio, np.ones_like(ratio))
    return oracles.assemble(of, (t.x**2).T @ t.v * once, (t.x**4).T @ each * t.sigma**2)


def test_one_sample_is_one_draw() -> None:
    of = moderate(0, 3, 2, 1)
    for got, want in (
        (hypercube_of_naive(of, 1), oracles.naive(of)),
        (hypercube_of_local(of, 1), oracles.local(of)),
    ):
        assert not oracles.mismatches(got, want, 1e-12)


CASES = [
    ("latin-hypercube", "naive", 5),
    ("latin-hypercube", "local", 2),
    ("sobol", "local", 4),
    ("sobol", "naive", 8),
]


def test_variances_are_those_of_the_closed_forms() -> None:
    """Means too. A net is a Latin hypercube in each coordinate: where no product occurs the variances are the same."""
    comparisons = []
    for seed, (m, k) in enumerate([(3, 2), (2, 1)]):
        of = moderate(seed, m, k, 2)
        for name, inner, samples in CASES:
            estimator = get(name, of=inner, samples=samples)
            oracle = hypercube_of_naive if inner == "naive" else hypercube_of_local
            rows = oracles.sampled(estimator, of, DRAWS, KEY / name / inner / samples / seed)
            want = oracle(of, samples)
            found = oracles.compare(f"{name}({inner}, {samples})", rows, want)
            products = name == "sobol" and inner == "naive" and k > 1
            comparisons += [
                c for c in found if not (products and "scale" in c.what and "variance" in c.what)
            ]
    assert len(comparisons) == len(CASES) * 2 * (5 + 3) - 2
    wrong = oracles.alarms(comparisons)
    assert not wrong, "\n".join(wrong)


def test_independent_samples_are_told_from_coupled_ones() -> None:
    """The comparison above is one that independent draws fail."""
    of = moderate(0, 3, 2, 2)
    rows = oracles.sampled(get("samples", of="local", samples=4), of, DRAWS, KEY / "apart")
    assert len(oracles.alarms(oracles.compare("apart", rows, hypercube_of_local(of, 4)))) >= 5


def test_a_net_beats_a_hypercube_where_two_coordinates_meet() -> None:
    """Products of two coordinates: 64 points of a net against the closed form of a Latin hypercube."""
    rows = []
    for k in range(400):
        z = numbers(members("sobol", 64, KEY / "net" / k), (2,))
        rows.append(float((z[:, 0] * z[:, 1]).mean()))
    assert float(np.var(rows)) < 0.25 * product(64), (np.var(rows), product(64))


# What they ask for, and refuse


@pytest.mark.parametrize("name", ["latin-hypercube", "sobol"])
def test_only_uniform_numbers_are_asked_for_each_once(name: str) -> None:
    problem, parameters = oracles.network(MeanLogVariance(0.3))
    at = (problem, parameters, gather(problem, np.arange(5)))
    own = trace(get("flipout"), *at).requests
    asked = trace(get(name, of="flipout", samples=4), *at).requests
    assert len(asked) == 2 * len(own)
    assert {r.law for r in asked} == {"uniform"}
    count = {"latin-hypercube": 8, "sobol": 7}[name]
    sizes = [sum(math.prod(r.shape) for r in every) for every in (own, asked)]
    assert sizes[1] == count * sizes[0]


def test_a_number_asked_for_twice_is_asked_of_the_source_twice() -> None:
    """So that a trace sees it, as it does without coupling."""
    from vdbench.noise import Recorder

    recorder = Recorder(stream(KEY).source)
    one, two = coupled(Noise(recorder), 2, LatinHypercube())
    for noise, want in ((one, 2), (two, 2), (two, 4)):
        noise("layer", (3,))
        assert len(recorder.requests) == want


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 3}, "samples must be a power of 2, at which Sobol' points are balanced, such as 4, not 3."),
        ({"samples": 0}, "samples must be a power of 2, at which Sobol' points are balanced, such as 2, not 0."),
        ({"block": 0}, "block must be from 1 to 21201, the dimensions of the sequence, not 0."),
        ({"block": 21202}, "block must be from 1 to 21201, the dimensions of the sequence, not 21202."),
    ],
)  # fmt: skip
def test_what_is_no_net_is_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(InputError) as caught:
        get("sobol", **options)
    assert str(caught.value) == f"sobol: {message}"


def test_no_samples_of_a_hypercube_are_refused() -> None:
    with pytest.raises(InputError, match=r"^latin-hypercube: samples must be at least 1, not 0"):
        get("latin-hypercube", samples=0)


def test_tails_of_a_truncated_normal_by_quadrature() -> None:
    """The strata's moments above, beside sums over a fine grid."""
    u = (np.arange(400_000) + 0.5) / 400_000
    z = ndtri(u).reshape(8, -1)
    for n, row in enumerate(strata_moments(8, 4)):
        np.testing.assert_allclose((z**n).mean(1), row, rtol=2e-4, atol=2e-5)
    assert float(ndtr(0.0)) == 0.5
