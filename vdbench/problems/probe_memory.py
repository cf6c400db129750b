"""Whether a network or a likelihood counts its passes: numbers in Python that each pass changes, put forward.

Buffers and parameters are seen by `vdbench.problems.probe_state`. Here is what Python holds: attributes, lists and
dicts, objects in them, closures, globals that functions read, attributes of classes and of functions.
"""

from __future__ import annotations

import functools
import itertools
import re
import sys
import types
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vdbench.errors import InputError
from vdbench.problems.probe import same

AHEAD = (10, 1_000, 100_000, 10_000_000)
"""By how many passes what is counted is put forward."""

LONGEST = 100_000
"""Entries by which a list is made longer at most."""

AGAIN = 24
"""Plain further passes of a network that counts: what it does every so many passes shows."""

MOST = 20_000
"""Objects that are looked at, at most."""

ELEMENTS = 200
"""Elements of a list that are looked at; its length always is."""

OWN = frozenset(vars(nn.Module()))
LIBRARIES = frozenset({"torch", "torchvision", "numpy", "scipy", "pandas", "sklearn", "vdbench"})


class Place(NamedTuple):
    """Where a value stands.

    Attributes:
        name: For messages.
        get: Gives the value: a number, a tensor, an array, an iterator, or a list whose length is meant.
        put: Puts another there.
    """

    name: str
    get: Callable[[], Any]
    put: Callable[[Any], None]


def uncounted(
    name: str,
    what: str,
    held: list[tuple[str, Any]],
    again: Callable[[], Tensor],
    rounding: torch.dtype,
) -> None:
    """Refuse what depends on how often it was called, such as a warm-up.

    What a pass changes is put forward as many passes would, and the outputs must stay. Counters for a log pass.

    Args:
        name: The problem's.
        what: What is asked, ``the module`` or ``the likelihood``.
        held: Where to look, by name.
        again: One pass, with the same inputs.
        rounding: The type by which outputs are compared.

    Raises:
        InputError: The outputs change.
    """
    before = {key: _kept(place.get()) for key, place in places(held)}
    want = again()
    counted = [
        (place, before[key], _kept(place.get()))
        for key, place in places(held)
        if key in before and not _equal(before[key], place.get())
    ]
    if not counted:
        return

    def stays() -> bool:
        try:
            return same(again(), want, rounding)
        except InputError:
            return False

    named = " and ".join(dict.fromkeys(f"'{place.name}'" for place, _, _ in counted[:3]))
    try:
        steady = all(stays() for _ in range(AGAIN))
        for passes in AHEAD if steady else ():
            for place, then, now in counted:
                _forward(place, then, now, passes)
            steady = steady and stays()
    finally:
        for place, _, now in counted:
            _back(place, now)
    if not steady:
        raise InputError(
            f"problem '{name}': each pass changes {named} of {what}, and what it gives after more passes is another, "
            "so that a draw would depend on the draws before it; call module.eval() first, or fix that number."
        )


# -- where values stand ---------------------------------------------------------------------------------------


def places(held: list[tuple[str, Any]]) -> Iterator[tuple[tuple[int, Any], Place]]:
    """The values that can be reached from some objects, by the identity of what holds each, and its key there."""
    seen: set[int] = set()
    stack = list(reversed(held))
    while stack and len(seen) < MOST:
        path, value = stack.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        for key, place in _inside(path, value):
            try:
                inner = place.get()
            except Exception:  # an empty cell of a closure
                continue
            if _is_value(inner):
                yield (id(value), key), place
            if isinstance(inner, list | deque | dict | set) and key != "__dict__":
                yield (id(inner), "its length"), _fixed(place.name, inner)
            if _is_looked_into(inner):
                stack.append((place.name, inner))


def _is_value(value: Any) -> bool:
    if isinstance(value, Tensor):
        usual = value.layout == torch.strided and not value.is_meta and value.dtype != torch.bool
        return usual and not isinstance(value, nn.Parameter)
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "iuf"
    return _is_number(value) or isinstance(value, itertools.count | str)


