"""Gradients of pathwise estimators as products that are not formed: dW = δᵀx for each use of a dense layer's weights.

A dense layer b = xWᵀ has the gradient δᵀx in W, δ the slope of the objective in b. What is measured of many draws is a
sum over the weights, for which δ and x will do: gradients can be formed a few rows at a time, in memory that is reused,
or not at all. So that nothing else is lost, a layer's law is handed to the estimator as leaves (mean, scale, variance),
and every use of them in ``layer.linear`` and ``layer.squared`` is replaced by the same product of constants plus a
zero, in which δ is the slope. An estimator that uses a leaf in any other way has a slope in the leaf itself: it is
`Refused`, and its gradients are formed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import vmap

from vdbench.arithmetic import ROUNDED
from vdbench.estimation.autodiff import vectorising
from vdbench.estimation.base import Estimator
from vdbench.estimation.pathwise import Pathwise, noise_of_calls
from vdbench.noise import Injected, Noise, Request
from vdbench.problems.layers import Layer
from vdbench.problems.posterior import Posterior
from vdbench.problems.problem import Batch, Parameters, Problem

FIELDS = ("mean", "scale", "variance")
"""Of a posterior, in which an estimator's gradient is a product."""

SAMPLED = {"weights": ("mean", "scale"), "perturbation": ("scale",)}
"""What is made of noise, and the fields in which it has a gradient."""

LEAVES = (*FIELDS, "log_alpha")
"""Of a posterior, a use of which elsewhere is seen."""


class Refused(Exception):
    """The estimator uses the law of a layer's weights in a way that is no product of a dense layer."""


class Product(NamedTuple):
    """One use of a layer's weights by P·D draws: D draws on each of P minibatches.

    Attributes:
        layer: The layer's name.
        kind: What met the inputs: one of `FIELDS`, or one of `SAMPLED`: ``weights``, a sample mean + scale ∘ z, or
            ``perturbation``, its noise scale ∘ z alone.
        slopes: δ, (P, D, M, outputs).
        inputs: x, or x² for ``variance``, (P, D, M, inputs); without memory of its own where all draws share it.
        noise: z of a sample, (P, D, outputs, inputs); None of a field.
    """

    layer: str
    kind: str
    slopes: Tensor
    inputs: Tensor
    noise: Tensor | None

    def of(self, places: slice) -> Product:
        """The draws on some of the minibatches."""
        noise = None if self.noise is None else self.noise[places]
        return Product(self.layer, self.kind, self.slopes[places], self.inputs[places], noise)


class Drawn(NamedTuple):
    """P·D gradients.

    Attributes:
        products: Every use of weights.
        biases: Gradients in biases by parameter, (P, D, outputs).
    """

    products: list[Product]
    biases: dict[str, Tensor]

    def of(self, places: slice) -> Drawn:
        """The draws on some of the minibatches."""
        biases = {name: value[places] for name, value in self.biases.items()}
        return Drawn([product.of(places) for product in self.products], biases)


def why_formed(estimator: Estimator, problem: Problem, parameters: Parameters) -> str:
    """Why gradients of an estimator must be formed on a problem; '' if products may do."""
    form = problem.parameterization
    if problem.precision in ROUNDED:
        return f"gradients are rounded as products in {problem.precision} are"
    if type(estimator).__call__ is not Pathwise.__call__ or not estimator.declaration.pure:
        return "the estimator is not one of sampled pre-activations alone"
    if not form.elementwise:
        return f"weights share coordinates of the posterior '{form.name}'"
    if form.law != "normal" or form.sharing != "weights":
        return f"the posterior '{form.name}' is not one of independent normal weights"
    return why_not_dense(problem, parameters)


def why_not_dense(problem: Problem, parameters: Parameters) -> str:
    """Why a network is not one of dense layers alone that vectorises; '' if it is."""
    behaviour, roles = problem.behaviour, problem.parameterization.roles
    if not all(type(layer) is Layer and used_once(problem, layer) for layer in problem.layers):
        return "not all noisy layers are dense layers that an example meets once"
    own = {f"{layer.name}.{name}" for layer in problem.layers for name in (*roles, "bias")}
    if set(parameters) - own:
        return "the network has parameters outside its noisy layers"
    plain = behaviour.precision is None and behaviour.of_likelihood is None
    if not (behaviour.vectorises and plain) or behaviour.derives:
        return "draws of this network are not taken together"
    return ""


def used_once(problem: Problem, layer: Layer) -> bool:
    """Whether an example meets a layer in one place of one call, with the examples on the first axis."""
    use, folds = problem.uses[layer.name], problem.behaviour.folds.get(layer.name, ())
    return use.places == 1 and use.calls == 1 and all(fold.plain for fold in folds)


