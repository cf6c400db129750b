"""A suite as it is written: bundled suites by name, files, and mappings."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from vdbench.errors import InputError, nearest


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
