"""Sum and sample: the likeliest masks enumerated, one of the others sampled, for learned binary masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vdbench import InputError, Noise, register
from vdbench.estimation.binary_masks import Masked, MaskEstimator, Masks, score


@register(
    "sum-and-sample",
    objective="elbo",
    unbiased=True,
    laws=("uniform",),
    independent_examples=True,
    version="1",
    posteriors="learned-binary",
)
@dataclass(frozen=True)
class SumAndSample(MaskEstimator):
    r"""Score function summed over the likeliest masks, plus a sample of the rest with the probability of the rest.

    Formula: $\nabla_\varphi \leftarrow \sum_m\sum_{B\in C}q(B)(f_m(B) - b_m)(B - q) + (1 - q(C))(f_m(\tilde B_m) -
    b_m)(\tilde B_m - q)$, $\tilde B_m \sim q(\cdot\mid B\notin C)$, $b_m = \sum_{B\in C}q(B)f_m(B)/q(C)$.

    A mask here is that of all layers together, and $C$ are the ``masks`` likeliest, the same for all examples. This is
    the mean of the score function given the mask $\tilde B_m$ that is drawn where $C$ is missed (Rao–Blackwell). So it
    is unbiased, with less variance than the score function with the same baseline. The baseline $b_m$ depends on no
    noise. If all masks are enumerated, no noise is left. If $q(C)$ is small, as with many undecided masks, the estimate
    is that of ``reinforce`` with a baseline, and the enumeration costs time only. In θ and in the biases, the gradient
    is summed and sampled in the same way.

    A mask differs from the likeliest one, the mode, in some numbers. It is sampled outside $C$ number by number, each
    given those before it and that the mask is not in $C$. What is left for the others is a difference from 1: where it
    is below the precision of the type (about 1e-7 in float32, all logits beyond ±16), the terms that it weights are
    lost to rounding, a part of the gradient of that size.

    Claim: unbiased for the ELBO of learned masks, dense and convolution, to rounding; exact if all masks are
        enumerated.
    Cost: k + 1 products forward, k + 1 backward for θ, k = ``masks``; M·K numbers of noise per layer.
    Source: Liu, Regier, Tripuraneni, Jordan & McAuliffe 2019 (*Rao-Blackwellized stochastic gradients for discrete
    distributions*); the baseline is added here.

    Attributes:
        masks: k, how many are enumerated; at most all.

    Example:
        >>> import vdbench
        >>> vdbench.get("sum-and-sample", masks=4)
        SumAndSample(masks=4)
    """

    masks: int = 8

    def __post_init__(self) -> None:
        """Refuse to enumerate none, or so many that the search for them takes longer than the costs."""
        if not 1 <= self.masks <= 1024:
            raise InputError(
                f"sum-and-sample: masks must be a number from 1 to 1024, not {self.masks}."
            )

    @property
    def passes_together(self) -> int:
        """One for each mask."""
        return self.masks + 1

    def surrogate(self, network: Masked, noise: Noise) -> tuple[Tensor, Tensor]:
        """The weighted sum of costs, plus the slopes of the weighted scores."""
        uniforms = network.uniforms(noise)
        flat = torch.cat([u.flatten(1) for u in uniforms.values()], 1)  # (M, K)
        logits = torch.cat(
            [network.logits[n].detach().expand(u.shape[1:]).flatten() for n, u in uniforms.items()]
        )
        found = likeliest(logits, self.masks)
        deviations = [one.expand_as(flat) for one in found.deviations]
        weights = list(found.chances)
        if len(weights) < 2 ** len(logits):
            rest, weight = self._rest(found, flat)
            deviations.append(rest)
            weights.append(weight)
        masks = [_split(torch.where(logits > 0, 1 - d, d), uniforms) for d in deviations]
        costs = [network.costs(one) for one in masks]
        kept = list(zip(weights, costs, strict=True))[: len(found.chances)]
        total = found.chances.sum()
        # any mean of the enumerated costs will do, where hundreds of masks leave their probabilities at 0 in float32
        even = torch.stack([f.detach() for _, f in kept]).mean(0)
        base = torch.stack([w * f.detach() for w, f in kept]).sum(0) / total
        base = torch.where(total > 0, base, even)
        slopes = [
            network.slope(w * (f - base), network.each(score, one))
            for w, f, one in zip(weights, costs, masks, strict=True)
        ]
        value = torch.stack([w * f.sum() for w, f in zip(weights, costs, strict=True)]).sum()
        return torch.stack(slopes).sum() + value, value

    def _rest(self, found: Likeliest, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Deviations of a mask outside the enumerated ones, and the probability of all of those."""
        return outside(found, uniform), (1 - found.chances.sum()).clamp(min=0)


