"""Randomised quasi-Monte Carlo: S draws on a scrambled Sobol' net."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from estimators.naive import Naive
from vdbench import Estimator, InputError, Noise, register
from vdbench.estimation.base import Declaration
from vdbench.estimation.quasi_monte_carlo import DIMENSIONS, Coupling
from vdbench.estimation.quasi_monte_carlo import Sobol as Strata


@register("sobol", version="1")
@dataclass(frozen=True)
class Sobol(Coupling):
    r"""The mean of S draws of another estimator on the points of a scrambled Sobol' net.

    Formula: $\frac1S\sum_s g(\varepsilon_s)$, $\varepsilon_{sk} = F^{-1}(x_{sk})$, $x_1, \dots, x_S$ the first points
    of the Sobol' sequence, scrambled in each coordinate $k$ by Owen's nested uniform permutation of its digits.

    Scrambling makes each point uniform in the unit cube. Each $\varepsilon_s$ therefore has the distribution of one
    draw's noise, and the mean is that of one draw. The point set remains a net: each coordinate is stratified as in a
    Latin hypercube, and so are boxes of several coordinates, as far as S points allow. With hundreds of coordinates
    they allow little. For a smooth integrand of few coordinates the variance falls as $S^{-3}$, up to logarithms. For
    any square-integrable integrand it falls faster than $1/S$ in the limit (Owen 1997).

    The sequence has 21,201 dimensions. Coordinates beyond ``block`` reuse the same net, scrambled independently and
    with its points in random order (Latin supercube sampling). This is also unbiased, and stratifies only within
    blocks. Coordinates are assigned to dimensions in the order in which the estimator requests them, so examples are
    not interchangeable. The wrapper therefore does not declare examples independent.

    Claim: as the wrapped estimator.
    Cost: S times the wrapped estimator's time; 2S − 1 uniform numbers per coordinate; the noise of S draws in memory.
    Source: Owen 1995 and 1997; Joe & Kuo 2008 (direction numbers); Owen 1998 (Latin supercube sampling); for
    variational inference Buchholz, Wenzel & Mandt 2018.

    Attributes:
        of: The wrapped estimator; any whose noise is normal, uniform or random signs.
        samples: S, a power of 2.
        block: Coordinates per net, at most 21,201.

    Example:
        >>> import vdbench
        >>> vdbench.get("sobol", of="local", samples=8)
        Sobol(of=Local(), samples=8, block=21201)
    """

    of: Estimator = field(default_factory=Naive)
    samples: int = 2
    block: int = DIMENSIONS

    def __post_init__(self) -> None:
        """Refuse a number of points that is not a power of 2, a block that is too large, and unsuitable noise."""
        super().__post_init__()
        if self.samples < 1 or self.samples & (self.samples - 1):
            above = 2 ** max(self.samples, 1).bit_length()
            raise InputError(
                f"{self.named}: samples must be a power of 2, at which Sobol' points are balanced, such as {above}, "
                f"not {self.samples}."
            )
        if not 1 <= self.block <= DIMENSIONS:
            raise InputError(
                f"{self.named}: block must be from 1 to {DIMENSIONS}, the dimensions of the sequence, not {self.block}."
            )

    @property
    def declaration(self) -> Declaration:
        """That of the inner estimator, without independence of the examples."""
        return replace(super().declaration, independent_examples=False)

    def strata(self, noise: Noise) -> Strata:
        """Strata from one net for each block of coordinates."""
        return Strata(noise, self.block)
