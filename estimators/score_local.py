"""Score function over pre-activations: each example's cost times the score of the same example's draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from estimators.local import safe_sqrt
from vdbench import Batch, Layer, Noise, Parameters, Posterior, Problem, register
from vdbench.estimation.pathwise import noise_of_calls
from vdbench.estimation.score_function import LikelihoodRatio
from vdbench.problems.layers import WholeWeight


@register(
    "score-local",
    objective="elbo",
    unbiased=True,
    laws=("normal",),
    independent_examples=True,
    version="1",
    objective_on_convolution="elbo-local-noise",
)
@dataclass(frozen=True)
class ScoreLocal(LikelihoodRatio):
    r"""Score function over pre-activations that are sampled locally, with an optional baseline.

    Formula: $\frac NM\sum_m (\ell_m - b_m)\sum_l \nabla\log q(b_m^l \mid b_m^1, \dots, b_m^{l-1})$,
    $b_m^l \sim N(\gamma, \delta)$, $\gamma = x\mu$, $\delta = x^2\sigma^2$.

    $\ell_m = \log p(y_m \mid b_m)$ is the log-likelihood of example $m$. The joint density of the pre-activations of
    all layers is the product of each layer's density given the layers before it. Layer by layer, the inputs $x$ and
    the drawn $b$ are held fixed, and the log density is differentiated with respect to the parameters of the weights,
    which enter only through $\gamma$ and $\delta$.

    Noise and scores of different examples are independent, and no example's cost multiplies another example's score.
    The weight-space score function multiplies every score by the cost of the whole minibatch; here the noise variance
    falls as $1/M$. An all-zero input row gives $\delta = 0$: its pre-activation depends on no parameter and has no
    score.

    Biases are deterministic. They get the pathwise gradient along $b = \gamma + \sqrt\delta\,\zeta$ at fixed $\zeta$,
    as in local sampling. A score in the biases would need a density of the next layer's pre-activations that is smooth
    in its inputs. That density is not smooth where all units of a layer but one are at zero.

    Claim: unbiased for the ELBO of dense layers used once; on convolutions, for ``elbo-local-noise``, like ``local``.
    Cost: per sample, local's 2 products forward and, for biases, 2 backward; 2 forward and 2 backward for the scores;
    S·M·L noise.
    Source: Williams 1992 with the local sampling of Kingma, Salimans & Welling 2015, section 2.3.

    Attributes:
        samples: S, samples of all pre-activations.
        baseline: ``none``, ``moving-average``, ``leave-one-out`` (needs two samples; uses the example's own cost) or
            ``optimal``. An average cost of the data set is divided by N to get that of an example.
        decay: Share of the moving average that is kept at a training step.
        pilot: Pilot draws, each on one example: the optimum is the same for every minibatch size.

    Example:
        >>> import vdbench
        >>> vdbench.get("score-local", baseline="moving-average").declaration.independent_examples
        True
    """

    pilot_examples: ClassVar[int] = 1

    def sample(
        self, problem: Problem, at: Parameters, batch: Batch, noise: Noise
    ) -> tuple[Tensor, Any]:
        """Each example's N/M-scaled cost, (M,), and by layer the inputs and the standard normal numbers."""
        drawn: list[tuple[str, Tensor, Tensor]] = []
        source = noise_of_calls(self, problem, noise)

        def sampler(layer: Layer, x: Tensor) -> Tensor:
            q = problem.posterior(layer, at)
            mean = layer.linear(x, q.mean.detach())
            zeta = source(layer)(layer.name, mean.shape)
            drawn.append((layer.name, x.detach(), zeta))
            return mean + safe_sqrt(layer.squared(x, q.variance.detach())) * zeta

        return problem.scale(batch) * problem.log_likelihood(sampler, batch, at), drawn

    def log_density(self, problem: Problem, at: Parameters, drawn: Any) -> Tensor:
        """Log density of every example's pre-activations, (M,)."""
        layers = {layer.name: layer for layer in problem.layers}
        terms = [
            _log_density(layers[name], problem.posterior(layers[name], at), x, zeta)
            for name, x, zeta in drawn
        ]
        # a weight that is sampled whole is every example's: its term is one number for all of them
        examples = max(len(term) for term in terms)
        return torch.stack([term.expand(examples) for term in terms]).sum(0)


def _log_density(layer: Layer, q: Posterior, x: Tensor, zeta: Tensor) -> Tensor:
    """−½ Σ [log δ + (b − γ)²/δ] of each example, at b = γ₀ + √δ₀ζ held fixed.

    b − γ is written (γ₀ − γ) + √δ₀ζ, which loses no digits, and everything is measured in units of the largest σ: σ²
    itself would underflow.
    """
    largest = q.scale.detach().abs().max()
    unit = torch.where(largest > 0, largest, 1.0)
    variance = layer.squared(x, (q.scale / unit).square())
    live = variance > 0
    safe = torch.where(live, variance, 1.0)
    shift = layer.linear(x, (q.mean.detach() - q.mean) / unit)  # 0, and its gradient is −∇γ
    z = (shift + safe.detach().sqrt() * zeta) / safe.sqrt()
    terms = torch.where(live, 0.5 * safe.log() + 0.5 * z.square(), 0.0)
    return -(terms[None] if isinstance(layer, WholeWeight) else terms).flatten(1).sum(1)
