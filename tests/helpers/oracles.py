"""Closed forms of the linear-Gaussian problem, exact moments by quadrature, and the comparisons made with them.

The problem: loss c·½Σ_m (x_m·w + β − y_m)², w ~ N(μ, σ²) independent. With r = Xμ + β − y, v_m = Σ_i x_mi²σ_i²,
G = XᵀX and a = Xᵀr every unbiased estimator has the mean c·a_i for μ_i and c·G_iiσ_i for σ_i; the variances are
those of the functions below, divided by c². A bias is a further column of ones whose σ is 0.

Gauss–Hermite quadrature with n nodes a dimension is exact for polynomials of degree 2n − 1 in each number drawn.
Every estimator's gradient on this problem is such a polynomial, so its mean and variance are exact sums over the
nodes: a test of the estimator itself without any randomness.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vdbench.datasets import Dataset, Split
from vdbench.estimation.base import Estimator
from vdbench.estimation.draws import gradients, trace, vectorised
from vdbench.noise import Key
from vdbench.problems.from_module import noisy
from vdbench.problems.gaussian import MeanLogVariance, ThetaLogAlpha
from vdbench.problems.parameterization import Parameterization
from vdbench.problems.priors import NoPrior, Prior
from vdbench.problems.problem import Batch, Problem

FALSE_ALARM = 1e-5
"""Nominal family-wise rate of false alarms of a Monte Carlo test. The true one is higher, because means of squares
of a few thousand draws are not quite normal: below 1e-3, by simulating the family of test_linear_gaussian.py."""

FIT = Key(("fit",))
"""The address of every pilot draw in these tests."""

Array = NDArray[np.float64]
Moments = dict[str, tuple[Array, Array]]
"""Mean and variance of the gradient of the log-likelihood, by role: ``mean``, ``scale`` and perhaps ``bias``."""


@dataclass(frozen=True)
class HalfSquare:
    """−½(output − target)², one output, without the constant of a density."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return -0.5 * (outputs - targets).square().flatten(1).sum(1)


