"""Score function (REINFORCE) for learned binary masks, with an optional moving average as baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from vdbench import (
    Gradient,
    InputError,
    Key,
    Noise,
    Parameters,
    Problem,
    need_posterior,
    register,
)
from vdbench.estimation.binary_masks import (
    Masked,
    MaskEstimator,
    kept,
    pilot_noise,
    pilots,
    score,
)


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
    r"""Score function over the masks of each example, with an optional baseline.

    Formula: $\nabla_\varphi \leftarrow \sum_m (f_m(B_m) - b)\,(B_m - q)$,
    $B_m \sim \mathrm{Bernoulli}(q)$, $q = \sigma(\varphi)$.

    $f_m$ is the N/M-scaled log-likelihood of example $m$ under its own masks, including constants: an additive
    constant changes the variance. It is unbiased by $\nabla E_q[f] = E_q[f\,\nabla\log q]$ with
    $\partial\log q(B)/\partial\varphi = B - q$. The cost need not be differentiable in the masks. In θ and in the
    biases, the estimate is the ordinary gradient under the drawn masks.

    The baseline $b$ is 0, or $1/M$ of a moving average of *earlier* costs of whole minibatches: of pilot draws,
    then, in training, of the steps before. It does not depend on this draw, so it changes no mean, and results are
    conditional on it.

    Claim: unbiased for the ELBO of learned masks, dense and convolution.
    Cost: 1 product forward, 1 backward for θ; M·K numbers of noise per layer.
    Source: Williams 1992; moving average: Mnih & Gregor 2014.

    Attributes:
        baseline: ``none`` or ``moving-average``.
        decay: Share of the moving average that is kept at a training step.
        pilot: Pilot draws, each on a separate minibatch of 64 examples.

    Example:
        >>> import vdbench
        >>> vdbench.get("reinforce").declaration.posteriors
        'learned-binary'
    """

    baseline: Literal["none", "moving-average"] = "none"
    decay: float = 0.9
    pilot: int = 64

    def __post_init__(self) -> None:
        """Refuse no pilot draws, and a decay that is none."""
        if not 0 <= self.decay < 1:
            raise InputError(f"reinforce: decay must be at least 0 and below 1, not {self.decay}.")
        if self.pilot < 1:
            raise InputError(f"reinforce: pilot must be at least 1 draw, not {self.pilot}.")

    def surrogate(self, network: Masked, noise: Noise) -> tuple[Tensor, Tensor]:
        """Σ_m f_m, plus the slope of the score."""
        return self._less(network, noise, 0.0)

    def given(self, network: Masked, noise: Noise, state: Any) -> tuple[Tensor, Tensor]:
        """The same with each cost less the baseline.

        Raises:
            CellError: The baseline has a state and was given none.
        """
        if self.baseline == "none":
            return self.surrogate(network, noise)
        self.need_state(state, f"baseline '{self.baseline}'")
        return self._less(network, noise, state["cost"] / len(network.batch.inputs))

    def _less(self, network: Masked, noise: Noise, base: Tensor | float) -> tuple[Tensor, Tensor]:
        masks = network.each(kept, network.uniforms(noise))
        costs = network.costs(masks)
        value = costs.sum()
        return network.slope(costs - base, network.each(score, masks)) + value, value

    def fit(self, problem: Problem, parameters: Parameters, key: Key) -> Any:
        """The mean cost of pilot draws, by minibatch: ``{"cost": scalar}``; nothing without a baseline."""
        if self.baseline == "none":
            return ()
        need_posterior(self, problem)
        total = torch.zeros((), device=problem.device, dtype=torch.float64)
        with torch.no_grad():
            for batch, place in pilots(problem, key, self.pilot):
                network = Masked(problem, parameters, parameters, batch)
                uniforms = network.uniforms(pilot_noise(problem, place))
                costs = network.costs(network.each(kept, uniforms))
                total = total + costs.double().sum() / self.pilot
        return {"cost": total.to(problem.dtype)}

    def update(self, state: Any, gradient: Gradient) -> Any:
        """The average of earlier costs after a step whose cost was ``gradient.value``."""
        if self.baseline == "none":
            return state
        moved = self.decay * state["cost"] + (1 - self.decay) * gradient.value.detach()
        return {**state, "cost": moved}
