"""Dropout with binary masks, fixed or learned, and no noise at all: the families of noise whose law is not normal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from vdbench.problems.parameterization import Parameterization, at, between, count, each, one_of
from vdbench.problems.posterior import Law, Posterior, Sharing

Scaling = Literal["training", "test"]

PerMask = Literal["input", "layer"]


@dataclass(frozen=True)
class BinaryDropout(Parameterization):
    """Binary dropout: W = θ ∘ ξ with ξ zero at rate p; Hinton et al. 2012, DropConnect of Wan et al. 2013.

    Scaled at training, ξ is 1/(1−p) where it is not 0 and the mean weights are θ; scaled at test, ξ is 1 there and
    the mean weights, those of prediction without noise, are (1−p)θ. Both are the same law of W in other
    coordinates, and start at the same W; gradients in θ differ by the factor 1−p. Either way α = σ²/μ² = p/(1−p), as
    Gaussian dropout has it at that α. Nothing but θ is learned.

    Attributes:
        rate: p, the probability that a number is dropped. A list gives one for each noisy layer, first to last.
        scaling: ``training`` or ``test``.
        sharing: ``inputs`` drops input features (dropout; whole channels of a convolution), ``weights`` drops
            weights (DropConnect).
    """

    rate: float | tuple[float, ...] = 0.5
    scaling: Scaling = "training"
    sharing: Sharing = "inputs"
    name: ClassVar[str] = "binary-dropout"
    roles: ClassVar[dict[str, str]] = {"theta": "theta", "log_alpha": "alpha"}

    def __post_init__(self) -> None:
        """Refuse a rate that is no probability, and words there are not."""
        object.__setattr__(self, "rate", each("rate", self.rate))
        between("rate", self.rate, 0, 1)
        one_of("scaling", self.scaling, get_args(Scaling))
        one_of("sharing", self.sharing, get_args(Sharing))

    @property
    def law(self) -> Law:
        """Binary."""
        return "binary"

    @property
    def layers(self) -> int | None:
        """As many layers as there are rates in a list."""
        return count(self.rate)

    @property
    def fixed(self) -> tuple[str, ...]:
        """``log_alpha``, the log odds of the rate."""
        return ("log_alpha",)

    def initial(self, weight: Tensor, place: int = 0) -> dict[str, Tensor]:
        """θ such that the mean weights are ``weight``; log α = log p/(1−p), shape (1,)."""
        rate = at(self.rate, place)
        theta = weight.clone() if self.scaling == "training" else weight / (1 - rate)
        return {"theta": theta, "log_alpha": weight.new_full((1,), math.log(rate / (1 - rate)))}

    def gaussian(self, coordinates: Mapping[str, Tensor]) -> Posterior:
        """Mean θ or (1−p)θ, σ = √α·mean, and the binary law."""
        mean, log_alpha = coordinates["theta"], coordinates["log_alpha"]
        if self.scaling == "test":
            mean = torch.sigmoid(-log_alpha) * mean  # 1 − p
        return Posterior(
            mean=mean,
            scale=torch.exp(0.5 * log_alpha) * mean,
            variance=torch.exp(log_alpha) * mean.square(),
            log_alpha=log_alpha,
            sharing=self.sharing,
            law=self.law,
        )


@dataclass(frozen=True)
class LearnedBinary(Parameterization):
    """Binary masks with a learned keep probability: W = θ ∘ B, B ~ Bernoulli(q), q = 1/(1 + exp(−logit)).

    A mask has one number an input feature, shared by all outputs (an input channel of a convolution, at all its
    places): x(θ ∘ B) = (x ∘ B)θ. Nothing divides by q: the weights that are kept are θ, the mean weights qθ.
    Dividing by a learned q would let the logit move the weights themselves, and not only how often they are there.
    The law of B depends on the logit, so that B is no smooth function of the logit and of noise with a fixed law: a
    gradient that passes through a draw is wrong, and only estimators made for such masks are valid.

    Attributes:
        keep: q at the start. A list gives one for each noisy layer, first to last.
        per: What has a logit of its own: every ``input`` feature, or the ``layer``.
    """

    keep: float | tuple[float, ...] = 0.5
    per: PerMask = "input"
    name: ClassVar[str] = "learned-binary"
    roles: ClassVar[dict[str, str]] = {"theta": "theta", "logit": "logit"}

    def __post_init__(self) -> None:
        """Refuse a keep that is no probability, and a granularity there is not."""
        object.__setattr__(self, "keep", each("keep", self.keep))
        between("keep", self.keep, 0, 1)
        one_of("per", self.per, get_args(PerMask))

    @property
    def law(self) -> Law:
        """Binary."""
        return "binary"

    @property
    def learned_law(self) -> bool:
        """It is."""
        return True

    @property
    def sharing(self) -> Sharing:
        """Inputs."""
        return "inputs"

    @property
    def layers(self) -> int | None:
        """As many layers as there are probabilities in a list."""
        return count(self.keep)

    def initial(self, weight: Tensor, place: int = 0) -> dict[str, Tensor]:
        """θ = weight/keep, so that the mean weights are ``weight``; logit of shape (1,) or (1, inputs, 1, …)."""
        keep = at(self.keep, place)
        _, inputs, *kernel = weight.shape
        shape = (1,) if self.per == "layer" else (1, inputs, *(1 for _ in kernel))
        return {
            "theta": weight / keep,
            "logit": weight.new_full(shape, math.log(keep / (1 - keep))),
        }

    def gaussian(self, coordinates: Mapping[str, Tensor]) -> Posterior:
        """Mean qθ, variance q(1−q)θ², and the binary law; α = (1−q)/q, so that log α is minus the logit."""
        theta, logit = coordinates["theta"], coordinates["logit"]
        keep, drop = torch.sigmoid(logit), torch.sigmoid(-logit)
        return Posterior(
            mean=keep * theta,
            scale=torch.exp(-0.5 * logit) * keep * theta,
            variance=keep * drop * theta.square(),
            log_alpha=-logit,
            sharing=self.sharing,
            law=self.law,
        )


@dataclass(frozen=True)
class Point(Parameterization):
    """No noise: W = θ, the network without dropout. Every estimator that is valid here gives the same gradient."""

    name: ClassVar[str] = "point"
    roles: ClassVar[dict[str, str]] = {"theta": "theta"}

    @property
    def law(self) -> Law:
        """None."""
        return "none"

    def initial(self, weight: Tensor, place: int = 0) -> dict[str, Tensor]:
        """θ = weight."""
        return {"theta": weight.clone()}

    def gaussian(self, coordinates: Mapping[str, Tensor]) -> Posterior:
        """Mean θ, scale and variance 0."""
        theta = coordinates["theta"]
        zero = torch.zeros_like(theta)
        return Posterior(theta, zero, zero, law=self.law)
