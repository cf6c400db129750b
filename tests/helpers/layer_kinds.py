"""Small networks, one for each kind of layer and each way of giving examples to one, as users write them.

`KINDS` maps a name to a function that makes a network and a data set. All are tiny: thousands of draws cost little.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vdbench.datasets import Dataset, Split
from vdbench.problems.likelihoods import Categorical, GaussianNoise

EXAMPLES, STEPS, FEATURES, HIDDEN, CLASSES, WORDS = 6, 3, 3, 4, 3, 7


class Kind(NamedTuple):
    """A network with its data.

    Attributes:
        module: As a user wrote it.
        data: Six examples.
        likelihood: Of the targets.
        options: Further arguments of `vdbench.noisy`.
    """

    module: nn.Module
    data: Dataset
    likelihood: Any
    options: dict[str, Any]


class Net(nn.Module):
    """A network whose forward is a function of itself and the inputs."""

    def __init__(self, forward: Callable[[Any, Tensor], Tensor], **parts: Any) -> None:
        super().__init__()
        self._forward = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(self, x)


class Masked(nn.Linear):
    """A dense layer with a forward of its own, in which only some weights count."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.register_buffer("mask", torch.tril(torch.ones(outputs, inputs)))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.mask, self.bias)


class LowRank(nn.Module):
    """A frozen dense layer with an adapter of rank 2, whose factors are bare parameters."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(0.5 * torch.randn(2, base.in_features))
        self.up = nn.Parameter(0.5 * torch.randn(base.out_features, 2))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.base(x) + x @ self.down.T @ self.up.T
        return out


def _numbers(*shape: int) -> Tensor:
    return torch.randn(EXAMPLES, *shape)


def _classes(module: nn.Module, x: Tensor, **options: Any) -> Kind:
    split = Split(x, torch.arange(EXAMPLES) % CLASSES)
    return Kind(module, Dataset("synthetic", split, split, CLASSES), Categorical(), options)


def _regression(module: nn.Module, x: Tensor, outputs: int = 1, **options: Any) -> Kind:
    split = Split(x, torch.randn(EXAMPLES, outputs))
    return Kind(module, Dataset("synthetic", split, split, 1), GaussianNoise(1.0), options)


def _words() -> Tensor:
    return torch.randint(1, WORDS, (EXAMPLES, STEPS))


def _sequence(forward: Callable[[Any, Tensor], Tensor]) -> Kind:
    a, b = nn.Linear(FEATURES, HIDDEN), nn.Linear(HIDDEN, CLASSES)
    return _classes(Net(forward, a=a, b=b), _numbers(STEPS, FEATURES))


def _hooked() -> Kind:
    layer = nn.Linear(FEATURES, HIDDEN)
    layer.register_forward_hook(lambda module, x, out: 2 * out)
    return _classes(nn.Sequential(layer, nn.Tanh(), nn.Linear(HIDDEN, CLASSES)), _numbers(FEATURES))


def _tied() -> Kind:
    e, d = nn.Embedding(WORDS, HIDDEN), nn.Linear(HIDDEN, WORDS)
    d.weight = e.weight
    net = Net(lambda s, x: s.d(torch.tanh(s.e(x)).mean(1)), e=e, d=d)
    split = Split(_words(), torch.arange(EXAMPLES) % WORDS)
    return Kind(net, Dataset("synthetic", split, split, WORDS), Categorical(), {})


def _gained() -> nn.Module:
    a, b = nn.Linear(FEATURES, HIDDEN), nn.Linear(HIDDEN, CLASSES)
    a.register_parameter("gain", nn.Parameter(torch.tensor([1.5])))
    return Net(lambda s, x: s.b(torch.tanh(s.a.gain * s.a(x))), a=a, b=b)


def _same_module() -> Kind:
    shared = nn.Linear(FEATURES, FEATURES)
    return _classes(nn.Sequential(shared, nn.Tanh(), shared), _numbers(FEATURES))


def _chosen() -> Kind:
    body = nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, CLASSES))
    return _classes(body, _numbers(FEATURES), layers="2")


def _frozen() -> Kind:
    body = nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, CLASSES))
    body[0].requires_grad_(False)
    return _classes(body, _numbers(FEATURES))


def _encoder(batch_first: bool) -> Kind:
    layer = nn.TransformerEncoderLayer(HIDDEN, 2, 5, dropout=0.0, batch_first=batch_first).eval()

    def forward(s: Any, x: Tensor) -> Tensor:
        if batch_first:
            out: Tensor = s.head(s.layer(x).mean(1))
            return out
        last: Tensor = s.head(s.layer(x.transpose(0, 1)).mean(0))
        return last

    return _classes(
        Net(forward, layer=layer, head=nn.Linear(HIDDEN, CLASSES)), _numbers(STEPS, HIDDEN)
    )


def _loop(s: Any, x: Tensor) -> Tensor:
    h = x.new_zeros(x.shape[0], HIDDEN)
    for t in range(x.shape[1]):
        h = s.cell(x[:, t], h)
    out: Tensor = s.head(h)
    return out


def _recurrent(cell: nn.Module, width: int = HIDDEN) -> Kind:
    def forward(s: Any, x: Tensor) -> Tensor:
        out: Tensor = s.head(s.cell(x)[0][:, -1])
        return out

    return _classes(
        Net(forward, cell=cell, head=nn.Linear(width, CLASSES)), _numbers(STEPS, FEATURES)
    )


def _convolution(body: nn.Module, *shape: int) -> Kind:
    with torch.no_grad():
        width = body(torch.zeros(1, *shape)).numel()
    net = nn.Sequential(body, nn.Tanh(), nn.Flatten(), nn.Linear(width, CLASSES))
    return _classes(net, _numbers(*shape))


def _twice(s: Any, x: Tensor) -> Tensor:
    h = s.a(x)
    for _ in range(2):
        h = torch.tanh(s.b(h))
    out: Tensor = s.c(h)
    return out


def _slope(s: Any, x: Tensor) -> Tensor:
    with torch.enable_grad():
        x = x if x.requires_grad else x.clone().requires_grad_()
        total = s.b(torch.tanh(s.a(x))).sum()
        (slope,) = torch.autograd.grad(total, x, create_graph=True)
    return slope


def _rotated(s: Any, x: Tensor) -> Tensor:
    h = torch.view_as_complex(s.a(x).unflatten(-1, (-1, 2))) * s.turn
    out: Tensor = s.b(torch.tanh(torch.view_as_real(h).flatten(-2).mean(1)))
    return out


def _rotary() -> Kind:
    angles = torch.arange(STEPS)[:, None] * torch.tensor([1.0, 0.3])
    net = Net(_rotated, a=nn.Linear(FEATURES, 4), b=nn.Linear(4, CLASSES))
    net.register_buffer("turn", torch.polar(torch.ones(STEPS, 2), angles))
    return _classes(net, _numbers(STEPS, FEATURES))


KINDS: dict[str, Callable[[], Kind]] = {
    "dense": lambda: _classes(
        nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, CLASSES)),
        _numbers(FEATURES),
    ),
    "sequence": lambda: _sequence(lambda s, x: s.b(torch.tanh(s.a(x)).mean(1))),
    "sequence-folded": lambda: _sequence(
        lambda s, x: s.b(torch.tanh(s.a(x.reshape(-1, FEATURES))).view(len(x), -1, HIDDEN).mean(1))
    ),
    "sequence-first": lambda: _sequence(lambda s, x: s.b(torch.tanh(s.a(x.transpose(0, 1))).mean(0))),
    "sequence-first-folded": lambda: _sequence(
        lambda s, x: s.b(
            torch.tanh(s.a(x.transpose(0, 1).reshape(-1, FEATURES))).view(-1, len(x), HIDDEN).mean(0)
        )
    ),
    "siamese": lambda: _sequence(
        lambda s, x: s.b(
            (lambda h: (h[: len(x)] - h[len(x) :]).abs())(torch.tanh(s.a(torch.cat([x[:, 0], x[:, 1]]))))
        )
    ),
    "called-twice": lambda: _classes(
        Net(
            _twice,
            a=nn.Linear(FEATURES, HIDDEN),
            b=nn.Linear(HIDDEN, HIDDEN),
            c=nn.Linear(HIDDEN, CLASSES),
        ),
        _numbers(FEATURES),
    ),
    "same-module-twice": _same_module,
    "tied": _tied,
    "called-at-two-ranks": lambda: _sequence(
        lambda s, x: s.b(torch.tanh(s.a(x)).mean(1) + torch.tanh(s.a(x.mean(1))))
    ),
    "called-by-keyword": lambda: _sequence(lambda s, x: s.b(input=torch.tanh(s.a(input=x)).mean(1))),
    "asks-a-parameter-for-its-type": lambda: _sequence(
        lambda s, x: s.b(torch.tanh(s.a(x.to(next(s.parameters()).dtype))).mean(1))
    ),
    "holds-a-parameter-more": lambda: _classes(_gained(), _numbers(FEATURES)),
    "derivative-in-its-input": lambda: _regression(
        Net(_slope, a=nn.Linear(FEATURES, HIDDEN), b=nn.Linear(HIDDEN, 1)), _numbers(FEATURES), FEATURES
    ),
    "complex-buffer": _rotary,
    "weight-read-outside": lambda: _classes(
        Net(
            lambda s, x: F.linear(torch.tanh(s.a(x)), s.a.weight.T),
            a=nn.Linear(FEATURES, HIDDEN),
        ),
        _numbers(FEATURES),
    ),
    "own-forward": lambda: _classes(
        nn.Sequential(Masked(FEATURES, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, CLASSES)),
        _numbers(FEATURES),
    ),
    "forward-hook": _hooked,
    "bilinear": lambda: _classes(
        Net(lambda s, x: s.b(x, x), b=nn.Bilinear(FEATURES, FEATURES, CLASSES)), _numbers(FEATURES)
    ),
    "embedding": lambda: _classes(
        Net(
            lambda s, x: s.f(torch.tanh(s.e(x)).mean(1)),
            e=nn.Embedding(WORDS, HIDDEN, padding_idx=0),
            f=nn.Linear(HIDDEN, CLASSES),
        ),
        _words() * (torch.rand(EXAMPLES, STEPS) > 0.3),
    ),
    "embedding-with-a-padding-row": lambda: _classes(
        Net(
            lambda s, x: s.f(torch.tanh(s.e(x)).mean(1)),
            e=nn.Embedding.from_pretrained(torch.randn(WORDS, HIDDEN), freeze=False, padding_idx=0),
            f=nn.Linear(HIDDEN, CLASSES),
        ),
        _words() * (torch.rand(EXAMPLES, STEPS) > 0.3),
    ),
    "embedding-bag": lambda: _classes(
        Net(
            lambda s, x: s.f(torch.tanh(s.e(x))),
            e=nn.EmbeddingBag(WORDS, HIDDEN),
            f=nn.Linear(HIDDEN, CLASSES),
        ),
        _words(),
    ),
    "attention": lambda: _classes(
        Net(
            lambda s, x: s.f(s.a(x, x, x, need_weights=False)[0].mean(1)),
            a=nn.MultiheadAttention(HIDDEN, 2, batch_first=True),
            f=nn.Linear(HIDDEN, CLASSES),
        ),
        _numbers(STEPS, HIDDEN),
    ),
    "own-attention": lambda: _classes(
        Net(
            lambda s, x: s.f(F.scaled_dot_product_attention(s.q(x), s.k(x), s.v(x)).mean(1)),
            q=nn.Linear(FEATURES, HIDDEN),
            k=nn.Linear(FEATURES, HIDDEN),
            v=nn.Linear(FEATURES, HIDDEN),
            f=nn.Linear(HIDDEN, CLASSES),
        ),
        _numbers(STEPS, FEATURES),
    ),
    "encoder-layer": lambda: _encoder(True),
    "encoder-layer-sequence-first": lambda: _encoder(False),
    "lstm": lambda: _recurrent(nn.LSTM(FEATURES, HIDDEN, batch_first=True)),
    "gru": lambda: _recurrent(nn.GRU(FEATURES, HIDDEN, batch_first=True)),
    "lstm-both-ways": lambda: _recurrent(
        nn.LSTM(FEATURES, HIDDEN, batch_first=True, num_layers=2, bidirectional=True), 2 * HIDDEN
    ),
    "gru-cell": lambda: _classes(
        Net(_loop, cell=nn.GRUCell(FEATURES, HIDDEN), head=nn.Linear(HIDDEN, CLASSES)),
        _numbers(STEPS, FEATURES),
    ),
    "conv1d": lambda: _convolution(nn.Conv1d(2, 3, 2, stride=2), 2, 5),
    "conv2d": lambda: _convolution(nn.Conv2d(2, 4, (1, 2), groups=2, padding=(0, 1)), 2, 2, 3),
    "conv2d-same-dilated": lambda: _convolution(
        nn.Conv2d(1, 2, (2, 3), padding="same", dilation=(1, 2)), 1, 3, 3
    ),
    "conv2d-circular": lambda: _convolution(
        nn.Conv2d(1, 2, 2, padding=1, padding_mode="circular"), 1, 3, 2
    ),
    "conv3d": lambda: _convolution(nn.Conv3d(1, 2, 2), 1, 2, 3, 2),
    "frames-folded": lambda: _classes(
        Net(
            lambda s, x: s.f(torch.tanh(s.c(x.flatten(0, 1))).view(len(x), STEPS, -1).mean(1)),
            c=nn.Conv2d(1, 2, 2),
            f=nn.Linear(8, CLASSES),
        ),
        _numbers(STEPS, 1, 3, 3),
    ),
    "transposed1d": lambda: _convolution(nn.ConvTranspose1d(2, 3, 2, stride=2), 2, 2),
    "transposed2d": lambda: _convolution(
        nn.ConvTranspose2d(2, 4, 2, groups=2, stride=(2, 1), output_padding=(1, 0)), 2, 2, 2
    ),
    "transposed3d": lambda: _convolution(nn.ConvTranspose3d(1, 2, 2), 1, 1, 2, 1),
    "batch-norm-in-eval": lambda: _classes(
        nn.Sequential(
            nn.Linear(FEATURES, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.Tanh(), nn.Dropout(0.5),
            nn.Linear(HIDDEN, CLASSES),
        ).eval(),
        _numbers(FEATURES),
    ),
    "adapter": lambda: _classes(
        nn.Sequential(LowRank(nn.Linear(FEATURES, HIDDEN)), nn.Tanh(), nn.Linear(HIDDEN, CLASSES)),
        _numbers(FEATURES),
        layers=["0.down", "0.up"],
    ),
    "last-layer": _chosen,
    "frozen": _frozen,
    "regression": lambda: _regression(
        nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 1)), _numbers(FEATURES)
    ),
}  # fmt: skip


def make(name: str) -> Kind:
    """A network of this kind with its data, the same at every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20)
        return KINDS[name]()
