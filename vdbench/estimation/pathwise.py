"""The base of estimators that sample pre-activations and differentiate through them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from torch import Tensor

from vdbench.estimation.base import Estimator, Gradient, pathwise_gradient
from vdbench.estimation.validity import need_posterior
from vdbench.noise import Noise, Repeated
from vdbench.problems.layers import Layer, Sampler
from vdbench.problems.posterior import Posterior
from vdbench.problems.problem import Batch, Parameters, Problem


class Pathwise(Estimator):
    """An estimator that samples pre-activations and differentiates through them.

    A subclass writes `preactivation`; reparameterization does the rest: for w = f(ε, φ) with ε free of φ,
    ∇_φ E_q[L(w)] = E_ε[∇_φ L(f(ε, φ))].

    Example:
        >>> from dataclasses import dataclass
        >>> import vdbench
        >>> @vdbench.register("mine", objective="elbo", unbiased=True, laws=("normal",), independent_examples=True)
        ... @dataclass(frozen=True)
        ... class Mine(vdbench.Pathwise):
        ...     def preactivation(self, layer, x, q, noise):
        ...         b = layer.linear(x, q.mean)
        ...         return b + layer.squared(x, q.variance).sqrt() * noise(layer.name, b.shape)
        >>> vdbench.get("mine").pathwise
        True
    """

    @property
    def pathwise(self) -> bool:
        """It is."""
        return True

    def rule(self, layer: Layer) -> Pathwise:
        """The estimator by whose rule a layer's pre-activations are sampled: itself, unless layers differ."""
        return self

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """One draw; see `Estimator`.

        Raises:
            CellError: The estimator is not valid for the problem's posterior.
        """
        need_posterior(self, problem)

        def sampler(at: Parameters) -> Sampler:
            source = noise_of_calls(self, problem, noise)
            return lambda layer, x: self.preactivation(
                layer, x, problem.posterior(layer, at), source(layer)
            )

        return pathwise_gradient(problem, parameters, batch, sampler, problem.scale(batch))

    @abstractmethod
    def preactivation(self, layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
        """A noisy layer's pre-activation without bias.

        Args:
            layer: The layer; ``layer.linear(x, weight)`` and ``layer.squared(x, variance)`` are its maps.
            x: Inputs of the layer, (M, inputs); of a convolution, (M, channels, height, width).
            q: Posterior of its weights: ``q.mean``, ``q.scale``, ``q.variance``, each of the weights' shape;
                ``q.weights(q.draw(noise, layer.name))`` is a sample of them, whatever their law.
            noise: ``noise(layer.name, shape)`` gives standard normal numbers.

        Returns:
            (M, outputs); of a convolution, (M, channels, height, width).
        """


def noise_of_calls(
    estimator: Estimator, problem: Problem, noise: Noise
) -> Callable[[Layer], Noise]:
    """The noise of each call of a layer in one forward pass.

    Noise of weights is the same at every call of a layer, whose weights are the same. An estimator that gives every
    place noise of its own (it declares ``objective_on_convolution``) gets noise of its own at every call.

    Args:
        estimator: With its declaration.
        problem: With its layers.
        noise: Of the draw.

    Returns:
        A function of the layer, asked once for each call.
    """
    if not problem.reused:
        return lambda layer: noise
    same = Noise(Repeated(noise.source), noise.path)
    calls: dict[str, int] = {}

    def own(layer: Layer) -> Noise:
        rule = estimator.rule(layer) if isinstance(estimator, Pathwise) else estimator
        if not (hasattr(rule, "declaration") and rule.declaration.objective_on_convolution):
            return same
        number = calls.get(layer.name, 0)
        calls[layer.name] = number + 1
        return noise.at("call", number) if number else noise

    return own
