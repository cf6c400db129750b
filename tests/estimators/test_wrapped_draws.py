"""Estimators made of others: the noise that they ask for, their draws and states, and wrong ones that are caught."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import oracles
import pytest
import torch
from everyone import fitting, prior
from torch import Tensor, nn
from wrapped import NOISY, ForgetsLayers, moderate, over

from estimators.antithetic import Antithetic
from estimators.naive import Naive
from estimators.samples import Samples
from vdbench.errors import CellError
from vdbench.estimation.base import Declaration, Estimator, Gradient, average
from vdbench.estimation.draws import Trace, gather, gradients, trace
from vdbench.estimation.options import get, label
from vdbench.noise import Key, Noise, Recorder, Request, antithetic, stream
from vdbench.problems.from_module import noisy
from vdbench.problems.gaussian import MeanLogVariance
from vdbench.problems.problem import Batch, Problem


def place(
    estimator: Estimator = Naive(),  # noqa: B008
) -> tuple[Problem, dict[str, Tensor], Batch]:
    form = fitting(estimator, MeanLogVariance(0.3))
    problem, parameters = oracles.network(form, prior=prior(estimator))
    return problem, parameters, gather(problem, np.arange(5))


def differences(a: Gradient, b: Gradient) -> list[str]:
    """Where two gradients differ by more than 1e-12 of the largest entry."""
    lines = []
    for name, want in {"value": b.value, **b.gradients}.items():
        got = a.value if name == "value" else a.gradients[name]
        gap, size = float((got - want).abs().max()), float(want.abs().max())
        if not gap <= 1e-12 * (1 + size):
            lines.append(f"{name} differs by {gap:.3g}, largest {size:.3g}")
    return lines


def state_of(estimator: Estimator) -> Any:
    """What it is fitted to; a wrapper's state is the inner estimator's."""
    problem, parameters, _ = place(estimator)
    return estimator.fit(problem, parameters, oracles.FIT)


def drawn(estimator: Estimator, sign: int) -> Gradient:
    """A draw at ±ε of the stream of this test."""
    source = stream(Key(("definition",)), dtype=torch.float64).source
    noise = Noise(lambda request: sign * source(request))
    return estimator(*place(estimator), noise, state_of(estimator))


def not_a_pair(wrapper: Estimator, inner: Estimator) -> list[str]:
    """How a draw differs from the mean of two draws of the inner estimator at ε and −ε."""
    halves = [drawn(inner, 1), drawn(inner, -1)]
    total = {n: (g + halves[1].gradients[n]) / 2 for n, g in halves[0].gradients.items()}
    return differences(drawn(wrapper, 1), Gradient((halves[0].value + halves[1].value) / 2, total))


@pytest.mark.parametrize("inner", NOISY, ids=label)
def test_a_pair_is_the_mean_at_both_signs(inner: Estimator) -> None:
    wrong = not_a_pair(get("antithetic", of=inner), inner)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("inner", NOISY, ids=label)
def test_samples_are_the_mean_of_draws_at_their_addresses(inner: Estimator) -> None:
    noise = stream(Key(("definition",)), dtype=torch.float64)
    state = state_of(inner)
    each = [inner(*place(inner), noise.at("sample", s), state) for s in range(3)]
    several = get("samples", of=inner, samples=3)(*place(inner), noise, state)
    wrong = differences(several, average(each))
    assert not wrong, "\n".join(wrong)


def test_a_pair_of_samples_is_samples_of_pairs() -> None:
    """On the same numbers, since both have them at the same addresses."""
    both = [
        get("antithetic", of=get("samples", of="local", samples=3)),
        get("samples", of=get("antithetic", of="local"), samples=3),
    ]
    wrong = differences(drawn(both[0], 1), drawn(both[1], 1))
    assert not wrong, "\n".join(wrong)


def asked(estimator: Estimator) -> list[Request]:
    recorder = Recorder(stream(Key(("asked",)), dtype=torch.float64).source)
    estimator(*place(estimator), Noise(recorder), state_of(estimator))
    return recorder.requests


@pytest.mark.parametrize("inner", NOISY, ids=label)
def test_every_number_is_asked_for_once(inner: Estimator) -> None:
    """S times as many for S samples, all of them others than the inner estimator's; for a pair the very same."""
    own, several = asked(inner), asked(get("samples", of=inner, samples=3))
    assert len(several) == len(set(several)) == 3 * len(own)
    assert asked(get("antithetic", of=inner)) == own
    assert not set(several) & set(own)


def test_fewer_samples_are_the_first_of_more() -> None:
    two, four = (asked(get("samples", of="local", samples=s)) for s in (2, 4))
    assert four[: len(two)] == two


def test_the_second_half_of_a_pair_asks_for_what_the_first_did() -> None:
    plus, minus = antithetic(stream(Key(("half",)), dtype=torch.float64))
    given = plus.at("sample", 1)("layer", (2, 3))
    assert bool((minus.at("sample", 1)("layer", (2, 3)) == -given).all())
    with pytest.raises(KeyError):
        minus("layer", (2, 3))


