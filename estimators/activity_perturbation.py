"""Forward gradients by activity perturbation: random directions in the pre-activations of another estimator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from estimators.naive import Naive
from vdbench import (
    Batch,
    Estimator,
    Gradient,
    InputError,
    Layer,
    Noise,
    Parameters,
    Pathwise,
    Problem,
    Wrapper,
    differentiate,
    register,
)
from vdbench.estimation import taylor
from vdbench.estimation.base import Declaration
from vdbench.estimation.pathwise import noise_of_calls
from vdbench.estimation.perturbation import without_noise
from vdbench.estimation.validity import need_posterior
from vdbench.noise import Injected, Kept
from vdbench.problems.layers import WholeWeight

Call = tuple[Layer, Tensor, Tensor]
"""A call of a noisy layer: the layer, its input, and the direction of its pre-activations."""


@register("activity-perturbation", version="1")
@dataclass(frozen=True)
class ActivityPerturbation(Wrapper):
    r"""The derivative of each example's cost along a random direction in its pre-activations, times that direction.

    Formula: $\hat g_{b_m} = \frac1D\sum_d(\nabla_{b_m}\ell_m\cdot v_{md})\,v_{md}$, $v_{md} \sim N(0, I)$;
    $g = \sum_m\hat g_{b_m}\cdot\partial b_m/\partial(\mu, \sigma)$, layer by layer, inputs of the layer held fixed.

    $b_m$ are the pre-activations of example $m$ in all noisy layers, as the wrapped estimator samples them. Given its
    noise, $E[\hat g_{b_m}]$ is the derivative of the cost in $b_m$ through all later layers. The last factor is the
    chain rule within one layer: for naive sampling $\hat g_{b_m}x_m^\top$ in the weights. The mean is therefore that of
    the wrapped estimator. What is perturbed is one number a pre-activation and example, where ``forward-gradient``
    perturbs one a weight: U outputs of all layers against P weights. Given the noise, the summed variance of
    $\hat g_{b_m}$ is $\frac{U+1}D\lVert\nabla_{b_m}\ell_m\rVert^2$. As the directions of different examples are
    independent, it also falls with the minibatch size.

    No pass goes backward through the network: every layer's gradient needs its own input and its own
    $\hat g_{b_m}$. A weight without pre-activations of its own, such as an embedding, is perturbed itself, once for
    the minibatch. Parameters of layers without noise get their ordinary gradient.

    Claim: as the wrapped estimator; the network must have forward-mode derivatives.
    Cost: 1 forward-mode pass (2 products forward) a direction, and 1 product backward per layer; the wrapped
    estimator's noise and M·L numbers a direction.
    Source: Fiete & Seung 2006 (node perturbation); Ren, Kornblith, Liao & Hinton 2023 (*Scaling forward gradient with
    local losses*).

    Attributes:
        of: The wrapped estimator, one that samples pre-activations and differentiates through them.
        directions: D, at one sample.

    Example:
        >>> import vdbench
        >>> vdbench.get("activity-perturbation", of="local")
        ActivityPerturbation(of=Local(), directions=1)
    """

    of: Estimator = field(default_factory=Naive)
    directions: int = 1

    def __post_init__(self) -> None:
        """Refuse fewer than one direction, and an estimator that does not sample pre-activations alone."""
        super().__post_init__()
        if self.directions < 1:
            raise InputError(f"{self.named}: directions must be at least 1, not {self.directions}.")
        plain = type(self.of).__call__ is Pathwise.__call__ and self.of.declaration.pure
        if not plain:
            raise InputError(
                f"{self.named}: estimator '{self.of.declaration.name}' is more than a sampler of pre-activations that "
                "are differentiated through; expected one such as naive, local or flipout."
            )

    @property
    def declaration(self) -> Declaration:
        """That of the inner estimator, with the normal numbers of the directions."""
        inner = super().declaration
        return inner if "normal" in inner.laws else replace(inner, laws=(*inner.laws, "normal"))

    @property
    def pathwise(self) -> bool:
        """It is not: the directions are no path of the cost's noise."""
        return False

    @property
    def costs_without_gradient(self) -> bool:
        """Its costs."""
        return True

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """One sample of the wrapped estimator, D directions at it.

        Raises:
            CellError: The wrapped estimator is not valid for the posterior, or the network has no forward-mode
                derivative.
        """
        need_posterior(self.of, problem)
        kept = Kept(noise.source)
        own = Noise(kept, noise.path)
        slopes: list[Call] = []
        for d in range(self.directions):
            some, value = self._direction(problem, parameters, batch, own, noise.at("direction", d))
            known = [slope for _, _, slope in slopes]
            slopes = [
                (layer, x, slope / self.directions + (known[i] if known else 0.0))
                for i, (layer, x, slope) in enumerate(some)
            ]
            own = Noise(Injected(kept.answers), noise.path)
        return self._chained(problem, parameters, batch, own, slopes, value)

    def _sampler(
        self, problem: Problem, at: Parameters, noise: Noise
    ) -> Callable[[Layer, Tensor], Tensor]:
        """The wrapped estimator's pre-activations; its noise is that of the calls in their order."""
        assert isinstance(self.of, Pathwise)
        inner, source = self.of, noise_of_calls(self.of, problem, noise)
        return lambda layer, x: inner.preactivation(
            layer, x, problem.posterior(layer, at), source(layer)
        )

    def _direction(
        self, problem: Problem, parameters: Parameters, batch: Batch, own: Noise, noise: Noise
    ) -> tuple[list[Call], Tensor]:
        """The slope of each pre-activation of each call, along one direction; and the cost."""
        calls: list[Call] = []
        scale = problem.scale(batch)

        def cost(t: Tensor) -> dict[str, Tensor]:
            sample, number = self._sampler(problem, parameters, own), [0]

            def sampler(layer: Layer, x: Tensor) -> Tensor:
                b = sample(layer, x)
                v = noise.at("call", number[0])(layer.name, b.shape)
                number[0] += 1
                calls.append((layer, x, v))
                return b + t * v

            found = scale * problem.log_likelihood(sampler, batch, parameters)
            inputs = {str(i): x for i, (_, x, _) in enumerate(calls)}
            return {"cost": found, **inputs}

        zero = torch.zeros((), device=problem.device, dtype=problem.dtype)
        what = "a forward gradient is a derivative along a direction"
        value, slope = taylor.along(cost, (zero,), (torch.ones_like(zero),), what)
        found = []
        for i, (layer, _, v) in enumerate(calls):
            along = slope["cost"]
            one = isinstance(layer, WholeWeight)  # one weight for all examples
            each = along.sum() if one else along.reshape(-1, *(1 for _ in v.shape[1:]))
            found.append((layer, value[str(i)].detach(), (each * v).detach()))
        return found, value["cost"].sum().detach()

    def _chained(
        self,
        problem: Problem,
        parameters: Parameters,
        batch: Batch,
        noise: Noise,
        slopes: list[Call],
        value: Tensor,
    ) -> Gradient:
        """From the pre-activations of each call to the parameters of its layer."""
        own = {f"{layer.name}.bias" for layer, _, _ in slopes if not isinstance(layer, WholeWeight)}
        ordinary = [n for n in without_noise(problem, parameters) if n not in own]

        def target(free: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            at = {**parameters, **free}
            sample = self._sampler(problem, at, noise)
            terms = []
            for layer, x, slope in slopes:
                b, bias = sample(layer, x), at.get(f"{layer.name}.bias")
                if bias is not None and f"{layer.name}.bias" in own:
                    b = layer.add_bias(b, bias)
                terms.append((slope * b).sum())
            if ordinary:
                others = {**parameters, **{n: free[n] for n in ordinary}}
                again = self._sampler(problem, parameters, noise)
                cost = problem.log_likelihood(again, batch, others)
                terms.append(problem.scale(batch) * cost.sum())
            return torch.stack(terms).sum(), value

        return Gradient(*differentiate(target, problem.free(parameters)))
