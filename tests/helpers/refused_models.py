"""Networks that cannot be measured, one for each reason, with the sentence that refuses them."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from layer_kinds import Net
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vdbench.datasets import Dataset, Split

FEATURES = 4


def numbers(n: int = 8, *shape: int) -> Tensor:
    return torch.randn(n, *(shape or (FEATURES,)), generator=torch.Generator().manual_seed(1))


def classes(x: Tensor, targets: Tensor | None = None) -> Dataset:
    split = Split(x, torch.arange(len(x)) % 3 if targets is None else targets)
    return Dataset("synthetic", split, split, 3)


def dense() -> nn.Linear:
    return nn.Linear(FEATURES, 3)


class Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.f = dense()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.f(x)


class Warming(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.f = dense()
        self.step = 0

    def forward(self, x: Tensor) -> Tensor:
        self.step += 1
        return self.f(x) * (2.0 if self.step > 500 else 1.0)


class First(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.f = dense()
        self.first = True

    def forward(self, x: Tensor) -> Tensor:
        factor = 2.0 if self.first else 1.0
        self.first = False
        return self.f(x) * factor


def hooked() -> nn.Module:
    net = nn.Sequential(dense())
    net[0].weight.register_hook(lambda g: g * 0)
    return net


def computed() -> nn.Module:
    net = Net(lambda s, x: s.f(x) @ s.square, f=dense())
    net.square = net.f.weight @ net.f.weight.T
    return net


def scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(nn.Sequential(dense()))


def numpy_noise(s: Any, x: Tensor) -> Tensor:
    return s.f(x) + float(np.random.normal())


def python_noise(s: Any, x: Tensor) -> Tensor:
    return s.f(x) * random.random()


def weight_norm() -> nn.Module:
    return nn.Sequential(nn.utils.parametrizations.weight_norm(dense()))


def old_weight_norm() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.Sequential(nn.utils.weight_norm(dense()))


def _zeros(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    return layer


def _closure() -> nn.Module:
    net = Net(lambda s, x: s.steps[0](x), f=dense())
    net.steps = [lambda x: net.f(x)]
    return net


def _named() -> nn.Module:
    layer = dense()
    layer.register_parameter("log_variance", nn.Parameter(torch.zeros(3, FEATURES)))
    return Net(lambda s, x: F.linear(x, s.f.weight * s.f.log_variance.exp(), s.f.bias), f=layer)


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "functional dropout": (
        lambda: Net(lambda s, x: s.f(F.dropout(x, 0.5)), f=dense()),
        r"draws noise of its own",
    ),
    "noise of numpy": (lambda: Net(numpy_noise, f=dense()), r"draws noise of its own"),
    "noise of python": (lambda: Net(python_noise, f=dense()), r"draws noise of its own"),
    "dropout within an LSTM": (
        lambda: Net(
            lambda s, x: s.f(s.r(x[:, None])[0][:, -1]),
            r=nn.LSTM(FEATURES, 4, 2, dropout=0.5, batch_first=True),
            f=dense(),
        ),
        r"draws noise of its own",
    ),
    "a counter": (Counter, r"a forward pass writes 'calls' of the module"),
    "batch norm": (lambda: nn.Sequential(nn.BatchNorm1d(FEATURES), dense()), r"'0' is a BatchNorm1d"),
    "batch norm without averages": (
        lambda: nn.Sequential(nn.BatchNorm1d(FEATURES, track_running_stats=False), dense()).eval(),
        r"log-likelihood of an example changes when another example.*'0' is a BatchNorm1d",
    ),
    "mean over the minibatch": (
        lambda: Net(lambda s, x: s.f(x - x.mean(0)), f=dense()),
        r"log-likelihood of an example changes when another example",
    ),
    "softmax over the minibatch": (
        lambda: Net(lambda s, x: s.f(x).softmax(0), f=dense()),
        r"log-likelihood of an example changes when another example",
    ),
    "divided by the minibatch size": (
        lambda: Net(lambda s, x: s.f(x) / len(x), f=dense()),
        r"outputs of 3 examples differ from those of the same examples among 5",
    ),
    "attention along the wrong axis": (
        lambda: Net(
            lambda s, x: s.f(s.a(x[:, None], x[:, None], x[:, None])[0][:, 0]),
            a=nn.MultiheadAttention(FEATURES, 2),
            f=dense(),
        ),
        r"log-likelihood of an example changes when another example",
    ),
    "a positional encoding along the wrong axis": (
        lambda: Net(lambda s, x: s.f(x + torch.arange(len(x), dtype=x.dtype)[:, None] / 9), f=dense()),
        r"examples in reverse order differ",
    ),
    "interaction behind a head of zeros": (
        lambda: nn.Sequential(
            nn.Linear(FEATURES, 4),
            nn.BatchNorm1d(4, track_running_stats=False),
            _zeros(nn.Linear(4, 3)),
        ).eval(),
        r"log-likelihood of an example changes when another example",
    ),
    "interaction of eight examples and more": (
        lambda: Net(lambda s, x: s.f(x - x.mean(0) if len(x) >= 8 else x), f=dense()),
        r"outputs of 3 examples differ from those of the same examples among 32",
    ),
    "a forward that refers to another module": (
        lambda: _closure(), r"a copy of the module still computes with weights of the original"
    ),
    "probabilities as outputs": (
        lambda: nn.Sequential(dense(), nn.Softmax(1)), r"are probabilities .* leave out the softmax"
    ),
    "a complex parameter": (
        lambda: Net(lambda s, x: s.f(x) * s.w.abs(), f=dense(), w=nn.Parameter(torch.ones(1) + 1j)),
        r"the parameter 'w' is complex",
    ),
    "a parameter called as a coordinate": (
        lambda: _named(), r"has a parameter 'f\.log_variance'"
    ),
    "a function of noise seeded in the forward": (
        lambda: Net(
            lambda s, x: s.f(x + torch.from_numpy(np.random.default_rng(0).normal(size=x.shape)).to(x.dtype)),
            f=dense(),
        ),
        r"examples in reverse order differ",
    ),
    "rounding": (
        lambda: Net(lambda s, x: s.g((8 * s.f(x)).round()), f=nn.Linear(FEATURES, 16), g=nn.Linear(16, 3)),
        r"the log-likelihood changes by .* gradient adds up to .* a jump \(rounding",
    ),
    "a hard threshold": (
        lambda: Net(lambda s, x: s.g((s.f(x) > 0).to(x.dtype)), f=nn.Linear(FEATURES, 32), g=nn.Linear(32, 3)),
        r"a jump \(rounding, a threshold\)",
    ),
    "a detached part": (
        lambda: Net(lambda s, x: s.g(s.f(x).tanh().detach()), f=nn.Linear(FEATURES, 8), g=nn.Linear(8, 3)),
        r"a detached part",
    ),
    "rounding with a straight-through gradient": (
        lambda: Net(
            lambda s, x: s.g((lambda h: h + (h.round() - h).detach())(2 * s.f(x))),
            f=nn.Linear(FEATURES, 16), g=nn.Linear(16, 3),
        ),
        r"a jump \(rounding, a threshold\)",
    ),
    "weights that a pass clamps": (
        lambda: Net(
            lambda s, x: (s.f.weight.data.clamp_(-0.01, 0.01), s.f(x))[1], f=dense()
        ),
        r"a forward pass writes 'f\.weight' of the module",
    ),
    "activation checkpointing": (
        lambda: Net(lambda s, x: checkpoint(s.f, x, use_reentrant=False), f=dense()),
        r"calls its layers again in the backward pass \(activation checkpointing\)",
    ),
    "a module without numbers": (lambda: nn.Linear(FEATURES, 3, device="meta"), r"on the device 'meta'"),
    "sparse outputs": (
        lambda: Net(lambda s, x: s.f(x).to_sparse(), f=dense()), r"outputs of layout torch\.sparse_coo"
    ),
    "a warm-up by a number of its own": (Warming, r"each pass changes 'step' of the module, and what it gives after"),
    "a first pass that is another": (First, r"a second forward pass on the same inputs gives other outputs"),
    "a tensor that requires a gradient and is no parameter": (
        lambda: Net(lambda s, x: s.f(x) * s.scale.to(x), f=dense(), scale=torch.ones(3, requires_grad=True)),
        r"the attribute 'scale' of shape \(3,\), which requires a gradient and is no parameter",
    ),
    "layers in a plain list": (
        lambda: Net(lambda s, x: s.f(s.steps[0](x.float()).to(x)), f=dense(), steps=[nn.Linear(FEATURES, FEATURES)]),
        r"'steps\[0\]' of shape \(4.*nn\.ModuleList",
    ),
    "a hook on a gradient": (hooked, r"the parameter '0\.weight' has a hook on its gradient"),
    "a tensor computed from a parameter": (
        computed, r"cannot be copied \(copy\.deepcopy.*tensors computed from parameters out of its attributes"
    ),
    "a scripted module": (
        scripted, r"expected the module before it was scripted"
    ),
    "weights without a layer": (
        lambda: Net(lambda s, x: x @ s.w, w=nn.Parameter(torch.ones(FEATURES, 3))), r"name a bare parameter in layers="
    ),
    "weight norm of a recurrent weight": (
        lambda: Net(
            lambda s, x: s.f(s.r(x[:, None])[0][:, -1]),
            r=nn.utils.parametrizations.weight_norm(nn.LSTM(FEATURES, 4, batch_first=True), "weight_hh_l0"),
            f=dense(),
        ),
        r"layer 'r\.weight_hh_l0' is computed anew at each pass \(parametrization",
    ),
    "weight norm of attention": (
        lambda: Net(
            lambda s, x: s.f(s.a(x[:, None], x[:, None], x[:, None])[0][:, 0]),
            a=nn.utils.parametrizations.weight_norm(
                nn.MultiheadAttention(FEATURES, 1, batch_first=True), "in_proj_weight"
            ),
            f=dense(),
        ),
        r"layer 'a\.in_proj_weight' is computed anew",
    ),
    "weight norm": (weight_norm, r"layer '0' is computed anew at each pass \(parametrization"),
    "weight norm by a hook": (old_weight_norm, r"layer '0' is computed anew at each pass \(a hook"),
    "spectral norm": (
        lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(dense())).eval(),
        r"computed anew at each pass \(parametrization SpectralNorm\)",
    ),
    "lazy": (lambda: nn.Sequential(nn.LazyLinear(3)), r"'0\.weight' has no shape yet"),
    "a tuple": (lambda: Net(lambda s, x: (s.f(x), 0.0), f=dense()), r"returns a tuple; expected one"),
    "a dictionary": (lambda: Net(lambda s, x: {"y": s.f(x)}, f=dense()), r"returns a dict"),
    "no row an example": (lambda: Net(lambda s, x: s.f(x).mean(0), f=dense()), r"shape \(3,\) for 5"),
    "too few inputs": (lambda: nn.Linear(FEATURES + 1, 3), r"does not fit inputs of shape \(5, 4\)"),
    "not finite": (
        lambda: Net(lambda s, x: s.f(x) / 0, f=dense()),
        r"outputs of the module for example 0 are not finite",
    ),
    "all frozen": (lambda: nn.Sequential(dense().requires_grad_(False)), r"no layer to make noisy: '0' is"),
    "no weights": (lambda: nn.Sequential(nn.ReLU()), r"no layer to make noisy: it holds no weights"),
}  # fmt: skip
