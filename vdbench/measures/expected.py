"""What memory a cell is expected to take before it is measured: a few small draws are followed, the rest is arithmetic.

Counted are tensors: activations, noise, buffers and gradients of the largest call, and what is prepared for all calls.
What a process has before its first cell (libraries, data set, parameters) comes on top, and so does what libraries take
within an operation.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vdbench.errors import CellError
from vdbench.estimation.draws import call, gather, inject, takes_together, together
from vdbench.estimation.products import Drawn, why_formed
from vdbench.measures import live_bytes, product_moments, unit_sums
from vdbench.measures.context import Context
from vdbench.measures.live_bytes import Peak
from vdbench.measures.unit_sums import Limits
from vdbench.noise import Noise, Recorder, Request, Stream, stream
from vdbench.problems.problem import Batch
from vdbench.suite.schema import Suite

SHARE = 0.9
"""Of a machine's memory that a cell may take, where its suite does not say how much."""

SLACK = 1.5
"""How much more may be taken than tensors hold, by allocator and libraries: calls are made smaller for it."""


class Expected(NamedTuple):
    """What a cell is expected to take.

    Attributes:
        bytes: At its peak, above what its process has before.
        parts: What that is made of, in words, with bytes.
        limits: How its calls are made smaller so that it fits.
    """

    bytes: int
    parts: Mapping[str, int]
    limits: Limits = Limits()


def may_take(suite: Suite) -> int:
    """Bytes that a cell may take beyond what its process has before."""
    if suite.memory is not None:
        return int(suite.memory * 2**30)
    return int(SHARE * machine())


def machine() -> int:
    """Bytes of the machine's memory; of the part that this process may use, where a control group says so."""
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            text = Path("/sys/fs/cgroup", name).read_text().strip()
        except OSError:
            continue
        if text.isdecimal():
            found = min(found, int(text))
    return found


def in_words(size: int) -> str:
    """Bytes as people read them."""
    if size < 2**30:
        return f"{size / 2**20:.3g} MiB" if size >= 2**20 else "under 1 MiB"
    return f"{size / 2**30:.3g} GiB"


def refuse(found: Expected, limit: int, asked: bool) -> None:
    """See that a cell fits.

    Args:
        found: What it is expected to take.
        limit: What it may take.
        asked: Whether the suite says so.

    Raises:
        CellError: It does not.
    """
    if found.bytes <= limit:
        return
    parts = ", ".join(f"{what} {in_words(size)}" for what, size in found.parts.items())
    whose = "the suite's memory" if asked else f"{SHARE:.0%} of the machine's memory"
    raise CellError(
        f"not begun: it is expected to take {in_words(found.bytes)} of memory ({parts}), and may take "
        f"{in_words(limit)}, {whose}; expected a smaller minibatch or network, another estimator, or more memory."
    )


# -- draws ------------------------------------------------------------------------------------------------------


def gradient(context: Context) -> Peak:
    """One gradient, its minibatch and its noise among what it holds."""

    def one(draws: int, examples: int) -> object:
        batch = _first(context, examples)
        noise = stream(context.key / "memory", context.problem.device, context.problem.dtype)
        return batch, _call(context, batch, noise)

    return _once(
        context, "gradient", lambda: live_bytes.expected(one, 1, *_size(context), doubted(context))
    )


def one(context: Context) -> Expected:
    """One gradient."""
    found = gradient(context)
    return Expected(found.peak, {"one draw": found.peak, "of this the gradient": found.held})


def averages(context: Context, count: int) -> Expected:
    """Four averages of gradients in each of so many units, their products, and a draw in each."""
    found = gradient(context)
    held, drawn = 6 * count * found.held, count * found.peak
    return Expected(held + drawn, {"averages": held, f"{count} draws at once": drawn})


def training(context: Context, evaluation: Peak, copies: int) -> Expected:
    """A training.

    Args:
        context: With the parameters that it begins with.
        evaluation: What it takes to judge parameters.
        copies: How often all numbers of the parameters are held, as parameters, slopes and moments.
    """
    sizes = [value.numel() * value.element_size() for value in context.parameters.values()]
    held, drawn = copies * sum(sizes), gradient(context).peak
    return Expected(
        held + max(drawn, evaluation.peak),
        {"parameters": held, "one draw": drawn, "evaluation": evaluation.peak},
    )


