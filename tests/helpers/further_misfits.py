"""Further models, likelihoods and ways of calling that do not fit at first sight, each given to `vdbench.noisy`."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from counting_models import COUNTERS, counting
from layer_kinds import Net
from refused_models import FEATURES, classes, dense, numbers
from torch import Tensor, nn
from torch.distributions import Gamma, Laplace, Normal

from vdbench.problems.from_module import noisy

COUNT = 48


def _many(n: int = COUNT) -> tuple[Tensor, Tensor]:
    return numbers(n), torch.arange(n) % 3


def _outlier() -> tuple[Tensor, Tensor]:
    x, y = _many()
    x[29] = 9.0
    return x, y


def _binary() -> tuple[Tensor, Tensor]:
    return numbers(), (torch.arange(8) % 2).float()[:, None]


def _real() -> tuple[Tensor, Tensor]:
    return numbers(), torch.randn(8, 1, generator=torch.Generator().manual_seed(3))


def _counts() -> tuple[Tensor, Tensor]:
    return numbers(), torch.arange(8).float()[:, None]


def _one() -> nn.Linear:
    return nn.Linear(FEATURES, 1)


def _net(forward: Callable[..., Any], **parts: Any) -> Net:
    return Net(forward, f=dense(), **parts)


def _expert(s: Any, x: Tensor) -> Tensor:
    rows = (x[:, 0] > 5).nonzero()[:, 0]
    out: Tensor = s.f(x)
    return out.index_put((rows,), s.rare(x[rows])) if len(rows) else out


def _hook(kind: str, layer: int, hook: Callable[..., Any]) -> nn.Module:
    net = nn.Sequential(nn.Linear(FEATURES, 5), nn.Tanh(), nn.Linear(5, 3))
    getattr(net[layer], kind)(hook)
    return net


def _shared() -> nn.Module:
    a, b = (nn.Linear(FEATURES, FEATURES) for _ in range(2))
    b.weight.data = a.weight.data
    return nn.Sequential(a, nn.Tanh(), b, dense())


def _stored() -> nn.Module:
    net = _net(lambda s, x: F.linear(x, s.kept.to(x), s.f.bias))
    net.register_buffer("kept", net.f.weight.detach())
    return net


def _autocast(s: Any, x: Tensor) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out: Tensor = s.f(x)
    return out.to(x.dtype)


def _remembered(s: Any, x: Tensor) -> Tensor:
    key = x.data_ptr(), len(x)
    if key not in s.seen:
        s.seen[key] = x.mean(1, keepdim=True).detach()
    out: Tensor = s.f(x - s.seen[key])
    return out


def _averaged(s: Any, x: Tensor) -> Tensor:
    out: Tensor = s.f(x)
    s.mean = 0.9 * s.mean + 0.1 * out.detach().mean()
    return out


def _of_dict(s: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {"logits": s.f(batch["x"] + batch["z"])}


def _lik(
    likelihood: Callable[[Tensor, Tensor], Tensor],
    data: Callable[[], Any] = lambda: classes(numbers()),
    module: Callable[[], nn.Module] = dense,
) -> Callable[[], Any]:
    return lambda: noisy(module(), data(), likelihood=likelihood)


class Switched:
    """A likelihood that is another from call 2,000 on."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.calls += 1
        return _log(outputs, targets) * (1.0 if self.calls < 2000 else 0.5)


def _log(outputs: Tensor, targets: Tensor) -> Tensor:
    return -F.cross_entropy(outputs, targets, reduction="none")


def _nll(outputs: Tensor, targets: Tensor) -> Tensor:
    return -F.nll_loss(outputs, targets, reduction="none")


def _bce(outputs: Tensor, targets: Tensor) -> Tensor:
    weight = torch.tensor([3.0]).to(outputs)
    return -F.binary_cross_entropy_with_logits(
        outputs, targets, reduction="none", pos_weight=weight
    )[:, 0]


