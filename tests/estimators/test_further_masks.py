"""ARMS, sum-and-sample, RODEO and RELAX: exact moments by enumeration, closed forms, identities and refusals."""

from __future__ import annotations

import itertools
import math
import re
from typing import Any

import families
import numpy as np
import pytest
import torch
from families import weighted
from oracles import HalfSquare, network, repeat
from torch import Tensor

from estimators.sum_and_sample import likeliest
from vdbench.errors import CellError, InputError
from vdbench.estimation.draws import gather, trace, vectorised
from vdbench.estimation.options import get
from vdbench.noise import Key, Request, stream
from vdbench.problems.dropout import LearnedBinary
from vdbench.problems.problem import Batch, Problem

At = tuple[Problem, dict[str, Tensor], Batch]
Rows = list[tuple[dict[Request, Tensor], float]]

FORMS = {"input": LearnedBinary(0.6), "layer": LearnedBinary(0.6, per="layer")}
everywhere = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def tiny(form: LearnedBinary, examples: int, *sizes: tuple[int, int]) -> At:
    """A dense tanh network of a few masks on random data; its minibatch is all of the data."""
    return families.problem(form, sizes, examples, likelihood=HalfSquare())


def exact(at: At) -> dict[str, Tensor]:
    """The gradient by enumeration: REINFORCE at every mask, with its probability, example by example."""
    parameters = at[1]
    estimator = get("reinforce")
    requests = trace(estimator, *at).requests
    rows: Rows = [({}, 1.0)]
    for request in requests:
        q = rates(parameters, request)
        rows = [
            ({**held, request: torch.tensor(u).reshape(request.shape)}, p * chance)
            for held, p in rows
            for u, chance in _sides(q)
        ]
    return {name: mean for name, (mean, _) in over(estimator, at, rows).items()}


def _sides(q: list[float]) -> Any:
    """A uniform number for each value of every mask number, and the probability of all together."""
    for bits in itertools.product((0, 1), repeat=len(q)):
        u = [1 - p / 2 if b else (1 - p) / 2 for b, p in zip(bits, q, strict=True)]
        yield u, math.prod(p if b else 1 - p for b, p in zip(bits, q, strict=True))


def rates(parameters: dict[str, Tensor], request: Request) -> list[float]:
    """The probability that a number of the mask is 1, for each number that is asked for."""
    logit = parameters[f"{request.path[-1]}.logit"].expand(request.shape)
    return [1 / (1 + math.exp(-x)) for x in logit.flatten().tolist()]


