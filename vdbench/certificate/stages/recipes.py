"""What a drawn problem is made of: one recipe a family, whose sizes, geometry and noise are drawn anew at every check.

A family always has what its name says, so that every certificate exercises the same list of features, at values that
change with the seed. Sizes of the minibatch are spread over the families: a chunk size or a limit that one size hides,
another shows.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from vdbench.certificate.stages.moments import MeanOfRows
from vdbench.certificate.toy_networks import Mean
from vdbench.problems.dropout import LearnedBinary
from vdbench.problems.families.bounded import TruncatedNormal, Uniform
from vdbench.problems.families.low_rank import LowRankPlusDiagonal
from vdbench.problems.families.low_rank_scale import LowRankScale
from vdbench.problems.families.matrix_normal import MatrixNormal
from vdbench.problems.families.radial import Radial
from vdbench.problems.gaussian import MeanLogVariance, Per, ThetaLogAlpha
from vdbench.problems.parameterization import Parameterization


@dataclass(frozen=True)
class Recipe:
    """A problem to be made.

    Attributes:
        family: Its name.
        modules: Layers of the network; those of ``quiet`` have no noise.
        inputs: Shape of one example's inputs.
        outputs: Numbers that the network returns.
        examples: M.
        total: N.
        form: Coordinates of the posterior.
        spread: Smallest and largest α (of log-uniform values), or σ relative to a weight's size.
        size: Typical size of a weight, times 1/√fan-in.
        classes: Number of classes; 0 for regression.
        quiet: Names of layers that get no noise.
        linear: Whether all after the first noisy layer is linear, so that moments are exact.
        heavy: Whether the last example is larger than the others, so that one that is dropped is missed.
    """

    family: str
    modules: tuple[nn.Module, ...]
    inputs: tuple[int, ...]
    outputs: int
    examples: int
    total: int
    form: Parameterization
    spread: tuple[float, float]
    size: float = 1.0
    classes: int = 0
    quiet: tuple[str, ...] = ()
    linear: bool = True
    heavy: bool = False


Coordinates = Callable[[], Parameterization]
"""Gives the next family its coordinates."""

GRANULARITIES: tuple[Per, ...] = ("weight", "output", "input", "layer")


def of_weights(rng: random.Random) -> Coordinates:
    """Independent normal weights with an α, of every granularity in turn, in random order."""
    order = rng.sample(GRANULARITIES, len(GRANULARITIES))
    return lambda: ThetaLogAlpha(alpha=0.5, per=order.pop() if order else "weight")


def of_rows(rng: random.Random) -> Coordinates:
    """Normal noise that outputs share."""
    order: list[Per] = rng.sample(["input", "layer"], 2)
    return lambda: ThetaLogAlpha(alpha=0.5, per=order.pop() if order else "input", sharing="inputs")


def of_masks(rng: random.Random) -> Coordinates:
    """Learned masks."""
    order = rng.sample(["input", "layer"], 2)
    return lambda: LearnedBinary(keep=0.6, per=order.pop() if order else "input")  # type: ignore[arg-type]


@dataclass(frozen=True)
class Of:
    """One family of noise, the same each time.

    Attributes:
        form: Its coordinates.
    """

    form: Parameterization

    @property
    def __name__(self) -> str:
        """The family's name."""
        return self.form.name

    def __call__(self, rng: random.Random) -> Coordinates:
        """The coordinates, whatever is drawn."""
        return lambda: self.form


def said(coordinates: Callable[[random.Random], Coordinates], kind: str) -> str:
    """What the name of a stage says of its coordinates, where others have the same family."""
    if isinstance(coordinates, Of):
        return f" with {coordinates.form.name} noise"
    return " with shared noise" if coordinates is of_rows and kind == "any" else ""


def _not_whole(rng: random.Random, examples: int, low: float, high: float) -> int:
    """N of a data set, no multiple of M where there can be one."""
    total = max(examples + 1, round(examples * rng.uniform(low, high)))
    return total + (examples > 1 and total % examples == 0)


def deep(rng: random.Random, next_form: Coordinates, noisy: bool = False) -> Recipe:
    """Six noisy layers (four of masks), each with a bias or not, behind a LayerNorm; a small minibatch.

    For a ``noisy`` estimator four layers of two or three units: the draws that a score function takes grow with the
    square of the number of layers, and with that of the weights of one.
    """
    form = next_form()
    inner = 3 if form.learned_law or noisy else 5
    least, most = (2, 3) if noisy else (3, 6)
    widths = [
        rng.randint(least, most), *(rng.randint(2, 3 if noisy else 5) for _ in range(inner)), rng.randint(2, 4)
    ]  # fmt: skip
    biases = [rng.random() < 0.5 for _ in widths[1:]]
    biases[rng.randrange(len(biases))] = True
    biases[rng.choice([i for i in range(len(biases)) if sum(biases) > 1 or not biases[i]])] = False
    dense = [
        nn.Linear(a, b, bias=bias) for a, b, bias in zip(widths, widths[1:], biases, strict=False)
    ]
    examples = rng.randint(1, 7)
    return Recipe(
        "deep", (nn.LayerNorm(widths[0]), *dense), (widths[0],), widths[-1], examples,
        _not_whole(rng, examples, 2.2, 2.9), form, (0.03, 0.15), 1.6,
    )  # fmt: skip


