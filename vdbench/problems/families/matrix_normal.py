"""Matrix-normal weights: a covariance between outputs times one between inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vdbench.noise import Noise
from vdbench.problems.parameterization import Parameterization, between
from vdbench.problems.posterior import Law, Posterior
from vdbench.problems.structure import NORMAL_ENTROPY, Correlated, Map, safe_sqrt


@dataclass(frozen=True)
class Kronecker(Correlated):
    """W − mean = R z Cᵀ with lower triangular R and C: Cov(W_ji, W_lk) = (RRᵀ)_jl (CCᵀ)_ik.

    Attributes:
        rows: R, (outputs, outputs).
        columns: C, (K, K), K the weights of an output.
    """

    rows: Tensor
    columns: Tensor

    def perturbation(self, scale: Tensor, z: Tensor) -> Tensor:
        """R z Cᵀ."""
        lead = z.shape[: z.dim() - scale.dim()]
        table = z.reshape(*lead, scale.shape[0], -1)
        return (self.rows @ table @ self.columns.mT).reshape(z.shape)

    def entropy(self, scale: Tensor) -> Tensor:
        """D times that of N(0, 1), plus ln|det| of the map: K ln|det R| + outputs · ln|det C|."""
        outputs, inside = len(self.rows), len(self.columns)
        logs = (
            inside * self.rows.diagonal().log().sum()
            + outputs * self.columns.diagonal().log().sum()
        )
        return scale.numel() * NORMAL_ENTROPY + logs

    def covariance(self) -> Tensor:
        """The Kronecker product of RRᵀ and CCᵀ."""
        return torch.kron(self.rows @ self.rows.mT, self.columns @ self.columns.mT)

    def spread(self, layer: Map, x: Tensor) -> Tensor:
        """(RRᵀ)_jj · xᵀCCᵀx."""
        along = layer.linear(x, self.columns.mT).square().sum(-1, keepdim=True)
        return along * self.rows.square().sum(1)

    def preactivations(self, layer: Map, x: Tensor, noise: Noise) -> Tensor:
        """‖xC‖ · Rζ: of one x the outputs have the covariance (xᵀCCᵀx)·RRᵀ."""
        zeta = noise(layer.name, (*x.shape[:-1], len(self.rows)))
        along = layer.linear(x, self.columns.mT).square().sum(-1, keepdim=True)
        found: Tensor = safe_sqrt(along) * (zeta @ self.rows.mT)
        return found


@dataclass(frozen=True)
class MatrixNormal(Parameterization):
    """W ~ MN(M, RRᵀ, CCᵀ): weights of an output share the outputs' covariance RRᵀ, those of an input the inputs' CCᵀ.

    R and C are lower triangular, with the exponentials of coordinates on their diagonals; only what is below is stored.
    One factor of the two is superfluous: R/a and aC have the same law. The inputs' factor has ½K(K + 1) numbers, K the
    weights of an output: it is meant for layers of some hundreds of inputs at most. Of a convolution an "input" is a
    channel at a place of the kernel. Matrix-normal posteriors are those of Louizos & Welling 2016, whose covariances
    are diagonal, and of Sun, Chen & Carin 2017.

    Attributes:
        sigma: Initial standard deviation of every weight; all are uncorrelated at first.
    """

    sigma: float = 0.05
    name: ClassVar[str] = "matrix-normal"
    roles: ClassVar[dict[str, str]] = {"mean": "mean", "rows": "factor", "columns": "factor"}

    def __post_init__(self) -> None:
        """Refuse a scale that is no scale."""
        between("sigma", self.sigma, 0)

    @property
    def law(self) -> Law:
        """Structured."""
        return "structured"

    @property
    def normal_preactivations(self) -> bool:
        """They are: of one example jointly normal, with covariance (xᵀCCᵀx)·RRᵀ."""
        return True

    def initial(self, weight: Tensor, place: int = 0) -> dict[str, Tensor]:
        """M = weight, R = C = √sigma·I, both packed row by row: (n(n + 1)/2,)."""
        half = 0.5 * math.log(self.sigma)
        return {
            "mean": weight.clone(),
            "rows": half * packed_eye(weight, weight.shape[0]),
            "columns": half * packed_eye(weight, weight[0].numel()),
        }

    def gaussian(self, coordinates: Mapping[str, Tensor]) -> Posterior:
        """R and C unpacked; the variance of W_ji is (RRᵀ)_jj (CCᵀ)_ii."""
        mean = coordinates["mean"]
        rows = triangle(coordinates["rows"], mean.shape[0])
        columns = triangle(coordinates["columns"], math.prod(mean.shape[1:]))
        variance = torch.outer(rows.square().sum(1), columns.square().sum(1)).reshape(mean.shape)
        return Posterior(
            mean, variance.sqrt(), variance, law="structured", structure=Kronecker(rows, columns)
        )


def packed_eye(like: Tensor, size: int) -> Tensor:
    """1 at the places of the diagonal, 0 elsewhere, of a packed triangle."""
    i, j = torch.tril_indices(size, size, device=like.device)
    found: Tensor = (i == j).to(like.dtype)
    return found


def triangle(packed: Tensor, size: int) -> Tensor:
    """A lower triangular matrix from its rows one after the other, with the exponentials of the diagonal's numbers."""
    i, j = torch.tril_indices(size, size, device=packed.device)
    values = torch.where(i == j, torch.where(i == j, packed, 0.0).exp(), packed)
    return packed.new_zeros(size, size).index_put((i, j), values)
