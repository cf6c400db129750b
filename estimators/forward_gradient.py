"""Forward gradients by weight perturbation: the derivative along a random direction, times the direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

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
    "forward-gradient",
    objective="elbo",
    unbiased=True,
    laws=("normal",),
    independent_examples=False,
    version="1",
)
@dataclass(frozen=True)
class ForwardGradient(Perturbation):
    r"""The cost's derivative along a random direction in all weights and biases, times that direction.

    Formula: $\hat g = \frac1D\sum_{d=1}^D(\nabla L(W)\cdot v_d)\,v_d$, $v_d \sim N(0, I)$, $W = \mu +
    \sigma\varepsilon$; $\hat g$ in μ, $\varepsilon\hat g$ in σ.

    Given $W$, $E[(\nabla L\cdot v)v] = E[vv^\top]\nabla L = \nabla L$, so the mean is that of naive sampling. Given
    $W$, the variance of entry $i$ is $\frac1D(\lVert\nabla L\rVert^2 + g_i^2)$: every entry contains the noise of
    all P numbers that are perturbed. Summed over all of them it is $\frac{P+1}D\lVert\nabla L\rVert^2$. It grows in
    proportion to P, all weights and biases of the network; ``activity-perturbation`` perturbs pre-activations,
    which are far fewer.

    The derivative is taken by one forward-mode pass. No pass goes backward through the network, so no activations are
    kept. Parameters without noise, such as biases, are perturbed like weights. From $W$ to the parameters of q the
    chain rule is that of naive sampling.

    Claim: unbiased for the ELBO of any layer kind with forward-mode derivatives.
    Cost: 1 forward-mode pass (2 products forward) a direction, none backward; 2·K·L noise.
    Source: Baydin, Pearlmutter, Syme, Wood & Torr 2022 (*Gradients without backpropagation*); Silver, Goyal, Danihelka,
    Hessel & van Hasselt 2021.

    Attributes:
        directions: D, at one weight sample.

    Example:
        >>> import vdbench
        >>> vdbench.get("forward-gradient", directions=8)
        ForwardGradient(directions=8)
    """

    directions: int = 1

    def __post_init__(self) -> None:
        """Refuse fewer than one direction."""
        if self.directions < 1:
            raise InputError(
                f"forward-gradient: directions must be at least 1, not {self.directions}."
            )

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """One weight sample, D directions at it.

        Raises:
            CellError: The posterior is not normal and independent, or the network has no forward-mode derivative.
        """
        need_posterior(self, problem)
        z = perturbation.drawn(problem, parameters, noise)
        where = perturbation.detached(perturbation.place(problem, parameters, z))
        slopes: dict[str, Tensor] = {}
        for d in range(self.directions):
            v = perturbation.directions(where, noise.at("direction", d))
            value, slope = perturbation.along(problem, parameters, batch, where, v)
            for name, step in v.items():
                slopes[name] = slopes.get(name, torch.zeros_like(step)) + slope * step
        mean = {name: total / self.directions for name, total in slopes.items()}
        return perturbation.chained(problem, parameters, z, mean, value)
