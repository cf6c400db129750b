"""Fast dropout: independent Gaussian pre-activations with the moments of the posterior's."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from estimators.local import safe_sqrt
from vdbench import Layer, Noise, Pathwise, Posterior, register


@register(
    "fast-dropout",
    objective="elbo-gaussian-preactivations",
    unbiased=True,
    laws=("normal",),
    independent_examples=True,
    version="1",
    posteriors="any",
)
@dataclass(frozen=True)
class FastDropout(Pathwise):
    r"""Independent Gaussian pre-activations with the mean and variance that the posterior gives them.

    Formula: $b = \gamma + \sqrt{\delta}\,\zeta$, $\gamma = x\,E[W]$, $\delta = x^2\,\mathrm{Var}[W]$,
    $\zeta \sim N(0, 1)$.

    For Gaussian or binary dropout at $\alpha = p/(1-p)$, $\delta = \alpha\,x^2\theta^2$. $\zeta$ is drawn for every
    example and output, so pre-activations are independent and Gaussian for any posterior. With independent normal
    weights in a dense layer they are so anyway, and the draws equal those of the local estimator. In all other cases
    it is a different model: noise that outputs share would correlate them, and binary noise makes them Gaussian only
    in the limit of many inputs. It therefore has its own objective class.

    Claim: unbiased for the expected log-likelihood under independent Gaussian pre-activations of every layer.
    Cost: 2 products forward, 4 backward per layer; M·L noise.
    Source: Wang & Manning 2013, the sampled form; Kingma, Salimans & Welling 2015, section 3.1.

    Example:
        >>> import vdbench
        >>> vdbench.get("fast-dropout").declaration.objective
        'elbo-gaussian-preactivations'
    """

    def preactivation(self, layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
        """B = γ + √δ·ζ."""
        mean = layer.linear(x, q.mean)
        variance = q.spread(layer, x)
        return mean + safe_sqrt(variance) * noise(layer.name, mean.shape)
