"""Estimators with an anchor: closed forms of what noise and data part keep, draw-by-draw twins, and refits in training.

A linear problem of N examples with minibatches of M has an exact sum: over all subsets of M examples, and on each over
the nodes of a quadrature of the noise.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import oracles
import pytest
import torch
from oracles import FIT, ROLES, Array, Linear, grid, random_linear
from torch import Tensor

from vdbench.errors import CellError, InputError
from vdbench.estimation.anchor import EXAMPLES
from vdbench.estimation.base import Estimator
from vdbench.estimation.draws import trace, vectorised
from vdbench.estimation.options import get
from vdbench.noise import Injected, Key, Noise, stream
from vdbench.problems.gaussian import MeanLogVariance
from vdbench.problems.problem import Batch, Problem
from vdbench.training.trainer import Trainer

Parts = dict[str, tuple[Array, Array, Array]]
"""By role: the mean over minibatches, the noise part and the data part."""

TOLERANCE = 1e-9
N, M, K = 5, 2, 2
SUBSETS = list(itertools.combinations(range(N), M))


def all_of(seed: int = 3) -> Linear:
    return random_linear(seed, N, K, bias=True)


def moved(of: Linear, by: float) -> dict[str, Tensor]:
    """Parameters some way from those of the problem."""
    rng = np.random.default_rng(7)
    return {n: v + by * torch.tensor(rng.normal(size=v.shape)) for n, v in of.parameters().items()}


def exact(estimator: Estimator, of: Linear, state: Any, nodes: int = 3) -> Parts:
    """The parts of the variance by sums over all minibatches and over the nodes of all noise."""
    problem, parameters = of.problem(), of.parameters()
    x, y = problem.data.train
    means: dict[str, list[Array]] = {}
    noises: dict[str, list[Array]] = {}
    for chosen in SUBSETS:
        batch = Batch(x[list(chosen)], y[list(chosen)])
        requests = trace(estimator, problem, parameters, batch, state).requests
        sizes = [math.prod(r.shape) for r in requests]
        points, weights = grid([nodes] * sum(sizes))
        columns = torch.tensor(points).split(sizes, 1)
        noise = {r: p.reshape(-1, *r.shape) for r, p in zip(requests, columns, strict=True)}
        batches = oracles.repeat(batch, len(weights))
        drawn = vectorised(estimator, problem, parameters, batches, noise, state)
        for name, value in drawn.gradients.items():
            rows = value.flatten(1).numpy()
            mean = weights @ rows
            means.setdefault(ROLES[name], []).append(mean)
            noises.setdefault(ROLES[name], []).append(weights @ (rows - mean) ** 2)
    return {
        role: (np.mean(m, 0), np.mean(noises[role], 0), np.var(m, 0)) for role, m in means.items()
    }


def truth(of: Linear) -> dict[str, Array]:
    return {role: mean for role, (mean, _) in oracles.naive(of).items()}


def designs(of: Linear) -> list[tuple[float, Array, Array]]:
    """N/M, X with a column of ones, and y of every minibatch."""
    x = np.hstack([of.x, np.ones((N, 1))])
    return [(N / M, x[list(s)], of.y[list(s)]) for s in SUBSETS]


def numbers(parameters: dict[str, Tensor]) -> tuple[Array, Array]:
    """(μ, β), and (σ, 0)."""
    mean = torch.cat([parameters["0.mean"][0], parameters["0.bias"]]).numpy()
    sigma = (parameters["0.log_variance"][0] / 2).exp().numpy()
    return mean, np.append(sigma, 0.0)


def assembled(rows: list[tuple[Array, Array, Array, Array]]) -> dict[str, tuple[Array, Array]]:
    """Noise and data parts of (μ, β) and of log σ² from mean and noise variance of each minibatch."""
    m, v, ms, vs = (np.array(part) for part in zip(*rows, strict=True))
    noise, data = v.mean(0), m.var(0)
    return {
        "mean": (noise[:K], data[:K]),
        "bias": (noise[K:], data[K:]),
        "scale": (vs.mean(0)[:K], ms.var(0)[:K]),
    }


def of_joint(of: Linear, at: dict[str, Tensor], second: bool) -> dict[str, tuple[Array, Array]]:
    """What a joint control variate leaves, d = μ − μ̃, e = σ − σ̃, a and ã the slopes −∂L_B, c = N/M.

    μ: −cG((d + e∘ε): mean −cGd, noise c²Σ_j G_ij²e_j². In log σ², −½c(σ_iε_i(a + G(σ∘ε))_i − σ̃_iε_iã_i), less the
    same second-order part at the anchor where that is taken.
    """
    (mu, sigma), (mu0, sigma0) = numbers(of.parameters()), numbers(at)
    rows = []
    for c, x, y in designs(of):
        g = x.T @ x
        a, a0 = x.T @ (x @ mu - y), x.T @ (x @ mu0 - y)
        d, e = mu - mu0, sigma - sigma0
        linear = sigma * a - sigma0 * a0
        curve = g * (np.outer(sigma, sigma) - (np.outer(sigma0, sigma0) if second else 0.0))
        own, other = np.diag(curve), curve - np.diag(np.diag(curve))
        rows.append(
            (
                -c * g @ d,
                c**2 * g**2 @ e**2,
                -c / 2 * own,
                c**2 / 4 * (linear**2 + 2 * own**2 + (other**2).sum(1)),
            )
        )
    return assembled(rows)


def of_svrg(of: Linear, at: dict[str, Tensor]) -> dict[str, tuple[Array, Array]]:
    """What the gradient at the anchor's mean weights leaves of naive sampling: all noise; of data in μ −cGd."""
    (mu, sigma), (mu0, _) = numbers(of.parameters()), numbers(at)
    rows = []
    for c, x, y in designs(of):
        g, a = x.T @ x, x.T @ (x @ mu - y)
        curve = g * np.outer(sigma, sigma)
        own, other = np.diag(curve), curve - np.diag(np.diag(curve))
        noise = c**2 / 4 * ((sigma * a) ** 2 + 2 * own**2 + (other**2).sum(1))
        rows.append((-c * g @ (mu - mu0), c**2 * g**2 @ sigma**2, -c / 2 * own, noise))
    return assembled(rows)


def mismatches(found: Parts, want: dict[str, tuple[Array, Array]], of: Linear) -> list[str]:
    """Lines for every coordinate whose mean, noise or data part is not as it should be."""
    lines = []
    for role, (noise, data) in want.items():
        for what, got, exactly in zip(
            ("mean", "noise", "data"), found[role], (truth(of)[role], noise, data), strict=True
        ):
            room = TOLERANCE * (np.abs(exactly) + np.abs(truth(of)[role]).max() ** 2)
            lines += [
                f"{what} of {role}[{i}]: {got[i]:.12g}, closed form {exactly[i]:.12g}"
                for i in np.flatnonzero(~(np.abs(got - exactly) <= room))
            ]
    return lines


@pytest.mark.parametrize("by", [0.0, 0.4], ids=["at the anchor", "away from it"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("svrg", {}),
        ("joint-control-variate", {}),
        ("joint-control-variate", {"curvature": "exact"}),
    ],
    ids=str,
)
def test_closed_forms_of_both_parts(name: str, options: dict[str, Any], by: float) -> None:
    """Unbiased over minibatches at every anchor; noise and data part are what the algebra leaves of each."""
    of = all_of()
    at, estimator = moved(of, by), get(name, **options)
    state = estimator.fit(of.problem(), at, FIT)
    want = of_svrg(of, at) if name == "svrg" else of_joint(of, at, bool(options))
    found = exact(estimator, of, state)
    wrong = mismatches(found, want, of)
    assert not wrong, "\n".join(wrong)
    naive = exact(get("naive"), of, ())
    nothing = {role: TOLERANCE * naive[role][2].max() for role in naive}
    if by == 0:  # what each removes at its anchor
        assert (found["mean"][2] < nothing["mean"]).all()
        assert (naive["mean"][2] > 0).all()
        joint, both = name != "svrg", bool(options)
        assert bool((found["mean"][1] < nothing["mean"]).all()) == joint
        assert bool((found["scale"][1] + found["scale"][2] < nothing["scale"]).all()) == both


def test_the_second_order_of_local_leaves_nothing_at_the_anchor() -> None:
    """Noise of each example: the pass over the data takes other numbers than a minibatch does."""
    of = all_of()
    estimator = get("joint-control-variate", of="local", curvature="exact")
    state = estimator.fit(of.problem(), of.parameters(), FIT)
    zero = {role: (0 * v, 0 * v) for role, v in truth(of).items()}
    wrong = mismatches(exact(estimator, of, state), zero, of)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("by", [0.0, 0.4], ids=["at the anchor", "away from it"])
def test_fixed_samples_leave_the_mean_and_the_noise(by: float) -> None:
    """The data part is that of E[g_B] less the twin's average over the pairs, and the noise is naive's."""
    of = all_of()
    at, estimator = moved(of, by), get("svrg", control="fixed", pairs=3)
    state = estimator.fit(of.problem(), at, FIT)
    eps = np.concatenate([state["samples"]["0/normal"][:, 0].numpy(), np.zeros((3, 1))], 1)
    (mu, sigma), (mu0, sigma0) = numbers(of.parameters()), numbers(at)
    rows = []
    for c, x, y in designs(of):
        g, a = x.T @ x, x.T @ (x @ mu - y)
        curve = g * np.outer(sigma, sigma)
        other = curve - np.diag(np.diag(curve))
        noise = c**2 / 4 * ((sigma * a) ** 2 + 2 * np.diag(curve) ** 2 + (other**2).sum(1))
        # of ±ε: in μ the slope at μ̃, in log σ² the curvature along ε alone
        pairs = np.mean([sigma0 * e * (g @ (sigma0 * e)) for e in eps], 0)
        data = -c / 2 * (np.diag(curve) - pairs)
        rows.append((-c * g @ (mu - mu0), c**2 * g**2 @ sigma**2, data, noise))
    wrong = mismatches(exact(estimator, of, state), assembled(rows), of)
    assert not wrong, "\n".join(wrong)


def test_a_stored_mean_leaves_no_variance_and_a_bias_of_its_error() -> None:
    """At the anchor every draw is c_N itself: over fits its error has the variance of a full gradient over S."""
    of, draws, fits = all_of(), 4, 400
    estimator = get("svrg", control="stored", draws=draws)
    assert not estimator.declaration.unbiased
    problem, parameters = of.problem(), of.parameters()
    state = estimator.fit(problem, parameters, FIT)
    found = exact(estimator, of, state)
    for role, (mean, noise, data) in found.items():
        name = next(n for n, r in ROLES.items() if r == role)
        assert np.allclose(mean, state["whole"][name].flatten().numpy(), rtol=1e-12)
        assert (noise + data < TOLERANCE * (1 + mean**2)).all(), role
    rows: dict[str, list[Array]] = {}
    for k in range(fits):
        whole = estimator.fit(problem, parameters, Key(("fits", k)))["whole"]
        for name, value in whole.items():
            rows.setdefault(ROLES[name], []).append(value.flatten().numpy())
    want = {role: (mean, v / draws) for role, (mean, v) in oracles.naive(of).items()}
    compared = oracles.compare("stored", {r: np.array(v) for r, v in rows.items()}, want)
    wrong = oracles.alarms(compared)
    assert not wrong, "\n".join(wrong)


# Draw by draw


def twin_gradient(
    problem: Problem,
    at: dict[str, Tensor],
    batch: Batch,
    eps: dict[str, Tensor],
    scaled: dict[str, Tensor],
) -> dict[str, Tensor]:
    """Autograd of the network written out: three dense layers with ReLU, weights μ + exp(½ log σ²)·ε."""
    leaves = {n: v.detach().clone().requires_grad_() for n, v in {**at, **scaled}.items()}
    h = batch.inputs
    layers = [layer.name for layer in problem.layers]
    for name in layers:
        w = leaves[f"{name}.mean"] + (leaves[f"{name}.log_variance"] / 2).exp() * eps[name]
        h = h @ w.T + leaves[f"{name}.bias"]
        h = h.relu() if name != layers[-1] else h
    chosen = h.log_softmax(1)[torch.arange(len(batch.targets)), batch.targets]
    value = problem.examples / len(batch.targets) * chosen.sum()
    found = torch.autograd.grad(value, list(leaves.values()))
    return dict(zip(leaves, found, strict=True))


def twin_polynomial(
    problem: Problem, at: dict[str, Tensor], batch: Batch, eps: dict[str, Tensor]
) -> dict[str, Tensor]:
    """G(0) + d/dt g(tε) by central differences, which are exact to h² where no kink lies within."""
    h = 1e-6
    still, up, down = (
        twin_gradient(problem, at, batch, {n: t * e for n, e in eps.items()}, {})
        for t in (0.0, h, -h)
    )
    return {n: still[n] + (up[n] - down[n]) / (2 * h) for n in still}


@pytest.mark.parametrize("name", ["svrg", "svrg stored", "joint-control-variate"])
def test_draws_are_those_of_a_slow_twin(name: str) -> None:
    """A ReLU network, an anchor elsewhere, in float64; the twin knows the formula alone."""
    problem, parameters = oracles.network(MeanLogVariance(sigma=0.3))
    rng = np.random.default_rng(1)
    at = {n: v + 0.2 * torch.tensor(rng.normal(size=v.shape)) for n, v in parameters.items()}
    joint, stored = name.startswith("joint"), name.endswith("stored")
    options = {"control": "stored", "draws": 2} if stored else {}
    estimator = get(name.partition(" ")[0], **options)
    state = estimator.fit(problem, at, FIT)
    x, y = problem.data.train
    none = {a.name: torch.zeros(a.weight_shape, dtype=torch.float64) for a in problem.layers}
    if stored:
        noises = [stream(FIT / "stored" / s / 0, dtype=torch.float64) for s in range(2)]
        each = [{n: z(n, e.shape) for n, e in none.items()} for z in noises]
        drawn = [twin_gradient(problem, at, Batch(x, y), eps, {}) for eps in each]
        whole = {n: (drawn[0][n] + drawn[1][n]) / 2 for n in parameters}
    else:
        whole = twin_gradient(problem, at, Batch(x, y), none, {})
    for k in range(3):
        batch = Batch(x[k : k + 4], y[k : k + 4])
        noise = stream(Key(("twin", k)), dtype=torch.float64)
        eps = {n: noise(n, e.shape) for n, e in none.items()}
        ours = estimator(problem, parameters, batch, noise, state).gradients
        g = twin_gradient(problem, parameters, batch, eps, {})
        control = (
            twin_polynomial(problem, at, batch, eps)
            if joint
            else twin_gradient(problem, at, batch, eps if stored else none, {})
        )
        for n, value in ours.items():
            want = g[n] - control[n] + whole[n]
            room = (1e-5 if joint else 1e-11) * (1 + want.abs().max())
            assert float((value - want).abs().max()) <= float(room), f"{n} of draw {k}"


# In training, and what is refused


def test_a_training_makes_the_anchor_anew_after_each_epoch(tmp_path: Any) -> None:
    """The anchor is what the parameters were at the end of the last epoch, in an interrupted training too."""
    problem, parameters = oracles.network(MeanLogVariance(sigma=0.3))

    def trainer() -> Trainer:
        return Trainer(problem, get("svrg"), parameters, 4, 1e-2, Key(("anchored",)))

    one = trainer()
    assert one.steps_per_epoch == 3
    states = []
    for _ in range(7):
        before = {n: v.clone() for n, v in one.parameters.items()}
        one.advance(1)
        states.append((before, {n: v.clone() for n, v in one._state["anchor"].items()}))
    for step, (_, anchor) in enumerate(states):
        made = states[step // 3 * 3][0]
        assert all(torch.equal(anchor[n], made[n]) for n in made), f"step {step}"
    first, second = trainer(), trainer()
    first.advance(4)
    first.save(tmp_path / "half.npz")
    second.restore(tmp_path / "half.npz")
    second.advance(3)
    assert all(torch.equal(v, second.parameters[n]) for n, v in one.parameters.items())


def test_the_split_is_taken_in_parts() -> None:
    """Of more examples than are held at once, the gradient at the anchor is the whole split's."""
    rng = np.random.default_rng(0)
    count = EXAMPLES + 77
    of = Linear(rng.normal(size=(count, 1)), rng.normal(size=count), np.ones(1), np.ones(1), count)
    state = get("svrg").fit(of.problem(), of.parameters(), FIT)
    slope = -(of.x[:, 0] * (of.x[:, 0] - of.y)).sum()
    assert float(state["whole"]["0.mean"]) == pytest.approx(slope, rel=1e-12)


def test_the_anchor_lies_as_far_as_asked_for() -> None:
    of = all_of()
    at = get("svrg", distance=0.5).fit(of.problem(), of.parameters(), FIT)["anchor"]
    z = stream(FIT / "distance", dtype=torch.float64)("0", (1, K))
    gap = (at["0.mean"] - of.parameters()["0.mean"]) / torch.tensor(of.sigma)
    assert torch.allclose(gap, 0.5 * z, rtol=1e-12)
    assert torch.equal(at["0.log_variance"], of.parameters()["0.log_variance"])


def test_what_is_refused() -> None:
    of = all_of()
    problem, parameters, batch = of.problem(), of.parameters(), of.batch()
    noise = Noise(Injected({}))
    with pytest.raises(CellError, match="has an anchor and was given none"):
        get("svrg")(problem, parameters, batch, noise)
    with pytest.raises(InputError, match="has an anchor already"):
        get("svrg", of="joint-control-variate")
    with pytest.raises(InputError, match="is not pathwise"):
        get("joint-control-variate", of="score")
    with pytest.raises(InputError, match="random signs"):
        get("joint-control-variate", of="flipout", curvature="exact")
    with pytest.raises(InputError, match="epochs must be at least 1"):
        get("svrg", epochs=0)
    with pytest.raises(InputError, match="pairs must be at least 1"):
        get("svrg", pairs=0)
    with pytest.raises(InputError, match="distance must be a finite number"):
        get("svrg", distance=-0.1)
    with pytest.raises(CellError, match="expected at most 1"):
        get("joint-control-variate", curvature="exact", limit=1).fit(problem, parameters, FIT)
