"""The base of wrappers that average draws on coupled noise."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any

from vdbench.errors import CellError, InputError
from vdbench.estimation.base import Declaration, Gradient, Wrapper, average, chain
from vdbench.estimation.quasi_monte_carlo import LAWS, Strata, coupled
from vdbench.noise import POSTERIOR, Noise
from vdbench.problems.problem import Batch, Parameters, Problem


@dataclass(frozen=True)
class Coupling(Wrapper):
    """The mean of S draws of another estimator on coupled noise; a subclass has the option ``samples`` and `strata`.

    It declares what the estimator declares that it wraps, but for the noise: of its source it asks uniform numbers.

    Attributes:
        of: The estimator that is drawn from.
    """

    def __post_init__(self) -> None:
        """Refuse no samples, and noise that cannot be coupled or is coupled already.

        Raises:
            InputError: With the reason.
        """
        super().__post_init__()
        self.need_noise()
        inner = self.of.declaration
        other = [law for law in inner.laws if law not in (*LAWS, POSTERIOR)]
        if not inner.pure:
            why = "draws its own noise, which nobody else can couple"
        elif other:
            why = f"takes {other[0]} noise; expected {', '.join(LAWS[:-1])} or {LAWS[-1]} noise"
        elif within := [e for e in chain(self.of) if isinstance(e, Coupling)]:
            why = f"is on the coupled noise of '{within[0].declaration.name}' already, and numbers are coupled once"
        else:
            return
        raise InputError(f"{self.named}: estimator '{inner.name}' {why}.")

    @property
    def count(self) -> int:
        """S."""
        return int(self.samples)  # type: ignore[attr-defined]

    @property
    def declaration(self) -> Declaration:
        """The inner estimator's, its laws made of uniform numbers."""
        return replace(super().declaration, laws=("uniform",))

    @property
    def draws_per_gradient(self) -> int:
        """S times the wrapped estimator's."""
        return self.count * self.of.draws_per_gradient

    @abstractmethod
    def strata(self, noise: Noise) -> Strata:
        """How the samples of one draw are coupled, given the noise at the draw's address."""

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """Draw S times, each time on one of the coupled samples.

        Raises:
            CellError: The estimator draws the posterior's own noise, and that has none.
        """
        form = problem.parameterization
        if POSTERIOR in self.of.declaration.laws and not form.noise_laws:
            raise CellError(
                f"{self.named}: the posterior '{form.name}' of problem '{problem.name}' has no noise at all, so that "
                "there is nothing to couple; expected a posterior with noise."
            )
        together = coupled(noise, self.count, self.strata(noise))
        return average(self.of(problem, parameters, batch, own, state) for own in together)
