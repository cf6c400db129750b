"""The maps of a noisy layer beside slow ones: a loop over the locations, in float64, of what a convolution sums."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import vmap

from vdbench.noise import Key, stream
from vdbench.problems.layers import Convolution, Layer, layer_of

Array = NDArray[np.float64]
KEY = Key(("tests", "layers"))


def zeros_around(layer: Convolution) -> list[tuple[int, int]]:
    """Rows and columns of zeros before and after; of an odd number, 'same' puts the larger part after."""
    if layer.padding == "valid":
        return [(0, 0), (0, 0)]
    if layer.padding == "same":
        total = [d * (k - 1) for d, k in zip(layer.dilation, layer.weight_shape[2:], strict=True)]
        return [(t // 2, t - t // 2) for t in total]
    return [(p, p) for p in layer.padding]  # type: ignore[misc]


def im2col(layer: Convolution, x: Array) -> Array:
    """The patch under the kernel at each location: (locations down, locations across, channels, kernel)."""
    padded = np.pad(x, [(0, 0), *zeros_around(layer)])
    (sy, sx), (dy, dx), (ky, kx) = layer.stride, layer.dilation, layer.weight_shape[2:]
    down = (padded.shape[1] - dy * (ky - 1) - 1) // sy + 1
    across = (padded.shape[2] - dx * (kx - 1) - 1) // sx + 1
    found = np.zeros((down, across, len(x), ky, kx))
    for i in range(down):
        for j in range(across):
            for a in range(ky):
                for b in range(kx):
                    found[i, j, :, a, b] = padded[:, i * sy + a * dy, j * sx + b * dx]
    return found


def slow(layer: Convolution, x: Tensor, weight: Tensor) -> Tensor:
    """One example: each output channel sums over the patches of its group's channels."""
    patches, w = im2col(layer, x.numpy()), weight.numpy()
    out, inside = w.shape[:2]
    rows = []
    for channel in range(out):
        first = channel // (out // layer.groups) * inside
        part = patches[:, :, first : first + inside]
        rows.append((part * w[channel]).sum((2, 3, 4)))
    return torch.tensor(np.stack(rows))


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[Convolution, tuple[int, ...]]:
    """A convolution and inputs that it fits."""
    groups = draw(st.integers(1, 3))
    channels, outputs = (groups * draw(st.integers(1, 2)) for _ in range(2))
    kernel, dilation = draw(pairs), draw(pairs)
    padding = draw(st.one_of(st.just("same"), st.just("valid"), pairs))
    stride = (1, 1) if padding == "same" else draw(pairs)
    layer = Convolution(
        "conv",
        (outputs, channels // groups, *kernel),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )
    height, width = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    for size, k, d, p in zip((height, width), kernel, dilation, zeros_around(layer), strict=True):
        assume(size + sum(p) > d * (k - 1))
    return layer, (draw(st.integers(1, 3)), channels, height, width)


def numbers(name: str, *shape: int) -> Tensor:
    return stream(KEY, dtype=torch.float64)(name, shape)


@given(convolutions())
def test_a_convolution_is_a_sum_over_patches(case: tuple[Convolution, tuple[int, ...]]) -> None:
    layer, shape = case
    x, weight = numbers("x", *shape), numbers("w", *layer.weight_shape)
    want = torch.stack([slow(layer, example, weight) for example in x])
    torch.testing.assert_close(layer.linear(x, weight), want)
    variance = weight.square()
    want = torch.stack([slow(layer, example**2, variance) for example in x])
    torch.testing.assert_close(layer.squared(x, variance), want)


@given(convolutions())
def test_each_example_under_a_weight_of_its_own(case: tuple[Convolution, tuple[int, ...]]) -> None:
    layer, shape = case
    x, weights = numbers("x", *shape), numbers("w", shape[0], *layer.weight_shape)
    want = torch.stack([slow(layer, *pair) for pair in zip(x, weights, strict=True)])
    torch.testing.assert_close(layer.linear_each(x, weights), want)


@given(convolutions())
def test_the_maps_can_be_vectorised(case: tuple[Convolution, tuple[int, ...]]) -> None:
    """Over draws, as the harness does: all that an estimator calls, forward and backward."""
    layer, shape = case
    x, weight = numbers("x", 2, *shape), numbers("w", 2, *layer.weight_shape)
    own = numbers("w", 2, shape[0], *layer.weight_shape)
    maps = ((layer.linear, weight), (layer.squared, weight.square()), (layer.linear_each, own))
    for take, w in maps:
        slope = torch.func.grad(lambda w, x, take=take: take(x, w).square().sum())
        for function, inputs in ((take, (x, w)), (slope, (w, x))):
            looped = torch.stack([function(*pair) for pair in zip(*inputs, strict=True)])
            torch.testing.assert_close(vmap(function)(*inputs), looped)


def test_a_bias_belongs_to_a_channel() -> None:
    layer = Convolution("conv", (3, 2, 1, 1))
    b = layer.add_bias(torch.zeros(4, 3, 2, 5), torch.tensor([1.0, 2.0, 3.0]))
    assert b.shape == (4, 3, 2, 5)
    assert torch.equal(b[1, :, 0, 4], torch.tensor([1.0, 2.0, 3.0]))
    assert torch.equal(b, b[:1, :, :1, :1].expand_as(b))
    dense = Layer("fc", (3, 2)).add_bias(torch.zeros(4, 3), torch.tensor([1.0, 2.0, 3.0]))
    assert torch.equal(dense[2], torch.tensor([1.0, 2.0, 3.0]))


@pytest.mark.parametrize(
    ("layer", "shape", "signs"),
    [
        (Layer("fc", (3, 2)), (4, 2), (4, 2)),
        (Layer("fc", (3, 2)), (4, 7, 2), (4, 1, 2)),
        (Convolution("conv", (3, 2, 1, 1)), (4, 2, 5, 6), (4, 2, 1, 1)),
    ],
)
def test_signs_are_those_of_a_weight_sample(
    layer: Layer, shape: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    """With factors of this shape on inputs and outputs, every place meets the weight t_j w_ji s_i of its example."""
    x, weight = numbers("x", *shape), numbers("w", *layer.weight_shape)
    assert layer.sign_shape(x) == signs
    s = stream(KEY, dtype=torch.float64)("s", signs, law="sign")
    b = layer.linear(x * s, weight)
    t = stream(KEY, dtype=torch.float64)("t", layer.sign_shape(b), law="sign")
    outer = t.reshape(4, -1)[:, :, None] * s.reshape(4, -1)[:, None, :]
    own = outer.reshape(4, *layer.weight_shape[:2], *[1] * (weight.dim() - 2)) * weight
    torch.testing.assert_close(b * t, layer.linear_each(x, own))


def test_fan_in_is_how_many_weights_a_preactivation_sums() -> None:
    assert Layer("fc", (3, 7)).fan_in == 7
    assert Convolution("conv", (4, 2, 3, 5), groups=2).fan_in == 30


MODULES: dict[str, dict[str, Any]] = {
    "plain": {},
    "strided": {"stride": 2, "padding": 1},
    "pairs": {"stride": (2, 1), "padding": (0, 2), "dilation": (1, 2)},
    "same": {"padding": "same", "dilation": 2},
    "valid": {"padding": "valid"},
    "grouped": {"groups": 2, "bias": False},
}


@pytest.mark.parametrize("options", MODULES.values(), ids=MODULES)
def test_a_layer_is_the_module_that_it_stands_for(options: dict[str, Any]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Conv2d(4, 6, (3, 2), **options).double()
    layer, x = layer_of("conv", module), numbers("x", 3, 4, 8, 9)
    b, sizes = layer.linear(x, module.weight), layer.linear(x.abs(), module.weight.abs())
    if module.bias is not None:
        b, sizes = (layer.add_bias(*p) for p in ((b, module.bias), (sizes, module.bias.abs())))
    # a bias may be added first or last, and the sum taken in any order: a rounding a term, of the sum of sizes
    room = (layer.fan_in + 1) * torch.finfo(torch.float64).eps * sizes
    assert bool(((b - module(x)).abs() <= room).all())
    assert layer.weight_shape == tuple(module.weight.shape)
    assert layer.fan_in == math.prod(module.weight.shape[1:])


def test_a_dense_layer_is_described_as_it_always_was() -> None:
    """Blocks and checkpoints are named by it."""
    assert repr(layer_of("fc", nn.Linear(2, 3))) == "Layer(name='fc', weight_shape=(3, 2))"
