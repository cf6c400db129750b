"""The registry of estimators: how they get in, how they are found, and how one is made from options.

Three ways in: the `register` decorator, installed packages with an entry point in the group
``vdbench.estimators``, and a file given with ``--plugin``. The built-in estimators come through the same
decorator, from the package ``estimators``, which is imported here and nowhere else.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import pkgutil
import sys
import traceback
import typing
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pydantic

from vdbench.errors import InputError, nearest
from vdbench.estimator import Declaration, Estimator

ENTRY_POINTS = "vdbench.estimators"

_registry: dict[str, type[Estimator]] = {}
_discovered = False
_plugins: dict[Path, list[str]] = {}
_sources: dict[str, str] = {}

E = TypeVar("E", bound=type[Estimator])


def register(
    name: str,
    *,
    objective: str | None = None,
    unbiased: bool | None = None,
    laws: Sequence[str] | None = None,
    independent_examples: bool | None = None,
    version: str = "1",
    pure: bool = True,
) -> Callable[[E], E]:
    """Class decorator that puts an estimator into the registry with what it declares of itself.

    Args:
        name: Name in suites and reports; lower case, words joined by ``-``.
        objective: Objective class, ``elbo`` for the expected log-likelihood under the weight-space posterior.
        unbiased: Whether the estimator's mean is that objective's gradient.
        laws: Noise laws it asks for, such as ``("normal",)``; empty if it uses no noise.
        independent_examples: Whether noise of different examples is independent given the parameters.
        version: To be changed whenever the estimator's figures may change.
        pure: Whether a call is a function of its arguments alone.

    Raises:
        InputError: The name is taken or malformed, a declaration is missing, or the class is not a frozen
            dataclass derived from `vdbench.Estimator`.
    """

    def decorate(cls: E) -> E:
        declared = {
            "objective": objective,
            "unbiased": unbiased,
            "laws": laws,
            "independent_examples": independent_examples,
        }
        missing = [key for key, value in declared.items() if value is None]
        where = f"estimator '{name}' ({cls.__module__}.{cls.__qualname__})"
        if missing:
            raise InputError(
                f"{where} does not declare {', '.join(missing)}: pass it to vdbench.register(...)."
            )
        _check_class(cls, where)
        _check_name(name, cls)
        assert objective is not None
        assert unbiased is not None
        assert laws is not None
        assert independent_examples is not None
        cls.declaration = Declaration(
            name, objective, unbiased, tuple(laws), independent_examples, str(version), pure
        )
        _registry[name] = cls
        return cls

    return decorate


def _check_class(cls: type, where: str) -> None:
    if not (isinstance(cls, type) and issubclass(cls, Estimator)):
        raise InputError(f"{where} must derive from vdbench.Estimator or vdbench.Pathwise.")
    params = getattr(cls, "__dataclass_params__", None)
    if "__dataclass_fields__" not in vars(cls) or params is None or not params.frozen:
        raise InputError(
            f"{where} must be a frozen dataclass: put @dataclass(frozen=True) below @vdbench.register(...)."
        )
    absent = sorted(getattr(cls, "__abstractmethods__", ()))
    if absent:
        raise InputError(f"{where} does not define {', '.join(absent)}.")
    required = [
        f.name
        for f in dataclasses.fields(cls)  # type: ignore[arg-type]
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if required:
        raise InputError(f"{where}: option {required[0]} needs a default value.")


def _check_name(name: str, cls: type) -> None:
    if not name or name != name.lower() or not all(c.isalnum() or c == "-" for c in name):
        raise InputError(
            f"estimator name '{name}' must be lower-case letters, digits and '-', such as 'my-estimator'."
        )
    taken = _registry.get(name)
    if taken is not None:
        raise InputError(
            f"estimator name '{name}' is taken by {taken.__module__}.{taken.__qualname__}; "
            f"{cls.__module__}.{cls.__qualname__} needs another."
        )


def names() -> list[str]:
    """Names of all registered estimators, sorted."""
    discover()
    return sorted(_registry)


def find(name: str) -> type[Estimator]:
    """The class registered under a name.

    Raises:
        InputError: There is none; names the nearest.
    """
    discover()
    if name not in _registry:
        raise InputError(f"estimator '{name}' is unknown.{nearest(name, _registry)}")
    return _registry[name]


def get(name: str, **options: Any) -> Estimator:
    """An estimator by name, with its options set.

    Raises:
        InputError: The name or an option is unknown, or a value has the wrong type or is out of range.

    Example:
        >>> get("score", samples=2)
        Score(samples=2, baseline='none')
    """
    cls = find(name)
    known = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for option in options:
        if option not in known:
            hint = nearest(option, known) if known else " It has none."
            raise InputError(f"estimator '{name}' has no option '{option}'.{hint}")
    hints = typing.get_type_hints(cls)
    for option, value in options.items():
        try:
            pydantic.TypeAdapter(hints[option]).validate_python(value, strict=True)
        except pydantic.ValidationError as error:
            message = _lower(error.errors()[0]["msg"])
            raise InputError(
                f"estimator '{name}', option {option}: {message}, not {value!r}."
            ) from error
    try:
        return cls(**options)
    except (TypeError, ValueError) as error:  # a check in the class's own __post_init__
        raise InputError(f"estimator '{name}': {_message(error)}.") from error


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def options(estimator: Estimator) -> dict[str, Any]:
    """The estimator's options that differ from their defaults."""
    return {
        f.name: getattr(estimator, f.name)
        for f in dataclasses.fields(estimator)  # type: ignore[arg-type]
        if getattr(estimator, f.name) != _default(f)
    }


