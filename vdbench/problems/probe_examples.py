"""The training examples, passed in two ways: by the module, and by the problem in other minibatches.

A few examples do not show what a network does with a rare one, or a rare minibatch. Here every example that the budget
allows must have the same log-likelihood in both passes, and be given to noisy layers in the same way.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from vdbench.errors import InputError
from vdbench.noise import stream
from vdbench.problems.layers import Layer
from vdbench.problems.probe import (
    BUDGET,
    CLOSE,
    KEY,
    LARGE,
    Asked,
    Seen,
    hint,
    moved_weights,
    operations,
    reason,
    wide,
)
from vdbench.problems.probe_likelihood import Computed
from vdbench.problems.problem import Batch, Problem, converted, moved

MOST = 4096
"""Training examples that are passed through the network at most, to find one that does not fit."""

SIZES = ((1024, 3e8), (4 * LARGE, float("inf")))
"""Numbers of examples in a minibatch of the first pass, and the multiplications that it may cost."""

OTHER = 96
"""Examples in a minibatch of the second pass at most; a third of all that are passed where these are fewer."""


def all_examples(module: nn.Module, problem: Problem, seen: Seen) -> None:
    """Pass the training examples, as many as the budget allows, so that one that does not fit is told now.

    Args:
        module: A copy of the user's.
        problem: Made from it, in float64, with the uses of its layers.
        seen: What the module does.

    Raises:
        CellError: A layer is given some examples in another way than those tried before.
        InputError: A pass fails, an output or log-likelihood is not finite, or an example's log-likelihood is another
            in another minibatch.
    """
    kind = seen.precision or torch.float64
    asked = Asked(problem.name, converted(copy.deepcopy(module), "cpu", kind), kind)
    each = max(1, operations(problem))
    count = min(problem.examples, MOST, max(LARGE, int(BUDGET / 2 / each)))
    size = next(size for size, most in SIZES if size * each <= most)
    parts = [_values(asked, problem, seen, rows) for rows in _parts(count, size)]
    first = torch.cat([value for value, _ in parts])
    # a log-likelihood near 0 has the rounding of the outputs that it is computed from
    room = CLOSE[seen.rounding] * max(float(first.abs().max()), *(top for _, top in parts), 1e-3)
    order = stream(KEY / "order", dtype=torch.float64)("rows", (count,)).argsort()
    at = moved_weights(problem, asked.network)
    for rows in _parts(count, max(1, min(OTHER, count // 3))):
        mine = order[rows]
        found = _again(problem, at, Batch(*(wide(p[mine].cpu()) for p in problem.data.train)))
        gap = (found - first[mine]).abs()
        if bool((gap > room).any()):
            row = int(mine[gap.argmax()])
            raise InputError(
                f"problem '{problem.name}': the log-likelihood of training example {row} is another in another "
                "minibatch, so it is not a sum over examples; expected a network whose examples do not interact, "
                f"whatever they are.{hint(module)}"
            )


def _parts(count: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _values(asked: Asked, problem: Problem, seen: Seen, rows: slice) -> tuple[Tensor, float]:
    """Log-likelihoods of examples that follow one another, as the module gives them, and the largest output."""
    inputs, targets = (wide(part[rows].cpu()) for part in problem.data.train)
    own = seen.of_likelihood or torch.float64
    computed = Computed(moved(seen.likelihood, "cpu", own), own)
    out = asked.outputs(inputs).double()
    where = f"of training examples {rows.start} to {rows.stop - 1}"
    try:
        value = computed.value(out, targets)
    except Exception as error:
        raise InputError(
            f"problem '{problem.name}': the likelihood {where} fails: {reason(error)}"
        ) from error
    for what, found in (("outputs", out), ("log-likelihoods", value)):
        bad = ~torch.isfinite(found.reshape(len(found), -1)).all(1)
        if bool(bad.any()):
            row = rows.start + int(bad.nonzero()[0])
            raise InputError(
                f"problem '{problem.name}': the {what} of training example {row} are not finite; check its inputs, "
                "its target and the module's weights."
            )
    return value, float(out.abs().max())


def _again(problem: Problem, at: dict[str, Tensor], batch: Batch) -> Tensor:
    """Log-likelihoods of a minibatch, as the problem gives them at the module's own weights."""

    def sampler(layer: Layer, x: Tensor) -> Tensor:
        return layer.linear(x, at[layer.name])

    parameters = {n: v for n, v in at.items() if n in problem.start}
    return problem.log_likelihood(sampler, batch, parameters).detach().double()