def over(estimator: Any, at: At, rows: Rows) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and variance of value and gradients over rows of noise with their probabilities."""
    problem, parameters, batch = at
    chance = torch.tensor([p for _, p in rows], dtype=torch.float64)
    assert float(chance.sum()) == pytest.approx(1, rel=1e-12)
    noise = {r: torch.stack([held[r] for held, _ in rows]).double() for r in rows[0][0]}
    return weighted(
        vectorised(estimator, problem, parameters, repeat(batch, len(rows)), noise), chance
    )


def mismatches(found: dict[str, tuple[Tensor, Tensor]], want: dict[str, Tensor]) -> list[str]:
    wrong = []
    for name, value in want.items():
        gap, size = float((found[name][0] - value).abs().max()), float(value.abs().max())
        if not gap <= 1e-10 * (size + 1e-3):
            wrong.append(f"mean of {name} differs by {gap:.3g}, largest {size:.3g}")
    return wrong


# ARMS


def patterns(p: float, samples: int) -> list[tuple[list[float], float]]:
    """Uniform numbers of S samples for every set that takes the rarer value, with its probability.

    All of a set S' have shares above a with probability (1 − |S'|a)_+^{S−1}; inclusion and exclusion give exactly them.
    """
    a = 1 - min(p, 1 - p) ** (1 / (samples - 1))

    def at_least(size: int) -> float:
        return max(0.0, 1 - size * a) ** (samples - 1) if size else 1.0

    found = []
    for bits in itertools.product((False, True), repeat=samples):
        size = sum(bits)
        chance = sum(
            (-1) ** more * math.comb(samples - size, more) * at_least(size + more)
            for more in range(samples - size + 1)
        )
        if chance > 1e-15:
            times = [1.0 if b or not size else 1e-9 for b in bits]
            found.append(([math.exp(-t) for t in times], chance))
    return found


def arms_rows(at: At, samples: int) -> Rows:
    requests = trace(get("arms", samples=samples), *at).requests
    layers = [r for r in requests if r.path[-2] == 0]
    rows: Rows = [({r: torch.zeros(r.shape).double() for r in requests}, 1.0)]
    for first in layers:
        for i, q in enumerate(rates(at[1], first)):
            grown: Rows = []
            for held, chance in rows:
                for numbers, own in patterns(q, samples):
                    made = {r: v.clone() for r, v in held.items()}
                    for r in requests:
                        if r.path[-1] == first.path[-1]:
                            made[r].view(-1)[i] = numbers[int(r.path[-2])]
                    grown.append((made, chance * own))
            rows = grown
    return rows


@everywhere
@pytest.mark.parametrize(
    ("samples", "examples", "sizes"),
    [(2, 1, ((2, 1), (1, 1))), (3, 1, ((2, 1),)), (4, 1, ((1, 1), (1, 1))), (3, 2, ((1, 1),))],
)
def test_the_mean_of_arms_by_enumeration(
    samples: int, examples: int, sizes: Any, form: LearnedBinary
) -> None:
    at = tiny(form, examples, *sizes)
    wrong = mismatches(over(get("arms", samples=samples), at, arms_rows(at, samples)), exact(at))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("samples", [2, 3, 4, 6])
@pytest.mark.parametrize("p", [0.02, 0.2, 0.45, 0.5, 0.7, 0.97])
def test_the_samples_of_arms_have_the_law_of_the_copula(samples: int, p: float) -> None:
    """How many of S samples are rare, in 40,000 rows of the noise that it draws; family-wise false alarms 1e-4."""
    draws = 40_000
    noise = stream(Key(("copula", samples, p)), dtype=torch.float64)
    u = torch.stack([noise.at("sample", s)("0", (draws,), law="uniform") for s in range(samples)])
    logit = torch.full((1,), math.log(p / (1 - p)), dtype=torch.float64)
    estimator: Any = get("arms", samples=samples)
    times = -u.log()
    rare = estimator._rare(logit, times / times.sum(0)).sum(0).numpy()
    want = np.zeros(samples + 1)
    for numbers, chance in patterns(p, samples):
        size = sum(x < 0.9 for x in numbers)
        want[size if any(x > 0.9 for x in numbers) else 0 if _none(p, samples) else samples] += (
            chance
        )
    seen = np.bincount(rare.astype(int), minlength=samples + 1) / draws
    error = np.sqrt(want * (1 - want) / draws) + 1e-12
    worst = float(np.abs((seen - want) / error).max())
    assert worst < 5.2, f"{worst:.1f} standard errors: seen {seen}, expected {want}"


def _none(p: float, samples: int) -> bool:
    """Whether equal shares are not above a, so that all may miss the rarer value."""
    return 1 / samples <= 1 - min(p, 1 - p) ** (1 / (samples - 1))


def single(phi: float) -> tuple[At, float]:
    """One mask, one weight, one example, and f₁ − f₀."""
    at = tiny(FORMS["input"], 1, (1, 1))
    problem, parameters, batch = at
    parameters["0.logit"].fill_(phi)
    theta, bias = float(parameters["0.theta"]), float(parameters["0.bias"])
    x, y = float(batch.inputs), float(batch.targets)
    one, zero = (-0.5 * (bias + b * theta * x - y) ** 2 for b in (1.0, 0.0))
    return (problem, parameters, batch), one - zero


PHI = [-3.0, -0.4, 0.0, 0.7, 2.5]


def test_sum_and_sample_where_all_chances_vanish() -> None:
    """200 undecided masks: the likeliest have a chance of 2^-200, which is 0 in float32 and a number in float64.

    They are equally likely, so that the baseline is the plain mean of their costs in both.
    """
    problem, parameters, batch = tiny(LearnedBinary(0.5), 3, (200, 1))
    parameters = {n: torch.zeros_like(v) if "logit" in n else v for n, v in parameters.items()}
    found = {}
    for dtype in (torch.float32, torch.float64):
        at = {name: value.to(dtype) for name, value in parameters.items()}
        data = Batch(batch.inputs.to(dtype), batch.targets.to(dtype))

        def noise(name: Any, shape: Any, law: str = "uniform", dtype: Any = dtype) -> Tensor:
            return torch.rand(shape, generator=torch.Generator().manual_seed(1)).to(dtype)

        found[dtype] = get("sum-and-sample")(problem.to("cpu", dtype), at, data, noise)
    wide = found[torch.float64].gradients
    assert any(value.abs().max() > 0 for value in wide.values())
    for name, value in found[torch.float32].gradients.items():
        torch.testing.assert_close(value.double(), wide[name], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("phi", PHI)
@pytest.mark.parametrize("samples", [2, 3, 5])
def test_closed_moments_of_arms(phi: float, samples: int) -> None:
    """One mask: the gradient is Δ·j(S−j)/(S(S−1)(1−ρ)) with j of S samples rare; for S = 2 DisARM's Δ²mq²(½−m)."""
    at, gap = single(phi)
    p = 1 / (1 + math.exp(-phi))
    m = min(p, 1 - p)
    both = max(0.0, 2 * m ** (1 / (samples - 1)) - 1) ** (samples - 1)
    factor = gap * (m - m * m) / (m - both) / (samples * (samples - 1))
    law = np.zeros(samples + 1)
    for numbers, chance in patterns(p, samples):
        size = sum(x < 0.9 for x in numbers)
        equal = size in (0, samples)
        law[size if not equal else 0 if _none(p, samples) else samples] += chance
    j = np.arange(samples + 1)
    values = factor * j * (samples - j)
    mean, variance = (
        float(v) for v in over(get("arms", samples=samples), at, arms_rows(at, samples))["0.logit"]
    )
    assert mean == pytest.approx(p * (1 - p) * gap, rel=1e-10)
    assert variance == pytest.approx(law @ values**2 - (law @ values) ** 2, rel=1e-9)
    if samples == 2:
        assert variance == pytest.approx(gap**2 * m * (1 - m) ** 2 * (0.5 - m), rel=1e-9, abs=1e-14)


