"""Mean gradients of estimators on the gallery's models beside the reference's, as two-sided tests.

Estimators are given noise of a generator's own in pairs ±ε (u and 1 − u where it is uniform). Each half has the law
that was asked for, so the mean is the estimator's, and what is odd in the noise cancels. The reference does the same.
"""

from __future__ import annotations

import importlib
import math
import time
import zlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from gallery_reference import MODELS, VALUE, Gradients, Reference
from numpy.typing import NDArray
from scipy import stats
from scipy.special import ndtri
from torch import Tensor

from vdbench.errors import CellError, InputError
from vdbench.estimation.base import LEARNED_BINARY, Estimator, objective
from vdbench.estimation.draws import trace, vectorised
from vdbench.estimation.options import get, label
from vdbench.estimation.registry import names
from vdbench.noise import Injected, Key, Noise, Request
from vdbench.problems.problem import Batch, Problem

Array = NDArray[np.float64]
RANDOM = 8
COORDINATES = 50
LARGEST = get("measure-valued").limit  # type: ignore[attr-defined]
ROLES = ("mean", "log_variance")
POWER = 0.95


def role(name: str) -> str:
    """Of a parameter: ``mean``, ``log_variance``, or ``other`` for what has no noise."""
    last = name.rpartition(".")[2]
    return last if last in ROLES else VALUE if name == VALUE else "other"


@dataclass(frozen=True)
class Directions:
    """What gradients are projected on.

    Attributes:
        names: Of the projections: role, and what they are along.
        columns: By parameter, the places of the projections that it takes part in.
        matrices: By parameter, a column for each of those.
    """

    names: list[tuple[str, str]]
    columns: dict[str, list[int]]
    matrices: dict[str, Tensor]

    def of(self, gradients: Gradients) -> Array:
        """(K, projections)."""
        rows = len(gradients[VALUE])
        out = torch.zeros(rows, len(self.names), dtype=torch.float64)
        for name, matrix in self.matrices.items():
            out[:, self.columns[name]] += gradients[name].reshape(rows, -1) @ matrix
        found: Array = out.numpy()
        return found


def directions(pilot: Gradients, seed: int) -> Directions:
    """Random ones, the sum of every parameter, every parameter's gradient, and the best mixture of a role's.

    Args:
        pilot: Gradients of pairs, (K, …); used for the size of each parameter's gradient, and for the mixtures.
        seed: Of the random ones.
    """
    generator = torch.Generator().manual_seed(seed)
    half = len(pilot[VALUE]) // 2
    names: list[tuple[str, str]] = []
    columns: dict[str, list[int]] = {n: [] for n in pilot}
    parts: dict[str, list[Tensor]] = {n: [] for n in pilot}

    def add(name: str, place: int, column: Tensor) -> None:
        columns[name].append(place)
        parts[name].append(column)

    for kind in (*ROLES, "other"):
        members = [n for n in pilot if role(n) == kind]
        if not members:
            continue
        size = {n: float(pilot[n].mean(0).norm()) or 1.0 for n in members}
        signed = [False] * RANDOM + ([True] * RANDOM if kind == "log_variance" else [])
        for k, positive in enumerate(signed):
            what = f"{'positive' if positive else 'random'} direction {k % RANDOM + 1}"
            for n in members:
                u = torch.randn(pilot[n][0].numel(), generator=generator, dtype=torch.float64)
                add(n, len(names), (u.abs() if positive else u) / size[n])
            names.append((kind, what))
        single: list[tuple[str, Tensor]] = []
        for n in members:
            first = pilot[n][:half].mean(0).flatten()
            for what, u in (("sum", torch.ones_like(first)), ("gradient", first)):
                if what == "gradient" and len(first) == 1:
                    continue
                add(n, len(names), u)
                names.append((kind, f"{what} of {n}"))
                single.append((n, u))
        weights = _mixture(torch.stack([pilot[n][half:].flatten(1) @ u for n, u in single], 1))
        for (n, u), w in zip(single, weights, strict=True):
            add(n, len(names), u * w)
        names.append((kind, "best mixture of these"))
    for n, index in _coordinates(pilot, generator):
        u = torch.zeros(pilot[n][0].numel(), dtype=torch.float64)
        u[index] = 1
        add(n, len(names), u)
        names.append((role(n), f"{n}[{index}]"))
    add(VALUE, len(names), torch.ones(1, dtype=torch.float64))
    names.append((VALUE, "log-likelihood"))
    return Directions(names, columns, {n: torch.stack(p, 1) for n, p in parts.items()})


