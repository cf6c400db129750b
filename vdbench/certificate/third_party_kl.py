"""The KL that a third-party layer reports, beside the exact one and known mistakes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from vdbench.certificate.own_noise import LOOPED, TOGETHER, Rows, agree, others, together
from vdbench.estimation.third_party import Spec, in_float32, layer_inputs, own_buffers, unchanged
from vdbench.noise import Key
from vdbench.problems.layers import Layer
from vdbench.problems.posterior import Posterior
from vdbench.problems.priors import GaussianPrior

ROOM = 1e-3
"""Relative error that is allowed: small numbers are added to variances for safety, and no known mistake is so small."""

EQUAL = 1e-12
"""Relative difference of two draws by which a KL is sampled."""

NODES = 40001
"""Of the sum over one weight, from −`WIDTH` to `WIDTH` standard deviations of q: dense enough for a narrow prior."""

WIDTH = 10.0

Value = tuple[Tensor, Tensor, Tensor]
"""A KL, and its gradients in μ and σ."""


def exact(q: Posterior, spec: Spec) -> Tensor:
    """KL(q ‖ the layer's own prior), summed over the weights."""
    if spec.log_prior is None:
        return GaussianPrior(spec.prior_variance).kl(q.mean, q.variance)
    return _summed(q, spec.log_prior)


def _summed(q: Posterior, log_prior: Callable[[Tensor], Tensor]) -> Tensor:
    """E_q[log q − log p] by the trapezoidal rule in ε, which is exact to all digits for smooth log-densities."""
    eps = torch.linspace(-WIDTH, WIDTH, NODES, dtype=q.mean.dtype)
    density = torch.exp(-eps.square() / 2) / math.sqrt(2 * math.pi) * (eps[1] - eps[0])
    mean, scale = q.mean.flatten(), q.scale.flatten()
    cross = torch.stack(
        [(density * log_prior(m + s * eps)).sum() for m, s in zip(mean, scale, strict=True)]
    )
    entropy = scale.log() + (1 + math.log(2 * math.pi)) / 2
    return -(entropy + cross).sum()


def mistakes(q: Posterior, spec: Spec) -> dict[str, Tensor]:
    """Values that known defects give, by what they are."""
    truth, count = exact(q, spec), q.mean.numel()
    found = {
        "the KL averaged over the weights instead of summed": truth / count,
        "the KL with the wrong sign": -truth,
        "half the KL": truth / 2,
        "twice the KL": 2 * truth,
    }
    if spec.log_prior is not None:
        return found
    v = spec.prior_variance

    def normal(variance: float) -> Tensor:
        return GaussianPrior(variance).kl(q.mean, q.variance)

    return {
        **found,
        "the prior's variance used as its standard deviation": normal(v**2),
        "the prior's variance used as its standard deviation, and the KL averaged over the weights instead of summed": (
            normal(v**2) / count
        ),
        "the prior's variance used as its precision": normal(1 / v),
        "KL(prior ‖ q) instead of KL(q ‖ prior)": (
            0.5 * ((v + q.mean**2) / q.variance - 1 - (v / q.variance).log()).sum()
        ),
    }


ALIKE = 0.3
"""Relative difference of gradients that does not exclude a mistake."""


def like(found: Value, room: float, place: Place) -> str:
    """Which known mistake has this value, to within ``room``, and this gradient; in words, empty where none has."""
    near = []
    for words, value in mistakes(place.fresh(), place.spec).items():
        if abs(float(found[0]) - float(value.detach())) <= room:
            _, *gradients = place.differentiated(value)
            far = [
                float((mine - its).abs().max() / its.abs().max())
                for mine, its in zip(found[1:], gradients, strict=True)
            ]
            near += [words] if max(far) <= ALIKE else []
    return ", or ".join(near)


@dataclass(frozen=True)
class Place:
    """A layer at random (μ, σ), in float64, where its KL is asked for.

    A bias of the layer's own is set to a normal distribution of the prior's variance: its KL is 0 where that is the
    prior.

    Attributes:
        spec: The layer's; it has a ``kl``.
        layer: At which size.
        seed: Of (μ, σ) and of the draws.
    """

    spec: Spec
    layer: Layer
    seed: int

    @cached_property
    def q(self) -> Posterior:
        """The posterior; mean and scale are leaves of its gradients."""
        generator = torch.Generator().manual_seed(self.seed)
        shape, wide = self.layer.weight_shape, torch.float64
        mean = torch.randn(shape, generator=generator, dtype=wide).requires_grad_()
        scale = (0.2 + torch.rand(shape, generator=generator, dtype=wide)).requires_grad_()
        return Posterior(mean, scale, scale.square())

    @cached_property
    def truth(self) -> Value:
        """The exact KL of the weights."""
        return self.differentiated(exact(self.q, self.spec))

    @cached_property
    def bias(self) -> float:
        """The exact KL of the bias, which a layer may count or leave out; 0 where it is set to its prior."""
        if not self.spec.bias_scale or self.spec.log_prior is None:
            return 0.0
        scale = torch.full((self.layer.weight_shape[0],), self.spec.prior_variance**0.5).double()
        return float(_summed(Posterior(0 * scale, scale, scale.square()), self.spec.log_prior))

    def draw(self, *address: str | int) -> Value:
        """The layer's KL of one draw, whose noise has this address."""
        with self._seeded(*address):
            return self.differentiated(_own(self.spec, self.layer, self.q, self._inputs))

    def draws(self, count: int, *address: str | int) -> Value:
        """The layer's KL of many draws, each part (count, …); in one call where that is right."""
        if self.in_one_call:
            return self._vectorised(count, *address)
        drawn = [self.draw(*address, k) for k in range(count)]
        value, mean, scale = (torch.stack(part) for part in zip(*drawn, strict=True))
        return value, mean, scale

    @cached_property
    def in_one_call(self) -> bool:
        """Whether draws in one vectorised call are those of a loop, as far as can be seen."""
        drawn = [self.draw("looped", k) for k in range(LOOPED)]
        before = others()
        try:
            found = self._vectorised(TOGETHER, "together")
        except Exception:  # whatever a layer does in vmap, it does not do in a loop
            return False
        one = {str(k): _rows(torch.stack([d[k] for d in drawn])) for k in range(3)}
        many = {str(k): _rows(part) for k, part in enumerate(found)}
        return before == others() and agree(one, many)

    def _vectorised(self, count: int, *address: str | int) -> Value:
        q = self.q

        def one(nothing: Tensor) -> tuple[Any, Tensor]:
            def kl(mean: Tensor, scale: Tensor) -> Tensor:
                at = Posterior(mean, scale, scale.square())
                return _own(self.spec, self.layer, at, self._inputs + nothing)

            return grad_and_value(kl, argnums=(0, 1))(q.mean.detach(), q.scale.detach())

        with self._seeded(*address), together():
            zeros = torch.zeros(count, dtype=q.mean.dtype)
            (mean, scale), value = vmap(one, randomness="different")(zeros)
        return value.detach(), mean.detach(), scale.detach()

    @property
    def _inputs(self) -> Tensor:
        return torch.ones(2, *layer_inputs(self.layer), dtype=self.q.mean.dtype)

    @contextmanager
    def _seeded(self, *address: str | int) -> Iterator[None]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(Key(("layer KL", self.seed, *address)).seed())
            yield

    def fresh(self) -> Posterior:
        """The posterior with a graph of its own, whose leaves are the same."""
        return Posterior(self.q.mean, self.q.scale, self.q.scale.square())

    def differentiated(self, value: Tensor) -> Value:
        """A value that was computed from the posterior, with its gradients."""
        # q's leaves serve every draw: their graph has nothing that a backward pass frees
        q = self.q
        if not value.requires_grad:
            return value, torch.zeros_like(q.mean), torch.zeros_like(q.scale)
        mean, scale = torch.autograd.grad(
            value, (q.mean, q.scale), materialize_grads=True, allow_unused=True, retain_graph=True
        )
        return value.detach(), mean, scale


def _rows(part: Tensor) -> Rows:
    return part.detach().reshape(len(part), -1).numpy()


def errors(found: Value, place: Place) -> tuple[float, float]:
    """Relative error of the value, and the largest of the gradients, each relative to its largest entry."""
    value, *gradients = place.truth
    own = float(found[0])
    # a layer may count its bias's KL or not
    gap = min(abs(own - float(value)), abs(own - float(value) - place.bias))
    wrong = [
        float((mine - right).abs().max() / right.abs().max())
        for mine, right in zip(found[1:], gradients, strict=True)
    ]
    return gap / abs(float(value)), max(wrong)


def _own(spec: Spec, layer: Layer, q: Posterior, x: Tensor) -> Tensor:
    """The KL that the layer gives at q, a scalar, after a forward pass of these inputs."""
    assert spec.kl is not None
    if spec.narrow(layer, x):
        x, q = x.float(), in_float32(q)
    module = spec.module(layer, q.mean)
    # σ² is a node of the graph between draws, so each has its own
    values = spec.parameters(module, Posterior(q.mean, q.scale, q.scale.square()))
    if spec.bias_scale:
        _, transform = spec.bias_scale
        at = torch.full((layer.weight_shape[0],), spec.prior_variance**0.5, dtype=q.mean.dtype)
        values = spec.with_bias_scale(module, values, transform.inverse(at, at))
    values |= own_buffers(module, x)
    with unchanged(module):
        found = functional_call(_WithKL(module, spec.kl), _below(values), (x,))
    return torch.as_tensor(found).sum().double()


def _below(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"module.{name}": value for name, value in values.items()}


class _WithKL(nn.Module):
    """A layer whose forward returns its KL, so that methods are called while its parameters are ours."""

    def __init__(self, module: nn.Module, kl: Callable[[nn.Module, object], Tensor]) -> None:
        super().__init__()
        self.module, self.kl = module, kl

    def forward(self, x: Tensor) -> Tensor:
        return self.kl(self.module, self.module(x))
