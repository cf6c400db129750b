"""Moments of gradients that are products δᵀx, formed a few rows at a time, or not formed at all.

Where a coordinate's gradient is the plain product, as that of μ in (μ, log σ²), and a minibatch is small beside the
layer, sums over its weights need no weight: ⟨A₁ᵀG₁, A₂ᵀG₂⟩ = ⟨A₁A₂ᵀ, G₁G₂ᵀ⟩, of M × M products. They are taken in
float64, because differences of gradients are differences of these numbers. In log σ² or (θ, log α) every weight has a
factor of its own, σ² or θ: those gradients are formed by rows, in buffers that a cache holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vdbench.estimation.products import Drawn, Product
from vdbench.measures.moments import Buffers, Sums
from vdbench.problems.layers import Layer
from vdbench.problems.problem import Parameters

LARGE = 2**15
"""Inputs of a minibatch from which draws are multiplied one by one, without a copy of inputs that they share."""

FORMED = 40
"""Multiplications that one weight of a formed gradient costs in passes over it, beside the product itself."""

COMBINED = ((1, -1, 0, 0), (0, 0, 1, -1), (1, 1, -1, -1), (1, 1, 0, 0), (0, 0, 1, 1))
"""d₁, d₂, u, s and t, of a₁, a₂, b₁ and b₂."""

Slopes = Mapping[str, Mapping[str, Tensor | None]]
"""By parameter and field of the law, as `vdbench.estimation.products.slopes_of_coordinates` gives them."""


@dataclass(frozen=True)
class Of:
    """What is summed of one layer.

    Attributes:
        layer: Which.
        slopes: How its law changes with its coordinates.
    """

    layer: Layer
    slopes: Slopes


Added = Mapping[str, Tensor]
"""What is added to every gradient by parameter: the gradient of −KL, or nothing."""


def add(drawn: Drawn, layers: list[Of], parameters: Parameters, added: Added, sums: Sums) -> None:
    """Take in the gradients of 2U minibatches, D draws on each; a draw counts twice where D is 1."""
    for of in layers:
        mine = [p for p in drawn.products if p.layer == of.layer.name]
        formed = {}
        for name, fields in of.slopes.items():
            uses = [p for p in mine if p.kind in fields or (p.kind == "weights" and {"mean", "scale"} & set(fields))]
            if not uses:
                _constant(name, parameters[name], added, sums)
            elif name not in added and _small(of, name, uses):
                _by_inner_products(name, uses, sums)
            else:
                formed[name] = fields
        if formed:
            _by_rows(formed, of, mine, parameters, added, sums)
    for name, found in drawn.biases.items():
        sums.add(name, *four(found.flatten(2)), slope=added[name].flatten() if name in added else None)


def four(found: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The draws a₁, a₂, b₁, b₂ of each unit, (U, n), of gradients (2U, D, n)."""
    units = found.unflatten(0, (-1, 2))
    last = units.shape[2] - 1
    return units[:, 0, 0], units[:, 0, last], units[:, 1, 0], units[:, 1, last]


def _constant(name: str, parameter: Tensor, added: Added, sums: Sums) -> None:
    """No use of the weights depends on it."""
    value = torch.zeros(sums.units, 4, dtype=torch.float64, device=parameter.device)
    if name in added:
        value[:, 3] = 4 * added[name].double().square().sum()
    sums.take(name, value)


def _small(of: Of, name: str, uses: list[Product]) -> bool:
    """Whether inner products of the minibatches' rows cost less than the gradient formed."""
    plain = list(of.slopes[name].values()) == [None] and all(p.kind in of.slopes[name] for p in uses)
    if not plain:
        return False
    outputs, inputs = of.layer.weight_shape
    rows = 4 * sum(p.slopes.shape[2] for p in uses)
    # in float64, which takes twice the time
    return 2 * rows * rows * (outputs + inputs) < outputs * inputs * (rows + 4 * FORMED)


def _by_inner_products(name: str, uses: list[Product], sums: Sums) -> None:
    places, draws = uses[0].slopes.shape[:2]
    units = places // 2
    slopes = torch.cat([p.slopes for p in uses], 2).double()
    inputs = torch.cat([p.inputs for p in uses], 2).double()
    rows = slopes.shape[2]
    products = _gram(slopes.reshape(units, 2 * draws * rows, -1))
    products *= _gram(inputs.reshape(units, 2 * draws * rows, -1))
    blocks = products.reshape(units, 2 * draws, rows, 2 * draws, rows).sum((2, 4))
    signs = blocks.new_tensor(COMBINED)
    if draws == 1:  # a second draw is the first
        signs = torch.stack([signs[:, 0] + signs[:, 1], signs[:, 2] + signs[:, 3]], 1)
    combined = signs @ blocks @ signs.T
    squares = combined.diagonal(dim1=1, dim2=2)[:, :3].clamp(min=0)
    sums.take(name, torch.cat([squares, combined[:, 3, 4, None]], 1))


