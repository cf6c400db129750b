"""Commands that would settle what a run left open."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from typing import Any

from reports.document import Block, Code, Paragraph
from reports.results.load import Run

LARGE = 100
"""Times the units measured, from which on no command is offered."""


def more_units(
    lead: str, wanted: Sequence[tuple[int | None, int]], run: Run, narrower: bool = True
) -> list[Block]:
    """Give the command that measures variances with more units.

    Args:
        lead: What it would settle.
        wanted: Units that are wanted and units that were measured, a pair for each open question.
        run: The run.
        narrower: Whether intervals are to be narrower than the run asked for; else as narrow, with more units where
            these were too few.

    Returns:
        A sentence and the command; nothing where the run's own command is not known, or nothing is within reach.
    """
    suite = (run.info.get("suite") or {}).get("measures") or {}
    known: Any = suite.get("variance")
    within = [(want, have) for want, have in wanted if want and have and want <= LARGE * have]
    words = rerun(run)
    if not words or not isinstance(known, dict) or not within:
        return []
    growth = max(want / have for want, have in within)
    words += ["--set", f"measures.variance.max_units={rounded(max(want for want, _ in within))}"]
    aims = {} if not narrower else {"precision": float(known.get("precision") or 0.05)}
    for number, target in enumerate(known.get("targets") or [] if narrower else []):
        if target.get("precision"):  # of its own, so that a cell would stop where it did
            aims[f"targets.{number}.precision"] = float(target["precision"])
    for name, aim in aims.items():
        words += ["--set", f"measures.variance.{name}={aim / math.sqrt(growth):.2g}"]
    most = "about" if narrower else "in some cells up to"
    said = (
        f"this takes {most} {growth:.1f} times the units of this run, into a run folder of its own."
    )
    left = len(wanted) - len(within)
    if left:
        said += f" {left} would take more than {LARGE} times the units, and are left out."
    return [Paragraph(said, lead=lead), Code(shlex.join(words))]


def again(run: Run) -> list[Block]:
    """Give the command that tries failed measurements again; nothing where the run's own command is not known."""
    words = rerun(run)
    if not words:
        return []
    said = "the figures that are there are kept. --out names the folder of this run."
    return [
        Paragraph(said, lead="To try again what failed: "),
        Code(shlex.join([*words, "--out", f"runs/{run.name}"])),
    ]


def rerun(run: Run) -> list[str]:
    """Return the words of the run's command without its run folder; nothing where it was not run by one."""
    asked = str(run.info.get("command") or "")
    try:
        words = shlex.split(asked)
    except ValueError:  # a quote without its end
        return []
    return without_out(words) if words[:2] == ["vdbench", "run"] else []


def rounded(units: int) -> int:
    """Round up to two digits."""
    place = int(10 ** max(0, math.floor(math.log10(units)) - 1))
    return math.ceil(units / place) * place


def without_out(words: list[str]) -> list[str]:
    """Return a command without its run folder: another suite needs another one."""
    kept, skip = [], False
    for word in words:
        if not skip and word != "--out" and not word.startswith("--out="):
            kept.append(word)
        skip = word == "--out" and not skip
    return kept
