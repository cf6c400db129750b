"""Independent weights within bounds: uniform, and normal cut off on either side."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vdbench.noise import Noise
from vdbench.problems.families.around import Around
from vdbench.problems.parameterization import between
from vdbench.problems.structure import Structure, Uncorrelated


@dataclass(frozen=True)
class Interval(Uncorrelated):
    """Independent z within ±bound/deviation: a normal number cut off at ±bound, divided by its deviation.

    With φ and Φ of N(0, 1), Z = 2Φ(c) − 1 and c the bound: Var t = 1 − 2cφ(c)/Z, and the entropy of t is
    ln Z√(2π) + ½ Var t. As c → 0 the law becomes uniform, which is a case of its own: bound 0.

    Attributes:
        bound: c, in deviations of the normal number that is cut off; 0 for uniform noise.
    """

    bound: float

    @property
    def mass(self) -> float:
        """Z, the probability that N(0, 1) lies within the bounds."""
        return math.erf(self.bound / math.sqrt(2))

    @property
    def variance(self) -> float:
        """Of t, before it is standardised; 1/3 of U(−1, 1)."""
        if self.bound == 0:
            return 1 / 3
        density = math.exp(-0.5 * self.bound**2) / math.sqrt(2 * math.pi)
        return 1 - 2 * self.bound * density / self.mass

    def fourth(self, count: int) -> tuple[float, float]:
        """Of t, E[t⁴] = 3 Var t − 2c³φ(c)/Z; 1/5 of U(−1, 1). Two numbers are independent."""
        if self.bound == 0:
            return 9 / 5, 1.0
        raw = 3 * self.variance - self.bound**2 * (1 - self.variance)
        return raw / self.variance**2, 1.0

    def draw(
        self, noise: Noise, name: str, shape: tuple[int, ...], lead: tuple[int, ...]
    ) -> Tensor:
        """Z by the inverse of the distribution function: 2U − 1 = erf(n/√2) of a normal n is uniform on (−1, 1)."""
        uniform = torch.erf(noise(name, (*lead, *shape)) / math.sqrt(2))
        if self.bound == 0:
            return uniform / math.sqrt(self.variance)
        return torch.erfinv(self.mass * uniform) * math.sqrt(2 / self.variance)

    def entropy(self, scale: Tensor) -> Tensor:
        """Σ ln |σ| plus the entropy of each standardised number."""
        return scale.abs().log().sum() + scale.numel() * (
            self._of_t - 0.5 * math.log(self.variance)
        )

    @property
    def _of_t(self) -> float:
        """Entropy of t, before it is standardised."""
        if self.bound == 0:
            return math.log(2)
        return math.log(self.mass * math.sqrt(2 * math.pi)) + 0.5 * self.variance


class Independent(Around):
    """Independent numbers, each symmetric about 0."""

    @property
    def separable(self) -> bool:
        """It is: independent numbers."""
        return True


@dataclass(frozen=True)
class Uniform(Independent):
    """W ~ U(μ − √3σ, μ + √3σ), independent, in (μ, log σ²) of each weight.

    The bounds move with μ and σ, and the path w = μ + σz through them: the pathwise gradient is unbiased. The score
    ∇ log q(w) is 0 in μ wherever it is defined, and its estimator misses all that the bounds do: it is refused.

    Attributes:
        sigma: Initial standard deviation of every weight.
    """

    name: ClassVar[str] = "uniform"

    @property
    def structure(self) -> Structure:
        """Uniform noise."""
        return Interval(0.0)


@dataclass(frozen=True)
class TruncatedNormal(Independent):
    """W normal, cut off at ``bound`` deviations on either side of μ; independent, in (μ, log σ²) of each weight.

    σ is the deviation of the weight itself, after the cut, so that figures at one σ can be compared with other
    families'. The bounds move with μ and σ; as for `Uniform` the pathwise gradient is unbiased, and a score function
    would need terms at the bounds.

    Attributes:
        sigma: Initial standard deviation of every weight.
        bound: Where the normal law is cut off, in its deviations before the cut.
    """

    bound: float = 2.0
    name: ClassVar[str] = "truncated-normal"

    def __post_init__(self) -> None:
        """Refuse a scale that is no scale, and bounds that float32 does not see."""
        super().__post_init__()
        between("bound", self.bound, 0.1, 4.5)

    @property
    def structure(self) -> Structure:
        """Normal noise within bounds."""
        return Interval(self.bound)