@dataclass(frozen=True)
class Linear:
    """A linear-Gaussian problem: M of N examples x (M, K), targets y (M,), q = N(μ, σ²), bias β or None."""

    x: Array
    y: Array
    mu: Array
    sigma: Array
    examples: int
    beta: float | None = None

    @property
    def c(self) -> float:
        return self.examples / len(self.x)

    def problem(self) -> Problem:
        """The same as vdbench has it: M examples, repeated N/M times, in float64."""
        numbers = (self.x.shape, self.x.tobytes(), self.y.tobytes())
        return _linear(*numbers, self.examples // len(self.x), self.beta is not None)

    def parameters(self) -> dict[str, Tensor]:
        values = {
            "0.mean": torch.tensor(self.mu)[None],
            "0.log_variance": 2 * torch.tensor(self.sigma).log()[None],
        }
        if self.beta is not None:
            values["0.bias"] = torch.tensor([self.beta], dtype=torch.float64)
        return values

    def batch(self) -> Batch:
        return Batch(torch.tensor(self.x), torch.tensor(self.y)[:, None])


@functools.lru_cache(maxsize=256)
def _linear(shape: tuple[int, int], x: bytes, y: bytes, times: int, bias: bool) -> Problem:
    """Made once for the same numbers, which have to be float64."""
    inputs = torch.tensor(np.frombuffer(x).reshape(shape)).tile(times, 1)
    targets = torch.tensor(np.frombuffer(y))[:, None].tile(times, 1)
    split = Split(inputs, targets)
    linear = nn.Linear(shape[1], 1, bias=bias).double()
    return noisy(linear, Dataset("linear", split, split, 0), name="linear", likelihood=HalfSquare())


def random_linear(seed: int, m: int, k: int, bias: bool = False, times: int = 1) -> Linear:
    """Inputs of mixed sign, σ from 0.05 to 2; every third seed has an example whose inputs are all zero."""
    rng = np.random.default_rng((seed, m, k))
    x = rng.normal(size=(m, k))
    if seed % 3 == 0:
        x[rng.integers(m)] = 0
    sigma = np.exp(rng.uniform(math.log(0.05), math.log(2), size=k))
    beta = float(rng.normal()) if bias else None
    return Linear(x, 2 * rng.normal(size=m), rng.normal(size=k), sigma, times * m, beta)


@dataclass(frozen=True)
class Terms:
    """r, v, G, a and the columns of x², with the bias as last column of σ = 0 where there is one."""

    of: Linear
    x: Array = field(init=False)
    sigma: Array = field(init=False)

    def __post_init__(self) -> None:
        ones = [] if self.of.beta is None else [np.ones((len(self.of.x), 1))]
        object.__setattr__(self, "x", np.hstack([self.of.x, *ones]))
        object.__setattr__(self, "sigma", np.append(self.of.sigma, [0.0] * len(ones)))

    @property
    def r(self) -> Array:
        return self.of.x @ self.of.mu + (self.of.beta or 0.0) - self.of.y

    @property
    def v(self) -> Array:
        return (self.x**2) @ self.sigma**2

    @property
    def g(self) -> Array:
        return self.x.T @ self.x

    @property
    def a(self) -> Array:
        return self.x.T @ self.r


def assemble(of: Linear, mu_variance: Array, sigma_variance: Array) -> Moments:
    """Turn variances for (μ and bias, σ), over c², into moments of the gradient in (μ, log σ², bias).

    ∂/∂log σ² = ½σ·∂/∂σ, and the gradient is that of the log-likelihood: minus that of the loss.
    """
    t, k = Terms(of), len(of.mu)
    s, half = of.sigma, of.sigma / 2
    found = {
        "mean": (-of.c * t.a[:k], of.c**2 * mu_variance[:k]),
        "scale": (-of.c * np.diag(t.g)[:k] * s * half, of.c**2 * sigma_variance[:k] * half**2),
    }
    if of.beta is not None:
        found["bias"] = (-of.c * t.a[k:], of.c**2 * mu_variance[k:])
    return found


def naive(of: Linear) -> Moments:
    t = Terms(of)
    shared = (t.g**2) @ t.sigma**2
    return assemble(of, shared, t.a**2 + shared + np.diag(t.g) ** 2 * t.sigma**2)


def per_example(of: Linear) -> Moments:
    t = Terms(of)
    square = t.x**2
    own = t.r[:, None] ** 2 + t.v[:, None] + square * t.sigma**2
    return assemble(of, square.T @ t.v, (square * own).sum(0))


def local(of: Linear) -> Moments:
    t = Terms(of)
    ratio = np.divide(t.r**2, t.v, out=np.zeros_like(t.v), where=t.v > 0)
    return assemble(of, (t.x**2).T @ t.v, (t.x**4).T @ (ratio + 2) * t.sigma**2)


def grouped(of: Linear, groups: int) -> Moments:
    """Naive sampling of each group, added up: groups are independent."""
    parts = np.array_split(np.arange(len(of.x)), min(groups, len(of.x)))
    found = [naive(replace(of, x=of.x[g], y=of.y[g], examples=of.c * len(g))) for g in parts]
    return {
        role: (sum(f[role][0] for f in found), sum(f[role][1] for f in found)) for role in found[0]
    }


def flipout(of: Linear, perturbations: int = 1) -> Moments:
    """The floor 2G_ii²σ_i² comes from |ε| that examples share: with several perturbations, from each one's own."""
    t = Terms(of)
    square = t.x**2
    own = t.r[:, None] ** 2 + t.v[:, None] - square * t.sigma**2
    parts = np.array_split(square, min(perturbations, len(square)))
    floor = sum(2 * part.sum(0) ** 2 for part in parts) * t.sigma**2
    return assemble(of, square.T @ t.v, (square * own).sum(0) + floor)


def deterministic(of: Linear) -> Moments:
    moments = assemble(of, np.zeros(len(of.mu) + 1), np.zeros(len(of.mu)))
    zero = np.zeros(len(of.mu))
    return moments | {"scale": (zero, zero)}


def score_mu(of: Linear) -> Array:
    """Variance for μ of one sample of the score function, over c² (no bias)."""
    t = Terms(of)
    s2, l0 = t.sigma**2, 0.5 * (t.r**2).sum()
    gs = t.g * s2
    trace, trace2 = np.trace(gs), np.trace(gs @ gs)
    diag, gsg = np.diag(t.g), np.diag(gs @ t.g)
    second = (
        l0**2 * s2
        + s2 * (t.a**2 @ s2)
        + 2 * t.a**2 * s2**2
        + l0 * (s2 * trace + 2 * diag * s2**2)
        + (s2 * (trace**2 + 2 * trace2) + 4 * s2**2 * diag * trace + 8 * s2**2 * gsg) / 4
    ) / s2**2
    return second - t.a**2


def score(of: Linear, samples: int = 1, leave_one_out: bool = False) -> Moments:
    """S samples of the score function, its one-sample moments by quadrature over the textbook formula."""
    eps, weights = grid([5] * len(of.mu))
    error = (of.mu + eps * of.sigma) @ of.x.T + (of.beta or 0.0) - of.y
    cost = -of.c * 0.5 * (error**2).sum(1)[:, None]
    found = naive(of)
    for role, h in (("mean", eps / of.sigma), ("scale", (eps**2 - 1) / 2)):
        found[role] = scored(cost, h, weights, samples, leave_one_out)
    if "bias" in found:
        found["bias"] = (found["bias"][0], found["bias"][1] / samples)
    return found


def score_local(of: Linear, samples: int = 1, leave_one_out: bool = False) -> Moments:
    """S samples of the score function over pre-activations b = r + √v·ζ + y: a sum over independent examples."""
    t = Terms(of)
    zeta, weights = grid([5])
    found = {role: (m, np.zeros_like(v)) for role, (m, v) in local(of).items()}
    for x, r, v in zip(of.x, t.r, t.v, strict=True):
        if v == 0:
            continue
        cost = -of.c * 0.5 * (r + math.sqrt(v) * zeta) ** 2
        slopes = {
            "mean": zeta * x / math.sqrt(v),
            "scale": (zeta**2 - 1) * x**2 * of.sigma**2 / v / 2,
        }
        for role, h in slopes.items():
            found[role][1][:] += scored(cost, h, weights, samples, leave_one_out)[1]
    if "bias" in found:  # pathwise
        found["bias"] = (found["bias"][0], local(of)["bias"][1] / samples)
    return found


def scored(
    cost: Array, h: Array, weights: Array, samples: int, leave_one_out: bool
) -> tuple[Array, Array]:
    """Mean and variance of the mean over S samples of (L − b)h, given L (nodes, 1), h (nodes, K) and node weights.

    Leave-one-out is the U-statistic of ½(L₁−L₂)(h₁−h₂), h = ∇log q: its variance is
    (4(S−2)ζ₁ + 2ζ₂)/(S(S−1)) (Hoeffding 1948), and (E h = 0) ζ₁ = ¼Var((L − EL)h),
    ζ₂ = ½E[L²h²] + ½E[L²]E[h²] − EL·E[Lh²] + E[Lh]² − E[Lh]².
    """

    def e(values: Array) -> Array:
        return np.asarray(weights @ values)

    mean = e(cost * h)
    if not leave_one_out:
        return mean, (e(cost**2 * h**2) - mean**2) / samples
    zeta1 = (e((cost - e(cost)) ** 2 * h**2) - mean**2) / 4
    zeta2 = (e(cost**2 * h**2) + e(cost**2) * e(h**2)) / 2 - e(cost) * e(cost * h**2)
    return mean, (4 * (samples - 2) * zeta1 + 2 * zeta2) / (samples * (samples - 1))


def score_local_mu(of: Linear) -> Array:
    """Variance for μ of one sample of the local score function, over c²: Σ x_i²(r⁴ + 14r²v + 15v²)/(4v)."""
    t = Terms(of)
    live = t.v > 0
    r, v = t.r[live], t.v[live]
    return (of.x[live] ** 2).T @ ((r**4 + 14 * r**2 * v + 15 * v**2) / (4 * v))  # type: ignore[no-any-return]


def grid(nodes: Sequence[int]) -> tuple[Array, Array]:
    """Tensor Gauss–Hermite rule of N(0, 1): points (∏ nodes, D) and their weights, which sum to 1.

    The rule of two nodes is ±1 with equal weights: the law of a random sign.
    """
    rules = [np.polynomial.hermite_e.hermegauss(n) for n in nodes]
    mesh = np.meshgrid(*[points for points, _ in rules], indexing="ij")
    scales = np.meshgrid(*[weights / weights.sum() for _, weights in rules], indexing="ij")
    return (
        np.stack(mesh, -1).reshape(-1, len(rules)),
        np.stack(scales, -1).reshape(-1, len(rules)).prod(1),
    )


ROLES = {"0.mean": "mean", "0.log_variance": "scale", "0.bias": "bias"}


def exact(estimator: Estimator, of: Linear, nodes: int, state: Any = None) -> Moments:
    """Mean and variance of the estimator itself, evaluated at the nodes through injected noise.

    Given its state: what `fit` finds, unless one is given.
    """
    problem, parameters, batch = of.problem(), of.parameters(), of.batch()
    if state is None:
        state = estimator.fit(problem, parameters, FIT)
    requests = trace(estimator, problem, parameters, batch, state).requests
    sizes = [math.prod(request.shape) for request in requests]
    # two nodes are exact for a random sign, as many as asked for for a polynomial of a normal number
    count = [2 if r.law == "sign" else nodes for r in requests for _ in range(math.prod(r.shape))]
    points, weights = grid(count) if sizes else (np.zeros((1, 0)), np.ones(1))
    parts = torch.tensor(points).split(sizes, 1) if sizes else ()
    noise = {r: p.reshape(-1, *r.shape) for r, p in zip(requests, parts, strict=True)}
    batches = repeat(batch, len(weights))
    drawn = vectorised(estimator, problem, parameters, batches, noise, state)
    found = {}
    for name, value in drawn.gradients.items():
        rows = value.flatten(1).numpy()
        mean = weights @ rows
        found[ROLES[name]] = (mean, weights @ (rows - mean) ** 2)
    return found


def repeat(batch: Batch, times: int) -> Batch:
    return Batch(*(t.expand(times, *t.shape) for t in batch))


def sampled(estimator: Estimator, of: Linear, draws: int, key: Key) -> dict[str, Array]:
    """Gradients (draws, parameters) by role, drawn from the noise streams as any measurement draws them."""
    problem, parameters = of.problem(), of.parameters()
    state = estimator.fit(problem, parameters, FIT)
    traced = trace(estimator, problem, parameters, of.batch(), state)
    keys = [key / "draw" / k for k in range(draws)]
    batches = repeat(of.batch(), draws)
    drawn = gradients(estimator, problem, parameters, batches, keys, traced, state)
    return {ROLES[name]: value.flatten(1).numpy() for name, value in drawn.gradients.items()}


def mismatches(got: Moments, want: Moments, relative: float) -> list[str]:
    """One line for every coordinate whose mean or variance is not the closed form's.

    Compared with the figure itself, with room for rounding relative to the largest of its kind.
    """
    lines = [] if set(got) == set(want) else [f"roles {sorted(got)}, expected {sorted(want)}"]
    for role in set(got) & set(want):
        for kind, a, b in zip(("mean", "variance"), got[role], want[role], strict=True):
            room = relative * (np.abs(b) + 1e-3 * np.abs(b).max(initial=1.0))
            for i in np.flatnonzero(~(np.abs(a - b) <= room)):
                lines.append(f"{kind} of {role}[{i}]: {a[i]:.12g}, closed form {b[i]:.12g}")
    return lines


@dataclass(frozen=True)
class Comparison:
    """A measured figure beside the true one: how many standard errors lie between them.

    ``logs`` compares logarithms, for a mean of squares: they are skew, and a sample without the large ones has a
    mean and a standard error that are both too small.
    """

    what: str
    value: float
    error: float
    truth: float
    logs: bool = False

    @property
    def z(self) -> float:
        gap = abs(self.value - self.truth)
        if gap <= 1e-9 * (abs(self.truth) + 1e-12):
            return 0.0
        if self.error <= 0:
            return math.inf
        if self.logs and self.value > 0 and self.truth > 0:
            gap = abs(math.log(self.value / self.truth)) * self.value
        return gap / self.error

    def __str__(self) -> str:
        return f"{self.what}: {self.value:.6g} ± {self.error:.2g}, truth {self.truth:.6g}, {self.z:.1f} se"


def compare_rows(what: str, rows: Array, truth: float, logs: bool = False) -> Comparison:
    """The mean of independent rows beside its truth."""
    return Comparison(
        what, float(rows.mean()), float(rows.std(ddof=1)) / math.sqrt(len(rows)), truth, logs
    )


def compare(what: str, rows: dict[str, Array], want: Moments) -> list[Comparison]:
    """Mean and variance of every coordinate beside the closed form.

    The standard error of the variance is that of the squared deviations: it rests on the fourth moment, and
    on no assumption about the law of the gradient.
    """
    found = []
    for role, (means, variances) in want.items():
        for i, (mean, variance) in enumerate(zip(means, variances, strict=True)):
            values = rows[role][:, i]
            n = len(values)
            squares = (values - values.mean()) ** 2 * (n / (n - 1))
            place = f"{what} {role}[{i}]"
            found.append(compare_rows(f"{place} mean", values, float(mean)))
            found.append(compare_rows(f"{place} variance", squares, float(variance), True))
    return found


def alarms(comparisons: Sequence[Comparison], rate: float = FALSE_ALARM) -> list[str]:
    """The comparisons that differ, at a family-wise false-alarm rate (Bonferroni over all that are given)."""
    from scipy.special import ndtri

    limit = float(-ndtri(rate / (2 * len(comparisons))))
    return [f"{c} (limit {limit:.2f})" for c in comparisons if not c.z <= limit]


Oracle = Callable[[Linear], Moments]
Options = dict[str, Any]


# A small network, for what holds of every estimator on any problem

COORDINATES = {
    "mean-log_variance": MeanLogVariance(sigma=0.3),
    "theta-log_alpha": ThetaLogAlpha(alpha=0.4),
    "theta-fixed_alpha": ThetaLogAlpha(alpha=0.4, learned=False),
}


def network(
    coordinates: Parameterization, examples: int = 12, prior: Prior | None = None
) -> tuple[Problem, dict[str, Tensor]]:
    """Two hidden layers on random data like digits (values 0 to 1, many zeros), parameters all apart.

    The problem is made once, since asking it what it is takes longer than a gradient; parameters are anew each time.
    """
    problem, parameters = _network(coordinates, examples, prior)
    return problem, {name: value.clone() for name, value in parameters.items()}


@functools.lru_cache(maxsize=64)
def _network(
    coordinates: Parameterization, examples: int, prior: Prior | None
) -> tuple[Problem, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(2015)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    inputs = (1.6 * rand(examples, 7) - 0.6).clamp(min=0)
    inputs[1] = 0
    targets = torch.randint(3, (examples,), generator=generator)
    split = Split(inputs, targets)
    sizes = ((7, 6), (6, 4), (4, 3))
    body: list[nn.Module] = []
    for inside, outside in sizes:
        body += [nn.Linear(inside, outside).double(), nn.ReLU()]
    problem = noisy(
        nn.Sequential(*body[:-1]),
        Dataset("random", split, split, 3),
        parameterization=coordinates,
        prior=NoPrior() if prior is None and coordinates.learned_law else prior,
    )
    parameters = {}
    for name, value in problem.start.items():
        spread = 0.3 if name.endswith(("log_variance", "log_alpha", "bias")) else 1.0
        centre = value if name.endswith(("log_variance", "log_alpha")) else 0.0
        parameters[name] = centre + spread * (2 * rand(*value.shape) - 1)
    return problem, parameters