def wide(rng: random.Random, next_form: Coordinates, few: bool = False) -> Recipe:
    """A layer of 33 inputs and 15 outputs, one without noise behind it, α of 10 to 1,000, and a large minibatch.

    Of ``few`` weights it has 3 inputs and 9 outputs.
    """
    inputs, outputs = (3, 9) if few else (33, 15)
    bias = rng.random() < 0.5
    last = nn.Linear(outputs, rng.randint(2, 4), bias=not bias)
    dense = (nn.Linear(inputs, outputs, bias=bias), last)
    examples = rng.choice([131, 133, 135, 137, 139, 141, 143])
    return Recipe(
        "wide", dense, (inputs,), last.out_features, examples,
        _not_whole(rng, examples, 1.3, 1.9), next_form(), (10, 1000), rng.choice([1.0, 10.0]),
        quiet=("1",), heavy=True,
    )  # fmt: skip


def pair(rng: random.Random, next_form: Coordinates) -> Recipe:
    """Two noisy dense layers of a few weights, for the families of noise."""
    widths = [rng.randint(2, 4), rng.randint(2, 4), rng.randint(1, 3)]
    dense = [nn.Linear(widths[0], widths[1]), nn.Linear(widths[1], widths[2])]
    examples = rng.randint(2, 7)
    return Recipe(
        "pair", tuple(dense), (widths[0],), widths[-1], examples,
        _not_whole(rng, examples, 2.2, 2.9), next_form(), (0.3, 0.8),
    )  # fmt: skip


def sequence(rng: random.Random, next_form: Coordinates) -> Recipe:
    """A dense layer that meets several rows of each example, with α of 0.001 to 0.01 and weights of any size."""
    rows, inputs, hidden, outputs = (rng.randint(2, 5) for _ in range(4))
    bias = rng.random() < 0.5
    modules = [nn.Linear(inputs, hidden, bias=bias)]
    last = nn.Linear(hidden, outputs, bias=not bias)
    more = (MeanOfRows(), last) if rng.random() < 0.5 else (last, MeanOfRows())
    examples = rng.choice([13, 15, 19, 21, 23, 27, 29, 31])
    return Recipe(
        "sequence", (*modules, *more), (rows, inputs), outputs, examples,
        _not_whole(rng, examples, 1.3, 1.9), next_form(), (0.001, 0.01),
        10 ** rng.uniform(-2, 0), heavy=True,
    )  # fmt: skip


def convolution(rng: random.Random, next_form: Coordinates, few: bool = False) -> Recipe:
    """Two convolutions: one with strides and numbers of padding, one with groups and ``same``; both dilated.

    Of ``few`` weights both have two channels and kernels of 2 × 2.
    """
    groups = rng.choice([1, 2])
    channels, middle, last = 2 * groups // groups, rng.choice([2, 2 if few else 4]), 2
    kernel = (2, 2) if few else rng.choice([(2, 3), (3, 2), (2, 2), (3, 3)])
    stride = rng.choice([(2, 3), (3, 2), (2, 2), (2, 3), (3, 2)])
    dilation = rng.choice([(1, 2), (2, 1)])
    padding = rng.choice([(1, 0), (0, 1), (1, 2), (2, 1), (1, 1)])
    out = (rng.choice([2, 3]), rng.choice([2, 3]))
    size = tuple(
        (o - 1) * s + d * (k - 1) + 1 - 2 * p
        for o, s, d, k, p in zip(out, stride, dilation, kernel, padding, strict=True)
    )
    size = tuple(max(2, n) for n in size)
    bias = rng.random() < 0.5
    first = nn.Conv2d(
        channels, middle, kernel, stride=stride, padding=padding, dilation=dilation,
        groups=groups, bias=bias,
    )  # fmt: skip
    second = nn.Conv2d(
        middle, last, (2, 2) if few else rng.choice([(2, 3), (3, 2), (3, 3)]), padding="same",
        dilation=dilation[::-1], groups=3 - groups, bias=not bias,
    )  # fmt: skip
    examples = rng.randint(2, 5)
    return Recipe(
        "convolution", (first, second, Mean()), (channels, *size), last, examples,
        _not_whole(rng, examples, 2.2, 2.9), next_form(), (0.1, 1.0), 1.6,
    )  # fmt: skip


