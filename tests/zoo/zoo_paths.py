"""Defects of what is differentiated, and of layers around the noise."""

from __future__ import annotations

import torch
from torch import Tensor
from zoo_making import LOCAL, drawn, of_outputs, of_weights, sampler

from vdbench.noise import Noise
from vdbench.problems.layers import Layer
from vdbench.problems.posterior import Posterior


@sampler("the path through σ is forgotten")
def path_through_the_scale_forgotten(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    return of_weights(layer, x, q, q.scale.detach(), drawn(layer, q, noise))


@sampler("the path through the mean is forgotten")
def path_through_the_mean_forgotten(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    return layer.linear(x, q.mean.detach() + q.scale * drawn(layer, q, noise))


@sampler("the path through σ counts twice")
def path_through_the_scale_twice(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    return of_weights(layer, x, q, 2 * q.scale - q.scale.detach(), drawn(layer, q, noise))


@sampler("inputs are detached: no gradient reaches earlier layers")
def inputs_are_detached(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    return of_weights(layer, x.detach(), q, q.scale, drawn(layer, q, noise))


@sampler("inputs are detached in the noise: a path through the variance is missing", **LOCAL)
def inputs_are_detached_in_the_variance(
    layer: Layer, x: Tensor, q: Posterior, noise: Noise
) -> Tensor:
    return of_outputs(layer, x, q, layer.squared(x.detach(), q.variance), noise)


@sampler("the noise is detached from the mean where σ = √α·θ")
def scale_is_detached_from_theta(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    scale = q.scale if q.log_alpha is None else torch.exp(0.5 * q.log_alpha) * q.mean.detach()
    return of_weights(layer, x, q, scale, drawn(layer, q, noise))


@sampler("the mean's part counts twice")
def mean_counts_twice(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    b = of_weights(layer, x, q, q.scale, drawn(layer, q, noise))
    return b + layer.linear(x, q.mean)


@sampler("a straight-through estimator: the value is noisy, the gradient is the mean weights'")
def straight_through_the_noise(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    mean = layer.linear(x, q.mean)
    return mean + (of_weights(layer, x, q, q.scale, drawn(layer, q, noise)) - mean).detach()


@sampler("mean weights are used for the forward pass, noise for none", laws=())
def no_noise_at_all(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    return layer.linear(x, q.mean)


@sampler("flipout perturbs with the whole sample", laws=("normal", "sign"))
def flipout_of_the_whole_sample(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    return _flipout(layer, x, q, noise, q.mean + q.scale * drawn(layer, q, noise), False)


@sampler("flipout with a sign for every place of an output", laws=("normal", "sign"))
def flipout_signs_of_places(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    return _flipout(layer, x, q, noise, q.scale * drawn(layer, q, noise), True)


def _flipout(
    layer: Layer, x: Tensor, q: Posterior, noise: Noise, perturbed: Tensor, places: bool
) -> Tensor:
    mean = layer.linear(x, q.mean)
    shape = mean.shape if places else layer.sign_shape(mean)
    signs = noise.at("input")(layer.name, layer.sign_shape(x), law="sign")
    out = noise.at("output")(layer.name, shape, law="sign")
    return mean + layer.linear(x * signs, perturbed) * out


@sampler("local noise of each place, declared the ELBO of the weights", independent_examples=True)
def local_noise_declared_elbo(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    return of_outputs(layer, x, q, layer.squared(x, q.variance), noise)


@sampler("√'s derivative at 0 is infinite", **LOCAL)
def root_of_zero(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    mean = layer.linear(x, q.mean)
    return mean + layer.squared(x, q.variance).sqrt() * noise(layer.name, mean.shape)


BUFFERS: dict[str, Tensor] = {}


@sampler("a buffer of noise is written over by the next forward pass")
def buffer_is_written_over(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    eps = drawn(layer, q, noise)
    buffer = BUFFERS.setdefault(f"{layer.name} {eps.shape} {eps.dtype}", torch.empty_like(eps))
    buffer.data.copy_(eps)
    return of_weights(layer, x, q, q.scale, buffer)


@sampler("constants of float32: nothing works in float64")
def constants_of_float32(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    one = torch.ones(q.mean.shape[0], q.mean.shape[0], dtype=torch.float32)
    eps = drawn(layer, q, noise)
    mixed = torch.tensordot(0 * one, eps, 1)
    return of_weights(layer, x, q, q.scale, eps + mixed)


@sampler("rectified pre-activations of the noise")
def noise_is_rectified(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    moved = layer.linear(x, q.scale * drawn(layer, q, noise))
    return layer.linear(x, q.mean) + moved.clamp(min=0)


@sampler("outputs in the order of their inputs: the noise is transposed where a layer is square")
def noise_is_rolled_against_the_scale(
    layer: Layer, x: Tensor, q: Posterior, noise: Noise
) -> Tensor:
    return of_weights(layer, x, q, q.scale.roll(1, 0), drawn(layer, q, noise))
