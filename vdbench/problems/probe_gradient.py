"""Whether a problem's gradient is that of its log-likelihood, and whether draws of it can be taken together."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from vdbench.errors import InputError
from vdbench.noise import stream
from vdbench.problems.layers import OutsideCall
from vdbench.problems.probe import (
    BUDGET,
    FEW,
    KEY,
    Seen,
    examples,
    moved_network,
    moved_weights,
    operations,
    reason,
)
from vdbench.problems.problem import Batch, Problem

ATTEMPTS = 3
"""Lines of weights."""

NODES = (8, 96, 400)
"""Points of a line of weights at which the gradient is taken, more where few do not settle it: kinks need them."""

SURE = (96, 400, 1600)
"""Points before a network is refused: with more, a sum over kinks comes nearer, one over a jump does not."""

PATIENCE = 30
"""By how much such a sum may exceed the budget."""

TOLERANCE = 0.02
"""Share by which the change along that line may differ from the gradient's integral."""

SHORT, COARSE = 0.01, 0.08
"""Length of the line, as a share of the long one, and the share that may differ, where more points cost too much."""

ROUNDED = 1e-3
"""Share of a layer's largest gradient by which draws taken together may differ in float32."""

LINE = 32
"""Examples of which the log-likelihood is followed along a line."""


