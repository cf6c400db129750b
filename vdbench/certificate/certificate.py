"""What a certificate says: its findings, as a table to read and as data."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from vdbench.certificate import reading
from vdbench.certificate.finding import COMPARES, GRADES, SEEN, Finding, Grade
from vdbench.certificate.stages.features import Exercised

Level = Literal["small", "full"]

Verdict = Literal["PASSED", "FAILED", "INCONCLUSIVE"]

LEVELS: tuple[Level, ...] = ("small", "full")
"""How much work a check does: seconds, or as many minutes."""

FAR = 1e9
"""Draws beyond which a number is no advice."""

EXACT = 1e-6
"""A detectable bias below this is rounding: the draws do not differ."""


@dataclass(frozen=True)
class Certificate:
    """All that a check of one estimator found.

    Attributes:
        subject: The estimator's label, options included.
        level: ``small`` or ``full``.
        findings: One for each test and place, in the order of the tests.
        false_alarm: Largest probability that a correct estimator fails any statistical test of this certificate.
        seconds: Time it took.
        coverage: What its problems exercised, feature by feature.
        diagnosis: What a failure comes from, most likely, in a sentence or two; empty where nothing failed.
    """

    subject: str
    level: Level
    findings: tuple[Finding, ...]
    false_alarm: float
    seconds: float
    coverage: tuple[Exercised, ...] = ()
    diagnosis: str = ""

    def __repr__(self) -> str:
        return (
            f"Certificate({self.subject!r}: {self.verdict} at level {self.level}; {len(self.failed)} of "
            f"{len(self.findings)} findings failed; print(….text()) says more)"
        )

    @property
    def verdict(self) -> Verdict:
        """FAILED where a finding did; INCONCLUSIVE where a bias above `SEEN` could have gone unnoticed; else PASSED."""
        if self.failed:
            return "FAILED"
        return "INCONCLUSIVE" if self.blind or self.missing or not self.compared else "PASSED"

    @property
    def grade(self) -> Grade | None:
        """The gravest grade of what failed; None where nothing did."""
        grades = {f.grade for f in self.failed}
        return next((grade for grade in GRADES if grade in grades), None)

    @property
    def missing(self) -> tuple[str, ...]:
        """Features that a certificate is to exercise, and this one did not."""
        return tuple(f"{c.feature}: {', '.join(c.missing)}" for c in self.coverage if c.missing)

    @property
    def passed(self) -> bool:
        """Whether the verdict is PASSED."""
        return self.verdict == "PASSED"

    @property
    def compared(self) -> bool:
        """Whether there was an exact gradient to compare with."""
        return any(f.test == "unbiased" and f.passed is not None for f in self.findings)

    @property
    def failed(self) -> tuple[Finding, ...]:
        """The findings that failed."""
        return tuple(f for f in self.findings if f.passed is False)

    @property
    def blind(self) -> tuple[Finding, ...]:
        """The findings that passed with too little power."""
        return tuple(f for f in self.findings if f.blind)

    @property
    def power(self) -> float | None:
        """The smallest relative bias that it would have found in every role with probability 0.95."""
        known = [f.power for f in self.findings if f.power is not None and f.test in COMPARES]
        return max(known) if known else None

    @property
    def draws(self) -> int | None:
        """Draws with which an inconclusive certificate should be decided; None where none within reach would."""
        needed = max((f.needed for f in self.blind), default=0.0)
        if not self.blind or not needed <= FAR:
            return None
        unit: int = 10 ** max(0, math.floor(math.log10(max(needed, 1.0))) - 1)
        return math.ceil(needed / unit) * unit

    def json(self) -> dict[str, Any]:
        """Plain data: the attributes, ``verdict``, ``summary``, ``passed``, ``power``, ``draws``, ``grade``.

        Numbers that are not finite are text.
        """
        return {
            "subject": self.subject,
            "level": self.level,
            "verdict": self.verdict,
            "summary": self.summary(),
            "passed": self.passed,
            "false_alarm": self.false_alarm,
            "power": _plain(self.power),
            "draws": self.draws,
            "seconds": self.seconds,
            "grade": self.grade,
            "diagnosis": self.diagnosis,
            "findings": [
                {key: _plain(value) for key, value in {**asdict(f), "grade": f.grade}.items()}
                for f in self.findings
            ],
            "coverage": [asdict(c) for c in self.coverage],
        }

    def text(self, verbose: bool = False) -> str:
        """The verdict, a diagnosis where it failed, and what was exercised; with ``verbose`` every finding, too."""
        parts = [self.summary(), *([f"diagnosis: {self.diagnosis}"] if self.diagnosis else [])]
        if not verbose:
            more = f"({len(self.findings)} findings: --verbose)"
            return "\n".join([*parts, *reading.coverage(self.coverage), more])
        table = reading.table(self.findings)
        return "\n".join(
            [
                *parts, *reading.failures(self.failed), "", *table, *reading.against(self.findings),
                "", *reading.coverage_table(self.coverage),
            ]
        )  # fmt: skip

    def summary(self) -> str:
        """The verdict in a sentence or two: why, at what level, on what problems, with what power and error rate."""
        grade = f" ({self.grade})" if self.failed else ""
        return (
            f"{self.subject}: {self.verdict}{grade} at level {self.level}: {self._why()} A correct estimator fails "
            f"with probability {self.false_alarm:.2g} at most{self._unless()}. {self.seconds:.1f} s."
        )

    def _unless(self) -> str:
        """What no number of draws excludes."""
        if not self.power or self.power < EXACT:
            return ""
        rare = reading.rarest(self.findings)
        return f", unless its mean rests on values rarer than one in {rare} draws"

    def _why(self) -> str:
        if self.failed:
            tests = ", ".join(dict.fromkeys(f.test for f in self.failed))
            return f"{len(self.failed)} of {len(self.findings)} findings failed, of {tests}."
        notes = dict.fromkeys(f.note for f in self.findings if f.test == "unbiased")
        if not self.compared and not any("no exact gradient" in note for note in notes):
            return f"its mean gradient was compared nowhere: {'; '.join(notes)}; all else passed."
        if not self.compared:
            return (
                "no exact reference gradient exists for its objective, so bias was not tested (see the findings of "
                "'unbiased'); all else passed."
            )
        if self.blind:
            return self._undecided()
        if self.missing:
            return (
                f"nothing wrong was found on {self._stages()}, but not exercised were: {'; '.join(self.missing)}. "
                "A defect there would not have been seen."
            )
        if not self.power or self.power < EXACT:
            return f"the gradient has no noise and was compared exactly, on {self._stages()}."
        if all(f.limit is None for f in self.findings if f.test == "unbiased"):
            return f"its declared bias was measured, on {self._stages()}, and is not judged."
        return (
            f"a relative bias of {self.power:.2g} or more in any layer and role would have been found with probability "
            f"0.95, on {self._stages()}."
        )

    def _stages(self) -> str:
        """The problems on which the mean was compared."""
        seen = (f for f in self.findings if f.test == "unbiased" and f.passed is not None)
        names = list(dict.fromkeys(f.where.partition(":")[0] for f in seen))
        what = "the problem" if len(names) == 1 else "the problems"
        return f"{what} {', '.join(names)}"

    def _undecided(self) -> str:
        """What might have been missed, where most, and what would settle it."""
        lacking = [f for f in self.blind if not (f.power or 0.0) <= SEEN]
        few = min((f for f in self.blind if f.few), key=lambda f: f.carried or 0.0, default=None)
        worst = max(lacking or self.blind, key=lambda f: f.power or 0.0)
        more = f" and in {len(self.blind) - 1} more" if len(self.blind) > 1 else ""
        carried = (
            ""
            if few is None
            else f"as few as {few.carried:.0f} of {few.draws} draws carry the sum in {few.where}"
        )
        found = (
            f"nothing wrong was found, but a relative bias below {worst.power:.2g} could have gone unnoticed in "
            f"{worst.where}{more}, and {SEEN:g} must be seen{f'; {carried}' if carried else ''}."
            if lacking
            else f"{carried}{more}, so that its mean cannot be judged."
        )
        if self.draws is None:
            return f"{found} No number of draws within reach would settle it." if lacking else found
        return f"{found} --draws {self.draws} should settle it, in {reading.time(self.findings, self.seconds)}."


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
