"""Exact variances of estimators on the toy costs, to be set beside measured ones: sums over a fine rule, no noise.

All are those of the gradient of the log-likelihood −f in vdbench's coordinates (μ, log σ²), of one draw. With
w = μ + σε they are moments of smooth functions of one or two numbers; Gauss–Legendre rules on bounded ranges, which all
but 1e-30 of the mass lies in, give them to twelve digits for k up to 20. For the quadratic cost they are the closed
forms 4σ², 4a² + 8σ² (pathwise, μ and σ), a⁴/σ² + 14a² + 15σ², 2a⁴/σ² + 60a² + 74σ² (score) and a²(16/π − 4), 4a² + 4σ²
(measure-valued), a = μ − k; ∂/∂log σ² = ½σ·∂/∂σ.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vdbench.errors import InputError, shown

Array = NDArray[np.float64]
Pair = tuple[float, float]
"""Variances in μ and in log σ²."""

REACH = 12.0
"""Standard deviations that the rules reach."""

DUST = 1e-20
"""Below this a sum over the nodes is 0 but for rounding; the costs and their slopes are of order 1."""

SOURCE = "exact"
"""What reports call these figures' source."""


@dataclass(frozen=True)
class Toy:
    """A toy cost f with its derivative, and q.

    Attributes:
        cost: ``quadratic``, ``exp`` or ``cos``.
        k: Its parameter.
        mean: μ.
        sigma: σ.
    """

    cost: str = "quadratic"
    k: float = 1.0
    mean: float = 1.0
    sigma: float = 1.0

    def value(self, eps: Array) -> Array:
        """−f(μ + σε)."""
        w, k = self.mean + self.sigma * eps, self.k
        if self.cost == "quadratic":
            return -((w - k) ** 2)
        return -np.exp(-k * w**2) if self.cost == "exp" else -np.cos(k * w)

    def slope(self, eps: Array) -> Array:
        """−f′(μ + σε)."""
        w, k = self.mean + self.sigma * eps, self.k
        found: Array = {
            "quadratic": lambda: 2 * (w - k),
            "exp": lambda: -2 * k * w * np.exp(-k * w**2),
            "cos": lambda: -k * np.sin(k * w),
        }[self.cost]()
        return -found


@functools.cache
def _legendre(nodes: int) -> tuple[Array, Array]:
    """On [−1, 1]; a rule of hundreds of nodes takes a third of a second, and a suite asks for it many times."""
    x, w = np.polynomial.legendre.leggauss(nodes)
    return x, w


def _rule(low: float, high: float, nodes: int) -> tuple[Array, Array]:
    x, w = _legendre(nodes)
    return (high - low) / 2 * x + (high + low) / 2, (high - low) / 2 * w


def _normal() -> tuple[Array, Array]:
    x, w = _rule(-REACH, REACH, 800)
    return x, w * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


def _variance(values: Array, weights: Array) -> float:
    mean = float(weights @ values)
    return float(weights @ (values - mean) ** 2)


def pathwise(toy: Toy) -> Pair:
    """∂/∂μ = −f′(w), ∂/∂log σ² = −½σε f′(w)."""
    eps, p = _normal()
    slope = toy.slope(eps)
    return _variance(slope, p), _variance(0.5 * toy.sigma * eps * slope, p)


def antithetic(toy: Toy) -> Pair:
    """The mean of the pathwise gradients at ±ε."""
    eps, p = _normal()
    up, down = toy.slope(eps), toy.slope(-eps)
    return _variance((up + down) / 2, p), _variance(0.25 * toy.sigma * eps * (up - down), p)


def score(toy: Toy, samples: int = 1, baseline: str = "none") -> Pair:
    """−f(w)·∇log q, with S samples; leave-one-out by the variance of a U-statistic (Hoeffding 1948)."""
    eps, p = _normal()
    cost = toy.value(eps)
    found = [_score(cost, h, p, samples, baseline) for h in (eps / toy.sigma, (eps**2 - 1) / 2)]
    return found[0], found[1]


def _score(cost: Array, h: Array, p: Array, samples: int, baseline: str) -> float:
    if baseline == "none":
        return _variance(cost * h, p) / samples
    mean, centre = float(p @ (cost * h)), float(p @ cost)
    one = (float(p @ ((cost - centre) ** 2 * h**2)) - mean**2) / 4
    two = (float(p @ (cost**2 * h**2)) + float(p @ cost**2) * float(p @ h**2)) / 2
    two -= centre * float(p @ (cost * h**2))
    return (4 * (samples - 2) * one + 2 * two) / (samples * (samples - 1))