def _coordinates(pilot: Gradients, generator: torch.Generator) -> list[tuple[str, int]]:
    """Mean and log-variance of 50 weights of a network that measure-valued is not too dear for; else none."""
    sizes = {n: pilot[n][0].numel() for n in pilot if role(n) == "mean"}
    total = sum(sizes.values())
    if total > LARGEST:
        return []
    found = []
    for number in torch.randperm(total, generator=generator)[:COORDINATES].tolist():
        for name, size in sizes.items():
            if number < size:
                owner = name.rpartition(".")[0]
                found += [(f"{owner}.{kind}", number) for kind in ROLES]
                break
            number -= size
    return found


def _mixture(rows: Tensor) -> Tensor:
    """Weights Σ⁻¹m of projections, whose mixture has the smallest error for its mean."""
    spread = rows.std(0)
    spread = torch.where(spread > 0, spread, rows.mean(0).abs().clamp(min=1e-300))
    scaled = rows / spread
    covariance = torch.cov(scaled.T).reshape(rows.shape[1], rows.shape[1])
    ridge = 1e-2 * torch.eye(len(covariance), dtype=torch.float64)
    return torch.linalg.solve(covariance + ridge, scaled.mean(0)) / spread


@dataclass(frozen=True)
class Means:
    """Means of n independent rows and their standard errors."""

    mean: Array
    error: Array
    n: int


def means(rows: Array) -> Means:
    return Means(rows.mean(0), rows.std(0, ddof=1) / math.sqrt(len(rows)), len(rows))


@dataclass(frozen=True)
class Place:
    """A model of the gallery in float64, on its first examples."""

    name: str
    problem: Problem
    batch: Batch
    reference: Reference

    @cached_property
    def parameters(self) -> dict[str, Tensor]:
        return self.problem.initial(Key())

    @property
    def weights(self) -> int:
        """Noisy ones."""
        return sum(math.prod(layer.weight_shape) for layer in self.problem.layers)

    def pilot(self, count: int) -> Gradients:
        generator = torch.Generator().manual_seed(11)
        parts = list(self.reference.pairs(count, generator))
        return {n: torch.cat([p[n] for p in parts]) for n in parts[0]}

    @property
    def opened(self) -> tuple[str, ...]:
        """Layers whose pre-activations have noise of their own in the objective of local noise."""
        whole = {layer.name for layer in self.problem.whole}
        return tuple(layer.name for layer in self.problem.layers if layer.name not in whole)

    def truth(self, along: Directions, pairs: int, of: str = "elbo") -> Means:
        """The reference's means, of the ELBO or of the objective with local noise."""
        generator = torch.Generator().manual_seed(12)
        local = self.opened if of == "elbo-local-noise" else ()
        drawn = self.reference.pairs(pairs, generator, local)
        return means(np.concatenate([along.of(g) for g in drawn]))

    def drawn(self, estimator: Estimator, along: Directions, pairs: int, chunk: int = 64) -> Means:
        """Means of an estimator.

        Raises:
            CellError: It is not valid here.
        """
        at = (estimator, self.problem, self.parameters, self.batch)
        state = estimator.fit(self.problem, self.parameters, Key(("gallery", "fit")))
        requests = trace(*at, state).requests
        generator = torch.Generator().manual_seed(zlib.crc32(label(estimator).encode()))
        # a plain forward pass of an LSTM, as measure-valued takes them, has no rule for draws together
        alone = not self.problem.behaviour.vectorises_values
        loop = estimator.costs_without_gradient and alone
        rows = []
        for start in range(0, pairs, chunk):
            some = min(chunk, pairs - start)
            noise = {r: paired(r, some, generator) for r in requests}
            if loop:
                single = [
                    estimator(*at[1:], Noise(Injected({r: v[k] for r, v in noise.items()})), state)
                    for k in range(2 * some)
                ]
                both = {
                    n: torch.stack([g.gradients[n] for g in single]) for n in single[0].gradients
                }
                both[VALUE] = torch.stack([g.value for g in single])
            else:
                batches = Batch(*(t.expand(2 * some, *t.shape) for t in self.batch))
                found = vectorised(*at[:3], batches, noise, state)
                both = {VALUE: found.value, **found.gradients}
            rows.append(along.of({n: (g[:some] + g[some:]) / 2 for n, g in both.items()}))
        return means(np.concatenate(rows))


