"""Small problems on which every expectation is an exact sum.

Their networks are polynomials: linear layers, b + b²/4 between them, half a square at the end. With independent
normal, row-shared or binary noise the expected log-likelihood is then a sum over the few nodes of a quadrature rule
(`vdbench.certificate.exact_gradients`), and so is its gradient: a reference without a standard error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vdbench.datasets import Dataset, Split
from vdbench.estimation.draws import gather
from vdbench.problems.from_module import ours
from vdbench.problems.layers import Convolution, NoisyModule
from vdbench.problems.likelihoods import Categorical, GaussianNoise, Likelihood
from vdbench.problems.parameterization import Parameterization
from vdbench.problems.priors import GaussianPrior, NoPrior
from vdbench.problems.problem import Batch, Problem

SEED = 2015
"""Of the data and parameters of every toy: they are the same for every estimator and every check."""

REPEATS = 5
"""N/M of most toys: an estimator that forgets the scale is off by this factor."""


class Bend(nn.Module):
    """b + b²/4: a non-linearity that keeps a network polynomial."""

    def forward(self, b: Tensor) -> Tensor:
        """Bend each number by itself."""
        return b + b.square() / 4


class Mean(nn.Module):
    """Mean over the places of every channel."""

    def forward(self, b: Tensor) -> Tensor:
        """(M, channels, …) to (M, channels)."""
        return b.flatten(2).mean(2)


@dataclass(frozen=True)
class SmallConvolution(Convolution):
    """A convolution of a few numbers, written as products and sums.

    Under `torch.func.vmap` a convolution whose weights differ between draws becomes one with a group for each draw,
    and torch loops over the groups. The numbers are the same; thousands of draws take a twentieth of the time.
    """

    def _convolve(self, x: Tensor, weight: Tensor, groups: int) -> Tensor:
        outputs, inputs, *kernel = weight.shape
        x = F.pad(x, self._margins(kernel))
        parts = x.reshape(len(x), groups, 1, inputs, *x.shape[2:])
        kernels = weight.reshape(groups, outputs // groups, inputs, 1, 1, *kernel)
        size = [n - d * (k - 1) for n, d, k in zip(x.shape[2:], self.dilation, kernel, strict=True)]
        total = torch.zeros((), dtype=x.dtype, device=x.device)
        for at in product(*map(range, kernel)):
            first = [d * i for d, i in zip(self.dilation, at, strict=True)]
            rows, columns = (
                slice(i, i + n, s) for i, n, s in zip(first, size, self.stride, strict=True)
            )
            total = total + (parts[..., rows, columns] * kernels[..., at[0], at[1]]).sum(3)
        return total.flatten(1, 2)

    def _margins(self, kernel: list[int]) -> tuple[int, ...]:
        """Zeros before and after each dimension, last dimension first."""
        if self.padding == "same":
            missing = [d * (k - 1) for d, k in zip(self.dilation, kernel, strict=True)]
            return tuple(n for m in reversed(missing) for n in (m // 2, m - m // 2))
        assert not isinstance(self.padding, str)
        return tuple(n for p in reversed(self.padding) for n in (p, p))


def small(problem: Problem) -> Problem:
    """The problem with every convolution a `SmallConvolution`."""
    for module in problem.module.modules():
        if isinstance(module, NoisyModule) and isinstance(module.layer, Convolution):
            module.layer = SmallConvolution(**vars(module.layer))
    layers = [m.layer for m in problem.module.modules() if isinstance(m, NoisyModule)]
    return replace(problem, layers=tuple(layers))


@dataclass(frozen=True)
class Toy:
    """What a small problem is made of.

    Attributes:
        name: As findings call it.
        modules: Makes its layers; the weights do not matter.
        inputs: Shape of one example's inputs.
        outputs: Numbers that the network returns.
        examples: M; the data set has each of them ``repeats`` times.
        nodes: By noisy layer, the nodes of a Gauss–Hermite rule for each of its random numbers that make the
            gradient's expectation exact: half the degree of the log-likelihood in that number, and one more. None where
            the network is no polynomial.
        spread: Largest deviation of a weight from 0.
        classes: Number of classes, 0 for regression.
        repeats: N/M.
        blank: Whether the inputs of the second example are all 0.
        kinked: Whether it is dense with one layer of ReLU, whose sum is
            `vdbench.certificate.exact_gradients.rectified`.
    """

    name: str
    modules: Callable[[], list[nn.Module]]
    inputs: tuple[int, ...]
    outputs: int
    examples: int = 3
    nodes: Mapping[str, int] | None = field(default_factory=dict)
    spread: float = 1.0
    classes: int = 0
    repeats: int = REPEATS
    blank: bool = False
    kinked: bool = False

    def build(self, form: Parameterization) -> tuple[Problem, dict[str, Tensor], Batch]:
        """The problem under a parameterization, its parameters and one minibatch, in float64."""
        generator = torch.Generator().manual_seed(SEED)

        def rand(*shape: int) -> Tensor:
            return 2 * torch.rand(*shape, generator=generator, dtype=torch.float64) - 1

        inputs, targets = rand(self.examples, *self.inputs) + 0.3, self._targets(rand)
        if self.blank:
            inputs[1] = 0
        split = Split(*(torch.cat([t] * self.repeats) for t in (inputs, targets)))
        problem = small(
            ours(
                nn.Sequential(*self._modules()).double(),
                Dataset(self.name, split, split, self.classes),
                name=self.name,
                likelihood=self._likelihood(),
                parameterization=form,
                prior=GaussianPrior(1.0) if form.sharing == "weights" else NoPrior(),
                keep_weights=True,
            )
        )
        parameters = {}
        for name, value in problem.start.items():
            role = problem.groups[name].role
            free = role in ("mean", "theta", "bias")
            centre, width = (0.0, self.spread) if free else (value, 0.3)
            parameters[name] = centre + width * rand(*value.shape)
        for name in set(parameters) - set(problem.free(parameters)):
            parameters[name] = problem.start[name]
        return problem, parameters, gather(problem, np.arange(self.examples))

    def _modules(self) -> list[nn.Module]:
        with torch.random.fork_rng(
            devices=[]
        ):  # torch initialises layers from its global generator
            return self.modules()

    def _targets(self, rand: Callable[..., Tensor]) -> Tensor:
        if self.classes:
            return torch.arange(self.examples) % self.classes
        return rand(self.examples, self.outputs)

    def _likelihood(self) -> Likelihood:
        # at this variance the density has no constant, which would only widen the spread of score functions
        return Categorical() if self.classes else GaussianNoise(1 / (2 * math.pi))


def _linear() -> list[nn.Module]:
    return [nn.Linear(3, 1)]


def _single() -> list[nn.Module]:
    return [nn.Linear(1, 2)]


def _dense() -> list[nn.Module]:
    return [nn.Linear(3, 2), Bend(), nn.Linear(2, 2)]


def _convolution() -> list[nn.Module]:
    convolution = nn.Conv2d(2, 2, (1, 2), stride=(1, 2), padding=(0, 1), groups=2)
    return [convolution, Bend(), Mean(), nn.Linear(2, 1)]


def _deep() -> list[nn.Module]:
    return [nn.Linear(2, 1), Bend(), nn.Linear(1, 1), Bend(), nn.Linear(1, 1)]


def _rectified() -> list[nn.Module]:
    return [nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)]


def _classes() -> list[nn.Module]:
    return [nn.Linear(1, 2)]


def _classifier() -> list[nn.Module]:
    return [nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3)]


LINEAR = Toy("linear", _linear, (3,), 1, examples=7, nodes={"0": 2}, repeats=40, blank=True)
SINGLE = Toy("single", _single, (1,), 2)
DENSE = Toy("dense", _dense, (3,), 2, nodes={"0": 3, "2": 2})
CONVOLUTION = Toy("convolution", _convolution, (2, 1, 3), 1, examples=2, nodes={"0": 3, "3": 2})
DEEP = Toy("deep", _deep, (2,), 1, nodes={"0": 5, "2": 3, "4": 2}, spread=0.7)
RECTIFIED = Toy("rectified", _rectified, (2,), 1, nodes=None, kinked=True)
# no polynomial, but smooth: 32 nodes give nine digits, where a difference of 1 % is looked for
CLASSES = Toy("classes", _classes, (1,), 2, nodes={"0": 32}, classes=2)
CLASSIFIER = Toy("classifier", _classifier, (3,), 3, nodes=None, classes=3)
