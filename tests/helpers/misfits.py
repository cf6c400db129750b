"""Data, targets and precisions that do not fit at first sight, each given to `vdbench.noisy`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from layer_kinds import Net
from refused_models import FEATURES, classes, dense, numbers
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from vdbench.problems.from_module import noisy
from vdbench.problems.gaussian import from_spec
from vdbench.problems.priors import LogUniformPrior


def _labels(*values: float) -> Tensor:
    return torch.tensor([*values, *([0] * (8 - len(values)))])


def _one() -> nn.Linear:
    return nn.Linear(FEATURES, 1)


def _weighted(outputs: Tensor, targets: Tensor) -> Tensor:
    weights = torch.tensor([1.0, 2.0, 5.0])
    return -F.cross_entropy(outputs, targets, weight=weights, reduction="none")


def _mean(outputs: Tensor, targets: Tensor) -> Tensor:
    return -F.cross_entropy(outputs, targets)


def _spoils(outputs: Tensor, targets: Tensor) -> Tensor:
    return -(outputs - targets.mul_(2)).square().sum(1)


BIAS = torch.zeros(1, requires_grad=True)


def _log(outputs: Tensor, targets: Tensor) -> Tensor:
    return -F.cross_entropy(outputs, targets, reduction="none")


def _detached(outputs: Tensor, targets: Tensor) -> Tensor:
    return _log(outputs, targets) * (1 - _log(outputs, targets).detach().exp()) ** 2


def _energy(s: Any, x: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    (slope,) = torch.autograd.grad(torch.tanh(s.f(x)).sum(), x, create_graph=True)
    return slope


def _logging(s: Any, x: Tensor) -> Tensor:
    s.passes += 1
    s.last = s.f(x)
    found: Tensor = s.last
    return found


def _frame() -> pd.DataFrame:
    return pd.DataFrame(numbers().numpy(), columns=list("abcd")).assign(y=np.arange(8) % 3)


class Two(nn.Module):
    """A network with two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.f = dense()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        out: Tensor = self.f(torch.cat([a, b], -1))
        return out


def _nan() -> Tensor:
    x = numbers()
    x[3, 1] = torch.nan
    return x


