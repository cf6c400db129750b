"""Many draws of one estimator: traced once for its noise, then vectorised, or looped where that is dearer.

One small network's gradient costs more in calls than in arithmetic; `torch.func.vmap` over draws with injected
noise shares the calls. The number of draws taken together follows from shapes alone, never from a timing, so
that it is the same on every run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import vmap

from vdbench.arithmetic import computing
from vdbench.errors import CellError, InputError
from vdbench.estimation import returned
from vdbench.estimation.autodiff import vectorising
from vdbench.estimation.base import Estimator, Gradient, Wrapper
from vdbench.estimation.minibatches import need_independent
from vdbench.estimation.validity import need_posterior
from vdbench.noise import (
    POSTERIOR,
    Injected,
    Key,
    Noise,
    Recorder,
    Request,
    Stream,
    draws,
    stream,
)
from vdbench.problems.problem import Batch, Parameters, Problem

BUDGET = {"cpu": 32 * 2**20, "cuda": 4 * 2**30}
"""Bytes that one vectorised call may hold; on a CPU about what its caches hold."""


@dataclass(frozen=True)
class Trace:
    """What one draw asks for and costs.

    Attributes:
        requests: Noise that one draw asks for.
        together: Draws taken in one vectorised call; 0 where draws are looped.
    """

    requests: tuple[Request, ...]
    together: int


def minibatch(problem: Problem, size: int, key: Key) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Indices of a minibatch, drawn without replacement, the same on every device; shape (size,).

    Raises:
        InputError: The minibatch is larger than the data set.
    """
    if size > problem.examples:
        raise InputError(
            f"problem '{problem.name}': a minibatch of {size} examples is more than the {problem.examples} training "
            "examples; expected as many at most."
        )
    generator = np.random.Generator(np.random.PCG64(key.seed()))
    return generator.choice(problem.examples, size, replace=False).astype(np.int64)


def gather(problem: Problem, indices: np.ndarray[Any, np.dtype[np.int64]]) -> Batch:
    """The examples at these indices; an index array (K, M) gives inputs (K, M, …)."""
    where = torch.from_numpy(indices).to(problem.device)
    train = problem.data.train
    return Batch(train.inputs[where], train.targets[where])


def trace(
    estimator: Estimator,
    problem: Problem,
    parameters: Parameters,
    batch: Batch,
    state: Any = (),
) -> Trace:
    """Take one draw, check what comes back, and learn what noise it takes.

    Raises:
        CellError: Names or shapes of the gradient are wrong, its noise is not of the declared laws, or one
            address is asked for twice; or the estimator is not valid for the problem's posterior; or examples of this
            minibatch depend on each other.
    """
    need_posterior(estimator, problem)
    need_independent(problem, parameters, batch)
    key = Key(("trace",))
    recorder = Recorder(Stream(key, problem.device, problem.dtype))
    gradient = call(estimator, problem, parameters, batch, Noise(recorder), key, state)
    name = estimator.declaration.name
    returned.check(name, gradient, problem.free(parameters))
    requests = tuple(recorder.requests)
    _check_requests(name, requests, _laws(estimator, problem), _has_parts(estimator))
    if not takes_together(estimator, problem, bool(requests)):
        return Trace(requests, 0)
    numbers = sum(int(np.prod(r.shape)) for r in requests)
    examples = batch.inputs.shape[0]
    inputs = batch.inputs.numel() // examples
    return Trace(requests, together(estimator, problem, parameters, numbers, examples, inputs))


def takes_together(estimator: Estimator, problem: Problem, noisy: bool) -> bool:
    """Whether draws of an estimator may be taken in one vectorised call on a problem, for what they compute.

    Args:
        estimator: Which.
        problem: Where.
        noisy: Whether a draw asks for noise.
    """
    seen = problem.behaviour
    found = seen.vectorises
    if estimator.costs_without_gradient or not noisy:
        found = found and seen.vectorises_values
    return estimator.declaration.pure and found


def together(
    estimator: Estimator,
    problem: Problem,
    parameters: Parameters,
    numbers: int,
    examples: int,
    inputs: int,
) -> int:
    """Draws that one vectorised call takes, by the bytes that they hold; 0 where one draw fills the budget.

    Args:
        estimator: One that `takes_together`.
        problem: Where.
        parameters: All.
        numbers: Of noise in one draw.
        examples: M.
        inputs: Numbers in one example.
    """
    weights = sum(value.numel() for value in parameters.values())
    activations = examples * (
        inputs + sum(use.inputs + use.outputs for use in problem.uses.values())
    )
    itemsize = torch.empty((), dtype=problem.dtype).element_size()
    passes = estimator.passes_together
    held = itemsize * (2 * numbers + 3 * passes * (weights + activations))
    count = BUDGET[problem.device.type] // held
    return int(count) if count >= 2 else 0


def _laws(estimator: Estimator, problem: Problem) -> set[str]:
    """The declared laws, the posterior's own put in its place."""
    own = problem.parameterization.noise_laws
    return {x for law in estimator.declaration.laws for x in (own if law == POSTERIOR else (law,))}


def _has_parts(estimator: Estimator) -> bool:
    """Whether it, or what it wraps, is made of an estimator a layer."""
    while isinstance(estimator, Wrapper):
        estimator = estimator.of
    return bool(estimator.open_options)