def softmax(rng: random.Random, next_form: Coordinates, few: bool = False) -> Recipe:
    """Ten classes: a layer without noise, LayerNorm and tanh before one with noise in (μ, log σ²).

    Of ``few`` weights it has two hidden units.
    """
    inputs, hidden, classes = rng.randint(2, 4), rng.randint(2, 2 if few else 4), 10
    examples = rng.choice([39, 43, 45, 47, 53, 55, 61, 63])
    modules = (
        nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.Tanh(),
        nn.Linear(hidden, classes, bias=rng.random() < 0.7),
    )  # fmt: skip
    return Recipe(
        "softmax", modules, (inputs,), classes, examples, _not_whole(rng, examples, 1.3, 1.9),
        MeanLogVariance(), (0.5, 1.5), classes=classes, quiet=("0",), linear=False,
    )  # fmt: skip


def network(rng: random.Random, next_form: Coordinates, few: bool = False) -> Recipe:
    """Two noisy layers with LayerNorm and a bend between them: compared with draws of a textbook sampler.

    Of ``few`` weights it is a regression with three inputs, four hidden units and two outputs.
    """
    inputs, hidden, classes = rng.randint(3, 5), rng.randint(4, 6), rng.choice([0, 0, 2, 3, 4, 5])
    bend = rng.choice([nn.ReLU, nn.Tanh, nn.GELU, nn.SiLU, nn.Softplus])()
    outputs = classes or rng.randint(2, 3)
    if few:
        inputs, hidden, classes, outputs = 3, 4, 0, 2
    examples = rng.randint(8, 12)
    modules = (nn.Linear(inputs, hidden), nn.LayerNorm(hidden), bend, nn.Linear(hidden, outputs))
    return Recipe(
        "network", modules, (inputs,), outputs, examples, _not_whole(rng, examples, 2.2, 2.9),
        MeanLogVariance(), (0.4, 1.0), classes=classes, linear=False,
    )  # fmt: skip


Family = Callable[[random.Random, Coordinates], Recipe]

FAMILIES: dict[str, Family] = {
    one.__name__: one for one in (deep, wide, sequence, convolution, softmax, network, pair)
}
"""Every family, by name."""

OF_FEW_WEIGHTS: dict[str, Family] = {
    **FAMILIES,
    **{one.__name__: partial(one, few=True) for one in (wide, convolution, softmax, network)},
}
"""The same for estimators that pass the network for every weight."""

OF_NOISY: dict[str, Family] = {
    **FAMILIES, **{name: OF_FEW_WEIGHTS[name] for name in ("wide", "convolution")},
    "deep": partial(deep, noisy=True),
}  # fmt: skip
"""The same for estimators that make much noise."""

OF_NORMAL = ("deep", "wide", "sequence", "convolution", "softmax", "network")
"""Families that are tried with independent normal weights."""

LINEAR = ("deep", "wide", "sequence", "convolution")
"""Families whose coordinates may be any: only two moments of the noise matter."""

RANKED = LowRankScale(sigma=0.5, rank=2)
SYMMETRIC = (Uniform(sigma=0.5), TruncatedNormal(sigma=0.5, bound=1.5), Radial(sigma=0.5))
CORRELATED = (MatrixNormal(sigma=0.5), LowRankPlusDiagonal(sigma=0.5, rank=2))
"""Families of noise, by the estimators that are valid for them: all; with signs; of normal pre-activations."""

Tried = tuple[str, Callable[[random.Random], Coordinates]]


def _tried(*forms: Parameterization) -> tuple[Tried, ...]:
    return tuple(("pair", Of(form)) for form in forms)


_NORMAL: tuple[Tried, ...] = (*((name, of_weights) for name in OF_NORMAL), *_tried(RANKED))

BY_KIND: dict[str, tuple[Tried, ...]] = {
    "independent-normal": _NORMAL,
    "sign-symmetric": (*_NORMAL, *_tried(*SYMMETRIC)),
    "normal-preactivations": (*_NORMAL, *_tried(*CORRELATED)),
    "any": (*_NORMAL, ("deep", of_rows), *_tried(*SYMMETRIC, *CORRELATED)),
    "row-shared": tuple((name, of_rows) for name in LINEAR),
    "learned-binary": tuple((name, of_masks) for name in LINEAR),
}
"""By what an estimator declares as ``posteriors``: the families it is tried on, each with coordinates."""


def seeded_modules(make: Callable[[], Recipe], seed: int) -> Recipe:
    """A recipe whose layers' own numbers, which are not used, come from no global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed % 2**32)
        return make()
