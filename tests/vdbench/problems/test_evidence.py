"""log P(data) = ELBO + KL(q ‖ posterior), exactly, on a conjugate model whose posterior is not factorised.

y = Wx + noise of variance s², W ~ N(0, v) for every weight: evidence and posterior are Gaussian in closed form. The
ELBO is that of vdbench: the expectation of an estimator's value, by a quadrature that is exact for a quadratic, minus
`Problem.kl`. The identity holds at any q, whatever its coordinates.
"""

from __future__ import annotations

import pytest
import torch
from families import moments, problem
from torch import Tensor

from vdbench.estimation.options import get
from vdbench.problems.gaussian import MeanLogVariance, ThetaLogAlpha
from vdbench.problems.likelihoods import GaussianNoise
from vdbench.problems.parameterization import Parameterization
from vdbench.problems.priors import GaussianPrior
from vdbench.problems.problem import Problem

INPUTS, OUTPUTS, EXAMPLES = 2, 2, 3
NOISE, PRIOR = 0.3, 1.7

FORMS = [
    MeanLogVariance(0.3),
    ThetaLogAlpha(0.4, learned=False),
    *(ThetaLogAlpha(0.4, per=per) for per in ("layer", "input", "output", "weight")),  # type: ignore[arg-type]
]


def conjugate(form: Parameterization) -> tuple[Problem, dict[str, Tensor], object]:
    made, parameters, batch = problem(
        form, [(INPUTS, OUTPUTS)], EXAMPLES, likelihood=GaussianNoise(NOISE)
    )
    values = {**vars(made), "prior": GaussianPrior(PRIOR)}
    return Problem(**values), {**parameters, "0.bias": 0 * parameters["0.bias"]}, batch


def log_evidence(x: Tensor, y: Tensor) -> Tensor:
    """Each output's y is N(0, s²I + vXXᵀ)."""
    covariance = NOISE * torch.eye(EXAMPLES).double() + PRIOR * x @ x.T
    law = torch.distributions.MultivariateNormal(torch.zeros(EXAMPLES).double(), covariance)
    return law.log_prob(y.T).sum()


def to_posterior(mean: Tensor, variance: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """KL of the factorised q from the exact posterior N(m, S), S⁻¹ = XᵀX/s² + I/v, one for each output."""
    precision = x.T @ x / NOISE + torch.eye(INPUTS).double() / PRIOR
    exact = torch.linalg.solve(precision, x.T @ y / NOISE).T
    gap = mean - exact
    return 0.5 * (
        (variance @ precision.diagonal()).sum()
        + torch.einsum("oi,ij,oj->", gap, precision, gap)
        - mean.numel()
        - OUTPUTS * torch.logdet(precision)
        - variance.log().sum()
    )


@pytest.mark.parametrize("form", FORMS, ids=repr)
@pytest.mark.parametrize("name", ["naive", "grouped", "per-example", "local", "fast-dropout"])
def test_evidence_is_the_bound_plus_the_divergence_from_the_posterior(
    name: str, form: Parameterization
) -> None:
    """Slide row, to 1e-9: two nodes a dimension are exact for the mean of a quadratic."""
    at = conjugate(form)
    made, parameters, batch = at
    x, y = batch  # type: ignore[misc]
    q = made.posterior(made.layers[0], parameters)
    fit = moments(get(name), at, nodes=2)["value"][0]  # type: ignore[arg-type]
    bound = fit - made.kl(parameters)
    gap = to_posterior(q.mean, q.variance, x, y)
    evidence = log_evidence(x, y)
    assert float(gap) > 0.1, "q is not the posterior, or the test would see no divergence"
    assert abs(float(bound + gap - evidence)) < 1e-9, (float(bound), float(gap), float(evidence))
