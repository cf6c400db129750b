"""What a check is, and how it asks: exact findings at once, statistical ones after up to three looks at all of them.

A check is one file in `vdbench.certificate.checks` with one `Check`, and one line in `CHECKS` there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from vdbench.certificate.finding import OPEN, Finding
from vdbench.certificate.reference_problems import Stage
from vdbench.certificate.sampling import Subject
from vdbench.certificate.two_looks import Answer, Question, answers, certain
from vdbench.errors import CellError, InputError
from vdbench.estimation.base import Estimator


@dataclass(frozen=True)
class Pending:
    """A question whose answers become findings.

    Attributes:
        question: With the samples of its first look.
        conclude: Makes the findings of the answers, one answer for each sample.
    """

    question: Question
    conclude: Callable[[list[Answer]], list[Finding]]


Asked = Finding | Pending


def everyone(estimator: Estimator) -> bool:
    """Every estimator is checked."""
    return True


@dataclass(frozen=True)
class Check:
    """One check of a certificate.

    Attributes:
        name: In findings.
        about: What it tests, in one line.
        ask: Gives findings, and questions for the looks. A `CellError` or `InputError` is a finding that the check
            does not apply, any other error one that it failed.
        applies: Whether an estimator is checked at all.
    """

    name: str
    about: str
    ask: Callable[[Subject], Iterable[Asked]]
    applies: Callable[[Estimator], bool] = everyone


def settle(asked: Sequence[Asked], closed: bool = False) -> list[Finding]:
    """All findings in order, after all looks at the questions; none further of a ``closed`` certificate."""
    pending = [a for a in asked if isinstance(a, Pending)]
    found = iter(answers([p.question for p in pending], closed))
    settled: list[Finding] = []
    for item in asked:
        settled += _concluded(item, next(found)) if isinstance(item, Pending) else [item]
    return settled


def at_once(subject: Subject, where: str, item: Asked) -> list[Asked]:
    """The findings of a question that leaves no doubt, after which the certificate is closed; else what is asked."""
    found = None
    if isinstance(item, Pending) and not subject.complete:
        found = certain(item.question)
    if found is None:
        return [item]
    assert isinstance(item, Pending)
    subject.closed.append(where)
    return list(item.conclude(found))


def _concluded(item: Pending, found: list[Answer]) -> list[Finding]:
    made = item.conclude(found)
    return [
        replace(f, passed=None, note=OPEN + f.note) if answer.open else f
        for f, answer in zip(made, found, strict=True)
    ]


def each_stage(
    test: str, names: Iterable[str], subject: Subject, ask: Callable[[Stage], Iterable[Asked]]
) -> list[Asked]:
    """Ask on each stage; where the estimator refuses it, or breaks, a finding says so."""
    found: list[Asked] = []
    for name in names:
        found += guarded(test, name, lambda name=name: ask(subject.placed(name)))  # type: ignore[misc]
    return found


def guarded(test: str, where: str, ask: Callable[[], Iterable[Asked]]) -> list[Asked]:
    """What is asked; a refusal is a finding that does not apply, any other error one that failed."""
    try:
        return list(ask())
    except (CellError, InputError) as refusal:
        return [Finding(test, where, None, note=one_line(refusal))]
    except Exception as error:  # an estimator that is checked may do anything
        return [
            Finding(
                test,
                where,
                False,
                note=f"it raises {type(error).__name__}: {one_line(error)}",
                suggests=_suggestion(error),
            )
        ]


def _suggestion(error: Exception) -> str:
    # what torch.distributions says of a Normal whose scale is 0
    if "GreaterThan(lower_bound=0.0)" in str(error):
        return (
            "a standard deviation is 0, as √(Σx²σ²) is where all inputs of an example are 0: add a small number before "
            "the root."
        )
    return "the error is the estimator's own: call it on this problem in a debugger."


def one_line(error: BaseException) -> str:
    """The first line of what an error says."""
    return next(iter(str(error).strip().splitlines()), "")