def doubt(context: Context, limit: int) -> None:
    """Have what is expected beyond a limit looked at once more, at a larger size."""
    context.shared.pop("expected", None)
    context.shared["doubted"] = [limit]


def doubted(context: Context) -> list[int] | None:
    """What `doubt` said, for `vdbench.measures.live_bytes.expected`."""
    found: list[int] | None = context.shared.get("doubted")
    return found


def numbers(context: Context) -> int:
    """Numbers of noise in one draw."""

    def count() -> Peak:
        sizes = [min(_examples(context), size) for size in live_bytes.SIZES]
        found = [_asked(context, size) for size in sizes]
        slope = 0 if sizes[0] == sizes[1] else (found[1] - found[0]) / (sizes[1] - sizes[0])
        return Peak(round(found[0] + slope * (_examples(context) - sizes[0])), 0)

    return _once(context, "numbers", count).peak


def draws_together(context: Context) -> int:
    """Draws of one vectorised call, as `vdbench.estimation.draws.trace` will find them."""
    if context.together is not None:
        return context.together
    noise = numbers(context)
    if not takes_together(context.estimator, context.problem, bool(noise)):
        return 0
    inputs = context.problem.data.train.inputs[0].numel()
    about = (context.estimator, context.problem, context.parameters, noise)
    return together(*about, _examples(context), inputs)


def _asked(context: Context, examples: int) -> int:
    recorder = Recorder(
        Stream(context.key / "memory", context.problem.device, context.problem.dtype)
    )
    _call(context, _first(context, examples), Noise(recorder))
    return sum(int(np.prod(request.shape)) for request in recorder.requests)


def _call(context: Context, batch: Batch, noise: Noise) -> object:
    key = context.key / "memory"
    return call(
        context.estimator, context.problem, context.parameters, batch, noise, key, context.state
    )


def _first(context: Context, examples: int) -> Batch:
    return gather(context.problem, np.arange(examples))


def _examples(context: Context) -> int:
    return context.examples or context.batch_size


def _size(context: Context) -> tuple[int, int | None]:
    """Examples of a minibatch, and how many the estimator passes at once, if not all."""
    return _examples(context), context.estimator.examples_together(context.problem)


def _once(context: Context, what: str, find: Callable[[], Peak]) -> Peak:
    """Found once for a place and an estimator."""
    known: dict[tuple[str, int], Peak] = context.shared.setdefault("expected", {})
    at = (what, _examples(context))
    if at not in known:
        known[at] = find()
    return known[at]


# -- units of the variance measure ------------------------------------------------------------------------------


@dataclass
class _Small:
    """The same place with minibatches of other sizes, each traced once."""

    context: Context

    def __post_init__(self) -> None:
        self._made: dict[int, Context] = {}

    def at(self, examples: int) -> Context:
        """With so many examples."""
        if examples not in self._made:
            self._made[examples] = replace(
                self.context, batch_size=examples, examples=None, together=0
            )
        return self._made[examples]

    def units(self, places: int, examples: int) -> tuple[Context, Batch, dict[Request, Tensor]]:
        """Minibatches of some places, and the noise of their draws, (places, D, …)."""
        context = self.at(examples)
        keys = [context.key / "memory" / place for place in range(places)]
        batches = context.batches(keys)
        each = 2 if context.traced.requests else 1
        every = [key / draw for key in keys for draw in range(each)]
        problem = context.problem
        drawn = inject(context.traced.requests, every, problem.device, problem.dtype)
        return (
            context,
            batches,
            {r: v.view(places, each, *v.shape[1:]) for r, v in drawn.items()},
        )


