"""``vdbench.Monitor``: a training goes on bit for bit as without it, and the figures are those that a run measures."""

from __future__ import annotations

import math
import random
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import vdbench
from vdbench.noise import Key

X, Y = torch.linspace(-1, 1, 480).reshape(120, 4).sin(), torch.arange(120) % 3

pytestmark = pytest.mark.usefixtures("elsewhere", "one_thread")


class Normed(nn.Module):
    """Dropout, batch normalisation and a buffer of its own: all that a pass in training mode changes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(4, 6), nn.BatchNorm1d(6)
        self.drop, self.last = nn.Dropout(0.4), nn.Linear(6, 3)
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.passes += 1
        made: Tensor = self.last(self.drop(F.relu(self.norm(self.first(x)))))
        return made


def recurrent() -> nn.Module:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.out, self.drop = (
                nn.LSTM(1, 4, batch_first=True),
                nn.Linear(4, 3),
                nn.Dropout(),
            )

        def forward(self, x: Tensor) -> Tensor:
            made: Tensor = self.out(self.drop(self.cell(x[..., None])[0][:, -1]))
            return made

    return Last()


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.2), nn.ReLU(), nn.Linear(6, 3))


MODELS: dict[str, Any] = {"plain": plain, "normed": Normed, "recurrent": recurrent}


def state(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[Any]:
    """All that a training step leaves behind, by value."""
    tensors = [t.detach().clone() for t in (*model.parameters(), *model.buffers())]
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    moments = [
        v.clone() if isinstance(v, Tensor) else v
        for s in optimizer.state.values()
        for v in s.values()
    ]
    modes = [part.training for part in model.modules()]
    flags = [p.requires_grad for p in model.parameters()]
    return [*tensors, *grads, *moments, *modes, *flags]


def trained(make: Any, monitored: str, every: int = 4) -> tuple[list[Any], Any]:
    """A training that draws from every global generator; its state after each step."""
    torch.manual_seed(5)
    random.seed(6)
    np.random.seed(7)
    model = make()
    next(iter(model.parameters())).requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-2)
    monitor = None
    if monitored:
        monitor = vdbench.Monitor(
            model, ["naive", monitored], (X, Y), every=every, units=16, batch_size=8
        )
    left: list[Any] = []
    for number, rows in enumerate(torch.randperm(120).split(12)):
        x = (
            X[rows]
            + 0.1 * random.random()
            + 0.1 * torch.tensor(np.random.rand(), dtype=torch.float32)
        )
        if number == 6:
            model.eval()  # a step in eval mode, whose mode must stay
        optimizer.zero_grad(set_to_none=number % 2 == 0)
        F.cross_entropy(model(x), Y[rows]).backward()
        optimizer.step()
        if monitor is not None:
            monitor.step()
        model.train()
        left += state(model, optimizer)
    left += [torch.rand(3), random.random(), np.random.rand(), torch.get_num_threads()]
    left += [torch.is_grad_enabled(), torch.get_default_dtype(), torch.initial_seed()]
    return left, monitor


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return bool(one == other)


SHORT = {("normed", "local"), ("plain", "draws-globally")}
"""What is not left to `make long`."""


@pytest.mark.parametrize(
    ("model", "estimator"),
    [
        pytest.param(m, e, marks=() if (m, e) in SHORT else (pytest.mark.long,))
        for m in MODELS
        for e in ("local", "draws-globally")
    ],
)
def test_a_training_is_the_same_bit_for_bit(model: str, estimator: str) -> None:
    """With dropout and all global generators in use; also where an estimator draws from them."""

    @vdbench.register("draws-globally", objective="elbo", unbiased=True, laws=(),
                      independent_examples=False, pure=False)  # fmt: skip
    @dataclass(frozen=True)
    class DrawsGlobally(vdbench.Estimator):
        def __call__(
            self, problem: Any, parameters: Any, batch: Any, noise: Any, state: Any = ()
        ) -> Any:
            random.random()
            np.random.rand()
            torch.rand(3)
            free = problem.free(parameters)
            return vdbench.Gradient(
                torch.zeros(()), {n: torch.randn_like(v) for n, v in free.items()}
            )

    without, _ = trained(MODELS[model], "")
    with_it, monitor = trained(MODELS[model], estimator)
    assert len(without) == len(with_it)
    assert all(same(a, b) for a, b in zip(without, with_it, strict=True))
    assert sorted(set(monitor.frame.step)) == [4, 8]
    assert (monitor.frame.status == "ok").all()


def test_the_test_would_see_a_training_that_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the guard around a measurement, an estimator that draws globally changes the training."""
    from contextlib import nullcontext

    from vdbench.interactive import monitor

    without, _ = trained(plain, "")
    measured = monitor.Monitor._measured
    monkeypatch.setattr(monitor, "untouched", nullcontext)
    monkeypatch.setattr(
        monitor.Monitor, "_measured", lambda self: (torch.rand(1), measured(self))[1]
    )
    with_it, _ = trained(plain, "local")
    assert not all(same(a, b) for a, b in zip(without, with_it, strict=True))