def _gram(rows: Tensor) -> Tensor:
    return torch.bmm(rows, rows.transpose(1, 2))


def _by_rows(
    formed: Slopes, of: Of, mine: list[Product], parameters: Parameters, added: Added, sums: Sums
) -> None:
    outputs, inputs = of.layer.weight_shape
    places, draws = mine[0].slopes.shape[:2]
    step = _rows_together(mine, inputs, sums.units)
    factors = [_Factors(p, sums.buffers, str(k)) for k, p in enumerate(mine)]
    shared: dict[str, Tensor] = {}
    for start in range(0, outputs, step):
        rows = slice(start, min(start + step, outputs))
        fields = _fields(factors, rows, sums.buffers)
        for name, slopes in formed.items():
            found = _combined(fields, slopes, rows, sums.buffers)
            whole = tuple(parameters[name].shape) == of.layer.weight_shape
            if not whole:
                _share(shared, name, found, parameters[name], outputs, rows)
                continue
            slope = added[name][rows].flatten() if name in added else None
            sums.add(name, *four(found.view(places, draws, -1)), slope=slope)
    for name, total in shared.items():
        slope = added[name].flatten() if name in added else None
        sums.add(name, *four(total.view(places, draws, -1)), slope=slope)


def _rows_together(mine: list[Product], inputs: int, units: int) -> int:
    examples = max(p.slopes.shape[2] for p in mine)
    # a long product has its inputs arranged anew for every call
    least = 8 if examples <= 128 else 256
    return max(least, 2**15 // (inputs * units))


class _Factors:
    """One product, ready to be formed by rows."""

    def __init__(self, product: Product, buffers: Buffers, number: str) -> None:
        self.kind, self._buffers, self._number = product.kind, buffers, number
        self._product = product
        shape = product.inputs.shape
        self._each = shape[2] * shape[3] >= LARGE
        if not self._each:
            self._slopes = product.slopes.flatten(0, 1).transpose(1, 2)
            self._inputs = product.inputs.reshape(-1, *shape[2:])

    def rows(self, rows: slice) -> Tensor:
        """δᵀx in some rows, (P·D, rows, inputs)."""
        slopes, inputs = self._product.slopes, self._product.inputs
        places, draws, _, width = inputs.shape
        count = rows.stop - rows.start
        out = self._buffers.get(f"product {self._number}", (places * draws, count, width), inputs)
        if not self._each:
            return torch.bmm(self._slopes[:, rows], self._inputs, out=out)
        for k, one in enumerate(out):
            p, d = divmod(k, draws)
            torch.mm(slopes[p, d, :, rows].T, inputs[p, d], out=one)
        return out

    def noise(self, rows: slice) -> Tensor:
        assert self._product.noise is not None
        return self._product.noise.flatten(0, 1)[:, rows]


def _fields(factors: list[_Factors], rows: slice, buffers: Buffers) -> dict[str, list[Tensor]]:
    """Gradients in the fields of the law, as terms to be added."""
    found: dict[str, list[Tensor]] = {}
    for number, one in enumerate(factors):
        value = one.rows(rows)
        if one.kind != "weights":
            found.setdefault(one.kind, []).append(value)
            continue
        found.setdefault("mean", []).append(value)
        times = buffers.get(f"noise {number}", tuple(value.shape), value)
        found.setdefault("scale", []).append(torch.mul(value, one.noise(rows), out=times))
    return found


def _combined(
    fields: Mapping[str, list[Tensor]], slopes: Mapping[str, Tensor | None], rows: slice, buffers: Buffers
) -> Tensor:
    """The gradient in a coordinate, by the chain rule over the fields that depend on it."""
    terms = [(value, slope) for f, slope in slopes.items() for value in fields.get(f, [])]
    if len(terms) == 1 and terms[0][1] is None:
        return terms[0][0]
    total = buffers.get("coordinate", tuple(terms[0][0].shape), terms[0][0])
    for number, (value, slope) in enumerate(terms):
        if number == 0:
            total.copy_(value) if slope is None else torch.mul(value, slope[rows], out=total)
        elif slope is None:
            total.add_(value)
        else:
            total.addcmul_(value, slope[rows])
    return total


def _share(
    shared: dict[str, Tensor], name: str, found: Tensor, parameter: Tensor, outputs: int, rows: slice
) -> None:
    """Sum a coordinate that several weights share over them, (2U, D, its numbers)."""
    shape = (1, 1) if parameter.dim() == 1 else tuple(parameter.shape)
    if name not in shared:
        shared[name] = found.new_zeros(len(found), parameter.numel())
    total = shared[name].view(len(found), *shape)
    part = found if shape[1] > 1 else found.sum(2, keepdim=True)
    if shape[0] == 1:
        total += part.sum(1, keepdim=True)
    else:
        total[:, rows] += part