MISFITS: dict[str, Callable[[], Any]] = {
    "label −100": lambda: noisy(dense(), classes(numbers(), _labels(1, -100))),
    "label equal to the number of classes": lambda: noisy(dense(), classes(numbers(), _labels(3))),
    "labels as floats": lambda: noisy(dense(), classes(numbers(), torch.zeros(8)), likelihood="classification"),
    "labels as a column": lambda: noisy(dense(), classes(numbers(), _labels(1)[:, None])),
    "one-hot labels": lambda: noisy(
        dense(), classes(numbers(), F.one_hot(torch.arange(8) % 3)), likelihood="classification"
    ),
    "regression, targets (M,) for outputs (M, 1)": lambda: noisy(_one(), (numbers(), torch.randn(8))),
    "regression, targets as the outputs": lambda: noisy(_one(), (numbers(), torch.randn(8, 1))),
    "regression, NaN among the targets": lambda: noisy(
        _one(), (numbers(), torch.full((8, 1), torch.nan))
    ),
    "0 and 1 with one output": lambda: noisy(_one(), (numbers(), torch.arange(8) % 2)),
    "counts with one output": lambda: noisy(_one(), (numbers(), torch.arange(8))),
    "counts, likelihood poisson": lambda: noisy(
        _one(), (numbers(), torch.arange(8)), likelihood="poisson"
    ),
    "a misspelt likelihood": lambda: noisy(dense(), classes(numbers()), likelihood="clasification"),
    "a loss in place of a likelihood": lambda: noisy(
        dense(), classes(numbers()), likelihood=nn.CrossEntropyLoss()
    ),
    "a likelihood that is a mean": lambda: noisy(dense(), classes(numbers()), likelihood=_mean),
    "a likelihood that is divided by the number of examples": lambda: noisy(
        dense(),
        classes(numbers()),
        likelihood=lambda o, t: -F.cross_entropy(o, t, reduction="none") / len(t),
    ),
    "a likelihood with class weights of the minibatch": lambda: noisy(
        dense(),
        classes(numbers()),
        likelihood=lambda o, t: -F.cross_entropy(o, t, reduction="none") / (t[:, None] == t).sum(1),
    ),
    "a likelihood that writes the targets": lambda: noisy(
        dense(), (numbers(), torch.randn(8, 3)), likelihood=_spoils
    ),
    "a loss of the user's own in place of a likelihood": lambda: noisy(
        dense(), classes(numbers()), likelihood=lambda o, t: F.cross_entropy(o, t, reduction="none")
    ),
    "a squared error in place of a likelihood": lambda: noisy(
        _one(), (numbers(), torch.randn(8)), likelihood=lambda o, t: (o[:, 0] - t).square()
    ),
    "a likelihood of examples against one another": lambda: noisy(
        dense(), classes(numbers()), likelihood=lambda o, t: (o @ o.T).log_softmax(1).diagonal()
    ),
    "a likelihood that broadcasts": lambda: noisy(
        _one(), (numbers(), torch.randn(8)), likelihood=lambda o, t: -(o - t).square().mean(1)
    ),
    "a likelihood with a column": lambda: noisy(
        _one(), (numbers(), torch.randn(8, 1)), likelihood=lambda o, t: -(o - t).square()
    ),
    "a likelihood with a parameter": lambda: noisy(
        _one(), (numbers(), torch.randn(8, 1)), likelihood=lambda o, t: -(o - t - BIAS.to(o)).square().sum(1)
    ),
    "a likelihood without a derivative": lambda: noisy(
        dense(), classes(numbers()), likelihood=lambda o, t: (o.argmax(1) == t).to(o)
    ),
    "a likelihood that weighs by detached probabilities": lambda: noisy(
        nn.Sequential(dense(), nn.Tanh(), nn.Linear(3, 3)), classes(numbers()), likelihood=_detached
    ),
    "a focal likelihood": lambda: noisy(
        dense(), classes(numbers()), likelihood=lambda o, t: (_log(o, t)) * (1 - _log(o, t).exp()) ** 2
    ),
    "label smoothing": lambda: noisy(
        dense(),
        classes(numbers()),
        likelihood=lambda o, t: -F.cross_entropy(o, t, label_smoothing=0.1, reduction="none"),
    ),
    "soft labels": lambda: noisy(dense(), (numbers(), numbers(8, 3).softmax(1))),
    "soft labels with a function": lambda: noisy(
        dense(),
        (numbers(), numbers(8, 3).softmax(1)),
        likelihood=lambda o, t: -F.cross_entropy(o, t, reduction="none"),
    ),
    "several labels an example": lambda: noisy(dense(), (numbers(), (numbers(8, 3) > 0).long())),
    "several labels an example, likelihood binary": lambda: noisy(
        dense(), (numbers(), (numbers(8, 3) > 0).long()), likelihood="binary"
    ),
    "a sigmoid before 0 and 1": lambda: noisy(
        nn.Sequential(_one(), nn.Sigmoid()), (numbers(), torch.arange(8) % 2)
    ),
    "a softplus before counts": lambda: noisy(
        nn.Sequential(_one(), nn.Softplus()), (numbers(), torch.arange(8)), likelihood="poisson"
    ),
    "variances in place of log variances": lambda: noisy(
        Net(lambda s, x: torch.cat([s.f(x), F.softplus(s.g(x))], 1), f=_one(), g=_one()),
        (numbers(), torch.randn(8, 1)),
        likelihood="heteroscedastic",
    ),
    "a softmax before classes of places": lambda: noisy(
        nn.Sequential(dense(), nn.Softmax(-1)), (numbers(8, 2, FEATURES), torch.arange(16).reshape(8, 2) % 3)
    ),
    "a log-softmax before classes": lambda: noisy(
        nn.Sequential(dense(), nn.LogSoftmax(1)), classes(numbers())
    ),
    "integers for a dense layer": lambda: noisy(
        dense(), (torch.arange(32).reshape(8, FEATURES), torch.arange(8) % 3)
    ),
    "a derivative in inputs of the network's own": lambda: noisy(
        Net(_energy, f=_one()), (numbers(), torch.randn(8, FEATURES))
    ),
    "a counter for a log": lambda: noisy(Net(_logging, f=dense(), passes=0), classes(numbers())),
    "class weights in float32": lambda: noisy(dense(), classes(numbers()), likelihood=_weighted),
    "a cast to float32 in the forward": lambda: noisy(
        Net(lambda s, x: s.f(x.float() / 255), f=dense()), classes(numbers())
    ),
    "a forward that writes its input": lambda: noisy(
        Net(lambda s, x: s.f(x.sub_(0.5)), f=dense()), classes(numbers())
    ),
    "numpy arrays": lambda: noisy(dense(), (numbers().numpy(), np.arange(8) % 3)),
    "lists": lambda: noisy(dense(), (numbers().tolist(), [0, 1, 2, 0, 1, 2, 0, 1])),
    "a data frame with target": lambda: noisy(dense(), _frame(), target="y"),
    "a data frame, misspelt target": lambda: noisy(dense(), _frame(), target="why"),
    "a TensorDataset": lambda: noisy(dense(), TensorDataset(numbers(), torch.arange(8) % 3)),
    "a DataLoader": lambda: noisy(
        dense(), DataLoader(TensorDataset(numbers(), torch.arange(8) % 3), 4, shuffle=True)
    ),
    "two inputs": lambda: noisy(Two(), ((numbers()[:, :2], numbers()[:, 2:]), torch.arange(8) % 3)),
    "two inputs by name": lambda: noisy(
        Two(), ({"b": numbers()[:, :2], "a": numbers()[:, 2:]}, torch.arange(8) % 3)
    ),
    "NaN among the inputs": lambda: noisy(dense(), (_nan(), torch.arange(8) % 3)),
    "text among the inputs": lambda: noisy(dense(), _frame().assign(a="x"), target="y"),
    "inputs and targets of different lengths": lambda: noisy(dense(), (numbers(), torch.zeros(7).long())),
    "no examples": lambda: noisy(dense(), (numbers(0, FEATURES), torch.zeros(0).long())),
    "one example": lambda: noisy(dense(), (numbers(1), torch.zeros(1).long())),
    "data of no known form": lambda: noisy(dense(), object()),
    "not a module": lambda: noisy(lambda x: x, classes(numbers())),  # type: ignore[arg-type]
    "a layer name that is misspelt": lambda: noisy(nn.Sequential(dense()), classes(numbers()), layers="00"),
    "noise shared by outputs, recurrent weights": lambda: noisy(
        Net(lambda s, x: s.f(s.r(x[:, None])[0][:, -1]), r=nn.GRU(FEATURES, 4, batch_first=True), f=dense()),
        classes(numbers()),
        parameterization=from_spec({"kind": "theta-log_alpha", "sharing": "inputs"}),
        prior=LogUniformPrior(),
    ),
}  # fmt: skip
