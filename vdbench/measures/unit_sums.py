"""The sums of a few units of the variance measure, in one of three ways that agree to rounding.

- ``products``: all four draws of a unit in one pass, gradients never held whole (`vdbench.estimation.products`);
- ``together``: all four draws in one vectorised call, gradients held;
- ``one by one``: a draw at a time, where draws cannot be vectorised or one fills the budget.

The way follows from the estimator, the problem and shapes, and from a trial on one draw of two minibatches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from vdbench.estimation import returned
from vdbench.estimation.draws import call, inject, on_each, vectorised
from vdbench.estimation.pathwise import Pathwise
from vdbench.estimation.products import (
    Drawn,
    Product,
    Products,
    Refused,
    slopes_of_coordinates,
    why_formed,
    why_not_dense,
)
from vdbench.measures import product_moments
from vdbench.measures.context import Context
from vdbench.measures.moments import Buffers, Numbers, Sums
from vdbench.noise import Key, Request, stream
from vdbench.problems.problem import Batch

WAYS = ("products", "together", "one by one")

HELD = {"cpu": 2**29, "cuda": 2**33}
"""Bytes of activations up to which minibatches are taken at once; else one after the other."""

FIT = {"cpu": 2**24, "cuda": 2**31}
"""Bytes of activations of a call's units, as far as it has several: what a cache holds."""

MOST = 64
"""Units of one call at most."""

AGREE = {torch.float32: 1e-3, torch.float64: 1e-9}
"""Relative difference of a trial's sums beyond which products are not used: far above rounding."""


@dataclass(frozen=True)
class Limits:
    """What a call holds at most, where memory is scarce.

    Attributes:
        units: Units of one call.
        places: Minibatches whose draws are taken at once, in products.
        why: Why gradients are held one by one; '' where they need not be.
    """

    units: int = 2**30
    places: int = 2**30
    why: str = ""


@dataclass
class Way:
    """How an estimator's units are taken at a place.

    Attributes:
        name: One of `WAYS`.
        why: Why products are not used; '' where they are.
        products: Draws them, where they are used.
        layers: What is summed of each layer, for products.
        buffers: Memory that is used again.
    """

    name: str
    why: str = ""
    products: Products | None = None
    layers: list[product_moments.Of] = field(default_factory=list)
    buffers: Buffers = field(default_factory=Buffers)


def way(context: Context) -> Way:
    """The way of a place, chosen once."""
    if "way" not in context.shared:
        context.shared["way"] = _choose(context)
    found: Way = context.shared["way"]
    return found


def told(context: Context) -> dict[str, str]:
    """The way of a place as facts for its record; nothing where none was chosen, as all figures were stored."""
    found: Way | None = context.shared.get("way")
    if found is None:
        return {}
    return {"way": found.name, **({"way_why": found.why} if found.why else {})}


def of(context: Context, units: list[int], use: Way | None = None) -> dict[str, Numbers] | None:
    """Sums over each parameter in some units, (U, 4); None where one is not finite, or not as in the trial.

    Args:
        context: Where.
        units: Their numbers.
        use: How; as `way` has it if None.
    """
    use = way(context) if use is None else use
    sums = Sums(len(units), use.buffers)
    places = [context.key / "unit" / unit / side for unit in units for side in "ab"]
    batches = context.batches([place / "minibatch" for place in places])
    try:
        {"products": _products, "together": _together, "one by one": _one_by_one}[use.name](
            context, use, batches, places, sums
        )
    except Refused:
        return None
    return sums.numbers()


