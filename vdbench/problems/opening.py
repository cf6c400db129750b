"""A problem built from a module, with as many of its layers opened as the problem computes the same with.

An opened layer is one whose pre-activations can be sampled. Of any other noisy weight, the weight itself is sampled.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from vdbench.errors import CellError, InputError
from vdbench.problems import probe_examples, probe_gradient, probe_layers
from vdbench.problems.layers import PLACEHOLDER, Layer, NoisyModule, WholeWeight, layer_of
from vdbench.problems.parameterization import Parameterization
from vdbench.problems.places import Fold, Use
from vdbench.problems.probe import Seen
from vdbench.problems.problem import Behaviour, Group, Problem
from vdbench.problems.selection import Selection, Weight


def opened(
    network: nn.Module,
    selection: Selection,
    bare: Problem,
    seen: Seen,
    whole: dict[str, str],
) -> Problem:
    """The problem, with as many layers opened as it computes the same with as the module."""
    while True:
        problem = built(network, selection, bare, seen, whole)
        wide = problem.to("cpu", torch.float64)
        opened = [w.name for w in selection.weights if w.name not in whole]
        odd = probe_layers.agreement(network, wide, seen)
        if odd is None:
            try:
                folds, uses, more = probe_layers.rows(wide, network, seen)
                if not more:
                    return _asked_further(network, problem, wide, seen, folds, uses)
            except CellError as error:
                more = {_named(problem, error): "how it is called depends on the examples"}
            whole |= more
        elif odd[0]:
            whole[odd[0]] = odd[1]
        elif opened:
            whole |= _culprits(network, selection, bare, seen, whole, opened)
        else:
            raise InputError(
                f"problem '{bare.name}': with the module's own weights given to its noisy layers, the outputs are not "
                f"the module's ({odd[1]}): it changes or copies its weights in a way that is not followed; expected a "
                "forward pass that uses the parameters of its layers."
            )


def _named(problem: Problem, error: CellError) -> str:
    """The layer that an error names."""
    for layer in problem.layers:
        if f"'{layer.name}'" in str(error):
            return layer.name
    raise InputError(str(error)) from error


def _asked_further(
    network: nn.Module,
    problem: Problem,
    wide: Problem,
    seen: Seen,
    folds: dict[str, tuple[Fold, ...]],
    uses: dict[str, Use],
) -> Problem:
    """The problem with what it does at more examples and weights.

    Raises:
        CellError: A layer is called in another way there; it is to be sampled whole.
    """
    uses = {layer.name: uses.get(layer.name) or _unused(layer) for layer in problem.layers}
    wide = replace(wide, uses=uses, behaviour=replace(wide.behaviour, folds=folds))
    probe_examples.all_examples(network, wide, seen)
    idle = probe_layers.without_effect(wide, network, seen) if seen.amount else []
    probe_gradient.jumps(wide, network, seen)
    refuse_posterior(problem)
    said = tuple(
        f"the weight of layer {layer} has no effect on the outputs of the examples tried"
        for layer in idle
    )
    behaviour = replace(problem.behaviour, folds=folds, said=said)
    problem = replace(problem, uses=uses, behaviour=behaviour)
    why, values = probe_gradient.vectorises(problem.to(problem.device, torch.float32))
    return replace(
        problem,
        behaviour=replace(
            problem.behaviour, vectorises=not why, why_looped=why, vectorises_values=values
        ),
    )


def _culprits(
    network: nn.Module,
    selection: Selection,
    bare: Problem,
    seen: Seen,
    whole: dict[str, str],
    opened: list[str],
) -> dict[str, str]:
    """The opened layers with which alone the outputs differ; all of them, if it is none."""
    why = "the network does more with it than call it"
    found = {}
    for one in opened:
        others = {**whole, **{other: why for other in opened if other != one}}
        wide = built(network, selection, bare, seen, others).to("cpu", torch.float64)
        if probe_layers.agreement(network, wide, seen) is not None:
            found[one] = why
    return found or dict.fromkeys(opened, why)


def built(
    network: nn.Module,
    selection: Selection,
    bare: Problem,
    seen: Seen,
    whole: dict[str, str],
) -> Problem:
    """A problem whose layers named in ``whole`` are not opened."""
    body = copy.deepcopy(network)
    start: dict[str, Tensor] = {}
    groups: dict[str, Group] = {}
    layers = [
        _made_noisy(body, weight, place, weight.name in whole, bare.parameterization, start, groups)
        for place, weight in enumerate(selection.weights)
    ]
    given = {path for weight in selection.weights for path in (weight.path, *weight.ties)}
    frozen = _left(body, given, bare.name, start, groups)
    return replace(
        bare,
        module=body,
        layers=tuple(layers),
        start=start,
        groups=groups,
        uses={layer.name: _unused(layer) for layer in layers},
        behaviour=Behaviour(
            whole={w.name: whole[w.name] for w in selection.weights if w.name in whole},
            without=selection.without,
            frozen=frozen,
            writes_inputs=seen.writes_inputs,
            alone=seen.alone,
            precision=seen.precision,
            of_likelihood=seen.of_likelihood,
            attention=seen.attention,
            coarse=bool(seen.precision or seen.said[1:]) or seen.rounding != torch.float64,
            derives=seen.derives,
            recurrent=any(isinstance(m, nn.RNNBase) for m in body.modules()),
        ),
    )


def _made_noisy(
    body: nn.Module,
    weight: Weight,
    place: int,
    whole: bool,
    coordinates: Parameterization,
    start: dict[str, Tensor],
    groups: dict[str, Group],
) -> Layer:
    """The layer of a weight, put into the network unless it stays whole; its parameters go into start and groups."""
    part = body.get_submodule(weight.owner)
    value = body.get_parameter(weight.path)
    layer = _layer(weight, part, value, whole)
    for key, initial in coordinates.initial(value.detach(), place).items():
        start[f"{layer.name}.{key}"] = initial
        groups[f"{layer.name}.{key}"] = Group(layer.name, coordinates.roles[key])
    if whole:
        return layer
    bias = getattr(part, "bias", None)
    if bias is not None and bias.requires_grad:
        start[f"{layer.name}.bias"] = bias.detach().clone()
        groups[f"{layer.name}.bias"] = Group(layer.name, "bias")
    place_holder = NoisyModule(layer, part)
    for path in (weight.owner, *weight.aliases):
        parent, _, child = path.rpartition(".")
        setattr(body.get_submodule(parent), child, place_holder)
    return layer


def _left(
    body: nn.Module,
    given: set[str],
    name: str,
    start: dict[str, Tensor],
    groups: dict[str, Group],
) -> tuple[str, ...]:
    """Put the parameters that are not noisy into start and groups; the names of those that are frozen.

    Raises:
        InputError: One has the name of a coordinate.
    """
    frozen = []
    for path, value in body.named_parameters():
        if path in given:
            value.requires_grad_(False)  # it is given at each pass
        elif path.rpartition(".")[2] == PLACEHOLDER:
            continue
        elif not value.requires_grad:
            frozen.append(path)
        elif path in start:
            raise InputError(
                f"problem '{name}': the module has a parameter '{path}', which is what a coordinate of the "
                "posterior is called; rename it in the module."
            )
        else:
            start[path] = value.detach().clone()
            owner, _, leaf = path.rpartition(".")
            groups[path] = Group(owner, "bias" if "bias" in leaf.split("_") else leaf)
    return tuple(frozen)


def _layer(weight: Weight, part: nn.Module, value: Tensor, whole: bool) -> Layer:
    if whole:
        return WholeWeight(
            weight.name, tuple(value.shape), path=weight.path, fixed_row=weight.fixed_row
        )
    return layer_of(weight.name, part)


def _unused(layer: Layer) -> Use:
    """Of a layer that is not called, and of a weight that is sampled whole."""
    if isinstance(layer, WholeWeight):
        return Use(1, layer.weight_shape[0], 1)
    return Use(layer.fan_in, layer.outputs, 1)


def refuse_posterior(problem: Problem) -> None:
    """Noise that outputs share is noise of a layer's inputs: it needs layers whose inputs are known."""
    form = problem.parameterization
    if getattr(form, "per", "layer") in ("input", "output"):
        for layer in problem.layers:
            if isinstance(layer, WholeWeight) or not layer.inputs_second:
                raise InputError(
                    f"problem '{problem.name}': the posterior '{form.name}' has an α for each "
                    f"{getattr(form, 'per', '')}, and layer '{layer.name}' does not keep its weights by outputs and "
                    "inputs; expected per='layer' or 'weight', or other layers with layers=."
                )
    for layer in problem.whole:
        if form.law == "structured" and layer.fixed_row is not None and not form.separable:
            raise InputError(
                f"problem '{problem.name}': the posterior '{form.name}' is one law of all weights of a layer, and "
                f"layer '{layer.name}' has a row without noise, its padding; expected another posterior, or other "
                "layers with layers=."
            )
    if form.sharing != "inputs":
        return
    for layer in problem.layers:
        if isinstance(layer, WholeWeight) or not layer.inputs_second:
            why = problem.behaviour.whole.get(
                layer.name, "its weights are those of a transposed one"
            )
            raise InputError(
                f"problem '{problem.name}': the posterior '{problem.parameterization.name}' shares noise among the "
                f"outputs of an input feature, and layer '{layer.name}' has no such features: {why}; expected another "
                "posterior, or other layers with layers=."
            )
