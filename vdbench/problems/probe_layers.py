"""Whether a problem computes what the module does, and which rows of each layer's input are which example's."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vdbench.problems.layers import Layer, OutsideCall, OutsideUse
from vdbench.problems.places import PLAIN, Fold, Use, find
from vdbench.problems.probe import (
    CLOSE,
    FEW,
    LARGE,
    MANY,
    Asked,
    Seen,
    changed,
    examples,
    moved_network,
    moved_weights,
    reason,
    same,
)
from vdbench.problems.problem import Problem

ATTEMPTS = 3
"""At how many weights rows are looked for that change with no example, since units that are off hide what they get."""


def agreement(module: nn.Module, problem: Problem, seen: Seen) -> tuple[str, str] | None:
    """Whether the problem computes what the module does, at its own weights and at weights moved a little.

    Args:
        module: The user's.
        problem: Made from it, in float64.
        seen: What the module does.

    Returns:
        None if it does, else the name of a layer whose weight is read elsewhere, or an empty string, and what was seen.
    """
    batch = examples(problem, MANY)
    for amount in dict.fromkeys((0.0, seen.amount)):
        network = moved_network(module, amount, seen.computed)
        want = Asked(problem.name, network, seen.computed).outputs(batch.inputs).double()
        at = moved_weights(problem, network)
        try:
            found = problem_outputs(problem, at, batch.inputs, _refuse_batched)
            blind = problem_outputs(problem, at, batch.inputs, detached=True)
        except OutsideUse as error:
            return error.name, "the network reads its weight outside the layer"
        except OutsideCall:
            raise
        except Exception as error:
            # a layer was called, or its attributes were read, in a way that its place holder does not know
            return "", reason(error)
        if not same(found, want, seen.rounding) or not same(blind, want, seen.rounding):
            return "", "other outputs"
    return None


def problem_outputs(
    problem: Problem,
    at: dict[str, Tensor],
    inputs: Tensor,
    note: Callable[[Layer, Tensor, Tensor], None] = lambda layer, x, b: None,
    detached: bool = False,
) -> Tensor:
    """Outputs at given weights of the noisy layers, detached.

    Args:
        problem: In float64.
        at: The weights by layer, and all other parameters by name.
        inputs: Of a few examples.
        note: Told each layer's input and pre-activation.
        detached: Cut derivatives in a layer's input, which changes the outputs of a network that takes such derivatives
            itself: noise of pre-activations would be noise of another network there.
    """

    def sampler(layer: Layer, x: Tensor) -> Tensor:
        whole = layer in problem.whole
        b = layer.linear(x.detach() if detached and not whole else x, at[layer.name])
        note(layer, x, b)
        return b

    with torch.enable_grad():
        parameters = {n: v for n, v in at.items() if n in problem.start}
        return problem.outputs(sampler, inputs, parameters).detach()


def _refuse_batched(layer: Layer, x: Tensor, b: Tensor) -> None:
    """A layer within a vmap of the network's own is not given its rows."""
    if torch._C._functorch.is_batchedtensor(x):
        raise OutsideUse(layer.name)


