"""Check an estimator: all tests, at a level of work, in one family of comparisons."""

from __future__ import annotations

import time

import torch

from vdbench.certificate.certificate import LEVELS, Certificate, Level
from vdbench.certificate.checks import (
    contract,
    finite,
    minibatch_law,
    preactivations,
    precision,
    repeatable,
    several_draws,
    unbiased,
)
from vdbench.certificate.protocol import Asked, Test, guarded, settle
from vdbench.certificate.reference_problems import kind
from vdbench.certificate.sampling import Subject
from vdbench.certificate.two_looks import FALSE_ALARM
from vdbench.errors import InputError, nearest
from vdbench.estimation.base import Estimator, Wrapper
from vdbench.estimation.options import label
from vdbench.noise import Key

TESTS: tuple[Test, ...] = (
    Test(contract.NAME, "names, shapes, types, laws; arguments are kept", contract.ask),
    Test(unbiased.NAME, "the mean of the gradient in every layer and role", unbiased.ask),
    Test(preactivations.NAME, "mean, variance and covariances of a layer", preactivations.ask),
    Test(minibatch_law.NAME, "noise variance as 1/M, or its floor", minibatch_law.ask),
    Test(finite.NAME, "no NaN or infinity at awkward points", finite.ask),
    Test(
        several_draws.NAME, "in one backward pass and vectorised, as each alone", several_draws.ask
    ),
    Test(
        repeatable.NAME,
        "a draw belongs to its key; global generators are left alone",
        repeatable.ask,
    ),
    Test(precision.NAME, "float32 follows float64 on the same noise", precision.ask),
    Test(precision.DEVICES, "a GPU follows the CPU on the same noise", precision.ask_devices),
)
"""Every test of a certificate, in order; `check` makes all of them, and nothing chooses among them."""


def tests_of(estimator: Estimator) -> tuple[Test, ...]:
    """The tests that `check` makes of an estimator: `TESTS`, and of a third-party layer those that layers have."""
    from vdbench.certificate.checks import third_party
    from vdbench.estimation.third_party_register import ForeignLayer

    inner = estimator
    while isinstance(inner, Wrapper):
        inner = inner.of
    return (*TESTS, *third_party.TESTS) if isinstance(inner, ForeignLayer) else TESTS


WORK: dict[Level, tuple[int, int]] = {"small": (65536, 512), "full": (1048576, 8192)}
"""Most draws of a first look, of an estimator that is vectorised and of one that is looped."""


def check(
    estimator: Estimator, *, level: Level = "small", seed: int = 0, device: str = "cpu"
) -> Certificate:
    """Test whether an estimator does what it declares.

    Args:
        estimator: From `vdbench.get`, or an instance of a registered class.
        level: ``small``, seconds, or ``full``, sixteen times the draws.
        seed: Of all noise of this check.
        device: ``cpu`` or ``cuda``.

    Returns:
        The certificate: a correct estimator fails it with probability 0.01 at most.

    Raises:
        InputError: It is no registered estimator, there is no such level or device, or no problem of the posterior it
            is declared for.

    Example:
        >>> import vdbench
        >>> vdbench.check(vdbench.get("local")).passed
        True
    """
    _refuse(estimator, level, device)
    start = time.perf_counter()
    subject = Subject(estimator, Key(("check", seed)), device, *WORK[level])
    asked: list[Asked] = []
    for test in tests_of(estimator):
        asked += guarded(test.name, "all", lambda test=test: test.ask(subject))  # type: ignore[misc]
    findings = tuple(settle(asked))
    seconds = time.perf_counter() - start
    return Certificate(label(estimator), level, findings, FALSE_ALARM, seconds)


def _refuse(estimator: Estimator, level: str, device: str) -> None:
    if not isinstance(estimator, Estimator) or not hasattr(estimator, "declaration"):
        raise InputError(
            f"check: expected a registered estimator, such as vdbench.get('local'), not {estimator!r}."
        )
    if level not in LEVELS:
        raise InputError(f"check: level '{level}' is unknown.{nearest(level, LEVELS)}")
    if device not in ("cpu", "cuda"):
        raise InputError(f"check: device '{device}' is unknown; expected cpu or cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("check: device 'cuda' is not available: torch sees no GPU; expected cpu.")
    kind(estimator)
    from vdbench.certificate.checks.third_party import refuse

    refuse(estimator)
