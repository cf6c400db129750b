"""Is the mean still right where the estimator was fitted at other parameters, as it was some training steps ago?

Asked of estimators that control the data part of their variance: they are fitted once for many steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from vdbench.certificate.checks import unbiased
from vdbench.certificate.finding import Finding
from vdbench.certificate.protocol import Asked, Check, Pending
from vdbench.certificate.reference_problems import Stage
from vdbench.certificate.sampling import Subject
from vdbench.certificate.two_looks import Answer
from vdbench.estimation.base import Estimator

NAME = "fitted elsewhere"

SUGGESTS = (
    "what is subtracted and the mean that is added are not of one anchor: compute both at the parameters that fit was "
    "given, and keep these in the state."
)


def applies(estimator: Estimator) -> bool:
    """Whether an estimator has such a state."""
    return not estimator.declaration.unbiased_given_minibatch


def ask(subject: Subject) -> Iterable[Asked]:
    """A question for each exact stage."""
    return unbiased.on_each(NAME, subject, lambda at: _ask(subject, at))


def _ask(subject: Subject, at: Stage) -> list[Asked]:
    asked = unbiased.compared(NAME, subject, at.of_data().fitted_elsewhere())
    return [replace(a, conclude=_pointed(a)) if isinstance(a, Pending) else a for a in asked]


def _pointed(pending: Pending) -> Callable[[list[Answer]], list[Finding]]:
    """The conclusion, with what a failure points to."""

    def conclude(found: list[Answer]) -> list[Finding]:
        made = pending.conclude(found)
        return [replace(f, suggests=SUGGESTS) if f.passed is False else f for f in made]

    return conclude


CHECK = Check(NAME, "the mean, with a state that was fitted at other parameters", ask, applies)
