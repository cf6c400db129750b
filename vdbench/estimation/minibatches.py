"""Whether examples are independent in the minibatches that are measured: of this size, at these parameters."""

from __future__ import annotations

import torch
from torch import Tensor

from vdbench.errors import CellError
from vdbench.noise import Key, stream
from vdbench.problems.layers import Layer
from vdbench.problems.problem import Batch, Parameters, Problem

KEY = Key(("vdbench", "minibatches"))

ROOM = {torch.float64: 1e-7, torch.float32: 1e-3}
"""Share of the largest output by which outputs may differ."""

COARSE = 0.05
"""The same where a part of the network computes in another type."""


def need_independent(problem: Problem, parameters: Parameters, batch: Batch) -> None:
    """Refuse a minibatch whose outputs are not those of its parts, at one draw of the weights.

    The probe asks the same of a few examples at a few weights when the problem is made, and not of networks of
    vdbench's own. Here it costs two forward passes a cell.

    Args:
        problem: Made from a module.
        parameters: At which parameters.
        batch: Of the size that is measured.

    Raises:
        CellError: Outputs differ, or a noisy layer is called in another way than when the problem was made.
    """
    seen = problem.behaviour
    size = len(batch.inputs)
    first = size // 3
    if not (seen.folds or problem.whole) or first < (1 if seen.alone else 2):
        return
    noise = stream(KEY, problem.device, problem.dtype)
    weights = {}
    for layer in problem.layers:
        q = problem.posterior(layer, parameters)
        weights[layer.name] = q.weights(q.draw(noise, layer.name))

    def sampler(layer: Layer, x: Tensor) -> Tensor:
        return layer.linear(x, weights[layer.name])

    with torch.no_grad():
        whole = problem.outputs(sampler, batch.inputs, parameters)
        parts = [
            problem.outputs(sampler, part, parameters)
            for part in (batch.inputs[:first], batch.inputs[first:])
        ]
    room = COARSE if seen.coarse else ROOM.get(problem.dtype, COARSE)
    gap = (whole - torch.cat(parts)).abs()
    if bool((gap > room * whole.abs().max()).any()):
        raise CellError(
            f"problem '{problem.name}': outputs of examples in a minibatch of {size} differ from those of the same "
            f"examples in minibatches of {first} and {size - first}, so an example's log-likelihood depends on the "
            "others; expected a network whose examples do not interact."
        )