def _is_number(value: Any) -> bool:
    if isinstance(value, tuple):
        return 0 < len(value) <= ELEMENTS and all(map(_is_number, value))
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _is_looked_into(value: Any) -> bool:
    """Whether something is of the user's own: a container, or an object, function or class of no known library."""
    if isinstance(value, list | tuple | dict | set | deque | functools.partial | types.MethodType):
        return True
    if isinstance(value, nn.Module):
        return True
    if isinstance(value, types.FunctionType):
        return not _known(value.__module__)
    if isinstance(value, type):
        return not _known(value.__module__)
    held = hasattr(value, "__dict__") or hasattr(type(value), "__slots__")
    return held and not _known(type(value).__module__)


def _known(home: str | None) -> bool:
    root = (home or "").partition(".")[0]
    if root in LIBRARIES or not root:
        return True
    return root in sys.stdlib_module_names and root != "types"


def _inside(path: str, value: Any) -> Iterator[tuple[Any, Place]]:
    """What an object holds, each with its key."""
    if isinstance(value, dict):
        for key in list(value):
            yield key, _item(f"{path}[{key!r}]", value, key)
    elif isinstance(value, list | tuple | deque):
        for number in range(min(len(value), ELEMENTS)):
            yield number, _item(f"{path}[{number}]", value, number)
    elif isinstance(value, types.FunctionType):
        yield from _of_function(path, value)
    elif isinstance(value, types.MethodType):
        yield "self", _fixed(path, value.__self__)
        yield "function", _fixed(path, value.__func__)
    elif isinstance(value, functools.partial):
        for number, part in enumerate((value.func, value.args, value.keywords)):
            yield number, _fixed(path, part)
    elif isinstance(value, type):
        yield from _attributes(value.__name__, value)
    else:
        yield from _attributes(path, value)
        if isinstance(value, nn.Module):
            for name, child in value.named_children():
                yield name, _fixed(f"{path}.{name}".lstrip("."), child)
            for hooks in (value._forward_hooks, value._forward_pre_hooks):
                yield id(hooks), _fixed(path, hooks)
        for kind in type(value).__mro__:
            if not _known(kind.__module__):
                yield kind, _fixed(kind.__name__, kind)


def _attributes(path: str, value: Any) -> Iterator[tuple[Any, Place]]:
    """Attributes of an object or class; of a property or a static method, its function."""
    module = isinstance(value, nn.Module)
    for key, found in list(getattr(value, "__dict__", {}).items()):
        name = f"{path}.{key}".lstrip(".")
        if isinstance(found, types.MemberDescriptorType):
            continue
        if isinstance(found, property | staticmethod | classmethod | functools.cached_property):
            for leaf in ("fget", "__func__", "func"):
                if hasattr(found, leaf):
                    yield key, _fixed(name, getattr(found, leaf))
        elif not (module and key in OWN) and (key == "__call__" or not key.startswith("__")):
            yield key, _attribute(name, value, key)
    for kind in () if isinstance(value, type) else type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for key in (slots,) if isinstance(slots, str) else tuple(slots):
            if not key.startswith("__"):
                yield key, _attribute(f"{path}.{key}".lstrip("."), value, key)


def _of_function(path: str, value: types.FunctionType) -> Iterator[tuple[Any, Place]]:
    """What a function reads from elsewhere: its closure, globals that it names, its defaults and attributes."""
    for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
        yield ("closure", name), _attribute(name, cell, "cell_contents")
    there, named = value.__globals__, sorted(_named(value.__code__))
    for name in named:
        if name not in there:
            continue
        yield ("global", name), _item(name, there, name)
        if isinstance(there[name], types.ModuleType) and not _known(there[name].__name__):
            home = vars(there[name])
            for other in set(named) & set(home):
                yield ("global", name, other), _item(f"{name}.{other}", home, other)
    for part in (value.__defaults__, value.__kwdefaults__, value.__dict__):
        yield id(part), _fixed(path, part or ())


