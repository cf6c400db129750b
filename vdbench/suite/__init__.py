"""Suites: what is run, declared in YAML, and nothing about how.

A suite is validated before anything is measured: unknown keys are refused with the nearest valid one, every name is
looked up, every option checked. The resolved suite is written to ``run.json``.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic
from pydantic import BaseModel

from vdbench.errors import InputError, nearest
from vdbench.suite.scales import changed
from vdbench.suite.schema import CheckpointSpec, EstimatorSpec, MeasuresSpec, Suite
from vdbench.suite.yaml_file import content, short_forms


def load(
    source: str | Path | Mapping[str, Any],
    settings: Sequence[str] = (),
    model: type[Suite] = Suite,
) -> Suite:
    """Load and validate a suite: its form, its names and their options.

    `vdbench.measures.registry.load` sees in addition that what it asks for can be measured.

    Args:
        source: Name of a bundled suite, path of a YAML file, or the suite as a mapping.
        settings: ``key=value`` changes, such as ``measures.variance.max_units=256`` or ``batch_sizes=[16,64]``;
            values are YAML. ``scale=small`` makes the changes that the suite gives for that scale, before all others.
        model: `Suite`, or one that has the options of further measures.

    Raises:
        InputError: The suite cannot be found or read, or is not valid; one sentence says where and why.
    """
    where, written = content(source)
    written = changed(where, written, settings)
    try:
        suite = model.model_validate(short_forms(where, written))
    except pydantic.ValidationError as error:
        raise InputError(f"{where}: {explain(error, model)}") from error
    return _check(where, suite)


def explain(error: pydantic.ValidationError, model: type[BaseModel] = Suite) -> str:
    """One sentence for the first thing that is wrong, with the nearest valid key where one is unknown."""
    # a mistyped key is also a missing one: name the mistype first
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    place = [str(part) for part in first["loc"]]
    at = ".".join(place)
    if first["type"] == "extra_forbidden":
        known = _keys(model, first["loc"][:-1])
        above = f" in {'.'.join(place[:-1])}" if place[:-1] else ""
        return f"unknown key '{place[-1]}'{above}.{nearest(place[-1], known)}"
    if first["type"] == "missing":
        return f"key '{at}' is missing."
    message = first["msg"][:1].lower() + first["msg"][1:]
    return f"{at}: {message}, not {first['input']!r}."


def _keys(model: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    """The valid keys of the model at a path below another."""
    for part in path:
        if isinstance(part, str) and part in model.model_fields:
            found = _models(model.model_fields[part].annotation)
            if not found:
                return []
            model = found[0]
    return list(model.model_fields)


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    inner = getattr(annotation, "__args__", ())
    return list(itertools.chain.from_iterable(_models(a) for a in inner))


def _check(where: str, suite: Suite) -> Suite:
    """Look up every name and check every option, before anything is measured."""
    from vdbench.estimation import registry
    from vdbench.suite.training_recipe import check as check_training

    repeated = _repeated([p.name for p in suite.problems])
    if repeated:
        raise InputError(f"{where}: two problems are called '{repeated}'.")
    repeated = _repeated(suite.batch_sizes)
    if repeated:
        raise InputError(f"{where}: batch size {repeated} is given twice.")
    try:
        labels = [registry.label(e) for spec in suite.estimators for e in expand(spec)]
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
    if suite.baseline not in labels:
        raise InputError(
            f"{where}: baseline '{suite.baseline}' is none of the suite's estimators."
            f"{nearest(suite.baseline, labels)}"
        )
    check_training(where, suite, labels)
    if all(value is None for _, value in suite.measures):
        raise InputError(f"{where}: measures is empty.{nearest('', MeasuresSpec.model_fields)}")
    return suite


def _repeated(values: Sequence[Any]) -> Any:
    return next((v for i, v in enumerate(values) if v in values[:i]), None)


def expand(spec: EstimatorSpec) -> list[Any]:
    """The estimators that a specification stands for: one for each combination of listed option values.

    Raises:
        InputError: The name or an option is not one there is.
    """
    from vdbench.estimation import registry

    combinations = _combinations(spec.options)
    if not combinations:
        raise InputError(f"estimator '{spec.name}': an option's list of values is empty.")
    return [registry.get(spec.name, **options) for options in combinations]


def _combinations(grid: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every mapping that one with lists in it stands for; a mapping within, as a wrapper's ``of``, is a grid too."""
    values = {key: value if isinstance(value, list) else [value] for key, value in grid.items()}
    each = [
        [
            one
            for item in items
            for one in (_combinations(item) if isinstance(item, Mapping) else [item])
        ]
        for items in values.values()
    ]
    return [dict(zip(grid, chosen, strict=True)) for chosen in itertools.product(*each)]


def single(spec: EstimatorSpec) -> Any:
    """The one estimator that a specification stands for.

    Raises:
        InputError: It stands for several, or is not valid.
    """
    found = expand(spec)
    if len(found) > 1:
        raise InputError(
            f"estimator '{spec.name}': one is needed here, the options give {len(found)}."
        )
    return found[0]


def checkpoint_name(spec: CheckpointSpec) -> str:
    """The name given, else ``initial`` or ``local-5-epochs``."""
    from vdbench.estimation import registry

    if spec.name:
        return spec.name
    if spec.epochs == 0:
        return "initial"
    return f"{registry.label(single(spec.estimator))}-{spec.epochs}-epochs"
