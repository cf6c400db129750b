"""Networks that count their passes in Python, each in another place, and do something else after many."""

from __future__ import annotations

import itertools
import types
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from layer_kinds import Net
from refused_models import dense
from torch import Tensor, nn

LATE = 3000
"""The pass from which on outputs are halved."""

PASSES: dict[str, Any] = {"global": 0, "helper": [0]}


class Ticks:
    """An object with a counter."""

    total = 0

    def __init__(self) -> None:
        self.n = 0

    def tick(self) -> int:
        self.n += 1
        return self.n

    @property
    def next(self) -> int:
        Ticks.total += 1
        return Ticks.total


class Slots:
    __slots__ = ("n",)

    def __init__(self) -> None:
        self.n = 0


def _global(held: Any) -> int:
    PASSES["global"] += 1
    return int(PASSES["global"])


def _helped(held: Any, default: list[int] = [0]) -> int:  # noqa: B006 - the default is the counter
    default[0] += 1
    return default[0]


def _closed() -> Callable[[Any], int]:
    passes = 0

    def count(held: Any) -> int:
        nonlocal passes
        passes += 1
        return passes

    return count


def _appended(held: Any) -> int:
    held.append(1)
    return len(held)


def _first(held: Any) -> int:
    held[0] = held[0] + 1
    return int(held[0])


def _key(held: Any) -> int:
    held["a"] += 1
    return int(held["a"])


def _slot(held: Any) -> int:
    held.n += 1
    return int(held.n)


def _added(held: Any) -> int:
    held.add(object())
    return len(held)


def _lengthened(held: Any) -> int:
    held[0] += "x"
    return len(held[0])


def _rebound(held: Any) -> int:
    held[0] = (held[0][0] + 1,)
    return int(held[0][0])


COUNTERS: dict[str, tuple[Callable[[], Any], Callable[[Any], int]]] = {
    "the length of a list": (list, _appended),
    "the length of a deque": (deque, _appended),
    "the length of a set": (set, _added),
    "the length of a text": (lambda: [""], _lengthened),
    "a number in a list": (lambda: [0], _first),
    "a number in a tuple": (lambda: [(0,)], _rebound),
    "a number in an array": (lambda: np.zeros(2), _first),
    "a number in a tensor": (lambda: torch.zeros(2, dtype=torch.int64), _first),
    "a Counter": (Counter, _key),
    "an object": (Ticks, lambda held: held.tick()),
    "an object in a dict in an object": (
        lambda: types.SimpleNamespace(d={"t": Ticks()}),
        lambda held: held.d["t"].tick(),
    ),
    "a method": (lambda: Ticks().tick, lambda held: held()),
    "a partial": (lambda: partial(_appended, []), lambda held: held()),
    "slots": (Slots, _slot),
    "an attribute of a class": (Ticks, lambda held: held.next),
    "a global": (lambda: None, _global),
    "a closure": (_closed, lambda held: held(None)),
    "a default of a function": (lambda: None, _helped),
    "an iterator": (itertools.count, next),
}


def counting(name: str) -> nn.Module:
    """A network whose outputs are halved from pass `LATE` on, and which counts in a place."""
    make, count = COUNTERS[name]

    def forward(s: Any, x: Tensor) -> Tensor:
        out: Tensor = s.f(x) * (1.0 if count(s.held) < LATE else 0.5)
        return out

    return Net(forward, f=dense(), held=make())
