"""Families of noise written out a second time: weight samples, two moments, densities; and families that are wrong.

Each `Reference` computes from a layer's coordinates, weight by weight and without any code of the family, what the
family should do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special, stats
from torch import Tensor

from vdbench.noise import Noise
from vdbench.problems.families.bounded import Interval, TruncatedNormal, Uniform
from vdbench.problems.families.low_rank import Factors, LowRankPlusDiagonal
from vdbench.problems.families.low_rank_scale import LowRankScale
from vdbench.problems.families.matrix_normal import Kronecker, MatrixNormal
from vdbench.problems.families.radial import Radial, Sphere
from vdbench.problems.parameterization import Parameterization
from vdbench.problems.posterior import Posterior

Coordinates = Mapping[str, Tensor]
Rows = NDArray[np.float64]


@dataclass(frozen=True)
class Reference:
    """A family written out.

    Attributes:
        form: Its coordinates.
        weights: Of a layer's coordinates, its name and its noise: a weight sample as a table.
        root: Of the coordinates: (D, n), the weights' deviations from their mean for each of n numbers of the noise,
            D the weights in order; differentiable.
        log_density: Of the coordinates and samples (n, D): log q of each.
        fourth: Of n: E[z_i² z_j²] of the standardised noise, (n, n).
    """

    form: Parameterization
    weights: Callable[[Coordinates, str, Noise], Tensor]
    root: Callable[[Coordinates], Tensor]
    log_density: Callable[[Coordinates, Rows], Rows]
    fourth: Callable[[int], Rows]

    def covariance(self, at: Coordinates) -> Tensor:
        """Of all weights in order, (D, D)."""
        root = self.root(at)
        return root @ root.T


def table(rows: int, columns: int, entry: Callable[[int, int], Tensor]) -> Tensor:
    """A matrix, entry by entry."""
    return torch.stack([torch.stack([entry(j, i) for i in range(columns)]) for j in range(rows)])


# -- independent weights ---------------------------------------------------------------------------------------------


def sigma(at: Coordinates) -> Tensor:
    """Deviation of each weight, one by one."""
    mean = at["mean"]
    if "log_variance" in at:
        return table(*mean.shape, lambda j, i: (at["log_variance"][j, i]).exp() ** 0.5)
    rows, columns = at["log_rows"], at["log_columns"]
    return table(
        *mean.shape,
        lambda j, i: torch.stack(
            [(rows[r, j] + columns[r, i]).exp() for r in range(len(rows))]
        ).sum(),
    )


def diagonal(at: Coordinates) -> Tensor:
    return torch.diag(sigma(at).flatten())


def independent(
    form: Parameterization,
    standard: Callable[[Tensor], Tensor],
    log_density: Callable[[Rows], Rows],
    kurtosis: float,
) -> Reference:
    """Weights with noise of their own: a function of a normal number, and its density."""

    def weights(at: Coordinates, name: str, noise: Noise) -> Tensor:
        deviation, n = sigma(at), noise(name, at["mean"].shape)
        return table(
            *at["mean"].shape,
            lambda j, i: at["mean"][j, i] + deviation[j, i] * standard(n[j, i]),
        )

    def density(at: Coordinates, samples: Rows) -> Rows:
        s = sigma(at).detach().numpy().ravel()
        z = (samples - at["mean"].detach().numpy().ravel()) / s
        return np.asarray((log_density(z) - np.log(s)).sum(1))

    def fourth(d: int) -> Rows:
        return np.ones((d, d)) + (kurtosis - 1) * np.eye(d)

    return Reference(form, weights, diagonal, density, fourth)


def uniform_quantile(n: Tensor) -> Tensor:
    """From −√3 to √3."""
    return (2 * torch.special.ndtr(n) - 1) * math.sqrt(3)


BOUND = 1.5
_CUT = stats.truncnorm(-BOUND, BOUND)


def truncated_quantile(n: Tensor) -> Tensor:
    """The quantile function at Φ(n), over the law's deviation."""
    low = special.ndtr(-BOUND)
    return torch.special.ndtri(low + (1 - 2 * low) * torch.special.ndtr(n)) / float(_CUT.std())


# -- radial ----------------------------------------------------------------------------------------------------------


def radial_weights(at: Coordinates, name: str, noise: Noise) -> Tensor:
    mean, deviation = at["mean"], sigma(at)
    eps, r = noise(name, mean.shape), noise.at("radius")(name, (1, 1))[0, 0].abs()
    length = torch.stack([e * e for e in eps.flatten()]).sum() ** 0.5
    far = r * mean.numel() ** 0.5 / length
    return table(*mean.shape, lambda j, i: mean[j, i] + deviation[j, i] * eps[j, i] * far)


def radial_density(at: Coordinates, samples: Rows) -> Rows:
    """Half-normal in the distance, over the area of the sphere through the sample."""
    s, d = sigma(at).detach().numpy().ravel(), samples.shape[1]
    z = (samples - at["mean"].detach().numpy().ravel()) / (s * math.sqrt(d))
    distance = np.linalg.norm(z, axis=1)
    area = math.log(2) + d / 2 * math.log(math.pi) - special.gammaln(d / 2)
    found = stats.halfnorm.logpdf(distance) - area - (d - 1) * np.log(distance)
    return np.asarray(found - np.log(s).sum() - d * 0.5 * math.log(d))


