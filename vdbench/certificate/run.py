"""Check an estimator: all checks, at a level of work, in one family of comparisons."""

from __future__ import annotations

import time

import torch

from vdbench.certificate import third_party_layers
from vdbench.certificate.certificate import LEVELS, Certificate, Level
from vdbench.certificate.checks import CHECKS
from vdbench.certificate.protocol import Asked, Check, guarded, settle
from vdbench.certificate.reference_problems import kind
from vdbench.certificate.sampling import Subject
from vdbench.certificate.two_looks import FALSE_ALARM
from vdbench.errors import InputError, nearest
from vdbench.estimation.base import Estimator
from vdbench.estimation.options import label
from vdbench.noise import Key


def checks_of(estimator: Estimator) -> tuple[Check, ...]:
    """The checks that `check` makes of an estimator: those of `CHECKS` that apply to it."""
    return tuple(one for one in CHECKS if one.applies(estimator))


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
    for one in checks_of(estimator):
        asked += guarded(one.name, "all", lambda one=one: one.ask(subject))  # type: ignore[misc]
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
    third_party_layers.refuse(estimator)
