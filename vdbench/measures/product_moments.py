"""Moments of gradients that are products δᵀx, formed a few rows at a time, or not formed at all.

Where a coordinate's gradient is the plain product, as that of μ in (μ, log σ²), and a minibatch is small beside the
layer, sums over its weights need no weight: ⟨A₁ᵀG₁, A₂ᵀG₂⟩ = ⟨A₁A₂ᵀ, G₁G₂ᵀ⟩, of M × M products. They are taken in
float64, because differences of gradients are differences of these numbers; where too few digits of one are left, the
gradient is formed after all. In log σ² or (θ, log α) every weight has a factor of its own, σ² or θ: those gradients are
formed by rows, in buffers that a cache holds.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vdbench.estimation.products import SAMPLED, Drawn, Product
from vdbench.measures.moments import TILE, Buffers, Sums
from vdbench.problems.layers import Layer
from vdbench.problems.problem import Parameters

FORMED = 40
"""Multiplications that one weight of a formed gradient costs in passes over it, beside the product itself."""

DIGITS = 1e-6
"""Share of its terms below which a square by inner products is not trusted: float64 leaves ten digits there."""

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
            uses = _of(mine, fields)
            if not uses:
                _constant(name, parameters[name], added, sums)
            elif name in added or not (
                _small(of, name, uses) and _by_inner_products(name, uses, sums)
            ):
                formed[name] = fields
        if not formed:
            continue
        mine = _of(mine, {f for fields in formed.values() for f in fields})
        tile = TILE[mine[0].slopes.device.type]
        units = max(1, tile // math.prod(of.layer.weight_shape))
        for unit in range(0, sums.units, units):
            places = slice(2 * unit, 2 * min(unit + units, sums.units))
            rows = _Rows(of, [p.of(places) for p in mine], sums, unit)
            rows.add(formed, parameters, added)
    for name, found in drawn.biases.items():
        sums.add(name, *pair(found.flatten(2)), _flat(added, name))


def _of(products: list[Product], fields: Collection[str]) -> list[Product]:
    """Those that a gradient in some fields of the law is made of."""
    return [p for p in products if any(f in fields for f in SAMPLED.get(p.kind, (p.kind,)))]


def pair(found: Tensor) -> tuple[Tensor, Tensor]:
    """First and second draws, (P, n) each, of gradients (P, D, n); the same where D is 1."""
    return found[:, 0], found[:, found.shape[1] - 1]


def _flat(added: Added, name: str, rows: slice = slice(None)) -> Tensor | None:
    return added[name][rows].flatten() if name in added else None


def _constant(name: str, parameter: Tensor, added: Added, sums: Sums) -> None:
    """No use of the weights depends on it."""
    value = torch.zeros(sums.units, 3, dtype=torch.float64, device=parameter.device)
    if name in added:
        value[:, 2] = 4 * added[name].double().square().sum()
    sums.take(name, value)


def _small(of: Of, name: str, uses: list[Product]) -> bool:
    """Whether inner products of the minibatches' rows cost less than the gradient formed."""
    plain = list(of.slopes[name].values()) == [None] and all(
        p.kind in of.slopes[name] for p in uses
    )
    if not plain:
        return False
    outputs, inputs = of.layer.weight_shape
    return _fewer(outputs, inputs, 4 * sum(p.slopes.shape[2] for p in uses))


def _fewer(outputs: int, inputs: int, rows: int) -> bool:
    """Whether inner products of so many rows, of a unit's four draws, cost less than a gradient of this shape."""
    # in float64, which takes twice the time
    return 2 * rows * rows * (outputs + inputs) < outputs * inputs * (rows + 4 * FORMED)


