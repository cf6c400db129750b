"""What tests/gpu/measure.py measures: each section gives rows of figures, with what is aimed at where something is."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import gpu_timing
import torch
import torch.nn.functional as F
from gpu_timing import Call, Timing, captured, in_turn, summary
from torch import Tensor

import vdbench
from vdbench.datasets import Dataset, Split
from vdbench.estimation.draws import call, gather, minibatch
from vdbench.kernels import fused, launches, philox
from vdbench.kernels.launches import Tiles
from vdbench.measures import unit_sums, variance_units
from vdbench.measures.context import Context
from vdbench.noise import Injected, Key, Noise, Recorder, Request, stream
from vdbench.problems.from_module import noisy
from vdbench.problems.networks import mlp
from vdbench.training import Trainer

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import plain

Row = dict[str, Any]
PARTS = ("mean", "log_variance", "bias")
TILES = [Tiles(16, 64, 64), Tiles(128, 64, 32, 8), Tiles(128, 128, 32, 8)]
"""Tried beside those chosen, in float32 and TF32: each takes some seconds to compile."""


@dataclass(frozen=True)
class Sizes:
    """What is measured: the whole, or a form that takes seconds on a CPU.

    Attributes:
        inputs: Of the network.
        widths: Of its hidden layers.
        batches: M, the largest first.
        product: n of the n × n product that rates are held against.
        draws: Least draws of one sample of the engine.
        normals: Streams and numbers of each.
    """

    inputs: int
    widths: tuple[int, ...]
    batches: tuple[int, ...]
    product: int
    draws: int
    normals: tuple[int, int]


WHOLE = Sizes(784, (1000, 1000, 1000), (1000, 100, 10), 8192, 64, (64, 784_000))
TINY = Sizes(8, (6, 6), (5, 3), 32, 4, (2, 50))


@dataclass(frozen=True)
class Setting:
    """Where and how much.

    Attributes:
        timing: Device, rounds and length of samples.
        sizes: What.
    """

    timing: Timing
    sizes: Sizes

    @property
    def device(self) -> torch.device:
        """Where."""
        return self.timing.device

    @property
    def graphs(self) -> bool:
        """Whether there are CUDA graphs."""
        return self.device.type == "cuda"

    @property
    def kernels(self) -> bool:
        """Whether the fused kernels run here."""
        return bool(importlib.util.find_spec("triton")) and fused.runs_on(self.device)


@contextmanager
def products_in(precision: str) -> Iterator[None]:
    """Products of float32 as they are, or in TF32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def row(what: str, found: Any, aim: str = "", **more: Any) -> Row:
    """One figure: a number, or the rounds that it was found in."""
    value = found if isinstance(found, dict | float | int | str) else summary(found)
    return {"what": what, "found": value, **({"aim": aim} if aim else {}), **more}


def held(what: str, found: float, limit: float) -> Row:
    """A number that is wrong above a limit."""
    return {**row(what, found, f"≤ {limit:g}"), "wrong": not found <= limit}


def context(at: Setting, size: int, estimator: str = "local", **options: Any) -> Context:
    """An estimator on random images, at parameters with a scale of its own for every weight."""
    draw = torch.Generator().manual_seed(2015)
    x = torch.rand(4 * max(at.sizes.batches), at.sizes.inputs, generator=draw)
    y = torch.randint(10, (len(x),), generator=draw)
    data = Dataset("random", Split(x, y), Split(x[:8], y[:8]), 10)
    problem = noisy(mlp(data, list(at.sizes.widths)), data, name="big").to(at.device, torch.float32)
    key = Key(("gpu", size))
    parameters = {
        name: value + 0.01 * torch.randn(value.shape, generator=draw).to(at.device)
        for name, value in problem.initial(key).items()
    }
    own = vdbench.get(estimator, **options)
    return Context(problem, parameters, own, estimator, size, key, {}).at("variance")


def work(at: Setting, size: int) -> float:
    """Operations of one gradient of local: of each layer 2 products forward, and 4 back but for those in the data."""
    widths = (at.sizes.inputs, *at.sizes.widths, 10)
    layers = list(pairwise(widths))
    return 2.0 * size * (6 * sum(i * o for i, o in layers) - 2 * layers[0][0] * layers[0][1])


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


def weights_of(place: Context) -> list[tuple[Tensor, ...]]:
    """(μ, log σ², bias) of each layer, to be differentiated in."""
    return [
        tuple(place.parameters[f"{a.name}.{part}"].clone().requires_grad_() for part in PARTS)
        for a in place.problem.layers
    ]


def by_hand(place: Context) -> Callable[[], list[Tensor]]:
    """The gradient as a careful user writes it, on a fixed minibatch."""
    batch = gather(place.problem, minibatch(place.problem, place.batch_size, place.key / "plain"))
    scale, weights = place.problem.scale(batch), weights_of(place)
    return lambda: plain.pathwise(weights, *batch, scale, plain.PATHWISE["local"])


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


# -- kernels ----------------------------------------------------------------------------------------------------


