"""Type A: noise on a layer's inputs; with noise shared by outputs, this is a weight sample for every example."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vdbench import Layer, Noise, Pathwise, Posterior, register


@register(
    "type-a",
    objective="elbo",
    unbiased=True,
    laws=("posterior",),
    independent_examples=True,
    version="1",
    posteriors="row-shared",
)
@dataclass(frozen=True)
class TypeA(Pathwise):
    r"""Noise on the inputs of a layer, with a separate number for every example and input feature.

    Formula: $b_m = (x_m \circ \xi_m)\theta$, $\xi_m = 1 + \sqrt\alpha\,z_m$, $z_m \sim N(0, 1)$; or $z_m$ the
    standardised Bernoulli variable of binary dropout.

    If all outputs share the noise of an input feature, a weight sample is $W = \operatorname{diag}(\xi)\theta$, and
    $xW = (x \circ \xi)\theta$ exactly. Every example therefore has its own, correctly distributed weight sample, which
    need not be formed. It is unbiased like any pathwise estimator, because $z_m$ does not depend on
    $(\theta, \alpha)$, and there is no covariance between examples. In a convolution a number belongs to a channel and
    applies at all its locations, as the weights do. A separate number for every pixel would give a different
    objective. If weights had separate noise this would be a different posterior, and is refused.

    Claim: unbiased for the ELBO of any layer kind whose posterior shares noise between outputs; there, the draws equal
    those of ``per-example``.
    Cost: 1 product forward, 2 backward per layer; M·K noise.
    Source: Kingma, Salimans & Welling 2015, section 3.2, "correlated weight noise"; Srivastava et al. 2014, section
    10.

    Example:
        >>> import vdbench
        >>> vdbench.get("type-a").declaration.posteriors
        'row-shared'
    """

    def preactivation(self, layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
        """B = (x ∘ ξ)θ."""
        return masked(layer, x, q, noise)


def masked(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    """Pre-activations of inputs masked by a separate ξ for every example.

    Args:
        layer: The layer.
        x: Its inputs, (M, …).
        q: A posterior whose noise all outputs share, or one without noise, which leaves the inputs unchanged.
        noise: Of the draw; ``noise.at("examples")`` gives M numbers for every input feature.
    """
    z = q.draw(noise.at("examples"), layer.name, examples=len(x))
    return layer.linear(q.masked(x, z), q.mean)
