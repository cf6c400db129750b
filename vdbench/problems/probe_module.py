"""What a module does on a few examples: whether it is a network whose examples are independent of one another."""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from vdbench.errors import InputError
from vdbench.problems.likelihoods import Categorical, Likelihood, choose
from vdbench.problems.probe import (
    AMOUNTS,
    BUDGET,
    FEW,
    LARGE,
    MANY,
    Asked,
    PassFailed,
    Seen,
    changed,
    coarsest,
    examples,
    fast_paths_off,
    finite,
    hint,
    moved_network,
    operations,
    reason,
    same,
    wide,
)
from vdbench.problems.problem import Batch, Problem, converted, tied, ties
from vdbench.problems.problem import moved as moved_to

MOST = 4096
"""Training examples that are passed through the network at most, to find one that does not fit."""


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
    batch = examples(problem, MANY)
    with _generators(f"problem '{problem.name}': a forward pass", _noisy_hint(module)):
        precision, network = _precision(module, problem, batch)
        asked = Asked(problem.name, network, precision)
        out = asked.outputs(batch.inputs)
        asked.outputs(batch.inputs)
    _unwritten(problem.name, network, module)
    asked.rounding = coarsest(precision, out.dtype)
    _repeats(problem.name, asked, batch.inputs)
    finite(problem.name, "the outputs of the module", out)
    chosen, said = _chosen(problem, likelihood, tuple(out.shape))
    _refuse_probabilities(problem.name, chosen, out)
    with _generators(f"problem '{problem.name}': the likelihood", ""):
        computed = _likelihood(problem, chosen, out.double(), batch.targets)
        value = computed.value(out.double(), batch.targets)
    asked.rounding = coarsest(precision, out.dtype, computed.dtype)
    if not same(value, computed.value(out.double(), batch.targets), asked.rounding):
        raise InputError(
            f"problem '{problem.name}': the likelihood of the same outputs and targets differs when it is asked twice."
        )
    _independent(asked, computed, batch, hint(module))
    _large(problem, asked, computed, hint(module))
    amount, moved = _moved(module, asked, computed, batch)
    _independent(moved, computed, batch, hint(module))
    _large(problem, moved, computed, hint(module))
    _repeats(problem.name, moved, batch.inputs)
    _own_weights(moved, users, batch.inputs, module, amount)
    return Seen(
        precision if precision != torch.float64 else None,
        computed.dtype if computed.dtype != torch.float64 else None,
        asked.writes,
        _alone(moved, batch.inputs),
        _attends(network, asked, batch.inputs),
        amount,
        asked.rounding,
        chosen,
        said,
    )


def _precision(module: nn.Module, problem: Problem, batch: Batch) -> tuple[torch.dtype, nn.Module]:
    """The type that the network computes in when it is asked for float64, and a copy of it in that type."""
    own = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    network = converted(copy.deepcopy(module), "cpu", torch.float64)
    try:
        Asked(problem.name, network, torch.float64).outputs(batch.inputs)
    except PassFailed:
        native = converted(copy.deepcopy(module), "cpu", own)
        Asked(problem.name, native, own).outputs(batch.inputs)
        return own, native
    return torch.float64, network  # whatever it casts its outputs to


