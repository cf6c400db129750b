"""What an estimator is handed and must leave as it is: parameters, data, network, and the state of the process.

A guard takes a picture when a place is opened, and compares it with what there is before anything is stored. An
estimator that writes into what it is handed would change the figures of all that are measured after it, and its own.
"""

from __future__ import annotations

import builtins
import hashlib
import operator
import os
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vdbench.errors import CellError
from vdbench.problems.problem import Problem

_SMALL = 2**20
"""Bytes up to which every byte is hashed."""

_ROW = 1024
"""Words of a row of the sums that are hashed of anything larger."""


class Setting(NamedTuple):
    """A state of the process that figures depend on.

    Attributes:
        name: In words.
        get: Its value now.
        put: Makes it what it was.
    """

    name: str
    get: Callable[[], Any]
    put: Callable[[Any], Any]


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""


def _numpy() -> Any:
    kind, keys, *rest = np.random.get_state()
    return (str(kind), np.asarray(keys).tobytes(), *rest)


def _numpy_back(state: Any) -> None:
    kind, keys, *rest = state
    np.random.set_state((kind, np.frombuffer(keys, np.uint32), *rest))


THREADS = "torch's number of threads"

SETTINGS = (
    Setting("torch's default type", torch.get_default_dtype, torch.set_default_dtype),
    Setting("whether torch takes gradients", torch.is_grad_enabled, torch._C._set_grad_enabled),
    Setting(THREADS, torch.get_num_threads, torch.set_num_threads),
    Setting(
        "torch's deterministic algorithms",
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    Setting("the default device of torch", torch.get_default_device, torch.set_default_device),
    Setting(
        "torch's precision of float32 products",
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
    Setting(
        "torch's global random numbers",
        lambda: torch.get_rng_state().numpy().tobytes(),
        lambda state: torch.set_rng_state(torch.frombuffer(bytearray(state), dtype=torch.uint8)),
    ),
    Setting("numpy's global random numbers", _numpy, _numpy_back),
    Setting("Python's global random numbers", random.getstate, random.setstate),
    Setting("the current folder", _folder, os.chdir),
)
"""What is looked at of the process."""


class Guard:
    """A picture of what must stay as it is."""

    def __init__(self, problem: Problem, parameters: Mapping[str, Tensor]) -> None:
        """Take the picture.

        Args:
            problem: Its data, its network and its own parameters.
            parameters: At which gradients are taken.
        """
        self._problem, self._parameters = problem, parameters
        self._before = dict(self._digests())
        self._homes = [_Home.at(where, home) for where, home in _homes()]
        self._settings: dict[str, Any] = {}
        self.settle()

    def settle(self) -> None:
        """Take the state of this process for what it must be: a fork seeds Python's random numbers anew."""
        self._settings = {setting.name: setting.get() for setting in SETTINGS}

    def use(self, threads: int) -> None:
        """From now on so many threads of torch are right: a job has them of its own."""
        self._settings[THREADS] = threads

    def check(self) -> None:
        """See that all is as it was.

        Raises:
            CellError: It is not; names what was changed.
        """
        changed = self.changed()
        if changed:
            raise CellError(
                f"the estimator changed {changed}; expected that it leaves parameters, data, network and the state of "
                "the process as they are."
            )

    def changed(self) -> str:
        """What is not as it was, in words; '' if all is."""
        now = dict(self._digests())
        for name in [*self._before, *now]:
            if self._before.get(name) != now.get(name):
                return name
        for setting in SETTINGS:
            if setting.get() != self._settings[setting.name]:
                return setting.name
        found = next(self._replaced(), None) or next(self._hiding(), None)
        return "" if found is None else f"{found.where}.{found.name}"

    def _replaced(self) -> Iterator[_Code]:
        """Functions that are not what they were; parts of torch that are used late replace some by their own."""
        for home in self._homes:
            now = vars(home.home)
            if all(map(operator.is_, map(now.get, home.names), home.values)):
                continue
            for name, value in zip(home.names, home.values, strict=True):
                if now.get(name) is not value and not home.own(now.get(name)):
                    yield _Code(home.where, home.home, name, value)

    def _hiding(self) -> Iterator[_Code]:
        """New names that hide a method of a class above, or a function of Python's own."""
        for where, home, before, *_ in self._homes:
            now = vars(home)
            if now.keys() <= before:
                continue
            for name in now.keys() - before:
                above = home.__mro__[1:] if isinstance(home, type) else (builtins,)
                if callable(now[name]) and any(name in vars(one) for one in above):
                    yield _Code(where, home, name, now[name])

    def restore(self) -> None:
        """Make the state of the process, and the code, what it was."""
        for one in list(self._replaced()):
            setattr(one.home, one.name, one.value)
        for one in list(self._hiding()):
            delattr(one.home, one.name)
        for setting in SETTINGS:
            if setting.get() != self._settings[setting.name]:
                setting.put(self._settings[setting.name])

    def _digests(self) -> Iterator[tuple[str, Any]]:
        problem = self._problem
        for name, value in self._parameters.items():
            yield f"parameter '{name}'", _digest(value)
        for name, value in problem.start.items():
            yield f"the initial value of parameter '{name}'", _digest(value)
        data = problem.data
        for part, split in (("training", data.train), ("test", data.test)):
            yield f"the {part} data's inputs", _digest(split.inputs)
            yield f"the {part} data's targets", _digest(split.targets)
        for name, tensor in (*problem.module.named_parameters(), *problem.module.named_buffers()):
            yield f"'{name}' of the network", _digest(tensor)
        for name, part_ in problem.module.named_modules():
            yield f"layer '{name}' of the network" if name else "the network", _of_module(part_)


def _of_module(part: nn.Module) -> tuple[Any, ...]:
    """What of a layer changes its outputs, besides its tensors; its plain attributes as they are written."""
    hooks = [len(v) for k, v in vars(part).items() if k.endswith("_hooks") and isinstance(v, dict)]
    plain = [
        (k, v) for k, v in vars(part).items() if isinstance(v, bool | int | float | str | tuple)
    ]
    return id(type(part)), id(vars(part).get("forward")), tuple(hooks), repr(plain)


def _digest(value: Tensor) -> Any:
    """A hash of a tensor's type, shape and bytes; of one that is large, of the sums of its rows and columns.

    How often torch has written into it belongs to that: what is written may be what was there before.
    """
    writes = None if value.is_inference() else value._version
    value = value.detach()
    about = (writes, str(value.dtype), tuple(value.shape))
    if not value.numel():
        return about
    if value.is_sparse or value.is_quantized:
        return about
    plain = value.resolve_conj().resolve_neg().contiguous().view(-1).view(torch.uint8)
    if plain.numel() <= _SMALL:
        return (*about, _hash(plain))
    words = plain[: plain.numel() // (8 * _ROW) * 8 * _ROW].view(torch.int64).view(-1, _ROW)
    rest = plain[words.numel() * 8 :]
    return (*about, _hash(words.sum(0)), _hash(words.sum(1)), _hash(rest))


def _hash(value: Tensor) -> str:
    return hashlib.blake2b(value.cpu().numpy().tobytes(), digest_size=16).hexdigest()


# -- code -------------------------------------------------------------------------------------------------------

_LIBRARIES = (
    "builtins", "math", "numpy", "numpy.random", "torch", "torch.autograd", "torch.func",
    "torch.nn.functional", "torch.random", "torch.special",
)  # fmt: skip
_TORCH = os.path.dirname(torch.__file__) + os.sep
_CLASSES = (Tensor, nn.Module, torch.Generator)


class _Code(NamedTuple):
    """A function that figures are computed with: where it is, its name, and what it is."""

    where: str
    home: Any
    name: str
    value: Any


class _Home(NamedTuple):
    """A module or class: all of its names, and the functions among them, compared without a line of Python for each."""

    where: str
    home: Any
    before: frozenset[str]
    names: tuple[str, ...]
    values: tuple[Any, ...]

    @staticmethod
    def at(where: str, home: Any) -> _Home:
        """As it is now."""
        code = {
            name: value
            for name, value in list(vars(home).items())
            if callable(value) or isinstance(value, property | staticmethod | classmethod)
        }
        return _Home(where, home, frozenset(vars(home)), tuple(code), tuple(code.values()))

    def own(self, value: Any) -> bool:
        """Whether what is here now is torch's own, in a place of a library's."""
        file = getattr(getattr(value, "__code__", None), "co_filename", "")
        of_libraries = self.where in _LIBRARIES or self.where.startswith("torch.")
        return of_libraries and file.startswith(_TORCH)


def _homes() -> Iterator[tuple[str, Any]]:
    for name in [n for n in sys.modules if n in _LIBRARIES or n.startswith("vdbench.")]:
        module = sys.modules[name]
        if module is None:
            continue
        yield name, module
        for value in list(vars(module).values()):
            if isinstance(value, type) and value.__module__ == name and name not in _LIBRARIES:
                yield f"{name}.{value.__name__}", value
    for one in _CLASSES:
        yield f"{one.__module__}.{one.__name__}", one
