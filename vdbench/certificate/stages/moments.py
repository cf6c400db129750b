"""The exact expected log-likelihood of a network that is linear in its weights, layer by layer, of any size.

With a Gaussian likelihood and layers whose noise is independent of one another, E‖f(x) − y‖² needs no more than mean
and second moment of each layer's output. Both are propagated in closed form, example by example: with A the matrix of
a layer's map under its mean weights, and S = E[hhᵀ] of its input,

    E[bbᵀ] = A S Aᵀ + Σ_kl Cov(w_k, w_l) B_k S B_lᵀ,

B_k the matrix of the map under a single weight of 1. That holds for every law of the noise, for weights that meet many
places, and for any depth. Convolutions are written as patches (`patches`), so that no layer of vdbench and no estimator
takes part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vdbench.problems.posterior import Posterior
from vdbench.problems.structure import Correlated

Objective = str

INDEPENDENT = ("elbo-local-noise", "elbo-gaussian-preactivations")
"""Objectives under which every pre-activation has noise of its own."""


class MeanOfRows(nn.Module):
    """Mean over the rows of each example."""

    def forward(self, h: Tensor) -> Tensor:
        """(M, T, features) to (M, features)."""
        return h.mean(1)


@dataclass(frozen=True)
class Moments:
    """First two moments of an activation of each example.

    Attributes:
        shape: Of one example.
        mean: (M, D), D the product of the shape.
        second: E[hhᵀ], (M, D, D).
    """

    shape: tuple[int, ...]
    mean: Tensor
    second: Tensor

    def plus(self, bias: Tensor) -> Moments:
        """With a constant added, (D,)."""
        cross = self.mean[:, :, None] * bias
        second = self.second + cross + cross.mT + bias[:, None] * bias
        return Moments(self.shape, self.mean + bias, second)

    def mapped(self, matrix: Tensor, shape: tuple[int, ...]) -> Moments:
        """Under a fixed matrix (D', D)."""
        return Moments(shape, self.mean @ matrix.mT, matrix @ self.second @ matrix.mT)


def fixed(x: Tensor) -> Moments:
    """An activation without noise, (M, …)."""
    flat = x.flatten(1)
    return Moments(tuple(x.shape[1:]), flat, flat[:, :, None] * flat[:, None, :])


def patches(module: nn.Module, shape: tuple[int, ...]) -> tuple[Tensor, tuple[int, ...]]:
    """Which input each weight meets.

    Args:
        module: A dense layer, or a convolution in two dimensions.
        shape: Of one example's input.

    Returns:
        Indices into the flat input, (groups, places, weights of one output), −1 where it is padding; and the shape of
        an example's output.
    """
    if isinstance(module, nn.Linear):
        places = torch.arange(int(torch.tensor(shape).prod())).reshape(1, -1, shape[-1])
        return places, (*shape[:-1], module.out_features)
    assert isinstance(module, nn.Conv2d)
    channels, *size = shape
    numbers = torch.arange(1.0, channels * size[0] * size[1] + 1, dtype=torch.float64)
    grid = F.pad(numbers.reshape(1, channels, *size), _margins(module))
    kernel, dilation, stride = module.kernel_size, module.dilation, module.stride
    columns = F.unfold(grid, kernel, dilation=dilation, stride=stride)[0].long() - 1
    out = [
        (n - d * (k - 1) - 1) // s + 1
        for n, d, k, s in zip(grid.shape[2:], dilation, kernel, stride, strict=True)
    ]
    index = columns.reshape(module.groups, -1, columns.shape[-1]).mT
    return index, (module.out_channels, *out)


def _margins(module: nn.Conv2d) -> list[int]:
    """Zeros before and after each dimension, last dimension first; of ``same`` the larger part goes after."""
    found: list[int] = []
    for axis in (1, 0):
        if module.padding == "same":
            missing = module.dilation[axis] * (module.kernel_size[axis] - 1)
            found += [missing // 2, missing - missing // 2]
        else:
            found += [int(module.padding[axis])] * 2
    return found


def noisy(
    module: nn.Module, h: Moments, q: Posterior, bias: Tensor | None, objective: Objective
) -> Moments:
    """Moments of a noisy layer's output."""
    index, shape = patches(module, h.shape)
    groups, places, _ = index.shape
    outputs = q.mean.shape[0]
    group = torch.arange(outputs) * groups // outputs
    met = F.one_hot(index + 1, h.mean.shape[1] + 1)[..., 1:].to(h.mean.dtype)[group]

    def matrix(weights: Tensor) -> Tensor:
        """The map under these weights, (outputs, places, inputs)."""
        return torch.einsum("jk,jtkd->jtd", weights.flatten(1), met)

    out = h.mapped(matrix(q.mean).flatten(0, 1), shape)
    spread = _spread(h, q, index, group, matrix, objective)
    out = Moments(shape, out.mean, out.second + spread.flatten(1, 2).flatten(2, 3))
    if bias is not None:
        out = out.plus(bias[:, None].expand(outputs, places).flatten())
    return out if isinstance(module, nn.Conv2d) else _features_last(out, outputs, places)


def _spread(
    h: Moments,
    q: Posterior,
    index: Tensor,
    group: Tensor,
    matrix: Callable[[Tensor], Tensor],
    objective: Objective,
) -> Tensor:
    """Covariance that the weights' noise adds to the outputs, (M, outputs, places, outputs, places)."""
    outputs, places = q.mean.shape[0], index.shape[1]
    if objective == "mean-weights":
        return h.mean.new_zeros(len(h.mean), outputs, places, outputs, places)
    if q.sharing == "inputs" and objective not in INDEPENDENT:
        return _shared(h, q, matrix)
    padded = F.pad(h.second, (1, 0, 1, 0))
    at = index + 1
    pairs = padded[:, at[:, :, None], at[:, None]][
        :, group
    ]  # (M, outputs, places, places, weights)
    if isinstance(q.structure, Correlated):
        return _correlated(padded, q, at, group, objective)
    own = torch.einsum("jk,mjtuk->mjtu", q.variance.flatten(1), pairs)
    if objective in INDEPENDENT:
        own = own * torch.eye(places, dtype=own.dtype)
    return torch.einsum("mjtu,ji->mjtiu", own, torch.eye(outputs, dtype=own.dtype))


def _correlated(
    second: Tensor, q: Posterior, at: Tensor, group: Tensor, objective: Objective
) -> Tensor:
    """The same of weights with any covariance, Σ_kl Cov(w_jk, w_il) E[h_tk h_ul], weight by weight.

    Args:
        second: E[hhᵀ] with a row and a column of zeros before it, for padding.
        q: The law.
        at: Places in it, (groups, places, weights of an output).
        group: Of each output.
        objective: An objective class.
    """
    assert isinstance(q.structure, Correlated)
    outputs, places, inside = len(group), at.shape[1], at.shape[2]
    covariance = q.structure.covariance().reshape(outputs, inside, outputs, inside)
    found = second.new_zeros(len(second), outputs, places, outputs, places)
    for j in range(outputs):
        for i in range(outputs):
            if objective in INDEPENDENT and i != j:
                continue
            met = second[:, at[group[j]][:, :, None, None], at[group[i]]]  # (M, t, k, u, l)
            found[:, j, :, i] = torch.einsum("kl,mtkul->mtu", covariance[j, :, i], met)
    if objective in INDEPENDENT:
        found = found * torch.eye(places, dtype=found.dtype)[:, None]
    return found


def _shared(h: Moments, q: Posterior, matrix: Callable[[Tensor], Tensor]) -> Tensor:
    """The same of one random number for each input feature, or channel of a group, shared by all outputs."""
    total = torch.zeros((), dtype=h.mean.dtype)
    for channel in range(q.mean.shape[1]):
        only = torch.zeros_like(q.mean)
        only[:, channel] = 1
        part = matrix(q.scale * only)
        total = total + torch.einsum("jtd,mde,iue->mjtiu", part, h.second, part)
    return total


def _features_last(h: Moments, outputs: int, places: int) -> Moments:
    """Places before outputs, as a dense layer has them."""
    order = torch.arange(outputs * places).reshape(outputs, places).mT.flatten()
    return Moments(h.shape, h.mean[:, order], h.second[:, order][:, :, order])


def propagated(
    modules: Sequence[nn.Module],
    values: Mapping[str, Tensor],
    posteriors: Mapping[str, Posterior],
    x: Tensor,
    objective: Objective,
) -> Moments:
    """Moments of a network's output.

    Args:
        modules: The layers of the network. What comes before the first noisy one may be anything without noise; what
            comes after it is linear.
        values: Parameters by name, such as ``2.bias``.
        posteriors: Of the noisy layers' weights, by the layer's name.
        x: Inputs, (M, …).
        objective: An objective class of `vdbench.certificate.exact_gradients`.
    """
    h: Moments | None = None
    for number, module in enumerate(modules):
        name = str(number)
        if name in posteriors:
            before = fixed(x) if h is None else h
            h = noisy(module, before, posteriors[name], values.get(f"{name}.bias"), objective)
        elif h is None:
            own = {key: values[f"{name}.{key}"] for key, _ in module.named_parameters()}
            x = torch.func.functional_call(module, own, (x,))
        else:
            h = _after(
                module, h, {key: values[f"{name}.{key}"] for key in dict(module.named_parameters())}
            )
    assert h is not None
    return h


def _after(module: nn.Module, h: Moments, own: Mapping[str, Tensor]) -> Moments:
    """Under a dense layer without noise, or a linear module without parameters."""
    if isinstance(module, nn.Linear):
        assert len(h.shape) == 1
        found = h.mapped(own["weight"], (module.out_features,))
        return found.plus(own["bias"]) if "bias" in own else found
    basis = torch.eye(h.mean.shape[1], dtype=h.mean.dtype).reshape(-1, *h.shape)
    columns = module(basis)
    return h.mapped(columns.flatten(1).mT, tuple(columns.shape[1:]))