class _Law(Posterior):
    """A posterior whose fields are leaves; it notes the samples that are made of them."""

    uses: _Uses

    def weights(self, z: Tensor) -> Tensor:
        return self._noted("weights", torch.addcmul(self.mean, self.scale, z), z)

    def perturbation(self, z: Tensor) -> Tensor:
        return self._noted("perturbation", self.scale * z, z)

    def _noted(self, kind: str, w: Tensor, z: Tensor) -> Tensor:
        uses = getattr(self, "uses", None)
        # none where an estimator replaced a field: the sample is no longer one of the leaves
        if uses is not None:
            uses.samples[id(w)] = (kind, w, z, w._version)
        return w


class _Dense(Layer):
    """A dense layer whose products are noted."""

    uses: _Uses

    def linear(self, x: Tensor, weight: Tensor) -> Tensor:
        return self.uses.product(self.name, x, weight)

    def squared(self, x: Tensor, variance: Tensor) -> Tensor:
        return self.uses.product(self.name, x.square(), variance)


@dataclass
class _Uses:
    """One forward pass: each product with a leaf becomes one of constants, plus a zero that its slope is taken in.

    Attributes:
        laws: Leaves of each layer.
        taps: A zero for each product, in order; None where the products are still to be counted.
    """

    laws: Mapping[str, Posterior]
    taps: Sequence[Tensor] | None
    kinds: list[tuple[str, str]] = field(default_factory=list)
    inputs: list[Tensor] = field(default_factory=list)
    noise: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    samples: dict[int, tuple[str, Tensor, Tensor, int]] = field(default_factory=dict)

    def law(self, layer: Layer) -> Posterior:
        """The leaves of a layer, as an estimator is given them."""
        found = _Law(*self.laws[layer.name])
        found.uses = self
        return found

    def layer(self, layer: Layer) -> Layer:
        """A layer as an estimator is given it."""
        found = _Dense(layer.name, layer.weight_shape)
        object.__setattr__(found, "uses", self)
        return found

    def product(self, name: str, x: Tensor, weight: Tensor) -> Tensor:
        """Pre-activations of inputs under a weight, noted where the weight is a leaf or a sample of leaves."""
        law = self.laws[name]
        kind = next((f for f in FIELDS if getattr(law, f) is weight), "")
        sampled, sample, z, version = self.samples.get(id(weight), ("", None, None, 0))
        if sample is weight and z is not None:
            if weight._version != version:  # written to since it was made
                raise Refused
            kind = sampled
            self.noise.append(z)
        if not kind:
            return F.linear(x, weight)
        if x.dim() != 2:
            raise Refused
        b = F.linear(x, weight.detach())
        number = len(self.kinds)
        self.kinds.append((name, kind))
        self.inputs.append(x)
        self.outputs.append(b)
        if self.taps is None:
            return b
        if number >= len(self.taps) or self.taps[number].shape != b.shape:
            raise Refused
        return b + self.taps[number]


