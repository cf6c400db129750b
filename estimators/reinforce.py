"""Score function (REINFORCE) for learned binary masks."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vdbench import Noise, register
from vdbench.estimation.binary_masks import Masked, MaskEstimator, kept, score


@register(
    "reinforce",
    objective="elbo",
    unbiased=True,
    laws=("uniform",),
    independent_examples=True,
    version="1",
    posteriors="learned-binary",
)
@dataclass(frozen=True)
class Reinforce(MaskEstimator):
    r"""Score function over the masks of each example, without a baseline.

    Formula: $\nabla_\varphi \leftarrow \sum_m f_m(B_m)\,(B_m - q)$,
    $B_m \sim \mathrm{Bernoulli}(q)$, $q = \sigma(\varphi)$.

    $f_m$ is the N/M-scaled log-likelihood of example $m$ under its own masks, including constants: an additive
    constant changes the variance. It is unbiased by $\nabla E_q[f] = E_q[f\,\nabla\log q]$ with
    $\partial\log q(B)/\partial\varphi = B - q$. The cost need not be differentiable in the masks. In θ and in the
    biases, the estimate is the ordinary gradient under the drawn masks.

    Claim: unbiased for the ELBO of learned masks, dense and convolution.
    Cost: 1 product forward, 1 backward for θ; M·K numbers of noise per layer.
    Source: Williams 1992.

    Example:
        >>> import vdbench
        >>> vdbench.get("reinforce").declaration.posteriors
        'learned-binary'
    """

    def surrogate(self, network: Masked, noise: Noise) -> tuple[Tensor, Tensor]:
        """Σ_m f_m, plus the slope of the score."""
        masks = network.each(kept, network.uniforms(noise))
        costs = network.costs(masks)
        value = costs.sum()
        return network.slope(costs, network.each(score, masks)) + value, value
