"""A suite as it is written: YAML, short forms, and changes from the command line."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from vdbench.errors import InputError, nearest
from vdbench.suite.sweeps import spread


def names() -> list[str]:
    """Names of the bundled suites."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def _folder() -> Path:
    from vdbench.siblings import import_own

    return Path(import_own("suites").__file__).parent


def content(source: str | Path | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """What a suite's source says, and how messages call it.

    Raises:
        InputError: It cannot be found or read, or is no YAML mapping.
    """
    if isinstance(source, Mapping):
        return "suite", copy.deepcopy(dict(source))
    path = Path(source)
    if path.suffix not in (".yaml", ".yml") and not path.is_file():
        path = _folder() / f"{source}.yaml"
        if not path.is_file():
            raise InputError(
                f"suite '{source}' is neither a bundled suite nor a file.{nearest(str(source), names())}"
            )
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise InputError(f"suite '{source}' cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        problem = getattr(error, "problem", None) or "it is not UTF-8 text"
        raise InputError(f"suite '{source}' is not valid YAML:{line} {problem}.") from error
    if not isinstance(content, dict):
        raise InputError(
            f"suite '{source}': expected keys and values, found {type(content).__name__}."
        )
    return f"suite '{source}'", _apart(content)


def _apart(value: Any) -> Any:
    """The same without parts in common, which YAML's anchors make: a change at one place is none at another."""
    if isinstance(value, dict):
        return {key: _apart(item) for key, item in value.items()}
    return [_apart(item) for item in value] if isinstance(value, list) else value


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key given twice, of which YAML keeps the last and says nothing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue  # << takes over another mapping's keys, which may be given again
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key '{key}' is given twice", problem_mark=key_node.start_mark
                )
            if isinstance(key, str):
                seen.add(key)
        return super().construct_mapping(node, deep)


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


def _exact(where: str, full: dict[str, Any]) -> list[Any]:
    """Published figures, those that are computed written out; estimators that are not valid are refused elsewhere."""
    items: list[Any] = full["published"]
    if not any(isinstance(item, dict) and "exact" in item for item in items):
        return items
    from vdbench.suite import exact_variances, expand
    from vdbench.suite.schema import EstimatorSpec

    try:
        known = [e for spec in full["estimators"] for e in expand(EstimatorSpec(**spec))]
    except (InputError, KeyError, TypeError, ValueError):
        return [item for item in items if not (isinstance(item, dict) and "exact" in item)]
    return exact_variances.published(where, items, full.get("problems") or [], known)


def short_forms(where: str, content: dict[str, Any]) -> dict[str, Any]:
    """Write out what may be written short.

    Estimators as a name, the checkpoint ``initial``, a measure as {}, and problems that differ in one key
    (`vdbench.suite.sweeps`).
    """
    full = dict(content)
    if isinstance(full.get("problems"), list):
        full["problems"] = spread(where, full["problems"])
    for key in ("estimators", "checkpoints"):
        if isinstance(full.get(key), list):
            full[key] = [_long(where, key, item) for item in full[key]]
    if "reference" in full:
        full["reference"] = _long(where, "reference", full["reference"])
    if isinstance(full.get("published"), list):
        full["published"] = _exact(where, full)
    measures = full.get("measures")
    if isinstance(measures, dict):
        asked = {k: v for k, v in measures.items() if v is not False}
        full["measures"] = {k: {} if v is None or v is True else v for k, v in asked.items()}
    return full


def _long(where: str, key: str, item: Any) -> Any:
    if key == "checkpoints":
        if item == "initial":
            return {}
        if isinstance(item, str):
            raise InputError(f"{where}: checkpoint '{item}' is unknown. Did you mean 'initial'?")
        if isinstance(item, dict) and isinstance(item.get("estimator"), str):
            return {**item, "estimator": {"name": item["estimator"]}}
        return item
    return {"name": item} if isinstance(item, str) else item
