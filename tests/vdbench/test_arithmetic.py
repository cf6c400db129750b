"""Precisions: rounding against exact arithmetic, and products against products of rounded factors."""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from vdbench import problems
from vdbench.arithmetic import ROUNDED, STORAGE, computing, to_bf16, to_tf32
from vdbench.estimation.base import Gradient
from vdbench.estimation.draws import call, gather, minibatch, vectorised
from vdbench.estimation.options import get
from vdbench.noise import Key, Request, draw, stream
from vdbench.problems.problem import Batch, Problem

CPU = torch.device("cpu")
KEY = Key(("tests", "arithmetic"))
BITS = {"tf32": 10, "bf16": 7}
ROUND = {"tf32": to_tf32, "bf16": to_bf16}


def exactly(x: float, bits: int) -> float:
    """X to so many bits after the point, to nearest, ties to even, by exact arithmetic on its binary exponent."""
    if x == 0 or not math.isfinite(x):
        return x
    _, exponent = math.frexp(x)
    unit = 2.0 ** (max(exponent, -125) - 1 - bits)  # below 2⁻¹²⁶, steps no longer shrink
    return float(np.rint(x / unit)) * unit


@pytest.mark.parametrize("precision", ROUNDED)
def test_rounding_is_to_nearest_and_ties_go_to_even(precision: str) -> None:
    bits = BITS[precision]
    half = 2.0 ** -(bits + 1)
    numbers = torch.randn(20_000, generator=torch.Generator().manual_seed(1))
    awkward = [0.0, -0.0, 1.0, 1 + half, 1 + 3 * half, 1 + half * (1 + 2**-8), -1 - half, 2 - half,
               1e-30, 1e30, 3e-39, 1e-45, math.inf, -math.inf]  # fmt: skip
    x = torch.cat([numbers, numbers * 1e-20, numbers * 1e20, torch.tensor(awkward)])
    want = [exactly(v, bits) for v in x.tolist()]
    assert ROUND[precision](x).tolist() == want
    assert ROUND[precision](torch.tensor([math.nan])).isnan().all()
    assert ROUND[precision](torch.tensor([1 + half])).item() == 1.0
    assert ROUND[precision](torch.tensor([1 + 3 * half])).item() == 1 + 4 * half


def pair(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape) + shape[0]))


@pytest.mark.parametrize("precision", ROUNDED)
def test_factors_of_products_are_rounded_forward_and_backward(precision: str) -> None:
    cut = ROUND[precision]
    after = cut if precision == "bf16" else (lambda x: x)
    x, w = pair(7, 5), pair(5, 3).requires_grad_()
    with computing(precision, CPU):
        y = x @ w
        (slope,) = torch.autograd.grad(y.square().sum(), w)
    assert torch.equal(y.detach(), after(cut(x) @ cut(w.detach())))
    assert torch.equal(slope, after(cut(x).T @ cut(2 * y.detach())))
    a, b = pair(4, 6, 5), pair(4, 5, 2)
    with computing(precision, CPU):
        found = torch.vmap(torch.matmul)(a, b)
    assert torch.equal(found, after(torch.bmm(cut(a), cut(b))))


@pytest.mark.parametrize("precision", ROUNDED)
def test_factors_of_convolutions_are_rounded_forward_and_backward(precision: str) -> None:
    cut = ROUND[precision]
    after = cut if precision == "bf16" else (lambda x: x)
    x, w = pair(3, 2, 6, 6), pair(4, 2, 3, 3).requires_grad_()
    with computing(precision, CPU):
        y = torch.conv2d(x, w)
        (slope,) = torch.autograd.grad(y.square().sum(), w)
    assert torch.equal(y.detach(), after(torch.conv2d(cut(x), cut(w.detach()))))
    short = cut(w.detach()).requires_grad_()
    out = torch.conv2d(cut(x), short)
    (want,) = torch.autograd.grad(out, short, cut(2 * y.detach()))
    assert torch.allclose(slope, after(want), rtol=1e-5, atol=1e-5)