# Sum and sample


def sampled_rows(at: At, count: int) -> Rows:
    """Each number deviates or not, given the numbers before it and that the mask is not among the enumerated."""
    (request,) = trace(get("sum-and-sample", masks=count), *at).requests
    q = rates(at[1], request)
    size = len(q)
    chances = {
        bits: math.prod(p if b else 1 - p for b, p in zip(bits, q, strict=True))
        for bits in itertools.product((0, 1), repeat=size)
    }
    inside = set(sorted(chances, key=lambda b: -chances[b])[:count])
    rest = {b: p for b, p in chances.items() if b not in inside}
    order = sorted(range(size), key=lambda i: abs(q[i] - 0.5))
    first = order[: count - 1]
    order = [*first, *sorted(set(order) - set(first))]
    rows: Rows = []
    for bits, chance in rest.items():
        u = [0.0] * size
        for k, i in enumerate(order):
            alike = {b: p for b, p in rest.items() if all(b[n] == bits[n] for n in order[:k])}
            rare = int(q[i] <= 0.5)
            deviates = sum(p for b, p in alike.items() if b[i] == rare) / sum(alike.values())
            u[i] = deviates / 2 if bits[i] == rare else (1 + deviates) / 2
        rows.append(
            ({request: torch.tensor(u).reshape(request.shape)}, chance / sum(rest.values()))
        )
    return rows or [({request: torch.full(request.shape, 0.5)}, 1.0)]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 12, 15, 16])
