"""What a certificate asks of a third-party layer beyond what it asks of every estimator."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from vdbench.certificate.certificate import Finding
from vdbench.certificate.checks import third_party_kl
from vdbench.certificate.protocol import Test
from vdbench.certificate.sampling import Subject
from vdbench.errors import CellError
from vdbench.estimation.base import Estimator, Wrapper
from vdbench.estimation.third_party import ForeignLayer, Spec
from vdbench.estimation.third_party_transforms import TRANSFORMS
from vdbench.problems.layers import Convolution, Layer
from vdbench.problems.posterior import Posterior

MAPPING, SPREAD, DRAWS, KL = "layer mapping", "layer spread", "layer draws", "layer KL"
"""The names of these tests."""

LAYERS: tuple[Layer, ...] = (Layer("dense", (4, 3)), Convolution("convolution", (4, 2, 3, 3)))
"""What a layer is tried at: no two sizes are equal, so that none is taken for another."""

NONE = 1e-9
"""A scale at which the noise is below what `ROOM` sees."""
REPEATS = 400
"""Draws that a variance is estimated from: some 7 % are its standard error if all outputs share their noise."""
WIDE = 0.35
"""Relative difference of variances that is no accident: five of these standard errors."""
ROOM = 1e-6
"""Relative difference, in float64, that is rounding."""


def refuse(estimator: Estimator) -> None:
    """Try the factories of a third-party layer, and the names of its parameters; nothing of another estimator.

    Raises:
        InputError: A factory fails, or the parameters are not those that were named.
    """
    inner = estimator
    while isinstance(inner, Wrapper):
        inner = inner.of
    if isinstance(inner, ForeignLayer):
        for layer in LAYERS:
            if _factory(inner.spec, layer) is not None:
                inner.spec.module(layer, torch.zeros((), dtype=torch.float64))


def findings(spec: Spec, seed: int = 0) -> tuple[Finding, ...]:
    """All findings about a layer beyond those about every estimator, by test and kind of layer.

    Args:
        spec: The layer's.
        seed: Of the points that it is tried at.

    Raises:
        InputError: A factory fails, or the parameters are not those that were named.
    """
    return tuple(f for look in LOOKS for f in _each(look, spec, seed))


def _each(look: str, spec: Spec, seed: int) -> Iterator[Finding]:
    for layer in LAYERS:
        if _factory(spec, layer) is None:
            yield Finding(look, layer.name, None, note=f"registered without {layer.name}=")
        else:
            yield LOOKS[look](spec, layer, seed)


def _factory(spec: Spec, layer: Layer) -> object:
    return spec.convolution if isinstance(layer, Convolution) else spec.dense


def _point(layer: Layer, seed: int, scale: float) -> tuple[Tensor, Posterior, Tensor]:
    """Inputs, a posterior whose σ is ``scale`` times a random number from 1 to 2, and a bias; all float64."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    x, mean = normal(5, *third_party_kl.layer_inputs(layer)), normal(*layer.weight_shape)
    sigma = scale * (1 + normal(*layer.weight_shape).sigmoid())
    return x, Posterior(mean, sigma, sigma.square()), normal(layer.weight_shape[0])


def _seeded(spec: Spec, layer: Layer, x: Tensor, q: Posterior, bias: Tensor, seed: int) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return spec.call(layer, x, q, bias)[0]


def _mapping(spec: Spec, layer: Layer, seed: int) -> Finding:
    """Without noise the layer's output is its linear map of the mean, with the bias once."""
    x, q, bias = _point(layer, seed, NONE)
    note = "relative difference from the layer's map of the mean, with the scale next to 0"
    with torch.no_grad():
        b = _seeded(spec, layer, x, q, bias, seed)
        want = layer.linear(x, q.mean)
        want = layer.add_bias(want, bias) if spec.bias else want
    if b.shape != want.shape:
        shapes = f"the output has shape {tuple(b.shape)}, expected {tuple(want.shape)}"
        return Finding(MAPPING, layer.name, False, note=shapes, suggests=_WRONG_MAP)
    gap = float((b - want).abs().max() / want.abs().max())
    return Finding(
        MAPPING, layer.name, gap <= ROOM, gap, limit=ROOM, note=note,
        suggests="" if gap <= ROOM else _WRONG_MAP,
    )  # fmt: skip


_WRONG_MAP = (
    "either mean=, transposed= or output= names the wrong thing, or the layer's noise does not vanish with its scale, "
    "as where the whole sample μ + σε is perturbed instead of σε."
)