def rows(
    problem: Problem, module: nn.Module, seen: Seen
) -> tuple[dict[str, tuple[Fold, ...]], dict[str, Use], dict[str, str]]:
    """Where the example's axis is at each call of each layer whose pre-activations can be sampled.

    Returns:
        The folds and uses by layer, and the layers whose rows follow no example, with the reason.
    """
    observed: dict[str, list[Pair]] = {}
    for attempt in range(ATTEMPTS):
        network = moved_network(module, seen.amount, seen.computed, attempt)
        at = moved_weights(problem, network)
        found, sizes, whole = _observed(problem, at, seen)
        for name, calls in found.items():
            before = observed.get(name, calls)
            observed[name] = [
                [(m, a | b) for (m, a), (_, b) in zip(then, now, strict=True)]
                for then, now in zip(before, calls, strict=True)
            ]
        still = [pair for calls in observed.values() for pair in calls if not _any(pair)]
        if not still:
            break
    folds: dict[str, tuple[Fold, ...]] = {}
    uses: dict[str, Use] = {}
    for layer in problem.layers:
        name = layer.name
        if name in whole or layer in problem.whole:
            continue
        if name not in observed:
            whole[name] = "it is not called for the examples tried"
            continue
        fold_of = [find(pair) if _any(pair) else _by_shape(pair) for pair in observed[name]]
        if any(f is None for f in fold_of):
            whole[name] = "the rows that it is given do not follow the examples"
            continue
        folds[name] = tuple(f for f in fold_of if f is not None)
        inputs_of, outputs_of = (sum(part) for part in zip(*sizes[name], strict=True))
        uses[name] = Use(inputs_of, outputs_of, outputs_of // layer.outputs, len(fold_of))
    return folds, uses, whole


Pair = list[tuple[int, Tensor]]
"""For both numbers of examples: that number, and which rows of a layer's input change with which example."""


def _any(pair: Pair) -> bool:
    return any(bool(changed.any()) for _, changed in pair)


def _by_shape(pair: Pair) -> Fold | None:
    """Of rows that never change, such as those behind a layer of zeros: what their number says."""
    return (
        PLAIN if all(changed.dim() > 1 and changed.shape[1] == m for m, changed in pair) else None
    )


def _observed(
    problem: Problem, at: dict[str, Tensor], seen: Seen
) -> tuple[dict[str, list[Pair]], dict[str, list[tuple[int, int]]], dict[str, str]]:
    """Which rows change with which example, at each call of each layer; numbers an example; and layers that vary."""
    rounding = seen.rounding
    layers = {layer.name: layer for layer in problem.layers}
    parts: dict[str, list[Pair]] = {}
    sizes: dict[str, list[tuple[int, int]]] = {}
    whole: dict[str, str] = {}
    for count in (MANY, FEW):
        inputs = examples(problem, count).inputs
        base = _given(problem, at, inputs)
        others = [_given(problem, at, moved) for moved in changed(inputs)]
        for name, calls in base.items():
            shapes = [x.shape for x, _ in calls]
            features = len(layers[name].weight_shape) - 1
            if any([x.shape for x, _ in other.get(name, [])] != shapes for other in others):
                whole[name] = "how often or at how many places it is called depends on the examples"
            elif any(x.dim() <= features for x, _ in calls):
                whole[name] = "it is given rows that belong to no example"
            elif count == FEW and len(parts.get(name, ())) != len(calls):
                whole[name] = "how often it is called depends on the number of examples"
            if name in whole:
                parts.pop(name, None)
                continue
            rows_of = [
                torch.stack([_rows_changed(x, o[name][k][0], features, rounding) for o in others])
                for k, (x, _) in enumerate(calls)
            ]
            pairs = parts.setdefault(name, [[] for _ in calls])
            for pair, rows_changed in zip(pairs, rows_of, strict=True):
                pair.append((count, rows_changed))
            sizes[name] = [(x.numel() // count, b.numel() // count) for x, b in calls]
    for name in set(parts) - set(base):
        whole[name] = "how often it is called depends on the number of examples"
    return {n: p for n, p in parts.items() if n not in whole}, sizes, whole


def _given(
    problem: Problem, at: dict[str, Tensor], inputs: Tensor
) -> dict[str, list[tuple[Tensor, Tensor]]]:
    found: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def note(layer: Layer, x: Tensor, b: Tensor) -> None:
        if layer not in problem.whole:
            found.setdefault(layer.name, []).append((x.detach().clone(), b.detach()))

    problem_outputs(problem, at, inputs, note)
    return found


def _rows_changed(x: Tensor, other: Tensor, features: int, rounding: torch.dtype) -> Tensor:
    """Which rows of a layer's input differ, in the shape of its leading axes."""
    limit = CLOSE[rounding] * float(torch.nan_to_num(x).abs().max())
    differs = (torch.nan_to_num(x) - torch.nan_to_num(other)).abs() > limit
    return differs.flatten(x.dim() - features).any(-1)


def without_effect(problem: Problem, module: nn.Module, seen: Seen) -> list[str]:
    """Noisy layers whose weights change no output of the examples tried."""
    batch = examples(problem, LARGE)
    start = moved_weights(problem, moved_network(module, seen.amount, seen.computed))
    other = moved_weights(problem, moved_network(module, seen.amount, seen.computed, 1))
    base = problem_outputs(problem, start, batch.inputs)
    found = []
    for layer in problem.layers:
        at = {**start, layer.name: other[layer.name]}
        if torch.equal(problem_outputs(problem, at, batch.inputs), base):
            found.append(layer.name)
    return found
