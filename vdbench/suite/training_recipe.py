"""The recipe of each problem's trainings: what the suite says, with what the problem changes."""

from __future__ import annotations

import pydantic

from vdbench import schedules
from vdbench.errors import InputError, nearest, shown
from vdbench.schedules import Recipe
from vdbench.suite.schema import ProblemSpec, Suite, TrainingSpec

SHARED = ("seeds",)
"""Keys that no problem changes: its trainings are compared with the others', seed by seed."""


def spec_of(suite: Suite, problem: ProblemSpec) -> TrainingSpec:
    """What a problem's trainings are asked for.

    Raises:
        InputError: What the problem changes is not valid.
    """
    spec = suite.measures.training
    assert spec is not None
    for key in problem.training:
        if key in SHARED:
            raise InputError(
                f"training of problem '{problem.name}': {key} is one for all problems, which are compared in pairs; "
                "set it in measures.training."
            )
    try:
        return TrainingSpec.model_validate({**spec.model_dump(), **problem.training})
    except pydantic.ValidationError as error:
        raise InputError(f"training of problem '{problem.name}': {_explain(error)}") from error


def _explain(error: pydantic.ValidationError) -> str:
    first = error.errors()[0]
    key = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        known = [name for name in TrainingSpec.model_fields if name not in SHARED]
        return f"unknown key '{key}'.{nearest(key, known)}"
    return f"{key}: {first['msg'][:1].lower()}{first['msg'][1:]}, not {shown(first['input'])}."


def recipe_of(spec: TrainingSpec) -> Recipe:
    """Schedule, KL weight and bounds, as a training takes them.

    Raises:
        InputError: One of them is not valid.
    """
    return Recipe(
        epochs=spec.epochs,
        schedule=schedules.from_spec(spec.schedule),
        kl_weight=spec.kl_weight,
        warm_up=spec.warm_up,
        log_alpha=spec.log_alpha_bounds or (None, None),
        noise_rate=spec.noise_rate,
    )


def bases(suite: Suite) -> dict[str, str]:
    """By problem, what its trainings are compared with: the baseline, or that of the baseline group at its x."""
    base = suite.baseline_problem
    if base in [problem.name for problem in suite.problems]:
        return {p.name: str(base) for p in suite.problems if p.name != base}
    group = {(p.axis, p.x): p.name for p in suite.problems if base and p.group == base}
    others = [p for p in suite.problems if p.group != base and (p.axis, p.x) in group]
    return {p.name: group[p.axis, p.x] for p in others}


def left(examples: int, validation: float | None) -> int:
    """Training examples that a validation split leaves."""
    if validation is None:
        return examples
    return examples - min(max(1, round(validation * examples)), max(0, examples - 1))
