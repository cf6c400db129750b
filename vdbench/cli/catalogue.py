"""What there is: estimators, suites, problems and data sets, for ``vdbench list`` and ``vdbench show``."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vdbench import datasets
from vdbench.cli import formulas
from vdbench.errors import InputError, nearest
from vdbench.estimation import registry
from vdbench.estimation.base import Estimator, Wrapper, default
from vdbench.estimation.options import get, label
from vdbench.measures.registry import load
from vdbench.problems import FACTORIES
from vdbench.suite import scales, yaml_file

Row = dict[str, Any]

AS_WRAPPED = "as wrapped"
"""What a wrapper declares: what the estimator does that it wraps."""


def estimators() -> list[Row]:
    """Name, objective, bias, options and first line of every registered estimator."""
    found = []
    for name in registry.names():
        cls = registry.find(name)
        declared, wraps = cls.declared, issubclass(cls, Wrapper)
        found.append(
            {
                "name": name,
                "objective": AS_WRAPPED if wraps else declared.objective,
                "unbiased": AS_WRAPPED if wraps else "yes" if declared.unbiased else "no",
                "options": ", ".join(_options(cls)) or "-",
                "summary": _summary(cls),
            }
        )
    return found


def suites() -> list[Row]:
    """Name, scales and description of every bundled suite."""
    return [
        {
            "name": name,
            "scales": ", ".join(scales.names(yaml_file.content(name)[1])),
            "description": load(name).description,
        }
        for name in yaml_file.names()
    ]


def problems() -> list[Row]:
    """Name and first line of every built-in problem."""
    rows = [{"name": n, "summary": _summary(make)} for n, make in FACTORIES.items()]
    return [
        *rows,
        {
            "name": "package.module:factory",
            "summary": "Your own: a function returning a vdbench.Problem.",
        },
    ]


def data() -> list[Row]:
    """Every data set, and whether it is on this machine."""
    return [dataclasses.asdict(datasets.info(name)) for name in datasets.names()]


LISTS: dict[str, Callable[[], list[Row]]] = {
    "estimators": estimators,
    "suites": suites,
    "problems": problems,
    "datasets": data,
}
"""What can be listed."""


def show(name: str) -> Row:
    """All about one thing of any kind.

    Raises:
        InputError: There is nothing of that name.
    """
    if name in registry.names():
        return _show_estimator(name)
    if name in yaml_file.names() or Path(name).suffix in (".yaml", ".yml"):
        content = load(name).model_dump(mode="json", exclude_none=True)
        return {"kind": "suite", **content, "scales": yaml_file.content(name)[1].get("scales", {})}
    if name in FACTORIES:
        return {"kind": "problem", "name": name, "about": inspect.getdoc(FACTORIES[name])}
    if name in datasets.names():
        return {"kind": "data set", **dataclasses.asdict(datasets.info(name))}
    known = [*registry.names(), *yaml_file.names(), *FACTORIES, *datasets.names()]
    raise InputError(f"show {name}: nothing has that name.{nearest(name, known)}")


def _show_estimator(name: str) -> Row:
    cls = registry.find(name)
    declares = dataclasses.asdict(cls.declared)
    declares["objective_on_convolution"] = (
        declares["objective_on_convolution"] or declares["objective"]
    )
    wraps = {}
    if issubclass(cls, Wrapper):
        declares = {key: _own(cls, key, value) for key, value in declares.items()}
        wraps = {"wraps": [other for other in registry.names() if _can_wrap(cls, other)]}
    return {
        "kind": "estimator",
        "name": name,
        "declares": declares,
        "options": _options(cls) or ["none"],
        **wraps,
        "about": inspect.getdoc(cls),
    }


def _own(cls: type[Wrapper], key: str, value: Any) -> Any:
    """What a wrapper declares by itself: its name and version, and what it changes of the estimator it wraps."""
    if key in ("name", "version"):
        return value
    made = cls.declared.name and get(cls.declared.name)
    assert isinstance(made, Wrapper)
    mine, inner = (getattr(d, key) for d in (made.declaration, made.of.declaration))
    return AS_WRAPPED if mine == inner else mine


def _can_wrap(cls: type[Wrapper], name: str) -> bool:
    try:
        cls(of=get(name))
    except InputError:
        return False
    return True


def _options(cls: type[Estimator]) -> list[str]:
    named = [f for f in dataclasses.fields(cls) if f.name != cls.open_options]  # type: ignore[arg-type]
    more = [f"{cls.open_options.removesuffix('s').upper()}=estimator"] if cls.open_options else []
    return [*(f"{f.name}={_text(default(f))}" for f in named), *more]


def _text(value: Any) -> str:
    return label(value) if isinstance(value, Estimator) else repr(value)


def _summary(thing: object) -> str:
    return (inspect.getdoc(thing) or "").split("\n")[0]


def text(shown: Row) -> str:
    """What `show` found, for a reader: YAML, and the docstring with its formulas in letters of a terminal."""
    import yaml

    about = formulas.plain(str(shown.get("about") or ""))
    rest = {key: value for key, value in shown.items() if key != "about"}
    plain = yaml.safe_dump(_plain(rest), sort_keys=False, allow_unicode=True).rstrip()
    return f"{plain}\n\n{about}" if about else plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
