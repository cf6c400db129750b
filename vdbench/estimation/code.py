"""A hash of a user's code: what is stored of an estimator must not be taken for that of its code before a change.

A plug-in's file is hashed as a whole. An estimator that was registered in a notebook, a script or an imported module
has no such file of its own: its class is hashed, with the functions, classes and plain values of the user's that it
uses. Code of installed libraries is named and not hashed: their versions are recorded.
"""

from __future__ import annotations

import builtins
import functools
import hashlib
import sys
import sysconfig
import types
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...), torch.dtype, torch.device)
"""Values that are written out as they are."""

_GENERATED = "<string>"
"""The file of methods that the dataclass decorator writes."""

_INSTALLED = tuple(
    {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")} - {None}
)


def digest(cls: type) -> str:
    """A hash of a class and of the user's code that it uses; the same in every process.

    What a function finds only when it runs (an attribute of an attribute, a file, an argument) is not seen.
    """
    state = hashlib.blake2b(digest_size=16)
    for line in _told(cls, {}):
        state.update(line.encode("utf-8", "surrogatepass") + b"\n")
    return state.hexdigest()


def _told(value: Any, seen: dict[int, Any]) -> Iterator[str]:
    """What of a value changes what is computed with it, line by line."""
    if isinstance(value, PLAIN):
        yield repr(value)
        return
    if id(value) in seen:
        yield "seen"
        return
    seen[id(value)] = value  # kept, so that no other gets its number
    if isinstance(value, types.ModuleType):
        yield f"module {value.__name__}"
    elif isinstance(value, types.CodeType):
        yield from _code(value, seen)
    elif isinstance(value, staticmethod | classmethod | types.MethodType):
        yield from _told(value.__func__, seen)
    elif isinstance(value, property):
        yield from _told((value.fget, value.fset), seen)
    elif isinstance(value, functools.partial):
        yield from _told((value.func, value.args, value.keywords), seen)
    elif isinstance(value, functools.cached_property):
        yield from _told(value.func, seen)
    elif isinstance(value, types.FunctionType):
        yield from _function(value, seen)
    elif isinstance(value, type):
        yield from _class(value, seen)
    else:
        yield from _held(value, seen)


def _code(code: types.CodeType, seen: dict[int, Any]) -> Iterator[str]:
    yield code.co_code.hex()
    yield " ".join((*code.co_names, *code.co_varnames, *code.co_freevars))
    for constant in code.co_consts:
        yield from _told(constant, seen)


def _function(made: types.FunctionType, seen: dict[int, Any]) -> Iterator[str]:
    if _foreign(made.__module__):
        yield f"{made.__module__}.{made.__qualname__}"
        return
    yield made.__name__
    yield from _told(made.__code__, seen)
    for part in (made.__defaults__, made.__kwdefaults__):
        yield from _told(part, seen)
    for cell in made.__closure__ or ():
        try:
            yield from _told(cell.cell_contents, seen)
        except ValueError:  # not filled yet
            yield "empty"
    for name in sorted(_names(made.__code__)):
        if name in made.__globals__:
            yield name
            yield from _told(made.__globals__[name], seen)


def _names(code: types.CodeType) -> set[str]:
    """Names that a function looks up, those of functions within it among them."""
    inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return set(code.co_names).union(*(_names(c) for c in inner))


def _class(cls: type, seen: dict[int, Any]) -> Iterator[str]:
    own = [home for home in cls.__mro__ if not _foreign(home.__module__) or "spec" in vars(home)]
    yield f"class {cls.__name__}" if own else f"{cls.__module__}.{cls.__qualname__}"
    for home in own:
        for name, value in sorted(vars(home).items()):
            file = getattr(getattr(value, "__code__", None), "co_filename", "")
            hidden = name.startswith("__") and not isinstance(value, types.FunctionType)
            if not hidden and file != _GENERATED and name not in ("declared", "_abc_impl"):
                yield name
                yield from _told(value, seen)
    for base in cls.__mro__[1:]:
        if base not in own:
            yield f"{base.__module__}.{base.__qualname__}"


def _held(value: Any, seen: dict[int, Any]) -> Iterator[str]:
    """Containers, tensors and objects, by what they hold."""
    yield type(value).__qualname__
    if isinstance(value, Tensor):
        yield repr(value.detach().cpu().tolist())
    elif isinstance(value, dict):
        for key in sorted(value, key=repr):
            yield repr(key) if isinstance(key, PLAIN) else type(key).__qualname__
            yield from _told(value[key], seen)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _told(item, seen)
    elif isinstance(value, set | frozenset):
        yield from sorted(repr(item) if isinstance(item, PLAIN) else "" for item in value)
    elif is_dataclass(value) and not isinstance(value, type):
        for one in fields(value):
            if one.compare:
                yield one.name
                yield from _told(getattr(value, one.name), seen)
    elif hasattr(value, "tolist"):
        yield repr(value.tolist())
    elif not _foreign(type(value).__module__):
        yield from _told(type(value), seen)
        yield from _told(getattr(value, "__dict__", {}), seen)


def _foreign(module: str | None) -> bool:
    """Whether a module is Python's, vdbench's or an installed library's."""
    if not module:
        return True
    top = module.partition(".")[0]
    if top in ("vdbench", "estimators", "torch", "numpy", "builtins") or top in dir(builtins):
        return True
    if top == "__main__":
        return False
    if top in sys.stdlib_module_names:
        return True
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return file.startswith(_INSTALLED)
