"""The KL and its gradient at each training step: in closed form where there is one, else differentiated automatically.

The closed form takes a few passes over the weights; the other costs more than the gradient of a small network.
"""

from __future__ import annotations

from torch import Tensor

from vdbench.estimation.autodiff import differentiate
from vdbench.problems.gaussian import MeanLogVariance
from vdbench.problems.layers import WholeWeight
from vdbench.problems.priors import GaussianPrior
from vdbench.problems.problem import Parameters, Problem


def closed(problem: Problem) -> bool:
    """Whether the KL's gradient is taken in closed form: independent normal weights in (μ, log σ²), a normal prior."""
    rows = any(isinstance(a, WholeWeight) and a.fixed_row is not None for a in problem.layers)
    form, prior = problem.parameterization, problem.prior
    return type(form) is MeanLogVariance and type(prior) is GaussianPrior and not rows


def divergence(problem: Problem, parameters: Parameters) -> tuple[Tensor, dict[str, Tensor]]:
    """The KL of `Problem.kl` and its gradient.

    Args:
        problem: Whose posterior and prior.
        parameters: All of them.

    Returns:
        A scalar in nats, and by free parameter a tensor that is not to be written to; those that the KL does not depend
        on may be left out.
    """
    if not closed(problem):
        return differentiated(problem, parameters)
    assert isinstance(problem.prior, GaussianPrior)
    total: Tensor | None = None
    slopes: dict[str, Tensor] = {}
    for layer in problem.layers:
        names = f"{layer.name}.mean", f"{layer.name}.log_variance"
        value, *found = problem.prior.kl_and_slopes(*(parameters[name] for name in names))
        total = value if total is None else total + value
        slopes.update(zip(names, found, strict=True))
    assert total is not None
    weight = problem.kl_weight
    if weight == 1:
        return total, slopes
    return weight * total, {name: weight * slope for name, slope in slopes.items()}


def differentiated(problem: Problem, parameters: Parameters) -> tuple[Tensor, dict[str, Tensor]]:
    """The same by automatic differentiation."""

    def objective(free: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        value = problem.kl({**parameters, **free})
        return value, value

    return differentiate(objective, problem.free(parameters))
