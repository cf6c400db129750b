"""What a suite must satisfy beyond its form: names that exist, options that are valid, measures that fit together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vdbench.errors import InputError, nearest
from vdbench.estimation.options import label
from vdbench.suite.grid import checkpoint_name, expand, single
from vdbench.suite.schema import MeasuresSpec, ProblemSpec, Suite
from vdbench.suite.training_recipe import recipe_of, spec_of


def check(where: str, suite: Suite) -> None:
    """Look up every name and check every option, before anything is measured.

    Raises:
        InputError: One is not there, is given twice, or does not fit the others.
    """
    labels = _labels(where, suite)
    if suite.baseline not in labels:
        raise InputError(
            f"{where}: baseline '{suite.baseline}' is none of the suite's estimators."
            f"{nearest(suite.baseline, labels)}"
        )
    _check_few_examples(where, suite)
    _check_training(where, suite, labels)
    _check_instrument(where, suite)
    if all(value is None for _, value in suite.measures):
        raise InputError(f"{where}: measures is empty.{nearest('', MeasuresSpec.model_fields)}")


def _labels(where: str, suite: Suite) -> list[str]:
    """The labels of the estimators; nothing is given twice."""
    repeated = _repeated([p.name for p in suite.problems])
    if repeated:
        raise InputError(f"{where}: two problems are called '{repeated}'.")
    repeated = _repeated(suite.batch_sizes)
    if repeated:
        raise InputError(f"{where}: batch size {repeated} is given twice.")
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


def _check_few_examples(where: str, suite: Suite) -> None:
    """See that the noise of each estimator measured on few examples is a sum over them, and its mean the source's."""
    spec = suite.measures.variance
    if spec is None or not (spec.few_examples or spec.data_from):
        return
    at = f"{where}: measures.variance"
    known = {label(e): e for item in suite.estimators for e in expand(item)}
    for name in (*spec.few_examples, *([spec.data_from] if spec.data_from else [])):
        if name not in known:
            raise InputError(
                f"{at}: '{name}' is none of the suite's estimators.{nearest(name, known)}"
            )
    if not (spec.few_examples and spec.data_from):
        raise InputError(f"{at}: few_examples and data_from are given together or not at all.")
    if spec.data_from in spec.few_examples:
        raise InputError(f"{at}: data_from '{spec.data_from}' is itself in few_examples.")
    source = known[spec.data_from].declaration
    for name, count in spec.few_examples.items():
        mine = known[name].declaration
        if not mine.independent_examples:
            raise InputError(
                f"{at}: the noise of '{name}' is not independent from example to example, "
                "so it cannot be estimated from a subset."
            )
        if not (mine.unbiased and source.unbiased and mine.objective == source.objective):
            raise InputError(
                f"{at}: '{name}' cannot take its data part from '{spec.data_from}': "
                "they are not both unbiased for one objective."
            )
        if count > min(suite.batch_sizes):
            raise InputError(
                f"{at}: few_examples of '{name}' is {count}, more than batch size {min(suite.batch_sizes)}."
            )


def _repeated(values: Sequence[Any]) -> Any:
    return next((v for i, v in enumerate(values) if v in values[:i]), None)


def _check_training(where: str, suite: Suite, labels: Sequence[str]) -> None:
    """See that problems name estimators there are, and that every training can be run.

    Args:
        where: The suite, for messages.
        suite: What is checked.
        labels: Of its estimators.

    Raises:
        InputError: It is not so.
    """
    names = [problem.name for problem in suite.problems]
    for problem in suite.problems:
        _check_estimators(where, suite, problem, labels)
        if problem.training and suite.measures.training is None:
            raise InputError(
                f"{where}: problem '{problem.name}' changes training, which the suite does not measure; "
                "expected measures.training."
            )
    base = suite.baseline_problem
    known = list(dict.fromkeys([*names, *(p.group for p in suite.problems if p.group)]))
    if base is not None and base not in known:
        raise InputError(
            f"{where}: baseline_problem '{base}' is none of the suite's problems.{nearest(base, known)}"
        )
    if base is not None and suite.measures.training is None:
        raise InputError(
            f"{where}: baseline_problem is what trainings are compared with; expected measures.training."
        )
    for problem in suite.problems if suite.measures.training else []:
        try:
            spec = spec_of(suite, problem)
            recipe_of(spec)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        if spec.patience and spec.validation is None:
            raise InputError(
                f"{where}: training of problem '{problem.name}' has patience without validation; "
                "expected a share of the training set, such as validation: 0.1."
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
    if spec and spec.data_from and set(spec.few_examples) & set(problem.estimators):
        needed["data_from"] = spec.data_from
    for role, name in needed.items():
        if name not in problem.estimators:
            raise InputError(
                f"{where}: problem '{problem.name}' leaves out '{name}', which is {role} of what it runs."
            )


def _check_instrument(where: str, suite: Suite) -> None:
    """See that what is measured about other measures has them in the suite.

    Raises:
        InputError: It has not, or they are measured in a way that is not repeated.
    """
    measures = suite.measures
    repeated = ("variance", "bias", "throughput", "convergence")
    if measures.coverage and not any(getattr(measures, name) for name in repeated):
        raise InputError(
            f"{where}: measures.coverage has nothing to repeat; expected one of {', '.join(repeated)} beside it."
        )
    for name in ("false_alarms", "power"):
        if getattr(measures, name) and not measures.variance:
            raise InputError(
                f"{where}: measures.{name} compares variances; expected measures.variance beside it."
            )
    power = measures.power
    for name in ("differences", "precisions") if power else ():
        values = getattr(power, name)
        if len(set(values)) < len(values):
            raise InputError(f"{where}: measures.power.{name} has a value twice: {values}.")
    if power and measures.variance and measures.variance.precision in power.precisions:
        raise InputError(
            f"{where}: measures.power.precisions has {measures.variance.precision:g}, the suite's own precision, "
            "which is measured anyway."
        )
    asked = [n for n in ("coverage", "false_alarms", "power") if getattr(measures, n)]
    if asked and measures.variance and measures.variance.few_examples:
        raise InputError(
            f"{where}: measures.{asked[0]} repeats measurements on whole minibatches; "
            "expected no few_examples in measures.variance."
        )