def vectorises(problem: Problem) -> tuple[str, bool]:
    """Take two draws of the gradient together and one by one.

    Returns:
        What was seen where they cannot be taken together, else an empty string; and whether log-likelihoods can be,
        where no gradient is taken.
    """
    two, batch = _two_draws(problem), _few(problem)

    def value(weights: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        return problem.log_likelihood(
            lambda layer, x: layer.linear(x, weights[layer.name]),
            Batch(inputs, targets),
            problem.start,
        ).sum()

    with _differentiable(problem.name):
        singles = [_gradient(value, {n: w[k] for n, w in two.items()}, batch) for k in range(2)]
    both = [torch.stack([t, t]) for t in batch]
    with warnings.catch_warnings():
        # an operation without a rule of its own is looped over: looping over draws is no slower, and says so
        warnings.filterwarnings("error", "There is a performance drop")
        values = _values_together(value, two, both)
        try:
            together = vmap(grad(value))(two, *both)
        except Exception as error:
            return reason(error), values
    try:
        _gradient(value, {n: w[0] for n, w in two.items()}, batch)
    except Exception:
        # tensors of many draws that a pass kept are none after it
        return "the module keeps tensors of a pass for the next", False
    want = {name: torch.stack([single[name] for single in singles]) for name in two}
    # in the unit of each layer's gradient: single entries may be rounded away
    if all(
        float((together[n] - w).abs().max()) <= ROUNDED * float(w.abs().max())
        for n, w in want.items()
    ):
        return "", values
    return "draws taken together differ from draws taken one by one", False


def _two_draws(problem: Problem) -> dict[str, Tensor]:
    """Two draws of each weight, (2, …)."""
    noise = stream(KEY / "draws", dtype=problem.dtype)
    mean = {a.name: problem.posterior(a, problem.start).mean for a in problem.layers}
    return {
        name: w + noise(name, (2, *w.shape)) / max(1, w[0].numel()) ** 0.5
        for name, w in mean.items()
    }


def _few(problem: Problem) -> Batch:
    """A few examples, on the problem's device and in its precision."""
    batch = Batch(*(t.to(problem.device) for t in examples(problem, FEW)))
    return Batch(*(t.to(problem.dtype) if t.is_floating_point() else t for t in batch))


def _gradient(
    value: Callable[..., Tensor], weights: dict[str, Tensor], batch: Batch
) -> dict[str, Tensor]:
    """The gradient at one draw, by plain autograd."""
    leaves = {n: w.detach().requires_grad_() for n, w in weights.items()}
    cost = value(leaves, *batch)
    found = torch.autograd.grad(cost, list(leaves.values()), materialize_grads=True)
    return dict(zip(leaves, found, strict=True))


def _values_together(
    value: Callable[..., Tensor], two: dict[str, Tensor], both: list[Tensor]
) -> bool:
    """Whether log-likelihoods of two draws, and gradients of two minibatches, can be taken together."""
    first = {name: w[0] for name, w in two.items()}
    try:
        for (
            name
        ) in two:  # one weight at a time, too: a kernel may vectorise only if all of its weights do
            vmap(lambda w, x, y, name=name: value({**first, name: w}, x, y))(two[name], *both)
        vmap(value)(two, *both)
        vmap(lambda x, y: grad(value)(first, x, y))(*both)
    except Exception:
        return False
    return True


def jumps(problem: Problem, module: nn.Module, seen: Seen) -> None:
    """Refuse a network whose gradient does not add up to the change of its log-likelihood along a line of weights.

    Pathwise gradients are those of the objective only if they do. A jump (rounding, a hard threshold), a part that is
    detached, or a backward pass of the user's own shows here. The line goes from the weights to those moved by noise;
    the integral is a Gauss-Legendre sum.

    Raises:
        InputError: It does not.
    """
    if not seen.amount:
        return
    start = moved_weights(problem, module)
    each = 3 * operations(problem)  # multiplications at one point for one example
    more = min(LINE, max(FEW, problem.examples))
    for attempt in range(ATTEMPTS):
        # one line at least, along few examples; more where they cost little
        if attempt and NODES[0] * each * more > BUDGET:
            return
        count = more if attempt else FEW
        affordable = [n for n in NODES if n == NODES[0] or n * each * count <= BUDGET]
        # where no more points can be had, a short line: a large network is far from a polynomial along a long one
        reach, tolerance = (1.0, TOLERANCE) if len(affordable) > 1 else (SHORT, COARSE)
        network = moved_network(module, 0.7 * seen.amount, torch.float64, attempt + 1)
        far = moved_weights(problem, network)
        end = {name: start[name] + reach * (far[name] - start[name]) for name in start}
        sure = [n for n in SURE if n > affordable[-1] and n * each * count <= PATIENCE * BUDGET]
        for nodes in (*affordable, *sure):
            with _differentiable(problem.name):
                change, integral, size = _along(problem, start, end, nodes, count)
            if abs(change - integral) <= tolerance * size:
                break
        else:
            break
    else:
        return
    worst = f"by {change:.3g}, and its gradient adds up to {integral:.3g}"
    raise InputError(
        f"problem '{problem.name}': along a line of weights the log-likelihood changes {worst}: the network or the "
        "likelihood has a jump (rounding, a threshold), a detached part or a backward pass of its own, so that "
        "gradients along the path of the noise are not those of the objective; expected a continuous function of the "
        "weights that is differentiated as it is computed."
    )


@contextmanager
def _differentiable(name: str) -> Iterator[None]:
    """Say in one sentence that a gradient cannot be taken, whatever the network raises."""
    try:
        yield
    except (InputError, OutsideCall):
        raise
    except Exception as error:
        if "does not require grad" in str(error):
            raise InputError(
                f"problem '{name}': the log-likelihood does not depend on the weights by operations that have a "
                "derivative; expected a network and a likelihood without argmax, .item(), .detach() or numpy on the "
                "way."
            ) from error
        raise InputError(
            f"problem '{name}': the gradient of the log-likelihood cannot be taken: {reason(error)}"
        ) from error


def _along(
    problem: Problem, start: dict[str, Tensor], end: dict[str, Tensor], nodes: int, count: int
) -> tuple[float, float, float]:
    """Change of the log-likelihood from one place to another, its gradient's integral on the way, and their size."""
    batch = examples(problem, count)
    step = {name: end[name] - start[name] for name in start}

    def value(t: Tensor) -> Tensor:
        at = {name: start[name] + t * step[name] for name in start}
        return problem.log_likelihood(
            lambda layer, x: layer.linear(x, at[layer.name]),
            batch,
            {n: v for n, v in at.items() if n in problem.start},
        )

    with torch.no_grad():
        changes = value(torch.ones(())) - value(torch.zeros(()))
    points, shares = np.polynomial.legendre.leggauss(nodes)
    slopes = []
    for point in points:
        t = torch.tensor((point + 1) / 2, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(value(t).sum(), t, materialize_grads=True)
        slopes.append(float(slope))
    integral = float(np.dot(shares, slopes)) / 2
    size = max(float(changes.abs().sum()), float(np.abs(slopes).mean()), 1e-6)
    return float(changes.sum()), integral, size
