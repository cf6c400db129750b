"""Whose gradients: a model as the command line and Python name it, with its data; and the suite that measures it."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from vdbench import problems
from vdbench.errors import InputError, nearest
from vdbench.estimation.options import label, options
from vdbench.measures.registry import FullSuite, load
from vdbench.problems import given, own
from vdbench.problems.given import GIVEN
from vdbench.problems.problem import Problem
from vdbench.recommendation.candidates import Candidate
from vdbench.suite import yaml_file
from vdbench.suite.schema import CheckpointSpec, ProblemSpec, Suite


@dataclass(frozen=True)
class Model:
    """A problem, and how a suite names it.

    Attributes:
        spec: Its factory and options.
        problem: It, built.
        checkpoint: Where gradients are taken.
        common: Keys of a suite that the model came with: seed, objective, precision.
    """

    spec: ProblemSpec
    problem: Problem
    checkpoint: CheckpointSpec
    common: Mapping[str, Any]

    @property
    def given(self) -> bool:
        """Whether it was made in Python, so that no suite's file can name it."""
        return self.spec.factory == GIVEN


def model(
    source: Any,
    data: Any,
    allow: Collection[str],
    *,
    epochs: int | None,
    changes: Mapping[str, Any],
) -> Model:
    """A model by what somebody gave.

    Args:
        source: A problem; a network, with data; or a text: ``package.module:factory``, a factory of vdbench, or a suite
            (a bundled one, or a YAML file) with one problem, or ``SUITE:PROBLEM``.
        data: For a network, what `vdbench.noisy` takes. For a text, the name of a data set.
        allow: Modules and factories that may be run.
        epochs: Of training before gradients are taken; None for as the suite has it, else none.
        changes: Keys of a suite: seed, objective.

    Raises:
        InputError: It is none of these, or may not be run.
    """
    if isinstance(source, Problem | nn.Module):
        return _given(source, data, epochs or 0, changes)
    if not isinstance(source, str) or not source:
        raise InputError(
            "recommend: expected a vdbench.Problem, a torch.nn.Module with data=, or a text such as "
            f"package.module:factory, not {type(source).__name__}."
        )
    if data is not None and not isinstance(data, str):
        raise InputError(
            "recommend: with a model by its name, data is the name of a data set; arrays are given with the network "
            "itself."
        )
    spec, checkpoint, common = _named(source, epochs)
    if data is not None:
        spec = spec.model_copy(update={"options": {**spec.options, _key(spec): data}})
    problems.need_allowed("recommend", {spec.name: spec.factory}, allow)
    built = problems.build(spec.name, spec.factory, spec.options)
    return Model(spec, built, checkpoint, {**common, **changes})


def _given(source: Any, data: Any, epochs: int, changes: Mapping[str, Any]) -> Model:
    if isinstance(source, Problem):
        if data is not None:
            raise InputError("recommend: a problem has its data; data= is for a network.")
        problem = source
    elif data is None:
        raise InputError("recommend: a network needs data=, as vdbench.noisy takes them.")
    else:
        problem = problems.noisy(source, data)
    spec = ProblemSpec(name=problem.name, **given.spec(problem))
    return Model(spec, problem, CheckpointSpec(epochs=epochs), changes)


def _named(source: str, epochs: int | None) -> tuple[ProblemSpec, CheckpointSpec, dict[str, Any]]:
    """The problem that a text names, its checkpoint, and what else its suite says."""
    suite, problem = _suite(source)
    known = {*problems.FACTORIES, *own.installed(), *yaml_file.names()}
    if suite is None and ":" not in source and source not in known:
        raise InputError(
            f"recommend {source}: it is neither a suite nor a factory of vdbench."
            f"{nearest(source, known)} A model of your own is written MODULE:FACTORY."
        )
    if suite is None:
        _need_module(source)
        name = source.rpartition(":")[2]
        return ProblemSpec(name=name, factory=source), CheckpointSpec(epochs=epochs or 0), {}
    named = [spec.name for spec in suite.problems]
    if not problem and len(named) > 1:
        raise InputError(
            f"recommend {source}: the suite has {len(named)} problems; expected {source}:PROBLEM, "
            f"one of: {', '.join(named)}."
        )
    spec = next((s for s in suite.problems if s.name == (problem or named[0])), None)
    if spec is None:
        raise InputError(
            f"recommend {source}: the suite has no problem '{problem}'.{nearest(problem, named)}"
        )
    checkpoint = suite.checkpoints[-1]
    if epochs is not None:
        checkpoint = checkpoint.model_copy(update={"epochs": epochs, "name": ""})
    cells = {"estimators": None, "batch_sizes": None, "group": "", "axis": "", "x": None}
    plain = spec.model_copy(update=cells)
    return plain, checkpoint, suite.model_dump(include={"seed", "objective", "precision"})


def _need_module(source: str) -> None:
    """Refuse SUITE:PROBLEM with a suite mistyped, which would read as MODULE:FACTORY."""
    first, colon, problem = source.partition(":")
    meant = difflib.get_close_matches(first, yaml_file.names(), n=1) if colon else []
    package = first.partition(".")[0]
    if meant and (not package or importlib.util.find_spec(package) is None):
        raise InputError(
            f"recommend {source}: '{first}' is neither a suite nor a module. Did you mean '{meant[0]}:{problem}'?"
        )


def _suite(source: str) -> tuple[Suite | None, str]:
    """The suite that a text names, with the problem after the colon; None where it names a factory."""
    for end in (source, source.rpartition(":")[0]):
        if end in yaml_file.names() or Path(end).suffix in (".yaml", ".yml"):
            return load(end), source[len(end) + 1 :]
    return None, ""


def _key(spec: ProblemSpec) -> str:
    """The option that names the data set."""
    return "dataset" if spec.factory == "classification" else "data"


def suite(
    of: Model, candidates: Sequence[Candidate], measures: Mapping[str, Any], threads: int | None
) -> Suite:
    """The suite of which the candidates are cells.

    Args:
        of: The model.
        candidates: The first is the baseline.
        measures: With their options.
        threads: Of torch.
    """
    estimators = {c.label: c.estimator for c in candidates}
    written = {
        "name": "recommend",
        "description": f"Which estimator has the least variance × cost on {of.spec.name}?",
        "threads": threads,
        **of.common,
        "problems": [of.spec.model_dump(exclude_defaults=True) | {"factory": of.spec.factory}],
        "checkpoints": [of.checkpoint.model_dump()],
        "batch_sizes": sorted({c.batch_size for c in candidates}),
        "estimators": [
            {"name": e.declaration.name, "options": options(e)} for e in estimators.values()
        ],
        "baseline": label(candidates[0].estimator),
        "measures": dict(measures),
    }
    return FullSuite.model_validate(written)
