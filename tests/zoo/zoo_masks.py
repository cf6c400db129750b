"""Defects of estimators for learned binary masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from zoo_making import add, declared

from estimators.arms import Arms
from estimators.double_control_variate import DoubleControlVariate
from estimators.relax import Relax, Surrogate
from estimators.rodeo import Rodeo
from estimators.straight_through_gumbel import StraightThroughGumbel
from estimators.sum_and_sample import Likeliest, SumAndSample, outside
from vdbench.estimation.binary_masks import Masked, Masks, kept, logistic, score, slope_apart
from vdbench.noise import Noise, Repeated


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


@dataclass(frozen=True)
class Uncorrelated(Arms):
    """Antithetic samples whose correlation is forgotten."""

    declared = masks("arms-without-its-correlation")

    def _direction(self, logit: Tensor, rare: Tensor) -> Tensor:
        sign = torch.where(logit > 0, -1.0, 1.0).to(rare.dtype)
        return sign * rare


@dataclass(frozen=True)
class FactorOfPairs(Arms):
    """The factor of two samples, σ(|φ|), where there are more."""

    declared = masks("arms-with-the-factor-of-two")

    def _direction(self, logit: Tensor, rare: Tensor) -> Tensor:
        sign = torch.where(logit > 0, -1.0, 1.0).to(rare.dtype)
        return sign * rare * torch.sigmoid(logit.abs())


@dataclass(frozen=True)
class FromAll(SumAndSample):
    """The rest is sampled from all masks, the enumerated ones among them."""

    declared = masks("the-rest-is-sampled-from-all")

    def _rest(self, found: Likeliest, uniform: Tensor) -> tuple[Tensor, Tensor]:
        drawn = (uniform < found.rare).to(uniform.dtype)
        return drawn, 1 - found.chances.sum()


@dataclass(frozen=True)
class WholeWeight(SumAndSample):
    """The sampled mask has weight 1."""

    declared = masks("the-rest-has-weight-1")

    def _rest(self, found: Likeliest, uniform: Tensor) -> tuple[Tensor, Tensor]:
        return outside(found, uniform), torch.ones_like(found.chances[0])


@dataclass(frozen=True)
class WithoutMean(Rodeo):
    """The mean over a number is not added to the surrogate's score function."""

    declared = masks("rodeo-without-the-means")

    def _spread(self, logit: Tensor) -> Tensor:
        return torch.zeros_like(logit)


@dataclass(frozen=True)
class OwnCoefficients(Rodeo):
    """Coefficients fitted on the very draw that they are used in."""

    declared = masks("rodeo-fitted-to-its-own-draw")

    def given(self, network: Masked, noise: Noise, state: Any) -> tuple[Tensor, Tensor]:
        """Least squares of this draw, with the square alone."""
        same = Noise(Repeated(noise.source), noise.path)
        _, terms = self._terms(network, same)
        flat = [
            torch.cat(
                [d.sum(0).sum_to_size(network.logits[n].shape).flatten() for n, d in one.items()]
            )
            for one in terms
        ]
        target, *control = flat
        square = torch.stack([(control[2] * x).sum() for x in (control[2], target)])
        size = square[1] / square[0].clamp(min=1e-12)
        return super().given(
            network, same, {"coefficients": torch.stack([0 * size, 0 * size, size])}
        )


@dataclass(frozen=True)
class NoConditionalSlope(Relax):
    """The slope of z̃ in the logit is taken to be 0."""

    declared = masks("relax-without-the-conditional-slope")

    def _control(
        self, network: Masked, masks: Masks, uniforms: Masks, of: Surrogate
    ) -> tuple[Tensor, dict[str, Tensor]]:
        control, slopes = super()._control(network, masks, uniforms, of)
        numbers = network.each(lambda logit, u: logit + logistic(u), uniforms)
        apart = network.each(slope_apart, masks, numbers)
        return control, {n: slope / apart[n] for n, slope in slopes.items()}


@dataclass(frozen=True)
class NeverAddedBack(Relax):
    """The surrogate's score function is subtracted, and its mean is not added."""

    declared = masks("relax-without-the-surrogate-s-mean")

    def _control(
        self, network: Masked, masks: Masks, uniforms: Masks, of: Surrogate
    ) -> tuple[Tensor, dict[str, Tensor]]:
        control, slopes = super()._control(network, masks, uniforms, of)
        return control, {n: torch.zeros_like(slope) for n, slope in slopes.items()}


add("double-control-variate-without-its-mean", Double(), "the mean of the linear part is not added")
add("double-control-variate-of-its-own-slope", OwnSlope(own_slope=True, adds_mean=True),
    "the slopes are those at the very sample they are subtracted from")  # fmt: skip
add("straight-through-gumbel-claims-no-bias", Gumbel(), "straight-through Gumbel, claimed unbiased")
add("straight-through-gumbel-without-its-temperature", Unscaled(temperature=0.3),
    "the slope is not divided by λ, claimed unbiased")  # fmt: skip
add("arms-without-its-correlation", Uncorrelated(), "antithetic samples taken for independent ones")
add("arms-with-the-factor-of-two", FactorOfPairs(), "the factor of two samples, with four")
add("the-rest-is-sampled-from-all", FromAll(), "enumerated masks are sampled, too")
add(
    "the-rest-has-weight-1",
    WholeWeight(),
    "the sampled mask is not weighted by the rest's probability",
)
add("rodeo-without-the-means", WithoutMean(), "the surrogate's mean is not added")
add(
    "rodeo-fitted-to-its-own-draw",
    OwnCoefficients(),
    "coefficients are fitted to the draw they are used in",
)
add(
    "relax-without-the-conditional-slope",
    NoConditionalSlope(steps=20),
    "the slope of z̃ is left out",
)
add(
    "relax-without-the-surrogate-s-mean",
    NeverAddedBack(steps=20),
    "the surrogate's mean is not added",
)
