"""Runs every estimator on a device that is not the CPU and has no numbers; prints what stayed on the CPU.

Run by test_fake_gpu.py in a process of its own, because a device is registered for good. Tensors under
``FakeTensorMode`` have a shape, a type and a device, and every operation checks that its inputs share the device,
so that noise, zeros or constants made on the CPU show, where a machine with one device never would.

On a build of torch without CUDA, fake tensors on ``cuda`` cannot be differentiated: autograd asks for the guard of
a device that the build does not have, and the process aborts (c10::Error). A device of torch's own Python backend
(PrivateUse1) has a guard, and stands in for it there; with CUDA, it is ``cuda`` itself.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from everyone import DENSE_ALONE
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from estimators.naive import Naive
from estimators.score import Score
from vdbench.datasets import Dataset, Split
from vdbench.estimation.base import Estimator
from vdbench.estimation.draws import vectorised
from vdbench.estimation.options import get, label
from vdbench.estimation.registry import names
from vdbench.noise import Injected, Noise, Recorder, Request, stream
from vdbench.noise import Key as Address
from vdbench.problems.dropout import BinaryDropout, LearnedBinary, Point
from vdbench.problems.from_module import noisy
from vdbench.problems.gaussian import MeanLogVariance, ThetaLogAlpha
from vdbench.problems.layers import Layer
from vdbench.problems.posterior import Posterior
from vdbench.problems.priors import BernoulliPrior, GaussianPrior, LogUniformPrior, NoPrior, Prior
from vdbench.problems.problem import Batch, Problem

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "per-example": [{"chunk": 2}],
    "score": [{"samples": 2, "baseline": "leave-one-out"}],
}
DRAWS, BATCH = 3, 4


def register_device() -> str:
    """The device to check on."""
    if torch.cuda.is_available():
        return "cuda"
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    _setup_privateuseone_for_python_backend("fakegpu")
    return "fakegpu"


@dataclass(frozen=True)
class NoiseOnCpu(Naive):
    """Draws its noise on the CPU and copies nothing."""

    def preactivation(self, layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
        noise(layer.name, q.mean.shape)
        return layer.linear(x, q.mean + q.scale * torch.ones(q.mean.shape))


@dataclass(frozen=True)
class CopiedNoise(Naive):
    """Draws its noise on the CPU and copies it: every output is where it should be, and the copy is slow."""

    def preactivation(self, layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
        noise(layer.name, q.mean.shape)
        made = torch.ones(q.mean.shape).to(x.device)
        return layer.linear(x, q.mean + q.scale * made)


@dataclass(frozen=True)
class ZerosOnCpu(Score):
    """Returns zeros of the CPU for one gradient."""

    def __call__(self, problem: Problem, parameters: Any, *rest: Any, **more: Any) -> Any:
        found = super().__call__(problem, parameters, *rest, **more)
        name = min(found.gradients)
        return found._replace(
            gradients={**found.gradients, name: torch.zeros(parameters[name].shape)}
        )


class NothingOnCpu(torch.utils._python_dispatch.TorchDispatchMode):
    """Notes every operation that gives a tensor of one or more dimensions on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for value in torch.utils._pytree.tree_leaves(result):
            if isinstance(value, Tensor) and value.device.type == "cpu" and value.ndim:
                self.seen.add(str(func))
        return result


def build(coordinates: Any, kind: str = "dense", prior: Prior | None = None) -> Problem:
    """A small problem on the CPU; it is moved by making its tensors anew, with shapes alone."""
    shape, module = MODULES[kind]
    split = Split(torch.rand(6, *shape), torch.arange(6) % 3)
    return noisy(
        module(),
        Dataset("fake", split, split, 3),
        parameterization=coordinates,
        prior=prior or NoPrior(),
    )


