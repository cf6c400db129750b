"""Whole trainings in sentences: who errs least, and what the paired differences show."""

from __future__ import annotations

from reports.document import Block, Bullets, Heading
from reports.results.estimate import Estimate
from reports.results.training_sweeps import Swept, swept_of
from reports.results.trainings import Trainings
from reports.words.numbers import percent, show
from reports.words.verdicts import ADJUSTED, both
from vdbench.statistics.selection import select
from vdbench.statistics.verdicts import Verdict, difference_verdict

WAYS = {"test.error.mean_weights": "mean weights", "test.error": "samples"}
"""The two ways of predicting."""


def training_answer(trainings: list[Trainings], several: bool) -> list[Block]:
    """Say in short what the trainings gave; nothing where there are none."""
    said = training_summary(trainings, several)
    return [Heading("Whole trainings"), Bullets(said)] if said else []


def training_summary(trainings: list[Trainings], several: bool) -> list[tuple[str, str]]:
    """Say in a sentence each which training errs least, and what the paired differences show.

    Args:
        trainings: The whole trainings.
        several: Whether the report is over several runs, so that each sentence names its run.
    """
    said = []
    for found in trainings:
        for swept in swept_of(found):
            said += swept_words(swept, f"{found.title}: " if several else "", found.run.level)
        run = f"{found.title}: " if several else ""
        for metric, how in WAYS.items():
            errors = {k: e for k, e in found.finals(metric).items() if e.measured}
            if errors and not swept_of(found):
                named = {found.name(key): e for key, e in errors.items()}
                said.append((f"{run}Test error, {how}:", f"{lowest(named, found.run.level)}."))
            verdicts = difference_words(found, metric)
            if verdicts and swept_of(found):
                verdicts = [f"{counted(found, metric)}."]
            said += [
                (f"{run}Test error, {how}, compared with {found.base}:", each) for each in verdicts
            ]
        if not swept_of(found):
            said += [(f"{run}Pruned:", words) for words in pruned_words(found)]
    return said


def lowest(errors: dict[str, Estimate], level: float) -> str:
    """Say whose error is lowest, where that is sure among all of them; else that it is not, and of how many."""
    found = select({k: (e.value, e.low, e.high) for k, e in errors.items()}, level, level)
    best = f"{found.best}, {show(errors[found.best])} %"
    if len(errors) == 1:
        return f"{found.best}: {show(errors[found.best])} %"
    if found.sure:
        return f"lowest for {best} ({ADJUSTED})"
    count = f"{len(found.rivals)} other{'s' * (len(found.rivals) > 1)}"
    words = f"which is lowest is {Verdict.INCONCLUSIVE.words()}"
    return f"{words}; the smallest estimate, {best}, is not significantly below {count}"


def pruned_words(found: Trainings) -> list[str]:
    """Say by how much each network was pruned, and its test error then; nothing of one that was left as it is."""
    errors = found.finals("sparsity.error")
    return [
        f"{found.name(key)} is compressed by a factor of {show(times)}. Its test error is then {show(errors[key])} %."
        for key, times in found.finals("sparsity.compression").items()
        if key in errors and times.measured and times.value > 1
    ]


def swept_words(swept: Swept, run: str, level: float) -> list[tuple[str, str]]:
    """Say which group errs least at each value of what is swept, where that is sure."""
    metric, how = "test.error.mean_weights", "mean weights"
    lines = swept.lines(metric)
    said = []
    for x in swept.sizes:
        here = {name: points[x] for name, points in lines.items() if x in points}
        if len(here) > 1:
            chosen = select({k: (e.value, e.low, e.high) for k, e in here.items()}, level, level)
            best = f"{chosen.best} at {x:g} ({show(here[chosen.best])} %)"
            said.append(best if chosen.sure else f"{Verdict.INCONCLUSIVE.words()} at {x:g}")
    lead = f"{run}Lowest test error, {how}, over {swept.axis}:"
    return [(lead, f"{'; '.join(said)}.")] if said else []


def counted(found: Trainings, metric: str) -> str:
    """Count the paired differences by verdict, where an option is swept and they are many; name those that are sure."""
    every = found.finals(f"adjusted.difference.{metric}")
    named: dict[Verdict, list[str]] = {}
    for key, e in every.items():
        named.setdefault(difference_verdict(e.low, e.high), []).append(found.name(key))
    level = percent(round(next(iter(every.values())).level, 4))
    sure = [f"{verdict.words()}: {both(named[verdict])}"
            for verdict in (Verdict.LOWER, Verdict.HIGHER) if verdict in named]  # fmt: skip
    rest = len(named.get(Verdict.INCONCLUSIVE, []))
    sure += [f"{Verdict.INCONCLUSIVE.words()}: {rest if sure else f'all {rest}'}"] if rest else []
    return f"{'; '.join(sure)} (paired by seed at the same value; intervals at {level}, {ADJUSTED})"


def difference_words(found: Trainings, metric: str) -> list[str]:
    """Say the verdict on each paired difference."""
    words = []
    for key, e in found.finals(f"adjusted.difference.{metric}").items():
        if not e.measured:
            continue
        verdict = difference_verdict(e.low, e.high)
        words.append(
            f"{found.name(key)} is {verdict.words()}, by {show(e, 0)} percentage points (paired by seed; interval at "
            f"{percent(round(e.level, 4))}, {ADJUSTED})."
            if verdict is not Verdict.INCONCLUSIVE
            else f"{found.name(key)} is {verdict.words()}: difference {show(e, 0)} percentage points (paired by seed; "
            f"interval at {percent(round(e.level, 4))}, {ADJUSTED})."
        )
    return words
