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
import os
import pkgutil
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from vdbench.errors import InputError, nearest, one_line
from vdbench.estimation import code, origins
from vdbench.estimation.base import Declaration, Estimator, Wrapper, default
from vdbench.problems import own
from vdbench.siblings import import_own

ENTRY_POINTS = "vdbench.estimators"
POSTERIORS = (
    "independent-normal", "sign-symmetric", "normal-preactivations", "row-shared", "any", "learned-binary",
)  # fmt: skip
"""What an estimator may declare of the posteriors it is valid for."""

_registry: dict[str, type[Estimator]] = {}
_discovered = False
_plugins: dict[Path, list[str]] = {}
_sources: dict[str, str] = {}
_modules: dict[Path, str] = {}

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
    posteriors: str | None = None,
    objective_on_convolution: str = "",
    unbiased_given_minibatch: bool = True,
) -> Callable[[E], E]:
    """Class decorator that puts an estimator into the registry with what it declares of itself.

    A `Wrapper` declares what the estimator does that it wraps: it is given a name and a version alone. A file or a
    notebook's cell that is run again replaces what it registered; a name that something else has is refused.

    Args:
        name: Name in suites and reports; lower case, words joined by ``-``.
        objective: Objective class, ``elbo`` for the expected log-likelihood under the weight-space posterior.
        unbiased: Whether the estimator's mean is that objective's gradient.
        laws: Noise laws it asks for, such as ``("normal",)``; empty if it uses no noise; ``("posterior",)`` if it
            draws the posterior's own noise, whatever that is.
        independent_examples: Whether noise of different examples is independent given the parameters.
        version: To be changed whenever the estimator's results may change.
        pure: Whether a call is a function of its arguments alone.
        posteriors: ``independent-normal`` (the default), ``sign-symmetric``, ``normal-preactivations``,
            ``row-shared``, ``any`` or ``learned-binary``: those it is valid for.
        objective_on_convolution: Objective class where several places of one example share a weight, if another.
        unbiased_given_minibatch: Whether the mean given a minibatch is the gradient of that minibatch; False where it
            is right on average over minibatches alone.

    Raises:
        InputError: The name is taken or malformed, a declaration is missing or superfluous, or the class is not a
            frozen dataclass derived from `vdbench.Estimator`.

    Example:
        >>> from dataclasses import dataclass
        >>> import vdbench
        >>> @vdbench.register("one-sample", objective="elbo", unbiased=True, laws=("posterior",),
        ...                   independent_examples=False, posteriors="any")
        ... @dataclass(frozen=True)
        ... class OneSample(vdbench.Pathwise):
        ...     def preactivation(self, layer, x, q, noise):
        ...         return layer.linear(x, q.weights(q.draw(noise, layer.name)))
        >>> vdbench.get("one-sample")
        OneSample()
    """
    declared = {
        "objective": objective,
        "unbiased": unbiased,
        "laws": None if laws is None else tuple(laws),
        "independent_examples": independent_examples,
    }

    def decorate(cls: E) -> E:
        if not getattr(cls, "__module__", "").startswith("estimators."):
            discover()  # so that vdbench's own names are taken
        where = f"estimator '{name}' ({cls.__module__}.{cls.__qualname__})"
        wraps = isinstance(cls, type) and issubclass(cls, Wrapper)
        more = {
            "pure": None if pure else pure,
            "posteriors": posteriors,
            "objective_on_convolution": objective_on_convolution or None,
            "unbiased_given_minibatch": None if unbiased_given_minibatch else False,
        }
        _check_declared(where, wraps, declared, more)
        _check_class(cls, where)
        _check_name(name, cls)
        if wraps:
            own = _default_inner(cls, where).declaration
            cls.declared = dataclasses.replace(own, name=name, version=str(version))
        else:
            kept = posteriors or POSTERIORS[0]
            cls.declared = Declaration(
                name=name,
                version=str(version),
                pure=pure,
                posteriors=kept,
                objective_on_convolution=objective_on_convolution,
                unbiased_given_minibatch=unbiased_given_minibatch,
                **declared,  # type: ignore[arg-type]
            )
        _registry[name] = cls
        origins.note(cls)
        return cls

    return decorate


