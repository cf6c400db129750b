"""What a certificate says: its findings, as a table to read and as data."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["small", "full"]

Verdict = Literal["PASSED", "FAILED", "INCONCLUSIVE"]

LEVELS: tuple[Level, ...] = ("small", "full")
"""How much work a check does: seconds, or as many minutes."""

SEEN = 0.1
"""A certificate that would miss a larger relative bias is inconclusive."""

EXACT = 1e-6
"""A detectable bias below this is rounding: the draws do not differ."""

MARGIN = 1.2
"""Draws that are suggested, for each that the measured spread asks for."""

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
        draws: Draws that ``power`` rests on; None where there is none.
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

    @property
    def blind(self) -> bool:
        """Whether it passed a bias of which it would have missed more than `SEEN`; what is not judged has no limit."""
        judged = self.passed is True and self.limit is not None and self.power is not None
        return judged and self.test in COMPARES and not (self.power or 0.0) <= SEEN

    @property
    def needed(self) -> float:
        """Draws with which it would see a relative bias of `SEEN`."""
        if not self.draws or self.power is None:
            return 0.0
        return self.draws * (self.power / SEEN) ** 2 * MARGIN


COMPARES = ("unbiased", "pre-activations", "layer KL")
"""Tests whose power is that of seeing a relative bias of a mean."""


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
    def verdict(self) -> Verdict:
        """FAILED where a finding did; INCONCLUSIVE where a bias above `SEEN` could have gone unnoticed; else PASSED."""
        if self.failed:
            return "FAILED"
        return "INCONCLUSIVE" if self.blind or not self.compared else "PASSED"

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
        """Draws with which an inconclusive certificate should be decided; None where draws would not decide it."""
        needed = max((f.needed for f in self.blind), default=0.0)
        if not self.blind or not math.isfinite(needed):
            return None
        unit: int = 10 ** max(0, math.floor(math.log10(max(needed, 1.0))) - 1)
        return math.ceil(needed / unit) * unit

    def json(self) -> dict[str, Any]:
        """Plain data: the attributes, ``verdict``, ``summary``, ``passed``, ``power`` and ``draws``.

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
            "findings": [
                {key: _plain(value) for key, value in asdict(f).items()} for f in self.findings
            ],
        }

    def text(self) -> str:
        """The verdict, what every failure suggests, and a table of the findings."""
        rows = [
            ("", "test", "where", "value", "interval", "allowed", "detectable"),
            *map(_row, self.findings),
        ]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        table = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        return "\n".join([self.summary(), *self._failures(), "", *table, *self._against()])

    def _failures(self) -> list[str]:
        """What each failure is, and what it suggests; a suggestion is told once."""
        lines: list[str] = []
        said: set[str] = set()
        for finding in self.failed:
            lines += ["", f"{finding.test}, {finding.where}: {finding.note}"]
            again = finding.suggests in said
            words = "the same, see above." if again else finding.suggests
            lines += [f"  suggests: {words}"] if finding.suggests else []
            said.add(finding.suggests)
        return lines

    def _against(self) -> list[str]:
        """Whose gradient the mean was compared with, where that is not one and the same."""
        stages: dict[str, dict[str, None]] = {}
        for f in self.findings:
            if f.against:
                stages.setdefault(f.against, {})[f.where.partition(":")[0]] = None
        if len(stages) < 2:
            return []
        parts = [f"{name} on {', '.join(found)}" for name, found in stages.items()]
        return ["", f"The mean was compared with the gradient of {'; of '.join(parts)}."]

    def summary(self) -> str:
        """The verdict in a sentence or two: why, at what level, on what problems, with what power and error rate."""
        return (
            f"{self.subject}: {self.verdict} at level {self.level}: {self._why()} A correct estimator fails with "
            f"probability {self.false_alarm:.2g} at most. {self.seconds:.1f} s."
        )

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
        if not self.power or self.power < EXACT:
            return f"the gradient has no noise and was compared exactly, on {self._stages()}."
        if all(f.limit is None for f in self.findings if f.test == "unbiased"):
            return f"its declared bias was measured, on {self._stages()}, and is not judged."
        return (
            f"a relative bias of {self.power:.2g} or more would have been found with probability 0.95, on "
            f"{self._stages()}."
        )

    def _stages(self) -> str:
        """The problems on which the mean was compared."""
        seen = (f for f in self.findings if f.test == "unbiased" and f.passed is not None)
        names = list(dict.fromkeys(f.where.partition(":")[0] for f in seen))
        what = "the problem" if len(names) == 1 else "the problems"
        return f"{what} {', '.join(names)}"

    def _undecided(self) -> str:
        """What might have been missed, where most, and what would settle it."""
        worst = max(self.blind, key=lambda f: f.power or 0.0)
        blind = len(self.blind)
        more = f" and in {blind - 1} more" if blind > 1 else ""
        found = (
            f"nothing wrong was found, but a relative bias below {worst.power:.2g} could have gone unnoticed in "
            f"{worst.where}{more}, and {SEEN:g} must be seen."
        )
        if self.draws is None:
            return found
        return f"{found} --draws {self.draws} should settle it, in {self._time()}."

    def _time(self) -> str:
        """About how long the draws that are missing take, from how long those that were made took."""
        used: dict[str, float] = {}
        wanted: dict[str, float] = {}
        for f in self.findings:
            if f.draws and f.test in COMPARES:
                place = f"{f.test} {f.where.partition(':')[0]}"
                used[place] = max(used.get(place, 0), f.draws)
                wanted[place] = max(wanted.get(place, 0), f.draws, f.needed if f.blind else 0)
        seconds = self.seconds * sum(wanted.values()) / max(1, sum(used.values()))
        if seconds < 90:
            return f"about {max(1, round(seconds))} s"
        return (
            f"about {seconds / 60:.0f} minutes"
            if seconds < 5400
            else f"about {seconds / 3600:.0f} hours"
        )


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _row(f: Finding) -> tuple[str, ...]:
    interval = "" if f.low is None or f.high is None else f"[{f.low:.3g}, {f.high:.3g}]"
    numbers = ["" if x is None else f"{x:.3g}" for x in (f.figure, f.limit, f.power)]
    figure = f.note if f.passed is None else numbers[0]
    return (MARKS[f.passed], f.test, f.where, figure, interval, *numbers[1:])