@dataclass
class Products:
    """An estimator at fixed parameters, whose gradients are drawn as products.

    Attributes:
        estimator: For which `why_formed` has nothing to say.
        problem: Where.
        parameters: At which parameters.
    """

    estimator: Pathwise
    problem: Problem
    parameters: Parameters
    laws: dict[str, Posterior] = field(init=False)
    biases: dict[str, Tensor] = field(init=False)
    _surveys: dict[torch.Size, tuple[list[tuple[str, str]], list[torch.Size]]] = field(
        init=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        """Compute the laws once: they are the same for all draws."""
        self.laws = {}
        for layer in self.problem.layers:
            with torch.no_grad():
                law = self.problem.posterior(layer, self.parameters)
            leaves = {
                f: getattr(law, f).detach().requires_grad_()
                for f in LEAVES
                if getattr(law, f) is not None
            }
            self.laws[layer.name] = law._replace(**leaves)
        free = self.problem.free(self.parameters)
        self.biases = {n: v for n, v in free.items() if n.rpartition(".")[2] == "bias"}

    def draw(self, batches: Batch, noise: Mapping[Request, Tensor]) -> Drawn:
        """D draws on each of P minibatches.

        Args:
            batches: Inputs (P, M, …).
            noise: With first dimensions (P, D).

        Raises:
            Refused: Not all of the gradient is a product.
        """
        requests, values = list(noise), list(noise.values())
        shape = tuple(values[0].shape[:2]) if values else (len(batches.inputs), 1)
        kinds, sizes = self._survey(
            Batch(*(t[0] for t in batches)), {r: v[0, 0] for r, v in noise.items()}
        )
        like = next(iter(self.parameters.values()))
        taps = [like.new_zeros(()).expand(*shape, *size).requires_grad_() for size in sizes]
        biases = {
            name: value.detach().expand(*shape, *value.shape).requires_grad_()
            for name, value in self.biases.items()
        }

        def one(
            inputs: Tensor,
            targets: Tensor,
            taps: list[Tensor],
            biases: dict[str, Tensor],
            numbers: list[Tensor],
        ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
            uses = _Uses(self.laws, taps)
            given = dict(zip(requests, numbers, strict=True))
            value = self._value(uses, Batch(inputs, targets), biases, given)
            if uses.kinds != kinds:
                raise Refused
            return value, uses.inputs, uses.noise

        with torch.enable_grad(), vectorising():
            # what does not depend on the noise is computed once for the draws of a minibatch
            draws = vmap(one, (None, None, 0, 0, 0))
            value, inputs, z = vmap(draws)(*batches, taps, biases, values)
            found = self._slopes(value.sum(), [*taps, *biases.values()])
        if any(
            noise.requires_grad for noise in z
        ):  # made of weights or inputs, and lost as a constant
            raise Refused
        slopes, others = found[: len(taps)], found[len(taps) :]
        own = iter(z)
        products = [
            Product(*kind, slope, x.detach(), next(own).detach() if kind[1] in SAMPLED else None)
            for kind, slope, x in zip(kinds, slopes, inputs, strict=True)
        ]
        return Drawn(products, dict(zip(biases, others, strict=True)))

    def _slopes(self, value: Tensor, places: list[Tensor]) -> list[Tensor]:
        every = [getattr(law, f) for law in self.laws.values() for f in LEAVES]
        leaves = [leaf for leaf in every if leaf is not None]
        if not value.requires_grad:
            return [torch.zeros_like(p) for p in places]
        found = torch.autograd.grad(value, [*places, *leaves], allow_unused=True)
        if any(slope is not None for slope in found[len(places) :]):
            raise Refused
        return [
            torch.zeros_like(p) if s is None else s for s, p in zip(found, places, strict=False)
        ]

    def _survey(
        self, batch: Batch, noise: Mapping[Request, Tensor]
    ) -> tuple[list[tuple[str, str]], list[torch.Size]]:
        """The uses of one pass, and the shape of each; looked at once for each size of a minibatch."""
        size = batch.inputs.shape
        if size not in self._surveys:
            uses = _Uses(self.laws, None)
            with torch.no_grad():
                self._value(uses, batch, {}, noise)
            self._surveys[size] = uses.kinds, [b.shape for b in uses.outputs]
        return self._surveys[size]

    def _value(
        self,
        uses: _Uses,
        batch: Batch,
        biases: Mapping[str, Tensor],
        noise: Mapping[Request, Tensor],
    ) -> Tensor:
        source = noise_of_calls(self.estimator, self.problem, Noise(Injected(noise)))

        def sampler(layer: Layer, x: Tensor) -> Tensor:
            return self.estimator.preactivation(
                uses.layer(layer), x, uses.law(layer), source(layer)
            )

        likelihoods = self.problem.log_likelihood(sampler, batch, {**self.parameters, **biases})
        return self.problem.scale(batch) * likelihoods.sum()


def slopes_of_coordinates(
    problem: Problem, layer: Layer, parameters: Parameters
) -> dict[str, dict[str, Tensor | None]]:
    """How each field of a layer's law changes with each of its free coordinates, weight by weight.

    Returns:
        By parameter and field, of the weights' shape; None where the field is the coordinate itself. A field that does
        not depend on a coordinate is left out.
    """
    names = problem.parameterization.roles
    wide = {
        n: parameters[f"{layer.name}.{n}"]
        .detach()
        .expand(layer.weight_shape)
        .clone()
        .requires_grad_()
        for n in names
    }
    with torch.enable_grad():
        law = problem.parameterization.gaussian(wide)
        fields = {f: getattr(law, f) for f in FIELDS}
    free = problem.free(parameters)
    found: dict[str, dict[str, Tensor | None]] = {}
    for name, coordinate in wide.items():
        parameter = f"{layer.name}.{name}"
        if parameter not in free:
            continue
        found[parameter] = {}
        for f, value in fields.items():
            if value is coordinate:
                found[parameter][f] = None
            elif value.requires_grad:
                (slope,) = torch.autograd.grad(
                    value.sum(), coordinate, retain_graph=True, allow_unused=True
                )
                if slope is not None:
                    found[parameter][f] = slope
    return found
