"""All ways to take a unit's sums agree to rounding with the plain one, which forms and checks every gradient."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from everyone import plain
from torch import Tensor, nn

import vdbench
from estimators.local import Local
from vdbench import CellError, problems
from vdbench.estimation.base import Estimator
from vdbench.estimation.products import Refused
from vdbench.measures import moments, product_moments, unit_sums, variance_units
from vdbench.measures.context import Context
from vdbench.noise import Key
from vdbench.store import Table

SIZE = 4
FORMS = {
    "additive": {"kind": "mean-log_variance", "sigma": 0.1},
    "layer": {"kind": "theta-log_alpha", "alpha": 0.5},
    "input": {"kind": "theta-log_alpha", "per": "input"},
    "output": {"kind": "theta-log_alpha", "per": "output"},
    "weight": {"kind": "theta-log_alpha", "per": "weight"},
    "fixed": {"kind": "theta-log_alpha", "learned": False},
}
OTHERS = {
    "shared": {"kind": "theta-log_alpha", "sharing": "inputs"},
    "binary": {"kind": "binary-dropout", "rate": 0.3, "sharing": "weights"},
    "masks": {"kind": "learned-binary"},
    "point": {"kind": "point"},
}
PRODUCTS = ("deterministic", "flipout", "local", "naive")


def context(
    estimator: Estimator,
    form: str = "additive",
    dtype: torch.dtype = torch.float64,
    size: int = SIZE,
    objective: str = "likelihood",
) -> Context:
    """Two layers on eight digits' pixels, away from initialisation."""
    options = {"dataset": "digits", "widths": [7], "parameterization": (FORMS | OTHERS)[form]}
    if form not in FORMS:
        options["prior"] = {"kind": "none"}
    problem = problems.build("small", "classification", options).to("cpu", dtype)
    key = Key(("ways", form))
    draw = torch.Generator().manual_seed(15)
    parameters = {
        name: value + 0.1 * torch.randn(value.shape, generator=draw, dtype=torch.float64).to(dtype)
        for name, value in problem.initial(key).items()
    }
    state = estimator.fit(problem, parameters, key / "fit")
    label = estimator.declaration.name
    return Context(problem, parameters, estimator, label, size, key, {}, objective, state)


def table(at: Context, units: list[int], use: unit_sums.Way) -> Table:
    """Rows in one way."""
    found = unit_sums.of(at, units, use)
    assert found is not None
    return {
        f"{group.layer}|{group.role}|{quantity}": values / at.sizes[group]
        for group, names in at.members.items()
        for quantity, values in moments.quantities(names, found).items()
    }


def agree(found: Table, plain: Table, room: float) -> None:
    """Within so much of what they are differences of: s² + t² = u² + 2st of a layer and role."""
    assert set(found) == set(plain)
    for name, rows in plain.items():
        group = name.rpartition("|")[0]
        scale = plain[f"{group}|total"] + 2 * np.abs(plain[f"{group}|signal"])
        assert (np.abs(found[name] - rows) <= room * scale).all(), (name, found[name], rows)


def ways(at: Context) -> list[unit_sums.Way]:
    """Every way that an estimator can be taken in, the one chosen first."""
    chosen = unit_sums.way(at)
    others = ["together"] if at.traced.together else []
    return [chosen, *(unit_sums.Way(name) for name in [*others, "one by one"])]


@pytest.mark.parametrize("form", ["additive", "layer", *OTHERS])
def test_all_estimators_in_all_ways(form: str) -> None:
    compared = 0
    first = {e.declaration.name: e for e in reversed(plain())}  # with default options
    for estimator in [*first.values(), vdbench.get("antithetic", of="local")]:
        try:
            at = context(estimator, form)
            units = [0, 5] if at.traced.together else [3]
        except CellError:
            continue  # the estimator is not valid for the posterior
        want = variance_units.plain_rows(at, units)
        for use in ways(at):
            each = [units] if use.name != "one by one" else [[unit] for unit in units]
            parts = [table(at, some, use) for some in each]
            agree({n: np.concatenate([p[n] for p in parts]) for n in parts[0]}, want, 1e-11)
            compared += 1
    assert compared >= 8


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", PRODUCTS)
def test_products_in_all_coordinates(name: str, form: str, monkeypatch) -> None:
    """By rows and by inner products, in one piece and in many, with −KL's gradient and without."""
    for objective in ("likelihood", "elbo"):
        at = context(vdbench.get(name), form, objective=objective)
        units = [0, 1, 2]
        want = variance_units.plain_rows(at, units)
        use = unit_sums.way(at)
        assert use.name == "products", use.why
        for tile, cost in ((2**15, 0), (2**15, 10**9), (100, 0), (1500, 0)):
            for module in (moments, product_moments):
                monkeypatch.setattr(module, "TILE", {"cpu": tile})
            monkeypatch.setattr(product_moments, "FORMED", cost)
            agree(table(at, units, use), want, 1e-12)
            agree(table(at, units[1:2], use), {n: v[1:2] for n, v in want.items()}, 1e-12)


