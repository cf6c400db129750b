"""Antithetic pairs: an estimator's draw at ε and its draw at −ε, averaged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from estimators.naive import Naive
from vdbench import (
    Batch,
    CellError,
    Estimator,
    Gradient,
    InputError,
    Noise,
    Parameters,
    Problem,
    Wrapper,
    register,
)
from vdbench.estimation.base import average, chain
from vdbench.estimation.quasi_monte_carlo import Coupling
from vdbench.noise import POSTERIOR, SYMMETRIC, antithetic


@register("antithetic", version="1")
@dataclass(frozen=True)
class Antithetic(Wrapper):
    r"""The mean of another estimator's draws at the noise ε and at its negative −ε.

    Formula: $\frac12[g(\varepsilon) + g(-\varepsilon)]$, all noise of the draw negated together.

    Where the law of ε is symmetric about 0, both draws have the same law, so the mean is that of one draw. The part
    $g_o$ that is odd in ε cancels, the even part $g_e$ is left as it was: the noise variance is
    $\mathrm{Var}[g_e]$, where that of two independent draws is
    $\frac12(\mathrm{Var}[g_e] + \mathrm{Var}[g_o])$. At best nothing is left (the pathwise gradient of μ of a
    quadratic loss), at worst it is twice that of two independent draws. The first draw of the pair is the very draw
    that the wrapped estimator makes of this noise, so that both are compared on common random numbers.

    Claim: as the wrapped estimator; its noise must be normal or of random sign.
    Cost: 2 times the wrapped estimator's time; its noise is drawn once and held until the second draw, all of it
    (M·K·L numbers around per-example, whatever its chunk).
    Source: Hammersley & Morton 1956; in variational inference Wu, Goodman & Ermon 2019.

    Attributes:
        of: The estimator that is drawn from; any whose noise is symmetric, another wrapper too.

    Example:
        >>> import vdbench
        >>> vdbench.get("antithetic", of="local")
        Antithetic(of=Local())
    """

    of: Estimator = field(default_factory=Naive)

    def __post_init__(self) -> None:
        """Refuse noise that cannot be negated, or whose negative has another law, or that already is in pairs."""
        super().__post_init__()
        self.need_noise()
        inner = self.of.declaration
        odd = _asymmetric(inner.laws)
        if not inner.pure:
            why = "draws its own noise, which nobody else can negate"
        elif within := [e for e in chain(self.of) if isinstance(e, Coupling)]:
            other = within[0].declaration.name
            why = (
                f"is on the coupled noise of '{other}'; put the pair inside, '{other}' of 'antithetic', which averages "
                "over the same set and its negative"
            )
        elif odd:
            why = f"takes {odd[0]} noise, whose negative follows another law; expected {' or '.join(SYMMETRIC)} noise"
        elif any(isinstance(e, Antithetic) for e in chain(self.of)):
            why = "is in antithetic pairs already, and the pair of a pair is that pair twice"
        else:
            return
        raise InputError(f"{self.named}: estimator '{inner.name}' {why}.")

    @property
    def draws_per_gradient(self) -> int:
        """Twice the wrapped estimator's."""
        return 2 * self.of.draws_per_gradient

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """Draw at ε, then at −ε.

        Raises:
            CellError: The estimator draws the posterior's own noise, and that is not symmetric.
        """
        form = problem.parameterization
        odd = _asymmetric(form.noise_laws)
        if odd and POSTERIOR in self.of.declaration.laws:
            raise CellError(
                f"{self.named}: the posterior '{form.name}' of problem '{problem.name}' takes {odd[0]} noise, whose "
                f"negative follows another law; expected {' or '.join(SYMMETRIC)} noise."
            )
        return average(
            self.of(problem, parameters, batch, half, state) for half in antithetic(noise)
        )


def _asymmetric(laws: tuple[str, ...]) -> list[str]:
    """The laws that are not symmetric about 0; what the posterior's is, the problem says."""
    return [law for law in laws if law not in (*SYMMETRIC, POSTERIOR)]
