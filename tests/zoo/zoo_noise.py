"""Defects of the noise: which weights get which numbers, of what size, where."""

from __future__ import annotations

import torch
from torch import Tensor
from zoo_making import LOCAL, drawn, of_outputs, of_weights, sampler

from vdbench.noise import Noise
from vdbench.problems.layers import Convolution, Layer
from vdbench.problems.posterior import Posterior

# One number where there should be several


@sampler("all rows of a kernel share their noise")
def rows_of_a_kernel_share_noise(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    eps = drawn(layer, q, noise)
    return of_weights(
        layer, x, q, q.scale, eps[..., :1, :].expand_as(eps) if eps.dim() > 3 else eps
    )


@sampler("all columns of a kernel share their noise")
def columns_of_a_kernel_share_noise(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    eps = drawn(layer, q, noise)
    return of_weights(layer, x, q, q.scale, eps[..., :1].expand_as(eps) if eps.dim() > 3 else eps)


@sampler("a kernel has one random number")
def a_kernel_has_one_number(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    eps = drawn(layer, q, noise)
    one = eps[:, :, :1, :1].expand_as(eps) if eps.dim() > 3 else eps
    return of_weights(layer, x, q, q.scale, one)


@sampler("input channels of a convolution share their noise")
def channels_share_noise(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    eps = drawn(layer, q, noise)
    one = eps[:, :1].expand_as(eps) if eps.dim() > 3 else eps
    return of_weights(layer, x, q, q.scale, one)


@sampler("all inputs of an output share their noise")
def inputs_share_noise(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    eps = drawn(layer, q, noise)
    return of_weights(layer, x, q, q.scale, eps[:, :1].expand_as(eps))


@sampler("all outputs of an input share their noise")
def outputs_share_noise(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    eps = drawn(layer, q, noise)
    return of_weights(layer, x, q, q.scale, eps[:1].expand_as(eps))


@sampler("outputs beyond the eighth get the numbers of the first")
def outputs_beyond_8_repeat(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    eps = drawn(layer, q, noise)
    return of_weights(layer, x, q, q.scale, eps[torch.arange(len(eps)) % 8])


@sampler("inputs beyond the 16th get the numbers of the first")
def inputs_beyond_16_repeat(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    eps = drawn(layer, q, noise)
    return of_weights(layer, x, q, q.scale, eps[:, torch.arange(eps.shape[1]) % 16])


@sampler("all weights of the network share one table of 64 numbers")
def a_table_of_64_numbers(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    table = noise(layer.name, (64,))
    eps = table[torch.arange(q.mean.numel()) % 64].reshape(q.mean.shape)
    return of_weights(layer, x, q, q.scale, eps)


# No noise where there should be some


@sampler("no noise from the fifth output on")
def no_noise_from_the_fifth_output(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    eps = drawn(layer, q, noise)
    kept = (torch.arange(len(eps)) < 5).to(eps.dtype).reshape(-1, *(1 for _ in eps.shape[1:]))
    return of_weights(layer, x, q, q.scale * kept, eps)


@sampler("no noise from the 17th input on")
def no_noise_from_the_17th_input(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    eps = drawn(layer, q, noise)
    kept = (torch.arange(eps.shape[1]) < 16).to(eps.dtype)
    return of_weights(layer, x, q, q.scale * kept.reshape(1, -1, *(1 for _ in eps.shape[2:])), eps)


@sampler("no noise in a layer of one output or of three and more dimensions of weights")
def no_noise_in_convolutions(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    eps = drawn(layer, q, noise)
    return of_weights(layer, x, q, 0 * q.scale if eps.dim() > 2 else q.scale, eps)


@sampler("no noise where padding is 'same'")
def no_noise_with_padding_same(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    same = getattr(layer, "padding", "") == "same"
    return of_weights(layer, x, q, 0 * q.scale if same else q.scale, drawn(layer, q, noise))


@sampler("no noise in dilated convolutions")
def no_noise_with_dilation(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    dilated = isinstance(layer, Convolution) and max(layer.dilation) > 1
    return of_weights(layer, x, q, 0 * q.scale if dilated else q.scale, drawn(layer, q, noise))


@sampler("no noise in grouped convolutions")
def no_noise_with_groups(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    grouped = getattr(layer, "groups", 1) > 1
    return of_weights(layer, x, q, 0 * q.scale if grouped else q.scale, drawn(layer, q, noise))


@sampler("no noise where a dense layer meets a sequence")
def no_noise_on_sequences(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    eps = drawn(layer, q, noise)
    rows = eps.dim() == 2 and x.dim() > 2
    return of_weights(layer, x, q, 0 * q.scale if rows else q.scale, eps)


@sampler("noise at the first place of a sequence alone")
def noise_at_the_first_place_alone(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    eps = drawn(layer, q, noise)
    moved = layer.linear(x, q.scale * eps)
    if eps.dim() == 2 and x.dim() > 2:
        first = (torch.arange(x.shape[1]) == 0).to(x.dtype)[:, None]
        moved = moved * first
    return layer.linear(x, q.mean) + moved


@sampler("no noise in the last column of places")
def no_noise_at_the_last_column(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    moved = layer.linear(x, q.scale * drawn(layer, q, noise))
    if isinstance(layer, Convolution):
        kept = torch.arange(moved.shape[-1]) < max(1, moved.shape[-1] - 1)
        moved = moved * kept.to(moved.dtype)
    return layer.linear(x, q.mean) + moved


# Of another size


@sampler("σ is doubled under a vertical stride")
def scale_doubled_under_vertical_stride(
    layer: Layer, x: Tensor, q: Posterior, noise: Noise
) -> Tensor:
    factor = 2.0 if isinstance(layer, Convolution) and layer.stride[0] > 1 else 1.0
    return of_weights(layer, x, q, factor * q.scale, drawn(layer, q, noise))


@sampler("σ is halved under a horizontal stride")
def scale_halved_under_horizontal_stride(
    layer: Layer, x: Tensor, q: Posterior, noise: Noise
) -> Tensor:
    factor = 0.5 if isinstance(layer, Convolution) and layer.stride[-1] > 1 else 1.0
    return of_weights(layer, x, q, factor * q.scale, drawn(layer, q, noise))


@sampler("α is averaged over a layer")
def alpha_averaged_over_a_layer(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    alpha = (q.variance / q.mean.square()).mean()
    return of_weights(layer, x, q, alpha.sqrt() * q.mean, drawn(layer, q, noise))


@sampler("α is averaged over the outputs")
def alpha_averaged_over_outputs(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    alpha = (q.variance / q.mean.square()).mean(0, keepdim=True)
    return of_weights(layer, x, q, alpha.sqrt() * q.mean, drawn(layer, q, noise))


@sampler("α is averaged over the inputs")
def alpha_averaged_over_inputs(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    alpha = (q.variance / q.mean.square()).mean(1, keepdim=True)
    return of_weights(layer, x, q, alpha.sqrt() * q.mean, drawn(layer, q, noise))


@sampler("σ is averaged over a layer")
def sigma_averaged_over_a_layer(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    scale = q.scale.abs().mean().expand_as(q.scale)
    return of_weights(layer, x, q, scale, drawn(layer, q, noise))


@sampler("α is clamped at 1")
def alpha_clamped_at_1(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    return of_weights(
        layer, x, q, torch.minimum(q.scale.abs(), q.mean.abs()), drawn(layer, q, noise)
    )


@sampler("α is clamped at 100")
def alpha_clamped_at_100(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    scale = torch.minimum(q.scale.abs(), 10 * q.mean.abs())
    return of_weights(layer, x, q, scale, drawn(layer, q, noise))


@sampler("α is at least 0.01")
def alpha_at_least_a_hundredth(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    scale = torch.maximum(q.scale.abs(), 0.1 * q.mean.abs())
    return of_weights(layer, x, q, scale, drawn(layer, q, noise))


@sampler("σ is clamped at 1")
def sigma_clamped_at_1(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    return of_weights(layer, x, q, q.scale.abs().clamp(max=1.0), drawn(layer, q, noise))


@sampler("σ is at least 0.1")
def sigma_at_least_a_tenth(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    return of_weights(layer, x, q, q.scale.abs().clamp(min=0.1), drawn(layer, q, noise))


@sampler("a small number is added to σ²", **LOCAL)
def something_added_to_the_variance(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    return of_outputs(layer, x, q, layer.squared(x, q.variance) + 0.01, noise)


@sampler("σ² for σ")
def variance_for_scale(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    return of_weights(layer, x, q, q.variance, drawn(layer, q, noise))


@sampler("log σ² taken for log σ, in the noise")
def root_for_scale(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    return of_weights(layer, x, q, q.scale.abs().sqrt(), drawn(layer, q, noise))


@sampler("σ² is squared twice", **LOCAL)
def variance_squared_twice(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    return of_outputs(layer, x, q, layer.squared(x, q.variance.square()), noise)


@sampler("the variance is taken over the wrong axis", **LOCAL)
def variance_over_the_wrong_axis(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    wrong = q.variance.mean(0, keepdim=True).expand_as(q.variance)
    return of_outputs(layer, x, q, layer.squared(x, wrong), noise)


@sampler("the square of the product for the product of squares", **LOCAL)
def square_of_the_product(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    return of_outputs(layer, x, q, layer.linear(x, q.scale).square(), noise)


@sampler("inputs are not squared in the variance", **LOCAL)
def inputs_are_not_squared(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    return of_outputs(layer, x, q, layer.linear(x.abs(), q.variance), noise)


@sampler("the variance is a mean over the inputs and not a sum", **LOCAL)
def variance_is_a_mean(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    return of_outputs(layer, x, q, layer.squared(x, q.variance) / layer.fan_in, noise)


@sampler("half the variance", **LOCAL)
def half_the_variance(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    return of_outputs(layer, x, q, layer.squared(x, q.variance) / 2, noise)


# Of another law


@sampler("noise has one sign")
def noise_has_one_sign(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    return of_weights(layer, x, q, q.scale, drawn(layer, q, noise).abs())


@sampler("noise is uniform on [−1, 1]", laws=("uniform",))
def noise_is_uniform(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    eps = 2 * noise(layer.name, q.mean.shape, law="uniform") - 1
    return of_weights(layer, x, q, q.scale, eps)


@sampler("noise is clipped at ±1")
def noise_is_clipped(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    return of_weights(layer, x, q, q.scale, drawn(layer, q, noise).clamp(-1, 1))


@sampler("noise is a tenth too small")
def noise_is_a_tenth_too_small(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    return of_weights(layer, x, q, q.scale, 0.9 * drawn(layer, q, noise))


@sampler("every second number of the noise is 0")
def every_second_number_is_zero(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    eps = drawn(layer, q, noise)
    kept = (torch.arange(eps.numel()) % 2).to(eps.dtype).reshape(eps.shape)
    return of_weights(layer, x, q, q.scale, kept * eps)


@sampler("noise is always the same", laws=())
def noise_is_always_the_same(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return of_weights(
        layer, x, q, q.scale, torch.randn(q.mean.shape, generator=generator, dtype=q.mean.dtype)
    )


@sampler("noise of the global generator of torch", laws=())
def noise_of_torch_s_generator(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    return of_weights(layer, x, q, q.scale, torch.randn_like(q.mean))


@sampler("noise of the global generator of numpy", laws=())
def noise_of_numpy_s_generator(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    import numpy as np

    eps = torch.from_numpy(np.random.standard_normal(tuple(q.mean.shape)))
    return of_weights(layer, x, q, q.scale, eps.to(q.mean.dtype))


# Of examples


@sampler("a table of 16 rows of noise is tiled over the minibatch", **LOCAL)
def a_table_of_16_rows(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    return _tiled(layer, x, q, noise, 16)


@sampler("a table of 100 rows of noise is tiled over the minibatch", **LOCAL)
def a_table_of_100_rows(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    return _tiled(layer, x, q, noise, 100)


def _tiled(layer: Layer, x: Tensor, q: Posterior, noise: Noise, rows: int) -> Tensor:
    mean, variance = layer.linear(x, q.mean), layer.squared(x, q.variance)
    table = noise(layer.name, (rows, *mean.shape[1:]))
    from zoo_making import safe_sqrt

    return mean + safe_sqrt(variance) * table[torch.arange(len(x)) % rows]


@sampler("the whole minibatch shares its noise, and is declared independent", **LOCAL)
def examples_share_their_noise(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    return _tiled(layer, x, q, noise, 1)


@sampler("neighbours share their noise, and are declared independent", **LOCAL)
def neighbours_share_their_noise(layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
    from zoo_making import safe_sqrt

    mean, variance = layer.linear(x, q.mean), layer.squared(x, q.variance)
    table = noise(layer.name, mean.shape)
    return mean + safe_sqrt(variance) * table[torch.arange(len(x)) // 2]