def _poisson(outputs: Tensor, targets: Tensor) -> Tensor:
    return -F.poisson_nll_loss(outputs, targets, log_input=True, reduction="none")[:, 0]


def _gaussian(outputs: Tensor, targets: Tensor) -> Tensor:
    return -F.gaussian_nll_loss(
        outputs[:, :1], targets, outputs[:, 1:].exp(), reduction="none", full=True
    )[:, 0]


def _probability(outputs: Tensor, targets: Tensor) -> Tensor:
    return torch.where(targets > 0, outputs.sigmoid(), 1 - outputs.sigmoid())[:, 0]


def _survival(outputs: Tensor, targets: Tensor) -> Tensor:
    rate = F.softplus(outputs[:, 0])
    return targets[:, 1] * rate.log() - rate * targets[:, 0]


def _two() -> nn.Linear:
    return nn.Linear(FEATURES, 2)


def _softmax() -> nn.Module:
    return nn.Sequential(dense(), nn.Softmax(1))


def _ended(last: nn.Module) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(_one(), last)


def _tokens() -> tuple[Tensor, Tensor]:
    y = torch.randint(0, 3, (8, 5), generator=torch.Generator().manual_seed(2))
    return numbers(8, 5, FEATURES), y


FURTHER: dict[str, Callable[[], Any]] = {
    **{
        f"a network that counts its passes by {name}": (lambda n=name: noisy(counting(n), _many()))
        for name in COUNTERS
    },
    "a likelihood that counts its calls": lambda: noisy(dense(), _many(), likelihood=Switched()),
    "an average of outputs for a log": lambda: noisy(_net(_averaged, mean=torch.zeros(())), _many()),
    "values kept under the address of an input": lambda: noisy(_net(_remembered, seen={}), _many()),
    "a minibatch with an outlier": lambda: noisy(
        _net(lambda s, x: s.f(x / x.abs().max() if x.abs().max() > 5 else x)), _outlier()
    ),
    "a minibatch of more than 64": lambda: noisy(
        _net(lambda s, x: s.f(x - x.mean(0) if len(x) > 64 else x)), _many(300)
    ),
    "a layer for minibatches with an outlier": lambda: noisy(
        _net(lambda s, x: s.f(x) + (s.rare(x) if x.max() > 5 else 0), rare=dense()), _outlier()
    ),
    "a layer for rare examples": lambda: noisy(_net(_expert, rare=dense()), _outlier()),
    "a rare example turned around": lambda: noisy(
        _net(lambda s, x: s.f(torch.where(x[:, :1] > 5, -x, x))), _outlier()
    ),
    "examples in parts of 16": lambda: noisy(
        _net(lambda s, x: torch.cat([s.f(part) for part in x.split(16)])), _many()
    ),
    "a backward hook of a layer": lambda: noisy(
        _hook("register_full_backward_hook", 2, lambda m, i, o: (2 * i[0],)), _many()
    ),
    "a backward pre-hook of a layer": lambda: noisy(
        _hook("register_full_backward_pre_hook", 2, lambda m, o: (2 * o[0],)), _many()
    ),
    "a backward hook that only looks": lambda: noisy(
        _hook("register_full_backward_hook", 2, lambda m, i, o: None), _many()
    ),
    "two weights in one memory": lambda: noisy(_shared(), _many()),
    "a buffer in a weight's memory": lambda: noisy(_stored(), _many()),
    "autocast in the forward": lambda: noisy(_net(_autocast), _many()),
    "an activation in half": lambda: noisy(
        _net(lambda s, x: s.f(x.half().to(x.dtype))), _many()
    ),
    "a tuple with forward=": lambda: noisy(
        _net(lambda s, x: (s.f(x), None)), _many(), forward=lambda model, x: model(x)[0]
    ),
    "a dict in and out with forward=": lambda: noisy(
        _net(_of_dict),
        ({"x": numbers(), "z": numbers()}, torch.arange(8) % 3),
        forward=lambda model, **inputs: model(inputs)["logits"],
    ),
    "a dict of inputs without forward=": lambda: noisy(
        _net(_of_dict), ({"x": numbers(), "z": numbers()}, torch.arange(8) % 3)
    ),
    "an object with logits": lambda: noisy(
        _net(lambda s, x: types.SimpleNamespace(loss=None, logits=s.f(x))), _many()
    ),
    "forward= that is no function": lambda: noisy(dense(), _many(), forward=3),  # type: ignore[arg-type]
    "forward= that couples examples": lambda: noisy(
        dense(), _many(), forward=lambda model, x: model(x) - model(x).mean(0)
    ),
    "raw logits to nll_loss": _lik(_nll),
    "raw logits of tokens to nll_loss": _lik(
        lambda o, t: _nll(o.transpose(1, 2), t).sum(1), _tokens
    ),
    "raw normalised logits to nll_loss": _lik(
        _nll, module=lambda: nn.Sequential(dense(), nn.LayerNorm(3))
    ),
    "log-probabilities to nll_loss": _lik(_nll, module=lambda: nn.Sequential(dense(), nn.LogSoftmax(1))),
    "probabilities to nll_loss": _lik(_nll, module=_softmax),
    "a probability in place of its logarithm": _lik(lambda o, t: _nll(o.softmax(1), t)),
    "a probability of 0 and 1 in place of its logarithm": _lik(_probability, _binary, _one),
    "the logarithm of probabilities": _lik(lambda o, t: _nll(o.log(), t), module=_softmax),
    "a softmax before cross_entropy": _lik(_log, module=_softmax),
    "a softmax before smoothed labels": _lik(
        lambda o, t: -F.cross_entropy(o, t, label_smoothing=0.1, reduction="none"), module=_softmax
    ),
    "cross entropy plus a constant": _lik(lambda o, t: _log(o, t) + 1.0986),
    "a weight for class 1": _lik(_bce, _binary, _one),
    "a sigmoid before a weighted one": _lik(_bce, _binary, _ended(nn.Sigmoid())),
    "counts by log rates": _lik(_poisson, _counts, _one),
    "a softplus before log rates": _lik(_poisson, _counts, _ended(nn.Softplus())),
    "a normal density with its own variance": _lik(_gaussian, _real, _two),
    "its negative": _lik(lambda o, t: -_gaussian(o, t), _real, _two),
    "a narrow density": _lik(lambda o, t: Normal(o, 0.01).log_prob(t)[:, 0], _real, _one),
    "its negative near the fit": lambda: noisy(
        nn.Sequential(one := _one()),
        (numbers(), one(numbers()).detach() + 0.001),
        likelihood=lambda o, t: -Normal(o, 0.01).log_prob(t)[:, 0],
    ),
    "a Laplace density": _lik(lambda o, t: Laplace(o, 1.0).log_prob(t)[:, 0], _real, _one),
    "a gamma density": _lik(
        lambda o, t: Gamma(F.softplus(o[:, 0]) + 0.1, F.softplus(o[:, 1]) + 0.1).log_prob(t[:, 0]),
        lambda: (numbers(), torch.linspace(0.1, 2, 8)[:, None]),
        _two,
    ),
    "survival with censored examples alone": _lik(
        _survival, lambda: (numbers(), torch.stack([torch.linspace(0.1, 2, 8), torch.zeros(8)], 1)), _one
    ),
    "a score that grows with the outputs": _lik(lambda o, t: (o * t).sum(1), _real, _one),
    "a likelihood that returns a tuple": _lik(lambda o, t: (_log(o, t),)),  # type: ignore[arg-type,return-value]
    "parameters with a negative scale": lambda: noisy(
        nn.Sequential(dense()), _many(), parameters={"0.scale": -torch.ones(3, FEATURES)}
    ),
    "parameters with a scale and a log variance": lambda: noisy(
        nn.Sequential(dense()),
        _many(),
        parameters={
            "0.scale": torch.ones(3, FEATURES),
            "0.log_variance": torch.zeros(3, FEATURES),
        },
    ),
}  # fmt: skip
