"""How it was measured: terms, estimators and problems."""

from __future__ import annotations

from typing import Any

from reports.document import Block, Bullets, Table
from reports.results.groups import Group
from reports.results.load import Results, Run
from reports.sections.section import Findings
from reports.words.glossary import NOISE, definitions
from reports.words.numbers import MISSING, percent


class Method:
    """What the terms mean, what the estimators declare, what the problems are."""

    anchor = "method"
    title = "Method and glossary"

    def blocks(self, found: Findings) -> list[Block]:
        """Compose the section."""
        return method_blocks(found.results, found.groups)


def method_blocks(results: Results, groups: list[Group]) -> list[Block]:
    """Say in plain words what the figures mean and how they were got."""
    runs = list(results.runs.values())
    levels = " and ".join(dict.fromkeys(percent(run.level) for run in runs))
    bases = ", ".join(dict.fromkeys(run.baseline for run in runs if run.baseline)) or "none"
    terms = definitions(results.frame, levels, bases)
    terms += [("Random numbers.", words) for words in random_numbers(runs)]
    blocks: list[Block] = [Bullets(terms)]
    rows = [
        declaration(label, said, elsewhere(groups, label)) for label, said in declared(runs).items()
    ]
    if rows:
        columns = [
            "estimator",
            "objective",
            "unbiased",
            "independent examples",
            "version",
            "summary",
        ]
        blocks.append(Table(columns, rows, "The estimators, as declared."))
    blocks += problem_table(runs)
    return blocks


def random_numbers(runs: list[Run]) -> list[str]:
    """Say how the runs' noise was made; those of a version that had one way only say nothing of it."""
    ways = dict.fromkeys((run.info.get("suite") or {}).get("noise", "torch") for run in runs)
    return [NOISE.get(way, MISSING) for way in ways]


def elsewhere(groups: list[Group], label: str) -> str:
    """Name the objectives of an estimator on problems where it is not the usual one."""
    found = {group.problem: group.local_noise().get(label) for group in groups}
    return "".join(
        f"; on {problem} {objective}" for problem, objective in found.items() if objective
    )


def declaration(label: str, said: dict[str, Any], elsewhere: str = "") -> list[str]:
    """Write what one estimator declares of itself."""
    yes = {True: "yes", False: "no"}
    return [
        label,
        f"{said.get('objective') or MISSING}{elsewhere}",
        yes[bool(said.get("unbiased"))],
        yes[bool(said.get("independent_examples"))],
        str(said.get("version") or MISSING),
        str(said.get("summary") or MISSING),
    ]


def declared(runs: list[Run]) -> dict[str, dict[str, Any]]:
    """Collect the declarations of all runs' estimators; those of the first run that has one."""
    found: dict[str, dict[str, Any]] = {}
    for run in runs:
        for label, declaration in run.estimators.items():
            found.setdefault(label, declaration)
    return found


def problem_table(runs: list[Run]) -> list[Block]:
    """Describe the problems."""
    keys = ("description", "dataset", "examples", "parameters", "parameterization", "prior")
    rows: dict[str, list[str]] = {}
    for run in runs:
        for name, problem in (run.info.get("problems") or {}).items():
            rows.setdefault(name, [name, *(str(problem.get(key) or MISSING) for key in keys)])
    if not rows:
        return []
    return [Table(["problem", *keys], list(rows.values()), "The problems."), *noise_table(runs)]


def noise_table(runs: list[Run]) -> list[Block]:
    """Say where noise enters, for problems with weights that are sampled whole or have none; and what was decided."""
    rows: dict[tuple[str, ...], None] = {}
    notes: dict[tuple[str, str], None] = {}
    for run in runs:
        for name, problem in (run.info.get("problems") or {}).items():
            whole, without = problem.get("whole_weights") or {}, problem.get("without_noise") or {}
            if whole or without:
                opened = [n for n in problem.get("layers") or [] if n not in whole]
                rows |= {(name, n, "weights or pre-activations", ""): None for n in opened}
                rows |= {(name, n, "weight only", why): None for n, why in whole.items()}
                rows |= {(name, n, "none", why): None for n, why in without.items()}
            for sentence in problem.get("said") or []:
                notes[(name, f"{sentence}.")] = None
            if problem.get("looped"):
                notes[(name, f"draws are taken one by one: {problem['looped']}.")] = None
    blocks: list[Block] = []
    if rows:
        blocks.append(
            Table(
                ["problem", "layer", "noise", "why"],
                [list(row) for row in rows],
                "Where noise enters. A weight marked weight only is sampled once for the minibatch by every estimator "
                "but grouped and per-example.",
            )
        )
    if notes:
        blocks.append(Bullets(list(notes)))
    return blocks
