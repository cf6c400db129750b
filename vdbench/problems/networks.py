"""The networks that built-in problems are made of, by name.

Every network maps examples as a data set has them to logits, without a softmax. Weights as torch leaves them are never
used: `vdbench.noisy` draws them anew under each seed.
"""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn

from vdbench import limits
from vdbench.datasets import Dataset
from vdbench.errors import InputError, nearest

Parts = list[tuple[str, nn.Module]]

GREY = {"digits": (1, 8, 8), "fashion-mnist": (1, 28, 28), "mnist": (1, 28, 28)}
"""Channels, height and width of the images that a data set holds as rows."""


def mlp(data: Dataset, widths: list[int] | tuple[int, ...] = (32,)) -> nn.Sequential:
    """Dense layers ``fc1``, ``fc2``, … with ReLU between them; images are flattened.

    Args:
        data: What it is for.
        widths: Units of the hidden layers; none for a linear classifier.

    Raises:
        InputError: A width is no whole number above 0.
    """
    valid = isinstance(widths, list | tuple) and all(type(w) is int and w > 0 for w in widths)
    if not valid:
        raise InputError(f"widths must be a list of whole numbers above 0, not {widths!r}.")
    flatten: Parts = [("flatten", nn.Flatten())] if data.train.inputs.dim() > 2 else []
    features = int(data.train.inputs[0].numel())
    return _network([*flatten, *_dense([features, *widths, data.classes], nn.ReLU)])


def lenet_300_100(data: Dataset) -> nn.Sequential:
    """LeNet-300-100 of LeCun et al. 1998: dense layers of 300 and 100 units, with ReLU as is usual now."""
    return mlp(data, (300, 100))


def lenet_5(data: Dataset) -> nn.Sequential:
    """LeNet-5 as Caffe has it and Molchanov et al. 2017 sparsify it: 431,080 weights and biases on MNIST.

    Convolutions of 20 and 50 channels with 5 × 5 kernels and no padding, each followed by 2 × 2 max-pooling and by no
    other non-linearity; then 500 ReLU units.
    """
    channels, height, width = image(data, 16)
    parts: Parts = []
    for number, (inputs, outputs) in enumerate([(channels, 20), (20, 50)], 1):
        parts.append((f"conv{number}", nn.Conv2d(inputs, outputs, 5)))
        parts.append((f"pool{number}", nn.MaxPool2d(2)))
        height, width = (height - 4) // 2, (width - 4) // 2
    dense = _dense([50 * height * width, 500, data.classes], nn.ReLU)
    return _network([*_as_image(data), *parts, ("flatten", nn.Flatten()), *dense])


def kingma_cifar(data: Dataset, size: float = 1, pooling: str = "stride") -> nn.Sequential:
    """The convolutional network of Kingma, Salimans & Welling 2015, Figure 1 (b), at one of several sizes.

    Two convolutions of 32k and 64k channels with stride 2, then two dense layers of 128k units, k being the ``size``,
    and softplus after each of the four: the figure's caption as we remember it, not checked against a copy.

    Chosen here, as the paper leaves it out: 5 × 5 kernels and two pixels of zero padding, so that a convolution halves
    the image; images in [0, 1], not whitened; no augmentation. The k of the figure are not known to us: 1, 2 and 4 are
    three sizes whose widest convolution has 64, 128 and 256 channels.

    Args:
        data: What it is for; CIFAR-10 in the paper, any images here.
        size: k; 32 k must be whole.
        pooling: ``stride``, or ``max`` for convolutions of stride 1 and 2 × 2 max-pooling after the
            softplus.

    Raises:
        InputError: The data set has no images, or an option is out of range.
    """
    if pooling not in ("stride", "max"):
        raise InputError(
            f"pooling '{pooling}' is unknown.{nearest(str(pooling), ('stride', 'max'))}"
        )
    number = isinstance(size, int | float) and not isinstance(size, bool) and math.isfinite(size)
    if not (number and size > 0 and float(32 * size).is_integer()):
        raise InputError(
            f"size must be a number above 0 that makes 32 × size channels whole, not {size!r}."
        )
    limits.within("size", "channels", int(64 * size), limits.limits().threads)
    channels, height, width = image(data, 4)
    first, second, units = (int(base * size) for base in (32, 64, 128))
    stride = 2 if pooling == "stride" else 1
    parts: Parts = []
    for place, (inputs, outputs) in enumerate([(channels, first), (first, second)], 1):
        parts.append((f"conv{place}", nn.Conv2d(inputs, outputs, 5, stride=stride, padding=2)))
        parts.append((f"conv{place}_softplus", nn.Softplus()))
        if stride == 2:
            height, width = math.ceil(height / 2), math.ceil(width / 2)
        else:
            parts.append((f"pool{place}", nn.MaxPool2d(2)))
            height, width = height // 2, width // 2
    dense = _dense([second * height * width, units, units, data.classes], nn.Softplus)
    return _network([*_as_image(data), *parts, ("flatten", nn.Flatten()), *dense])


