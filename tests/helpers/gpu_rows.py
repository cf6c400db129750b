"""What tests/gpu/measure.py measures: each section gives rows of figures, with what is aimed at where something is."""

from __future__ import annotations

from collections.abc import Callable

import gpu_kernels
import torch
import torch.nn.functional as F
from gpu_setting import WHOLE, Row, Setting, by_hand, context, products_in, row, weights_of, work
from gpu_timing import Call, captured, in_turn
from torch import Tensor

from vdbench.estimation.draws import call, gather, minibatch
from vdbench.kernels import fused
from vdbench.kernels.launches import Tiles
from vdbench.measures import unit_sums, variance_units
from vdbench.measures.context import Context
from vdbench.noise import Noise, Request, stream
from vdbench.training import Trainer

# -- rates ------------------------------------------------------------------------------------------------------


def rates(at: Setting) -> list[Row]:
    """Operations a second of one large product, which other rates are held against."""
    n = at.sizes.product
    a, b = (torch.randn(n, n, device=at.device) for _ in range(2))
    found = []
    for precision in ("ieee", "tf32"):
        with products_in(precision):
            taken = in_turn({"product": lambda: a @ b}, at.timing)["product"]
        found.append(row(f"{n}³ product, {precision}, FLOP/s", 2 * n**3 / taken))
    return found


