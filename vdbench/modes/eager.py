"""``eager``: every operation is called from Python, as a plain training loop does."""

from __future__ import annotations

from vdbench.estimation.base import Gradient
from vdbench.estimation.draws import call
from vdbench.modes.protocol import Call, Work
from vdbench.noise import stream


def prepare(work: Work) -> Call:
    """One gradient a call, its noise drawn inside from the stream of the call's number."""
    device, dtype = work.problem.device, work.problem.dtype
    count, turns = iter(range(2**62)), work.turns()

    def one() -> Gradient:
        key = work.key / next(count)
        noise = stream(key, device, dtype)
        return call(
            work.estimator, work.problem, work.parameters, next(turns), noise, key, work.state
        )

    return one
