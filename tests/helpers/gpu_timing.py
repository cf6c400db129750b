"""Times taken in turn on one device, and CUDA graphs of what takes no arguments; of tests/gpu/measure.py."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

Call = Callable[[], object]
WARM = 3
"""Calls before anything is timed or recorded: they load libraries, and compile."""


@dataclass(frozen=True)
class Timing:
    """How long is measured.

    Attributes:
        device: Where.
        rounds: Samples of each.
        sample_seconds: A sample repeats its call until it lasts about so long.
    """

    device: torch.device
    rounds: int = 9
    sample_seconds: float = 0.05


def wait(device: torch.device) -> None:
    """Until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(call: Call, repeats: int, device: torch.device) -> float:
    """Of one call, over so many in a row."""
    wait(device)
    if device.type != "cuda":
        began = time.perf_counter()
        for _ in range(repeats):
            call()
        return (time.perf_counter() - began) / repeats
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(repeats):
        call()
    end.record()
    wait(device)
    return begin.elapsed_time(end) / 1e3 / repeats


def in_turn(calls: Mapping[str, Call], at: Timing) -> dict[str, np.ndarray[Any, Any]]:
    """Seconds of each call in each round: all calls take one sample a round, in turn."""
    repeats = {}
    for name, call in calls.items():
        for _ in range(WARM):
            call()
        once = seconds(call, 1, at.device)
        repeats[name] = max(1, min(1000, round(at.sample_seconds / max(once, 1e-7))))
    found = [
        {name: seconds(call, repeats[name], at.device) for name, call in calls.items()}
        for _ in range(at.rounds)
    ]
    return {name: np.array([one[name] for one in found]) for name in calls}


def captured(call: Call, device: torch.device) -> Call:
    """The same as a CUDA graph that is replayed; noise of torch's default generator is new at each replay."""
    aside = torch.cuda.Stream(device)
    aside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(aside):
        for _ in range(WARM):
            call()
    torch.cuda.current_stream(device).wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = call()

    def replay() -> object:
        graph.replay()
        return kept

    return replay


def summary(found: np.ndarray[Any, Any]) -> dict[str, float]:
    """Median, least and greatest."""
    return {
        "median": float(np.median(found)),
        "low": float(found.min()),
        "high": float(found.max()),
        "n": len(found),
    }
