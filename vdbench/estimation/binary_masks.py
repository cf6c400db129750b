"""What the estimators for learned binary masks share: masks of a minibatch, costs under them, and slopes in the logits.

Every example m has masks B_m of its own, one number an input feature of each noisy layer, all layers together; its
cost is f_m(B_m) = N/M · log p(y_m | x_m, θ ∘ B_m). As the masks of an example touch no other's cost, each logit's
gradient is a sum over examples in which every mask meets the cost of its own example alone: had the whole minibatch's
cost been taken, the other examples' would only add noise.

What the estimators differ in is the gradient in the logits φ. Given the masks, the costs are ordinary functions of θ
and of the biases, and their gradients are averaged over all masks drawn.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import grad

from vdbench.errors import CellError, InputError
from vdbench.estimation.autodiff import differentiate
from vdbench.estimation.base import Estimator, Gradient
from vdbench.estimation.draws import gather, minibatch
from vdbench.estimation.validity import need_posterior
from vdbench.noise import Key, Noise, stream
from vdbench.problems.layers import Layer
from vdbench.problems.posterior import on_inputs
from vdbench.problems.problem import Batch, Parameters, Problem

Masks = Mapping[str, Tensor]
"""By layer, one number an example and input feature: (M, 1, inputs, 1, …), that broadcasts to the weights."""


@dataclass(frozen=True)
class Masked:
    """A network with masks on the inputs of its noisy layers, on one minibatch.

    Attributes:
        problem: Whose posterior is ``learned-binary``.
        parameters: All of them, the free ones to be differentiated in.
        fixed: The same numbers as constants.
        batch: M examples.
    """

    problem: Problem
    parameters: Parameters
    fixed: Parameters
    batch: Batch

    @property
    def logits(self) -> dict[str, Tensor]:
        """φ by layer, of a shape that broadcasts to the masks."""
        return {x.name: self.parameters[f"{x.name}.logit"] for x in self.problem.layers}

    def each(self, function: Callable[..., Tensor], *masks: Masks) -> dict[str, Tensor]:
        """A function of the logits, held constant, and of numbers of the masks' shape, layer by layer."""
        return {
            name: function(logit.detach(), *(mask[name] for mask in masks))
            for name, logit in self.logits.items()
        }

    def uniforms(self, noise: Noise) -> dict[str, Tensor]:
        """One uniform number for each number of the masks."""
        examples = len(self.batch.inputs)
        shapes = {
            x.name: self.problem.posterior(x, self.fixed).noise_shape for x in self.problem.layers
        }
        return {n: noise(n, (examples, *shape), law="uniform") for n, shape in shapes.items()}

    def costs(self, masks: Masks, at: Parameters | None = None) -> Tensor:
        """f_m under these masks, shape (M,), in nats.

        Args:
            masks: 0 or 1, or anything between.
            at: The parameters, if other ones; ``fixed`` leaves the masks alone to be differentiated in.
        """
        parameters = self.parameters if at is None else at

        def sampler(layer: Layer, x: Tensor) -> Tensor:
            return layer.linear(on_inputs(x, masks[layer.name]), parameters[f"{layer.name}.theta"])

        scale = self.problem.scale(self.batch)
        return scale * self.problem.log_likelihood(sampler, self.batch, parameters)

    def carried(self, values: Masks, slopes: Masks) -> dict[str, Tensor]:
        """Masks of these values with these derivatives, each in its own logit; both are constants in them."""
        return {
            name: values[name].detach() + slopes[name].detach() * (logit - logit.detach())
            for name, logit in self.logits.items()
        }

    def mask_slopes(self, masks: Masks) -> dict[str, Tensor]:
        """∂f_m/∂B of each example's own masks at these, of their shape; the parameters are constants."""

        def total(at: dict[str, Tensor]) -> Tensor:
            return self.costs(at, self.fixed).sum()

        slopes: dict[str, Tensor] = grad(total)({n: mask.detach() for n, mask in masks.items()})
        return slopes

    def slope(self, factors: Tensor, directions: Masks) -> Tensor:
        """A scalar whose gradient in the logits is Σ_m factor_m · direction_m, summed over all that share a logit.

        Args:
            factors: One an example, (M,).
            directions: Of the masks' shape. Both are constants in it.
        """
        terms = []
        for name, logit in self.logits.items():
            direction = directions[name]
            each = factors.reshape(-1, *(1 for _ in direction.shape[1:]))
            terms.append(((each * direction).detach() * logit).sum())
        return torch.stack(terms).sum()


