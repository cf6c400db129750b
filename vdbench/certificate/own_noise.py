"""Draws of an estimator that takes its noise from torch's global generator, many in one vectorised call.

`torch.func.vmap` gives every draw random numbers of its own. That is some hundred times as fast as a loop, and what
comes out is the same law only where the estimator's noise is torch's and is drawn anew at every call. So it is tried
first: draws in one call must agree with looped ones in mean and spread, and leave the generators of numpy and python
alone. Where they do not, or where vmap refuses, draws are looped.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Distribution
from torch.func import vmap
from torch.overrides import TorchFunctionMode

from vdbench.certificate.reference_problems import Stage
from vdbench.estimation.autodiff import vectorising
from vdbench.estimation.base import Estimator, Gradient
from vdbench.noise import Injected, Key, Noise
from vdbench.problems.problem import Batch

Rows = NDArray[np.float64]

LOOPED = 256
"""Looped draws that vectorised ones are compared with."""

TOGETHER = 4096
"""Vectorised draws that they are compared with."""

APART = 5.0
"""Standard errors by which means or variances must differ for draws to be looped: heavy tails are no reason to."""


def vectorised(estimator: Estimator, at: Stage, state: object, key: Key, size: int) -> Gradient:
    """``size`` draws on a stage, in one call, from the global generator seeded with the key and then restored."""
    batches = Batch(*(t.expand(size, *t.shape) for t in at.batch))
    none = Noise(Injected({}))

    def one(inputs: Tensor, targets: Tensor) -> Gradient:
        return estimator(at.problem, at.parameters, Batch(inputs, targets), none, state)

    devices = [at.problem.device] if at.problem.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), together():
        torch.manual_seed((key / "together").seed())
        found = vmap(one, randomness="different")(*batches)
    return Gradient(found[0], found[1])


IN_PLACE = (
    "normal_",
    "uniform_",
    "bernoulli_",
    "random_",
    "exponential_",
    "log_normal_",
    "cauchy_",
)
"""Methods that fill a tensor with random numbers."""


class _Anew(TorchFunctionMode):
    """Gives new numbers where a tensor that all draws share is to be filled with them, which vmap refuses.

    Whoever uses what the method returns, as torch's own distributions do, gets numbers of each draw; whoever goes on
    with the tensor itself gets none, which shows in the comparison with a loop.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        try:
            return func(*args, **(kwargs or {}))
        except RuntimeError:
            name = getattr(func, "__name__", "")
            if name not in IN_PLACE:
                raise
            own = torch.rand(args[0].shape, device=args[0].device).to(args[0].dtype)
            return getattr(own, name)(*args[1:], **(kwargs or {}))


@contextmanager
def together() -> Iterator[None]:
    """Within, draws may be vectorised; without the checks of torch's distributions, which branch on values."""
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        with vectorising(), _Anew():
            yield
    finally:
        Distribution.set_default_validate_args(before)


def others() -> tuple[object, str]:
    """States of the generators that vectorised draws would share."""
    return random.getstate(), str(np.random.get_state())


def agree(looped: dict[str, Rows], together: dict[str, Rows]) -> bool:
    """Whether two sets of draws have one mean and one variance in every coordinate, as far as can be seen."""
    return all(_agree(rows, together[name]) for name, rows in looped.items())


def _agree(a: Rows, b: Rows) -> bool:
    finite = np.isfinite(a).all(0)
    if (finite != np.isfinite(b).all(0)).any():
        return False
    a, b = (
        a[:, finite],
        b[:, finite],
    )  # what is not finite is the same in both, and has a test of its own
    scale = max(float(np.abs(a).max(initial=0)), float(np.abs(b).max(initial=0)), 1e-300)
    (m, v, e), (n, w, f) = _moments(a / scale), _moments(b / scale)
    room = APART * np.sqrt(v / len(a) + w / len(b)) + 1e-9
    spread = APART * np.sqrt(e / len(a) + f / len(b)) + 1e-9
    return bool(((np.abs(m - n) <= room) & (np.abs(v - w) <= spread)).all())


def _moments(rows: Rows) -> tuple[Rows, Rows, Rows]:
    """Mean, variance, and variance of the squared deviation, by coordinate."""
    square = (rows - rows.mean(0)) ** 2
    return rows.mean(0), square.mean(0), square.var(0)
