"""Relaxed masks (Concrete, Gumbel-softmax with two classes): biased."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vdbench import Noise, register
from vdbench.estimation.binary_masks import Masked, MaskEstimator, need_temperature, relaxed


@register(
    "concrete",
    objective="elbo",
    unbiased=False,
    laws=("uniform",),
    independent_examples=True,
    version="1",
    posteriors="learned-binary",
)
@dataclass(frozen=True)
class Concrete(MaskEstimator):
    r"""Masks between 0 and 1, differentiated through.

    Formula: $\nabla_{\varphi,\theta}\sum_m f_m\big(\sigma((\varphi + \ln\frac{u_m}{1-u_m})/\lambda)\big)$.

    This is the exact gradient of a different objective, $E_u[f]$ under relaxed masks, and the returned value is that
    objective's. As the temperature λ decreases, the masks become binary, the bias goes to 0 and the variance to
    infinity. θ and the biases are biased too, because they see relaxed masks.

    Claim: biased for the ELBO of learned masks; unbiased for the relaxed objective.
    Cost: 1 product forward, 1 backward; M·K numbers of noise per layer.
    Source: Maddison, Mnih & Teh 2017; Jang, Gu & Poole 2017; for dropout Gal, Hron & Kendall 2017 (*Concrete
    dropout*).

    Attributes:
        temperature: λ.

    Example:
        >>> import vdbench
        >>> vdbench.get("concrete", temperature=0.1).declaration.unbiased
        False
    """

    temperature: float = 0.5

    def __post_init__(self) -> None:
        """Refuse an invalid temperature."""
        need_temperature("concrete", self.temperature)

    def surrogate(self, network: Masked, noise: Noise) -> tuple[Tensor, Tensor]:
        """Σ_m f_m under the relaxed masks."""
        uniforms = network.uniforms(noise)
        masks = {n: relaxed(x, uniforms[n], self.temperature) for n, x in network.logits.items()}
        value = network.costs(masks).sum()
        return value, value
