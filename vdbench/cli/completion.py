"""Names that a shell completes: found without torch, in a fraction of a second."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable
from pathlib import Path

from vdbench.siblings import import_own

REGISTERED = re.compile(r"@(?:\w+\.)?register\(\s*[\"']([a-z0-9-]+)[\"']")


def suites(incomplete: str) -> list[str]:
    """Bundled suites and YAML files that begin so."""
    bundled = (file.stem for file in _folder("suites").glob("*.yaml"))
    return _beginning(incomplete, bundled) + _files(incomplete, (".yaml", ".yml"))


def estimators(incomplete: str) -> list[str]:
    """Estimators that come with vdbench and begin so, by what their files register."""
    files = _folder("estimators").glob("*.py")
    found = (name for file in files for name in REGISTERED.findall(file.read_text("utf-8")))
    return _beginning(incomplete, found)


def subjects(incomplete: str) -> list[str]:
    """What ``vdbench check`` takes: estimators and Python files."""
    return estimators(incomplete) + _files(incomplete, (".py",))


def shown(incomplete: str) -> list[str]:
    """What ``vdbench show`` knows and begins so, of suites and estimators."""
    return sorted(suites(incomplete) + estimators(incomplete))


def lists(incomplete: str) -> list[str]:
    """What ``vdbench list`` can list."""
    return _beginning(incomplete, ("estimators", "suites", "problems", "datasets"))


def devices(incomplete: str) -> list[str]:
    """Devices."""
    return _beginning(incomplete, ("cpu", "cuda", "auto"))


def _files(incomplete: str, endings: tuple[str, ...]) -> list[str]:
    """Files of a kind whose path begins so, and folders on the way to others."""
    found = []
    for path in glob.glob(f"{glob.escape(incomplete)}*"):
        if os.path.isdir(path):
            found.append(f"{path}/")
        elif path.endswith(endings):
            found.append(path)
    return sorted(found)


def _folder(name: str) -> Path:
    return Path(import_own(name).__file__).parent


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return sorted({name for name in names if name.startswith(incomplete)})