def place(name: str, size: str = "reduced") -> Place:
    model = MODELS[name]
    home: Any = importlib.import_module(f"gallery.{model.file}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        problem = home.problem(size, **model.options).to("cpu", torch.float64)
        torch.manual_seed(0)
        module = home.network(size, **model.options).double()
    problem = replace(problem, name=name)
    (inputs, targets), _ = home.data(size)
    some = [
        t[: model.examples].double() if t.is_floating_point() else t[: model.examples]
        for t in (inputs, targets)
    ]
    reference = Reference(module, model, len(inputs) / model.examples, *some)
    return Place(name, problem, Batch(*some), reference)


def paired(request: Request, count: int, generator: torch.Generator) -> Tensor:
    """Noise of the law that is asked for in pairs: (2·count, …), the second half mirrored."""
    out = torch.empty((count, *request.shape), dtype=torch.float64)
    if request.law == "uniform":
        out.uniform_(generator=generator)
        return torch.cat([out, (1 - out).clamp(max=1 - 2**-53)])
    if request.law == "sign":
        out.bernoulli_(0.5, generator=generator).mul_(2).sub_(1)
    else:
        out.normal_(generator=generator)
    return torch.cat([out, -out])


OBJECTIVES = ("elbo", "elbo-local-noise")


def valid(at: Place) -> tuple[list[Estimator], dict[str, str]]:
    """The unbiased estimators that a model has a reference for; and the others, with the reason."""
    found, without = [], {}
    for name in names():
        estimator = get(name)
        declared = estimator.declaration
        if declared.posteriors in (LEARNED_BINARY, "row-shared"):
            without[name] = "made for another posterior"
        elif not declared.unbiased:
            without[name] = "declares a bias"
        elif not declared.unbiased_given_minibatch:
            without[name] = "unbiased on average over minibatches alone"
        elif objective(estimator, at.problem) not in OBJECTIVES:
            without[name] = f"objective {objective(estimator, at.problem)}"
        elif why := refused(estimator, at):
            without[name] = why
        else:
            found.append(estimator)
    return found, without


def refused(estimator: Estimator, at: Place) -> str:
    try:
        state = estimator.fit(at.problem, at.parameters, Key(("gallery", "fit")))
        trace(estimator, at.problem, at.parameters, at.batch, state)
    except (CellError, InputError) as error:
        return str(error)
    return ""


@dataclass(frozen=True)
class Found:
    """One estimator on one model.

    Attributes:
        model: Of the gallery.
        estimator: Its label.
        objective: Whose gradient it estimates.
        names: Of the projections.
        truth: Of the reference.
        got: Of the estimator.
        seconds: That its draws took.
    """

    model: str
    estimator: str
    objective: str
    names: list[tuple[str, str]]
    truth: Means
    got: Means
    seconds: float

    @cached_property
    def error(self) -> Array:
        """Of the difference."""
        found: Array = np.hypot(self.truth.error, self.got.error)
        return found

    @cached_property
    def z(self) -> Array:
        """Differences in standard errors; 0 where they are rounding alone."""
        gap = self.got.mean - self.truth.mean
        room = 1e-9 * np.abs(self.truth.mean) + 1e-12
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.where(np.abs(gap) <= room, 0.0, gap / self.error)
        # Student's, of as many degrees of freedom as the smaller sample has: the same probability as a normal z
        return (
            t
            if min(self.got.n, self.truth.n) > 1000
            else -np.sign(t) * ndtri(stats.t.sf(np.abs(t), min(self.got.n, self.truth.n) - 1))
        )

    def detectable(self, kind: str, limit: float) -> float:
        """The smallest bias, relative and the same in all entries of a role, that is found with probability 0.95.

        By the most powerful of the tests alone: there z must pass the limit.
        """
        here = [k for k, (r, _) in enumerate(self.names) if r == kind]
        if not here:
            return math.nan
        with np.errstate(divide="ignore", invalid="ignore"):
            size = (limit + float(ndtri(POWER))) * self.error[here] / np.abs(self.truth.mean[here])
        return float(np.nanmin(size))

    def wrong(self, limit: float) -> list[str]:
        return [self.line(k) for k in range(len(self.names)) if not abs(self.z[k]) <= limit]

    def line(self, k: int) -> str:
        kind, what = self.names[k]
        return (
            f"{self.model}, {self.estimator}, {kind}, {what}: {self.got.mean[k]:.6g} ± {self.got.error[k]:.2g} "
            f"(n = {self.got.n}), reference {self.truth.mean[k]:.6g} ± {self.truth.error[k]:.2g} "
            f"(n = {self.truth.n}), z = {self.z[k]:.2f}"
        )


def compare(at: Place, along: Directions, truth: Means, estimator: Estimator, pairs: int) -> Found:
    start = time.perf_counter()
    got = at.drawn(estimator, along, pairs)
    seconds = time.perf_counter() - start
    return Found(
        at.name,
        label(estimator),
        objective(estimator, at.problem),
        along.names,
        truth,
        got,
        seconds,
    )


def limit(comparisons: int, rate: float) -> float:
    """|z| that one of so many right figures passes with the probability ``rate`` at most (Bonferroni)."""
    return float(-ndtri(rate / (2 * comparisons)))
