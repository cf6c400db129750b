"""The KL that a third-party layer reports, compared with the exact one and with known mistakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from vdbench.estimation.third_party import Spec
from vdbench.problems.layers import Layer
from vdbench.problems.posterior import Posterior
from vdbench.problems.priors import GaussianPrior


class Compared(NamedTuple):
    """Value and gradient in (μ, σ) of the layer's KL, and how far they are from the exact ones.

    Attributes:
        value: Relative error of the value.
        gradient: Largest relative error of the gradients in μ and σ, each relative to its largest entry.
        like: Which known mistake gives this value, in words; empty where none does or it is right.
    """

    value: float
    gradient: float
    like: str


def exact(q: Posterior, variance: float) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, variance)), summed over the weights."""
    return GaussianPrior(variance).kl(q.mean, q.variance)


MISTAKES: dict[str, Callable[[Posterior, float], Tensor]] = {
    "the KL averaged over the weights instead of summed": lambda q, v: exact(q, v) / q.mean.numel(),
    "the KL with the wrong sign": lambda q, v: -exact(q, v),
    "the prior's variance used as its standard deviation": lambda q, v: exact(q, v**2),
    "the prior's variance used as its standard deviation, and the KL averaged over the weights instead of summed": (
        lambda q, v: exact(q, v**2) / q.mean.numel()
    ),
    "the prior's variance used as its precision": lambda q, v: exact(q, 1 / v),
    "KL(prior ‖ q) instead of KL(q ‖ prior)": lambda q, v: (
        0.5 * ((v + q.mean**2) / q.variance - 1 - (v / q.variance).log()).sum()
    ),
    "half the KL": lambda q, v: exact(q, v) / 2,
    "twice the KL": lambda q, v: 2 * exact(q, v),
}
"""Values that known defects give, as functions of q and the prior's variance."""

ROOM = 1e-6
"""Relative error that float64 allows a KL with softplus and logarithms in it."""


def compare(spec: Spec, layer: Layer, seed: int) -> Compared:
    """Compare the layer's KL at random (μ, σ) with the exact one, in float64.

    A bias of the layer's own is set to its prior, where its KL is 0.

    Args:
        spec: The layer's; it has a ``kl``.
        layer: At which size.
        seed: Of the random point.
    """
    generator = torch.Generator().manual_seed(seed)
    shape, wide = layer.weight_shape, torch.float64
    mean = torch.randn(shape, generator=generator, dtype=wide).requires_grad_()
    scale = (0.2 + torch.rand(shape, generator=generator, dtype=wide)).requires_grad_()
    q = Posterior(mean, scale, scale.square())
    own = _own(spec, layer, q)
    truth = exact(q, spec.prior_variance)
    wrong = [
        float((mine - right).abs().max() / right.abs().max())
        for mine, right in zip(
            torch.autograd.grad(own, (mean, scale), materialize_grads=True, allow_unused=True),
            torch.autograd.grad(truth, (mean, scale)),
            strict=True,
        )
    ]
    error = float((own - truth).detach().abs() / truth.detach().abs())
    return Compared(error, max(wrong), "" if error < ROOM else _like(own, q, spec.prior_variance))


def _own(spec: Spec, layer: Layer, q: Posterior) -> Tensor:
    """The KL that the layer gives at q, a scalar."""
    assert spec.kl is not None
    module = spec.module(layer, q.mean)
    values = spec.parameters(module, q)
    if spec.bias_scale:
        name, transform = spec.bias_scale
        at = torch.full((layer.weight_shape[0],), spec.prior_variance**0.5, dtype=q.mean.dtype)
        values[name] = transform.inverse(at, at)
    inputs = torch.ones(2, *layer_inputs(layer), dtype=q.mean.dtype)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        found = functional_call(_WithKL(module, spec.kl), _below(values), (inputs,))
    return torch.as_tensor(found).sum()


def _below(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"module.{name}": value for name, value in values.items()}


def layer_inputs(layer: Layer) -> tuple[int, ...]:
    """A shape of one example that a layer takes: a convolution's images are twice its kernel's size."""
    _, inputs, *kernel = layer.weight_shape
    return (inputs * int(getattr(layer, "groups", 1)), *(2 * k for k in kernel))


class _WithKL(nn.Module):
    """A layer whose forward returns its KL, so that methods are called while its parameters are ours."""

    def __init__(self, module: nn.Module, kl: Callable[[nn.Module, object], Tensor]) -> None:
        super().__init__()
        self.module, self.kl = module, kl

    def forward(self, x: Tensor) -> Tensor:
        return self.kl(self.module, self.module(x))


def _like(own: Tensor, q: Posterior, variance: float) -> str:
    for words, value in MISTAKES.items():
        if bool(torch.isclose(own, value(q, variance), rtol=ROOM)):
            return words
    return ""