MODULES: dict[str, tuple[tuple[int, ...], Callable[[], nn.Module]]] = {
    "dense": ((5,), lambda: nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))),
    "convolution": (
        (2, 4, 4),
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, padding="same"),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 2, 2, stride=2, padding=1, groups=2),
            nn.Flatten(),
            nn.Linear(8, 3),
        ),
    ),
}
"""Shape of an example, and the network."""


def requests_of(estimator: Estimator, problem: Problem, state: Any) -> list[Request]:
    """What noise it takes, learned on the CPU."""
    recorder = Recorder(stream(Address(("trace",))).source)
    batch = Batch(*(t[:BATCH] for t in problem.data.train))
    estimator(problem, problem.start, batch, Noise(recorder), state)
    return recorder.requests


def there(state: Any, device: str) -> Any:
    """A state with tensors on the device in the place of its own."""
    if isinstance(state, Tensor):
        return torch.empty(state.shape, dtype=state.dtype, device=device)
    if isinstance(state, dict):
        return {name: there(item, device) for name, item in state.items()}
    if isinstance(state, (tuple, list)):
        return type(state)(there(item, device) for item in state)
    return state


def check(
    estimator: Estimator, coordinates: Any, device: str, draws: int, kind: str = "dense"
) -> list[str]:
    """What is wrong on the device, with injected noise; ``draws`` of 0 is a plain call."""
    density = estimator.declaration.name == "sticking-the-landing"  # it samples log p(w)
    problem, shape = (
        build(coordinates, kind, GaussianPrior() if density else None),
        MODULES[kind][0],
    )
    state = estimator.fit(problem, problem.start, Address(("fit",)))
    asked = requests_of(estimator, problem, state)
    lead = (draws,) if draws else ()
    with FakeTensorMode():
        start = {n: torch.empty(v.shape, device=device) for n, v in problem.start.items()}
        inputs = torch.empty((6, *shape), device=device)
        targets = torch.empty((6,), dtype=torch.int64, device=device)
        split = Split(inputs, targets)
        moved = replace(problem, start=start, data=replace(problem.data, train=split, test=split))
        batch = Batch(
            torch.empty((*lead, BATCH, *shape), device=device),
            torch.empty((*lead, BATCH), dtype=torch.int64, device=device),
        )
        noise = {r: torch.empty((*lead, *r.shape), device=device) for r in asked}
        watch = NothingOnCpu()
        try:
            with watch:
                if draws:
                    found = vectorised(estimator, moved, start, batch, noise, there(state, device))
                else:
                    found = estimator(
                        moved, start, batch, Noise(Injected(noise)), there(state, device)
                    )
        except Exception as error:  # whatever mixing devices raises
            return [f"{type(error).__name__}: {str(error).splitlines()[0]}"]
    outputs = {"value": found.value, **found.gradients}
    wrong = [f"{n} is on {v.device}" for n, v in outputs.items() if v.device.type != device]
    return wrong + [f"{name} gives a tensor on the CPU" for name in sorted(watch.seen)]


def kl(prior: Prior, coordinates: Any, device: str) -> list[str]:
    """The same for the gradient of the KL term, which training adds."""
    problem = replace(build(coordinates), prior=prior)
    with FakeTensorMode():
        start = {n: torch.empty(v.shape, device=device) for n, v in problem.start.items()}
        split = Split(*(torch.empty(t.shape, device=device) for t in problem.data.train))
        there = replace(problem, start=start, data=replace(problem.data, train=split, test=split))
        watch = NothingOnCpu()
        try:
            with watch:
                slope = torch.func.grad(there.kl)(start)
        except Exception as error:
            return [f"{prior}: {type(error).__name__}: {str(error).splitlines()[0]}"]
    wrong = [f"{prior}: {n} is on {v.device}" for n, v in slope.items() if v.device.type != device]
    return wrong + [f"{prior}: {name} gives a tensor on the CPU" for name in sorted(watch.seen)]


def general(estimator: Estimator) -> bool:
    """Whether it is valid for every posterior; antithetic pairs, coupled draws and control variates never are."""
    declared = estimator.declaration
    others = ("antithetic", "latin-hypercube", "sobol", "control-variate")
    return declared.posteriors == "any" and declared.name not in others


