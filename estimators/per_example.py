"""Separate weight samples: one weight sample for every example."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from estimators.type_a import masked
from vdbench import (
    Batch,
    CellError,
    Estimator,
    Gradient,
    InputError,
    Layer,
    Noise,
    Parameters,
    Problem,
    differentiate,
    need_posterior,
    register,
)
from vdbench.estimation.autodiff import vectorising
from vdbench.estimation.base import add, pathwise_gradient
from vdbench.estimation.pathwise import noise_of_calls
from vdbench.problems.layers import Sampler
from vdbench.problems.posterior import Posterior

GROUP, LARGEST = 32, 2**24
"""Examples whose noise has one address, and their weight samples in all if one example has fewer: part of what numbers
are drawn, so that another value of either is another version."""


@register(
    "per-example",
    objective="elbo",
    unbiased=True,
    laws=("posterior",),
    independent_examples=True,
    version="2",
    posteriors="any",
)
@dataclass(frozen=True)
class PerExample(Estimator):
    r"""A separate weight sample for every example.

    Formula: $b_m = x_m(\mu + \sigma\varepsilon_m)$, $\varepsilon_m \sim N(0, 1)$.

    It is unbiased like naive sampling, example by example. The noise of different examples is independent, so there is
    no covariance term. The cost is M weight samples. Examples pass through the network ``chunk`` at a time and their
    gradients are summed. This bounds the memory by chunk · (number of weights) and does not change the result: noise is
    drawn for groups of 32 examples, of fewer in large networks, and a chunk takes its part of a group's.

    If all outputs share the noise of an input feature (type A), a weight sample is a mask of the inputs:
    $x_m(\theta \circ \xi_m) = (x_m \circ \xi_m)\theta$. Then no weight samples are formed, and the whole minibatch
    passes at once. The draws equal those of ``type-a``. The same holds without noise.

    If the network has a weight without pre-activations of its own, such as an embedding or a recurrent weight, each
    example passes through the network alone, with its own sample of all weights.

    Claim: unbiased for the ELBO of any layer kind and any posterior.
    Cost: the products of naive sampling; M·K·L noise, M·K where outputs share it.
    Source: Kingma, Salimans & Welling 2015, section 2.2 ("separate weight sample per example"), and section 3.2 for
    noise that outputs share.

    Attributes:
        chunk: Examples held in memory at once; fewer for large networks, whose weight samples would not fit into a
            cache.

    Example:
        >>> import vdbench
        >>> vdbench.get("per-example", chunk=8)
        PerExample(chunk=8)
    """

    chunk: int = 32

    def __post_init__(self) -> None:
        """Refuse a chunk of no examples."""
        if self.chunk < 1:
            raise InputError(f"per-example: chunk must be at least 1 example, not {self.chunk}.")

    @property
    def pathwise(self) -> bool:
        """Whether a draw is a pathwise gradient: it is, for every example."""
        return True

    @property
    def own_whole_weights(self) -> bool:
        """Every example passes alone, with weights of its own."""
        return True

    @property
    def separate_weights(self) -> bool:
        """That is what it is."""
        return True

    def examples_together(self, problem: Problem) -> int:
        """A chunk."""
        return min(self.chunk, _most(problem))

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """The sum over chunks of examples of their pathwise gradients.

        Raises:
            CellError: The posterior's noise has a law that is learned.
        """
        need_posterior(self, problem)
        form = problem.parameterization
        if form.sharing == "inputs" or form.law == "none":
            return pathwise_gradient(
                problem, parameters, batch, _masking(self, problem, noise), problem.scale(batch)
            )
        total: Gradient | None = None
        examples = batch.inputs.shape[0]
        own = _Own(noise, examples, _group(problem))
        for start, stop in _parts(problem, examples, self.examples_together(problem)):
            part = Batch(*(t[start:stop] for t in batch))
            draw = partial(own.draw, start, stop)
            if problem.whole:
                gradient = _one_by_one(problem, parameters, part, draw, problem.scale(batch))
            else:
                gradient = pathwise_gradient(
                    problem, parameters, part, _sampler(problem, draw), problem.scale(batch)
                )
            total = gradient if total is None else add(total, gradient)
        assert total is not None
        return total


def _most(problem: Problem) -> int:
    """Examples whose weight samples are held at once, at most."""
    weights = sum(math.prod(layer.weight_shape) for layer in problem.layers)
    return max(1, LARGEST // weights)


def _group(problem: Problem) -> int:
    """Examples whose noise has one address."""
    return min(GROUP, _most(problem))


class _Own:
    """The noise of consecutive examples, that of a group at one address: seeding costs more than a few numbers do."""

    def __init__(self, noise: Noise, examples: int, size: int) -> None:
        self._noise, self._examples, self._size = noise, examples, size
        self._held: dict[str, Tensor] = {}  # of the group that the next examples begin in

    def draw(self, start: int, stop: int, q: Posterior, name: str) -> Tensor:
        """Z of examples ``start`` to ``stop``, (stop − start, *noise_shape); later calls have later examples."""
        parts = []
        for number in range(start // self._size, -(-stop // self._size)):
            first = number * self._size
            last = min(first + self._size, self._examples)
            z = self._held.pop(name, None) if first < start else None
            if z is None:
                z = q.draw(self._noise.at("examples", number), name, last - first)
            if stop < last:
                self._held[name] = z
            parts.append(z[max(start - first, 0) : stop - first])
        return parts[0] if len(parts) == 1 else torch.cat(parts)


Draw = Callable[[Posterior, str], Tensor]
"""Z of the examples of a chunk, for a layer's posterior and name."""