def _by_inner_products(name: str, uses: list[Product], sums: Sums) -> bool:
    """Take in a gradient that is not formed; False, and nothing is taken in, where too few digits are left.

    The terms of a square add up to (Σ|δ||x|)² at most, and their rounding is a share of that. Noise that is small
    beside the mean, or a minibatch whose examples cancel, leaves a square that is as small as the rounding.
    """
    places, draws = uses[0].slopes.shape[:2]
    slopes = torch.cat([p.slopes for p in uses], 2).double()
    inputs = torch.cat([p.inputs for p in uses], 2).double()
    rows = slopes.shape[2]
    products = _gram(slopes.reshape(places // 2, 2 * draws * rows, -1))
    products *= _gram(inputs.reshape(places // 2, 2 * draws * rows, -1))
    terms = products.diagonal(dim1=1, dim2=2).sqrt().sum(1).square()
    blocks = products.reshape(-1, 2 * draws, rows, 2 * draws, rows).sum((2, 4))
    signs = blocks.new_tensor(COMBINED)
    if draws == 1:  # a second draw is the first
        signs = torch.stack([signs[:, 0] + signs[:, 1], signs[:, 2] + signs[:, 3]], 1)
    combined = signs @ blocks @ signs.T
    squares = combined.diagonal(dim1=1, dim2=2)[:, :3]
    counted = squares if draws == 2 else squares[:, 2:]  # of one draw the differences are 0 exactly
    if bool((counted < DIGITS * terms[:, None]).any()):
        return False
    sums.take(
        name, torch.stack((squares[:, 0] + squares[:, 1], squares[:, 2], combined[:, 3, 4]), 1)
    )
    return True


def _gram(rows: Tensor) -> Tensor:
    return torch.bmm(rows, rows.transpose(1, 2))


def _rows_at_once(shape: tuple[int, ...], places: int, examples: int, tile: int) -> int:
    # a long product has its inputs arranged anew for every call
    least = 8 if examples <= 128 else 256
    return min(shape[0], max(least, 2 * tile // (shape[1] * places)))


def room(drawn: Drawn, layers: list[Of], units: int, examples: int) -> int:
    """Bytes that `add` takes for so many units, besides what is drawn.

    Args:
        drawn: Draws of the same estimator, of any number of examples.
        layers: As of `add`.
        units: U.
        examples: M of each minibatch.
    """
    most = 0
    for of in layers:
        mine = [p for p in drawn.products if p.layer == of.layer.name]
        if mine:
            most = max(most, _room(mine, of.layer.weight_shape, units, examples))
    return most


def _room(mine: list[Product], shape: tuple[int, ...], units: int, examples: int) -> int:
    outputs, inputs = shape
    like, draws = mine[0].slopes, mine[0].slopes.shape[1]
    rows, each, tile = 2 * draws * examples, like.element_size(), TILE[like.device.type]
    # of one product alone: slopes and inputs joined, and in float64; two tables of inner products
    inner = units * ((8 + each) * rows * (outputs + inputs) + 2 * 8 * rows * rows)
    if not _fewer(outputs, inputs, 4 * examples):
        inner = 0
    places = 2 * min(units, max(1, tile // (outputs * inputs)))
    step = _rows_at_once(shape, places, examples, tile)
    count = len(mine) + sum(p.kind in SAMPLED for p in mine) + 1
    looked_at = 3 * min(2 * tile, places * step * inputs)
    return inner + each * (count * draws * places * step * inputs + looked_at)


class _Rows:
    """Some units' gradients in the weights of one layer, formed some rows at a time.

    Where the draws of a minibatch share their inputs, as in a first layer, differences and sums of draws are products
    of differences and sums of slopes, and are formed in their place.
    """

    def __init__(self, of: Of, products: list[Product], sums: Sums, unit: int) -> None:
        self._of, self._sums, self._unit = of, sums, unit
        self._places, draws = products[0].slopes.shape[:2]
        self._combined = draws == 2 and all(
            p.inputs.stride(1) == 0 and p.kind not in SAMPLED for p in products
        )
        if self._combined:
            products = [p._replace(slopes=_differences(p.slopes)) for p in products]
        self._products = [_Factors(p, sums.buffers, str(k)) for k, p in enumerate(products)]
        examples = max(p.slopes.shape[2] for p in products)
        tile = TILE[products[0].slopes.device.type]
        self._step = _rows_at_once(of.layer.weight_shape, self._places, examples, tile)

    def add(self, formed: Slopes, parameters: Parameters, added: Added) -> None:
        """Take in the gradients in some coordinates."""
        outputs = self._of.layer.weight_shape[0]
        shared: dict[str, Tensor] = {}
        for start in range(0, outputs, self._step):
            rows = slice(start, min(start + self._step, outputs))
            fields = _fields(self._products, rows, self._sums.buffers)
            for name, slopes in formed.items():
                own = self._last_of(name, formed)
                found = _coordinate(fields, slopes, rows, self._sums.buffers, own)
                if tuple(parameters[name].shape) == self._of.layer.weight_shape:
                    self._take(name, found.flatten(1), _flat(added, name, rows))
                else:
                    _share(shared, name, found, parameters[name], rows)
        for name, total in shared.items():
            self._take(name, total, _flat(added, name))

    @staticmethod
    def _last_of(name: str, formed: Slopes) -> bool:
        """Whether no coordinate after this one needs the same fields, which may then be overwritten."""
        names = list(formed)
        later = names[names.index(name) + 1 :]
        return not any({*formed[other]} & {*formed[name]} for other in later)

    def _take(self, name: str, found: Tensor, slope: Tensor | None) -> None:
        first, second = found[: self._places], found[-self._places :]
        take = self._sums.combine if self._combined else self._sums.add
        take(name, first, second, slope, self._unit)


def _differences(slopes: Tensor) -> Tensor:
    """δ₁ − δ₂ and δ₁ + δ₂ in place of two draws."""
    return torch.stack((slopes[:, 0] - slopes[:, 1], slopes[:, 0] + slopes[:, 1]), 1)


class _Factors:
    """One product, ready to be formed by rows."""

    def __init__(self, product: Product, buffers: Buffers, number: str) -> None:
        self.kind, self._buffers, self._number = product.kind, buffers, number
        self._product = product

    def rows(self, rows: slice) -> Tensor:
        """δᵀx in some rows, (D·P, rows, inputs): the first draws, then the second."""
        slopes, inputs = self._product.slopes, self._product.inputs
        places, draws, _, width = inputs.shape
        shape = (draws * places, rows.stop - rows.start, width)
        out = self._buffers.get(f"product {self._number}", shape, inputs)
        for d in range(draws):
            half = out[d * places : (d + 1) * places]
            torch.bmm(slopes[:, d, :, rows].transpose(1, 2), inputs[:, d], out=half)
        return out

    def noise(self, rows: slice) -> Tensor:
        """Of a sample of the weights, in some rows."""
        assert self._product.noise is not None
        return self._product.noise.transpose(0, 1)[:, :, rows]


def _fields(factors: list[_Factors], rows: slice, buffers: Buffers) -> dict[str, list[Tensor]]:
    """Gradients in the fields of the law, as terms to be added."""
    found: dict[str, list[Tensor]] = {}
    for number, one in enumerate(factors):
        value = one.rows(rows)
        if one.kind not in SAMPLED:
            found.setdefault(one.kind, []).append(value)
            continue
        times = value  # of a perturbation alone nothing else is needed
        if "mean" in SAMPLED[one.kind]:
            found.setdefault("mean", []).append(value)
            times = buffers.get(f"noise {number}", tuple(value.shape), value)
        noise = one.noise(rows)
        torch.mul(value.view(noise.shape), noise, out=times.view(noise.shape))
        found.setdefault("scale", []).append(times)
    return found


def _coordinate(
    fields: Mapping[str, list[Tensor]],
    slopes: Mapping[str, Tensor | None],
    rows: slice,
    buffers: Buffers,
    own: bool,
) -> Tensor:
    """The gradient in a coordinate, by the chain rule over the fields that depend on it.

    Args:
        fields: From `_fields`.
        slopes: Of each field in the coordinate.
        rows: Which.
        buffers: Where it is formed.
        own: Whether no other coordinate needs the fields any more.
    """
    terms = [(value, slope) for f, slope in slopes.items() for value in fields.get(f, [])]
    value, slope = terms[0]
    if len(terms) == 1 and own:
        return value if slope is None else value.mul_(slope[rows])
    total = buffers.get("coordinate", tuple(value.shape), value)
    total.copy_(value) if slope is None else torch.mul(value, slope[rows], out=total)
    for value, slope in terms[1:]:
        total.add_(value) if slope is None else total.addcmul_(value, slope[rows])
    return total


def _share(
    shared: dict[str, Tensor], name: str, found: Tensor, parameter: Tensor, rows: slice
) -> None:
    """Sum a coordinate that several weights share over them, (D·P, its numbers)."""
    shape = (1, 1) if parameter.dim() == 1 else tuple(parameter.shape)
    if name not in shared:
        shared[name] = found.new_zeros(len(found), parameter.numel())
    total = shared[name].view(len(found), *shape)
    part = found if shape[1] > 1 else found.sum(2, keepdim=True)
    if shape[0] == 1:
        total += part.sum(1, keepdim=True)
    else:
        total[:, rows] += part