def _default(item: dataclasses.Field[Any]) -> Any:
    made = item.default_factory
    return item.default if made is dataclasses.MISSING else made()


def canonical(values: Any) -> str:
    """JSON with sorted keys and no spare blanks: the same text for the same options."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"))


def label(estimator: Estimator) -> str:
    """How reports call it: ``name``, or ``name(option=value, …)`` with its non-default options."""
    chosen = options(estimator)
    name = estimator.declaration.name
    return f"{name}({', '.join(f'{k}={v}' for k, v in sorted(chosen.items()))})" if chosen else name


def discover() -> None:
    """Import the built-in estimators, then those of installed packages; once."""
    global _discovered
    if _discovered:
        return
    door = import_own("estimators")
    _discovered = True
    for module in pkgutil.iter_modules(door.__path__):
        importlib.import_module(f"estimators.{module.name}")
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        before = dict(_registry)
        try:
            entry.load()
        except (Exception, SystemExit) as error:
            _registry.clear()
            _registry.update(before)
            warnings.warn(
                f"the installed plug-in '{entry.name}' ({entry.value}) could not be loaded and is left out: "
                f"{type(error).__name__}: {error}",
                stacklevel=2,
            )


def import_own(name: str) -> Any:
    """Import ``estimators``, ``suites`` or ``reports`` and make sure that it is vdbench's own.

    Raises:
        InputError: A folder or file of the user's with that name is found first.
    """
    own = Path(__file__).resolve().parent.parent / name / "__init__.py"
    spec = importlib.util.find_spec(name)  # finds, and does not run what it finds
    if spec is not None and (spec.origin is None or Path(spec.origin).resolve() != own):
        origin = Path(spec.origin or next(iter(spec.submodule_search_locations or ["?"])))
        place = origin.parent if origin.name == "__init__.py" else origin
        raise InputError(
            f"a folder or file named '{name}' at {place} hides vdbench's own package of that name: "
            "rename it, or run vdbench from another folder."
        )
    return importlib.import_module(name)


def load_plugin(path: Path | str) -> list[str]:
    """Run a Python file that registers estimators; run again, it replaces what it registered before.

    Returns:
        The names that it registered.

    Raises:
        InputError: There is no such file, it fails, or it registers nothing.
    """
    discover()
    file = Path(path).absolute()
    if file.suffix != ".py" or not file.is_file():
        raise InputError(f"plug-in '{path}': expected an existing Python file (FILE.py).")
    name = _module_name(file)
    before = dict(_registry)
    for old in _plugins.get(file, ()):
        _registry.pop(old, None)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except InputError as error:
        _forget(name, before)
        raise InputError(f"plug-in '{path}': {error}") from error
    except (Exception, SystemExit) as error:
        _forget(name, before)
        line = _line(error, file)
        raise InputError(
            f"plug-in '{path}' could not be loaded:{line} {type(error).__name__}: {_message(error)}"
        ) from error
    added = sorted(n for n, cls in _registry.items() if before.get(n) is not cls)
    if not added:
        _forget(name, before)
        raise InputError(
            f"plug-in '{path}' registers no estimator: decorate a class with @vdbench.register(...)."
        )
    _plugins[file] = added
    content = hashlib.sha256(file.read_bytes()).hexdigest()
    _sources.update(dict.fromkeys(added, content))
    return added


def identity(estimator: Estimator) -> list[Any]:
    """What names an estimator in the address of a block: name, options, version, and a plug-in file's SHA-256.

    A plug-in is being written: its figures are measured anew whenever the file has changed.
    """
    declared = estimator.declaration
    source = _sources.get(declared.name)
    return [declared.name, options(estimator), declared.version, *([source] if source else [])]


def _module_name(file: Path) -> str:
    """A name of the file's own in sys.modules, where its classes look their annotations up."""
    name = f"vdbench_plugin_{file.stem}"
    if name in sys.modules:
        name += f"_{sum(other.startswith(name) for other in sys.modules)}"
    return name


def _forget(name: str, before: dict[str, type[Estimator]]) -> None:
    sys.modules.pop(name, None)
    _registry.clear()
    _registry.update(before)


def _line(error: BaseException, file: Path) -> str:
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return f" line {error.lineno}:"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(file)]
    return f" line {frames[-1].lineno}:" if frames else ""


def _message(error: BaseException) -> str:
    """What an error says, on one line."""
    return " ".join(str(error).split())