@pytest.mark.parametrize("perturbations", [2, 3])
def test_several_perturbations(perturbations: int) -> None:
    """Parts of the minibatch that are not equally large have a product each."""
    at = context(vdbench.get("flipout", perturbations=perturbations))
    assert unit_sums.way(at).name == "products", unit_sums.way(at).why
    agree(table(at, [0, 1], unit_sums.way(at)), variance_units.plain_rows(at, [0, 1]), 1e-12)


def test_a_large_minibatch_and_one_minibatch_at_a_time(monkeypatch) -> None:
    for name in PRODUCTS:
        at = context(vdbench.get(name), size=150)
        want = variance_units.plain_rows(at, [0, 1])
        use = unit_sums.way(at)
        assert use.name == "products", use.why
        for held in (1, 2**26):
            monkeypatch.setattr(unit_sums, "HELD", {"cpu": held})
            agree(table(at, [0, 1], use), want, 1e-12)


def test_float32_keeps_the_digits_of_noise_that_is_small_beside_the_mean() -> None:
    """Of gradients whose mean is 300 times the noise, the noise is what float64 gives from the same numbers."""
    draw = torch.Generator().manual_seed(3)
    mean = 300 * torch.randn(50_000, generator=draw)
    first, second = (mean + torch.randn(2, 50_000, generator=draw) for _ in range(2))
    sums = moments.Sums(1, moments.Buffers())
    sums.add("w", first, second)
    found = sums.numbers()
    assert found is not None
    a, b = first.double(), second.double()
    want = (a - b).square().sum()
    assert abs(found["w"][0, 0] / float(want) - 1) < 1e-5
    s, t = a + b
    want = (s - t).square().sum()
    assert abs(found["w"][0, 1] / float(want) - 1) < 1e-5


@pytest.mark.parametrize("sigma", [1e-3, 1e-6, 1e-9])
def test_noise_that_is_small_beside_the_mean_keeps_its_digits(sigma: float, monkeypatch) -> None:
    """Relative to the noise itself: inner products alone have one digit of it at σ = 1e-8, and none at 1e-9."""
    monkeypatch.setattr(product_moments, "FORMED", 10**9)
    for name in PRODUCTS:
        at = context(vdbench.get(name))
        level = {n: 2 * math.log(sigma) for n in at.parameters if n.endswith("log_variance")}
        parameters = {
            n: torch.full_like(value, level[n]) if n in level else value
            for n, value in at.parameters.items()
        }
        at = replace(at, parameters=parameters)
        assert unit_sums.way(at).name == "products"
        want = variance_units.plain_rows(at, [0, 1])
        for column, rows in variance_units.rows(at, 0, 2).items():
            if column.endswith("|mean|noise"):
                # σ beside 1 leaves 16 + log₁₀ σ digits of a pre-activation's noise
                np.testing.assert_allclose(rows, want[column], rtol=1e-7 + 1e-14 / sigma, atol=0)