def _named(code: types.CodeType) -> set[str]:
    inner = (part for part in code.co_consts if isinstance(part, types.CodeType))
    return set(code.co_names).union(*map(_named, inner))


def _item(name: str, held: Any, key: Any) -> Place:
    return Place(
        name, functools.partial(held.__getitem__, key), functools.partial(_set_item, held, key)
    )


def _set_item(held: Any, key: Any, new: Any) -> None:
    held[key] = new


def _attribute(name: str, held: Any, key: str) -> Place:
    return Place(name, functools.partial(getattr, held, key), functools.partial(setattr, held, key))


def _fixed(name: str, value: Any) -> Place:
    """A place where nothing else can be put; it is looked into."""
    return Place(name, functools.partial(_same_value, value), _same_value)


def _same_value(value: Any) -> Any:
    return value


# -- values ---------------------------------------------------------------------------------------------------


def _kept(value: Any) -> Any:
    """A value as it is now, whatever becomes of it; the length of what grows."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, list | deque | dict | set | str):
        return len(value)
    return _count(value) if isinstance(value, itertools.count) else value


def _count(value: itertools.count[Any]) -> int | float:
    """Where a counter stands, without moving it."""
    found = re.match(r"count\(([^,)]+)", repr(value))
    return float(found[1]) if found else 0


def _equal(before: Any, value: Any) -> bool:
    now = _kept(value)
    if isinstance(before, Tensor | np.ndarray):
        if type(now) is not type(before) or now.shape != before.shape:
            return True  # of another shape: no counter
        mine, its = torch.as_tensor(now), torch.as_tensor(before)
        return bool(((mine == its) | (mine != mine)).all())
    return type(now) is not type(before) or bool(now == before) or bool(now != now)


def _forward(place: Place, then: Any, now: Any, passes: int) -> None:
    """Put a value as far as many passes would; what grows gets more of its last entry."""
    value = place.get()
    if isinstance(value, Tensor | np.ndarray):
        _write(place, value, now + passes * (now - then))
    elif isinstance(value, itertools.count):
        place.put(itertools.count(int(now + passes * (now - then))))
    elif isinstance(value, list | deque | dict | set | str):
        _grow(place, value, min(passes * max(0, now - then), LONGEST))
    else:
        place.put(_further(then, now, passes))


def _further(then: Any, now: Any, passes: int) -> Any:
    if isinstance(now, tuple):
        return tuple(map(_further, then, now, [passes] * len(now)))
    try:
        return type(now)(now + passes * (now - then))
    except (ValueError, OverflowError):  # an enumeration
        return now


def _grow(place: Place, value: Any, more: int) -> None:
    if isinstance(value, str):
        place.put(value + value[-1:] * more)
    elif isinstance(value, dict):
        last = next(reversed(value.values()), None)
        value.update((Added(), last) for _ in range(more))
    elif isinstance(value, set):
        value.update(Added() for _ in range(more))
    else:
        value.extend([value[-1]] * more if len(value) else [])


class Added:
    """A key of an entry that was added."""


def _back(place: Place, now: Any) -> None:
    value = place.get()
    if isinstance(value, Tensor | np.ndarray):
        _write(place, value, now)
    elif isinstance(value, itertools.count):
        place.put(itertools.count(int(now)))
    elif isinstance(value, str):
        place.put(value[:now])
    elif isinstance(value, dict | set):
        for key in [key for key in value if isinstance(key, Added)]:
            value.pop(key) if isinstance(value, dict) else value.discard(key)
    elif isinstance(value, list | deque):
        while len(value) > now:
            value.pop()
    else:
        place.put(now)


def _write(place: Place, value: Any, new: Any) -> None:
    if isinstance(value, Tensor) and not value.requires_grad:
        value.copy_(new)
    elif isinstance(value, np.ndarray):
        value[...] = new
    else:
        place.put(new)
