"""``graph``: one gradient recorded as a CUDA graph and replayed, so that the device waits for no call from Python.

What is recorded reads one minibatch in memory of its own, into which the next one is copied before each replay, and
draws its noise from one generator that is registered with the graph: every replay goes on where the last one ended, so
that its noise is fresh. Streams by address, as in ``eager``, would need a launch from Python for each.

Results are written into the same memory at every replay.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vdbench.arithmetic import computing
from vdbench.errors import InputError
from vdbench.estimation.base import Gradient
from vdbench.modes.protocol import Call, Work, need_pure
from vdbench.noise import LAWS, Noise, Request
from vdbench.problems.problem import Batch

WARM = 3
"""Calls before recording: they load libraries, which cannot be recorded."""


@dataclass(frozen=True)
class InOrder:
    """Draws from one generator, in the order in which noise is asked for."""

    generator: torch.Generator
    dtype: torch.dtype

    def __call__(self, request: Request) -> Tensor:
        """Draw what is asked for."""
        out = torch.empty(request.shape, device=self.generator.device, dtype=self.dtype)
        return LAWS[request.law](out, self.generator)


def refuse(device: torch.device) -> None:
    """See that graphs can be recorded on a device.

    Raises:
        InputError: It is no CUDA device.
    """
    if device.type != "cuda":
        raise InputError(
            f"mode 'graph' records CUDA graphs, and the device is '{device.type}'; expected --device cuda, or another "
            "of the modes: eager, compile."
        )


def prepare(work: Work) -> Call:
    """Record a gradient.

    Raises:
        CellError: The estimator draws noise of its own.
        RuntimeError: What it does cannot be recorded, such as asking the device for a number.
    """
    need_pure(work, "graph")
    recorded = Recorded(work)
    turns = work.turns()
    return lambda: recorded.replay(next(turns))


class Recorded:
    """A gradient as a CUDA graph.

    Attributes:
        generator: Of its noise.
    """

    def __init__(self, work: Work) -> None:
        """Record it."""
        self._work = work
        self._batch = Batch(*(t.clone() for t in work.first))
        self.generator = torch.Generator(device=work.problem.device)
        self.generator.manual_seed((work.key / "graph").seed())
        self._warm()
        self._graph = torch.cuda.CUDAGraph()
        self._graph.register_generator_state(self.generator)
        with torch.cuda.graph(self._graph):
            self._found = self.once()

    def once(self) -> Gradient:
        """The gradient as it is recorded, called from Python."""
        work, problem = self._work, self._work.problem
        noise = Noise(InOrder(self.generator, problem.dtype))
        with computing(problem.precision, problem.device):
            return work.estimator(problem, work.parameters, self._batch, noise, work.state)

    def _warm(self) -> None:
        """Call it on a stream of its own, as recording asks for."""
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM):
                self.once()
        torch.cuda.current_stream().wait_stream(aside)

    def replay(self, batch: Batch) -> Gradient:
        """The gradient on a minibatch, with fresh noise."""
        for mine, given in zip(self._batch, batch, strict=True):
            mine.copy_(given)
        self._graph.replay()
        return self._found
