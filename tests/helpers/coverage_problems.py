"""Problems on whose unit rows coverage is measured: dense, convolution, sequence, regression, few weights, heavy tails.

Each is small enough for tens of thousands of units in a minute or so. Inputs, targets and weights follow from seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

import vdbench
from vdbench import problems
from vdbench.datasets import Dataset, Split
from vdbench.measures.context import Context
from vdbench.noise import Key
from vdbench.problems.problem import Problem
from vdbench.training.trainer import Trainer


@dataclass(frozen=True)
class Case:
    """Where rows are recorded.

    Attributes:
        build: Makes the problem.
        estimator: Name in the registry.
        batch_size: M.
        steps: Training steps with `local` before gradients are taken.
        options: Of the estimator.
        against: Another estimator, of which rows are recorded on the same minibatches; '' for none.
    """

    build: Callable[[], Problem]
    estimator: str = "local"
    batch_size: int = 16
    steps: int = 0
    options: tuple[tuple[str, object], ...] = ()
    against: str = ""

    def contexts(self) -> dict[str, Context]:
        """The estimator and the one against it, at the same parameters and minibatches."""
        problem = self.build()
        parameters = problem.start
        if self.steps:
            trainer = Trainer(
                problem=problem, estimator=vdbench.get("local"), parameters=problem.start, batch_size=64,
                learning_rate=3e-3, key=Key(("coverage", "training")),
            )  # fmt: skip
            trainer.advance(self.steps)
            parameters = trainer.parameters
        key = Key(("coverage", "rows"))
        asked = {self.estimator: dict(self.options)} | ({self.against: {}} if self.against else {})
        found = {}
        for name, options in asked.items():
            estimator = vdbench.get(name, **options)
            state = estimator.fit(problem, parameters, key / "fit")
            size = self.batch_size
            found[name] = Context(problem, parameters, estimator, name, size, key, {}, state=state)
        return found


def _data(x: Tensor, y: Tensor, classes: int) -> Dataset:
    split = Split(x, y)
    return Dataset("coverage", split, split, classes)


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _heavy(*shape: int, seed: int = 0) -> Tensor:
    """Student's t with 3 degrees of freedom, for inputs with a few large values."""
    parts = _normal(4, *shape, seed=seed)
    return parts[0] / parts[1:].square().mean(0).sqrt()


def _labels(x: Tensor, classes: int) -> Tensor:
    flat = x.flatten(1)
    return (flat @ _normal(flat.shape[1], classes, seed=99)).argmax(1)


def _module(
    make: Callable[[], nn.Module],
    x: Tensor,
    y: Tensor,
    classes: int = 0,
    sigma: float = 0.05,
    **more: object,
) -> Callable[[], Problem]:
    def build() -> Problem:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            body = make()
        given: dict[str, object] = {
            "parameterization": {"kind": "mean-log_variance", "sigma": sigma},
            "likelihood": "classification" if classes else "regression",
            **more,
        }
        return vdbench.noisy(body, _data(x, y, classes), **given)  # type: ignore[arg-type]

    return build


def _named(factory: str, **options: object) -> Callable[[], Problem]:
    return lambda: problems.build("p", factory, options)


class Sequence(nn.Module):
    """An embedding, a convolution over time, and a linear layer on the mean."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.embed, self.conv, self.out = nn.Embedding(20, 6), nn.Conv1d(6, 8, 3), nn.Linear(8, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (M, T) to logits (M, 3)."""
        return self.out(torch.tanh(self.conv(self.embed(tokens).mT)).mean(2))


def _mlp(*sizes: int, act: type[nn.Module] = nn.ReLU, norm: bool = False) -> nn.Sequential:
    parts: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise(sizes)):
        if i:
            parts += [nn.LayerNorm(a)] * norm + [act()]
        parts.append(nn.Linear(a, b))
    return nn.Sequential(*parts)


def _conv(stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride), nn.ReLU(), nn.Conv2d(4, 4, 3, 2), nn.ReLU(), nn.Flatten(),
        nn.LazyLinear(3),
    )  # fmt: skip


def _made(net: nn.Module, x: Tensor) -> nn.Module:
    net(x[:2])  # the last layer takes its size from the data
    return net


X4, H2, X8, X20 = _normal(300, 4), _heavy(300, 2), _normal(400, 8, seed=1), _normal(500, 20, seed=2)
IMAGES = _normal(200, 1, 8, 8, seed=3)
TOKENS = torch.randint(20, (300, 7), generator=torch.Generator().manual_seed(4))
LINE = X4 @ torch.tensor([[1.0], [-0.5], [0.2], [0.0]]) + 0.1 * _normal(300, 1, seed=6)
QUICK = {"widths": [32, 32], "parameterization": {"kind": "mean-log_variance", "sigma": 0.05}}
RELATIVE = {"kind": "theta-log_alpha", "alpha": 0.5}
COUNTS = torch.poisson(X4[:, :1].exp().clamp(max=8), generator=torch.Generator().manual_seed(8))

