"""An estimator from its name and options, and back: made, written out as in a suite, labelled, identified."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Mapping
from typing import Any

import pydantic

from vdbench.errors import InputError, nearest, one_line, shown
from vdbench.estimation import registry
from vdbench.estimation.base import Estimator, default


def get(name: str, /, **options: Any) -> Estimator:
    """An estimator by name, with its options set.

    An option that is an estimator, such as a wrapper's ``of``, is given as one, as a name, or as a suite writes it:
    a mapping with the keys ``name`` and ``options``.

    Args:
        name: A registered name; ``vdbench list estimators`` prints them.
        options: Of the estimator; those left out have their defaults.

    Raises:
        InputError: The name or an option is unknown, or a value has the wrong type or is out of range.

    Example:
        >>> import vdbench
        >>> vdbench.get("score", samples=2)
        Score(samples=2, baseline='none', decay=0.9, pilot=1024)
        >>> vdbench.get("samples", of="local", samples=4)
        Samples(of=Local(), samples=4)
    """
    cls = registry.find(name)
    known = [f.name for f in dataclasses.fields(cls) if f.name != cls.open_options]  # type: ignore[arg-type]
    others = [option for option in options if option not in known]
    for option in others:
        if not cls.open_options:
            hint = nearest(option, known) if known else " It has none."
            raise InputError(f"estimator '{name}' has no option '{option}'.{hint}")
    hints = typing.get_type_hints(cls)
    checked = {
        option: _checked(f"estimator '{name}', option {option}", hints[option], value)
        for option, value in options.items()
        if option in known
    }
    if others:
        where = f"estimator '{name}', option "
        inner = [(option, _inner(where + option, options[option])) for option in sorted(others)]
        checked[cls.open_options] = tuple(inner)
    try:
        return cls(**checked)
    except (TypeError, ValueError) as error:  # a check in the class's own __post_init__
        raise InputError(f"estimator '{name}': {one_line(error)}.") from error


def _checked(where: str, hint: Any, value: Any) -> Any:
    """An option's value, an estimator made of its name if it is to be one."""
    if isinstance(hint, type) and issubclass(hint, Estimator):
        return _inner(where, value)
    try:
        pydantic.TypeAdapter(hint).validate_python(value, strict=True)
    except pydantic.ValidationError as error:
        message = _lower(error.errors()[0]["msg"])
        raise InputError(f"{where}: {message}, not {shown(value)}.") from error
    return value


def _inner(where: str, value: Any) -> Estimator:
    """The estimator meant by an estimator, a name, or a mapping with the keys ``name`` and ``options``."""
    if isinstance(value, Estimator):
        return value
    spec = {"name": value} if isinstance(value, str) else value
    if not isinstance(spec, Mapping) or not isinstance(spec.get("name"), str):
        raise InputError(
            f"{where}: expected an estimator's name, or a mapping with the keys name and options, not {shown(value)}."
        )
    for key in spec:
        if key not in ("name", "options"):
            raise InputError(
                f"{where}: unknown key '{key}'.{nearest(str(key), ('name', 'options'))}"
            )
    given = spec.get("options", {})
    if not isinstance(given, Mapping):
        raise InputError(f"{where}: expected a mapping under options, not {shown(given)}.")
    try:
        return get(spec["name"], **{str(key): item for key, item in given.items()})
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def options(estimator: Estimator) -> dict[str, Any]:
    """The options that differ from their defaults, and every wrapped estimator, as a suite writes it in full.

    Example:
        >>> options(get("samples", of="local", samples=4))
        {'of': {'name': 'local', 'options': {}}, 'samples': 4}
    """
    return {name: _spec(value) for name, value in _chosen(estimator).items()}


def _spec(value: Any) -> Any:
    if isinstance(value, Estimator):
        return {"name": value.declaration.name, "options": options(value)}
    return value


def _chosen(estimator: Estimator) -> dict[str, Any]:
    """The options that distinguish an estimator: those not at their default, and what it is made of, default or not."""
    fields = dataclasses.fields(estimator)  # type: ignore[arg-type]
    values = {f.name: getattr(estimator, f.name) for f in fields}
    chosen = {
        f.name: values[f.name]
        for f in fields
        if values[f.name] != default(f) or isinstance(values[f.name], Estimator)
    }
    chosen.pop(estimator.open_options, None)
    return {**chosen, **dict(values.get(estimator.open_options, ()))}


def within(estimator: Estimator) -> list[Estimator]:
    """The estimators among the options of one."""
    return [value for value in _chosen(estimator).values() if isinstance(value, Estimator)]


def canonical(values: Any) -> str:
    """JSON with sorted keys and no spare blanks: the same text for the same options."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"))


def label(estimator: Estimator) -> str:
    """How reports call it: ``name``, or ``name(option=value, …)`` with its non-default options.

    What it wraps comes first, by its own label.

    Example:
        >>> label(get("samples", of=get("antithetic", of="local"), samples=2))
        'samples(antithetic(local), samples=2)'
    """
    chosen = _chosen(estimator)
    parts = [label(chosen.pop("of"))] if isinstance(chosen.get("of"), Estimator) else []
    for key, value in sorted(chosen.items()):
        parts.append(f"{key}={label(value) if isinstance(value, Estimator) else value}")
    name = estimator.declaration.name
    return f"{name}({', '.join(parts)})" if parts else name


def identity(estimator: Estimator) -> list[Any]:
    """What names an estimator in the address of a block: name, options, version, and a plug-in file's SHA-256.

    A plug-in is being written: its results are measured anew whenever the file has changed. Of a wrapped estimator
    all of this counts too.
    """
    declared = estimator.declaration
    source = registry.source(declared.name)
    chosen = {
        name: identity(value) if isinstance(value, Estimator) else value
        for name, value in _chosen(estimator).items()
    }
    return [declared.name, chosen, declared.version, *([source] if source else [])]
