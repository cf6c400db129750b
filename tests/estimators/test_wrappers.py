"""Estimators made of others: their closed forms, their noise, what they declare, and wrong ones that are caught.

That they conform, and agree with a slow twin draw by draw, is tested in the files that do so for every estimator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import oracles
import pytest
import torch
from everyone import WRAPPERS, fitting, masked, plain, prior
from oracles import Linear, Moments, Oracle, random_linear
from torch import Tensor, nn

from estimators.antithetic import Antithetic
from estimators.naive import Naive
from estimators.samples import Samples
from vdbench.errors import CellError, InputError
from vdbench.estimation.base import Declaration, Estimator, Gradient, Wrapper, average
from vdbench.estimation.draws import Trace, gather, gradients, trace
from vdbench.estimation.options import get, label
from vdbench.estimation.registry import find
from vdbench.noise import Key, Noise, Recorder, Request, antithetic, stream
from vdbench.problems.from_module import noisy
from vdbench.problems.gaussian import MeanLogVariance
from vdbench.problems.problem import Batch, Problem

TOLERANCE = 1e-9
DRAWS = 4000
NOISY = [e for e in plain() if e.declaration.laws and not masked(e)]


# Closed forms


def over(count: int, oracle: Oracle) -> Oracle:
    """The mean of so many independent draws: the same mean, the variance divided."""
    return lambda of: {role: (m, v / count) for role, (m, v) in oracle(of).items()}


def nothing(of: Linear) -> Any:
    """No variance for μ and bias: a quadratic loss's gradient is linear in the noise, and the pair cancels it."""
    return np.zeros(len(of.mu) + 1)


def pair_of_naive(of: Linear) -> Moments:
    t = oracles.Terms(of)
    own = np.diag(t.g) ** 2 * t.sigma**2
    return oracles.assemble(of, nothing(of), (t.g**2) @ t.sigma**2 + own)


def pair_of_per_example(of: Linear) -> Moments:
    t = oracles.Terms(of)
    square = t.x**2
    return oracles.assemble(of, nothing(of), (square * (t.v[:, None] + square * t.sigma**2)).sum(0))


def pair_of_local(of: Linear) -> Moments:
    t = oracles.Terms(of)
    return oracles.assemble(of, nothing(of), 2 * (t.x**4).sum(0) * t.sigma**2)


def pair_of_score(of: Linear) -> Moments:
    """½[L(ε)h(ε) + L(−ε)h(−ε)] with h = ∇log q written out, by quadrature."""
    eps, weights = oracles.grid([5] * len(of.mu))

    def cost(sign: int) -> Any:
        error = (of.mu + sign * eps * of.sigma) @ of.x.T + (of.beta or 0.0) - of.y
        return -of.c * 0.5 * (error**2).sum(1)[:, None]

    found = pair_of_naive(of)
    for role, pair in (
        ("mean", (cost(1) - cost(-1)) / 2 * eps / of.sigma),
        ("scale", (cost(1) + cost(-1)) / 2 * (eps**2 - 1) / 2),
    ):
        mean = weights @ pair
        found[role] = (mean, weights @ (pair - mean) ** 2)
    return found


SHAPES = [(m, k, bias, 1 + bias) for m, k in [(1, 1), (2, 1), (1, 2), (3, 2)] for bias in (0, 1)]
PROBLEMS = [random_linear(seed, m, k, bool(bias), c) for seed, (m, k, bias, c) in enumerate(SHAPES)]

loo = {"name": "score", "options": {"samples": 2, "baseline": "leave-one-out"}}
pair: dict[str, Any] = {"name": "antithetic", "options": {"of": "naive"}}

# wrapper, options, oracle, nodes a dimension, most dimensions of the noise
EXACT: list[tuple[str, dict[str, Any], Oracle, int, int]] = [
    ("samples", {"of": "naive", "samples": 1}, oracles.naive, 3, 6),
    ("samples", {"of": "naive", "samples": 3}, over(3, oracles.naive), 3, 6),
    ("samples", {"of": "local", "samples": 2}, over(2, oracles.local), 3, 6),
    ("samples", {"of": "per-example", "samples": 2}, over(2, oracles.per_example), 3, 8),
    ("samples", {"of": "score", "samples": 2}, over(2, oracles.score), 5, 4),
    ("samples", {"of": loo, "samples": 2}, over(2, lambda of: oracles.score(of, 2, True)), 5, 4),
    ("samples", {"of": pair, "samples": 2}, over(2, pair_of_naive), 3, 6),
    ("antithetic", {"of": "naive"}, pair_of_naive, 3, 6),
    ("antithetic", {"of": "per-example"}, pair_of_per_example, 3, 8),
    ("antithetic", {"of": "local"}, pair_of_local, 3, 6),
    ("antithetic", {"of": "score"}, pair_of_score, 5, 4),
    (
        "antithetic",
        {"of": {"name": "samples", "options": {"of": "local", "samples": 2}}},
        over(2, pair_of_local),
        3,
        6,
    ),
]


