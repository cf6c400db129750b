"""Is the mean still right where the estimator was fitted at other parameters, as it was some training steps ago?

Asked of estimators that control the data part of their variance: they are fitted once for many steps.
"""

from __future__ import annotations

from collections.abc import Iterable

from vdbench.certificate.checks import unbiased
from vdbench.certificate.protocol import Asked, Check, each_stage
from vdbench.certificate.sampling import Subject
from vdbench.estimation.base import Estimator

NAME = "fitted elsewhere"


def applies(estimator: Estimator) -> bool:
    """Whether an estimator has such a state."""
    return not estimator.declaration.unbiased_given_minibatch


def ask(subject: Subject) -> Iterable[Asked]:
    """A question for each exact stage."""
    return each_stage(
        NAME,
        subject.compared,
        subject,
        lambda at: unbiased.compared(NAME, subject, at.of_data().fitted_elsewhere()),
    )


CHECK = Check(NAME, "the mean, with a state that was fitted at other parameters", ask, applies)