def test_all_else_and_float64_stay_as_they_are() -> None:
    x, y = pair(9, 4), pair(4, 9)
    with computing("tf32", CPU):
        assert torch.equal(x * y.T + x.exp(), torch.add(x * y.T, x.exp()))
        inside = x.double() @ y.double()
    assert torch.equal(inside, x.double() @ y.double())
    for precision in ("float32", "float64", ""):
        with computing(precision, CPU):
            assert torch.equal(x @ y, torch.mm(x, y))
    with computing("tf32", CPU):
        pass
    assert torch.equal(x @ y, torch.mm(x, y))
    assert not torch.equal(x @ y, to_tf32(x) @ to_tf32(y))


@functools.cache
def problem() -> Problem:
    return problems.build("p", "classification", {"widths": [16]}).in_precision(CPU, "bf16")


def gradient(at: Problem, name: str) -> Gradient:
    start = at.initial(KEY)
    batch = gather(at, minibatch(at, 32, KEY))
    return call(get(name), at, start, batch, stream(KEY), KEY)


@pytest.mark.parametrize("name", ["naive", "flipout"])
def test_bf16_on_a_cpu_is_what_torch_s_autocast_computes(name: str) -> None:
    """To the last bit of the result, but for the order of sums: at most one entry in a hundred is farther away."""
    ours = gradient(problem(), name)
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        theirs = gradient(problem().unrounded, name)
    plain = gradient(problem().unrounded, name)
    for key, value in ours.gradients.items():
        other = theirs.gradients[key]
        far = (value - other).abs() > 2**-7 * other.abs().maximum(value.abs())
        assert float(far.float().mean()) <= 0.01, key
        error, rounding = (float((g - other).norm()) for g in (value, plain.gradients[key]))
        assert error <= 0.2 * rounding, (key, error, rounding)


@pytest.mark.parametrize("precision", ROUNDED)
def test_draws_together_are_rounded_as_those_one_by_one(precision: str) -> None:
    at = replace(problem(), precision=precision)
    start, estimator = at.initial(KEY), get("local")
    batch = gather(at, minibatch(at, 32, KEY))
    shapes = {"fc1": (32, 16), "fc2": (32, 10)}
    noise = {
        Request((name,), shape, "normal"): torch.stack(
            [draw(KEY / k, Request((name,), shape, "normal"), torch.empty(shape)) for k in range(3)]
        )
        for name, shape in shapes.items()
    }
    each = Batch(*(t.expand(3, *t.shape) for t in batch))
    together = vectorised(estimator, at, start, each, noise).gradients
    exact = vectorised(estimator, at.unrounded, start, each, noise).gradients
    for k in range(3):
        one = call(estimator, at, start, batch, stream(KEY / k), KEY).gradients
        for name, value in one.items():
            error, rounding = (float((g[name][k] - value).norm()) for g in (together, exact))
            assert error <= 0.05 * rounding, (name, k, error, rounding)


def test_a_problem_keeps_its_precision_and_checkpoints_are_trained_without() -> None:
    assert problem().precision == "bf16"
    assert problem().dtype == STORAGE["bf16"] == torch.float32
    assert problem().to(CPU, torch.float32).precision == "bf16"
    assert problem().unrounded.precision == "float32"
    assert problem().in_precision(CPU, "float64").unrounded.precision == "float64"


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ROUNDED)
def test_a_gpu_rounds_as_a_cpu_imitates(precision: str) -> None:
    """Ten times nearer to each other than to the exact product: unrounded or truncated factors are not."""
    x, w = pair(64, 256), pair(256, 64)
    gpu = torch.device("cuda")
    with computing(precision, CPU):
        ours = x @ w
    with computing(precision, gpu):
        theirs = (x.to(gpu) @ w.to(gpu)).float().cpu()
    exact = (x.double() @ w.double()).float()
    apart, rounding = float((ours - theirs).norm()), float((ours - exact).norm())
    assert apart < 0.1 * rounding, (apart, rounding)
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.gpu
def test_float32_on_a_gpu_has_no_tf32() -> None:
    x = pair(8, 4, 16, 16)
    w = pair(6, 4, 3, 3)
    gpu = torch.device("cuda")
    with computing("float32", gpu):
        found = torch.conv2d(x.to(gpu), w.to(gpu)).cpu()
    exact = torch.conv2d(x.double(), w.double())
    assert float((found - exact).norm() / exact.norm()) < 2e-6