def test_more_samples_leave_room_for_fewer_draws_at_once() -> None:
    together = [trace(get("samples", of="local", samples=s), *place()).together for s in (1, 8, 64)]
    assert together[0] > together[1] > together[2] >= 2


@dataclass(frozen=True)
class Stateful(Naive):
    """Returns its state as the value, and keeps a count and the last value."""

    declared = Declaration("stateful", "elbo", True, ("normal",), False, "1")

    def __call__(self, problem, parameters, batch, noise, state=()) -> Gradient:  # type: ignore[no-untyped-def]
        right = super().__call__(problem, parameters, batch, noise)
        return Gradient(right.value * 0 + state[0], right.gradients)

    def fit(self, problem, parameters, key) -> tuple[Any, ...]:  # type: ignore[no-untyped-def]
        return (5.0, key)

    def update(self, state: tuple[Any, ...], gradient: Gradient) -> tuple[Any, ...]:
        return (float(gradient.value) + 1, state[1])


def test_the_state_is_the_inner_estimator_s() -> None:
    key = Key(("state",))
    for wrapper in (
        Samples(Stateful(), 3),
        Antithetic(Stateful()),
        Samples(Antithetic(Stateful()), 2),
    ):
        problem, parameters, batch = place()
        state = wrapper.fit(problem, parameters, key)
        assert state == (5.0, key)
        gradient = wrapper(problem, parameters, batch, stream(key, dtype=torch.float64), state)
        assert float(gradient.value) == 5.0
        assert wrapper.update(state, gradient) == (6.0, key)


@dataclass(frozen=True)
class Impure(Naive):
    """Draws from torch's global generator, as a third-party layer does."""

    declared = Declaration("impure", "elbo", True, (), False, "1", pure=False)

    def __call__(self, problem, parameters, batch, noise, state=()) -> Gradient:  # type: ignore[no-untyped-def]
        own = Noise(lambda request: torch.randn(request.shape, dtype=problem.dtype))
        return super().__call__(problem, parameters, batch, own)


def test_samples_of_an_estimator_that_draws_its_own_noise() -> None:
    """Looped under a forked seed: repeatable, and its samples are not one another's copies."""
    of = moderate(0, 3, 2, 1)
    estimator = Samples(Impure(), 3)
    rows = oracles.sampled(estimator, of, 800, Key(("impure",)))
    wrong = oracles.alarms(oracles.compare("impure", rows, over(3, oracles.naive)(of)))
    assert not wrong, "\n".join(wrong)
    again = oracles.sampled(estimator, of, 5, Key(("impure",)))
    assert all((again[role] == rows[role][:5]).all() for role in rows)


@dataclass(frozen=True)
class SameAddress(Samples):
    """Asks for the noise of every sample at one address."""

    def __call__(self, problem, parameters, batch, noise, state=()) -> Gradient:  # type: ignore[no-untyped-def]
        return average(
            self.of(problem, parameters, batch, noise, state) for _ in range(self.samples)
        )


def test_one_address_for_all_samples_is_refused_by_the_trace() -> None:
    with pytest.raises(CellError, match=r"asks twice for the noise 0 of shape .* use noise\.at"):
        trace(SameAddress(Naive(), 2), *place())


@pytest.mark.parametrize("inner", ["naive", "local", "per-example"])
def test_a_forgotten_layer_of_several_is_caught(inner: str) -> None:
    """It is unbiased all the same, and only a comparison draw by draw shows it."""
    of = get(inner)
    assert not not_a_pair(ForgetsLayers(of, ()), of)
    assert not_a_pair(ForgetsLayers(of, ("2",)), of)


def test_draws_are_looped_and_vectorised_alike_in_chunks() -> None:
    """A pair inside samples, with one draw left over for the last chunk."""
    problem, parameters, batch = place()
    estimator = get("samples", of=get("antithetic", of="per-example"), samples=2)
    requests = trace(estimator, problem, parameters, batch).requests
    keys = [Key(("chunks", k)) for k in range(5)]
    found = [
        gradients(
            estimator,
            problem,
            parameters,
            oracles.repeat(batch, 5),
            keys,
            Trace(requests, together),
        )
        for together in (0, 2)
    ]
    wrong = differences(Gradient(found[0].value, found[0].gradients), found[1])
    assert not wrong, "\n".join(wrong)


def test_a_network_without_forward_derivatives_is_refused_by_control_variates_alone() -> None:
    """The operation has a backward rule and no other; a refusal of one cell, not an error of torch's."""

    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:  # type: ignore[override]
            return 3 * g * ctx.saved_tensors[0] ** 2

    class Cubed(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return Cube.apply(super().forward(x))  # type: ignore[no-any-return]

    x = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    problem = noisy(nn.Sequential(Cubed(3, 2)), (x, torch.arange(12) % 2))
    at = (problem, problem.initial(Key()), Batch(x[:4], torch.arange(4) % 2))
    get("naive")(*at, stream(Key()))
    with pytest.raises(CellError, match=r"operation of the network backward alone: In order to"):
        get("control-variate")(*at, stream(Key()))