def dimensions(estimator: Estimator, of: Linear) -> int:
    """How many numbers one draw takes."""
    requests = trace(estimator, of.problem(), of.parameters(), of.batch()).requests
    return sum(int(np.prod(request.shape)) for request in requests)


@pytest.mark.parametrize(
    ("name", "options", "oracle", "nodes", "most"),
    EXACT,
    ids=[label(get(n, **o)) for n, o, *_ in EXACT],
)
def test_exact_moments(
    name: str, options: dict[str, Any], oracle: Oracle, nodes: int, most: int
) -> None:
    estimator = get(name, **options)
    feasible = [of for of in PROBLEMS if dimensions(estimator, of) <= most]
    assert len(feasible) >= 2
    for of in feasible:
        wrong = oracles.mismatches(oracles.exact(estimator, of, nodes), oracle(of), TOLERANCE)
        assert not wrong, "\n".join(wrong)


def moderate(seed: int, m: int, k: int, times: int) -> Linear:
    """A problem whose σ is neither tiny nor large, so that 4,000 draws estimate a fourth moment."""
    of = random_linear(seed, m, k, True, times)
    return replace(of, sigma=0.3 + 0.5 * of.sigma / of.sigma.max())


def test_moments_through_the_noise_streams() -> None:
    """Independent samples are independent there too: a shared stream would show in the variance."""
    cases: list[tuple[str, dict[str, Any], Oracle]] = [
        ("samples", {"of": "naive", "samples": 3}, over(3, oracles.naive)),
        ("samples", {"of": "local", "samples": 2}, over(2, oracles.local)),
        ("samples", {"of": pair, "samples": 2}, over(2, pair_of_naive)),
        ("antithetic", {"of": "naive"}, pair_of_naive),
        ("antithetic", {"of": "per-example"}, pair_of_per_example),
        ("antithetic", {"of": "local"}, pair_of_local),
    ]
    comparisons = []
    for seed, (m, k, times) in enumerate([(3, 2, 1), (4, 3, 2)]):
        of = moderate(seed, m, k, times)
        for name, options, oracle in cases:
            what = label(get(name, **options))
            rows = oracles.sampled(get(name, **options), of, DRAWS, Key(("wrap", seed, what)))
            comparisons += oracles.compare(what, rows, oracle(of))
    assert len(comparisons) == 6 * 2 * (5 + 7)
    wrong = oracles.alarms(comparisons)
    assert not wrong, "\n".join(wrong)


def test_a_pair_leaves_nothing_of_the_noise_of_a_linear_gradient() -> None:
    """Draw by draw, not only on average: all draws of the gradient of μ are equal to rounding."""
    for of in PROBLEMS:
        for name in ("naive", "per-example", "local"):
            rows = oracles.sampled(get("antithetic", of=name), of, 20, Key(("zero", name)))
            for role in {"mean", "bias"} & set(rows):
                spread = np.ptp(rows[role], axis=0)
                room = 1e-12 * (np.abs(rows[role]).max() + of.c * np.abs(of.x).max() + 1)
                assert (spread <= room).all(), f"{name} {role}: {spread}"


# What they are by definition, on any problem


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


# Their noise


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


# What they declare, and what they refuse


CHANGED: dict[str, dict[str, Any]] = {
    "latin-hypercube": {"laws": ("uniform",)},
    "sobol": {"laws": ("uniform",), "independent_examples": False},
    "sticking-the-landing": {"posteriors": "independent-normal"},
}
"""What a wrapper declares of its own."""


def accepted() -> list[Any]:
    """Every wrapper with every estimator that it does not refuse."""
    found = []
    for name in WRAPPERS:
        for inner in NOISY:
            try:
                get(name, of=inner)
            except InputError:
                continue
            found.append(pytest.param(name, inner, id=f"{name}-{label(inner)}"))
    return found


