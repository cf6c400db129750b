"""Which estimators are tried on a problem: the unbiased ones of the baseline's objective that are valid there.

Validity is asked of the registry: what an estimator declares, and whether it refuses the problem's posterior. What only
a draw can show (too many weights, say) is found out when it is measured. On a convolution an estimator that samples
pre-activations has another objective; it is then left out, and flipout and the others that sample weights are tried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vdbench.errors import CellError, InputError
from vdbench.estimation import registry
from vdbench.estimation.base import Estimator, Wrapper, objective
from vdbench.estimation.options import get, label
from vdbench.estimation.validity import need_posterior
from vdbench.problems.problem import Problem
from vdbench.suite.grid import expand
from vdbench.suite.schema import EstimatorSpec

INNER = ("local", "flipout")
"""The first of these that is valid is wrapped, too, beside what a wrapper wraps by default."""


@dataclass(frozen=True)
class Candidate:
    """An estimator at a minibatch size.

    Attributes:
        estimator: Which.
        batch_size: M.
    """

    estimator: Estimator
    batch_size: int

    @property
    def label(self) -> str:
        """How reports call the estimator."""
        return label(self.estimator)

    def __str__(self) -> str:
        return f"{self.label} at M = {self.batch_size}"


@dataclass(frozen=True)
class Field:
    """Who takes part.

    Attributes:
        candidates: In the order in which they are begun with; the first is the baseline.
        left_out: Labels of estimators that are not tried, with the reason.
    """

    candidates: tuple[Candidate, ...]
    left_out: Mapping[str, str]


def field_of(
    problem: Problem,
    baseline: Estimator,
    sizes: Sequence[int],
    samples: Sequence[int],
    estimators: Sequence[Any] = (),
) -> Field:
    """Candidates on a problem.

    Args:
        problem: Which.
        baseline: What is used now: the first candidate, at the first size.
        sizes: Minibatch sizes.
        samples: Numbers of draws that a gradient is the mean of.
        estimators: Estimators, or items as a suite writes them, to try beside the baseline; all that are registered by
            default.

    Raises:
        InputError: The baseline, or an estimator that was named, cannot be tried; says why.
    """
    why = refused(baseline, baseline, problem)
    if why:
        raise InputError(f"recommend: the baseline '{label(baseline)}' {why}.")
    left_out: dict[str, str] = {}
    named = [made for item in estimators for made in _named(item)]
    good = {label(baseline): baseline}
    for estimator in named or _registered(baseline, problem, left_out):
        why = refused(estimator, baseline, problem)
        if not why:
            good.setdefault(label(estimator), estimator)
        elif named:
            raise InputError(f"recommend: estimator '{label(estimator)}' {why}.")
        else:
            left_out[label(estimator)] = why
    several = [] if named else _means(good, baseline, samples, left_out)
    made = [Candidate(e, size) for size in sizes for e in (*good.values(), *several)]
    if len(made) == 1:
        raise InputError(
            f"recommend: there is nothing to compare the baseline '{label(baseline)}' with at M = {sizes[0]}; "
            "expected another estimator, or a second batch size."
        )
    return Field(tuple(sorted(made, key=lambda c: _turn(c, made[0]))), left_out)


def _turn(candidate: Candidate, baseline: Candidate) -> int:
    """When a candidate is begun with: first those that are most often good, for where there is no time for all."""
    if candidate == baseline:
        return -1
    first = candidate.batch_size == baseline.batch_size
    if not candidate.estimator.pathwise:
        return 4 if first else 5
    wraps = isinstance(candidate.estimator, Wrapper)
    return 2 * wraps + (not first)


def refused(estimator: Estimator, baseline: Estimator, problem: Problem) -> str:
    """Why an estimator is not compared with the baseline on a problem; '' if it is."""
    if not estimator.declaration.unbiased:
        return "declares a bias"
    if not estimator.declaration.unbiased_given_minibatch:
        return "has an anchor, and its variance here would be that right after it is made, not that of a training"
    if estimator.refit_epochs:
        return "is fitted anew in a training, and its variance here would be that right after a fit"
    mine, theirs = objective(estimator, problem), objective(baseline, problem)
    if mine != theirs:
        return f"estimates the gradient of another objective here, {mine} and not {theirs}"
    try:
        need_posterior(estimator, problem)
    except CellError as error:
        return f"is not valid here: {error}".rstrip(".")
    return ""


def _named(item: Any) -> list[Estimator]:
    """The estimators that somebody has named."""
    if isinstance(item, Estimator):
        return [item]
    if isinstance(item, str):
        return [get(item)]
    if isinstance(item, Mapping) and isinstance(item.get("name"), str):
        return expand(EstimatorSpec(name=item["name"], options=dict(item.get("options") or {})))
    raise InputError(f"recommend: {item!r} is no estimator, nor the name of one.")


def _registered(baseline: Estimator, problem: Problem, left_out: dict[str, str]) -> list[Estimator]:
    """Every registered estimator, and the wrappers around their own default and around one of `INNER`."""
    classes = [registry.find(name) for name in registry.names()]
    # one whose options name layers is another estimator by default
    plain = [cls for cls in classes if not issubclass(cls, Wrapper) and not cls.open_options]
    singles = [*(get(cls.declared.name) for cls in plain), *_mixtures(problem)]
    inner = next((e for e in map(get, INNER) if not refused(e, baseline, problem)), None)
    wrapped = []
    for cls in classes:
        if not issubclass(cls, Wrapper):
            continue
        default = get(cls.declared.name)
        if getattr(default, "samples", 2) == 1:  # the mean of one draw is that draw
            continue
        wrapped.append(default)
        if inner is not None:
            try:
                wrapped.append(get(cls.declared.name, of=inner))
            except InputError as error:
                left_out[f"{cls.declared.name}({label(inner)})"] = f"is not made: {error}".rstrip(
                    "."
                )
    return [*singles, *wrapped]


def _mixtures(problem: Problem) -> list[Estimator]:
    """Pre-activations sampled where that keeps the objective, weights where places of an example share them."""
    once = [layer.name for layer in problem.layers if layer.name not in problem.shared]
    if not once or not problem.shared or "default" in once:
        return []
    return [get("per-layer", **dict.fromkeys(once, INNER[0]), default=INNER[1])]


def _means(
    good: Mapping[str, Estimator],
    baseline: Estimator,
    samples: Sequence[int],
    left_out: dict[str, str],
) -> list[Estimator]:
    """Means of several draws of the baseline and of one of `INNER`, where the draws of it differ."""
    inner = next((good[name] for name in INNER if name in good), None)
    of = [baseline, *([inner] if inner is not None and inner != baseline else [])]
    found = []
    for count in (s for s in samples if s > 1):
        for e in of:
            try:
                found.append(get("samples", of=e, samples=count))
            except InputError as error:
                left_out[f"samples({label(e)}, samples={count})"] = f"is not made: {error}".rstrip(
                    "."
                )
    return found
