"""Naive weight sampling: one weight sample shared by the minibatch."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vdbench import Layer, Noise, Pathwise, Posterior, register


@register(
    "naive",
    objective="elbo",
    unbiased=True,
    laws=("posterior",),
    independent_examples=False,
    version="1",
    posteriors="any",
)
@dataclass(frozen=True)
class Naive(Pathwise):
    r"""One weight sample shared by the whole minibatch.

    Formula: $b = xW$, $W = \mu + \sigma\varepsilon$, $\varepsilon \sim N(0, 1)$, or the posterior's own noise:
    binary, or one number for all outputs of an input feature.

    It is unbiased because $\varepsilon$ does not depend on $(\mu, \sigma)$: the gradient of the expectation is the
    expectation of the gradient along the sampled path. All examples share $\varepsilon$, so their gradients are
    correlated. The covariance term of $\mathrm{Var} = N^2(\mathrm{Var}[L_i]/M + \tfrac{M-1}{M}\mathrm{Cov}[L_i, L_j])$
    does not fall with $M$.

    Claim: unbiased for the ELBO of any layer kind and any posterior.
    Cost: 1 product forward, 2 backward per layer; K·L noise.
    Source: Graves 2011; Blundell et al. 2015 ("Bayes by backprop"); Kingma et al. 2015, section 2.1.

    Example:
        >>> import vdbench
        >>> vdbench.get("naive")
        Naive()
    """

    def preactivation(self, layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
        """B = x(μ + σε), one ε for all examples."""
        return layer.linear(x, q.weights(q.draw(noise, layer.name)))
