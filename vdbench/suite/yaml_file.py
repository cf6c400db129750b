"""A suite as it is written: bundled suites by name, files, and mappings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vdbench import limits
from vdbench.errors import InputError, nearest, shown
from vdbench.suite.yaml_text import YamlError, parse


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
        limits.check("suite", source)
        return "suite", {key: _apart(value) for key, value in source.items()}
    name = shown(str(source))[1:-1]
    try:
        content = parse(_text(source, name))
    except YamlError as error:
        line = f" line {error.line}:" if error.line else ""
        what = "" if error.refused else " is not valid YAML"
        raise InputError(f"suite '{name}'{what}:{line} {error.problem}.") from error
    if not isinstance(content, dict):
        raise InputError(
            f"suite '{name}': expected keys and values, found {type(content).__name__}."
        )
    limits.check(f"suite '{name}'", content)
    return f"suite '{name}'", _apart(content)


def _text(source: str | Path, name: str) -> str:
    """What a file says, or a bundled suite."""
    path = Path(source)
    try:
        if path.suffix not in (".yaml", ".yml") and not path.is_file():
            path = _folder() / f"{source}.yaml"
            if not path.is_file():
                raise InputError(
                    f"suite '{name}' is neither a bundled suite nor a file.{nearest(str(source), names())}"
                )
        most = limits.limits().bytes
        with open(path, "rb") as file:
            read = file.read(most + 1)  # no more of an endless one
        if len(read) > most:
            limits.within(f"suite '{name}'", "bytes", max(path.stat().st_size, most + 1), most)
        return read.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"suite '{name}' is not valid YAML: it is not UTF-8 text.") from error
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        said = getattr(error, "strerror", None) or "its name is that of no file"
        raise InputError(f"suite '{name}' cannot be read: {said}.") from error


def _apart(value: Any) -> Any:
    """The same without parts in common, which YAML's anchors make: a change at one place is none at another."""
    if isinstance(value, dict):
        return {key: _apart(item) for key, item in value.items()}
    return [_apart(item) for item in value] if isinstance(value, list) else value