def units(context: Context, limit: int) -> Expected:
    """Units of the variance measure, in the largest calls that fit.

    Args:
        context: Where; nothing is computed on minibatches of its size.
        limit: Bytes that may be taken. If not even one unit at a time fits, what that takes is returned.
    """
    small, one = _Small(context), _one_by_one(context)
    count = draws_together(context)
    ways: list[Callable[[], Expected]] = []
    if not why_formed(context.estimator, context.problem, context.parameters):
        # four draws at once hold no more than four alone, and share some of it
        trial = 4 * gradient(context).peak if count else one.bytes
        products = _Products(context, small, trial)
        ways = products.ways()
    if count:
        ways += [partial(_together, context, small, some) for some in _halves(count // 4)]
    for way in ways:
        found = way()
        if found.bytes * SLACK <= limit:
            return found
    if not ways:
        return one
    why = f"more at a time would not fit into {in_words(limit)} of memory"
    return one._replace(limits=Limits(1, 1, why))


def _halves(count: int) -> list[int]:
    """A number of units, and fewer and fewer of them."""
    found = [max(1, count)]
    while found[-1] > 1:
        found.append(found[-1] // 2)
    return found


def _one_by_one(context: Context) -> Expected:
    """Four gradients are held, and the one that was returned last."""
    peak, gradient_ = gradient(context).peak, gradient(context).held
    sizes = [value.numel() * value.element_size() for value in context.parameters.values()]
    looked_at = 4 * max(sizes, default=0)
    return Expected(
        4 * gradient_ + max(peak, gradient_ + looked_at),
        {"four gradients": 4 * gradient_, "one draw": max(peak, gradient_ + looked_at)},
    )


def _together(context: Context, small: _Small, count: int) -> Expected:
    def draw(units_: int, examples: int) -> object:
        at, batches, noise = small.units(2 * units_, examples)
        return unit_sums.gradients(at, batches, noise), batches, noise

    found = live_bytes.expected(draw, count, *_size(context), doubted(context))
    return Expected(
        found.peak,
        {f"{4 * count} draws at once": found.peak, "of these gradients": found.held},
        Limits(units=count),
    )


class _Products:
    """Units whose gradients are never whole."""

    def __init__(self, context: Context, small: _Small, trial: int) -> None:
        self._context, self._small, self._trial = context, small, trial
        self._numbers = numbers(context)
        self._way = unit_sums.prepared(small.at(min(2, _examples(context))))
        made = live_bytes.follow(lambda: unit_sums.prepared(small.at(min(2, _examples(context)))))
        self._prepared = made.held
        self._drawn = self._draw(2, min(2, _examples(context)))[0]
        self._found: dict[int, Peak] = {}

    def ways(self) -> list[Callable[[], Expected]]:
        """As caches have it, then with fewer units a call, and then with one minibatch at a time."""
        most = unit_sums.units_of_products(self._context, self._numbers)
        places = unit_sums.places_of_products(self._context, self._numbers)
        each = [partial(self.expected, some, min(places, 2 * some)) for some in _halves(most)]
        return [*each, partial(self.expected, 1, 1)]

    def expected(self, units_: int, places: int) -> Expected:
        """For so many units a call, and minibatches at a time."""
        item = torch.empty((), dtype=self._context.problem.dtype).element_size()
        whole, noise = self._peak(2 * units_), 4 * units_ * item * self._numbers
        drawn = whole.held - noise
        # parts are held, and then joined
        parts = noise + max(drawn + self._peak(places).peak, 2 * drawn)
        made = parts if places < 2 * units_ else whole.peak
        examples = _examples(self._context)
        room = product_moments.room(self._drawn, self._way.layers, units_, examples)
        # the trial has gradients beside the noise and the buffers of products
        trial = 4 * item * self._numbers + self._trial
        largest = room + max(made, whole.held, trial)
        return Expected(
            self._prepared + largest,
            {
                f"{4 * units_} draws at once": made, "buffers": room, "laws of the weights": self._prepared,
                "a trial with gradients": trial,
            },
            Limits(units_, places),
        )  # fmt: skip

    def _peak(self, places: int) -> Peak:
        if places not in self._found:
            self._found[places] = live_bytes.expected(
                self._draw, places, _examples(self._context), doubted=doubted(self._context)
            )
        return self._found[places]

    def _draw(self, places: int, examples: int) -> tuple[Drawn, object, object]:
        _, batches, noise = self._small.units(places, examples)
        assert self._way.products is not None
        return self._way.products.draw(batches, noise), batches, noise
