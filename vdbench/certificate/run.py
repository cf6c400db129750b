"""Check an estimator: all checks, at a level of work, in one family of comparisons."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch

from vdbench.certificate import own_problem, third_party_layers
from vdbench.certificate.certificate import LEVELS, Certificate, Level
from vdbench.certificate.checks import CHECKS
from vdbench.certificate.diagnoses import diagnose
from vdbench.certificate.finding import Finding
from vdbench.certificate.protocol import Asked, Check, guarded, settle
from vdbench.certificate.reference_problems import Stage, kind
from vdbench.certificate.sampling import Subject
from vdbench.certificate.stages import features
from vdbench.certificate.stages.build import drawn
from vdbench.certificate.stages.features import Exercised
from vdbench.certificate.stages.predicted import noisy
from vdbench.certificate.two_looks import FALSE_ALARM
from vdbench.errors import InputError, nearest
from vdbench.estimation.base import Estimator
from vdbench.estimation.draws import gather
from vdbench.estimation.options import label
from vdbench.estimation.third_party import dense_layers_stand_in
from vdbench.noise import Key
from vdbench.problems.problem import Problem


def checks_of(estimator: Estimator) -> tuple[Check, ...]:
    """The checks that `check` makes of an estimator: those of `CHECKS` that apply to it."""
    return tuple(one for one in CHECKS if one.applies(estimator))


WORK: dict[Level, tuple[int, int]] = {"small": (393216, 24576), "full": (4194304, 131072)}
"""Most draws of a first look, of an estimator that is vectorised and of one that is looped."""

ROUNDS: dict[Level, int] = {"small": 1, "full": 3}
"""Drawn problems of each family."""

LEAST = 64
"""Fewest draws that may be asked for: fewer have no standard error worth the name."""


def check(
    estimator: Estimator,
    *,
    level: Level = "small",
    draws: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    problem: Problem | None = None,
    batch_size: int = 32,
    complete: bool = False,
    told: Callable[[str, int, int], None] = lambda name, number, count: None,
) -> Certificate:
    """Test whether an estimator does what it declares.

    Args:
        estimator: From `vdbench.get`, or an instance of a registered class.
        level: ``small``, seconds, or ``full``, sixteen times the draws.
        draws: Most draws of the gradient on one problem, in place of the level's; what an inconclusive certificate
            names as its `Certificate.draws`.
        seed: Of all noise of this check.
        device: ``cpu`` or ``cuda``.
        problem: The user's own problem, to certify on that alone at its own parameters: draws are compared with those
            of a textbook sampler, on minibatches of its data.
        batch_size: M there.
        complete: Whether all is drawn, also when it has failed; else what fails beyond doubt ends the drawing, and
            further problems are left out.
        told: Told the name of each check before it is made, how many are done, and how many there are.

    Returns:
        The certificate. Its verdict is FAILED for a correct estimator with probability 0.001 at most, and PASSED only
        where a relative bias of a tenth would have been found with probability 0.95; else it is INCONCLUSIVE.

    Raises:
        InputError: It is no registered estimator, there is no such level or device, no such number of draws, or no
            problem of the posterior it is declared for.

    Example:
        >>> import vdbench
        >>> vdbench.check(vdbench.get("local")).verdict
        'PASSED'
    """
    _refuse(estimator, level, draws, device)
    start = time.perf_counter()
    if problem is not None:
        own_problem.refuse(estimator, problem, batch_size)
        return _on_own(estimator, problem, batch_size, level, draws, seed, device)
    key = Key(("check", seed))
    asked: list[Asked] = []
    # there is no problem of convolutions alone
    with dense_layers_stand_in(), _one_thread():
        few = estimator.passes_each_weight
        subject = Subject(
            estimator, key, device, *WORK[level], draws, level == "full", {}, complete
        )
        kind = estimator.declaration.posteriors
        stages = drawn(kind, key, ROUNDS[level], few, noisy(subject))
        subject = replace(subject, drawn=stages)
        made = checks_of(estimator)
        for number, one in enumerate(made):
            told(one.name, number, len(made) + 1)
            asked += guarded(one.name, "all", lambda one=one: one.ask(subject))  # type: ignore[misc]
        told("second looks", len(made), len(made) + 1)
        findings = tuple(settle(asked, closed=bool(subject.closed)))
        coverage, where = _coverage(subject, findings)
    diagnosis = diagnose(findings, where)
    seconds = time.perf_counter() - start
    return Certificate(label(estimator), level, findings, FALSE_ALARM, seconds, coverage, diagnosis)


OWN: dict[Level, int] = {"small": 8192, "full": 131072}
"""Most pairs of draws of a first look on the user's own problem."""


def _on_own(
    estimator: Estimator,
    problem: Problem,
    size: int,
    level: Level,
    draws: int | None,
    seed: int,
    device: str,
) -> Certificate:
    """The certificate on one problem."""
    start = time.perf_counter()
    here = problem.to(device, problem.dtype)
    key = Key(("check", seed)) / "own problem"
    most = OWN[level] if draws is None else draws
    asked = guarded(
        "unbiased", problem.name, lambda: own_problem.ask(estimator, here, size, key, most)
    )
    findings = tuple(settle(asked))
    parameters = here.initial(Key(("check", "parameters")))
    batch = gather(here, np.arange(size))
    coverage = features.of_one(Stage(problem.name, here, parameters, batch))
    seconds = time.perf_counter() - start
    said = diagnose(findings, {})
    return Certificate(label(estimator), level, findings, FALSE_ALARM, seconds, coverage, said)


def _coverage(
    subject: Subject, findings: Sequence[Finding]
) -> tuple[tuple[Exercised, ...], dict[str, set[str]]]:
    """What the problems exercised on which the mean was compared, and the parts of features by problem."""
    compared, refused, where = [], [], {}
    for name in subject.compared:
        at = subject.placed(name)
        mine = [f for f in findings if f.test == "unbiased" and f.where.partition(":")[0] == name]
        where[name] = features.parts(at)
        if any(f.draws is not None or f.passed is True for f in mine):
            compared.append(at)
        elif any(f.test == "contract" and f.where == name and f.passed is None for f in findings):
            refused.append(at)
    kind = subject.estimator.declaration.posteriors
    return features.exercised(kind, compared, refused), where


@contextmanager
def _one_thread() -> Iterator[None]:
    """On networks of a few weights several threads cost more than they do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _refuse(estimator: Estimator, level: str, draws: int | None, device: str) -> None:
    if not isinstance(estimator, Estimator) or not hasattr(estimator, "declaration"):
        raise InputError(
            f"check: expected a registered estimator, such as vdbench.get('local'), not {estimator!r}."
        )
    if level not in LEVELS:
        raise InputError(f"check: level '{level}' is unknown.{nearest(level, LEVELS)}")
    whole = draws is None or (isinstance(draws, int) and not isinstance(draws, bool))
    if not whole or (draws is not None and draws < LEAST):
        raise InputError(f"check: draws is {draws!r}, expected a whole number of at least {LEAST}.")
    if device not in ("cpu", "cuda"):
        raise InputError(f"check: device '{device}' is unknown; expected cpu or cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("check: device 'cuda' is not available: torch sees no GPU; expected cpu.")
    kind(estimator)
    third_party_layers.refuse(estimator)