def _check_declared(
    where: str, wraps: bool, declared: Mapping[str, Any], more: Mapping[str, Any]
) -> None:
    """See that an estimator declares everything, and a wrapper nothing that the inner estimator declares."""
    given = [key for key, value in declared.items() if value is not None]
    missing = [key for key in declared if key not in given]
    superfluous = [*given, *(key for key, value in more.items() if value is not None)]
    if wraps and superfluous:
        raise InputError(
            f"{where} declares {', '.join(superfluous)}, and a wrapper takes that from the estimator it wraps: "
            "leave it out."
        )
    if missing and not wraps:
        raise InputError(
            f"{where} does not declare {', '.join(missing)}: pass it to vdbench.register(...)."
        )
    posteriors = more["posteriors"]
    if posteriors is not None and posteriors not in POSTERIORS:
        raise InputError(
            f"{where} declares posteriors {posteriors!r}.{nearest(str(posteriors), POSTERIORS)}"
        )


def _default_inner(cls: type, where: str) -> Estimator:
    inner = next(default(f) for f in dataclasses.fields(cls) if f.name == "of")
    if not isinstance(inner, Estimator):
        raise InputError(
            f"{where}: the default of option 'of' must be an estimator, not {inner!r}."
        )
    return inner


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
    if taken is not None and not origins.again(taken, cls):
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


def source(name: str) -> str:
    """A hash of the code of an estimator that did not come with vdbench; '' for one that did.

    It is the SHA-256 of the plug-in file that registered it, or else a hash of its class (`vdbench.estimation.code`).
    """
    cls = _registry.get(name)
    if cls is None or cls.__module__.startswith("estimators."):
        return ""
    return _sources.get(name, "") if _of_a_file(name, cls) else code.digest(cls)


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


def load_plugin(path: Path | str, module_name: str = "") -> list[str]:
    """Run a Python file that registers estimators; run again, it replaces what it registered before.

    Args:
        path: The file.
        module_name: Of its module; one that is free by default.

    Returns:
        The names that it registered.

    Raises:
        InputError: There is no such file, it fails, or it registers nothing.
    """
    discover()
    file = Path(path).absolute()
    if file.suffix != ".py" or not file.is_file():
        raise InputError(f"plug-in '{path}': expected an existing Python file (FILE.py).")
    name = module_name or _module_name(file)
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
            f"plug-in '{path}' could not be loaded:{line} {type(error).__name__}: {one_line(error)}"
        ) from error
    added = sorted(n for n, cls in _registry.items() if before.get(n) is not cls)
    if not added:
        _forget(name, before)
        raise InputError(
            f"plug-in '{path}' registers no estimator: decorate a class with @vdbench.register(...)."
        )
    _plugins[file], _modules[file] = added, name
    own.plugins[file.stem] = module  # a suite may name a problem of this file
    _sources.update(dict.fromkeys(added, _digest(file)))
    return added


def files() -> dict[str, Path]:
    """Plug-in files that were loaded and are what they were, by the names of their modules."""
    return {
        name: file
        for file, name in _modules.items()
        if name in sys.modules
        and file.is_file()
        and {_sources.get(added) for added in _plugins[file]} == {_digest(file)}
    }


def others() -> dict[str, type[Estimator]]:
    """Estimators that came neither with vdbench nor from a plug-in file: from a notebook, say."""
    return {
        name: cls
        for name, cls in _registry.items()
        if not cls.__module__.startswith("estimators.") and not _of_a_file(name, cls)
    }


def _of_a_file(name: str, cls: type[Estimator]) -> bool:
    """Whether a class came from a plug-in file; the name may have been registered anew since."""
    origin = origins.of(cls)
    return origin is not None and any(
        name in added and origin.file == os.path.realpath(file) for file, added in _plugins.items()
    )


def add(found: Mapping[str, type[Estimator]]) -> None:
    """Register what `others` gave in another process."""
    _registry.update(found)


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


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
