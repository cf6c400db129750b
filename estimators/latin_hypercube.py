"""Latin hypercube sampling: S draws, with every random number stratified over the draws."""

from __future__ import annotations

from dataclasses import dataclass, field

from estimators.naive import Naive
from vdbench import Estimator, InputError, Noise, register
from vdbench.estimation.quasi_monte_carlo import Coupling
from vdbench.estimation.quasi_monte_carlo import LatinHypercube as Strata


@register("latin-hypercube", version="1")
@dataclass(frozen=True)
class LatinHypercube(Coupling):
    r"""The mean of S draws of another estimator, with every random number stratified over the draws.

    Formula: $\frac1S\sum_s g(\varepsilon_s)$, $\varepsilon_{sk} = F^{-1}\big((\pi_k(s) + u_{sk})/S\big)$,
    $\pi_k$ a random permutation of $0, \dots, S-1$ for each coordinate $k$, $u_{sk} \sim U[0, 1)$.

    Each $\varepsilon_s$ has the distribution of one draw's noise, so the mean is that of one draw. The S numbers of a
    coordinate lie in S different strata of equal probability. The part of the gradient that is additive in the
    coordinates is integrated almost without error. The noise variance is $1/S$ of what remains after removing the best
    additive approximation, plus $o(1/S)$ (Stein 1987). It is never more than $S/(S-1)$ times that of S independent
    draws (Owen 1997). With random signs and even S, half of the signs are positive in every coordinate.

    Around ``local``, the stratified numbers are those of the pre-activations. A network has as many of these as units,
    which is fewer than weights; this combination is new here. All numbers of the S draws are held in memory together.

    Claim: as the wrapped estimator.
    Cost: S times the wrapped estimator's time; 2S uniform numbers per coordinate, sorted; the noise of S draws in
    memory.
    Source: McKay, Beckman & Conover 1979; Stein 1987; Owen 1997.

    Attributes:
        of: The wrapped estimator; any whose noise is normal, uniform or random signs.
        samples: S.

    Example:
        >>> import vdbench
        >>> vdbench.get("latin-hypercube", of="local", samples=8)
        LatinHypercube(of=Local(), samples=8)
    """

    of: Estimator = field(default_factory=Naive)
    samples: int = 2

    def __post_init__(self) -> None:
        """Refuse fewer than one sample, and noise that cannot be stratified."""
        super().__post_init__()
        if self.samples < 1:
            raise InputError(f"{self.named}: samples must be at least 1, not {self.samples}.")

    def strata(self, noise: Noise) -> Strata:
        """A separate random order for every coordinate."""
        return Strata()
