"""Closed forms of estimators made of others, and where they are tried."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from everyone import masked, plain
from oracles import Linear, Oracle, random_linear

from estimators.antithetic import Antithetic
from vdbench.estimation.base import Gradient, average
from vdbench.noise import Noise, antithetic

NOISY = [e for e in plain() if e.declaration.laws and not masked(e)]


def over(count: int, oracle: Oracle) -> Oracle:
    """The mean of so many independent draws: the same mean, the variance divided."""
    return lambda of: {role: (m, v / count) for role, (m, v) in oracle(of).items()}


def moderate(seed: int, m: int, k: int, times: int) -> Linear:
    """A problem whose σ is neither tiny nor large, so that 4,000 draws estimate a fourth moment."""
    of = random_linear(seed, m, k, True, times)
    return replace(of, sigma=0.3 + 0.5 * of.sigma / of.sigma.max())


@dataclass(frozen=True)
class ForgetsLayers(Antithetic):
    """Negates the noise of some layers and not of others."""

    kept: tuple[str, ...] = field(default=("2",))

    def __call__(self, problem, parameters, batch, noise, state=()) -> Gradient:  # type: ignore[no-untyped-def]
        first, second = antithetic(noise)
        given = second.source
        wrong = Noise(lambda r: -given(r) if r.path[-1] in self.kept else given(r), noise.path)
        return average(self.of(problem, parameters, batch, own, state) for own in (first, wrong))
