"""No noise: the network at the mean weights."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vdbench import Layer, Noise, Pathwise, Posterior, register


@register(
    "deterministic",
    objective="mean-weights",
    unbiased=True,
    laws=(),
    independent_examples=True,
    version="1",
    posteriors="any",
)
@dataclass(frozen=True)
class Deterministic(Pathwise):
    r"""No noise: the gradient at the mean weights.

    Formula: $b = x\mu$.

    This is the row "no dropout noise" in the paper's Table 1. It estimates the gradient of a different objective,
    $\log p(y \mid x, \mu)$, without noise. Its variance over minibatches belongs to a *different* network: it is shown
    for reference only, never subtracted and never ranked. In $(\mu, \log\sigma^2)$, the gradient in the scale
    parameters is exactly zero.

    Claim: unbiased for the mean-weights log-likelihood; not an estimate of the ELBO's gradient.
    Cost: 1 product forward, 2 backward per layer.
    Source: Kingma, Salimans & Welling 2015, Table 1, last row.

    Example:
        >>> import vdbench
        >>> vdbench.get("deterministic").declaration.objective
        'mean-weights'
    """

    def preactivation(self, layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
        """B = xμ."""
        return layer.linear(x, q.mean)
