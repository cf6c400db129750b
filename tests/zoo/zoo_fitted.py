"""Defects of control variates whose coefficients are fitted on pilot draws."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from zoo_making import add, times

from estimators.ensemble_control_variate import EnsembleControlVariate
from estimators.naive import Naive
from estimators.quadratic_control_variate import QuadraticControlVariate
from estimators.samples import Samples
from vdbench.estimation import least_squares
from vdbench.estimation.base import Declaration, Gradient
from vdbench.noise import Noise
from vdbench.problems.problem import Batch, Parameters, Problem


@dataclass(frozen=True)
class WithoutItsMean(QuadraticControlVariate):
    """The curvature's part keeps its mean in σ."""

    @property
    def declaration(self) -> Declaration:
        return replace(super().declaration, name="quadratic-control-variate-without-its-mean")

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        none = {name: torch.zeros_like(v) for name, v in state["diagonal"].items()}
        given = {**state, "diagonal": none}
        return super().__call__(problem, parameters, batch, noise, given)


@dataclass(frozen=True)
class OfItsOwnDraw(QuadraticControlVariate):
    """The weights are least squares on the draw that they are used in."""

    @property
    def declaration(self) -> Declaration:
        return replace(super().declaration, name="quadratic-control-variate-of-its-own-draw")

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        return least_squares_of(self._parts(problem, parameters, batch, noise, state))


def least_squares_of(drawn: least_squares.Drawn) -> Gradient:
    """Less the control variates, with weights from this draw alone."""
    zero = {n: torch.zeros_like(g) for n, g in drawn[0].gradients.items()}
    nothing = (Gradient(drawn[0].value, zero), [zero for _ in drawn[1]])
    return least_squares.less(drawn, least_squares.weights([(drawn, nothing)], 1e-3))


@dataclass(frozen=True)
class EnsembleOfItsOwnDraw(EnsembleControlVariate):
    """The weights are least squares on the draw that they are used in."""

    @property
    def declaration(self) -> Declaration:
        return replace(super().declaration, name="ensemble-control-variate-of-its-own-draw")

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        return least_squares_of(self._drawn(problem, parameters, batch, noise, state["parts"]))


@dataclass(frozen=True)
class Unscaled(Naive):
    """The gradient of the minibatch, without N/M."""

    @property
    def declaration(self) -> Declaration:
        return replace(super().declaration, name="naive-without-its-scale")

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        found = super().__call__(problem, parameters, batch, noise.at("other"), state)
        return times(found, 1 / problem.scale(batch))


@dataclass(frozen=True)
class OfTwoObjectives(EnsembleControlVariate):
    """A member estimates another gradient, so that its difference has a mean."""

    @property
    def declaration(self) -> Declaration:
        return replace(super().declaration, name="ensemble-control-variate-of-two-objectives")


add(
    "quadratic-control-variate-without-its-mean",
    WithoutItsMean(),
    "the mean of the curvature's part is not added back",
)
add(
    "quadratic-control-variate-of-its-own-draw",
    OfItsOwnDraw(),
    "weights fitted on the draw that they are used in",
)
add(
    "ensemble-control-variate-of-its-own-draw",
    EnsembleOfItsOwnDraw(members=(("other", Samples(Naive(), 2)),)),
    "weights fitted on the draw that they are used in",
)
add(
    "ensemble-control-variate-of-two-objectives",
    OfTwoObjectives(members=(("unscaled", Unscaled()),)),
    "a member's gradient is without N/M",
)
