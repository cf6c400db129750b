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

    If the distribution of ε is symmetric about 0, both draws have the same distribution, so the mean is unchanged. The
    part $g_o$ that is odd in ε cancels; the even part $g_e$ is unchanged. The noise variance is $\mathrm{Var}[g_e]$.
    For two independent draws it would be $\frac12(\mathrm{Var}[g_e] + \mathrm{Var}[g_o])$. At best no noise is left
    (the pathwise gradient of μ of a quadratic loss). At worst the variance is twice that of two independent draws.

    The first draw of the pair is the draw that the wrapped estimator makes with the same noise, so both are compared
    on common random numbers.

    Claim: as the wrapped estimator; its noise must be normal or random signs.
    Cost: 2 times the wrapped estimator's time. All noise of the first draw is held in memory for the second (M·K·L
    numbers for per-example, whatever its chunk).
    Source: Hammersley & Morton 1956; in variational inference Wu, Goodman & Ermon 2019.

    Attributes:
        of: The wrapped estimator; any with symmetric noise, including other wrappers.

    Example:
        >>> import vdbench
        >>> vdbench.get("antithetic", of="local")
        Antithetic(of=Local())
    """

    of: Estimator = field(default_factory=Naive)

    def __post_init__(self) -> None:
        """Refuse noise that cannot be negated, is not symmetric about 0, or is already in pairs."""
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
        """Twice those of the wrapped estimator."""
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
    """The laws that are not symmetric about 0; the problem knows the law of its posterior."""
    return [law for law in laws if law not in (*SYMMETRIC, POSTERIOR)]