@pytest.mark.parametrize(("name", "inner"), accepted())
def test_a_wrapper_declares_what_it_wraps(name: str, inner: Estimator) -> None:
    wrapper = get(name, of=inner)
    own, declared = inner.declaration, wrapper.declaration
    version = find(name).declared.version
    assert declared == replace(own, name=name, version=version, **CHANGED.get(name, {}))
    if name == "sticking-the-landing":
        return
    assert wrapper != get(name, of=get("samples", of="local", samples=7))
    assert hash(wrapper) == hash(get(name, of=inner))


def test_draws_behind_a_gradient_multiply() -> None:
    counts = {
        label(e): e.draws_per_gradient
        for e in [
            get("local"),
            get("score", samples=4),
            get("samples", of="local", samples=8),
            get("samples", of=get("score", samples=4), samples=2),
            get("antithetic", of="naive"),
            get("antithetic", of=get("samples", of="local", samples=3)),
            get("samples", of=get("antithetic", of=get("score", samples=2)), samples=3),
            get("latin-hypercube", of=get("antithetic", of="local"), samples=5),
            get("samples", of=get("sobol", of=get("score", samples=2), samples=8), samples=3),
            get("sticking-the-landing", of="grouped"),
        ]
    }
    assert list(counts.values()) == [1, 4, 8, 8, 2, 6, 12, 10, 48, 1], counts


@dataclass(frozen=True)
class Custom(Naive):
    """Naive sampling that declares something else; each test says what."""

    declared = Declaration("custom", "elbo", True, ("normal",), False, "1")


def declaring(**change: Any) -> Estimator:
    cls = type("Custom", (Custom,), {"declared": replace(Custom.declared, **change)})
    made: Estimator = cls()
    return made


@dataclass(frozen=True)
class Unregistered(Estimator):
    """Declares nothing."""

    def __call__(self, *args: Any) -> Gradient:
        raise NotImplementedError


REFUSED: list[tuple[str, Callable[[], Any], str]] = [
    ("samples", lambda: get("deterministic"), "samples: estimator 'deterministic' draws no noise: all its draws"),
    ("antithetic", lambda: get("deterministic"), "antithetic: estimator 'deterministic' draws no noise"),
    ("antithetic", lambda: get("antithetic"), "antithetic: estimator 'antithetic' is in antithetic pairs already"),
    ("antithetic", lambda: get("samples", of="antithetic", samples=2), "'samples' is in antithetic pairs already"),
    ("antithetic", lambda: declaring(laws=("normal", "uniform")),
     "estimator 'custom' takes uniform noise, whose negative follows another law; expected normal or sign noise."),
    ("antithetic", lambda: declaring(pure=False, laws=()), "'custom' draws its own noise, which nobody else can"),
    ("control-variate", lambda: get("score"), "control-variate: estimator 'score' is not pathwise, so that its"),
    ("control-variate", lambda: get("samples", of="score"), "estimator 'samples' is not pathwise, so that"),
    ("control-variate", lambda: get("measure-valued"), "estimator 'measure-valued' is not pathwise, so that its"),
    ("control-variate", lambda: get("deterministic"), "'deterministic' draws no normal noise for a Taylor"),
    ("control-variate", lambda: declaring(laws=("normal", "uniform")), "'custom' takes uniform noise, whose mean is"),
    ("control-variate", lambda: declaring(pure=False, laws=()), "'custom' draws its own noise, along which"),
    ("samples", lambda: "local", "samples: option of must be an estimator, such as vdbench.get('local'), not 'local'."),
    ("samples", lambda: Naive, "samples: option of must be an estimator, such as vdbench.get('local'), not <class"),
    *((name, make, f"{name}: estimator {text}") for name in ("latin-hypercube", "sobol") for make, text in [
        (lambda: get("moment-matching"), "'moment-matching' draws no noise"),
        (lambda: get("sobol"), "'sobol' is on the coupled noise of 'sobol' already, and numbers are coupled once."),
        (lambda: get("samples", of="latin-hypercube"), "'samples' is on the coupled noise of 'latin-hypercube'"),
        (lambda: declaring(laws=("weibull",)), "'custom' takes weibull noise; expected normal, sign or uniform noise."),
        (lambda: declaring(pure=False, laws=()), "'custom' draws its own noise, which nobody else can couple."),
    ]),
    ("antithetic", lambda: get("latin-hypercube"), "is on the coupled noise of 'latin-hypercube'; put the pair inside"),
    ("antithetic", lambda: get("samples", of="sobol"), "'samples' is on the coupled noise of 'sobol'; put the pair"),
    ("sticking-the-landing", lambda: get("local"), "'local' does not differentiate along sampled weights; expected"),
    ("sticking-the-landing", lambda: get("score"), "'score' does not differentiate along sampled weights"),
    ("sticking-the-landing", lambda: get("samples"), "put it outside, 'samples' of 'sticking-the-landing', which"),
    ("antithetic", lambda: None, "antithetic: option of must be an estimator"),
    ("samples", Unregistered, "samples: the estimator Unregistered() is not registered: decorate its class"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "inner", "message"), REFUSED)
