"""Latin hypercube sampling: S draws whose every random number is stratified over the draws."""

from __future__ import annotations

from dataclasses import dataclass, field

from estimators.naive import Naive
from vdbench import Estimator, InputError, Noise, register
from vdbench.estimation.quasi_monte_carlo import Coupling
from vdbench.estimation.quasi_monte_carlo import LatinHypercube as Strata


@register("latin-hypercube", version="1")
@dataclass(frozen=True)
class LatinHypercube(Coupling):
    r"""The mean of S draws of another estimator, every random number of which is stratified over the draws.

    Formula: $\frac1S\sum_s g(\varepsilon_s)$, $\varepsilon_{sk} = F^{-1}\big((\pi_k(s) + u_{sk})/S\big)$,
    $\pi_k$ a random permutation of $0, \dots, S-1$ for each coordinate $k$, $u_{sk} \sim U[0, 1)$.

    Each $\varepsilon_s$ has the law of one draw's noise, so the mean is that of one draw. The S numbers of a
    coordinate lie in S different strata of equal probability: what is additive in the coordinates is integrated almost
    without error, and the noise variance is $1/S$ of what is left when the best additive part is taken out, plus
    $o(1/S)$ (Stein 1987). It is never more than $S/(S-1)$ times that of S independent draws (Owen 1997). Of random
    signs, half are positive in every coordinate where S is even. Around ``local`` it is the pre-activations' numbers
    that are stratified, of which there are as many as a network has units, not weights: that is ours. All numbers of
    the S draws are held together.

    Claim: as the wrapped estimator.
    Cost: S times the wrapped estimator's time; 2S uniform numbers a coordinate, sorted, and the S draws' noise held.
    Source: McKay, Beckman & Conover 1979; Stein 1987; Owen 1997.

    Attributes:
        of: The estimator that is drawn from; any whose noise is normal, uniform or of random sign.
        samples: S.

    Example:
        >>> import vdbench
        >>> vdbench.get("latin-hypercube", of="local", samples=8)
        LatinHypercube(of=Local(), samples=8)
    """

    of: Estimator = field(default_factory=Naive)
    samples: int = 2

    def __post_init__(self) -> None:
        """Refuse no samples at all, and what cannot be coupled."""
        super().__post_init__()
        if self.samples < 1:
            raise InputError(f"{self.named}: samples must be at least 1, not {self.samples}.")

    def strata(self, noise: Noise) -> Strata:
        """Every coordinate in an order of its own."""
        return Strata()
