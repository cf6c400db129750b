"""How much of the time of a gradient a GPU computes: below one half, it waits for launches from Python.

Torch's profiler says how long the kernels of a few calls took; the share is that over the time of as many calls that
are not profiled, taken just before. Without CUPTI, which the profiler needs, nothing is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch

LAUNCH_BOUND = 0.5
"""Share of busy time below which a cell is called launch-bound."""

SAMPLES, CALLS = 8, 3
"""Shares that are measured, each over so many calls."""


def shares(one: Callable[[], object], seconds: Callable[[int], float]) -> list[float]:
    """Busy shares of a call; nothing where they cannot be known.

    Args:
        one: The call.
        seconds: Seconds a call, over so many calls in a row.
    """
    found = []
    for _ in range(SAMPLES):
        elapsed = seconds(CALLS)
        busy = kernel_seconds(_profiled(one)) / CALLS
        if busy == 0:
            return []
        found.append(min(1.0, busy / elapsed))
    return found


def _profiled(one: Callable[[], object]) -> Iterable[Any]:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA], acc_events=True) as made:
        for _ in range(CALLS):
            one()
        torch.cuda.synchronize()
    found: Iterable[Any] = made.events()
    return found


def kernel_seconds(events: Iterable[Any]) -> float:
    """Seconds that kernels and copies took on the device: the union of their times, as streams may overlap."""
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in events
        if event.device_type.name == "CUDA"
    )
    total, end = 0.0, -np.inf
    for start, stop in spans:
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total / 1e6  # microseconds