def measure_valued(toy: Toy) -> Pair:
    """(L(μ+σR) − L(μ−σR))/(σ√2π), R Rayleigh; ½(L(μ+σD) − L(μ+σDU)), |D| Maxwell, U uniform, in log σ²."""
    r, w = _rule(0.0, REACH, 400)
    first = (toy.value(r) - toy.value(-r)) / (toy.sigma * math.sqrt(2 * math.pi))
    u, part = _rule(0.0, 1.0, 200)
    sides = []
    for sign in (1.0, -1.0):
        sides.append(0.5 * (toy.value(sign * r)[:, None] - toy.value(sign * np.outer(r, u))))
    maxwell = 0.5 * math.sqrt(2 / math.pi) * w * r**2 * np.exp(-(r**2) / 2)
    weights = np.tile(np.outer(maxwell, part).ravel(), 2)
    second = np.concatenate([side.ravel() for side in sides])
    return _variance(first, w * r * np.exp(-(r**2) / 2)), _variance(second, weights)


KNOWN: dict[str, Callable[..., Pair]] = {
    "naive": pathwise,
    "per-example": pathwise,
    "local": pathwise,
    "antithetic": antithetic,
    "measure-valued": measure_valued,
    "score": score,
}
"""Estimators whose variance is known; on one weight and one example local and naive sampling are the same."""


def variances(name: str, options: Mapping[str, Any], toy: Toy) -> Pair | None:
    """Variances of an estimator on a toy cost; None where they are not known.

    Args:
        name: Of the estimator.
        options: Those that are not at their default, as `vdbench.estimation.options.options` gives them.
        toy: The cost.
    """
    if name == "score" and options.get("baseline", "none") in ("none", "leave-one-out"):
        return score(toy, **options) if set(options) <= {"samples", "baseline"} else None
    if name == "antithetic" and options.get("of", {}).get("name") not in ("naive", "local"):
        return None
    if name not in KNOWN or name == "score" or set(options) - {"of", "limit"}:
        return None
    return KNOWN[name](toy)


def published(where: str, items: Sequence[Any], problems: Sequence[Any], estimators: Sequence[Any]
              ) -> list[Any]:  # fmt: skip
    """Write out the item ``{exact: toy-cost}`` of a suite's published figures.

    Args:
        where: The suite, for messages.
        items: Its published figures, as it has them.
        problems: Its problems, as mappings, sweeps written out.
        estimators: Its estimators.

    Raises:
        InputError: What is asked for is not known exactly.
    """
    found: list[Any] = []
    for item in items:
        if not (isinstance(item, dict) and "exact" in item):
            found.append(item)
            continue
        if item != {"exact": "toy-cost"}:
            raise InputError(
                f"{where}: published: expected {{exact: toy-cost}}, the one problem whose variances are known, "
                f"not {shown(item)}."
            )
        for problem in problems:
            if isinstance(problem, dict) and problem.get("factory") == "toy-cost":
                found += _of(problem, estimators)
    return found


def _toy(options: Any) -> Toy | None:
    """The cost that options describe; None where they describe none."""
    try:
        toy = Toy(**options)
    except TypeError:
        return None
    numbers = [x for x in (toy.k, toy.mean, toy.sigma) if type(x) in (int, float) and abs(x) < 1e6]
    known = isinstance(toy.cost, str) and toy.cost in ("quadratic", "exp", "cos")
    return toy if known and len(numbers) == 3 and toy.sigma > 1e-6 else None


def _of(problem: Mapping[str, Any], estimators: Sequence[Any]) -> Iterator[dict[str, Any]]:
    from vdbench.estimation.options import label, options

    toy = _toy(problem.get("options", {}))
    own = problem.get("estimators")
    if toy is None or not isinstance(own, list | None):
        return  # the problem itself is refused, once it is made or its keys are checked
    for estimator in estimators:
        if own is not None and label(estimator) not in own:
            continue
        pair = variances(estimator.declaration.name, options(estimator), toy)
        for role, found in zip(("mean", "scale"), pair or (), strict=False):
            value = 0.0 if found < DUST else found
            yield {
                "source": SOURCE, "metric": "variance.noise", "estimator": label(estimator),
                "problem": problem.get("name", ""), "role": role, "value": value, "unit": "gradient²",
                "note": "closed form, or quadrature to twelve digits",
            }  # fmt: skip
