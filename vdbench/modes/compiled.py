"""``compile``: forward and backward pass as one graph, compiled by `torch.compile`.

The estimator is traced once, with its backward pass, to torch's basic operations; noise, minibatch and parameters are
inputs of what is compiled, so that nothing is folded into constants. Noise is drawn before each call, by the same
streams as in ``eager``, into memory that the next call uses again: gradients agree with eager ones to rounding.

Tracing fixes what an estimator decides in Python. One whose decisions depend on numbers cannot be traced, which fails
its cell.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from vdbench.arithmetic import computing
from vdbench.errors import CellError, one_line
from vdbench.estimation.base import Gradient
from vdbench.modes.protocol import Call, Work, need_pure
from vdbench.noise import Injected, Noise, draw
from vdbench.problems.problem import Batch


def prepare(work: Work) -> Call:
    """Compile a gradient.

    Raises:
        CellError: It cannot be traced or compiled, or there is no compiler; says why.
    """
    need_pure(work, "compile")
    flat = _Flat(work)
    problem = work.problem
    noise = [
        torch.empty(r.shape, device=problem.device, dtype=problem.dtype) for r in work.requests
    ]
    count, turns = iter(range(2**62)), work.turns()
    compiled = _compiled(flat, [*flat.inputs(work.first), *noise])

    def one() -> Gradient:
        key, batch = work.key / next(count), next(turns)
        for request, memory in zip(work.requests, noise, strict=True):
            draw(key, request, memory)
        with torch.no_grad(), computing(problem.precision, problem.device):
            return flat.gradient(compiled(*flat.inputs(batch), *noise))

    return one


class _Flat:
    """The gradient as a function of tensors: parameters, inputs, targets, noise; to tensors: value, gradients."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._names = list(work.parameters)
        self._found = list(work.problem.free(work.parameters))

    def inputs(self, batch: Batch) -> list[Tensor]:
        return [*self._work.parameters.values(), *batch]

    def __call__(self, *given: Tensor) -> tuple[Tensor, ...]:
        work, count = self._work, len(self._names)
        parameters = dict(zip(self._names, given[:count], strict=True))
        batch = Batch(given[count], given[count + 1])
        noise = dict(zip(work.requests, given[count + 2 :], strict=True))
        found = work.estimator(work.problem, parameters, batch, Noise(Injected(noise)), work.state)
        return (found.value, *(found.gradients[name] for name in self._found))

    def gradient(self, found: Sequence[Tensor]) -> Gradient:
        return Gradient(found[0], dict(zip(self._found, found[1:], strict=True)))


def _compiled(flat: _Flat, example: Sequence[Tensor]) -> Callable[..., Sequence[Tensor]]:
    problem = flat._work.problem
    try:
        import torch._inductor.config as inductor

        # in this process: a cell has its own, and what it starts would outlive it
        with (
            computing(problem.precision, problem.device),
            inductor.patch(compile_threads=1),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # torch's compiler warns of torch
            traced = make_fx(flat)(*example)
            made: Callable[..., Sequence[Tensor]] = torch.compile(
                traced, dynamic=False, fullgraph=True
            )
            with torch.no_grad():
                made(*example)  # compiles
    except Exception as error:  # tracing and compilers raise many kinds
        why = one_line(error).partition("Set TORCHDYNAMO_VERBOSE")[0][:300].strip()
        raise CellError(f"mode compile: {type(error).__name__}: {why}") from error
    return made
