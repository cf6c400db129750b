"""Where an estimator is tried: the stages of each kind of posterior, chosen by what the estimator declares."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from vdbench.certificate import exact_gradients, toy_networks
from vdbench.certificate.exact_gradients import Truth
from vdbench.certificate.toy_networks import Toy
from vdbench.datasets import Split
from vdbench.errors import InputError, nearest
from vdbench.estimation.base import Estimator, objective
from vdbench.noise import Key, stream
from vdbench.problems.dropout import BinaryDropout, LearnedBinary
from vdbench.problems.families.bounded import TruncatedNormal, Uniform
from vdbench.problems.families.low_rank import LowRankPlusDiagonal
from vdbench.problems.families.matrix_normal import MatrixNormal
from vdbench.problems.families.radial import Radial
from vdbench.problems.gaussian import MeanLogVariance, ThetaLogAlpha
from vdbench.problems.parameterization import Parameterization
from vdbench.problems.problem import Batch, Parameters, Problem


@dataclass(frozen=True)
class Stage:
    """A problem at fixed parameters with one minibatch.

    Attributes:
        name: As findings call it.
        problem: The problem, in float64.
        parameters: All parameters.
        batch: The minibatch.
        exact: Gives the exact gradient of an objective, None of one that it has none of; None where the stage has
            none at all and is compared with draws of a textbook sampler.
        toy: What a fixed stage was made of.
        subsampled: Whether every draw is on a random part of the minibatch, which then is the whole data set.
        fitted_at: Where an estimator is fitted, if not at ``parameters``.
    """

    name: str
    problem: Problem
    parameters: Parameters
    batch: Batch
    exact: Callable[[str], Truth | None] | None = None
    toy: Toy | None = None
    subsampled: bool = False
    fitted_at: Parameters | None = None

    @property
    def size(self) -> int:
        """Examples of a draw."""
        count = len(self.batch.inputs)
        return max(1, count - max(1, count // 4)) if self.subsampled else count

    @property
    def place(self) -> tuple[object, ...]:
        """What distinguishes it from other stages."""
        where = (self.name, self.problem.dtype, self.problem.device)
        return (*where, self.subsampled, self.fitted_at is not None)

    def minibatches(self, key: Key, count: int) -> Batch:
        """Minibatches of so many draws, (count, M, …): the same for all, or drawn anew without replacement."""
        if not self.subsampled:
            return Batch(*(t.expand(count, *t.shape) for t in self.batch))
        examples = len(self.batch.inputs)
        numbers = np.random.Generator(np.random.PCG64(key.seed())).random((count, examples))
        chosen = torch.from_numpy(numbers.argsort(1)[:, : self.size]).to(self.problem.device)
        return Batch(*(t[chosen] for t in self.batch))

    def of_data(self) -> Stage:
        """The same with its minibatch for the whole data set, of which each draw takes a random part.

        The gradient is that of the minibatch, no longer scaled to the larger data set.
        """
        data, exact, scale = self.problem.data, self.exact, self.problem.scale(self.batch)
        train = Split(*self.batch)

        def truth(objective: str) -> Truth | None:
            found = exact(objective) if exact else None
            return None if found is None else {n: value / scale for n, value in found.items()}

        return replace(
            self,
            problem=replace(self.problem, data=replace(data, train=train)),
            exact=truth if exact else None,
            subsampled=True,
        )

    def fitted_elsewhere(self) -> Stage:
        """The same for an estimator that was fitted some way off, as one is some training steps after its fit."""
        noise = stream(Key(("fitted elsewhere", self.name)), "cpu", torch.float64)
        moved = dict(self.parameters)
        for name, value in self.problem.free(self.parameters).items():
            logarithm = name.endswith(("log_variance", "log_alpha", "logit"))
            size = 1.0 if logarithm else value.square().mean().sqrt()
            moved[name] = value + AWAY * size * noise(name, value.shape).to(value)
        return replace(self, fitted_at=moved)

    def truth(self, objective: str) -> Truth | None:
        """The exact gradient of an objective; None where the stage has no exact sum of it."""
        found = None if self.exact is None else self.exact(objective)
        if found is None:
            return None
        return {name: value.to(self.problem.device) for name, value in found.items()}

    def to(self, device: str, dtype: torch.dtype) -> Stage:
        """The same elsewhere, in another precision."""
        parameters = {name: value.to(device, dtype) for name, value in self.parameters.items()}
        return replace(
            self,
            problem=self.problem.to(device, dtype),
            parameters=parameters,
            batch=self.cast(device, dtype),
        )

    def cast(self, device: str, dtype: torch.dtype) -> Batch:
        """The minibatch elsewhere; class numbers stay whole."""
        inputs, targets = (t.to(device) for t in self.batch)
        whole = not targets.is_floating_point()
        return Batch(inputs.to(dtype), targets if whole else targets.to(dtype))


AWAY = 0.15
"""How far a parameter is from where an estimator was fitted: of its size, or of 1 where it is a logarithm; RMS."""

KINKED = ("elbo", "elbo-gaussian-preactivations")
"""Objectives that are one in a dense network with independent normal weights, and have a sum where it has kinks."""

MEANS = MeanLogVariance(sigma=0.6)
# polynomials of a high degree have heavy tails, the heavier the more noise there is
NARROW = MeanLogVariance(sigma=0.3)
ALPHAS = ThetaLogAlpha(alpha=0.6)
ROWS = ThetaLogAlpha(alpha=0.5, per="input", sharing="inputs")
MASKS = BinaryDropout(rate=0.3)
LEARNED = LearnedBinary(keep=0.6)

STAGES: dict[str, tuple[Toy, Parameterization]] = {
    "linear": (toy_networks.LINEAR, MEANS),
    "dense": (toy_networks.DENSE, ALPHAS),
    "convolution": (toy_networks.CONVOLUTION, MEANS),
    "rectified": (toy_networks.RECTIFIED, MEANS),
    "classes": (toy_networks.CLASSES, MEANS),
    "deep": (toy_networks.DEEP, NARROW),
    "row-shared": (toy_networks.DENSE, ROWS),
    "row-shared-convolution": (toy_networks.CONVOLUTION, ROWS),
    "binary": (toy_networks.DENSE, MASKS),
    "matrix-normal": (toy_networks.DENSE, MatrixNormal(sigma=0.6)),
    "low-rank-plus-diagonal": (toy_networks.DENSE, LowRankPlusDiagonal(sigma=0.6, rank=1)),
    "uniform": (toy_networks.SINGLE, Uniform(sigma=0.6)),
    "truncated-normal": (toy_networks.SINGLE, TruncatedNormal(sigma=0.6, bound=1.5)),
    "radial": (toy_networks.SINGLE, Radial(sigma=0.6)),
    "masks": (toy_networks.DENSE, LEARNED),
    "masks-convolution": (toy_networks.CONVOLUTION, LEARNED),
    "classifier": (toy_networks.CLASSIFIER, MEANS),
    "classifier-in-alpha": (toy_networks.CLASSIFIER, ALPHAS),
    "row-shared-classifier": (toy_networks.CLASSIFIER, ROWS),
    "masks-classifier": (toy_networks.CLASSIFIER, LEARNED),
}
"""Every stage there is, by name: a toy and the coordinates of its posterior."""


@dataclass(frozen=True)
class Kind:
    """The stages of one kind of posterior.

    Attributes:
        exact: Where the mean gradient is known exactly.
        thorough: Further such stages, which take many draws: of level full.
        network: A network with kinks and classes, for what holds on any problem.
        points: Names of `POINTS` at which formulas break.
        layer: A stage whose first layer is dense, for the law of pre-activations and of the minibatch.
        laws: Further such stages, for the law of pre-activations.
    """

    exact: tuple[str, ...]
    network: str
    points: tuple[str, ...]
    layer: str
    thorough: tuple[str, ...] = ()
    laws: tuple[str, ...] = ()


POINTS: dict[str, tuple[str, float]] = {
    "σ = 1e-30": ("log_variance", 2 * math.log(1e-30)),
    "σ = 1e-5": ("log_variance", 2 * math.log(1e-5)),
    "σ = 2e4": ("log_variance", 20.0),
    "α = 1e-8": ("log_alpha", math.log(1e-8)),
    "α = 1e4": ("log_alpha", math.log(1e4)),
    "almost all kept": ("logit", 15.0),
    "almost none kept": ("logit", -15.0),
}
"""Awkward values, by name, of the coordinates whose names end so."""

NORMAL = ("linear", "dense", "convolution", "rectified")

CORRELATED = ("matrix-normal", "low-rank-plus-diagonal")

NOT_NORMAL = ("uniform", "truncated-normal", "radial")

THOROUGH = ("classes", "deep")

SPREADS = ("σ = 1e-30", "σ = 1e-5", "σ = 2e4", "α = 1e-8", "α = 1e4")

KINDS: dict[str, Kind] = {
    "independent-normal": Kind(NORMAL, "classifier", SPREADS, "dense", THOROUGH),
    "sign-symmetric": Kind(NORMAL, "classifier", SPREADS, "dense", THOROUGH, NOT_NORMAL),
    "normal-preactivations": Kind(
        (*NORMAL, *CORRELATED), "classifier", SPREADS, "dense", THOROUGH, CORRELATED
    ),
    "any": Kind(
        (*NORMAL, "row-shared", "row-shared-convolution", "binary", *CORRELATED),
        "classifier",
        SPREADS,
        "dense",
        THOROUGH,
        (*CORRELATED, *NOT_NORMAL),
    ),
    "row-shared": Kind(
        ("row-shared", "row-shared-convolution"),
        "row-shared-classifier",
        ("α = 1e-8", "α = 1e4"),
        "row-shared",
    ),
    "learned-binary": Kind(
        ("masks", "masks-convolution"),
        "masks-classifier",
        ("almost all kept", "almost none kept"),
        "masks",
    ),
}
"""By what an estimator may declare as ``posteriors``: where it is tried."""


def kind(estimator: Estimator) -> Kind:
    """The stages of an estimator.

    Raises:
        InputError: It declares a kind of posterior that has none.
    """
    declared = estimator.declaration
    if declared.posteriors not in KINDS:
        raise InputError(
            f"estimator '{declared.name}' declares posteriors '{declared.posteriors}', for which there is no problem "
            f"to check it on.{nearest(declared.posteriors, KINDS)}"
        )
    return KINDS[declared.posteriors]


@functools.cache
def stage(name: str) -> Stage:
    """A stage by name, built once; nobody may write into it."""
    toy, form = STAGES[name]
    problem, parameters, batch = toy.build(form)
    return Stage(name, problem, parameters, batch, functools.partial(_truth, name), toy)


def at_point(at: Stage, point: str) -> Stage:
    """A stage of a network at an awkward point of its posterior; any other name leaves it as it is.

    A point of α is one of a network in (θ, log α): that of a stage in other coordinates is taken in its place.
    """
    if point not in POINTS:
        return at
    coordinate, value = POINTS[point]
    if not any(name.endswith(coordinate) for name in at.parameters):
        at = stage(f"{at.name}-in-alpha").to(str(at.problem.device), at.problem.dtype)
    parameters = {
        name: torch.full_like(tensor, value) if name.endswith(coordinate) else tensor
        for name, tensor in at.parameters.items()
    }
    return replace(at, name=f"{at.name} at {point}", parameters=parameters)


@functools.cache
def _truth(name: str, objective: str) -> Truth | None:
    at = stage(name)
    assert at.toy is not None
    known = exact_gradients.OBJECTIVES if at.toy.nodes else KINKED if at.toy.kinked else ()
    if objective not in known:
        return None
    if at.toy.nodes is None:
        return exact_gradients.rectified(at.problem, at.parameters, at.batch)
    return exact_gradients.gradient(objective, at.problem, at.parameters, at.batch, at.toy.nodes)


def served(estimator: Estimator, at: Stage) -> str:
    """The objective class whose gradient an estimator estimates on a stage."""
    return objective(estimator, at.problem)