@pytest.mark.parametrize("context", ["no_grad", "inference_mode", "autocast"])
def test_the_context_of_a_call_does_not_matter(context: str) -> None:
    model = plain().eval()
    contexts = {"no_grad": torch.no_grad, "inference_mode": torch.inference_mode,
                "autocast": lambda: torch.autocast("cpu", torch.bfloat16)}  # fmt: skip
    found = []
    for within in (torch.enable_grad, contexts[context]):
        monitor = vdbench.Monitor(model, "local", (X, Y), every=1, units=16)
        with within():
            monitor.step()
        found.append(monitor.frame.value)
    assert found[0].equals(found[1])


def test_the_figures_are_those_of_units_at_the_same_weights() -> None:
    """Total, noise and ratio of a second step, beside the mean of unit rows computed here from single gradients."""
    from vdbench.estimation.draws import gather, minibatch
    from vdbench.noise import stream

    model = nn.Sequential(nn.Linear(4, 3))
    monitor = vdbench.Monitor(
        model, ["naive", "local"], (X, Y), every=2, units=16, batch_size=8, seed=3
    )
    monitor.step()
    with torch.no_grad():
        model[0].weight.mul_(2)
    monitor.step()
    problem = vdbench.noisy(model, (X, Y))
    mean = {}
    for name in ("naive", "local"):
        key = Key(("vdbench", 3, "monitor", 2)) / "variance"
        total = []
        for unit in range(16):
            drawn = []
            for side in "ab":
                place = key / "unit" / unit / side
                batch = gather(problem, minibatch(problem, 8, place / "minibatch"))
                draws = [place / "draw" / k for k in (1, 2)]
                drawn.append([vdbench.get(name)(problem, problem.start, batch, stream(k)).gradients["0.mean"]
                              for k in draws])  # fmt: skip
            (a1, a2), (b1, b2) = drawn
            squares = [(a - b).double().square().mean() for a in (a1, a2) for b in (b1, b2)]
            total.append(float(sum(squares)) / 8)
        mean[name] = float(np.mean(total))
    table = monitor.frame
    table = table[(table.layer == "0") & (table.role == "mean")].set_index(["label", "metric"])
    for name in mean:
        assert table.loc[(name, "variance.total"), "value"] == pytest.approx(mean[name], rel=1e-5)
    ratio = table.loc[("local", "ratio.variance.total"), "value"]
    assert ratio == pytest.approx(mean["local"] / mean["naive"], rel=1e-5)
    assert set(monitor.frame.step) == {2}


def test_weights_buffers_and_scales_are_those_of_the_moment() -> None:
    """Running statistics are read anew, and standard deviations that `parameters` gives."""
    torch.manual_seed(0)
    model = Normed()
    rho = torch.full((6, 4), -3.0)
    monitor = vdbench.Monitor(model, "local", (X, Y), every=1, units=16,
                              parameters=lambda: {"first.scale": F.softplus(rho)})  # fmt: skip
    monitor.step()
    model.norm.running_var.mul_(100)
    monitor.step()
    rho += 3
    monitor.step()
    table = monitor.frame
    value = table[
        (table.metric == "variance.noise") & (table.layer == "first") & (table.role == "mean")
    ].value
    assert value.iloc[1] < value.iloc[0] / 10
    assert value.iloc[2] > 2 * value.iloc[1]


def test_a_problem_is_measured_at_the_tensors_of_its_own_training() -> None:
    problem = vdbench.noisy(plain().eval(), (X, Y), name="mine")
    live = {name: value.clone().requires_grad_() for name, value in problem.start.items()}
    monitor = vdbench.Monitor(problem, "local", parameters=live, every=1, units=16)
    monitor.step()
    with torch.no_grad():
        live["0.log_variance"] += 4
    monitor.step()
    table = monitor.frame
    value = table[
        (table.metric == "variance.noise") & (table.layer == "0") & (table.role == "mean")
    ].value
    assert value.iloc[1] > 2 * value.iloc[0]
    assert all(value.requires_grad for value in live.values())


def test_a_failure_is_recorded_and_the_training_goes_on() -> None:
    model = plain()
    monitor = vdbench.Monitor(model, ["naive", "local"], (X, Y), every=1, units=16)
    with torch.no_grad():
        model[0].weight.fill_(math.nan)
    with pytest.warns(
        UserWarning, match="Monitor: step 1: no estimator could be measured: .* not finite"
    ):
        monitor.step()
    assert list(monitor.frame.status) == ["failed", "failed"]
    assert "Failed" in monitor._repr_html_()
    with torch.no_grad():
        model[0].weight.fill_(0.1)
    monitor.step()
    assert set(monitor.frame[monitor.frame.step == 2].status) == {"ok"}


