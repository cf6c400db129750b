"""Ensembles of control variates: what is left of a linear problem given the weights, and what may be a member."""

from __future__ import annotations

from typing import Any

import oracles
import pytest
import torch
from oracles import FIT, ROLES, random_linear

from vdbench.errors import CellError, InputError
from vdbench.estimation.draws import gather, minibatch
from vdbench.estimation.options import canonical, get, identity, label, options
from vdbench.noise import Injected, Noise, stream

TOLERANCE = 1e-9
NAME = "ensemble-control-variate"


@pytest.mark.parametrize("ridge", [0.01, 1.0])
def test_of_a_member_without_variance_the_ridge_alone_is_left(ridge: float) -> None:
    """Of c = g − E g: whatever the pilot draws are, a = 1/(1 + λ), and λ²/(1 + λ)² of the variance is left."""
    exact = get("control-variate", curvature="exact")
    for seed in range(2):
        of = random_linear(seed, 2, 2, bias=True, times=2)
        found = oracles.exact(get(NAME, exact=exact, ridge=ridge, pilot=2), of, 3)
        share = (ridge / (1 + ridge)) ** 2
        want = {role: (mean, share * v) for role, (mean, v) in oracles.naive(of).items()}
        wrong = oracles.mismatches(found, want, TOLERANCE)
        assert not wrong, "\n".join(wrong)


def test_of_two_estimators_with_their_own_noise_it_is_a_weighted_mean() -> None:
    """(1 − a)² of the one variance and a² of the other; a is near the best, V₀/(V₀ + V₁) of all entries together."""
    for seed in range(3):
        of = random_linear(seed, 3, 2, bias=True)
        estimator = get(NAME, local="local", pilot=100, ridge=1e-6)
        state = estimator.fit(of.problem(), of.parameters(), FIT)
        weights = {ROLES[n]: float(v) for n, v in state["weights"].items()}
        naive, local = oracles.naive(of), oracles.local(of)
        want = {
            role: (mean, (1 - weights[role]) ** 2 * v + weights[role] ** 2 * local[role][1])
            for role, (mean, v) in naive.items()
        }
        wrong = oracles.mismatches(oracles.exact(estimator, of, 3, state), want, TOLERANCE)
        assert not wrong, "\n".join(wrong)
        for role, a in weights.items():
            v, w = naive[role][1].sum(), local[role][1].sum()
            least = v * w / (v + w)
            left = (1 - a) ** 2 * v + a**2 * w
            assert left < 1.2 * least, (role, a, left, least)


def test_the_weights_are_those_of_its_pairs() -> None:
    """One number, by hand: Σ ΔgΔc / ((1 + λ) ΣΔc²)."""
    of = random_linear(1, 3, 1)
    problem, parameters = of.problem(), of.parameters()
    member, base = get("antithetic"), get("naive")
    state = get(NAME, other=member, pilot=4, ridge=0.5).fit(problem, parameters, FIT)
    top = dict.fromkeys(parameters, 0.0)
    bottom = dict(top)
    for k in range(4):
        place = FIT / "pilot" / k
        batch = gather(problem, minibatch(problem, 3, place / 0))
        g, c = [], []
        for half in range(2):
            noise = stream(place / half, dtype=torch.float64)
            one = base(problem, parameters, batch, noise).gradients
            two = member(problem, parameters, batch, noise).gradients
            g.append(one)
            c.append({n: v - two[n] for n, v in one.items()})
        for n in top:
            step = float(c[0][n] - c[1][n])
            top[n] += float(g[0][n] - g[1][n]) * step
            bottom[n] += step**2
    for n, v in state["weights"].items():
        assert float(v) == pytest.approx(top[n] / (1.5 * bottom[n]), rel=1e-9), n


def test_members_have_names_in_its_label_and_in_its_address() -> None:
    made = get(NAME, of="local", b="naive", a="flipout")
    assert label(made) == f"{NAME}(local, a=flipout, b=naive)"
    assert options(made)["a"] == {"name": "flipout", "options": {}}
    assert get(NAME, **options(made)) == made
    plain = get(NAME)
    assert "model=quadratic-control-variate" in label(plain)
    assert '"quadratic-control-variate",{},"1"' in canonical(identity(plain))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"a": "moment-matching"}, "option a: estimator 'moment-matching' declares a bias"),
    ({"a": "deterministic"}, "option a: estimator 'deterministic' draws no noise"),
    ({"of": "rloo", "a": "naive"}, "its parts are for the posteriors any and learned-binary"),
    ({"of": "type-a", "a": "local"}, "no posterior is both"),
    ({"ridge": 0.0}, "ridge must be a finite number above 0"),
    ({"pilot": 0}, "pilot must be at least 1"),
    ({"examples": 0}, "examples must be at least 1"),
    ({"epochs": 0}, "epochs must be at least 1"),
]


@pytest.mark.parametrize(("given", "what"), REFUSED, ids=[str(o) for o, _ in REFUSED])
def test_what_is_refused(given: dict[str, Any], what: str) -> None:
    with pytest.raises(InputError, match=what):
        get(NAME, **given)


def test_what_it_declares_and_needs() -> None:
    assert get(NAME, of="rloo", arm="arm").declaration.posteriors == "learned-binary"
    assert get(NAME, of="naive", grouped="grouped").declaration.posteriors == "any"
    assert not get(NAME, anchored="svrg").declaration.unbiased_given_minibatch
    assert get(NAME, taylor="control-variate").passes_together == 5
    of = random_linear(1, 3, 2)
    with pytest.raises(CellError, match="has weights and was given none"):
        get(NAME)(of.problem(), of.parameters(), of.batch(), Noise(Injected({})))


def test_an_anchored_member_has_pairs_on_minibatches_of_their_own() -> None:
    """Its weight counts the data part: with svrg at its anchor nearly all of it is taken away in μ."""
    of = random_linear(4, 6, 2)
    problem, parameters = of.problem(), of.parameters()
    state = get(NAME, anchored="svrg", examples=2, ridge=1e-6).fit(problem, parameters, FIT)
    assert float(state["weights"]["0.mean"][0]) == pytest.approx(1.0, abs=0.5)
