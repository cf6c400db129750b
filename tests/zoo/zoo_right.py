"""Right estimators, many of them odd: heavy tails, mixtures, rare values, zeros, noise in another order."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from zoo_making import (
    LOCAL,
    OfNaive,
    add,
    changed,
    drawn,
    each,
    of_outputs,
    of_weights,
    one_in,
    sampler,
    times,
)  # fmt: skip

from estimators.naive import Naive
from vdbench.estimation.options import get
from vdbench.noise import Noise
from vdbench.problems.layers import Layer
from vdbench.problems.posterior import Posterior

WITH_UNIFORM: dict[str, Any] = {"laws": ("normal", "uniform")}

for name, inner in {
    "naive": get("naive"), "local": get("local"), "per-example": get("per-example"),
    "flipout": get("flipout"), "grouped": get("grouped"), "fast-dropout": get("fast-dropout"),
    "antithetic-naive": get("antithetic", of="naive"), "antithetic-local": get("antithetic", of="local"),
    "samples-naive": get("samples", of="naive"), "latin-hypercube-local": get("latin-hypercube", of="local"),
    "sobol-naive": get("sobol", of="naive"), "samples-flipout": get("samples", of="flipout"),
    "deterministic": get("deterministic"), "type-a": get("type-a"), "disarm": get("disarm"),
    "rloo": get("rloo"),
}.items():  # fmt: skip
    add(f"{name}-as-it-is", inner, "a registered estimator", "right")
add(
    "score-as-it-is",
    get("score", samples=4, baseline="leave-one-out"),
    "a score function",
    "right",
    False,
)


def rare(count: int, light: bool) -> None:
    """count·g with probability 1/count."""

    def change(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
        return times(g, count * one_in(noise, count, g.value))

    change.__name__ = f"{count}_g_one_time_in_{count}"
    changed(f"{count} g with probability 1/{count}", "right", light, **WITH_UNIFORM)(change)


for count in (2, 10, 100, 500, 2000):
    rare(count, count <= 10)


def spread(sigma: float, light: bool) -> None:
    """Times a lognormal factor of mean 1."""

    def change(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
        z = noise.at("factor")("factor", ()).to(g.value.dtype)
        return times(g, torch.exp(sigma * z - sigma**2 / 2))

    change.__name__ = f"lognormal_factor_{sigma:g}".replace(".", "_")
    changed(f"times a lognormal factor of log-spread {sigma:g}", "right", light)(change)


for sigma in (0.5, 1.0, 1.5, 2.0):
    spread(sigma, sigma < 1)


@changed("0.9 g, and 100 g more one time in 1,000", "right", False, **WITH_UNIFORM)
def rare_large_values(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    return times(g, 0.9 + 100 * one_in(noise, 1000, g.value))


@changed("g or 3 g with the sign changed: 2 g and −… with mean g", "right", **WITH_UNIFORM)
def signs_change_at_random(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    return times(g, 3 - 4 * one_in(noise, 2, g.value))


@changed("zero or twice each coordinate", "right", laws=("normal", "sign"))
def coordinates_dropped_at_random(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    return each(g, lambda n, t: t * (1 + noise.at("kept", n)("kept", t.shape, law="sign")))


@changed("zero or twice each parameter", "right", laws=("normal", "sign"))
def parameters_dropped_at_random(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    return each(g, lambda n, t: t * (1 + noise.at("kept", n)("kept", (), law="sign")))


@changed("with normal noise added", "right")
def normal_noise_added(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    return each(
        g, lambda n, t: t + 0.1 * t.abs().amax() * noise.at("added", n)("added", t.shape).sign()
    )


@changed("with heavy symmetric noise added: a ratio of normals, bounded", "right", False)
def heavy_noise_added(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    a, b = (noise.at("added", k)("ratio", ()) for k in (1, 2))
    return times(g, 1 + (a / b).clamp(-300, 300))


@changed("Student's noise of 3 degrees of freedom as a factor", "right", False)
def student_factor(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    z = noise.at("student")("z", (4,))
    return times(g, 1 + z[0] / (z[1:].square().mean().sqrt() + 1e-6))


@changed("rounding as small as 1e-12", "right")
def very_small_noise_added(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    return times(g, 1 + 1e-12 * noise.at("small")("z", ()).to(g.value.dtype))


@changed("a quarter of the draws is 0, the others 4/3", "right", of=OfNaive, **WITH_UNIFORM)
def zero_gradients_at_times(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    return times(g, (1 - one_in(noise, 4, g.value)) * 4 / 3)


@changed("99 of 100 draws are 0", "right", False, of=OfNaive, **WITH_UNIFORM)
def zero_gradients_most_times(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    return times(g, 100 * one_in(noise, 100, g.value))


@sampler("noise with the other sign", "right")
def noise_negated(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    return of_weights(layer, x, q, -q.scale, drawn(layer, q, noise))


@sampler("noise in reverse order", "right")
def noise_reversed(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    return of_weights(layer, x, q, q.scale, drawn(layer, q, noise).flip(0))


@sampler("noise as the mean of two, times √2", "right")
def noise_of_two(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    pair = [noise.at("half", k)(layer.name, q.mean.shape) for k in (0, 1)]
    return of_weights(layer, x, q, q.scale, (pair[0] + pair[1]) / 2**0.5)


@sampler("noise of a flat block", "right")
def noise_of_a_flat_block(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    return of_weights(
        layer, x, q, q.scale, noise(layer.name, (q.mean.numel(),)).reshape(q.mean.shape)
    )


@sampler("noise as the normal quantile of a uniform number", "right", laws=("uniform",))
def noise_by_inversion(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    u = noise(layer.name, q.mean.shape, law="uniform").clamp(1e-7, 1 - 1e-7)
    return of_weights(layer, x, q, q.scale, torch.special.ndtri(u))


@sampler("local reparameterization with |σ|", "right", **LOCAL)
def local_of_absolute_scales(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    return of_outputs(layer, x, q, layer.squared(x, q.scale.abs().square()), noise)


@sampler("local noise with random signs", "right", **(LOCAL | {"laws": ("normal", "sign")}))
def local_with_signs(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    mean = layer.linear(x, q.mean)
    b = of_outputs(layer, x, q, layer.squared(x, q.variance), noise)
    return mean + (b - mean) * noise.at("sign")(layer.name, mean.shape, law="sign")


@sampler("half of the minibatch sees +ε, the other −ε", "right")
def halves_are_antithetic(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    eps = drawn(layer, q, noise)
    half = x.shape[0] // 2
    plus = layer.linear(x[:half], q.mean + q.scale * eps)
    return torch.cat([plus, layer.linear(x[half:], q.mean - q.scale * eps)])


@sampler("naive or per-half noise: two samples for two halves", "right")
def two_samples_for_two_halves(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    half = (x.shape[0] + 1) // 2
    first, second = (noise.at("half", k)(layer.name, q.mean.shape) for k in (0, 1))
    parts = [layer.linear(x[:half], q.mean + q.scale * first),
             layer.linear(x[half:], q.mean + q.scale * second)]  # fmt: skip
    return torch.cat(parts)


def _mixture(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    other = Naive()(problem, at, batch, noise.at("other"))
    mix = one_in(noise, 3, g.value)
    return type(g)(
        g.value, {n: t * (1 - mix) + mix * other.gradients[n] for n, t in g.gradients.items()}
    )


_mixture.__name__ = "mixture_of_naive_and_naive"
changed("one of two samplers, at random", "right", of=OfNaive, **WITH_UNIFORM)(_mixture)