def radial_fourth(d: int) -> Rows:
    """D² E[r⁴] E[u_i² u_j²], u uniform on the sphere: 1/(D(D + 2)), three times that where i = j."""
    return np.asarray((np.ones((d, d)) + 2 * np.eye(d)) * 3 * d / (d + 2))


# -- correlated normal weights -----------------------------------------------------------------------------------------


def lower(packed: Tensor, size: int) -> Tensor:
    """A triangle row by row."""
    place = {ji: n for n, ji in enumerate((j, i) for j in range(size) for i in range(j + 1))}
    zero = torch.zeros((), dtype=packed.dtype)

    def entry(j: int, i: int) -> Tensor:
        if i > j:
            return zero
        value = packed[place[j, i]]
        return value.exp() if i == j else value

    return table(size, size, entry)


def matrix_root(at: Coordinates) -> Tensor:
    """Of weight jk the coefficient of z_li: R_jl C_ki."""
    outputs, inside = at["mean"].shape
    rows, columns = lower(at["rows"], outputs), lower(at["columns"], inside)
    root = torch.einsum("ja,kb->jkab", rows, columns)
    return root.reshape(outputs * inside, outputs * inside)


def factor_root(at: Coordinates) -> Tensor:
    """Of each weight the coefficients of its own number, and of those that all share."""
    own = torch.diag((at["log_variance"].flatten()).exp() ** 0.5)
    return torch.cat([own, at["factors"].flatten(1).T], 1)


def correlated(
    form: Parameterization, root: Callable[[Coordinates], Tensor], shape: Callable[[Tensor], Any]
) -> Reference:
    """Normal weights, mean + root·z."""

    def weights(at: Coordinates, name: str, noise: Noise) -> Tensor:
        z = noise(name, shape(root(at)) or at["mean"].shape).flatten()
        moved = torch.stack([(row * z).sum() for row in root(at)])
        return at["mean"] + moved.reshape(at["mean"].shape)

    def density(at: Coordinates, samples: Rows) -> Rows:
        mean, r = at["mean"].detach().numpy().ravel(), root(at).detach().numpy()
        cov = r @ r.T
        return np.asarray(stats.multivariate_normal(mean, cov).logpdf(samples))

    return Reference(form, weights, root, density, lambda d: np.ones((d, d)) + 2 * np.eye(d))


def normal_log(z: Rows) -> Rows:
    return np.asarray(stats.norm.logpdf(z))


def uniform_log(z: Rows) -> Rows:
    return np.asarray(stats.uniform.logpdf(z, -math.sqrt(3), 2 * math.sqrt(3)))


def truncated_log(z: Rows) -> Rows:
    return np.asarray(stats.truncnorm.logpdf(z, -BOUND, BOUND, scale=1 / _CUT.std()))


REFERENCES = {
    "low-rank-scale": independent(LowRankScale(0.4, rank=2), lambda n: n, normal_log, 3.0),
    "uniform": independent(Uniform(0.4), uniform_quantile, uniform_log, 9 / 5),
    "truncated-normal": independent(
        TruncatedNormal(0.4, bound=BOUND),
        truncated_quantile,
        truncated_log,
        float(_CUT.moment(4) / _CUT.var() ** 2),
    ),
    "radial": Reference(Radial(0.4), radial_weights, diagonal, radial_density, radial_fourth),
    "matrix-normal": correlated(MatrixNormal(0.4), matrix_root, lambda root: None),
    "low-rank-plus-diagonal": correlated(
        LowRankPlusDiagonal(0.4, rank=2), factor_root, lambda root: (root.shape[1],)
    ),
}
"""Every family, by name."""


