"""Seconds per gradient: every estimator of a group timed in turn, alone on the device, in one pass.

Warm-up comes first and apart; then rounds, each of which times one sample of every estimator in an order of its
own, so that a machine that slows down slows all of them. A sample repeats the call until it lasts long enough
for the clock. On a GPU a sample lies between two device events; on a CPU between two readings of the
performance counter. One call is one minibatch's gradient as a training step would ask for it: one at a time,
noise drawn inside.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from vdbench.estimation.draws import call
from vdbench.measures.context import Context
from vdbench.noise import stream
from vdbench.store import Table

VERSION = "1"
"""Changes whenever the meaning of a row changes; part of every block's address."""


@dataclass(frozen=True)
class Timer:
    """How a sample is taken.

    Attributes:
        rounds: Samples of every estimator.
        least_rounds: Rounds that are taken even when the budget is spent.
        sample_seconds: A sample repeats its call until it lasts about this long.
        budget_seconds: No further round is begun after so many seconds.
    """

    rounds: int = 30
    least_rounds: int = 8
    sample_seconds: float = 0.02
    budget_seconds: float = 60.0


def rows(contexts: Sequence[Context], timer: Timer) -> Table:
    """Time a group of estimators.

    Returns:
        Columns ``estimator`` (label), ``round``, ``seconds`` (per gradient) and ``calls`` (per sample).
    """
    calls = [gradient_call(context) for context in contexts]
    repeats = [
        _calibrate(one, context, timer) for one, context in zip(calls, contexts, strict=True)
    ]
    found: list[tuple[str, int, float, int]] = []
    began = time.perf_counter()
    for round_ in range(timer.rounds):
        if round_ >= timer.least_rounds and time.perf_counter() - began > timer.budget_seconds:
            break
        seed = (contexts[0].key / "order" / round_).seed()
        for place in np.random.Generator(np.random.PCG64(seed)).permutation(len(contexts)):
            seconds = sample(calls[place], repeats[place], contexts[place].problem.device)
            found.append((contexts[place].label, round_, seconds, repeats[place]))
    columns = list(zip(*found, strict=True))
    return {
        "estimator": np.array(columns[0], dtype=object),
        "round": np.array(columns[1], dtype=np.int64),
        "seconds": np.array(columns[2], dtype=np.float64),
        "calls": np.array(columns[3], dtype=np.int64),
    }


def gradient_call(context: Context) -> Callable[[], object]:
    """One gradient on a fixed minibatch, with fresh noise at each call."""
    batch = context.batch(context.key / "throughput")
    device, dtype = context.problem.device, context.problem.dtype
    count = iter(range(2**62))

    def one() -> object:
        key = context.key / "throughput" / next(count)
        noise = stream(key, device, dtype)
        return call(
            context.estimator, context.problem, context.parameters, batch, noise, key, context.state
        )

    return one


def sample(one: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Seconds per call over ``repeats`` calls in a row."""
    if device.type == "cuda":
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        torch.cuda.synchronize(device)
        begin.record()
        for _ in range(repeats):
            one()
        end.record()
        torch.cuda.synchronize(device)
        return float(begin.elapsed_time(end)) / 1e3 / repeats
    began = time.perf_counter()
    for _ in range(repeats):
        one()
    return (time.perf_counter() - began) / repeats


def _calibrate(one: Callable[[], object], context: Context, timer: Timer) -> int:
    """Warm up, and find how often a call is to be repeated in a sample."""
    device = context.problem.device
    sample(one, 1, device)  # apart: the first call loads libraries
    warm = [sample(one, 1, device)]
    while len(warm) < 5 and warm[0] < timer.sample_seconds:
        warm.append(sample(one, 1, device))
    return max(1, math.ceil(timer.sample_seconds / float(np.median(warm))))