CASES: dict[str, Case] = {
    "logistic, 4 weights": Case(
        _module(lambda: nn.Linear(4, 1), X4, (X4[:, 0] > 0).long(), 2, 0.3, likelihood="binary"),
        steps=150, against="naive"
    ),
    "logistic, 4 weights, naive, M = 1": Case(
        _module(lambda: nn.Linear(4, 1), X4, (X4[:, 0] > 0).long(), 2, 1.0, likelihood="binary"),
        "naive",
        1, against="local"
    ),
    "logistic, 2 weights, heavy inputs": Case(
        _module(lambda: nn.Linear(2, 1), H2, (H2[:, 0] > 0).long(), 2, 0.3, likelihood="binary"),
        "local",
        8,
        150, against="naive"
    ),
    "logistic, breast cancer": Case(_named("logistic-regression"), "naive", 16, 200, against="local"),
    "quick, local": Case(_named("classification", **QUICK), "local", 32, 200, against="naive"),
    "quick, score": Case(
        _named("classification", **QUICK), "score", 32, 200,
        (("samples", 4), ("baseline", "leave-one-out")),
    ),
    "digits 64-8-10, M = 8": Case(_named("classification", widths=[8]), "local", 8, 200, against="naive"),
    "digits 64-8-10, M = 1": Case(_named("classification", widths=[8]), "local", 1, 200),
    "digits 64-64-10, deterministic": Case(
        _named("classification", widths=[64]), "deterministic", 16
    ),
    "linear regression, 4 weights": Case(
        _module(lambda: nn.Linear(4, 1), X4, LINE, sigma=0.1), "naive", 8, against="local"
    ),
    "regression 8-16-1, tanh": Case(
        _module(lambda: _mlp(8, 16, 1, act=nn.Tanh), X8, X8[:, :1].sin(), sigma=0.1), steps=200, against="naive"
    ),
    "regression, 3 outputs, heavy inputs": Case(
        _module(lambda: _mlp(2, 8, 3), H2, torch.cat([H2, H2[:, :1].abs()], 1), sigma=0.1),
        "naive", 8, 200, against="local",
    ),
    "convolution": Case(
        _module(lambda: _made(_conv(), IMAGES), IMAGES, _labels(IMAGES, 3), 3), steps=100
    ),
    "convolution, stride 2, naive": Case(
        _module(lambda: _made(_conv(2), IMAGES), IMAGES, _labels(IMAGES, 3), 3, 0.2), "naive", 8, 100
    ),
    "sequence": Case(
        _module(Sequence, TOKENS, (TOKENS.float().mean(1) > 10).long(), 3, 0.1), "naive", 16, 100
    ),
    "σ ∝ |μ|, local": Case(
        _named("classification", widths=[16], parameterization=RELATIVE, prior="none"),
        "local", 16, 200, against="naive",
    ),
    "σ ∝ |μ|, naive, M = 4": Case(
        _named("classification", widths=[16], parameterization=RELATIVE, prior="none"), "naive", 4, 200
    ),
    "deep and narrow": Case(
        _module(lambda: _mlp(8, 5, 5, 5, 5, 3), X8, _labels(X8, 3), 3, 0.1), "naive", 16, 200, against="local"
    ),
    "LayerNorm": Case(
        _module(lambda: _mlp(20, 16, 16, 4, norm=True), X20, _labels(X20, 4), 4, 0.1), "local", 16, 100
    ),
    "wide 20-256-4": Case(
        _module(lambda: _mlp(20, 256, 4), X20, _labels(X20, 4), 4), "flipout", 16
    ),
    "Poisson counts": Case(
        _module(lambda: nn.Linear(4, 1), X4, COUNTS, sigma=0.1, likelihood="poisson"), "naive", 8, 100, against="local"
    ),
    "logistic, 4 weights, separable": Case(
        _module(lambda: nn.Linear(4, 1), X4, (X4[:, 0] > 0).long(), 2, 0.1, likelihood="binary"),
        batch_size=4,
        steps=4000, against="naive"
    ),
    "toy cost, score": Case(_named("toy-cost", cost="quadratic", k=1.0), "score", 1, against="naive"),
    "toy cost cos, pathwise": Case(_named("toy-cost", cost="cos", k=2.0), "naive", 1),
    "large σ, naive": Case(
        _module(lambda: _mlp(8, 8, 3), X8, _labels(X8, 3), 3, 1.0), "naive", 4, against="local"
    ),
}  # fmt: skip