@dataclass(frozen=True)
class Spoiled(Local):
    """Local, with a number in place of one pre-activation where the first pixel's noise is below a level."""

    value: float = math.nan
    level: float = -1.0

    def preactivation(self, layer, x, q, noise) -> Tensor:  # type: ignore[no-untyped-def]
        b = super().preactivation(layer, x, q, noise)
        bad = noise.at("bad")(layer.name, ()) < self.level
        return b * torch.where(bad, self.value, 1.0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_named_as_in_the_plain_way(value: float) -> None:
    at = context(Spoiled(value))
    at.shared["way"] = unit_sums.prepared(at)  # a trial may be spoiled, too
    named = 0
    for unit in range(12):
        try:
            want = variance_units.plain_rows(at, [unit])
        except CellError as error:
            named += 1
            with pytest.raises(CellError, match=re.escape(str(error))):
                variance_units.rows(at, unit, unit + 1)
            assert all(unit_sums.of(at, [unit], way) is None for way in ways(at))
        else:
            agree(variance_units.rows(at, unit, unit + 1), want, 1e-11)
    assert 2 <= named <= 11, "a level at which some units are spoiled and some are not"


def test_squares_that_overflow_are_those_of_the_plain_way() -> None:
    """A gradient near 1e22 is a number in float32, and its square is not."""
    at = context(vdbench.get("local"), dtype=torch.float32)
    huge = {**at.parameters, "fc2.mean": at.parameters["fc2.mean"] * 1e22}
    at = replace(at, parameters=huge)
    want = variance_units.plain_rows(at, [0])
    assert any(not np.isfinite(rows).all() for rows in want.values())
    for name, rows in variance_units.rows(at, 0, 1).items():
        np.testing.assert_array_equal(rows, want[name])


@dataclass(frozen=True)
class Elsewhere(Local):
    """Local, whose mean enters the pre-activation beside the layer's product, too."""

    def preactivation(self, layer, x, q, noise) -> Tensor:  # type: ignore[no-untyped-def]
        b = super().preactivation(layer, x, q, noise)
        return b + (x @ q.mean.T).tanh()


@dataclass(frozen=True)
class Replaced(Local):
    """Samples weights of a law made from that which it is given."""

    def preactivation(self, layer, x, q, noise) -> Tensor:  # type: ignore[no-untyped-def]
        other = q._replace(mean=2 * q.mean)
        return layer.linear(x, other.weights(other.draw(noise, layer.name)))


@dataclass(frozen=True)
class Wider(Local):
    """Samples weights whose noise is wider by a little that depends on the inputs."""

    def preactivation(self, layer, x, q, noise) -> Tensor:  # type: ignore[no-untyped-def]
        z = q.draw(noise, layer.name) * (1 + 1e-6 * x.square().mean())
        return layer.linear(x, q.weights(z))


@dataclass(frozen=True)
class Written(Local):
    """Samples weights, and writes into the sample."""

    def preactivation(self, layer, x, q, noise) -> Tensor:  # type: ignore[no-untyped-def]
        return layer.linear(x, q.weights(q.draw(noise, layer.name)).mul_(1 + 1e-6))


@dataclass(frozen=True)
class WrittenNoise(Local):
    """Perturbs weights, and writes into the perturbation."""

    def preactivation(self, layer, x, q, noise) -> Tensor:  # type: ignore[no-untyped-def]
        moved = q.perturbation(q.draw(noise, layer.name)).mul_(1 + 1e-6)
        return layer.linear(x, q.mean) + layer.linear(x, moved)


@dataclass(frozen=True)
class Ratio(Local):
    """Local, with noise that is wider by a little that depends on α."""

    def preactivation(self, layer, x, q, noise) -> Tensor:  # type: ignore[no-untyped-def]
        return super().preactivation(layer, x, q, noise) * (1 + 1e-6 * q.log_alpha.mean())


def test_other_uses_of_the_weights_are_seen(monkeypatch) -> None:
    """By their form, not by their size: in a trial they may be within rounding."""
    monkeypatch.setattr(unit_sums, "AGREE", {torch.float64: 1.0})
    for estimator, form in (
        (Elsewhere(), "additive"),
        (Replaced(), "additive"),
        (Wider(), "additive"),
        (Written(), "additive"),
        (WrittenNoise(), "additive"),
        (Ratio(), "weight"),
    ):
        at = context(estimator, form)
        use = unit_sums.way(at)
        assert use.name == "together"
        assert "no products of dense layers" in use.why
        agree(variance_units.rows(at, 0, 3), variance_units.plain_rows(at, [0, 1, 2]), 1e-11)
        with pytest.raises(Refused):
            unit_sums._products(*_taken(at))


def _taken(at: Context):  # type: ignore[no-untyped-def]
    places = [at.key / "unit" / 0 / side for side in "ab"]
    batches = at.batches([place / "minibatch" for place in places])
    use = unit_sums.prepared(at)
    return at, use, batches, places, moments.Sums(1, use.buffers)


TURNS = itertools.count()


@dataclass(frozen=True)
class Turning(Local):
    """Uses the mean elsewhere from its tenth pass on: what a trial cannot see."""

    def preactivation(self, layer, x, q, noise) -> Tensor:  # type: ignore[no-untyped-def]
        b = super().preactivation(layer, x, q, noise)
        return b + 0.5 * (x @ q.mean.T) if next(TURNS) >= 20 else b


def test_a_use_that_comes_after_the_trial_is_seen() -> None:
    at = context(Turning())
    assert unit_sums.way(at).name == "products"
    for _ in range(20):
        next(TURNS)
    agree(variance_units.rows(at, 0, 2), variance_units.plain_rows(at, [0, 1]), 1e-11)


def test_layers_that_are_not_dense_or_met_more_than_once_are_formed() -> None:
    class Sequence(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(8, 5), nn.Linear(5, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.first(x.view(len(x), 8, 8)).relu().mean(1))

    torch.manual_seed(15)
    data = problems.build("digits", "classification", {"widths": []}).data
    problem = vdbench.noisy(Sequence(), data).to("cpu", torch.float64)
    key = Key(("sequence",))
    at = Context(problem, problem.initial(key), vdbench.get("naive"), "", SIZE, key, {})
    use = unit_sums.way(at)
    assert use.name != "products"
    assert "dense layers" in use.why
    agree(variance_units.rows(at, 0, 3), variance_units.plain_rows(at, [0, 1, 2]), 1e-11)


def test_memory_does_not_grow_with_units() -> None:
    """What is held between calls is as large after two calls as after twenty."""
    at = context(vdbench.get("local"))
    step = unit_sums.at_once(at)
    sizes = []
    for stop in (2, 20):
        variance_units.rows(at, 0, stop * step)
        sizes.append(sum(t.numel() for t in unit_sums.way(at).buffers.held.values()))
    assert sizes[0] == sizes[1]
