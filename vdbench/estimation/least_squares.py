r"""Weights of control variates by least squares on pilot draws, for every parameter.

Of $g - \sum_k a_kc_k$ with $E[c_k] = 0$, the variance summed over the entries of a parameter is least at $Ca = b$,
where $C_{kl} = \sum_i\mathrm{Cov}(c_{ki}, c_{li})$ and $b_k = \sum_i\mathrm{Cov}(g_i, c_{ki})$. The difference of two
independent draws has twice these covariances as second moments, whatever the means are. Weights that were fitted on
other draws than those they are used in leave the mean as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from vdbench.estimation.base import Gradient

Named = Mapping[str, Tensor]
Drawn = tuple[Gradient, Sequence[Named]]
"""A gradient, and the control variates of the same draw."""


ROUNDINGS = 100
"""A control variate below so many roundings of the gradient is made of them, and has weight 0."""


def weights(pairs: Iterable[tuple[Drawn, Drawn]], ridge: float) -> dict[str, Tensor]:
    """The weights of K control variates, (K,) by parameter: (C + ridge·diag C)⁻¹b of the pairs' differences.

    Args:
        pairs: Two independent draws each, taken one pair after the other.
        ridge: What the diagonal is raised by, as a share of itself; above 0. A control variate that is 0, or that
            rounding alone moves from 0, has weight 0.
    """
    products: dict[str, Tensor] = {}
    squares: dict[str, Tensor] = {}
    dtype = torch.float64
    for (g, controls), (h, others) in pairs:
        for name, value in g.gradients.items():
            dtype = value.dtype
            both = [(value, h.gradients[name])]
            both += [(c[name], d[name]) for c, d in zip(controls, others, strict=True)]
            rows = torch.stack([(a - b).double().flatten() for a, b in both])
            products[name] = products.get(name, 0.0) + rows @ rows.T
            size = torch.stack([v.double().square().sum() for v in both[0]]).sum()
            squares[name] = squares.get(name, 0.0) + size
    rounding = (ROUNDINGS * torch.finfo(dtype).eps) ** 2
    return {
        n: _solved(gram, rounding * squares[n], ridge).to(dtype) for n, gram in products.items()
    }


def _solved(gram: Tensor, least: Tensor, ridge: float) -> Tensor:
    """The weights of one parameter, from the products of its gradient, first, and its control variates."""
    squares = gram.diagonal()[1:]
    live = squares > least
    size = torch.where(live, squares, torch.inf).sqrt()
    scaled = gram[1:, 1:] / (size[:, None] * size)
    scaled = scaled + torch.diag(torch.where(live, squares.new_tensor(ridge), 1.0))
    found: Tensor = torch.linalg.solve(scaled, gram[1:, 0] / size)
    return found / size


def less(drawn: Drawn, fitted: Named) -> Gradient:
    """The gradient without its control variates, each times its weight."""
    gradient, controls = drawn

    def part(name: str, value: Tensor) -> Tensor:
        for weight, control in zip(fitted[name], controls, strict=True):
            value = value - weight * control[name]
        return value

    return Gradient(gradient.value, {n: part(n, g) for n, g in gradient.gradients.items()})
