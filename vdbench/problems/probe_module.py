"""What a module does on a few examples: whether it is a network whose examples are independent of one another."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from vdbench.errors import InputError
from vdbench.problems import probe_likelihood, probe_outputs
from vdbench.problems.likelihoods import Checks, Likelihood
from vdbench.problems.probe import (
    AMOUNTS,
    FEW,
    LARGE,
    MANY,
    Asked,
    Seen,
    changed,
    coarsest,
    examples,
    fast_paths_off,
    finite,
    hint,
    moved_network,
    same,
)
from vdbench.problems.probe_likelihood import Computed
from vdbench.problems.probe_memory import uncounted
from vdbench.problems.probe_state import (
    generators,
    no_other_parameters,
    noisy_hint,
    repeats,
    unhooked,
    unwritten,
)
from vdbench.problems.probe_types import halves, precision
from vdbench.problems.problem import Batch, Problem, converted, tied, ties


def behaviour_of(
    module: nn.Module,
    problem: Problem,
    likelihood: Likelihood | Callable[[Tensor, Tensor], Tensor] | str | None,
    users: nn.Module,
) -> Seen:
    """Ask the module as it came, and with its weights moved.

    Args:
        module: A copy of the user's, of which copies are tried.
        problem: Made from it; its data and name.
        likelihood: As `vdbench.problems.likelihoods.choose` takes it.
        users: The user's own, which is called once, with parameters given.

    Raises:
        InputError: It is no network whose examples are independent of one another, or does not fit the data.
    """
    name = problem.name
    batch = examples(problem, MANY)
    with generators(f"problem '{name}': a forward pass", noisy_hint(module)):
        kind = precision(module, problem, batch)
        # one that has made no pass, since the first may be another
        network = converted(copy.deepcopy(module), "cpu", kind)
        asked = Asked(name, network, kind)
        out = asked.outputs(batch.inputs)
        coarse, said_of_half = halves(module, asked, batch.inputs)
    unwritten(name, network, module)
    asked.rounding = coarsest(coarse, out.dtype)
    repeats(name, asked, batch.inputs, out)
    uncounted(
        name, "the module", [("", network)], lambda: asked.outputs(batch.inputs), asked.rounding
    )
    finite(name, "the outputs of the module", out)
    chosen, said = probe_likelihood.chosen(problem, likelihood, tuple(out.shape))
    computed = _likelihood(problem, asked, chosen, out.double(), batch.targets)
    probe_outputs.refuse_transformed(problem, computed, module, asked, out)
    asked.rounding = coarsest(asked.rounding, computed.dtype)
    unhooked(name, asked, batch.inputs, lambda o: computed.value(o.double(), batch.targets).sum())
    _independent(asked, computed, batch, hint(module))
    _large(problem, asked, computed, hint(module))
    amount, moved = _moved(module, asked, computed, batch)
    probe_outputs.refuse_no_likelihood(problem, computed, module, moved, batch)
    _independent(moved, computed, batch, hint(module))
    _large(problem, moved, computed, hint(module))
    repeats(name, moved, batch.inputs)
    _own_weights(moved, users, batch.inputs, module, amount)
    no_other_parameters(name, asked, batch.inputs)
    return Seen(
        kind if kind != torch.float64 else None,
        computed.dtype if computed.dtype != torch.float64 else None,
        asked.writes,
        _alone(moved, batch.inputs),
        _attends(network, asked, batch.inputs),
        _derives(asked, batch.inputs),
        amount,
        asked.rounding,
        chosen,
        (said, *said_of_half),
    )


def _likelihood(
    problem: Problem, asked: Asked, chosen: Likelihood, out: Tensor, targets: Tensor
) -> Computed:
    """The likelihood in its type, asked whether it draws noise, has memory or is a loss."""
    name = problem.name
    with generators(f"problem '{name}': the likelihood", ""):
        computed = probe_likelihood.computed(problem, chosen, out, targets)
        value = computed.value(out, targets)
    rounding = coarsest(asked.rounding, computed.dtype)
    if not same(value, computed.value(out, targets), rounding):
        raise InputError(
            f"problem '{name}': the likelihood of the same outputs and targets differs when it is asked twice."
        )
    if not isinstance(chosen, Checks):
        uncounted(
            name,
            "the likelihood",
            [("", computed.of)],
            lambda: computed.value(out, targets),
            rounding,
        )
    probe_likelihood.refuse_loss(name, computed, out, targets)
    return computed


def _moved(
    module: nn.Module, asked: Asked, computed: Computed, batch: Batch
) -> tuple[float, Asked]:
    """How far the weights can be moved so that the log-likelihood stays finite, and the network moved so far."""
    for amount in AMOUNTS:
        network = moved_network(module, amount, _type(asked.network))
        moved = Asked(asked.name, network, asked.precision)
        moved.rounding = asked.rounding
        try:
            out = moved.outputs(batch.inputs).double()
            value = computed.value(out, batch.targets)
        except Exception:
            continue
        if bool(torch.isfinite(value).all()):
            return amount, moved
    return 0.0, asked


def _type(network: nn.Module) -> torch.dtype:
    return next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float64)


def _independent(asked: Asked, computed: Computed, batch: Batch, said: str) -> None:
    """Refuse a network or likelihood in which an example's log-likelihood depends on more than that example.

    Raises:
        InputError: It changes with another example or target, with their number, or with its place among them.
    """
    name, rounding = asked.name, asked.rounding
    out = asked.outputs(batch.inputs)
    value = computed.value(out.double(), batch.targets)
    for j, inputs in enumerate(changed(batch.inputs)):
        given = asked.outputs(inputs)
        found = computed.value(given.double(), batch.targets)
        if any(i != j and not same(found[i], value[i], rounding) for i in range(MANY)):
            others = [i for i in range(MANY) if i != j]
            if same(given[others], out[others], rounding):
                raise InputError(
                    f"problem '{name}': the log-likelihood of an example changes when the outputs of another one do, "
                    "so it is not a sum over examples; expected a likelihood of each example alone."
                )
            raise InputError(
                f"problem '{name}': the log-likelihood of an example changes when another example of its minibatch "
                f"does, so it is not a sum over examples; expected a network whose examples do not interact.{said}"
            )
    for j, targets in enumerate(changed(batch.targets)):
        found = computed.value(out.double(), targets)
        if any(i != j and not same(found[i], value[i], rounding) for i in range(MANY)):
            raise InputError(
                f"problem '{name}': the log-likelihood of an example changes when the target of another one does; "
                "expected a likelihood of each example alone."
            )
    few = asked.outputs(batch.inputs[:FEW])
    if not same(few, out[:FEW], rounding):
        raise InputError(
            f"problem '{name}': the outputs of {FEW} examples differ from those of the same examples among {MANY}, so "
            "an example's log-likelihood depends on the minibatch; expected a network whose examples do not interact."
            f"{said}"
        )
    if not same(computed.value(few.double(), batch.targets[:FEW]), value[:FEW], rounding):
        raise InputError(
            f"problem '{name}': the log-likelihoods of {FEW} examples differ from those of the same examples among "
            f"{MANY}; expected a likelihood of each example alone, not divided by their number."
        )
    if not same(asked.outputs(batch.inputs.flip(0)), out.flip(0), rounding):
        raise InputError(
            f"problem '{name}': the outputs of examples in reverse order differ from those in order, so they depend on "
            "an example's place in the minibatch; expected a network in which the first axis is the examples' alone (a "
            "positional encoding for sequence-first inputs added to batch-first ones, for example, is not)."
        )


def _large(problem: Problem, asked: Asked, computed: Computed, said: str) -> None:
    """Refuse a network that does something else with more examples: one that pads to the longest, or splits them.

    Raises:
        InputError: Outputs or log-likelihoods of many examples are not those of their parts.
    """
    batch = examples(problem, LARGE)
    out = asked.outputs(batch.inputs)
    value = computed.value(out.double(), batch.targets)
    for start in range(0, LARGE, FEW):
        part = slice(start, start + FEW)
        few = asked.outputs(batch.inputs[part])
        if not same(few, out[part], asked.rounding) or not same(
            computed.value(few.double(), batch.targets[part]), value[part], asked.rounding
        ):
            raise InputError(
                f"problem '{problem.name}': the outputs of {FEW} examples differ from those of the same examples among "
                f"{LARGE}, so an example's log-likelihood depends on the minibatch; expected a network whose examples "
                f"do not interact, padded to one length.{said}"
            )


def _own_weights(
    moved: Asked, users: nn.Module, inputs: Tensor, module: nn.Module, amount: float
) -> None:
    """Refuse a network whose copy computes with the weights of the user's own: it holds a function that refers to it.

    Raises:
        InputError: The user's module, given the moved weights, has other outputs than the copy with these weights.
    """
    like = dict(users.named_parameters())
    given = {n: p.detach().to(like[n]) for n, p in moved.network.named_parameters() if n in like}
    some = next(iter(like.values()), torch.zeros(()))
    kind, device = some.dtype, some.device
    x = inputs.to(device, kind) if inputs.is_floating_point() else inputs.clone().to(device)
    with fast_paths_off(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            given = tied(ties(users), given)
            found = functional_call(users, given, (x,), tie_weights=False).detach()
        except Exception:
            return  # its buffers or inputs are of another type or place than its parameters
    network = moved_network(module, amount, kind)
    want = Asked(moved.name, network, kind).outputs(inputs)
    if not same(found.cpu(), want, coarsest(kind, moved.rounding)):
        raise InputError(
            f"problem '{moved.name}': a copy of the module still computes with weights of the original: it holds a "
            "function that refers to it (a lambda or a patched forward); expected a forward that is a method of the "
            "module's class."
        )


def _alone(asked: Asked, inputs: Tensor) -> bool:
    """Whether single examples pass, with the outputs that they have among others."""
    out = asked.outputs(inputs)
    try:
        found = torch.cat([asked.outputs(inputs[i : i + 1]) for i in range(FEW)])
    except InputError:
        return False
    return same(found, out[:FEW], asked.rounding)


class _Watch(TorchFunctionMode):
    """Notes whether fused attention is called."""

    found = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.found |= func is torch.nn.functional.scaled_dot_product_attention
        return func(*args, **(kwargs or {}))


def _derives(asked: Asked, inputs: Tensor) -> bool:
    """Whether a pass needs gradients enabled: it takes some of its own, in its inputs for example."""
    out = asked.outputs(inputs)
    try:
        return not same(asked.outputs(inputs, gradients=False), out, asked.rounding)
    except InputError:
        return True


def _attends(network: nn.Module, asked: Asked, inputs: Tensor) -> bool:
    if any(isinstance(m, nn.MultiheadAttention | nn.TransformerEncoder) for m in network.modules()):
        return True
    with _Watch() as watch:
        asked.outputs(inputs)
    return bool(watch.found)
