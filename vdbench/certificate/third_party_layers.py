"""Third-party layers in a certificate: what they are tried at, and how a check looks at one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from vdbench.certificate.finding import Finding
from vdbench.certificate.protocol import Asked
from vdbench.certificate.sampling import Subject
from vdbench.errors import InputError
from vdbench.estimation.base import Estimator, Wrapper
from vdbench.estimation.third_party import ForeignLayer, Spec, layer_inputs
from vdbench.problems.layers import Convolution, Layer
from vdbench.problems.posterior import Posterior

LAYERS: tuple[Layer, ...] = (Layer("dense", (4, 3)), Convolution("convolution", (4, 2, 3, 3)))
"""What a layer is tried at: no two sizes are equal, so that none is taken for another."""

ROOM = 1e-6
"""Relative difference, in float64, that is rounding."""

ROOM_OF_FLOAT32 = 1e-4
"""The same of a layer that works in float32 alone."""


def room(spec: Spec, layer: Layer) -> float:
    """What is rounding in this layer."""
    narrow = spec.narrow(layer, torch.zeros((), dtype=torch.float64))
    return ROOM_OF_FLOAT32 if narrow else ROOM


def innermost(estimator: Estimator) -> Estimator:
    """What is wrapped by all wrappers; the estimator itself where it is none."""
    while isinstance(estimator, Wrapper):
        estimator = estimator.of
    return estimator


def is_third_party(estimator: Estimator) -> bool:
    """Whether an estimator is a third-party layer, wrapped or not."""
    return isinstance(innermost(estimator), ForeignLayer)


def refuse(estimator: Estimator) -> None:
    """Try the factories of a third-party layer, the names of its parameters and one call; nothing of another estimator.

    Raises:
        InputError: A factory fails, the parameters are not those that were named, the layer takes more than its input,
            or returns no pre-activation where it is said to be.
    """
    inner = innermost(estimator)
    if isinstance(inner, ForeignLayer):
        for layer in LAYERS:
            if inner.spec.factory(layer) is not None:
                inner.spec.module(layer, torch.zeros((), dtype=torch.float64))
                _refuse_call(inner.spec, layer)


def _refuse_call(spec: Spec, layer: Layer) -> None:
    """Refuse a layer that cannot be called with an input, or whose output is no pre-activation."""
    x, q, bias = point(layer, 0, 0.1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            b, _ = spec.call(layer, x, q, bias if spec.bias else None)
    except InputError:
        raise
    except TypeError as error:
        if "argument" not in str(error):
            return
        raise InputError(
            f"{spec.where}: its forward cannot be called with an input alone: {error}; wrap it in a module that gives "
            "the rest."
        ) from error
    except Exception:
        return  # a failure of the layer's own, which its checks report
    expected = layer.linear(x, q.mean).shape
    if b.shape != expected:
        raise InputError(
            f"{spec.where}: its {layer.name} output has shape {tuple(b.shape)} for inputs {tuple(x.shape)}; expected "
            f"{tuple(expected)}: say which part of what it returns is the output with output=."
        )


Made = TypeVar("Made", bound=Asked)


def each_layer(
    name: str, subject: Subject, look: Callable[[Spec, Layer, int], Made]
) -> list[Finding | Made]:
    """What is found for each kind of layer, also where the estimator was registered without it.

    Args:
        name: Of the check.
        subject: A third-party layer, wrapped or not.
        look: Makes the finding of the layer's `Spec`, at a layer and a seed; or a question that becomes some.
    """
    inner = innermost(subject.estimator)
    assert isinstance(inner, ForeignLayer)
    return [
        look(inner.spec, layer, subject.key.seed())
        if inner.spec.factory(layer) is not None
        else Finding(name, layer.name, None, note=f"registered without {layer.name}=")
        for layer in LAYERS
    ]


def point(layer: Layer, seed: int, scale: float) -> tuple[Tensor, Posterior, Tensor]:
    """Inputs, a posterior whose σ is ``scale`` times a random number from 1 to 2, and a bias; all float64."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    x, mean = normal(5, *layer_inputs(layer)), normal(*layer.weight_shape)
    sigma = scale * (1 + normal(*layer.weight_shape).sigmoid())
    return x, Posterior(mean, sigma, sigma.square()), normal(layer.weight_shape[0])


def seeded(spec: Spec, layer: Layer, x: Tensor, q: Posterior, bias: Tensor, seed: int) -> Tensor:
    """One forward pass of a layer under a seeded global generator, which is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return spec.call(layer, x, q, bias)[0]


def unheard(spec: Spec, layer: Layer, x: Tensor, q: Posterior, bias: Tensor) -> str:
    """What is to be said where the output does not depend on a parameter that was named; empty where it does on all."""
    with torch.random.fork_rng(devices=[]):
        names = spec.ignored(layer, x, q, bias)
    if not names:
        return ""
    said = " and ".join(f"'{name}'" for name in names)
    return (
        f"the output does not depend on {said}: what it is computed from was computed once, in __init__, or is read "
        "from elsewhere than the module's parameters; compute it in forward."
    )
