"""A certificate as text to read: its table, its failures, what it exercised."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vdbench.certificate.finding import Finding
from vdbench.certificate.stages.features import BEYOND, Exercised

MARKS = {True: "passed", False: "FAILED", None: "n/a"}
"""How the table says whether a finding passed."""

UNSEEN = 7.0
"""−ln of the probability that no draw is of a value as rare as one in N/UNSEEN: a thousandth."""

LOOKS = 5
"""Draws of all looks for each of the first: what seems to differ is drawn so often."""


def rarest(findings: Iterable[Finding]) -> str:
    """One value in how many draws is seen by every comparison of means, almost surely."""
    least = min((f.draws for f in findings if f.draws and f.test == "unbiased"), default=0)
    return f"{max(1, int(least * LOOKS / UNSEEN)):,}"


def table(findings: Sequence[Finding]) -> list[str]:
    """A line for each finding."""
    head = ("", "test", "where", "value", "interval", "allowed", "detectable")
    return aligned([head, *map(_row, findings)])


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of one width."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _row(f: Finding) -> tuple[str, ...]:
    interval = "" if f.low is None or f.high is None else f"[{f.low:.3g}, {f.high:.3g}]"
    numbers = ["" if x is None else f"{x:.3g}" for x in (f.figure, f.limit, f.power)]
    figure = f.note if f.passed is None else numbers[0]
    return (MARKS[f.passed], f.test, f.where, figure, interval, *numbers[1:])


def failures(failed: Iterable[Finding]) -> list[str]:
    """What each failure is, and what it suggests; a suggestion is told once."""
    lines: list[str] = []
    said: set[str] = set()
    for finding in failed:
        lines += ["", f"{finding.test} ({finding.grade}), {finding.where}: {finding.note}"]
        again = finding.suggests in said
        words = "the same, see above." if again else finding.suggests
        lines += [f"  suggests: {words}"] if finding.suggests else []
        said.add(finding.suggests)
    return lines


def against(findings: Iterable[Finding]) -> list[str]:
    """Whose gradient the mean was compared with, where that is not one and the same."""
    stages: dict[str, dict[str, None]] = {}
    for f in findings:
        if f.against:
            stages.setdefault(f.against, {})[f.where.partition(":")[0]] = None
    if len(stages) < 2:
        return []
    parts = [f"{name} on {', '.join(found)}" for name, found in stages.items()]
    return ["", f"The mean was compared with the gradient of {'; of '.join(parts)}."]


def coverage(features: Sequence[Exercised]) -> list[str]:
    """What was exercised and what was not, in three lines."""
    if not features:
        return []
    seen = [f"{c.feature} ({', '.join(c.parts)})" for c in features if c.parts]
    refused = [f"{c.feature} ({', '.join(c.refused)})" for c in features if c.refused]
    missing = [f"{c.feature} ({_missing(c)})" for c in features if _missing(c)]
    return [
        f"exercised: {', '.join(seen)}",
        *([f"refused by the estimator: {', '.join(refused)}"] if refused else []),
        f"not exercised: {'; '.join([*missing, *BEYOND])}",
    ]


def coverage_table(features: Sequence[Exercised]) -> list[str]:
    """Every feature with the problems that had each part."""
    if not features:
        return []
    head = ("feature", "problems on which the mean was compared", "refused", "not exercised")
    rows = [
        (
            c.feature,
            ", ".join(f"{part}: {n}" for part, n in c.parts.items()),
            ", ".join(c.refused),
            _missing(c),
        )
        for c in features
    ]
    return [*aligned([head, *rows]), f"beyond any of these problems: {'; '.join(BEYOND)}"]


def _missing(feature: Exercised) -> str:
    """What was not exercised of a feature."""
    return ", ".join([*feature.missing, *([feature.beyond] if feature.beyond else [])])


def time(findings: Sequence[Finding], seconds: float) -> str:
    """About how long the draws that are missing take, from how long those that were made took."""
    used: dict[str, float] = {}
    wanted: dict[str, float] = {}
    for f in findings:
        if f.draws and f.limit is not None:
            place = f"{f.test} {f.where.partition(':')[0]}"
            used[place] = max(used.get(place, 0), f.draws)
            wanted[place] = max(wanted.get(place, 0), f.draws, f.needed if f.blind else 0)
    longer = seconds * sum(wanted.values()) / max(1, sum(used.values()))
    if longer < 90:
        return f"about {max(1, round(longer))} s"
    return (
        f"about {longer / 60:.0f} minutes" if longer < 5400 else f"about {longer / 3600:.0f} hours"
    )