def image(data: Dataset, least: int) -> tuple[int, int, int]:
    """Channels, height and width of a data set's images.

    Args:
        data: The data set.
        least: Fewest pixels that a side needs.

    Raises:
        InputError: It has no images, or they are too small.
    """
    shape = tuple(data.train.inputs.shape[1:])
    found = shape if len(shape) == 3 else GREY.get(data.name)
    if found is None:
        raise InputError(f"data set '{data.name}' has no images, which a convolution needs.")
    channels, height, width = found
    if min(height, width) < least:
        raise InputError(
            f"the images of data set '{data.name}' have {height} × {width} pixels; the network needs at least "
            f"{least} × {least}."
        )
    return channels, height, width


def _as_image(data: Dataset) -> Parts:
    if data.train.inputs.dim() > 2:
        return []
    return [("image", nn.Unflatten(1, image(data, 1)))]


def _dense(sizes: Iterable[int], nonlinearity: type[nn.Module]) -> Parts:
    """Dense layers ``fc1``, ``fc2``, … with a non-linearity between them."""
    parts: Parts = []
    sizes = list(sizes)
    weights = sum(inputs * outputs for inputs, outputs in itertools.pairwise(sizes))
    limits.within("dense layers", "weights", weights, limits.limits().weights)
    for number, (inputs, outputs) in enumerate(itertools.pairwise(sizes), 1):
        parts.append((f"fc{number}", nn.Linear(inputs, outputs)))
        parts.append((f"{nonlinearity.__name__.lower()}{number}", nonlinearity()))
    return parts[:-1]


def _network(parts: Parts) -> nn.Sequential:
    return nn.Sequential(OrderedDict(parts))


MODELS: Mapping[str, Callable[..., nn.Sequential]] = {
    "mlp": mlp,
    "lenet-300-100": lenet_300_100,
    "lenet-5": lenet_5,
    "kingma-cifar": kingma_cifar,
}
"""Built-in networks by name."""

OPTIONS: Mapping[str, tuple[str, ...]] = {"mlp": ("widths",), "kingma-cifar": ("size", "pooling")}
"""Their options."""


def build(model: str, data: Dataset, options: Mapping[str, Any]) -> nn.Sequential:
    """A network for a data set.

    Args:
        model: A name in `MODELS`.
        data: The data set.
        options: Those of `OPTIONS` that are given; None is not given.

    Raises:
        InputError: The name is unknown, or an option is not one the network has.
    """
    if not isinstance(model, str) or model not in MODELS:
        raise InputError(f"model '{model}' is unknown.{nearest(str(model), MODELS)}")
    given = {name: value for name, value in options.items() if value is not None}
    known = OPTIONS.get(model, ())
    for name in given:
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has no options"
            raise InputError(f"model '{model}' takes no {name}: {has}.")
    return MODELS[model](data, **given)