def _parts(problem: Problem, examples: int, held: int) -> list[tuple[int, int]]:
    """First and last example of each chunk; no chunk of one where the network does not take a single example."""
    starts = list(range(0, examples, held))
    if not problem.behaviour.alone and not problem.whole:
        starts = list(range(0, max(1, examples - 1), max(2, held)))
        if examples < 2:
            raise CellError(
                f"estimator 'per-example' passes one example through problem '{problem.name}', whose network does not "
                "take a single example (M = 1); expected minibatches of two examples or more."
            )
    return list(zip(starts, [*starts[1:], examples], strict=True))


def _sampler(problem: Problem, draw: Draw) -> Callable[[Parameters], Sampler]:
    drawn: dict[str, Tensor] = {}  # the same at every call of a layer

    def at(parameters: Parameters) -> Sampler:
        def sample(layer: Layer, x: Tensor) -> Tensor:
            q = problem.posterior(layer, parameters)
            if layer.name not in drawn:
                drawn[layer.name] = draw(q, layer.name)
            return _preactivation(layer, x, q, drawn[layer.name])

        return sample

    return at


def _preactivation(layer: Layer, x: Tensor, q: Posterior, z: Tensor) -> Tensor:
    """Of examples under weights of their own, z of (chunk, *noise_shape)."""
    if type(layer) is not Layer or x.dim() > 2 or q.law != "normal":
        return layer.linear_each(x, q.weights(z))
    # x ∘ z before σ: of the first layer it does not depend on the parameters, and nothing is passed back to it
    return layer.linear(x, q.mean) + (x.unsqueeze(-2) * z * q.scale).sum(-1)


def _one_by_one(
    problem: Problem, parameters: Parameters, batch: Batch, draw: Draw, scale: float
) -> Gradient:
    """Where a weight can only be sampled whole: each example passes the network alone, with weights of its own."""
    if not problem.behaviour.alone:
        raise CellError(
            f"estimator 'per-example' passes one example at a time through problem '{problem.name}', some of whose "
            "weights can only be sampled whole, and the network does not take a single example (M = 1); expected "
            "another estimator, such as grouped."
        )
    posteriors = {a.name: problem.posterior(a, parameters) for a in problem.layers}
    drawn = {name: draw(q, name) for name, q in posteriors.items()}

    def one(inputs: Tensor, targets: Tensor, z: dict[str, Tensor]) -> Gradient:
        def target(free: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            at = {**parameters, **free}

            def sample(layer: Layer, x: Tensor) -> Tensor:
                return layer.linear(x, problem.posterior(layer, at).weights(z[layer.name]))

            alone = Batch(inputs[None], targets[None])
            value = scale * problem.log_likelihood(sample, alone, at).sum()
            return value, value

        return Gradient(*differentiate(target, problem.free(parameters)))

    if problem.behaviour.vectorises:
        with vectorising():
            value, gradients = torch.func.vmap(one)(*batch, drawn)
        return Gradient(value.sum(), {name: g.sum(0) for name, g in gradients.items()})
    found = [
        one(batch.inputs[m], batch.targets[m], {n: z[m] for n, z in drawn.items()})
        for m in range(len(batch.inputs))
    ]
    return Gradient(
        torch.stack([g.value for g in found]).sum(),
        {n: torch.stack([g.gradients[n] for g in found]).sum(0) for n in found[0].gradients},
    )


def _masking(
    estimator: Estimator, problem: Problem, noise: Noise
) -> Callable[[Parameters], Sampler]:
    def at(parameters: Parameters) -> Sampler:
        source = noise_of_calls(estimator, problem, noise)
        return lambda layer, x: masked(
            layer, x, problem.posterior(layer, parameters), source(layer)
        )

    return at
