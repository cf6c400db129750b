"""What estimators share that take the gradient in the scale from a Hessian's diagonal: ∂E[L]/∂σ = σ·E[∂²L/∂w²]."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.func import grad_and_value

from vdbench.estimation import perturbation
from vdbench.estimation.autodiff import differentiate
from vdbench.estimation.base import Gradient
from vdbench.estimation.perturbation import Place
from vdbench.problems.problem import Batch, Parameters, Problem


def cost_gradient(
    problem: Problem, parameters: Parameters, batch: Batch
) -> Callable[[Place], tuple[Place, Tensor]]:
    """Gradient and value of the minibatch's cost, as a function of the place (`vdbench.estimation.perturbation`)."""

    def cost(at: Place) -> Tensor:
        return perturbation.costs(problem, parameters, batch, at).sum()

    return grad_and_value(cost)


def chained(
    problem: Problem,
    parameters: Parameters,
    slope: Mapping[str, Tensor],
    diagonal: Mapping[str, Tensor],
    value: Tensor,
) -> Gradient:
    """The gradient in the parameters: slope in μ, σ times the diagonal in σ, and the slope of what has no noise.

    Args:
        problem: With its posterior.
        parameters: Where.
        slope: ∂L in every entry of a place.
        diagonal: An estimate of the Hessian's diagonal in the weights, by layer.
        value: The cost.
    """

    def target(free: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        at = {**parameters, **free}
        terms = []
        for layer in problem.layers:
            q = problem.posterior(layer, at)
            along = diagonal[layer.name] * q.scale
            terms.append((slope[layer.name].detach() * q.mean + along.detach() * q.scale).sum())
        for name, v in perturbation.without_noise(problem, at).items():
            terms.append((slope[name].detach() * v).sum())
        return torch.stack(terms).sum(), value

    return Gradient(*differentiate(target, problem.free(parameters)))