def _spread(spec: Spec, layer: Layer, seed: int) -> Finding:
    """The variance of the layer's output over its own draws is Σ x²σ², with σ of order 1."""
    x, q, bias = _point(layer, seed, 1.0)
    with torch.no_grad():
        drawn = [_seeded(spec, layer, x, q, bias, seed + k) for k in range(REPEATS)]
        found = torch.stack(drawn).var(0)
        want = layer.squared(x, q.variance)
    if found.shape != want.shape:
        return Finding(SPREAD, layer.name, None, note="the output has another shape")
    gap = float((found / want).mean()) - 1
    note = (
        "relative difference of the output's variance from Σ x²σ², mean over outputs and examples"
    )
    good = abs(gap) <= WIDE
    return Finding(
        SPREAD, layer.name, good, gap, limit=WIDE, note=note,
        suggests="" if good else _other_transform(spec, layer, x, q, found),
    )  # fmt: skip


def _other_transform(spec: Spec, layer: Layer, x: Tensor, q: Posterior, found: Tensor) -> str:
    """Name the transform under which the output's variances are nearest to those found, if it is near."""
    parameter = spec.transform.inverse(q.scale, q.mean)
    far = {}
    for name, transform in TRANSFORMS.items():
        want = layer.squared(x, transform.forward(parameter, q.mean).square())
        far[name] = float((found / want).log().abs().mean())
    near = min((name for name in far if math.isfinite(far[name])), key=far.__getitem__)
    said = "scale= names the wrong parameter or transform, or the layer's noise has another scale"
    named = f"; its variance is nearest to that of the transform '{near}'"
    return f"{said}{named if far[near] <= WIDE / 2 else ''}."


def _draws(spec: Spec, layer: Layer, seed: int) -> Finding:
    """Two forward passes in one backward pass have the gradient that they have one by one."""
    x, q, bias = _point(layer, seed, 0.5)
    mean, scale = q.mean.requires_grad_(), q.scale.requires_grad_()
    at = Posterior(mean, scale, scale.square())

    def loss(k: int) -> Tensor:
        return _seeded(spec, layer, x, at, bias, seed + k).square().sum()

    def gradient(value: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(value, (mean, scale), materialize_grads=True, allow_unused=True)

    alone = [gradient(loss(k)) for k in range(2)]
    note = "relative difference of the gradient of two draws in one backward pass from the sum of their own"
    try:
        together = gradient(loss(0) + loss(1))
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        return Finding(DRAWS, layer.name, False, note=f"{note}: {reason}", suggests=_BUFFER)
    gap = max(
        float((one - a - b).abs().max() / (a + b).abs().max())
        for one, a, b in zip(together, *alone, strict=True)
    )
    return Finding(
        DRAWS, layer.name, gap <= ROOM, gap, limit=ROOM, note=note,
        suggests="" if gap <= ROOM else _BUFFER,
    )  # fmt: skip


_BUFFER = (
    "a noise buffer of the layer is overwritten in place by its next forward pass, and autograd then multiplies the "
    "earlier draw's gradient by the later draw's noise: make a new tensor for every draw."
)


def _kl(spec: Spec, layer: Layer, seed: int) -> Finding:
    """The layer's own KL and its gradient are the closed form's."""
    if spec.kl is None:
        return Finding(KL, layer.name, None, note="registered without kl=")
    try:
        found = third_party_kl.compare(spec, layer, seed)
    except (CellError, RuntimeError, TypeError, AttributeError, IndexError, ValueError) as error:
        note = f"its KL fails with {type(error).__name__}: {str(error).splitlines()[0]}"
        return Finding(KL, layer.name, False, note=note)
    gap = max(found.value, found.gradient)
    good = gap <= third_party_kl.ROOM
    note = (
        f"relative error of KL(q ‖ N(0, {spec.prior_variance:g})): value {found.value:.3g}, gradient in mean and scale "
        f"{found.gradient:.3g}"
    )
    suggests = f"this value is {found.like}." if found.like else ""
    return Finding(
        KL, layer.name, good, gap, limit=third_party_kl.ROOM, note=note, suggests="" if good else suggests,
    )  # fmt: skip


LOOKS: dict[str, Callable[[Spec, Layer, int], Finding]] = {
    MAPPING: _mapping,
    SPREAD: _spread,
    DRAWS: _draws,
    KL: _kl,
}


def _ask(look: str, subject: Subject) -> list[Finding]:
    inner = subject.estimator
    while isinstance(inner, Wrapper):
        inner = inner.of
    assert isinstance(inner, ForeignLayer)
    return list(_each(look, inner.spec, subject.key.seed()))


TESTS = (
    Test(MAPPING, "without noise, the layer's map of the mean", partial(_ask, MAPPING)),
    Test(SPREAD, "the variance of its output over its own draws", partial(_ask, SPREAD)),
    Test(DRAWS, "two forward passes in one backward pass", partial(_ask, DRAWS)),
    Test(KL, "the layer's KL and its gradient", partial(_ask, KL)),
)
"""What a certificate of a third-party layer tests besides."""
