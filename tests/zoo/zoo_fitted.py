"""Defects of control variates whose coefficients are fitted on pilot draws."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from zoo_making import add

from estimators.quadratic_control_variate import QuadraticControlVariate
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
        drawn = self._parts(problem, parameters, batch, noise, state)
        zero = {n: torch.zeros_like(g) for n, g in drawn[0].gradients.items()}
        nothing = (Gradient(drawn[0].value, zero), [zero, zero])
        return least_squares.less(drawn, least_squares.weights([(drawn, nothing)], 1e-3))


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
