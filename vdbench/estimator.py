"""What a gradient estimator is: a frozen dataclass that is called, and the pathwise base most of them share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from vdbench import autodiff
from vdbench.layers import Layer, Sampler
from vdbench.noise import Key, Noise
from vdbench.posteriors import Gaussian
from vdbench.problem import Batch, Parameters, Problem


class Gradient(NamedTuple):
    """One draw of an estimator.

    Attributes:
        value: Estimate of the objective, a scalar in nats: N/M · Σ_m log p(y_m | x_m, w).
        gradients: Estimate of its gradient, by parameter name, each of the parameter's shape. It points uphill.
    """

    value: Tensor
    gradients: dict[str, Tensor]


@dataclass(frozen=True)
class Declaration:
    """What an estimator says of itself, as data.

    Attributes:
        name: Name in the registry.
        objective: The objective class it estimates the gradient of; estimators are ranked only within one.
            ``elbo`` is E_q of the log-likelihood under the weight-space posterior.
        unbiased: Whether its mean is that gradient exactly.
        laws: Noise laws it asks for; empty for an estimator without noise.
        independent_examples: Whether, given the parameters, the noise of different examples is independent.
        version: Changes whenever its figures may change; part of the address of every stored block.
        pure: Whether a call is a function of its arguments alone; only then is it vectorised.
    """

    name: str
    objective: str
    unbiased: bool
    laws: tuple[str, ...]
    independent_examples: bool
    version: str
    pure: bool = True


class Estimator(ABC):
    """An estimator of the gradient of the N/M-scaled log-likelihood in the parameters of q.

    A concrete estimator is a frozen dataclass whose fields are its options, registered under a name. A call is
    a pure function of its arguments: noise comes from ``noise`` alone.
    """

    declaration: ClassVar[Declaration]

    @abstractmethod
    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """One draw of the gradient on one minibatch.

        Args:
            problem: Model, likelihood and data.
            parameters: All parameters; gradients are returned for ``problem.free(parameters)``.
            batch: A minibatch of M examples.
            noise: The noise of this draw.
            state: What `fit` returned.
        """

    def fit(self, problem: Problem, parameters: Parameters, key: Key) -> Any:
        """State that the estimator needs at these parameters, from pilot draws of its own; none by default."""
        return ()

    def update(self, state: Any, gradient: Gradient) -> Any:
        """State after a training step that used ``gradient``; unchanged by default."""
        return state


class Pathwise(Estimator):
    """An estimator that samples pre-activations and differentiates through them.

    A subclass writes `preactivation`; reparameterization does the rest: for w = f(ε, φ) with ε free of φ,
    ∇_φ E_q[L(w)] = E_ε[∇_φ L(f(ε, φ))].
    """

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """One draw; see `Estimator`."""

        def sampler(at: Parameters) -> Sampler:
            return lambda layer, x: self.preactivation(
                layer, x, problem.posterior(layer, at), noise
            )

        return differentiate(problem, parameters, batch, sampler, problem.scale(batch))

    @abstractmethod
    def preactivation(self, layer: Layer, x: Tensor, q: Gaussian, noise: Noise) -> Tensor:
        """A noisy layer's pre-activation without bias.

        Args:
            layer: The layer; ``layer.linear(x, weight)`` and ``layer.squared(x, variance)`` are its maps.
            x: Inputs of the layer, (M, inputs).
            q: Posterior of its weights: ``q.mean``, ``q.scale``, ``q.variance``, each of the weights' shape.
            noise: ``noise(layer.name, shape)`` gives standard normal numbers.

        Returns:
            (M, outputs).
        """


def differentiate(
    problem: Problem,
    parameters: Parameters,
    batch: Batch,
    sampler: Callable[[Parameters], Sampler],
    scale: float,
) -> Gradient:
    """Value and gradient of scale · Σ_m log p(y_m | x_m, ·) through the network and the sampler.

    Args:
        problem: Model and likelihood.
        parameters: Where.
        batch: The examples.
        sampler: Makes the sampler at given parameters, so that its own dependence on them is differentiated.
        scale: N/M of the whole minibatch.
    """

    def objective(free: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        at = {**parameters, **free}
        value = scale * problem.log_likelihood(sampler(at), batch, at).sum()
        return value, value

    return Gradient(*autodiff.differentiate(objective, problem.free(parameters)))
