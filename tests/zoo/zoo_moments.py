"""Defects of the propagation of moments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from zoo_making import add, declared

from estimators.deterministic_vi import DeterministicVi
from vdbench.estimation.base import Gradient
from vdbench.noise import Noise
from vdbench.problems.problem import Batch, Parameters, Problem

SILENT: Mapping[str, Any] = {"laws": (), "independent_examples": True}


@dataclass(frozen=True)
class HalfTheSpread(DeterministicVi):
    """The ½ of the expansion is taken twice: spread counts half in the gradient of the scales."""

    declared = declared("deterministic-vi-with-half-the-spread", **SILENT)

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """Halves in the scales."""
        found = super().__call__(problem, parameters, batch, noise, state)
        halved = {n: g - 0.5 * (g - _kept(n, g)) for n, g in found.gradients.items()}
        return Gradient(found.value, halved)


@dataclass(frozen=True)
class AtTheMean(DeterministicVi):
    """The gradient in the scales is left out, as if the weights had no noise."""

    declared = declared("deterministic-vi-without-its-scales", **SILENT)

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """Zeros in the scales."""
        found = super().__call__(problem, parameters, batch, noise, state)
        return Gradient(found.value, {n: _kept(n, g) for n, g in found.gradients.items()})


def _kept(name: str, gradient: Tensor) -> Tensor:
    return 0 * gradient if name.endswith(("log_variance", "log_alpha")) else gradient


add("deterministic-vi-with-half-the-spread", HalfTheSpread(), "half the gradient in the scales")
add(
    "deterministic-vi-without-its-scales",
    AtTheMean(),
    "no gradient in the scales, claimed unbiased",
)