def engine(at: Setting) -> list[Row]:
    """Draws a second of the variance measure, against the product's rate and a streaming loop by hand."""
    limits = {r["what"]: r["found"]["median"] for r in rates(at)}
    found = []
    for size in at.sizes.batches:
        with products_in("ieee"):
            place = context(at, size)
            units = max(unit_sums.at_once(place), at.sizes.draws // 4)
            way = unit_sums.way(place).name
        for precision in ("ieee", "tf32"):
            with products_in(precision):
                calls: dict[str, Call] = {
                    "engine": lambda p=place, u=units: variance_units.rows(p, 0, u),
                    "loop": lambda p=place: streaming(p, at.sizes.draws),
                }
                taken = in_turn(calls, at.timing)
            limit = next(v for k, v in limits.items() if precision in k) / work(at, size)
            rate = 4 * units / taken["engine"]
            more = {"way": way, "units": units, "limit by the product's rate": limit}
            what = f"engine, M = {size}, {precision}, draws/s"
            found.append(row(what, rate, aim_of(at, size, precision), **more))
            found.append(row(f"the same / that limit, M = {size}, {precision}", rate / limit))
            ratio = rate / (at.sizes.draws / taken["loop"])
            found.append(row(f"the same / streaming loop, M = {size}, {precision}", ratio))
    return found


def aim_of(at: Setting, size: int, precision: str) -> str:
    """What is aimed at, of the whole sizes."""
    if at.sizes != WHOLE:
        return ""
    if size == 1000:
        return "60 % of the limit" if precision == "ieee" else "40 % of the limit"
    return {100: "5,000", 10: "10,000"}[size] if precision == "ieee" else ""


def streaming(place: Context, draws: int) -> list[Tensor]:
    """Sums and sums of squares of so many gradients by hand."""
    one = by_hand(place)
    total: list[Tensor] = []
    square: list[Tensor] = []
    for _ in range(draws):
        found = one()
        if not total:
            total, square = [g.clone() for g in found], [g.square() for g in found]
            continue
        for t, s, g in zip(total, square, found, strict=True):
            t.add_(g)
            s.addcmul_(g, g)
    return square


# -- gradients and steps ----------------------------------------------------------------------------------------


def ours(place: Context, eager: bool) -> Call:
    """A gradient of vdbench's: noise by address as a training step has it, or of torch's default generator."""
    key, problem = place.key / "gradient", place.problem
    batch = gather(problem, minibatch(problem, place.batch_size, place.key / "plain"))
    count = iter(range(2**62))

    def anonymous(request: Request) -> Tensor:
        return torch.randn(request.shape, device=problem.device, dtype=problem.dtype)

    def one() -> object:
        own = key / next(count)
        noise = stream(own, problem.device, problem.dtype) if eager else Noise(anonymous)
        return call(place.estimator, problem, place.parameters, batch, noise, own)

    return one


def with_kernel(place: Context, tiles: Tiles | None = None) -> Callable[[], list[Tensor]]:
    """The gradient by hand with the fused kernel, its noise made inside."""
    problem = place.problem
    batch = gather(problem, minibatch(problem, place.batch_size, place.key / "plain"))
    scale, weights = problem.scale(batch), weights_of(place)
    streams = torch.arange(5 * len(weights), device=problem.device).reshape(-1, 5)
    leaves = [t for triple in weights for t in triple]

    def one() -> list[Tensor]:
        streams[:, 2].add_(1)  # in the graph too: every replay has noise of its own
        x = batch.inputs
        for number, (mean, log_variance, bias) in enumerate(weights):
            own = streams[number]
            x = fused.local(x, mean, log_variance.exp(), own, tiles=tiles) + bias
            x = x.relu() if number < len(weights) - 1 else x
        value = -scale * F.cross_entropy(x, batch.targets, reduction="sum")
        return list(torch.autograd.grad(value, leaves))

    return one


def gradients(at: Setting) -> list[Row]:
    """One gradient of local in every way, and what each is of the careful one by hand."""
    found = []
    for size in at.sizes.batches:
        for precision in ("ieee", "tf32"):
            with products_in(precision):
                found += _gradients(at, size, precision)
    return found


def _gradients(at: Setting, size: int, precision: str) -> list[Row]:
    place = context(at, size)
    calls: dict[str, Call] = {"vdbench, eager": ours(place, True), "by hand, eager": by_hand(place)}
    if at.kernels:
        calls["fused by hand, eager"] = with_kernel(place)
        option = context(at, size, kernel="fused")
        calls["vdbench, kernel=fused, eager"] = ours(option, True)
    if at.graphs:
        graphs = {"vdbench": ours(place, False), "by hand": by_hand(place)}
        if at.kernels:
            graphs["fused by hand"] = with_kernel(place)
        calls |= {f"{name}, captured": captured(one, at.device) for name, one in graphs.items()}
    taken = in_turn(calls, at.timing)
    label = f"M = {size}, {precision}"
    rows = [row(f"gradient, {name}, {label}, s", value) for name, value in taken.items()]
    for kind in ("eager", "captured") if at.graphs else ("eager",):
        base = taken[f"by hand, {kind}"]
        aim = "≤ 1.1" if kind == "captured" and at.sizes == WHOLE else ""
        rows.append(
            row(f"vdbench / by hand, {kind}, {label}", taken[f"vdbench, {kind}"] / base, aim)
        )
        if at.kernels:
            rows.append(
                row(f"fused / by hand, {kind}, {label}", taken[f"fused by hand, {kind}"] / base)
            )
    return rows


def steps(at: Setting) -> list[Row]:
    """A training step of local at the largest M, against its gradient."""
    place = context(at, at.sizes.batches[0])
    trainer = Trainer(
        place.problem, place.estimator, place.parameters, place.batch_size, 1e-3, place.key
    )
    taken = in_turn({"step": lambda: trainer.advance(1), "gradient": ours(place, True)}, at.timing)
    ratio = taken["step"] / taken["gradient"]
    return [
        row(f"training step, M = {place.batch_size}, s", taken["step"]),
        row("the same / one gradient", ratio, "≤ 1.5" if at.sizes == WHOLE else ""),
    ]


SECTIONS: dict[str, Callable[[Setting], list[Row]]] = {
    "parity": gpu_kernels.parity,
    "rates": rates,
    "engine": engine,
    "gradients": gradients,
    "steps": steps,
    "kernels": gpu_kernels.kernels,
}
