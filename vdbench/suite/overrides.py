"""Changes to a suite as it is written: a value put at a dotted key, as ``--set key=value`` asks for it."""

from __future__ import annotations

from typing import Any

import yaml

from vdbench.errors import InputError


def change(content: dict[str, Any], setting: str) -> None:
    """Make the change that a ``key=value`` of the command line asks for, in place.

    Raises:
        InputError: It is not of that form, or there is no such place.
    """
    key, value = parted(setting)
    put(content, key, value, f"--set {setting}")


def parted(setting: str) -> tuple[str, Any]:
    """The key and the value of a ``key=value``.

    Raises:
        InputError: It is not of that form, or the value is not YAML.
    """
    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise InputError(f"--set {setting}: expected key=value, such as seed=1.")
    try:
        return key, yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"--set {setting}: the value is not valid YAML.") from error


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
    place: Any = content
    for part in path:
        place = _below(place, part, said)
    if isinstance(place, list):
        _below(place, last, said)
        place[int(last)] = value
    elif isinstance(place, dict):
        place[last] = value
    else:
        raise InputError(f"{said}: there is no '{last}' below '{'.'.join(path)}'.")


def _below(place: Any, part: str, said: str) -> Any:
    """One step down a suite: a key, made if it is not there, or the number of a list's item."""
    if isinstance(place, dict):
        return place.setdefault(part, {})
    if isinstance(place, list) and part.isdigit() and int(part) < len(place):
        return place[int(part)]
    if isinstance(place, list):
        numbers = f"0 to {len(place) - 1}"
        raise InputError(f"{said}: '{part}' is no item of the list; expected {numbers}.")
    raise InputError(f"{said}: there is no '{part}' below a plain value.")