def kernels(at: Setting) -> list[Row]:
    """One layer forward and backward, fused against torch, by precision and tiles; and normals of many streams."""
    if not at.kernels:
        return [row("fused kernels", "not run: no Triton, or no CUDA device")]
    found = []
    width = at.sizes.widths[0]
    for size in at.sizes.batches:
        for precision in (*launches.PRECISIONS, "bf16"):
            found += _one_layer(at, size, width, precision)
    streams, numbers = at.sizes.normals
    made = torch.empty(streams, numbers, device=at.device)
    keys = torch.arange(5 * streams, device=at.device).reshape(-1, 5)
    taken = in_turn(
        {
            "Triton, one launch": lambda: launches.normals(keys, made),
            "torch, Philox": lambda: philox.normals(keys, made),
            "torch, normal_ of each": lambda: [one.normal_() for one in made],
        },
        at.timing,
    )
    million = streams * numbers / 1e6
    return found + [row(f"normals, {k}, s a million", v / million) for k, v in taken.items()]


def _one_layer(at: Setting, size: int, width: int, precision: str) -> list[Row]:
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    draw = torch.Generator(at.device).manual_seed(1)
    x, mean, spread, above = (
        torch.randn(shape, device=at.device, generator=draw).to(kind).requires_grad_()
        for shape in ((size, width), (width, width), (width, width), (size, width))
    )
    variance = (spread.detach() * 0.1).exp().requires_grad_()
    own = torch.arange(5, device=at.device)

    def torch_s() -> object:
        b = F.linear(x, mean)
        b = b + F.linear(x.square(), variance).sqrt() * torch.randn_like(b)
        return torch.autograd.grad(b, (x, mean, variance), above)

    def kernel(tiles: Tiles | None) -> Call:
        how = precision if precision in launches.PRECISIONS else "ieee"
        return lambda: torch.autograd.grad(
            fused.local(x, mean, variance, own, how, tiles), (x, mean, variance), above
        )

    tried: list[Tiles | None] = [None, *(TILES if precision in ("ieee", "tf32") else [])]
    tried = tried if at.sizes == WHOLE else tried[:2]
    calls = {"torch": torch_s, **{f"fused {t or 'as chosen'}": kernel(t) for t in tried}}
    with products_in("ieee" if precision == "ieee" else "tf32"):
        if at.graphs:
            calls = {name: captured(one, at.device) for name, one in calls.items()}
        taken = in_turn(calls, at.timing)
    label = f"layer {width}², M = {size}, {precision}"
    times = [row(f"{label}, torch, s", taken["torch"])]
    return times + [
        row(f"{label}, {name} / torch", value / taken["torch"])
        for name, value in taken.items()
        if name != "torch"
    ]


# -- parity -----------------------------------------------------------------------------------------------------


GAPS = {"ieee": 1e-4, "tf32": 5e-2}
"""Far above rounding through four layers, far below a wrong factor."""


def parity(at: Setting) -> list[Row]:
    """One gradient on the same noise in every way, against the CPU's in float64; Philox's words on both devices."""
    place = context(at, at.sizes.batches[-1])
    noise, wanted = _reference(place)
    found = []
    for precision in ("ieee", "tf32"):
        with products_in(precision):
            ways = {"eager": _on(place, noise)}
            if at.graphs:
                ways["captured"] = captured(_on(place, noise), at.device)
            if at.kernels:
                ways["kernel=fused"] = _on(context(at, place.batch_size, kernel="fused"), noise)
            for name, one in ways.items():
                what = f"{name}, {precision}: greatest gap / greatest entry"
                found.append(held(what, _gap(one(), wanted), GAPS[precision]))
    if at.kernels:
        keys = torch.arange(10, device=at.device).reshape(2, 5)
        found += [
            held(f"Philox's normals, {name}: greatest gap to the CPU in float64", gap, 1e-5)
            for name, gap in _normals(keys, at.sizes.normals[1]).items()
        ]
    gpu_timing.wait(at.device)
    return found


def _reference(place: Context) -> tuple[dict[Request, Tensor], dict[str, Tensor]]:
    """Noise of one draw, and the gradient that it gives on the CPU in float64."""
    problem = place.problem.to("cpu", torch.float64)
    recorder = Recorder(stream(place.key / "parity", "cpu", torch.float64).source)
    batch = gather(problem, minibatch(problem, place.batch_size, place.key / "plain"))
    parameters = {n: v.cpu().double() for n, v in place.parameters.items()}
    found = place.estimator(problem, parameters, batch, Noise(recorder)).gradients
    return {r: recorder.source(r) for r in recorder.requests}, found


def _on(place: Context, noise: dict[Request, Tensor]) -> Callable[[], dict[str, Tensor]]:
    problem = place.problem
    given = {r: v.to(problem.device, problem.dtype) for r, v in noise.items()}
    batch = gather(problem, minibatch(problem, place.batch_size, place.key / "plain"))
    source = Noise(Injected(given))
    return lambda: place.estimator(problem, place.parameters, batch, source).gradients


def _gap(found: Any, wanted: dict[str, Tensor]) -> float:
    return max(
        float((found[name].cpu().double() - value).abs().max() / value.abs().max())
        for name, value in wanted.items()
    )


def _normals(keys: Tensor, numbers: int) -> dict[str, float]:
    exact = philox.normals(keys.cpu(), torch.empty(len(keys), numbers, dtype=torch.float64))
    made = torch.empty(len(keys), numbers, device=keys.device)
    return {
        name: float((f(keys, made).cpu().double() - exact).abs().max())
        for name, f in (("Triton", launches.normals), ("torch", philox.normals))
    }


SECTIONS: dict[str, Callable[[Setting], list[Row]]] = {
    "parity": parity,
    "rates": rates,
    "engine": engine,
    "gradients": gradients,
    "steps": steps,
    "kernels": kernels,
}
