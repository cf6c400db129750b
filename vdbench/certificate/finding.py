"""What one test of a certificate found at one place, and what a failure of it means."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from vdbench.certificate.two_looks import CARRIED

Grade = Literal["bias", "robustness", "edge"]

GRADES: tuple[Grade, ...] = ("bias", "robustness", "edge")
"""What a failure means, the gravest first: a wrong mean, a fault in ordinary use, one at the edge of the range."""

LEFT_OUT = "left out, since the certificate had failed; --verbose makes all checks"
"""What a finding says of what was not drawn any more."""

SEEN = 0.1
"""A certificate that would miss a larger relative bias is inconclusive."""

MARGIN = 1.2
"""Draws that are suggested, for each that the measured spread asks for."""


@dataclass(frozen=True)
class Finding:
    """What one test found at one place.

    Attributes:
        test: Name of the test, one of `vdbench.certificate.CHECKS`.
        where: What it was looked for in: a problem, and a layer and role where one is meant.
        passed: Whether it holds; None where the test does not apply, and ``note`` says why.
        figure: What was measured, in the unit that ``note`` names; None where nothing was.
        low: Lower end of the interval of ``figure``; None for a figure that is exact.
        high: Upper end.
        limit: What the figure, or the end of its interval nearest to 0, must not exceed.
        power: The smallest relative defect that this test would have found with probability 0.95; None for a test
            that is exact.
        note: What ``figure`` is, or why the test does not apply.
        suggests: On failure, what the figure points to.
        against: The objective class whose exact gradient the mean was compared with; empty for other tests.
        draws: Draws that ``power`` rests on; None where there is none.
        carried: Draws that carry the spread along the gradient, (Σd²)²/Σd⁴; None where there is none.
    """

    test: str
    where: str
    passed: bool | None
    figure: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    power: float | None = None
    note: str = ""
    suggests: str = ""
    against: str = ""
    draws: int | None = None
    carried: float | None = None

    @property
    def grade(self) -> Grade:
        """What a failure means: the mean is wrong, it breaks in ordinary use, or only at the edge of the range."""
        if self.note.startswith(RAISES):
            return "robustness"
        if self.test in BIASES:
            return "bias"
        # "as it is" and whole problems are ordinary; points such as σ = 2e4 are not
        return "edge" if EDGE.search(self.where) else "robustness"

    @property
    def few(self) -> bool:
        """Whether it passed, or was not judged, where a few draws carry the sum."""
        judged = self.passed is True and self.limit is not None and self.test in COMPARES
        return judged and self.carried is not None and self.carried < CARRIED

    @property
    def blind(self) -> bool:
        """Whether it passed a bias of which it would have missed more than `SEEN`; what is not judged has no limit."""
        judged = self.passed is True and self.limit is not None and self.power is not None
        return self.few or (judged and self.test in COMPARES and not (self.power or 0.0) <= SEEN)

    @property
    def needed(self) -> float:
        """Draws with which it would see a relative bias of `SEEN`."""
        if not self.draws or self.power is None:
            return 0.0
        more = CARRIED / self.carried if self.few and self.carried else 0.0
        return self.draws * max((self.power / SEEN) ** 2, more) * MARGIN


RAISES = "it raises "
"""How the note of an error of the estimator's own begins."""

OPEN = "differs in the first look, and was not looked at again since other findings failed; "
"""How the note of a finding begins that is left open."""

BIASES = (
    "unbiased", "fitted elsewhere", "pre-activations", "minibatch law", "layer mapping", "layer spread", "layer KL",
)  # fmt: skip
"""Tests of which a failure is a wrong gradient."""

EDGE = re.compile(r"[σα] = \d|almost")
"""Places at the edge of the range."""

COMPARES = ("unbiased", "fitted elsewhere", "pre-activations", "layer KL")
"""Tests whose power is that of seeing a relative bias of a mean."""