def test_sum_and_sample_by_enumeration(count: int) -> None:
    """Mean and variance over the masks outside; exact with all 16, where no noise is left."""
    at = tiny(FORMS["input"], 1, (4, 1))
    found, want = over(get("sum-and-sample", masks=count), at, sampled_rows(at, count)), exact(at)
    wrong = mismatches(found, want)
    assert not wrong, "\n".join(wrong)
    most = max(float(variance.max()) for _, variance in found.values())
    # one mask left is no choice
    assert (most < 1e-24) == (count >= 15), most


@everywhere
def test_sum_and_sample_is_exact_when_all_masks_are_enumerated(form: LearnedBinary) -> None:
    """Of two layers and three examples, by any noise: 32 masks, and no more where more are asked for."""
    at = tiny(form, 3, (3, 2), (2, 1))
    want = exact_of_each(at)
    for count in (32, 100):
        for draw in range(2):
            noise = stream(Key(("all", draw)), dtype=torch.float64)
            found = get("sum-and-sample", masks=count)(*at, noise)
            wrong = mismatches(
                {n: (v, v) for n, v in {"value": found.value, **found.gradients}.items()}, want
            )
            assert not wrong, "\n".join(wrong)


def exact_of_each(at: At) -> dict[str, Tensor]:
    """The gradient summed over examples, each enumerated alone: they do not meet."""
    problem, parameters, batch = at
    total: dict[str, Tensor] = {}
    for m in range(len(batch.inputs)):
        alone = Batch(batch.inputs[m : m + 1], batch.targets[m : m + 1])
        for name, value in exact((problem, parameters, alone)).items():
            # the scale of one example is N/1
            total[name] = total.get(name, 0.0) + value / len(batch.inputs)
    return total


@pytest.mark.parametrize("phi", PHI)
def test_sum_and_sample_of_one_mask_has_no_variance(phi: float) -> None:
    """One of two values enumerated, the other the only one left."""
    at, gap = single(phi)
    p = 1 / (1 + math.exp(-phi))
    for draw in range(3):
        found = get("sum-and-sample", masks=1)(*at, stream(Key((draw,)), dtype=torch.float64))
        assert float(found.gradients["0.logit"]) == pytest.approx(p * (1 - p) * gap, rel=1e-10)


@pytest.mark.parametrize("count", [1, 2, 5, 13, 40, 64, 200])
def test_the_likeliest_masks_are_those(count: int) -> None:
    logits = 2 * stream(Key(("likeliest",)), dtype=torch.float64)("0", (6,))
    found = likeliest(logits, count)
    rare = [1 / (1 + math.exp(abs(x))) for x in logits.tolist()]
    every = sorted(
        (math.prod(p if b else 1 - p for b, p in zip(bits, rare, strict=True)), bits)
        for bits in itertools.product((0, 1), repeat=6)
    )[::-1][:count]
    assert torch.allclose(found.chances, torch.tensor([p for p, _ in every]).double(), rtol=1e-12)
    assert [tuple(map(int, row)) for row in found.deviations.tolist()] == [b for _, b in every]


# RODEO and RELAX


@everywhere
@pytest.mark.parametrize("coefficients", [(0.0, 0.0, 0.0), (0.0, 1.0, 0.0)])
def test_rodeo_s_special_cases(form: LearnedBinary, coefficients: tuple[float, ...]) -> None:
    """Without control variates leave-one-out; with the linear surrogate alone the double control variate of S = 2."""
    problem, parameters = network(form)
    at = (problem, parameters, gather(problem, np.arange(5)))
    state = {"coefficients": torch.tensor(coefficients, dtype=torch.float64)}
    other = get("double-control-variate" if any(coefficients) else "rloo")
    key = Key(("rodeo",))
    mine = get("rodeo")(*at, stream(key, dtype=torch.float64), state)
    theirs = other(*at, stream(key, dtype=torch.float64))
    for name, gradient in theirs.gradients.items():
        assert torch.allclose(mine.gradients[name], gradient, rtol=1e-9, atol=1e-11), name