class MaskEstimator(Estimator):
    """An estimator for learned binary masks. A subclass writes `surrogate`; the rest is the same for all."""

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """One draw; see `Estimator`.

        Raises:
            CellError: The posterior has no learned masks.
        """
        need_posterior(self, problem)

        def target(free: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            network = Masked(problem, {**parameters, **free}, parameters, batch)
            return self.given(network, noise, state)

        return Gradient(*differentiate(target, problem.free(parameters)))

    def given(self, network: Masked, noise: Noise, state: Any) -> tuple[Tensor, Tensor]:
        """`surrogate`, for an estimator that has a state; by default it is not used."""
        return self.surrogate(network, noise)

    def need_state(self, state: Any, option: str) -> None:
        """Refuse a draw without the state that an option needs.

        Raises:
            CellError: There is none.
        """
        if not state:
            raise CellError(
                f"estimator '{self.declaration.name}': {option} has a state and was given none; expected "
                "state=estimator.fit(problem, parameters, key)."
            )

    @abstractmethod
    def surrogate(self, network: Masked, noise: Noise) -> tuple[Tensor, Tensor]:
        """A scalar whose gradient is the estimate, and the estimate of the objective, Σ_m f_m, both in nats."""


PILOT_EXAMPLES = 64
"""Examples of a pilot minibatch of those that fit something."""


def pilots(problem: Problem, key: Key, count: int) -> Iterator[tuple[Batch, Key]]:
    """Minibatches of pilot draws, each with the key of its noise."""
    size = min(PILOT_EXAMPLES, problem.examples)
    for k in range(count):
        place = key / "pilot" / k
        yield gather(problem, minibatch(problem, size, place / "minibatch")), place


def pilot_noise(problem: Problem, key: Key) -> Noise:
    """The noise of a pilot draw, made in float64 and then cast, so that every type of numbers draws the same masks."""
    wide = stream(key, problem.device, torch.float64)
    return Noise(lambda request: wide.source(request).to(problem.dtype))


def kept(logit: Tensor, uniform: Tensor) -> Tensor:
    """The mask: 1 where u ≥ 1 − q, else 0, in the type of the uniform numbers."""
    return (uniform >= torch.sigmoid(-logit)).to(uniform.dtype)


def score(logit: Tensor, mask: Tensor) -> Tensor:
    """∂ log q(B)/∂φ = B − q, written so that no digits cancel where q is nearly 0 or 1."""
    return torch.where(mask > 0.5, torch.sigmoid(-logit), -torch.sigmoid(logit))


def logistic(uniform: Tensor) -> Tensor:
    """Ln u/(1−u), a standard logistic number, finite also where the generator gives 0 for a small number."""
    smallest = torch.finfo(uniform.dtype).eps / 4
    inner = uniform.clamp(smallest, 1 - 2 * smallest)
    return inner.log() - torch.log1p(-inner)


def flipped(logit: Tensor, uniform: Tensor) -> Tensor:
    """The mask of 1 − u: 1 where u < q, else 0."""
    return (uniform < torch.sigmoid(logit)).to(uniform.dtype)


def relaxed(logit: Tensor, uniform: Tensor, temperature: float) -> Tensor:
    """σ((φ + ln u/(1−u))/λ), above ½ where the mask of u is 1; differentiable in φ."""
    return torch.sigmoid((logit + logistic(uniform)) / temperature)


def need_temperature(name: str, temperature: float) -> None:
    """Refuse what is no temperature.

    Raises:
        InputError: It is not a finite number above 0.
    """
    if not 0 < temperature < math.inf:
        raise InputError(
            f"{name}: temperature must be a finite number above 0, not {temperature!r}."
        )


def slope_apart(logit: Tensor, mask: Tensor, z: Tensor) -> Tensor:
    """1 − ∂z̃/∂φ, of z̃ drawn given the mask: ∂z̃/∂φ = s(1 − e^{−|z|}), s the probability of the mask's value."""
    side = torch.where(mask > 0.5, torch.sigmoid(logit), torch.sigmoid(-logit))
    return 1 + side * torch.expm1(-z.abs())
