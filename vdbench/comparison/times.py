"""Times, variance × time, and memory.

Times drift between sessions: a machine is warmer, busier, or places a process otherwise. An interval from the rounds
of one session does not contain that drift, so that two sessions of the same code differ more often than their level
says. Times of estimators that were timed in turn, in the same rounds, are therefore compared; times of two sessions
only where that is asked for, and they say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from vdbench.comparison.rows import Candidate, Where
from vdbench.comparison.stored import Block
from vdbench.measures.metrics import SQUARED
from vdbench.measures.throughput_metrics import paired, samples_of
from vdbench.measures.timing import looks
from vdbench.modes.registry import EAGER
from vdbench.statistics.contrasts import (
    at_looks,
    one_look,
    product,
    ratio_of_independent_means,
    ratio_of_medians,
    widened,
)

TIME, EFFICIENCY = "time.seconds_per_gradient", "efficiency.variance_seconds"

BATCH = 2**18
"""Bytes that Linux may count late for each thread."""

SESSIONS = "timed in two sessions, whose drift is in no interval"
"""What rows say that compare times of two sessions."""


def times(where: Where, new: Block, base: Block, across: bool) -> Candidate:
    """Seconds per gradient.

    Args:
        where: What is compared.
        new: The pass in which the new estimator was timed.
        base: Likewise.
        across: Whether times of two sessions are compared, too.
    """
    mode = new.address.get("ranked", EAGER)
    a, b = samples_of(new.values, where.new, mode), samples_of(base.values, where.base, mode)
    together = new is base or new.same(base)
    if together:
        a, b = paired(new.values, (where.new, mode), (where.base, mode))
    known = together or across
    return Candidate(
        where,
        "throughput",
        TIME,
        at_looks(ratio_of_medians(a, b, together), _looks(new, base)) if known else None,
        (float(np.median(b)), float(np.median(a))),
        "s",
        n=min(len(a), len(b)),
        paired=together,
        why="" if together else SESSIONS,
    )


def _looks(*passes: Block) -> int:
    """Looks at which one of some passes could have ended."""
    return max(len(looks(b.address["rounds"], b.address.get("width"))) for b in passes)


def efficiencies(time: Candidate, variances: Mapping[str, Candidate]) -> Iterator[Candidate]:
    """Variance × time in every role, from a time and the variances of the same place."""
    for role, variance in variances.items():
        both = (time.contrast, variance.contrast)
        values = [a * b for a, b in zip(time.values, variance.values, strict=True)]
        yield replace(
            variance,
            measure="throughput",
            metric=EFFICIENCY,
            contrast=product(both[1], both[0]) if both[0] and both[1] else None,
            values=(values[0], values[1]),
            unit=f"{SQUARED}·s",
            layer="all",
            role=role,
            paired=time.paired and variance.paired,
            why="; ".join(dict.fromkeys(text for text in (variance.why, time.why) if text)),
        )


def memory(where: Where, new: Block, base: Block, threads: int) -> Candidate:
    """Peak bytes of a gradient: means over processes that share nothing.

    Linux counts resident pages in batches, so that two figures may differ by `BATCH` bytes a thread without reason:
    the interval of their ratio is widened by as much.

    Args:
        where: What is compared.
        new: The new estimator's block.
        base: The base's.
        threads: Of both.
    """
    a, b = new.values["bytes"], base.values["bytes"]
    made = ratio_of_independent_means(a, b, (one_look, one_look), unit="processes")
    coarse = BATCH * threads if new.address["device"] == "cpu" else 0
    least = max(1.0, min(float(np.mean(a)), float(np.mean(b))))
    contrast = widened(made, coarse / least)
    return Candidate(
        where,
        "memory",
        "memory.peak_bytes",
        replace(contrast, identical=new is base or new.same(base)),
        (float(np.mean(b)), float(np.mean(a))),
        "bytes",
        n=min(len(a), len(b)),
        paired=False,
        why=f"counted in steps of {coarse // 1024} KiB" if coarse > 0.01 * least else "",
    )