@everywhere
def test_rodeo_leaves_no_noise_of_a_quadratic_cost_of_one_mask(form: LearnedBinary) -> None:
    """One mask has two values: the fit finds a surrogate with the cost's difference from either."""
    at = tiny(form, 1, (1, 1))
    estimator = get("rodeo", pilot=16)
    state = estimator.fit(*at[:2], Key(("fit",)))
    found = []
    for draw in range(8):
        noise = stream(Key(("quadratic", draw)), dtype=torch.float64)
        found.append(float(estimator(*at, noise, state).gradients["0.logit"]))
    want = float(exact(at)["0.logit"])
    assert found == pytest.approx([want] * len(found), rel=1e-6)


@everywhere
def test_fitted_coefficients_minimise_the_variance(form: LearnedBinary) -> None:
    """Over all masks of a small network, the fitted ones are within a tenth of the least, by exact moments."""
    at = tiny(form, 1, (2, 1), (1, 1))
    estimator = get("rodeo", pilot=512)
    fitted = estimator.fit(*at[:2], Key(("fit",)))["coefficients"]

    def variance(coefficients: Tensor) -> float:
        requests = trace(estimator, *at, {"coefficients": coefficients}).requests
        rows: Rows = [({}, 1.0)]
        for request in requests:
            rows = [
                ({**held, request: torch.tensor(u).reshape(request.shape)}, p * own)
                for held, p in rows
                for u, own in _sides(rates(at[1], request))
            ]
        chance = torch.tensor([p for _, p in rows]).double()
        noise = {r: torch.stack([held[r] for held, _ in rows]).double() for r in requests}
        problem, parameters, batch = at
        state = {"coefficients": coefficients}
        drawn = vectorised(estimator, problem, parameters, repeat(batch, len(rows)), noise, state)
        found = weighted(drawn, chance)
        return sum(float(v.sum()) for n, (_, v) in found.items() if n.endswith("logit"))

    best = variance(fitted)
    assert best < 0.7 * variance(torch.zeros_like(fitted))
    for i, sign in itertools.product(range(3), (-1, 1)):
        step = torch.zeros_like(fitted)
        step[i] = sign * (0.1 + 0.2 * float(fitted[i].abs()))
        assert best <= 1.1 * variance(fitted + step), (i, sign, fitted)


@everywhere
def test_relax_starts_as_rebar(form: LearnedBinary) -> None:
    problem, parameters = network(form)
    at = (problem, parameters, gather(problem, np.arange(5)))
    estimator = get("relax", steps=1, rate=1e-12, temperature=0.4)
    state = estimator.fit(problem, parameters, Key(("fit",)))
    key = Key(("relax",))
    mine = estimator(*at, stream(key, dtype=torch.float64), state)
    theirs = get("rebar", temperature=0.4)(*at, stream(key, dtype=torch.float64))
    for name, gradient in theirs.gradients.items():
        assert torch.allclose(mine.gradients[name], gradient, rtol=1e-7, atol=1e-9), name


@pytest.mark.parametrize("name", ["relax", "rodeo"])
def test_without_a_state_they_are_refused(name: str) -> None:
    problem, parameters = network(FORMS["input"])
    batch = gather(problem, np.arange(5))
    message = f"estimator '{name}': the surrogate has a state and was given none; expected state="
    with pytest.raises(CellError, match=message):
        get(name)(problem, parameters, batch, stream(Key(), dtype=torch.float64))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("arms", {"samples": 1}, "arms: samples must be at least 2, not 1"),
        ("rodeo", {"samples": 1}, "rodeo: samples must be at least 2, not 1"),
        ("rodeo", {"pilot": 0}, "rodeo: pilot must be at least 1 pair of draws, not 0."),
        ("sum-and-sample", {"masks": 0}, "sum-and-sample: masks must be a number from 1 to 1024, not 0."),
        ("relax", {"hidden": -1}, "relax: hidden must be at least 0 units and steps at least 1, not -1 and 200."),
        ("relax", {"rate": 1.5}, "relax: rate must be above 0 and below 1, not 1.5."),
        ("relax", {"temperature": 0.0}, "relax: temperature must be a finite number above 0, not 0.0."),
    ],
)  # fmt: skip
def test_bad_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        get(name, **options)
