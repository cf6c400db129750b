"""Defects of control variates that are made at an anchor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from zoo_making import add

from estimators.joint_control_variate import JointControlVariate
from estimators.svrg import Svrg
from vdbench.estimation.base import Declaration, Gradient
from vdbench.noise import Key, Noise
from vdbench.problems.problem import Batch, Parameters, Problem


def named(made: Declaration, name: str, **change: Any) -> Declaration:
    """A declaration under the name of a defect."""
    return replace(made, name=name, **change)


@dataclass(frozen=True)
class AtTheParameters(Svrg):
    """The gradient that is subtracted is taken at the parameters, its mean at the anchor."""

    @property
    def declaration(self) -> Declaration:
        return named(super().declaration, "svrg-of-two-places")

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        return super().__call__(
            problem, parameters, batch, noise, {**state, "anchor": dict(parameters)}
        )


@dataclass(frozen=True)
class Unscaled(Svrg):
    """What is subtracted is the sum over the minibatch, without N/M."""

    @property
    def declaration(self) -> Declaration:
        return named(super().declaration, "svrg-without-its-scale")

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        right = super().__call__(problem, parameters, batch, noise, state)
        control = self._at_anchor(problem, state["anchor"], batch, state["samples"]).gradients
        share = 1 - 1 / problem.scale(batch)
        return Gradient(
            right.value, {n: g + share * control[n] for n, g in right.gradients.items()}
        )


@dataclass(frozen=True)
class EveryMinibatch(Svrg):
    """It claims the gradient of every minibatch."""

    @property
    def declaration(self) -> Declaration:
        name = "svrg-claims-every-minibatch"
        return named(super().declaration, name, unbiased_given_minibatch=True)


@dataclass(frozen=True)
class StoredWithoutBias(Svrg):
    """One stored draw for the mean at the anchor, claimed unbiased."""

    @property
    def declaration(self) -> Declaration:
        return named(super().declaration, "svrg-of-a-stored-draw-claims-no-bias", unbiased=True)


@dataclass(frozen=True)
class OfTheFirst(JointControlVariate):
    """The mean of the polynomial is that of the first half of the examples."""

    @property
    def declaration(self) -> Declaration:
        return named(super().declaration, "joint-control-variate-of-the-first-examples")

    def fit(self, problem: Problem, parameters: Parameters, key: Key) -> Any:
        train = problem.data.train
        half = (problem.examples + 1) // 2
        first = type(train)(*(t[:half] for t in train))
        few = replace(problem, data=replace(problem.data, train=first))
        state = super().fit(few, parameters, key)
        share = problem.examples / half
        return {**state, "whole": {n: share * g for n, g in state["whole"].items()}}


@dataclass(frozen=True)
class PolynomialOfTwoPlaces(JointControlVariate):
    """The polynomial is taken at the parameters, its mean at the anchor."""

    @property
    def declaration(self) -> Declaration:
        return named(super().declaration, "joint-control-variate-of-two-places")

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        return super().__call__(
            problem, parameters, batch, noise, {**state, "anchor": dict(parameters)}
        )


add("svrg-of-two-places", AtTheParameters(), "subtracts at the parameters, adds at the anchor")
add("svrg-without-its-scale", Unscaled(), "N/M is missing in what is subtracted")
add("svrg-claims-every-minibatch", EveryMinibatch(), "declared unbiased given the minibatch")
add(
    "svrg-of-a-stored-draw-claims-no-bias",
    StoredWithoutBias(control="stored", draws=1),
    "one draw for the mean at the anchor, claimed unbiased",
)
add(
    "joint-control-variate-of-the-first-examples",
    OfTheFirst(),
    "the polynomial's mean over the first half of the data",
)
add(
    "joint-control-variate-of-two-places",
    PolynomialOfTwoPlaces(),
    "the polynomial at the parameters, its mean at the anchor",
)
