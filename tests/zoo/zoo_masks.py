"""Defects of estimators for learned binary masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from zoo_making import add, declared

from estimators.double_control_variate import DoubleControlVariate
from estimators.straight_through_gumbel import StraightThroughGumbel
from vdbench.estimation.binary_masks import Masked, kept, score
from vdbench.noise import Noise


def masks(name: str, **change: Any) -> Any:
    """What an estimator of masks declares."""
    own = {"laws": ("uniform",), "independent_examples": True, "posteriors": "learned-binary"}
    return declared(name, **(own | change))


@dataclass(frozen=True)
class Double(DoubleControlVariate):
    """Two samples with a linear control variate, written out, with a defect."""

    declared = masks("double-control-variate-without-its-mean")
    own_slope: bool = False
    adds_mean: bool = False

    def surrogate(self, network: Masked, noise: Noise) -> tuple[Tensor, Tensor]:
        """Slopes of the sample itself, or no mean of the control variate."""
        drawn = [network.each(kept, network.uniforms(noise.at("sample", s))) for s in range(2)]
        costs = [network.costs(one) for one in drawn]
        found = [network.mask_slopes(one) for one in drawn]
        terms = [self._term(network, drawn, costs, found, s) for s in range(2)]
        value = torch.stack(costs).mean(0).sum()
        return torch.stack(terms).sum() / 2 + value, value

    def _term(
        self, network: Masked, drawn: list[dict[str, Tensor]], costs: list[Tensor],
        found: list[dict[str, Tensor]], s: int,
    ) -> Tensor:  # fmt: skip
        slopes = found[s if self.own_slope else 1 - s]
        apart = [slopes[n] * (drawn[s][n] - drawn[1 - s][n]) for n in slopes]
        less = costs[s] - costs[1 - s] - torch.stack([x.flatten(1).sum(1) for x in apart]).sum(0)
        term = network.slope(less, network.each(score, drawn[s]))
        ones = torch.ones_like(less.detach())
        mean = network.slope(ones, network.each(_spread, slopes))
        return term + mean if self.adds_mean else term


def _spread(logit: Tensor, slope: Tensor) -> Tensor:
    return slope * torch.sigmoid(logit) * torch.sigmoid(-logit)


@dataclass(frozen=True)
class OwnSlope(Double):
    """The same with the mean, and the slopes of the very sample."""

    declared = masks("double-control-variate-of-its-own-slope")


@dataclass(frozen=True)
class Gumbel(StraightThroughGumbel):
    """Straight-through Gumbel that claims no bias."""

    declared = masks("straight-through-gumbel-claims-no-bias")


@dataclass(frozen=True)
class Unscaled(StraightThroughGumbel):
    """The same without its temperature in the slope."""

    declared = masks("straight-through-gumbel-without-its-temperature")

    def _slope(self, logit: Tensor, mask: Tensor, place: Tensor) -> Tensor:
        return super()._slope(logit, mask, place) * self.temperature


add("double-control-variate-without-its-mean", Double(), "the mean of the linear part is not added")
add("double-control-variate-of-its-own-slope", OwnSlope(own_slope=True, adds_mean=True),
    "the slopes are those at the very sample they are subtracted from")  # fmt: skip
add("straight-through-gumbel-claims-no-bias", Gumbel(), "straight-through Gumbel, claimed unbiased")
add("straight-through-gumbel-without-its-temperature", Unscaled(temperature=0.3),
    "the slope is not divided by λ, claimed unbiased")  # fmt: skip