@dataclass(frozen=True)
class Likeliest:
    """The likeliest masks of K independent numbers, as deviations from the mode.

    Attributes:
        deviations: (k, K), 1 where a mask differs from the mode; the likeliest first.
        chances: (k,), their probabilities.
        rare: (K,), the probability of each deviation.
        order: The numbers in which a mask may deviate, from the least decided on; at most k − 1.
    """

    deviations: Tensor
    chances: Tensor
    rare: Tensor
    order: Tensor


def likeliest(logits: Tensor, count: int) -> Likeliest:
    """Enumerate them.

    A deviation in number i divides the probability by e^|φ_i|. A mask among the k likeliest deviates in none but the
    k − 1 smallest |φ|: before it come the mode and the k − 1 single deviations. These numbers are added one by one, and
    the k smallest sums kept. Of equal ones those come first that deviate in numbers that are added earlier.

    Args:
        logits: (K,), constants.
        count: k; 2^K at most are found.
    """
    size = logits.abs()
    order = size.argsort(stable=True)[: count - 1]
    sums = size.new_zeros(1)
    found = torch.zeros_like(size)[None]
    for place in range(len(order)):
        one = order[place : place + 1]
        more = found.index_fill(1, one, 1.0)
        sums = torch.cat([sums, sums + size.index_select(0, one)])
        first = sums.argsort(stable=True)[:count]
        sums = sums.index_select(0, first)
        found = torch.cat([found, more]).index_select(0, first)
    mode = F.logsigmoid(size).sum()
    return Likeliest(found, torch.exp(mode - sums), torch.sigmoid(-size), order)


def outside(found: Likeliest, uniform: Tensor) -> Tensor:
    """Deviations of a mask outside the enumerated ones, (M, K), one for each row of uniform numbers.

    Args:
        found: The enumerated masks.
        uniform: (M, K); number i deviates where its uniform number is below its conditional probability.
    """
    rare, order = found.rare, found.order
    members = found.deviations.index_select(1, order)  # (k, r)
    own = rare.index_select(0, order)
    chances = torch.where(members > 0, own, 1 - own)
    free = torch.ones_like(rare).index_fill(0, order, 0.0)
    never = torch.log1p(-rare) * free
    # of each member: the probability of all that comes after each of its numbers
    after = torch.cat([chances, torch.exp(never.sum()).expand(len(members), 1)], 1)
    after = after.flip(1).cumprod(1).flip(1)  # (k, r + 1)
    inside = torch.ones_like(uniform[:, :1]) * torch.ones_like(after[:, 0])  # (M, k)
    drawn = torch.zeros_like(uniform)
    for place in range(len(order)):
        one = order[place : place + 1]
        on = inside * members[:, place]
        left = 1 - (inside * after[:, place]).sum(1)
        right = (1 - (on * after[:, place + 1]).sum(1)).clamp(min=0)
        chance = own[place] * right / left.clamp(min=torch.finfo(left.dtype).tiny)
        bit = (uniform.index_select(1, one)[:, 0] < chance).to(uniform.dtype)
        drawn = drawn + bit[:, None] * torch.zeros_like(rare).index_fill(0, one, 1.0)
        inside = torch.where(bit[:, None] > 0, on, inside - on)
    return drawn + _others(rare, free, never, uniform, inside.sum(1, keepdim=True))


def _others(rare: Tensor, free: Tensor, never: Tensor, uniform: Tensor, inside: Tensor) -> Tensor:
    """Deviations in the numbers in which no enumerated mask deviates: at least one, if the others are a mask's.

    Args:
        rare: (K,), probabilities of deviations.
        free: (K,), 1 for these numbers.
        never: (K,), the logarithm of the probability of no deviation; 0 elsewhere.
        uniform: (M, K).
        inside: (M, 1), 1 where the numbers drawn so far are those of an enumerated mask.
    """
    # the first deviation, given that there is one from here on; expm1 keeps the digits of rare ones
    some = -torch.expm1(never.flip(0).cumsum(0).flip(0))
    hazard = torch.where(some > 0, rare / some.clamp(min=torch.finfo(some.dtype).tiny), 1.0)
    ever = (uniform < hazard) & (free > 0)
    first = ever & (ever.cumsum(1) == 1)
    later = (first.cumsum(1) - first.to(torch.int64)) > 0
    usual = (uniform < rare) & (free > 0)
    chosen = torch.where(inside > 0, first | (later & usual), usual)
    return chosen.to(uniform.dtype)


def _split(flat: Tensor, like: Mapping[str, Tensor]) -> Masks:
    """(M, K) back into masks by layer."""
    parts = torch.split(flat, [u[0].numel() for u in like.values()], 1)
    return {n: part.reshape(u.shape) for part, (n, u) in zip(parts, like.items(), strict=True)}