def at_once(context: Context) -> int:
    """Units of one call: as many as the draws taken together make, and where those are none, what activations allow."""
    most = limits(context).units
    if way(context).name != "products":
        return max(1, min(most, context.traced.together // 4))
    return min(most, units_of_products(context, _numbers(context)))


def limits(context: Context) -> Limits:
    """What calls hold at most at a place; as `vdbench.measures.expected` has set it, else by caches alone."""
    found: Limits = context.shared.get("limits", Limits())
    return found


def units_of_products(context: Context, numbers: int) -> int:
    """Units of one call in products, by what a cache holds.

    Args:
        context: Where.
        numbers: Of noise in one draw.
    """
    held = 4 * _activations(context, numbers)
    return max(1, min(MOST, FIT[context.problem.device.type] // held))


def places_of_products(context: Context, numbers: int) -> int:
    """Minibatches whose draws are taken at once, in products; arguments as of `units_of_products`."""
    held = 2 * _activations(context, numbers)
    return max(1, HELD[context.problem.device.type] // held)


def _numbers(context: Context) -> int:
    return sum(math.prod(r.shape) for r in context.traced.requests)


def _activations(context: Context, numbers: int) -> int:
    """Bytes that one draw holds between its forward and its backward pass, weight samples among them."""
    width = sum(use.inputs + 6 * use.outputs for use in context.problem.uses.values())
    item = torch.empty((), dtype=context.problem.dtype).element_size()
    examples = context.examples or context.batch_size
    return item * (examples * width + 2 * numbers)


def _keys(context: Context, places: list[Key]) -> list[Key]:
    """Addresses of the draws of each place: two, or one of an estimator without noise."""
    draws = (1, 2) if context.traced.requests or not context.estimator.declaration.pure else (1,)
    return [place / "draw" / draw for place in places for draw in draws]


def _noise(context: Context, use: Way, places: list[Key]) -> dict[Request, Tensor]:
    """Noise with first dimensions (P, D), in memory that the next call uses again."""
    keys, problem = _keys(context, places), context.problem
    like = torch.empty(0, dtype=problem.dtype, device=problem.device)

    def memory(request: Request) -> Tensor:
        return use.buffers.get(str(request), (len(keys), *request.shape), like)

    drawn = inject(context.traced.requests, keys, problem.device, problem.dtype, memory)
    return {r: v.view(len(places), -1, *v.shape[1:]) for r, v in drawn.items()}


# -- products ---------------------------------------------------------------------------------------------------


def _products(context: Context, use: Way, batches: Batch, places: list[Key], sums: Sums) -> None:
    assert use.products is not None
    noise = _noise(context, use, places)
    step = min(limits(context).places, places_of_products(context, _numbers(context)))
    parts = []
    for start in range(0, len(places), step):
        part = slice(start, start + step)
        here = Batch(*(t[part] for t in batches))
        parts.append(use.products.draw(here, {r: v[part] for r, v in noise.items()}))
    drawn = parts[0] if len(parts) == 1 else _joined(parts)
    product_moments.add(drawn, use.layers, context.parameters, context.divergence, sums)


def _joined(parts: list[Drawn]) -> Drawn:
    products = []
    for uses in zip(*(part.products for part in parts), strict=True):
        noise = [use.noise for use in uses if use.noise is not None]
        inputs = [use.inputs for use in uses]
        if all(
            x.stride(1) == 0 for x in inputs
        ):  # shared by the draws, and not to be copied for each
            whole = torch.cat([x[:, :1] for x in inputs])
            shared = whole.expand(-1, inputs[0].shape[1], -1, -1)
        else:
            shared = torch.cat(inputs)
        slopes = torch.cat([use.slopes for use in uses])
        first = uses[0]
        products.append(
            Product(first.layer, first.kind, slopes, shared, torch.cat(noise) if noise else None)
        )
    biases = {n: torch.cat([part.biases[n] for part in parts]) for n in parts[0].biases}
    return Drawn(products, biases)


# -- gradients --------------------------------------------------------------------------------------------------


def _together(context: Context, use: Way, batches: Batch, places: list[Key], sums: Sums) -> None:
    for name, value in gradients(context, batches, _noise(context, use, places)).items():
        slope = context.divergence.get(name)
        pair = product_moments.pair(value)
        sums.add(name, *pair, None if slope is None else slope.flatten())


def gradients(context: Context, batches: Batch, noise: dict[Request, Tensor]) -> dict[str, Tensor]:
    """Gradients of all draws on P minibatches in one vectorised call, by parameter (P, D, n).

    Args:
        context: Where.
        batches: Inputs (P, M, …).
        noise: With first dimensions (P, D).
    """
    problem, parameters = context.problem, context.parameters
    if not why_not_dense(problem, parameters):
        both = on_each(context.estimator, problem, parameters, batches, noise, context.state)
        return {n: g.flatten(2) for n, g in both.gradients.items()}
    # of other networks it is known that draws vectorise, and not that draws of minibatches do
    places, count = len(batches.inputs), next((v.shape[1] for v in noise.values()), 1)
    each = Batch(*(t.repeat_interleave(count, 0) for t in batches))
    flat = {r: v.flatten(0, 1) for r, v in noise.items()}
    drawn = vectorised(context.estimator, problem, parameters, each, flat, context.state)
    return {n: g.view(places, count, -1) for n, g in drawn.gradients.items()}


def _one_by_one(context: Context, use: Way, batches: Batch, places: list[Key], sums: Sums) -> None:
    """Of one unit: a₁ and b₁, then a₂ and b₂."""
    problem, estimator = context.problem, context.estimator
    keys = _keys(context, places)
    kept = returned.Kept(estimator.declaration.name, problem.free(context.parameters))
    count = len(keys) // len(places)
    for draw in range(count):
        for p in range(len(places)):
            key, here = keys[p * count + draw], Batch(*(t[p] for t in batches))
            noise = stream(key, problem.device, problem.dtype)
            parameters, state = context.parameters, context.state
            kept.add(call(estimator, problem, parameters, here, noise, key, state))
    drawn = [g.gradients for g in kept.copies]
    for name in context.problem.free(context.parameters):
        first, second = (
            torch.stack([g[name].flatten() for g in part]) for part in (drawn[:2], drawn[-2:])
        )
        slope = context.divergence.get(name)
        sums.add(name, first, second, None if slope is None else slope.flatten())


# -- choosing ---------------------------------------------------------------------------------------------------


def _choose(context: Context) -> Way:
    scarce = limits(context).why
    if scarce:
        return Way("one by one", scarce)
    other = Way("together" if context.traced.together else "one by one")
    problem, parameters = context.problem, context.parameters
    other.why = why_formed(context.estimator, problem, parameters)
    if other.why:
        return other
    assert isinstance(context.estimator, Pathwise)
    products = prepared(context)
    other.why = _trial(context, products, other)
    return other if other.why else products


def prepared(context: Context) -> Way:
    """The way by products, untried."""
    problem, parameters = context.problem, context.parameters
    assert isinstance(context.estimator, Pathwise)
    layers = [
        product_moments.Of(layer, slopes_of_coordinates(problem, layer, parameters))
        for layer in problem.layers
    ]
    return Way("products", "", Products(context.estimator, problem, parameters), layers)


def _trial(context: Context, products: Way, other: Way) -> str:
    """Why products will not do, from one unit whose draws are taken both ways; '' if they agree."""
    try:
        ours = of(context.at("trial"), [0], products)
    except Exception as error:
        return f"its draws cannot be taken as products: {type(error).__name__}"
    if ours is None:
        return "its gradients are no products of dense layers, or are not finite"
    theirs = of(context.at("trial"), [0], other)
    if theirs is None:
        return "its gradients are not finite"
    room = AGREE[context.problem.dtype]
    return "" if _agree(ours, theirs, room) else "products and gradients differ"


def _agree(ours: Mapping[str, Numbers], theirs: Mapping[str, Numbers], room: float) -> bool:
    if set(ours) != set(theirs):
        return False
    for name, found in ours.items():
        squares, u, st = theirs[name].T
        # s² + t² = u² + 2st bounds the rounding of all: differences of draws that are nearly equal have few digits
        scale = squares + u + 2 * np.abs(st)
        if not (np.abs(found.T - theirs[name].T) <= room * np.maximum(scale, 1e-30)).all():
            return False
    return True
