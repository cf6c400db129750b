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

    Scrambling makes each point uniform in the cube, so that each $\varepsilon_s$ has the law of one draw's noise and
    the mean is that of one draw. The set stays a net: each coordinate is stratified as in a Latin hypercube, and so
    are boxes of several coordinates, as far as S points reach; of hundreds of coordinates that is not far. For a smooth
    integrand of few coordinates the variance falls as $S^{-3}$, up to logarithms; for any square-integrable one it
    falls faster than $1/S$ in the limit (Owen 1997).

    The sequence has 21,201 dimensions. Coordinates beyond ``block`` take the same net again, scrambled
    independently and its points in a random order: Latin supercube sampling, as unbiased, and coupled within blocks
    alone. Coordinates take the dimensions in the order in which the estimator asks for them, so that examples are not
    interchangeable: it does not declare them independent.

    Claim: as the wrapped estimator.
    Cost: S times the wrapped estimator's time; 2S − 1 uniform numbers a coordinate, and the S draws' noise held.
    Source: Owen 1995 and 1997; Joe & Kuo 2008 (direction numbers); Owen 1998 (Latin supercube sampling);
    for variational inference Buchholz, Wenzel & Mandt 2018.

    Attributes:
        of: The estimator that is drawn from; any whose noise is normal, uniform or of random sign.
        samples: S, a power of 2.
        block: Coordinates that one net serves, at most 21,201.

    Example:
        >>> import vdbench
        >>> vdbench.get("sobol", of="local", samples=8)
        Sobol(of=Local(), samples=8, block=21201)
    """

    of: Estimator = field(default_factory=Naive)
    samples: int = 2
    block: int = DIMENSIONS

    def __post_init__(self) -> None:
        """Refuse a number of points that is no net, a block beyond the sequence, and what cannot be coupled."""
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
        """The inner estimator's, without independence of the examples."""
        return replace(super().declaration, independent_examples=False)

    def strata(self, noise: Noise) -> Strata:
        """Of one net for each block of coordinates."""
        return Strata(noise, self.block)