def _moved(
    module: nn.Module, asked: Asked, computed: _Likelihood, batch: Batch
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


class _Likelihood(NamedTuple):
    """A likelihood and the type it computes in."""

    of: Likelihood
    dtype: torch.dtype

    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        targets = targets.to(self.dtype) if targets.is_floating_point() else targets
        return self.of(outputs.to(self.dtype), targets).double()


def _chosen(
    problem: Problem,
    likelihood: Likelihood | Callable[[Tensor, Tensor], Tensor] | str | None,
    shape: tuple[int, ...],
) -> tuple[Likelihood, str]:
    try:
        chosen, said = choose(likelihood, problem.data, shape)
    except InputError as error:
        raise InputError(f"problem '{problem.name}': {error}") from error
    if isinstance(chosen, nn.Module) and any(p.requires_grad for p in chosen.parameters()):
        names = ", ".join(n for n, p in chosen.named_parameters() if p.requires_grad)
        raise InputError(
            f"problem '{problem.name}': the likelihood has parameters ({names}), which would stay as they are; make "
            "them part of the module, as outputs, or freeze them."
        )
    return chosen, said


def _likelihood(
    problem: Problem, likelihood: Likelihood, outputs: Tensor, targets: Tensor
) -> _Likelihood:
    name = problem.name
    for dtype in (torch.float64, torch.float32):
        tried = _Likelihood(moved_to(likelihood, "cpu", dtype), dtype)
        given = targets.clone()
        try:
            value = tried.value(outputs, given)
        except InputError:
            raise
        except Exception as error:
            if dtype == torch.float64:
                continue
            raise InputError(
                f"problem '{name}': the module and its likelihood do not fit: outputs of shape "
                f"{tuple(outputs.shape)} and targets of shape {tuple(targets.shape)}: "
                f"{reason(error)}"
            ) from error
        if value.shape != outputs.shape[:1]:
            raise InputError(
                f"problem '{name}': the log-likelihood of {len(outputs)} examples has shape "
                f"{tuple(value.shape)}; expected one value an example."
            )
        if not torch.equal(torch.nan_to_num(given), torch.nan_to_num(targets)):
            raise InputError(
                f"problem '{name}': the likelihood writes the targets that it is given."
            )
        finite(name, "the log-likelihoods", value)
        return tried
    raise AssertionError


def _independent(asked: Asked, computed: _Likelihood, batch: Batch, said: str) -> None:
    """Refuse a network or likelihood in which an example's log-likelihood depends on more than that example.

    Raises:
        InputError: It changes with another example or target, with their number, or with its place among them.
    """
    name, rounding = asked.name, asked.rounding
    out = asked.outputs(batch.inputs)
    value = computed.value(out.double(), batch.targets)
    for j, inputs in enumerate(changed(batch.inputs)):
        found = computed.value(asked.outputs(inputs).double(), batch.targets)
        if any(i != j and not same(found[i], value[i], rounding) for i in range(MANY)):
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


def _refuse_probabilities(name: str, likelihood: Likelihood, out: Tensor) -> None:
    if not isinstance(likelihood, Categorical) or out.dim() != 2 or out.shape[1] < 2:
        return
    if bool((out >= 0).all()) and bool(((out.double().sum(1) - 1).abs() < 1e-5).all()):
        raise InputError(
            f"problem '{name}': the outputs of the module are probabilities (they add up to 1), and Categorical takes "
            "logits; leave out the softmax, or give a likelihood of probabilities."
        )


def _repeats(name: str, asked: Asked, inputs: Tensor) -> None:
    first, second = asked.outputs(inputs), asked.outputs(inputs)
    if not same(first, second, asked.rounding):
        raise InputError(
            f"problem '{name}': a second forward pass on the same inputs gives other outputs: the module has noise or "
            "memory of its own; call module.eval() first, or remove it."
        )


def _large(problem: Problem, asked: Asked, computed: _Likelihood, said: str) -> None:
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


def all_examples(module: nn.Module, problem: Problem, seen: Seen) -> None:
    """Pass the training examples, as many as the budget allows, so that one that does not fit is told now.

    Args:
        module: A copy of the user's.
        problem: Made from it, with the uses of its layers.
        seen: What the module does.

    Raises:
        InputError: A pass fails, or an output or log-likelihood is not finite.
    """
    kind = seen.precision or torch.float64
    asked = Asked(problem.name, converted(copy.deepcopy(module), "cpu", kind), kind)
    own = seen.of_likelihood or torch.float64
    computed = _Likelihood(moved_to(seen.likelihood, "cpu", own), own)
    count = min(problem.examples, MOST, max(LARGE, int(BUDGET / max(1, operations(problem)))))
    for start in range(0, count, 4 * LARGE):
        rows = slice(start, min(start + 4 * LARGE, count))
        inputs, targets = (wide(part[rows].cpu()) for part in problem.data.train)
        out = asked.outputs(inputs).double()
        where = f"of training examples {start} to {start + len(out) - 1}"
        try:
            value = computed.value(out, targets)
        except Exception as error:
            raise InputError(
                f"problem '{problem.name}': the likelihood {where} fails: {reason(error)}"
            ) from error
        for what, found in (("outputs", out), ("log-likelihoods", value)):
            bad = ~torch.isfinite(found.reshape(len(found), -1)).all(1)
            if bool(bad.any()):
                row = start + int(bad.nonzero()[0])
                raise InputError(
                    f"problem '{problem.name}': the {what} of training example {row} are not finite; check its inputs, "
                    "its target and the module's weights."
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


def _attends(network: nn.Module, asked: Asked, inputs: Tensor) -> bool:
    if any(isinstance(m, nn.MultiheadAttention | nn.TransformerEncoder) for m in network.modules()):
        return True
    with _Watch() as watch:
        asked.outputs(inputs)
    return bool(watch.found)


def _noisy_hint(module: nn.Module) -> str:
    for path, part in module.named_modules():
        if isinstance(part, nn.modules.dropout._DropoutNd) and part.p > 0 and part.training:
            return f" ('{path or 'the module'}' is a {type(part).__name__} in training mode)"
    return ""


@contextmanager
def _generators(what: str, said: str) -> Iterator[None]:
    """Refuse what moves a global generator, and put it back.

    Raises:
        InputError: One was moved.
    """
    before = torch.random.get_rng_state(), np.random.get_state(legacy=True), random.getstate()
    try:
        yield
    finally:
        after = torch.random.get_rng_state(), np.random.get_state(legacy=True), random.getstate()
        moved = (
            not torch.equal(before[0], after[0])
            or any(not np.array_equal(a, b) for a, b in zip(before[1], after[1], strict=True))  # type: ignore[arg-type]
            or before[2] != after[2]
        )
        torch.random.set_rng_state(before[0])
        np.random.set_state(before[1])
        random.setstate(before[2])
    if moved:
        raise InputError(
            f"{what} draws noise of its own from a global generator{said}; remove it or call module.eval() first."
        )


def _real(value: Tensor) -> Tensor:
    value = value.detach()
    return torch.nan_to_num(torch.view_as_real(value) if value.is_complex() else value)


def _unwritten(name: str, network: nn.Module, module: nn.Module) -> None:
    """Refuse a network that no longer has the module's buffers and parameters after two passes.

    Raises:
        InputError: One was written.
    """
    held = dict((*module.named_buffers(), *module.named_parameters()))
    for path, value in (*network.named_buffers(), *network.named_parameters()):
        before = held.get(path)
        if before is None or not torch.equal(_real(before.to(value.dtype)), _real(value)):
            raise InputError(
                f"problem '{name}': a forward pass writes '{path}' of the module, so that a draw would depend on the "
                f"draws before it; call module.eval() first, or remove it.{hint(network)}"
            )