def suitable(estimator: Estimator, kind: str, everywhere: Any, families: Any, whole: bool) -> Any:
    """The posteriors that it is run on; a layer's kind makes no difference to what a posterior puts on the device.

    All of them where ``whole`` is asked for, else one for most: what a posterior does is the same for all estimators,
    and local reparameterization is run on each.
    """
    if not whole and estimator.declaration.name != "local":
        everywhere, families = everywhere[:1], families[:1] if needs_family(estimator) else ()
    if estimator.declaration.posteriors == "learned-binary":
        return (LearnedBinary(), LearnedBinary(per="layer"))[
            : 2 if kind == "dense" and whole else 1
        ]
    if needs_family(estimator):
        return families[:1]
    if kind != "dense":
        return everywhere[:1]
    return (*everywhere, *(families if general(estimator) else ()))


def needs_family(estimator: Estimator) -> bool:
    """Whether it is made for weights that share their noise."""
    return estimator.declaration.posteriors == "row-shared"


CONSTANTS = {"sobol": "aten.lift_fresh.default gives"}
"""What is copied to the device whatever is drawn: the table of the Sobol' net."""


def counts(estimator: Estimator) -> tuple[int, ...]:
    """Draws taken together: 0 for a plain call, and vectorised ones.

    Torch's fake tensors cannot follow forward derivatives within vmap, on a CPU neither: the tangents come as meta
    tensors. test_gpu.py has these on a GPU.
    """
    forward = ("control-variate", "activity-perturbation")
    return (0,) if estimator.declaration.name in forward else (0, DRAWS)


def main() -> None:
    """Print, as JSON, the device and the findings for each estimator and for each control.

    With the word ``whole``, of every estimator under every posterior.
    """
    whole = "whole" in sys.argv[1:]
    device = register_device()
    everywhere = (MeanLogVariance(), ThetaLogAlpha(), ThetaLogAlpha(learned=False))
    families = (
        ThetaLogAlpha(per="input", sharing="inputs"),
        BinaryDropout(scaling="test"),
        BinaryDropout(sharing="weights"),
        Point(),
    )
    found: dict[str, Any] = {"device": device, "estimators": {}, "controls": {}}
    for estimator in (get(name, **o) for name in names() for o in [{}, *OPTIONS.get(name, [])]):
        found["estimators"][label(estimator)] = [
            f"{kind}, {type(coordinates).__name__}, {draws or 'no'} vectorised draws: {line}"
            for kind in MODULES
            # what an option changes on the device, it changes in dense layers
            if whole or kind == "dense" or estimator == type(estimator)()
            for coordinates in suitable(estimator, kind, everywhere, families, whole)
            # they have no rule for max-pooling
            if kind == "dense"
            or estimator.declaration.name not in ("moment-matching", *DENSE_ALONE)
            for draws in counts(estimator)
            for line in check(estimator, coordinates, device, draws, kind)
            if not line.startswith(CONSTANTS.get(estimator.declaration.name, "-"))
        ]
    for control in (NoiseOnCpu(), CopiedNoise(), ZerosOnCpu()):
        found["controls"][type(control).__name__] = [
            check(control, MeanLogVariance(), device, draws, kind)
            for kind in MODULES
            for draws in (0, DRAWS)
        ]
    found["kl"] = [
        line
        for prior, coordinates in (
            (GaussianPrior(), MeanLogVariance()),
            (LogUniformPrior(), MeanLogVariance()),
            (LogUniformPrior(), families[0]),
            (GaussianPrior(), BinaryDropout()),
            (BernoulliPrior(), LearnedBinary()),
            (LogUniformPrior(), Point()),
            (NoPrior(), MeanLogVariance()),
        )
        for line in kl(prior, coordinates, device)
    ]
    json.dump(found, sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # the registered device's autograd thread aborts an orderly exit


if __name__ == "__main__":
    main()
