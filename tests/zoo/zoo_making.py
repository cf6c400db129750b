"""How an entry of the zoo is made: an estimator from a few lines, with what is known of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from estimators.local import Local, safe_sqrt
from estimators.naive import Naive
from vdbench.estimation.base import Declaration, Estimator, Gradient
from vdbench.estimation.pathwise import Pathwise
from vdbench.noise import Noise
from vdbench.problems.layers import Layer
from vdbench.problems.posterior import Posterior
from vdbench.problems.problem import Batch, Parameters, Problem

Kind = Literal["defect", "right"]


@dataclass(frozen=True)
class Entry:
    """One estimator of the zoo.

    Attributes:
        name: Its name.
        estimator: What is checked.
        kind: Whether it is wrong.
        about: What is wrong with it, or odd, in a few words.
        light: Of a right one, whether its tails are light, so that a certificate should decide.
    """

    name: str
    estimator: Estimator
    kind: Kind
    about: str
    light: bool = True


ENTRIES: dict[str, Entry] = {}


def add(
    name: str, estimator: Estimator, about: str, kind: Kind = "defect", light: bool = True
) -> None:
    """List an entry."""
    assert name not in ENTRIES, name
    ENTRIES[name] = Entry(name, estimator, kind, about, light)


def declared(name: str, **change: Any) -> Declaration:
    """What an entry declares: unbiased, normal noise, examples that share it."""
    values: dict[str, Any] = {
        "name": name, "objective": "elbo", "unbiased": True, "laws": ("normal",),
        "independent_examples": False, "version": "1",
    }  # fmt: skip
    return Declaration(**(values | change))


LOCAL: dict[str, Any] = {
    "independent_examples": True,
    "objective_on_convolution": "elbo-local-noise",
}
"""What estimators declare that sample pre-activations."""

Sample = Callable[[Layer, Tensor, Posterior, Noise], Tensor]


def sampler(
    about: str, kind: Kind = "defect", light: bool = True, **change: Any
) -> Callable[[Sample], Sample]:
    """Make an entry of a function that samples pre-activations."""

    def decorate(sample: Sample) -> Sample:
        name = sample.__name__.replace("_", "-")

        def preactivation(
            self: Pathwise, layer: Layer, x: Tensor, q: Posterior, noise: Noise
        ) -> Tensor:
            return sample(layer, x, q, noise)

        body = {"declared": declared(name, **change), "preactivation": preactivation}
        cls = dataclass(frozen=True)(type("Sampled", (Pathwise,), body))
        add(name, cls(), about, kind, light)
        return sample

    return decorate


def of_weights(layer: Layer, x: Tensor, q: Posterior, scale: Tensor, eps: Tensor) -> Tensor:
    """Pre-activations under one sample of the weights."""
    return layer.linear(x, q.mean + scale * eps)


def drawn(layer: Layer, q: Posterior, noise: Noise) -> Tensor:
    """A normal number for each weight."""
    return noise(layer.name, q.mean.shape)


def of_outputs(layer: Layer, x: Tensor, q: Posterior, variance: Tensor, noise: Noise) -> Tensor:
    """Independent pre-activations of a given variance."""
    mean = layer.linear(x, q.mean)
    return mean + safe_sqrt(variance) * noise(layer.name, mean.shape)


Change = Callable[[Gradient, Problem, Parameters, Batch, Noise], Gradient]
Prepare = Callable[[Problem, Parameters, Batch], tuple[Problem, Parameters, Batch]]


@dataclass(frozen=True)
class Altered(Pathwise):
    """Something done to the problem of an estimator, or to its gradient; comes before that estimator's class."""

    change: Change = lambda g, *_: g
    prepare: Prepare = lambda problem, at, batch: (problem, at, batch)

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """The gradient of what was prepared, changed."""
        found = super().__call__(*self.prepare(problem, parameters, batch), noise, state)
        return self.change(found, problem, parameters, batch, noise)


@dataclass(frozen=True)
class OfLocal(Altered, Local):
    """Local reparameterization, altered."""


@dataclass(frozen=True)
class OfNaive(Altered, Naive):
    """Weight sampling, altered."""


@dataclass(frozen=True)
class Made:
    """A class of estimators with a declaration of its own."""

    of: type[Estimator] = OfLocal
    more: dict[str, Any] = field(default_factory=dict)

    def __call__(self, name: str, **fields: Any) -> Estimator:
        """One of them."""
        base = {"laws": ("normal",), **(LOCAL if self.of is OfLocal else {})}
        own = declared(name, **(base | self.more))
        cls: Any = dataclass(frozen=True)(type("Made", (self.of,), {"declared": own}))
        found: Estimator = cls(**fields)
        return found


def changed(
    about: str,
    kind: Kind = "defect",
    light: bool = True,
    of: type[Estimator] = OfLocal,
    **more: Any,
) -> Callable[[Change], Change]:
    """Make an entry of a function that changes a right gradient."""

    def decorate(change: Change) -> Change:
        name = change.__name__.replace("_", "-")
        # what is done to the gradient of a minibatch, its examples share
        own = {"independent_examples": False} if kind == "right" else {}
        add(name, Made(of, own | more)(name, change=change), about, kind, light)
        return change

    return decorate


def prepared(
    about: str, of: type[Estimator] = OfLocal, **more: Any
) -> Callable[[Prepare], Prepare]:
    """Make a defect of a function that changes the problem, parameters or minibatch."""

    def decorate(prepare: Prepare) -> Prepare:
        name = prepare.__name__.replace("_", "-")
        add(name, Made(of, more)(name, prepare=prepare), about)
        return prepare

    return decorate


def each(gradient: Gradient, change: Callable[[str, Tensor], Tensor]) -> Gradient:
    """A gradient with something done to each parameter's part."""
    return Gradient(gradient.value, {n: change(n, g) for n, g in gradient.gradients.items()})


def times(gradient: Gradient, factor: float | Tensor) -> Gradient:
    """A gradient times a number."""
    return each(gradient, lambda _, g: g * factor)


def of_layer(name: str, problem: Problem) -> int:
    """Number of the noisy layer a parameter belongs to; −1 of none."""
    names = [layer.name for layer in problem.layers]
    owner = name.rpartition(".")[0]
    return names.index(owner) if owner in names else -1


def one_in(noise: Noise, count: int, like: Tensor) -> Tensor:
    """1 with probability 1/count, else 0."""
    return (noise.at("rare")("factor", (), law="uniform") < 1 / count).to(like.dtype)


def zeros_like(gradient: Gradient) -> Gradient:
    """No gradient."""
    return each(gradient, lambda _, g: torch.zeros_like(g))
