"""SPSA: a difference of two costs at ±1 steps of all weights together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from vdbench import (
    Batch,
    Gradient,
    InputError,
    Noise,
    Parameters,
    Problem,
    need_posterior,
    register,
)
from vdbench.estimation import perturbation
from vdbench.estimation.perturbation import Perturbation


@register(
    "spsa",
    objective="elbo",
    unbiased=False,
    laws=("normal", "sign"),
    independent_examples=False,
    version="2",
)
@dataclass(frozen=True)
class Spsa(Perturbation):
    r"""Simultaneous perturbation: the difference of two costs at opposite ±1 steps of all weights, divided by the step.

    Formula: $\hat g = \frac{L(W + c\Delta) - L(W - c\Delta)}{2c}\,\Delta$, $\Delta_i = \pm1$, $W = \mu +
    \sigma\varepsilon$; $\hat g$ in μ, $\varepsilon\hat g$ in σ.

    As $c \to 0$ this is a forward gradient with random signs, unbiased because $E[\Delta\Delta^\top] = I$. Given
    $W$, the variance of entry $i$ is then $\lVert\nabla L\rVert^2 - g_i^2$, and it grows with the number of
    weights. At a step $c > 0$ the mean is the gradient plus $\frac{c^2}6E[(\sum_j\Delta_j\partial_j)^3L\;\Delta_i]
    = \frac{c^2}2\sum_j\partial_i\partial_j^2L - \frac{c^2}3\partial_i^3L$ and terms in $c^4$. The bias vanishes for
    costs that are quadratic in the weights jointly. With a smaller step, more digits of the two costs cancel.

    No derivative is taken. Parameters without noise, such as biases, are perturbed like weights.

    Claim: biased for the ELBO, by $O(c^2)$; any layer kind, differentiable or not.
    Cost: 2 products forward; K·L normal numbers and K·L signs.
    Source: Spall 1992; with normal steps, Nesterov & Spokoiny 2017 and MeZO (Malladi et al. 2023).

    Attributes:
        step: c, in units of the weights, the same for all of them; where a weight is above 1, times the largest one.

    Example:
        >>> import vdbench
        >>> vdbench.get("spsa", step=0.001)
        Spsa(step=0.001)
    """

    step: float = 0.01

    def __post_init__(self) -> None:
        """Refuse what is no step."""
        if not 0 < self.step < math.inf:
            raise InputError(f"spsa: step must be a finite number above 0, not {self.step!r}.")

    @property
    def draws_per_gradient(self) -> int:
        """Two costs."""
        return 2

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """One weight sample, and the costs on both sides of it.

        Raises:
            CellError: The posterior is not normal and independent.
        """
        need_posterior(self, problem)
        z = perturbation.drawn(problem, parameters, noise)
        where = perturbation.detached(perturbation.place(problem, parameters, z))
        signs = perturbation.directions(where, noise.at("step"), law="sign")
        largest = torch.stack([value.abs().amax() for value in where.values()]).amax()
        c = self.step * largest.clamp(min=1)  # large weights have few digits behind the point
        up, down = (
            perturbation.costs(
                problem,
                parameters,
                batch,
                {name: value + side * c * signs[name] for name, value in where.items()},
            )
            for side in (1, -1)
        )
        # example by example: the sums over a minibatch have fewer digits in common
        slope = (up - down).sum() / (2 * c)
        slopes = {name: slope * sign for name, sign in signs.items()}
        return perturbation.chained(problem, parameters, z, slopes, (up + down).sum() / 2)
