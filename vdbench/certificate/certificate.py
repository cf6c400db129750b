"""What a certificate says: its findings, as a table to read and as data."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["small", "full"]

LEVELS: tuple[Level, ...] = ("small", "full")
"""How much work a check does: seconds, or as many minutes."""

MARKS = {True: "passed", False: "FAILED", None: "n/a"}
"""How the table says whether a finding passed."""


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


@dataclass(frozen=True)
class Certificate:
    """All that a check of one estimator found.

    Attributes:
        subject: The estimator's label, options included.
        level: ``small`` or ``full``.
        findings: One for each test and place, in the order of the tests.
        false_alarm: Largest probability that a correct estimator fails any statistical test of this certificate.
        seconds: Time it took.
    """

    subject: str
    level: Level
    findings: tuple[Finding, ...]
    false_alarm: float
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether no finding failed, and the mean of the gradient was compared with an exact one somewhere."""
        return not self.failed and self.compared

    @property
    def compared(self) -> bool:
        """Whether there was an exact gradient to compare with."""
        return any(f.test == "unbiased" and f.passed is not None for f in self.findings)

    @property
    def failed(self) -> tuple[Finding, ...]:
        """The findings that failed."""
        return tuple(f for f in self.findings if f.passed is False)

    @property
    def power(self) -> float | None:
        """The smallest relative bias that it would have found in every role with probability 0.95."""
        known = [f.power for f in self.findings if f.power is not None and f.test == "unbiased"]
        return max(known) if known else None

    def json(self) -> dict[str, Any]:
        """Plain data: the attributes, ``passed`` and ``power``; numbers that are not finite as text."""
        return {
            "subject": self.subject,
            "level": self.level,
            "passed": self.passed,
            "false_alarm": self.false_alarm,
            "power": self.power,
            "seconds": self.seconds,
            "findings": [
                {key: _plain(value) for key, value in asdict(f).items()} for f in self.findings
            ],
        }

    def text(self) -> str:
        """A table of the findings, what every failure suggests, and the verdict."""
        rows = [
            ("", "test", "where", "value", "interval", "allowed", "detectable"),
            *map(_row, self.findings),
        ]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        said: set[str] = set()
        for finding in self.failed:
            lines += ["", f"{finding.test}, {finding.where}: {finding.note}"]
            again = finding.suggests in said
            words = "the same, see above." if again else finding.suggests
            lines += [f"  suggests: {words}"] if finding.suggests else []
            said.add(finding.suggests)
        return "\n".join([*lines, "", *self._against(), self.verdict()])

    def _against(self) -> list[str]:
        """Whose gradient the mean was compared with, where that is not one and the same."""
        stages: dict[str, dict[str, None]] = {}
        for f in self.findings:
            if f.against:
                stages.setdefault(f.against, {})[f.where.partition(":")[0]] = None
        if len(stages) < 2:
            return []
        parts = [f"{name} on {', '.join(found)}" for name, found in stages.items()]
        return [f"The mean was compared with the gradient of {'; of '.join(parts)}."]

    def verdict(self) -> str:
        """One sentence: passed or not, at what level, error rate and power."""
        count = len(self.failed)
        what = "passed" if self.passed else f"FAILED {count} of {len(self.findings)} findings"
        if not self.failed and not self.compared:
            what = (
                "NOT PASSED: no exact reference gradient exists for its objective, so bias was not tested "
                "(see the findings of 'unbiased')"
            )
        caught = (
            f"; smallest detectable relative bias on these problems: {self.power:.2g}"
            if self.power
            else ""
        )
        return (
            f"{self.subject}: {what} at level {self.level}, false-alarm rate at most {self.false_alarm:.2g}"
            f"{caught}; {self.seconds:.1f} s."
        )


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _row(f: Finding) -> tuple[str, ...]:
    interval = "" if f.low is None or f.high is None else f"[{f.low:.3g}, {f.high:.3g}]"
    numbers = ["" if x is None else f"{x:.3g}" for x in (f.figure, f.limit, f.power)]
    figure = f.note if f.passed is None else numbers[0]
    return (MARKS[f.passed], f.test, f.where, figure, interval, *numbers[1:])
