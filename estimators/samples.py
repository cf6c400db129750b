"""Several draws of an estimator on one minibatch, averaged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from estimators.naive import Naive
from vdbench import (
    Batch,
    Estimator,
    Gradient,
    InputError,
    Noise,
    Parameters,
    Problem,
    Wrapper,
    register,
)
from vdbench.estimation.base import average


@register("samples", version="1")
@dataclass(frozen=True)
class Samples(Wrapper):
    r"""The mean of S draws of another estimator on the same minibatch.

    Formula: $\frac1S\sum_{s=1}^S g_s$, $g_s$ independent draws of the wrapped estimator.

    The mean is that of one draw, so this is unbiased whenever the wrapped estimator is. Given the minibatch, the draws
    are independent and identically distributed. The noise part of the variance is exactly $1/S$ of the wrapped
    estimator's, and the data part is unchanged. Any other use of S times the work should be compared with this one.
    Sample $s$ uses the noise at ``("sample", s)``. The first samples of a larger S are therefore those of a smaller
    one, and none of them is the noise that the wrapped estimator would draw by itself.

    Claim: as the wrapped estimator.
    Cost: S times the wrapped estimator's noise and time; the memory of one draw.
    Source: Kingma & Welling 2014, section 2.3 (L samples a data point).

    Attributes:
        of: The wrapped estimator; any with noise, including other wrappers.
        samples: S.

    Example:
        >>> import vdbench
        >>> vdbench.get("samples", of="local", samples=4)
        Samples(of=Local(), samples=4)
    """

    of: Estimator = field(default_factory=Naive)
    samples: int = 1

    def __post_init__(self) -> None:
        """Refuse fewer than one sample, and an estimator without noise."""
        super().__post_init__()
        self.need_noise()
        if self.samples < 1:
            raise InputError(f"{self.named}: samples must be at least 1, not {self.samples}.")

    @property
    def draws_per_gradient(self) -> int:
        """S times those of the wrapped estimator."""
        return self.samples * self.of.draws_per_gradient

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """Draw S times, each at a separate noise address."""
        sources = (noise.at("sample", s) for s in range(self.samples))
        return average(self.of(problem, parameters, batch, own, state) for own in sources)
