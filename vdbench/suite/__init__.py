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

from vdbench import limits
from vdbench.errors import InputError, nearest, sentence, shown
from vdbench.suite.scales import changed
from vdbench.suite.schema import ProblemSpec, Suite
from vdbench.suite.short_forms import short_forms
from vdbench.suite.yaml_file import content


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
    try:
        return _loaded(source, settings, model)
    except InputError as error:
        raise InputError(sentence(str(error))) from error


def _loaded(
    source: str | Path | Mapping[str, Any], settings: Sequence[str], model: type[Suite]
) -> Suite:
    from vdbench.suite.validation import check

    where, written = content(source)
    written = changed(where, written, settings)
    limits.check(where, written)
    full = short_forms(where, written)
    limits.check(where, full)
    try:
        suite = model.model_validate(full)
    except pydantic.ValidationError as error:
        raise InputError(f"{where}: {explain(error, model)}") from error
    check(where, suite)
    return suite


def explain(error: pydantic.ValidationError, model: type[BaseModel] = Suite) -> str:
    """One sentence for the first thing that is wrong, with the nearest valid key where one is unknown."""
    # a mistyped key is also a missing one: name the mistype first
    first = min(error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden")
    place = [str(part) for part in first["loc"]]
    at = ".".join(place)
    if first["type"] == "extra_forbidden":
        known = _keys(model, first["loc"][:-1])
        above = f" in {'.'.join(place[:-1])}" if place[:-1] else ""
        return f"unknown key '{place[-1]}'{above}.{nearest(place[-1], known)}"
    if first["type"] == "missing":
        return f"key '{at}' is missing."
    message = first["msg"][:1].lower() + first["msg"][1:]
    return f"{at}: {message}, not {shown(first['input'])}."


WRITTEN_OUT = ("group", "axis", "x")
"""Keys of a problem that a ``sweep`` writes out; nobody needs to be told of them."""

SHORT: dict[type[BaseModel], tuple[str, ...]] = {ProblemSpec: ("sweep",)}
"""Keys that may be written, and are written out before a suite has its form."""


def _keys(model: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    """The valid keys of the model at a path below another."""
    for part in path:
        if isinstance(part, str) and part in model.model_fields:
            found = _models(model.model_fields[part].annotation)
            if not found:
                return []
            model = found[0]
    return [
        *(name for name in model.model_fields if name not in WRITTEN_OUT),
        *SHORT.get(model, ()),
    ]


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    inner = getattr(annotation, "__args__", ())
    return list(itertools.chain.from_iterable(_models(a) for a in inner))