def _check_requests(name: str, requests: tuple[Request, ...], laws: set[str], parts: bool) -> None:
    used = {request.law for request in requests}
    # of an estimator made of others, some may have no layer to sample
    if used - laws or (laws - used and not parts):
        raise CellError(
            f"estimator '{name}' declares the noise laws {sorted(laws)} and asks for {sorted(used)}."
        )
    if len(set(requests)) < len(requests):
        twice = next(r for r in requests if requests.count(r) > 1)
        raise CellError(
            f"estimator '{name}' asks twice for the noise {'/'.join(map(str, twice.path))} of shape "
            f"{twice.shape} and would get the same numbers; use noise.at(...) for further samples."
        )


def gradients(
    estimator: Estimator,
    problem: Problem,
    parameters: Parameters,
    batches: Batch,
    keys: Sequence[Key],
    traced: Trace,
    state: Any = (),
) -> Gradient:
    """K draws of the gradient.

    Args:
        estimator: What to draw from.
        problem: Where.
        parameters: At which parameters.
        batches: K minibatches, inputs (K, M, …).
        keys: The K addresses of their noise.
        traced: From `trace` with a minibatch of the same size.
        state: What the estimator was fitted to.

    Returns:
        Values (K,) and gradients (K, …) by parameter.
    """
    if not traced.together:
        return _looped(estimator, problem, parameters, batches, keys, state)
    parts = []
    for start in range(0, len(keys), traced.together):
        part = slice(start, start + traced.together)
        here = Batch(*(t[part] for t in batches))
        noise = inject(traced.requests, keys[part], problem.device, problem.dtype)
        parts.append(vectorised(estimator, problem, parameters, here, noise, state))
    if len(parts) == 1:
        return parts[0]
    names = parts[0].gradients
    return Gradient(
        torch.cat([p.value for p in parts]),
        {name: torch.cat([p.gradients[name] for p in parts]) for name in names},
    )


def fitted(estimator: Estimator, problem: Problem, parameters: Parameters, key: Key) -> Any:
    """What an estimator is fitted to, in the problem's precision."""
    with computing(problem.precision, problem.device):
        return estimator.fit(problem, parameters, key)


def inject(
    requests: Sequence[Request],
    keys: Sequence[Key],
    device: torch.device,
    dtype: torch.dtype,
    memory: Callable[[Request], Tensor] | None = None,
) -> dict[Request, Tensor]:
    """The noise of K draws, each from its own stream, stacked along a first dimension of K.

    Args:
        requests: What one draw asks for.
        keys: The K addresses.
        device: Where.
        dtype: Of which type.
        memory: Where a request's stack is written, (K, …); into new memory if None.
    """
    noise = {}
    for request in requests:
        stack = (
            torch.empty((len(keys), *request.shape), device=device, dtype=dtype)
            if memory is None
            else memory(request)
        )
        noise[request] = draws(keys, request, stack)
    return noise


def vectorised(
    estimator: Estimator,
    problem: Problem,
    parameters: Parameters,
    batches: Batch,
    noise: dict[Request, Tensor],
    state: Any = (),
) -> Gradient:
    """K draws in one call, their noise given with a first dimension of K."""
    requests = list(noise)

    def one(inputs: Tensor, targets: Tensor, *values: Tensor) -> Gradient:
        given = dict(zip(requests, values, strict=True))
        return estimator(problem, parameters, Batch(inputs, targets), Noise(Injected(given)), state)

    with vectorising(), computing(problem.precision, problem.device):
        result = vmap(one)(*batches, *noise.values())
    return Gradient(result[0], result[1])


def on_each(
    estimator: Estimator,
    problem: Problem,
    parameters: Parameters,
    batches: Batch,
    noise: dict[Request, Tensor],
    state: Any = (),
) -> Gradient:
    """D draws on each of P minibatches in one call; what does not depend on the noise is computed once for the D.

    Args:
        estimator: What to draw from.
        problem: Where.
        parameters: At which parameters.
        batches: Inputs (P, M, …).
        noise: With first dimensions (P, D); of an estimator without noise nothing, and D is 1.
        state: What the estimator was fitted to.

    Returns:
        Values (P, D) and gradients (P, D, …) by parameter.
    """
    if not noise:
        found = vectorised(estimator, problem, parameters, batches, noise, state)
        return Gradient(
            found.value[:, None], {name: g[:, None] for name, g in found.gradients.items()}
        )
    requests = list(noise)

    def one(inputs: Tensor, targets: Tensor, values: list[Tensor]) -> Gradient:
        given = dict(zip(requests, values, strict=True))
        return estimator(problem, parameters, Batch(inputs, targets), Noise(Injected(given)), state)

    with vectorising(), computing(problem.precision, problem.device):
        result = vmap(vmap(one, (None, None, 0)))(*batches, list(noise.values()))
    return Gradient(result[0], result[1])


def _looped(
    estimator: Estimator,
    problem: Problem,
    parameters: Parameters,
    batches: Batch,
    keys: Sequence[Key],
    state: Any,
) -> Gradient:
    drawn = returned.Kept(estimator.declaration.name, problem.free(parameters))
    for k, key in enumerate(keys):
        here = Batch(*(t[k] for t in batches))
        noise = stream(key, problem.device, problem.dtype)
        drawn.add(call(estimator, problem, parameters, here, noise, key, state))
    return drawn.stacked()


def call(
    estimator: Estimator,
    problem: Problem,
    parameters: Parameters,
    batch: Batch,
    noise: Noise,
    key: Key,
    state: Any = (),
) -> Gradient:
    """One draw; an estimator that is not pure gets a forked and seeded global generator."""
    if estimator.declaration.pure:
        with computing(problem.precision, problem.device):
            return estimator(problem, parameters, batch, noise, state)
    devices = [problem.device] if problem.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), computing(problem.precision, problem.device):
        torch.manual_seed((key / "global").seed())
        return estimator(problem, parameters, batch, noise, state)
