"""Changes to a suite as it is written: a value put at a dotted key, as ``--set key=value`` asks for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from vdbench.errors import InputError, shown
from vdbench.limits import DEPTH
from vdbench.suite.yaml_text import YamlError, parse


def change(content: dict[str, Any], setting: str) -> None:
    """Make the change that a ``key=value`` of the command line asks for, in place.

    Raises:
        InputError: It is not of that form, or there is no such place.
    """
    key, value = parted(setting)
    put(content, key, value, _said(setting))


def parted(setting: str) -> tuple[str, Any]:
    """The key and the value of a ``key=value``.

    Raises:
        InputError: It is not of that form, or the value is not YAML.
    """
    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise InputError(f"{_said(setting)}: expected key=value, such as seed=1.")
    try:
        return key, parse(text)
    except YamlError as error:
        why = error.problem if error.refused else "the value is not valid YAML"
        raise InputError(f"{_said(setting)}: {why}.") from error


def _said(setting: str) -> str:
    """How messages call a change."""
    return f"--set {shown(setting)[1:-1]}"


def put(content: dict[str, Any], key: str, value: Any, said: str) -> None:
    """Put a value at a dotted key of a suite, in place.

    Args:
        content: The suite.
        key: Keys, and numbers of items of lists, with dots between them.
        value: What to put there.
        said: What asks for it, for messages.

    Raises:
        InputError: There is no such place.
    """
    *path, last = key.split(".")
    if len(path) >= DEPTH:
        raise InputError(f"{said}: more than {DEPTH} keys within each other.")
    place: Any = content
    for part in path:
        place = _below(place, part, said)
    if isinstance(place, list):
        _below(place, last, said)
        place[int(last)] = value
    elif isinstance(place, dict):
        place[last] = value
    else:
        raise InputError(f"{said}: there is no {shown(last)} below {shown('.'.join(path))}.")


def factories(settings: Sequence[str]) -> list[str]:
    """The factories that changes name: whoever writes one on the command line has named its code."""
    found: list[str] = []
    for setting in settings:
        key, value = parted(setting)
        _collect(value, key.rpartition(".")[2], found)
    return found


def _collect(value: Any, key: str, found: list[str]) -> None:
    if key == "factory" and isinstance(value, str):
        found.append(value)
    if isinstance(value, dict):
        for inner, item in value.items():
            _collect(item, str(inner), found)
    if isinstance(value, list):
        for item in value:
            _collect(item, "", found)


def _below(place: Any, part: str, said: str) -> Any:
    """One step down a suite: a key, made if it is not there, or the number of a list's item."""
    if isinstance(place, dict):
        return place.setdefault(part, {})
    if isinstance(place, list) and _number(part) < len(place):
        return place[int(part)]
    if isinstance(place, list):
        numbers = f"0 to {len(place) - 1}" if place else "none, for it is empty"
        raise InputError(f"{said}: {shown(part)} is no item of the list; expected {numbers}.")
    raise InputError(f"{said}: there is no {shown(part)} below a plain value.")


def _number(part: str) -> float:
    """The number of an item; beyond every list where it is none."""
    return int(part) if part.isascii() and part.isdigit() and len(part) < 10 else math.inf
