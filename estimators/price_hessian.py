"""Price's theorem in its second-order form: the gradient in the scale from the Hessian's diagonal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from vdbench import (
    Batch,
    CellError,
    Estimator,
    Gradient,
    InputError,
    Noise,
    Parameters,
    Problem,
    need_posterior,
    register,
)
from vdbench.estimation import curvature, perturbation, taylor
from vdbench.estimation.base import Declaration
from vdbench.problems.kinks import kinks


@register(
    "price-hessian",
    objective="elbo",
    unbiased=False,
    laws=("normal", "sign"),
    independent_examples=False,
    version="2",
)
@dataclass(frozen=True)
class PriceHessian(Estimator):
    r"""The gradient in the scale from the diagonal of the Hessian at the drawn weights, estimated by random signs.

    Formula: $g_\mu = \nabla L(W)$, $g_\sigma = \sigma\cdot\frac1P\sum_p z_p\cdot(Hz_p)$, $W = \mu +
    \sigma\varepsilon$, $H = \nabla^2L(W)$, $z_{pi} = \pm1$.

    By Price's theorem $\partial E[L]/\partial\sigma_i^2 = \frac12E[\partial_i^2L]$, so $\partial
    E[L]/\partial\sigma_i = \sigma_iE[H_{ii}]$. Hutchinson's product $z_iH_{ij}z_j$ has the mean $H_{ii}$. Its noise
    comes from the rest of row $i$ alone: the variance of $g_{\sigma_i}$ given $W$ is $\frac1P\sigma_i^2\sum_{j\ne
    i}H_{ij}^2$. Where naive sampling has $\varepsilon_i\nabla_iL$, with noise of the size of the gradient, this has
    none, so it wins where the gradient is large against the curvature.

    The theorem needs a gradient that is continuous in the weights. Where it jumps, as at the kink of a ReLU, the second
    derivative has a delta there, which automatic differentiation leaves out; with ReLU this part is missing from the
    mean. Declared biased, unless ``smooth`` is set: then it is declared unbiased, and a network with an operation that
    is known to have kinks is refused. The first-order form $E[\varepsilon\nabla L/\sigma]$ of the theorem is the
    pathwise gradient, which needs no second derivative.

    Claim: unbiased for the ELBO of any layer kind if the network and the likelihood have continuous gradients; in σ
    biased otherwise.
    Cost: 1 gradient and 1 Hessian product a probe, together about 2 gradients in forward mode over reverse; 2·K·L
    noise.
    Source: Price 1958; Opper & Archambeau 2009; Khan et al. 2018 (*Vadam, VOGN*); Hutchinson 1990, Bekas, Kokiopoulou &
    Saad 2007 (diagonal).

    Attributes:
        probes: P, sign vectors at one weight sample.
        smooth: The user's word that network and likelihood have continuous gradients.

    Example:
        >>> import vdbench
        >>> vdbench.get("price-hessian", smooth=True).declaration.unbiased
        True
    """

    probes: int = 1
    smooth: bool = False

    def __post_init__(self) -> None:
        """Refuse fewer than one probe."""
        if self.probes < 1:
            raise InputError(f"price-hessian: probes must be at least 1, not {self.probes}.")

    @property
    def declaration(self) -> Declaration:
        """Unbiased where kinks are excluded."""
        return replace(self.declared, unbiased=True) if self.smooth else self.declared

    @property
    def passes_together(self) -> int:
        """A gradient and its derivative."""
        return 2

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """One weight sample, P probes at it.

        Raises:
            CellError: The posterior is not normal and independent; the network has kinks and ``smooth`` is set; or it
                has an operation without a forward-mode derivative of its gradient.
        """
        need_posterior(self, problem)
        found = kinks(problem) if self.smooth else ()
        if found:
            raise CellError(
                f"estimator 'price-hessian' with smooth: true needs continuous gradients, and problem '{problem.name}' "
                f"uses {', '.join(found)}, whose derivative jumps; expected smooth: false, which declares a bias, or a "
                "network with smooth activations such as tanh, softplus or GELU."
            )
        z = perturbation.drawn(problem, parameters, noise)
        where = perturbation.detached(perturbation.place(problem, parameters, z))
        slope, value = curvature.cost_gradient(problem, parameters, batch)(where)
        diagonal: dict[str, Tensor] = {}
        for p in range(self.probes):
            for name, part in self._probe(
                problem, parameters, batch, where, z, noise.at("probe", p)
            ).items():
                diagonal[name] = diagonal.get(name, torch.zeros_like(part)) + part / self.probes
        return curvature.chained(problem, parameters, slope, diagonal, value)

    def _probe(
        self,
        problem: Problem,
        parameters: Parameters,
        batch: Batch,
        where: dict[str, Tensor],
        weights: dict[str, Tensor],
        noise: Noise,
    ) -> dict[str, Tensor]:
        """z∘(Hz) of the weights of every layer, H their Hessian over all layers together."""
        signs = {name: noise(name, where[name].shape, law="sign") for name in weights}
        rest = {n: torch.zeros_like(value) for n, value in where.items() if n not in weights}
        slope_of = curvature.cost_gradient(problem, parameters, batch)
        what = "price-hessian differentiates the gradient along a direction"
        _, product = taylor.along(lambda at: slope_of(at)[0], (where,), ({**signs, **rest},), what)
        return {name: signs[name] * product[name] for name in weights}
