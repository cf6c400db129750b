"""Bytes of the tensors that a computation holds, operation by operation, and what they are at another size.

The bytes of most tensors are a constant, plus so much an example, so much a draw, and so much an example and draw. A
computation that is followed at a few small sizes therefore says how much each of its operations holds at any size, as
long as it is the same operations: the peak is the largest of them there. No tensor of that size is made.

What an operation takes within itself, such as the work space of a convolution, is not seen.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

SIZES = (2, 4)
"""Sizes at which a computation is followed first."""

SHARES = (8, 4)
"""Parts of the size asked for at which it is followed where its operations depend on the size."""


NEAR = 0.8
"""Of what a line says at a larger size, what must be found there for it to be believed."""


class Unforeseen(Exception):
    """A computation takes less at a larger size than its course at small ones says: nothing is known of it."""


class Peak(NamedTuple):
    """Bytes of tensors, without those that were there before.

    Attributes:
        peak: The most that are held at once.
        held: What is held at the end, the results.
    """

    peak: int
    held: int


class Course(NamedTuple):
    """What was held after each operation, and at the end."""

    names: tuple[str, ...]
    live: tuple[int, ...]
    held: int

    @property
    def peak(self) -> int:
        """The most that was held at once."""
        return max(self.live, default=0)


def _tensors(value: Any) -> Iterator[Tensor]:
    """Those among arguments or results of an operation: torch's own way through them takes as long as the operation."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all tensors that operations make, until nobody holds them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now, self.live, self.names = 0, list[int](), list[str]()
        self._known: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        for tensor in _tensors((args, kwargs)):
            self._note(tensor, 0)  # what is not known by now was there before
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            self._note(tensor, 1)
        self.names.append(str(func))
        self.live.append(self.now)
        return result

    def _note(self, tensor: Tensor, times: int) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._known:
            size = times * storage.nbytes()
            self._known[key] = size
            self.now += size
            weakref.finalize(storage, self._gone, key)

    def _gone(self, key: int) -> None:
        self.now -= self._known.pop(key)


def follow(call: Callable[[], Any]) -> Course:
    """What a computation holds; its result counts until the end."""
    with _Live() as live:
        result = call()
        held = live.now
    del result
    return Course(tuple(live.names), tuple(live.live), held)


Sizes = tuple[int, ...]


def expected(
    call: Callable[[int, int], Any],
    draws: int,
    examples: int,
    together: int | None = None,
    doubted: list[int] | None = None,
) -> Peak:
    """Peak of a computation at a size, from its course at smaller ones.

    Args:
        call: Computes with so many draws and so many examples; it is called up to twelve times.
        draws: How many are meant.
        examples: How many are meant.
        together: Examples that are computed with at once, if not all: operations are the same from these on, and from
            twice as many a line is continued.
        doubted: Bytes that may be taken. A peak beyond a quarter of them is followed at a larger size, too, which by
            the line takes half of them at most; the list is emptied if that bears it out.

    Returns:
        Exact as far as bytes are linear in both numbers and the operations are the same at all sizes. Where they are
        not, the peaks at a quarter and an eighth of the size are continued in a line.

    Raises:
        Unforeseen: It was doubted, with reason: a network may pass its inputs in parts of its own.
    """
    few = SIZES if together is None or together >= examples else (together, 2 * together)
    sizes = (_smaller(draws, SIZES), _smaller(examples, few))
    found = _at(call, *sizes)
    if few is not SIZES:
        live = {at: np.array([float(course.peak)]) for at, course in found.items()}
    elif len({course.names for course in found.values()}) > 1:
        sizes = (
            _smaller(draws, tuple(max(2, draws // share) for share in SHARES)),
            _smaller(examples, tuple(max(2, examples // share) for share in SHARES)),
        )
        found = _at(call, *sizes)
        live = {at: np.array([float(course.peak)]) for at, course in found.items()}
    else:
        live = {at: np.array(course.live or (0,), dtype=float) for at, course in found.items()}
    meant = (draws, examples)
    held = _continued({at: np.array([float(c.held)]) for at, c in found.items()}, sizes, meant)
    peak = round(float(_continued(live, sizes, meant).max()))
    if doubted and peak > doubted[0] / 4:
        _look(call, live, sizes, examples, doubted[0])
        doubted.clear()
    return Peak(peak, round(float(held[0])))


def _look(
    call: Callable[[int, int], Any],
    live: Mapping[tuple[int, int], np.ndarray[Any, Any]],
    sizes: tuple[Sizes, ...],
    examples: int,
    most: int,
) -> None:
    """Follow a computation with the most examples that take half of what may be taken, by the line of few draws."""
    draws, known = sizes[0][0], sizes[1][-1]

    def said(count: int) -> float:
        return float(_continued(live, sizes, (draws, count)).max())

    size = known
    while 2 * size <= examples and said(2 * size) <= most / 2:
        size *= 2
    if size > known and follow(lambda: call(draws, size)).peak < NEAR * said(size):
        raise Unforeseen


def _smaller(size: int, few: tuple[int, ...]) -> tuple[int, ...]:
    """Two sizes below one, or that size itself where it is no larger."""
    low, high = min(few), max(few)
    return (low, high) if low < high < size else (size,)


def _at(
    call: Callable[[int, int], Any], draws: Sizes, examples: Sizes
) -> dict[tuple[int, int], Course]:
    for m in examples:  # what is done once for all is not counted
        call(draws[0], m)
    return {(d, m): follow(lambda: call(d, m)) for d in draws for m in examples}  # noqa: B023


def _continued(
    found: Mapping[tuple[int, int], np.ndarray[Any, Any]],
    sizes: tuple[Sizes, ...],
    meant: tuple[int, int],
) -> np.ndarray[Any, Any]:
    """Continued in a line along both numbers."""
    draws, examples = sizes
    by_draws = [_line(examples, [found[d, m] for m in examples], meant[1]) for d in draws]
    return _line(draws, by_draws, meant[0])


def _line(sizes: Sizes, values: list[np.ndarray[Any, Any]], meant: int) -> np.ndarray[Any, Any]:
    if len(sizes) == 1:
        return values[0]
    share = (meant - sizes[0]) / (sizes[1] - sizes[0])
    return np.asarray(values[0] + share * (values[1] - values[0]))
