"""What a suite must satisfy beyond its form: names that exist, and options that are valid.

What a measure refuses stands with the measure (`vdbench.measures.protocol.Measure.check`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from vdbench import limits
from vdbench.errors import InputError, nearest, shown
from vdbench.estimation.options import label
from vdbench.suite.grid import checkpoint_name, count, expand, single
from vdbench.suite.schema import ProblemSpec, Suite


def check(where: str, suite: Suite) -> None:
    """Look up every name and check every option, before anything is measured.

    Raises:
        InputError: One is not there, is given twice, or does not fit the others.
    """
    most = limits.limits()
    limits.within(where, "problems", len(suite.problems), most.problems)
    every = sum(count(spec.options) for spec in suite.estimators)
    limits.within(where, "estimators", every, most.estimators)
    limits.within(where, "checkpoints", len(suite.checkpoints), most.estimators)
    asked = sum(value is not None for _, value in suite.measures)
    sizes = sum(len(p.batch_sizes or suite.batch_sizes) for p in suite.problems)
    limits.within(where, "cells", sizes * len(suite.checkpoints) * every * asked, most.cells)
    limits.within(where, "threads", suite.threads or 1, most.threads)
    _check_names(where, suite)
    labels = _labels(where, suite)
    if suite.baseline not in labels:
        raise InputError(
            f"{where}: baseline '{suite.baseline}' is none of the suite's estimators."
            f"{nearest(suite.baseline, labels)}"
        )
    _check_problems(where, suite, labels)
    _check_claims(where, suite, labels)
    if all(value is None for _, value in suite.measures):
        raise InputError(
            f"{where}: measures is empty.{nearest('', type(suite.measures).model_fields)}"
        )


def _check_claims(where: str, suite: Suite, labels: Sequence[str]) -> None:
    """See that claims are about what the suite measures."""
    sizes = {0, *suite.batch_sizes, *(m for p in suite.problems for m in p.batch_sizes or ())}
    known: dict[str, Collection[Any]] = {
        "problem": [p.name for p in suite.problems],
        "estimator": labels,
        "against": labels,
        "checkpoint": [checkpoint_name(c) for c in suite.checkpoints],
        "batch_size": sorted(sizes),  # a list: what is asked for may be of any type
    }
    for number, claim in enumerate(suite.claims):
        asked = {name: getattr(claim, name) for name in known}
        for at, given in (
            ("", asked),
            ("over.", {k: v for k, v in claim.over.items() if k in known}),
        ):
            for name, value in given.items():
                if value not in ("", None) and value not in known[name]:
                    raise InputError(
                        f"{where}: claims.{number}.{at}{name} {shown(value)} is not measured in this suite."
                        f"{nearest(str(value), map(str, known[name]))}"
                    )


def _labels(where: str, suite: Suite) -> list[str]:
    """The labels of the estimators; nothing is given twice."""
    repeated = _repeated([p.name for p in suite.problems])
    if repeated:
        raise InputError(f"{where}: two problems are called '{repeated}'.")
    repeated = _repeated(suite.batch_sizes)
    if repeated:
        raise InputError(f"{where}: batch size {repeated} is given twice.")
    repeated = _repeated(suite.modes)
    if repeated:
        raise InputError(f"{where}: mode '{repeated}' is given twice.")
    try:
        labels = [label(e) for spec in suite.estimators for e in expand(spec)]
        single(suite.reference)
        for checkpoint in suite.checkpoints:
            single(checkpoint.estimator)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    repeated = _repeated(labels)
    if repeated:
        raise InputError(f"{where}: estimator '{repeated}' is given twice.")
    repeated = _repeated([checkpoint_name(c) for c in suite.checkpoints])
    if repeated:
        raise InputError(f"{where}: two checkpoints are called '{repeated}'; give one a name.")
    return labels


def _repeated(values: Sequence[Any]) -> Any:
    seen: set[Any] = set()
    return next((v for v in values if v in seen or seen.add(v)), None)  # type: ignore[func-returns-value]


def _check_names(where: str, suite: Suite) -> None:
    """Names become the names of files, and stand in every table."""
    named = {"name": suite.name, "scale": suite.scale}
    for place, problem in enumerate(suite.problems):
        named |= {
            f"problems.{place}.{key}": getattr(problem, key) for key in ("name", "group", "axis")
        }
    named |= {f"checkpoints.{place}.name": c.name for place, c in enumerate(suite.checkpoints)}
    for at, name in named.items():
        if len(name.encode()) > limits.NAME:
            raise InputError(
                f"{where}: {at}: expected at most {limits.NAME} bytes, not {shown(name)}."
            )


def _check_problems(where: str, suite: Suite, labels: Sequence[str]) -> None:
    """See that problems name estimators there are, and the baseline problem a problem there is."""
    for problem in suite.problems:
        _check_estimators(where, suite, problem, labels)
    base = suite.baseline_problem
    groups = [p.group for p in suite.problems if p.group]
    known = list(dict.fromkeys([*(p.name for p in suite.problems), *groups]))
    if base is not None and base not in known:
        raise InputError(
            f"{where}: baseline_problem '{base}' is none of the suite's problems.{nearest(base, known)}"
        )


def _check_estimators(
    where: str, suite: Suite, problem: ProblemSpec, labels: Sequence[str]
) -> None:
    if problem.estimators is None:
        return
    for name in problem.estimators:
        if name not in labels:
            raise InputError(
                f"{where}: problem '{problem.name}': '{name}' is none of the suite's estimators."
                f"{nearest(name, labels)}"
            )
    needed = {"baseline": suite.baseline} if suite.measures.kills else {}
    spec = suite.measures.variance
    if (
        spec
        and spec.data_from
        and {*spec.few_examples, *spec.rao_blackwell} & set(problem.estimators)
    ):
        needed["data_from"] = spec.data_from
    for role, name in needed.items():
        if name not in problem.estimators:
            raise InputError(
                f"{where}: problem '{problem.name}' leaves out '{name}', which is {role} of what it runs."
            )
