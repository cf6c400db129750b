"""What estimators share that have an anchor: earlier parameters, and a gradient of the whole training split there.

A control variate for the choice of a minibatch B is any function c(B) whose mean over minibatches is known. Made at an
anchor, it is a gradient of B's examples, and its mean the same gradient of all examples, which `fit` computes once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vdbench.errors import CellError, InputError
from vdbench.estimation.base import Declaration, Gradient, Wrapper
from vdbench.estimation.draws import gather
from vdbench.noise import Key, Noise, Request, Source, stream
from vdbench.problems.problem import Batch, Parameters, Problem

EXAMPLES = 1024
"""Most examples of the training split that are taken at once."""

MEANS = ("mean", "theta")
"""Coordinates of a posterior that are the mean of the weights."""


@dataclass(frozen=True)
class Anchored(Wrapper):
    """An estimator less a control variate for its minibatch, made at an anchor.

    Its mean given a minibatch is not that minibatch's gradient; over random minibatches it is the whole data set's.
    A training fits it anew, so that the anchor follows the parameters.

    Attributes:
        epochs: Epochs of a training after which the anchor is made anew.
        distance: How far the anchor's means lie from the parameters it is made at, in standard deviations of the
            weights: for measuring what an anchor is worth that the parameters have left. 0 in a training.
    """

    epochs: int = 1
    distance: float = 0.0

    def __post_init__(self) -> None:
        """Refuse an estimator that has an anchor already, and numbers out of range."""
        super().__post_init__()
        inner = self.of.declaration
        if not inner.unbiased_given_minibatch:
            raise InputError(
                f"{self.named}: estimator '{inner.name}' has an anchor already; expected one whose mean is the "
                "gradient of each minibatch."
            )
        if self.epochs < 1:
            raise InputError(f"{self.named}: epochs must be at least 1, not {self.epochs}.")
        if not 0 <= self.distance < float("inf"):
            raise InputError(
                f"{self.named}: distance must be a finite number of at least 0, not {self.distance}."
            )

    @property
    def declaration(self) -> Declaration:
        """The inner estimator's, but unbiased on average over minibatches alone."""
        return replace(super().declaration, unbiased_given_minibatch=False)

    @property
    def pathwise(self) -> bool:
        """It has parts that are no gradient along the path of its noise."""
        return False

    @property
    def refit_epochs(self) -> int:
        """The option ``epochs``."""
        return self.epochs

    def passes_to_fit(self, state: Any) -> int:
        """What `fit` counted."""
        return int(state["passes"])

    def update(self, state: Any, gradient: Gradient) -> Any:
        """Update the state of the inner estimator; the anchor stays until the next fit."""
        return {**state, "of": self.of.update(state["of"], gradient)}

    def need_state(self, state: Any) -> None:
        """Refuse a call without an anchor.

        Raises:
            CellError: There is none.
        """
        if not state:
            raise CellError(
                f"estimator '{self.named}': it has an anchor and was given none; expected "
                "state=estimator.fit(problem, parameters, key)."
            )

    def anchor(self, problem: Problem, parameters: Parameters, key: Key) -> dict[str, Tensor]:
        """Copies of the parameters, the means moved by the option ``distance``.

        Raises:
            CellError: They are to be moved, and the posterior has no mean among its coordinates.
        """
        found = {name: value.detach().clone() for name, value in parameters.items()}
        if not self.distance:
            return found
        noise = kept_noise(problem, key / "distance")
        for layer in problem.layers:
            names = [n for n in (f"{layer.name}.{role}" for role in MEANS) if n in found]
            if not names:
                raise CellError(
                    f"{self.named}: option distance moves the means of weights, and the posterior "
                    f"'{problem.parameterization.name}' of problem '{problem.name}' has none among its coordinates."
                )
            scale = problem.posterior(layer, parameters).scale.detach()
            found[names[0]] += self.distance * scale * noise(layer.name, scale.shape)
        return found


@dataclass(frozen=True)
class _Cast:
    """Numbers of a source in another floating-point type."""

    source: Source
    dtype: torch.dtype

    def __call__(self, request: Request) -> Tensor:
        """Ask the source, and cast."""
        return self.source(request).to(self.dtype)


def kept_noise(problem: Problem, key: Key) -> Noise:
    """Noise of which a state is made: drawn in float64, so that it is the same in every precision."""
    source = stream(key, problem.device, torch.float64).source
    return Noise(_Cast(source, problem.dtype))


def parts(problem: Problem) -> Iterator[Batch]:
    """The training split in order, so many examples at a time."""
    for start in range(0, problem.examples, EXAMPLES):
        yield gather(problem, np.arange(start, min(start + EXAMPLES, problem.examples)))


def of_all(problem: Problem, draw: Callable[[Batch], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The gradient of the whole training split from those of its parts, each scaled by N/M, summed in float64."""
    total: dict[str, Tensor] = {}
    for batch in parts(problem):
        share = len(batch.inputs) / problem.examples
        for name, value in draw(batch).items():
            total[name] = total.get(name, 0.0) + share * value.detach().double()
    return {name: value.to(problem.dtype) for name, value in total.items()}


def controlled(
    gradient: Gradient, control: Mapping[str, Tensor], mean: Mapping[str, Tensor]
) -> Gradient:
    """G − c(B) + E[c(B)], for every parameter."""
    return Gradient(
        gradient.value,
        {name: g - (control[name] - mean[name]) for name, g in gradient.gradients.items()},
    )
