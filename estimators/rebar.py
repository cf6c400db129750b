"""REBAR: the score function with a relaxed, reparameterized control variate, for learned binary masks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from vdbench import Batch, InputError, Key, Noise, Parameters, Problem, register
from vdbench.estimation.binary_masks import (
    Masked,
    MaskEstimator,
    kept,
    logistic,
    need_temperature,
    pilot_noise,
    pilots,
    score,
    slope_apart,
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

    Given its sign, the position of $z$ is itself determined by a uniform number that is independent of B. $\tilde
    z$ is made from the same number (common random numbers). Then $\tilde z = z$ and $\tilde c = c$, but the slopes
    differ: $\partial z/\partial\varphi = 1$ and $\partial\tilde z/\partial\varphi = s(1 - e^{-|z|})$, with $s = q$
    for B = 1 and $1 - q$ for B = 0. All masks of an example, in all layers, are relaxed together. λ is a fixed
    option, and so is η, unless it is ``fitted``: then every logit has its own η of least variance,
    $\mathrm{Cov}[g_0, h]/\mathrm{Var}[h]$, with $g_0$ the gradient at η = 0 and $h = g_0 - g_1$. It is estimated
    from pairs of pilot draws on one minibatch, and results are conditional on these draws. It stays as it is in
    training. In θ and in the biases, the estimate is the ordinary gradient under the binary masks; the relaxed cost
    is not used.

    Claim: unbiased for the ELBO of learned masks, dense and convolution, for any η and λ.
    Cost: 2 products forward, 2 backward; M·K numbers of noise per layer.
    Source: Tucker, Mnih, Maddison, Lawson & Sohl-Dickstein 2017 (*REBAR: low-variance, unbiased gradient estimates for
    discrete latent variable models*).

    Attributes:
        temperature: λ.
        eta: η, the weight of the control variate; 0 gives the score function. Or ``fitted``.
        pilot: Pairs of pilot draws, each on a separate minibatch of 64 examples.

    Example:
        >>> import vdbench
        >>> vdbench.get("rebar", temperature=0.1)
        Rebar(temperature=0.1, eta=1.0, pilot=64)
    """

    temperature: float = 0.5
    eta: float | Literal["fitted"] = 1.0
    pilot: int = 64

    def __post_init__(self) -> None:
        """Refuse an invalid temperature or weight."""
        need_temperature("rebar", self.temperature)
        if self.eta != "fitted" and not math.isfinite(self.eta):
            raise InputError(f"rebar: eta must be a finite number or 'fitted', not {self.eta!r}.")
        if self.pilot < 1:
            raise InputError(f"rebar: pilot must be at least 1 pair of draws, not {self.pilot}.")

    def surrogate(self, network: Masked, noise: Noise) -> tuple[Tensor, Tensor]:
        """With the η of the option."""
        assert self.eta != "fitted"
        eta = float(self.eta)
        return self._weighted(network, noise, dict.fromkeys(network.logits, eta))

    def given(self, network: Masked, noise: Noise, state: Any) -> tuple[Tensor, Tensor]:
        """With the η of the option, or those that were fitted.

        Raises:
            CellError: η is to be fitted, and there is no state.
        """
        if self.eta != "fitted":
            return self.surrogate(network, noise)
        self.need_state(state, "eta 'fitted'")
        return self._weighted(network, noise, state["eta"])

    def _weighted(
        self, network: Masked, noise: Noise, eta: Mapping[str, Tensor | float]
    ) -> tuple[Tensor, Tensor]:
        """Binary costs, their score's slope after subtracting the relaxed costs, and the slope of the relaxed costs.

        η multiplies directions in the logits, so that each logit has its own.
        """
        uniforms = network.uniforms(noise)
        masks = network.each(kept, uniforms)
        numbers = network.each(lambda logit, u: logit + logistic(u), uniforms)
        slopes = network.each(self._slope, masks, numbers)
        relaxed = {n: torch.sigmoid(z / self.temperature) for n, z in numbers.items()}
        scores = network.each(score, masks)
        costs = network.costs(masks)
        # differentiated in the relaxed masks alone: θ belongs to the binary ones
        apart = network.carried(relaxed, {n: eta[n] * v for n, v in slopes.items()})
        control = network.costs(apart, network.fixed)
        value = costs.sum()
        less = network.slope(control, {n: eta[n] * v for n, v in scores.items()})
        return network.slope(costs, scores) - less + control.sum() + value, value

    def fit(self, problem: Problem, parameters: Parameters, key: Key) -> Any:
        """η by layer, Σ Δg₀Δh / ΣΔh² over pairs of draws; nothing where η is an option."""
        if self.eta != "fitted":
            return ()
        products: dict[str, Tensor] = {}
        squares: dict[str, Tensor] = {}
        for batch, place in pilots(problem, key, self.pilot):
            at = (problem, parameters, batch)
            (g, h), (g2, h2) = (self._parts(*at, place / half) for half in range(2))
            for name, step in h.items():
                change = step - h2[name]
                products[name] = products.get(name, 0.0) + change * (g[name] - g2[name])
                squares[name] = squares.get(name, 0.0) + change.square()
        eta = {
            name: torch.where(s > 0, products[name] / s, 1.0).to(problem.dtype)
            for name, s in squares.items()
        }
        return {"eta": eta}

    def _parts(
        self, problem: Problem, parameters: Parameters, batch: Batch, key: Key
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Gradients in the logits at η = 0, and their difference to those at η = 1, by layer."""
        zero, one = (
            replace(self, eta=eta)(problem, parameters, batch, pilot_noise(problem, key))
            for eta in (0.0, 1.0)
        )
        names = {layer.name: f"{layer.name}.logit" for layer in problem.layers}
        g = {name: zero.gradients[n].double() for name, n in names.items()}
        return g, {name: g[name] - one.gradients[n].double() for name, n in names.items()}

    def _slope(self, logit: Tensor, mask: Tensor, z: Tensor) -> Tensor:
        """∂c/∂φ − ∂c̃/∂φ."""
        apart = slope_apart(logit, mask, z)
        t = z / self.temperature
        return torch.sigmoid(t) * torch.sigmoid(-t) / self.temperature * apart