def moved(form: Parameterization, shape: tuple[int, int], seed: int) -> dict[str, Tensor]:
    """Coordinates of one layer, all apart."""
    generator = torch.Generator().manual_seed(seed)

    def rand(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    start = form.initial(0.5 * rand(*shape))
    return {
        name: value if name == "mean" else value + 0.3 * rand(*value.shape)
        for name, value in start.items()
    }


# -- families that are wrong -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wrong(Parameterization):
    """A family with its law replaced."""

    form: Parameterization
    change: Callable[[Posterior], Posterior]
    name = "wrong"
    roles = {}  # noqa: RUF012 - those of the form

    def initial(self, weight: Tensor, place: int = 0) -> dict[str, Tensor]:
        return self.form.initial(weight, place)

    def gaussian(self, coordinates: Mapping[str, Tensor]) -> Posterior:
        return self.change(self.form.gaussian(coordinates))


class NotStandardised(Interval):
    """Truncated noise with the deviation that the cut leaves it."""

    def draw(self, *args: Any) -> Tensor:
        return super().draw(*args) * math.sqrt(self.variance)


class EntropyOfAll(Interval):
    """The entropy of a normal law of this deviation, uncut."""

    def entropy(self, scale: Tensor) -> Tensor:
        return (scale.log() + 0.5 * math.log(2 * math.pi * math.e)).sum()


class HalfWidth(Interval):
    """Uniform within ±σ, not ±√3σ."""

    def draw(self, *args: Any) -> Tensor:
        return super().draw(*args) / math.sqrt(3)


class RadiusEach(Sphere):
    """A radius of its own for every weight."""

    def draw(
        self, noise: Noise, name: str, shape: tuple[int, ...], lead: tuple[int, ...]
    ) -> Tensor:
        eps, r = noise(name, (*lead, *shape)), noise.at("radius")(name, (*lead, *shape)).abs()
        inner = tuple(range(len(lead), len(lead) + len(shape)))
        return eps * r * math.sqrt(math.prod(shape)) / eps.square().sum(inner, True).sqrt()


class NoVolume(Sphere):
    """The entropy without the surface that a radius spans."""

    def entropy(self, scale: Tensor) -> Tensor:
        return scale.log().sum() + 0.5 * math.log(math.pi * math.e / 2)


class NoRows(Kronecker):
    """The entropy without the determinant of the outputs' factor."""

    def entropy(self, scale: Tensor) -> Tensor:
        return super().entropy(scale) - len(self.columns) * self.rows.diagonal().log().sum()


class PowersExchanged(Kronecker):
    """The determinants to each other's powers."""

    def entropy(self, scale: Tensor) -> Tensor:
        ones = scale.numel() * 0.5 * math.log(2 * math.pi * math.e)
        inside = len(self.columns) * self.columns.diagonal().log().sum()
        return ones + inside + len(self.rows) * self.rows.diagonal().log().sum()


class Transposed(Kronecker):
    """RᵀzC for RzCᵀ."""

    def perturbation(self, scale: Tensor, z: Tensor) -> Tensor:
        return self.rows.mT @ z @ self.columns


class NoInner(Factors):
    """The entropy of the diagonal part alone."""

    def entropy(self, scale: Tensor) -> Tensor:
        return (self.own.log() + 0.5 * math.log(2 * math.pi * math.e)).sum()


class FactorsApart(Factors):
    """A number of its own for every weight in place of a factor's one."""

    def noise_shape(self, weights: tuple[int, ...]) -> tuple[int, ...]:
        return (math.prod(weights) * (1 + len(self.factors)),)

    def perturbation(self, scale: Tensor, z: Tensor) -> Tensor:
        each = z.reshape(*z.shape[:-1], 1 + len(self.factors), *self.own.shape)
        return self.own * each[..., 0, :, :] + (self.factors * each[..., 1:, :, :]).sum(-3)


def structured(make: Callable[[Any], Any]) -> Callable[[Posterior], Posterior]:
    """The law with another structure."""
    return lambda q: q._replace(structure=make(q.structure))


def _squares(q: Posterior) -> Posterior:
    """√Σ u²v², as if the terms were of the variance."""
    return q._replace(scale=q.scale / math.sqrt(2))


WRONG: dict[str, tuple[str, str, Callable[[Posterior], Posterior]]] = {
    "deviation of a term": ("low-rank-scale", "moments", _squares),
    "variance for the deviation": (
        "low-rank-scale",
        "kl",
        lambda q: q._replace(variance=q.scale),
    ),
    "half width": ("uniform", "moments", structured(lambda s: HalfWidth(s.bound))),
    "entropy of a normal law": ("uniform", "kl", structured(lambda s: EntropyOfAll(s.bound))),
    "not standardised": (
        "truncated-normal",
        "moments",
        structured(lambda s: NotStandardised(s.bound)),
    ),
    "density not cut": ("truncated-normal", "kl", structured(lambda s: EntropyOfAll(s.bound))),
    "a radius each": ("radial", "fourth", structured(lambda s: RadiusEach())),
    "no volume": ("radial", "kl", structured(lambda s: NoVolume())),
    "no determinant of rows": (
        "matrix-normal",
        "kl",
        structured(lambda s: NoRows(s.rows, s.columns)),
    ),
    "powers exchanged": (
        "matrix-normal",
        "kl",
        structured(lambda s: PowersExchanged(s.rows, s.columns)),
    ),
    "factors transposed": (
        "matrix-normal",
        "moments",
        structured(lambda s: Transposed(s.rows, s.columns)),
    ),
    "no inner determinant": (
        "low-rank-plus-diagonal",
        "kl",
        structured(lambda s: NoInner(s.own, s.factors)),
    ),
    "factors apart": (
        "low-rank-plus-diagonal",
        "moments",
        structured(lambda s: FactorsApart(s.own, s.factors)),
    ),
}
"""Families that are wrong: which, the test that must see it, and what is changed."""


def wrong(name: str) -> tuple[Reference, str]:
    """A reference whose form is wrong, and the test that must see it."""
    family, test, change = WRONG[name]
    reference = REFERENCES[family]
    return replace(reference, form=Wrong(reference.form, change)), test
