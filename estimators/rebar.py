"""REBAR: the score function with a relaxed, reparameterized control variate, for learned binary masks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vdbench import InputError, Noise, register
from vdbench.estimation.binary_masks import (
    Masked,
    MaskEstimator,
    kept,
    logistic,
    need_temperature,
    score,
)


@register(
    "rebar",
    objective="elbo",
    unbiased=True,
    laws=("uniform",),
    independent_examples=True,
    version="1",
    posteriors="learned-binary",
)
@dataclass(frozen=True)
class Rebar(MaskEstimator):
    r"""Score function minus the score function of the relaxed cost, whose mean is added back by reparameterization.

    Formula: $\nabla_\varphi \leftarrow \sum_m\big[f_m(B_m) - \eta f_m(\tilde c_m)\big](B_m - q)
    + \eta\nabla_\varphi f_m(c_m) - \eta\nabla_\varphi f_m(\tilde c_m)$.

    $z = \varphi + \ln\frac u{1-u}$ is the logistic variable underlying the mask $B = 1[z \ge 0]$.
    $c = \sigma(z/\lambda)$ is the relaxed mask, and $\tilde c = \sigma(\tilde z/\lambda)$ a relaxed mask with
    $\tilde z \sim p(z \mid B)$. The terms with η have mean 0 for any η and λ:
    $E_B\{E[f(\tilde c)\mid B]\,\nabla\log q(B) + \nabla E[f(\tilde c)\mid B]\} = \nabla E[f(c)]$.

    Given its sign, the position of $z$ is itself determined by a uniform number that is independent of B. $\tilde z$
    is made from the same number (common random numbers). Then $\tilde z = z$ and $\tilde c = c$, but the slopes
    differ: $\partial z/\partial\varphi = 1$ and $\partial\tilde z/\partial\varphi = s(1 - e^{-|z|})$, with $s = q$ for
    B = 1 and $1 - q$ for B = 0. All masks of an example, in all layers, are relaxed together. η and λ are fixed
    options, so there is no state. In θ and in the biases, the estimate is the ordinary gradient under the binary
    masks; the relaxed cost is not used.

    Claim: unbiased for the ELBO of learned masks, dense and convolution, for any η and λ.
    Cost: 2 products forward, 2 backward; M·K numbers of noise per layer.
    Source: Tucker, Mnih, Maddison, Lawson & Sohl-Dickstein 2017 (*REBAR: low-variance, unbiased gradient estimates for
    discrete latent variable models*).

    Attributes:
        temperature: λ.
        eta: η, the weight of the control variate; 0 gives the score function.

    Example:
        >>> import vdbench
        >>> vdbench.get("rebar", temperature=0.1)
        Rebar(temperature=0.1, eta=1.0)
    """

    temperature: float = 0.5
    eta: float = 1.0

    def __post_init__(self) -> None:
        """Refuse an invalid temperature or weight."""
        need_temperature("rebar", self.temperature)
        if not math.isfinite(self.eta):
            raise InputError(f"rebar: eta must be a finite number, not {self.eta!r}.")

    def surrogate(self, network: Masked, noise: Noise) -> tuple[Tensor, Tensor]:
        """Binary costs, their score's slope after subtracting the relaxed costs, and the slope of the relaxed costs."""
        uniforms = network.uniforms(noise)
        masks = network.each(kept, uniforms)
        numbers = network.each(lambda logit, u: logit + logistic(u), uniforms)
        slopes = network.each(self._slope, masks, numbers)
        relaxed = {n: torch.sigmoid(z / self.temperature) for n, z in numbers.items()}
        costs = network.costs(masks)
        # differentiated in the relaxed masks alone: θ belongs to the binary ones
        control = network.costs(network.carried(relaxed, slopes), network.fixed)
        value = costs.sum()
        along = network.slope(costs - self.eta * control, network.each(score, masks))
        return along + self.eta * control.sum() + value, value

    def _slope(self, logit: Tensor, mask: Tensor, z: Tensor) -> Tensor:
        """∂c/∂φ − ∂c̃/∂φ."""
        side = torch.where(mask > 0.5, torch.sigmoid(logit), torch.sigmoid(-logit))
        apart = 1 + side * torch.expm1(-z.abs())
        t = z / self.temperature
        return torch.sigmoid(t) * torch.sigmoid(-t) / self.temperature * apart
