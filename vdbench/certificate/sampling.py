"""Many draws of an estimator on a stage, as rows: vectorised where it can be, else looped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vdbench.certificate import own_noise
from vdbench.certificate.reference_problems import Stage, kind, stage
from vdbench.estimation import draws
from vdbench.estimation.base import Estimator, Gradient
from vdbench.estimation.draws import Trace
from vdbench.noise import Key, Noise, Request, draw, stream
from vdbench.problems.problem import Batch

Rows = NDArray[np.float64]

LEAST_LOOPED = 512
"""Draws of a looped estimator in a first look, at least."""

PART = 4096
"""Most draws in one vectorised call; their noise is one block of one stream."""

NUMBERS = 2**23
"""Most random numbers in one vectorised call."""

WORK = 200
"""Numbers of one draw up to which there may be as many draws as a level allows; of larger ones there may be fewer."""

FURTHER = 6
"""How many times as many draws of large ones are made where that decides them."""

FEWER = 1024
"""Draws in a first look, at least, where one draw takes many random numbers, or a pass for each weight."""


def block(requests: Sequence[Request], key: Key, count: int, like: Tensor) -> dict[Request, Tensor]:
    """The noise of ``count`` independent draws, stacked, each request from one stream."""
    return {
        r: draw(key, r, torch.empty((count, *r.shape), device=like.device, dtype=like.dtype))
        for r in requests
    }


@dataclass(frozen=True)
class Draws:
    """How to draw an estimator on a stage.

    Attributes:
        estimator: The estimator.
        stage: Where.
        state: What it was fitted to there.
        traced: The noise of one draw.
        alone: Whether draws are taken one by one.
        own: Whether the noise of vectorised draws is the estimator's own, from torch's global generator.
    """

    estimator: Estimator
    stage: Stage
    state: Any
    traced: Trace
    alone: bool
    own: bool = False

    @property
    def noiseless(self) -> bool:
        """Whether all draws are equal."""
        drawn = not self.estimator.declaration.pure or self.traced.requests
        return not (drawn or self.stage.subsampled)

    def one(self, key: Key) -> Gradient:
        """One draw, by itself, as a training step takes it."""
        at = self.stage
        noise = stream(key, at.problem.device, at.problem.dtype)
        return draws.call(
            self.estimator, at.problem, at.parameters, at.batch, noise, key, self.state
        )

    def given(self, noise: Noise) -> Gradient:
        """One draw of a pure estimator at given noise."""
        at = self.stage
        return self.estimator(at.problem, at.parameters, at.batch, noise, self.state)

    @cached_property
    def numbers(self) -> int:
        """Random numbers, parameters and pre-activations of one draw: what it costs, roughly."""
        at = self.stage
        noise = sum(math.prod(r.shape) for r in self.traced.requests)
        uses = at.problem.uses.values()
        held = len(at.batch.inputs) * sum(use.inputs + use.outputs for use in uses)
        return noise + held + sum(value.numel() for value in at.parameters.values())

    @property
    def part(self) -> int:
        """Most draws in one vectorised call, so that their noise and gradients stay within bounds."""
        return max(64, min(PART, NUMBERS // self.numbers))

    def many(self, key: Key, count: int) -> dict[str, Rows]:
        """``count`` independent draws, by parameter, each (count, coordinates)."""
        if self.noiseless:
            count = 2
        parts, most = [], self.part
        for number, start in enumerate(range(0, count, most)):
            size = min(most, count - start)
            parts.append(self._part(key / "part" / number, size))
        return {n: np.concatenate([p[n] for p in parts]) for n in parts[0]}

    def _part(self, key: Key, size: int) -> dict[str, Rows]:
        at = self.stage
        batches = at.minibatches(key / "minibatches", size)
        where = (self.estimator, at.problem, at.parameters, batches)
        if self.alone:
            keys = [key / k for k in range(size)]
            found = draws.gradients(*where, keys, Trace(self.traced.requests, 0), self.state)
        elif self.own:
            found = own_noise.vectorised(self.estimator, at, self.state, key, size)
        else:
            noise = block(self.traced.requests, key, size, at.batch.inputs)
            found = draws.vectorised(*where, noise, self.state)
        return {
            n: value.detach().flatten(1).double().cpu().numpy()
            for n, value in found.gradients.items()
        }


@dataclass(frozen=True)
class Subject:
    """The estimator that is checked, and all that its tests share.

    Attributes:
        estimator: The estimator.
        key: The address of all noise of this check.
        device: Where it is checked.
        most: Most draws of a vectorised estimator in a first look.
        few: Most draws of a looped one.
        draws: Most draws of either, where the caller of the check says so.
        thorough: Whether a looped estimator is tried on problems that take many draws, too.
        drawn: The stages that were drawn for this check, by name.
        complete: Whether all is drawn, also when the certificate has failed.
        closed: Where it was found that the certificate has failed, so that no more is drawn; empty until then.
    """

    estimator: Estimator
    key: Key
    device: str = "cpu"
    most: int = 65536
    few: int = 512
    draws: int | None = None
    thorough: bool = False
    drawn: Mapping[str, Stage] = field(default_factory=dict)
    complete: bool = True
    closed: list[str] = field(default_factory=list)
    _made: dict[Any, Draws] = field(default_factory=dict)
    _states: dict[Any, Any] = field(default_factory=dict)
    _together_on: dict[Any, bool] = field(default_factory=dict)

    @property
    def compared(self) -> tuple[str, ...]:
        """Names of the stages on which the mean is compared with what it should be."""
        of = kind(self.estimator)
        return (*of.exact, *(of.thorough if self.thorough else ()), *self.drawn)

    def placed(self, name: str) -> Stage:
        """A stage by name, drawn or fixed, on the subject's device."""
        at = self.drawn[name] if name in self.drawn else stage(name)
        return at if self.device == "cpu" else at.to(self.device, at.problem.dtype)

    def on(self, at: Stage) -> Draws:
        """Draws on a stage: traced and fitted there, once.

        Raises:
            CellError: The estimator refuses the stage's problem.
        """
        place = (*at.place, len(at.batch.inputs))
        if place not in self._made:
            self._made[place] = self._checked(self.fresh(at))
        return self._made[place]

    def state(self, at: Stage) -> Any:
        """What the estimator is fitted to on a stage: always the same, so it is fitted once."""
        if at.place not in self._states:
            key = self.key / "fit" / at.name
            where = at.parameters if at.fitted_at is None else at.fitted_at
            self._states[at.place] = self.estimator.fit(at.problem, where, key)
        return self._states[at.place]

    def fresh(self, at: Stage) -> Draws:
        """Draws on a stage that are not kept."""
        state = self.state(at)
        batch = Batch(*(t[: at.size] for t in at.batch))
        traced = draws.trace(self.estimator, at.problem, at.parameters, batch, state)
        return Draws(self.estimator, at, state, traced, not self.estimator.declaration.pure)

    def once(self, at: Stage, key: Key) -> Gradient:
        """One draw on a stage."""
        return Draws(self.estimator, at, self.state(at), Trace((), 0), True).one(key)

    def looks(self, drawn: Draws, needed: float = 0.0) -> int:
        """Draws in a first look: as many as needed, between a least number and `bound`."""
        unit = self.unit(drawn)
        wanted = max(needed, unit) if math.isfinite(needed) else unit
        return min(self.bound(drawn, needed), math.ceil(wanted / unit) * unit)

    def unit(self, drawn: Draws) -> int:
        """Numbers of draws are multiples of this, up to the bound."""
        if drawn.alone:
            return LEAST_LOOPED
        cheap = drawn.part > PART // 8 and not self.estimator.passes_each_weight
        return PART if cheap else FEWER

    def bound(self, drawn: Draws, needed: float = 0.0) -> int:
        """Most draws in a first look; a gradient that is a mean of many draws is expensive, and counts as many.

        Of a large draw there are fewer, and up to `FURTHER` times as many where that is what is needed; then, a mean of
        many draws counts as one.
        """
        if drawn.alone and self.estimator.declaration.pure:
            return LEAST_LOOPED  # it has failed by not being vectorised: its draws decide nothing
        if self.draws is not None:
            return self.draws
        if drawn.alone:
            return self.few
        cost = self.estimator.draws_per_gradient
        most = min(self.most, self.most * WORK // drawn.numbers) // cost
        further = min(2 * self.most, FURTHER * most)
        return max(self.unit(drawn), further if most < needed <= further else most)

    def _checked(self, made: Draws) -> Draws:
        """The same, looped where it cannot be vectorised; the test of several draws says why."""
        if made.alone:
            return self._together(made)
        try:
            made.many(self.key / "try", 2)
        except (RuntimeError, KeyError):
            return replace(made, alone=True)
        return made

    def _together(self, looped: Draws) -> Draws:
        """Draws of an estimator with noise of its own, vectorised where that gives what a loop gives.

        They are compared once for each combination of kinds of layers.
        """
        kinds = frozenset(type(layer) for layer in looped.stage.problem.layers)
        key = self.key / "own noise" / looped.stage.name
        together = replace(looped, alone=False, own=True)
        known = kinds in self._together_on
        before = own_noise.others()
        try:
            found = together.many(key / "together", 2 if known else own_noise.TOGETHER)
        except Exception:  # whatever a layer does in vmap, it does not do in a loop
            return looped
        if not known:
            same = before == own_noise.others() and own_noise.agree(
                looped.many(key / "looped", own_noise.LOOPED), found
            )
            self._together_on[kinds] = same
        return together if self._together_on[kinds] else looped
