"""The kernels by precision and tiles, and the parity of all ways to compute a gradient: of tests/gpu/measure.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gpu_timing
import torch
import torch.nn.functional as F
from gpu_setting import WHOLE, Row, Setting, context, held, products_in, row
from gpu_timing import Call, captured, in_turn
from torch import Tensor

from vdbench.estimation.draws import gather, minibatch
from vdbench.kernels import fused, launches, philox
from vdbench.kernels.launches import Tiles
from vdbench.measures.context import Context
from vdbench.noise import Injected, Noise, Recorder, Request, stream

TILES = [Tiles(16, 64, 64), Tiles(128, 64, 32, 8), Tiles(128, 128, 32, 8)]
"""Tried beside those chosen, in float32 and TF32: each takes some seconds to compile."""


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
    with products_in("ieee" if precision in ("ieee", "tf32x3") else "tf32"):
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
