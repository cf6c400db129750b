"""Local reparameterization: sample pre-activations instead of weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from vdbench import CellError, Layer, Noise, Pathwise, Posterior, register
from vdbench.estimation.autodiff import seen_positive
from vdbench.problems.structure import Correlated
from vdbench.problems.structure import safe_sqrt as safe_sqrt


@register(
    "local",
    objective="elbo",
    unbiased=True,
    laws=("normal",),
    independent_examples=True,
    version="1",
    posteriors="normal-preactivations",
    objective_on_convolution="elbo-local-noise",
)
@dataclass(frozen=True)
class Local(Pathwise):
    r"""Local reparameterization: sample pre-activations instead of weights.

    Formula: $b = x\mu + \sqrt{x^2\sigma^2}\,\zeta$, $\zeta \sim N(0, 1)$.

    $\zeta$ is drawn for every example and output. For one example and independent Gaussian weights, $b$ is exactly
    Gaussian with that mean and variance, and independent across outputs, so each example's term of the objective keeps
    its expectation. Noise of different examples is independent, so the covariance term of naive sampling vanishes. The
    variance in the scale parameters falls further, because there is only one random number per pre-activation.

    In a convolution one weight is used at several locations of an example. Noise of the weight is shared by these
    locations, but $\zeta$ is not. Every pre-activation keeps its distribution, but the correlation between locations
    is lost. The mean is therefore the gradient of a different objective, ``elbo-local-noise``, in which every location
    has separate weight noise. Local sampling is unbiased for that objective, and is ranked only within it. The same
    holds for a dense layer along a sequence, or one that is called several times.

    A weight without pre-activations of its own, such as an embedding or a recurrent weight, is sampled once for the
    minibatch, $\mu + \sigma\zeta$, as ``naive`` does. The noise of different examples is then not independent.

    Weights that are correlated and normal have jointly normal pre-activations too, of one example and a dense layer.
    With the covariances $A$ of outputs and $B$ of inputs (matrix-normal), $b = x\mu + \sqrt{x^\top B x}\,A^{1/2}\zeta$;
    with factors $V_r$ (low rank plus diagonal), $b = x\mu + \sqrt{x^2d^2}\,\zeta + \sum_r \xi_r\,xV_r$, where an
    example's $\xi_r$ is shared by its outputs. Where such a layer is used in several places it is refused.

    Claim: unbiased for the ELBO of dense layers used once; on convolutions, for ``elbo-local-noise``.
    Cost: 2 products forward, 4 backward per layer; M·L noise.
    Source: Kingma, Salimans & Welling 2015, equation 6; for correlated weights Louizos & Welling
    2016 and Tomczak, Swaroop & Turner 2020.

    Attributes:
        kernel: ``torch`` computes with torch's own products; ``fused`` makes both products of a dense layer from one
            read of x in a kernel of ``vdbench.kernels``, on CUDA devices alone. The noise is the same, and figures are
            to rounding. The variance measure of dense networks takes products of its own either way.

    Example:
        >>> import vdbench
        >>> vdbench.get("local").declaration.independent_examples
        True
    """

    # by name alone: the fields of subclasses keep their places
    kernel: Literal["torch", "fused"] = field(default="torch", repr=False, kw_only=True)

    def preactivation(self, layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
        """B = γ + √δ·ζ with γ = xμ, δ = x²σ²; of correlated weights, what their structure gives."""
        if self.kernel == "fused" and type(layer) is Layer and q.structure is None:
            return fused(layer, x, q, noise)
        mean = layer.linear(x, q.mean)
        if isinstance(q.structure, Correlated):
            return mean + q.structure.preactivations(layer, x, noise)
        variance = layer.squared(x, q.variance)
        return torch.addcmul(mean, root(variance), noise(layer.name, mean.shape))


def fused(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    """The same in one launch, of a dense layer.

    Raises:
        CellError: The inputs are not on a CUDA device, or Triton is not installed.
    """
    from vdbench.kernels import fused as kernels

    if not kernels.runs_on(x.device):
        raise CellError(
            f"estimator 'local': the option kernel 'fused' needs a CUDA device, and inputs are on '{x.device}'; "
            "leave it out."
        )
    zeta = noise(layer.name, (*x.shape[:-1], layer.outputs))
    try:
        return kernels.local(x, q.mean, q.variance, zeta)
    except ModuleNotFoundError as error:
        raise CellError(f"estimator 'local', option kernel 'fused': {error}") from error


def root(variance: Tensor) -> Tensor:
    """The root of variances: `safe_sqrt`, and the root itself where all are seen to be positive, to the last digit."""
    return variance.sqrt() if seen_positive(variance) else safe_sqrt(variance)