def test_what_makes_no_sense_is_refused(name: str, inner: Callable[[], Any], message: str) -> None:
    """When it is made, from Python as well as through the registry."""
    with pytest.raises(InputError) as caught:
        find(name)(of=inner())  # type: ignore[call-arg]
    text = str(caught.value)
    assert message in text
    assert "\n" not in text
    assert text.endswith(".")


def test_random_signs_are_symmetric() -> None:
    assert get("antithetic", of=declaring(laws=("normal", "sign"))).declaration.laws == (
        "normal",
        "sign",
    )


def test_no_samples_are_refused() -> None:
    for count in (0, -1):
        with pytest.raises(InputError, match=f"^samples: samples must be at least 1, not {count}"):
            get("samples", samples=count)


# Estimators with a state, and those that are not pure


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


# Wrong ones


@dataclass(frozen=True)
class SameAddress(Samples):
    """Asks for the noise of every sample at one address."""

    def __call__(self, problem, parameters, batch, noise, state=()) -> Gradient:  # type: ignore[no-untyped-def]
        return average(
            self.of(problem, parameters, batch, noise, state) for _ in range(self.samples)
        )


@dataclass(frozen=True)
class SameNoise(Samples):
    """The noise of the first sample again for all others, without asking for it again."""

    def __call__(self, problem, parameters, batch, noise, state=()) -> Gradient:  # type: ignore[no-untyped-def]
        first, second = antithetic(noise)
        again = Noise(lambda request: -second.source(request), noise.path)
        return average(
            self.of(problem, parameters, batch, own, state)
            for own in (first, *[again] * (self.samples - 1))
        )


@dataclass(frozen=True)
class SumOfSamples(Samples):
    """Forgets to divide."""

    def __call__(self, problem, parameters, batch, noise, state=()) -> Gradient:  # type: ignore[no-untyped-def]
        right = super().__call__(problem, parameters, batch, noise, state)
        return Gradient(right.value, {n: self.samples * g for n, g in right.gradients.items()})


@dataclass(frozen=True)
class ForgetsLayers(Antithetic):
    """Negates the noise of some layers and not of others."""

    kept: tuple[str, ...] = field(default=("2",))

    def __call__(self, problem, parameters, batch, noise, state=()) -> Gradient:  # type: ignore[no-untyped-def]
        first, second = antithetic(noise)
        given = second.source
        wrong = Noise(lambda r: -given(r) if r.path[-1] in self.kept else given(r), noise.path)
        return average(self.of(problem, parameters, batch, own, state) for own in (first, wrong))


@dataclass(frozen=True)
class NegatesForGood(Antithetic):
    """−ε twice: the noise buffer was negated in place."""

    def __call__(self, problem, parameters, batch, noise, state=()) -> Gradient:  # type: ignore[no-untyped-def]
        first, second = antithetic(noise)
        self.of(problem, parameters, batch, first, state)
        return average(self.of(problem, parameters, batch, second, state) for _ in range(2))


def test_one_address_for_all_samples_is_refused_by_the_trace() -> None:
    with pytest.raises(CellError, match=r"asks twice for the noise 0 of shape .* use noise\.at"):
        trace(SameAddress(Naive(), 2), *place())


@pytest.mark.parametrize(
    ("bad", "oracle"),
    [
        (SameNoise(Naive(), 3), over(3, oracles.naive)),
        (SumOfSamples(Naive(), 3), over(3, oracles.naive)),
        (ForgetsLayers(Naive(), ("0",)), pair_of_naive),
        (NegatesForGood(Naive()), pair_of_naive),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Wrapper) else "",
)
def test_defects_are_caught_by_the_closed_forms(bad: Estimator, oracle: Oracle) -> None:
    """Exactly, and by Monte Carlo at the false-alarm rate of the test of the right ones."""
    of = moderate(1, 3, 2, 2)
    assert oracles.mismatches(oracles.exact(bad, of, 3), oracle(of), TOLERANCE)
    rows = oracles.sampled(bad, of, DRAWS, Key(("defect", type(bad).__name__)))
    assert oracles.alarms(oracles.compare("defect", rows, oracle(of)))


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
