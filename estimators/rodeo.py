"""RODEO: leave-one-out with control variates from a discrete Stein operator, for learned binary masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vdbench import InputError, Key, Noise, Parameters, Problem, need_posterior, register
from vdbench.estimation.binary_masks import (
    Masked,
    MaskEstimator,
    Masks,
    kept,
    pilot_noise,
    pilots,
    score,
)


@register(
    "rodeo",
    objective="elbo",
    unbiased=True,
    laws=("uniform",),
    independent_examples=True,
    version="1",
    posteriors="learned-binary",
)
@dataclass(frozen=True)
class Rodeo(MaskEstimator):
    r"""Leave-one-out score function, with a surrogate of the cost whose score function is replaced by its exact mean.

    Formula: $\nabla_{\varphi_i} \leftarrow \sum_m\frac1S\sum_s\big[f_m(B_s) - b_s - h_s(B_s)\big](B_{si} - q_i) +
    q_i(1-q_i)\,[h_s(B_s^{i\to1}) - h_s(B_s^{i\to0})]$.

    The surrogate of a sample is made of the other samples' costs and slopes, $t_r(B) = \nabla f_m(B_r)\cdot(B - B_r)$:
    $h_s(B) = \frac1{S-1}\sum_{r\ne s}\beta_1t_r(B) + \beta_2\frac MNt_r(B)^2$. Let $h_s$ be given. Setting number $i$
    of a mask to 1 and to 0, with the others as they are, gives the mean of $h_s(B)(B_i - q_i)$ over that number. A
    function less its mean over one number is a discrete Stein operator: its mean is 0, whatever $h_s$ is. So the
    estimator is unbiased for any β. A flip changes $t_r$ by one slope, so that no further costs are computed. The
    baseline is $b_s = \frac1{S-1}\sum_{r\ne s}f_m(B_r) + \alpha\nabla f_m(B_r)\cdot(q - B_r)$. It depends on the other
    samples alone; its second term, a Stein operator of a Taylor polynomial, moves their costs to the mean masks.

    The coefficients $\alpha, \beta_1, \beta_2$ are those of least variance, summed over all logits. They are fitted by
    least squares to pairs of pilot draws on one minibatch, and results are conditional on these draws. They stay as
    they are in training. In θ and in the biases, the estimate is the mean of the ordinary gradients under the S masks.

    Claim: unbiased for the ELBO of learned masks, dense and convolution; the cost must be differentiable in the masks.
    Cost: 2·S products forward, S backward for the masks and S for θ; S·M·K numbers of noise per layer.
    Source: Shi, Zhou, Hwang, Titsias & Mackey 2022 (*Gradient estimation with discrete Stein operators*). Theirs has a
    small trained network in place of the polynomial in $t_r$, and operators over all numbers at once.

    Attributes:
        samples: S, at least 2.
        pilot: Pairs of pilot draws, each on a separate minibatch of 64 examples.

    Example:
        >>> import vdbench
        >>> vdbench.get("rodeo", samples=3)
        Rodeo(samples=3, pilot=32)
    """

    samples: int = 2
    pilot: int = 32

    def __post_init__(self) -> None:
        """Refuse fewer than two samples, and no pilot draws."""
        if self.samples < 2:
            raise InputError(
                f"rodeo: samples must be at least 2, not {self.samples}: with one there are no others."
            )
        if self.pilot < 1:
            raise InputError(f"rodeo: pilot must be at least 1 pair of draws, not {self.pilot}.")

    @property
    def passes_together(self) -> int:
        """Two for each sample."""
        return 2 * self.samples

    def surrogate(self, network: Masked, noise: Noise) -> tuple[Tensor, Tensor]:
        """Without a state there are no coefficients.

        Raises:
            CellError: Always.
        """
        return self.given(network, noise, ())

    def given(self, network: Masked, noise: Noise, state: Any) -> tuple[Tensor, Tensor]:
        """Leave-one-out, less the control variates with their coefficients.

        Raises:
            CellError: There is no state.
        """
        self.need_state(state, "the surrogate")
        costs, terms = self._terms(network, noise)
        value = costs.mean(0).sum()
        weights = torch.cat([torch.ones_like(state["coefficients"][:1]), -state["coefficients"]])
        slopes = [network.slope(torch.ones_like(costs[0].detach()), one) for one in terms]
        return (weights * torch.stack(slopes)).sum() + value, value

    def _terms(self, network: Masked, noise: Noise) -> tuple[Tensor, list[Masks]]:
        """Costs (S, M), and by mask number the gradient of leave-one-out and the three control variates."""
        drawn = [
            network.each(kept, network.uniforms(noise.at("sample", s))) for s in range(self.samples)
        ]
        costs = torch.stack([network.costs(masks) for masks in drawn])
        slopes = [network.mask_slopes(masks) for masks in drawn]
        # costs are N/M times an example's own: without it, β₂ would be fitted to one minibatch size alone
        scale = network.problem.scale(network.batch)
        total: list[dict[str, Tensor]] = [{} for _ in range(4)]
        for s, masks in enumerate(drawn):
            scores = network.each(score, masks)
            spread = network.each(self._spread)
            for r in range(self.samples):
                if r == s:
                    continue
                f = (costs[s] - costs[r]).detach()
                t = _dot(slopes[r], {n: masks[n] - drawn[r][n] for n in masks})
                toward = network.each(_centred, drawn[r])
                base = _dot(slopes[r], toward)
                for n, mask in masks.items():
                    up, down = slopes[r][n] * (1 - mask), -slopes[r][n] * mask
                    here = _beside(t, mask)
                    parts = (
                        _beside(f, mask) * scores[n],
                        _beside(base, mask) * scores[n],
                        here * scores[n] - spread[n] * (up - down),
                        here.square() / scale * scores[n]
                        - spread[n] / scale * ((here + up).square() - (here + down).square()),
                    )
                    for sums, part in zip(total, parts, strict=True):
                        sums[n] = sums.get(n, 0.0) + part / (self.samples * (self.samples - 1))
        return costs, list(total)

    def fit(self, problem: Problem, parameters: Parameters, key: Key) -> Any:
        """The coefficients, ``{"coefficients": (3,)}``, from pairs of draws that share a minibatch."""
        need_posterior(self, problem)
        products = torch.zeros(3, 4, dtype=torch.float64, device=problem.device)
        for batch, place in pilots(problem, key, self.pilot):
            network = Masked(problem, parameters, parameters, batch)
            first, second = (
                self._gradients(network, pilot_noise(problem, place / half)) for half in range(2)
            )
            change = first - second  # (4, logits)
            products += change[1:] @ change.T
        return {"coefficients": _solved(products[:, 1:], products[:, 0]).to(problem.dtype)}

    def _gradients(self, network: Masked, noise: Noise) -> Tensor:
        """The four terms in all logits, (4, logits)."""
        with torch.no_grad():
            _, terms = self._terms(network, noise)
        return torch.stack([_in_logits(network, one).double() for one in terms])

    def _spread(self, logit: Tensor) -> Tensor:
        """q(1−q), computed without the cancellation in 1 − q."""
        return torch.sigmoid(logit) * torch.sigmoid(-logit)


def _in_logits(network: Masked, directions: Masks) -> Tensor:
    """Σ_m of directions, summed over all that share a logit, flat."""
    found = [
        directions[n].sum(0).sum_to_size(logit.shape).flatten()
        for n, logit in network.logits.items()
    ]
    return torch.cat(found)


def _solved(products: Tensor, right: Tensor) -> Tensor:
    """Least squares by normal equations that are scaled first; a control variate that is always 0 gets none."""
    size = products.diagonal().clamp(min=0).sqrt()
    scale = torch.where(size > 0, 1 / size, 0.0)
    inverse: Tensor = torch.linalg.pinv(
        products * scale * scale[:, None], rtol=1e-10, hermitian=True
    )
    return scale * (inverse @ (scale * right))


def _dot(slopes: Mapping[str, Tensor], steps: Mapping[str, Tensor]) -> Tensor:
    """Σ over the masks of an example, (M,)."""
    return torch.stack([(slopes[n] * step).flatten(1).sum(1) for n, step in steps.items()]).sum(0)


def _beside(each: Tensor, mask: Tensor) -> Tensor:
    """One number an example, to be multiplied with masks."""
    return each.reshape(-1, *(1 for _ in mask.shape[1:]))


def _centred(logit: Tensor, mask: Tensor) -> Tensor:
    """The way from a mask to its mean, q − B."""
    return -score(logit, mask)
