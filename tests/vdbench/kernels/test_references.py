"""The plain forms of the fused kernels against the estimators, which are held to closed forms of their own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from estimators.flipout import Flipout
from estimators.local import Local
from vdbench.kernels import references
from vdbench.kernels.philox import normals, signs_of_bits
from vdbench.noise import Noise, Request
from vdbench.problems.layers import Layer
from vdbench.problems.posterior import Posterior

ROWS, INPUTS, OUTPUTS = 5, 7, 6
WIDE = torch.float64


def operands() -> tuple[Tensor, Tensor, Tensor]:
    """Inputs with a row of zeros, μ and log σ²."""
    draw = torch.Generator().manual_seed(3)
    x, mean, spread = (
        torch.randn(shape, generator=draw, dtype=WIDE)
        for shape in ((ROWS, INPUTS), (OUTPUTS, INPUTS), (OUTPUTS, INPUTS))
    )
    x[1] = 0
    return x, mean, spread


def differentiated(f: Callable[..., Tensor]) -> list[Tensor]:
    leaves = [t.requires_grad_() for t in operands()]
    b = f(*leaves)
    weights = torch.linspace(-1, 2, b.numel(), dtype=WIDE).reshape(b.shape)
    return [b.detach(), *torch.autograd.grad((b * weights).sum(), leaves)]


def posterior(mean: Tensor, log_variance: Tensor) -> Posterior:
    return Posterior(mean, torch.exp(0.5 * log_variance), torch.exp(log_variance))


def agree(found: list[Tensor], wanted: list[Tensor]) -> None:
    for number, (a, b) in enumerate(zip(found, wanted, strict=True)):
        assert a.isfinite().all()
        gap = float((a - b).abs().max())
        assert gap <= 1e-13 * float(b.abs().max()), f"number {number}: {gap}"


def test_local_is_the_estimator_s() -> None:
    stream = torch.tensor([3, 1, 4, 1, 5])
    zeta = normals(stream[None], torch.empty(1, ROWS * OUTPUTS, dtype=WIDE)).view(ROWS, OUTPUTS)
    layer, noise = Layer("fc", (OUTPUTS, INPUTS)), Noise(lambda request: zeta)
    wanted = differentiated(lambda x, m, s: Local().preactivation(layer, x, posterior(m, s), noise))
    assert not wanted[1][1].isnan().any()
    for given in (zeta, stream):
        agree(differentiated(lambda x, m, s, z=given: references.local(x, m, s.exp(), z)), wanted)


def test_flipout_is_the_estimator_s() -> None:
    draw = torch.Generator().manual_seed(4)
    epsilon = torch.randn(OUTPUTS, INPUTS, generator=draw, dtype=WIDE)
    bits = [torch.randint(-(2**31), 2**31, (2,), generator=draw).to(torch.int32) for _ in "st"]

    def source(request: Request) -> Tensor:
        if request.law == "normal":
            return epsilon
        where = bits[0] if request.path[0] == "input" else bits[1]
        return signs_of_bits(where, torch.empty(request.shape, dtype=WIDE))

    layer, noise = Layer("fc", (OUTPUTS, INPUTS)), Noise(source)
    wanted = differentiated(
        lambda x, m, s: Flipout().preactivation(layer, x, posterior(m, s), noise)
    )
    agree(
        differentiated(
            lambda x, m, s: references.flipout(x, m, torch.exp(0.5 * s) * epsilon, *bits)
        ),
        wanted,
    )