def test_one_estimator_s_failure_is_its_own() -> None:
    @vdbench.register(
        "sometimes", objective="elbo", unbiased=True, laws=("normal",), independent_examples=False
    )
    @dataclass(frozen=True)
    class Sometimes(vdbench.Pathwise):
        def preactivation(self, layer: Any, x: Any, q: Any, noise: Any) -> Any:
            if float(q.mean.detach().flatten()[0]) > 5:
                raise ZeroDivisionError("sometimes")
            return layer.linear(x, q.mean + q.scale * noise(layer.name, q.mean.shape))

    model = plain()
    monitor = vdbench.Monitor(model, ["naive", "sometimes"], (X, Y), every=1, units=16)
    with torch.no_grad():
        model[0].weight.fill_(6.0)
    with pytest.warns(
        UserWarning, match="step 1: sometimes could not be measured: ZeroDivisionError: sometimes"
    ):
        monitor.step()
    assert set(monitor.frame[monitor.frame.status == "failed"].label) == {"sometimes"}
    assert set(monitor.frame[monitor.frame.status == "ok"].label) == {"naive"}


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "model": ({"model": 3}, "expected a torch.nn.Module or a problem"),
    "a model without numbers": ({"model": nn.Linear(4, 3, device="meta")}, "cannot be copied"),
    "no data": ({"data": None}, "a module needs data="),
    "estimator": ({"estimators": ["locla"]}, "Did you mean 'local'"),
    "twice": ({"estimators": ["local", "local"]}, "given twice"),
    "data as estimators": ({"estimators": (X, Y)}, "data are the third argument"),
    "none": ({"estimators": []}, "estimators is empty"),
    "every": ({"every": 0}, "every must be a whole number of at least 1"),
    "every as a fraction": ({"every": 0.5}, "every must be"),
    "units": ({"units": 2}, "units must be a whole number of at least 16"),
    "batch size": ({"batch_size": 121}, "batch_size 121 is not between 1 and the 120"),
    "baseline": ({"baseline": "flipout"}, "baseline 'flipout' is none"),
    "level": ({"level": 95}, "level must be"),
    "objective": ({"objective": "elob"}, "Did you mean 'elbo'"),
    "option": ({"priro": "gaussian"}, "Did you mean 'prior'"),
    "prior": ({"prior": "gausian"}, "gaussian"),
    "not for the posterior": (
        {"parameterization": "binary-dropout", "prior": "none"}, "pre-activations are normal",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_before_the_training(case: str) -> None:
    given, said = BAD[case]
    words: dict[str, Any] = {"model": plain(), "estimators": ["local"], "data": (X, Y), **given}
    with pytest.raises(vdbench.InputError, match=said):
        vdbench.Monitor(**words)


def test_a_problem_needs_its_tensors_and_takes_no_options() -> None:
    problem = vdbench.noisy(plain().eval(), (X, Y))
    with pytest.raises(vdbench.InputError, match="pass parameters="):
        vdbench.Monitor(problem, "local")
    with pytest.raises(vdbench.InputError, match="leave prior= out"):
        vdbench.Monitor(problem, "local", parameters=problem.start, prior="none")


def test_it_shows_itself() -> None:
    monitor = vdbench.Monitor(
        plain(), ["naive", "local", "deterministic"], (X, Y), every=2, units=16
    )
    assert repr(monitor) == "Monitor(naive, local, deterministic: 0 measurements in 0 steps, 0.0 s)"
    assert monitor.frame.empty
    assert "Monitor" in monitor._repr_html_()
    with pytest.raises(vdbench.InputError, match="Nothing has been measured yet"):
        monitor.figure()
    monitor.measure()
    monitor.measure()  # the same step: nothing new
    for _ in range(4):
        monitor.step()
    assert sorted(set(monitor.frame.step)) == [0, 2, 4]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = monitor.figure()
        assert "data:image/svg+xml" in monitor._repr_html_()
    drawn = {line.get_label() for axes in figure.axes for line in axes.lines}
    assert len(figure.axes) == len(set(monitor.frame.role))
    assert drawn
    rows = monitor.frame[
        (monitor.frame.metric == "variance.total") & (monitor.frame.layer == "all")
    ]
    first = rows[(rows.role == "mean") & (rows.label == "naive")]
    assert list(figure.axes[0].lines[0].get_ydata()) == list(first.value)
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(first.ci_high.max())
    with pytest.raises(vdbench.InputError, match=r"Did you mean 'variance\.total'"):
        monitor.figure("variance.totl")


def test_forms_of_models_and_data() -> None:
    """Several inputs, a loader with a generator of its own, a wrapped model, a single layer."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 3), nn.Linear(2, 3)

        def forward(self, x: Tensor, z: Tensor) -> Tensor:
            made: Tensor = self.a(x) + self.b(z)
            return made

    generator = torch.Generator().manual_seed(1)
    loader: Any = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(X, Y), 8, shuffle=True, generator=generator
    )
    before = generator.get_state()
    for model, given in (
        (Two(), ((X, X[:, :2]), Y)),
        (nn.DataParallel(plain()), loader),
        (nn.Linear(4, 3), (X, Y)),
    ):
        monitor = vdbench.Monitor(model, "local", given, every=1, units=16)
        monitor.step()
        assert set(monitor.frame.status) == {"ok"}
    assert torch.equal(generator.get_state(), before)
