"""The measure of rounding: its rows against gradients computed by hand in numpy, its values against known ones."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from oracles import random_linear

from vdbench.arithmetic import to_bf16, to_tf32
from vdbench.errors import CellError
from vdbench.estimation.options import get
from vdbench.measures.context import Context
from vdbench.measures.metrics import UnitRows
from vdbench.measures.rounding import rows, values
from vdbench.noise import Key, Request, draw
from vdbench.problems.problem import Group

Array = NDArray[np.float64]

KEY = Key(("tests", "rounding"))
UNITS, SIZE = 6, 3
PLACE = random_linear(2015, 5, 4)


@functools.cache
def context(name: str) -> Context:
    problem = PLACE.problem().in_precision("cpu", "float32")
    parameters = {n: v.to(torch.float32) for n, v in PLACE.parameters().items()}
    return Context(problem, parameters, get(name), name, SIZE, KEY, {})


def exact(x: Array) -> Array:
    return x


def rounded(precision: str) -> Any:
    cut = {"tf32": to_tf32, "bf16": to_bf16}[precision]
    return lambda x: cut(torch.tensor(x, dtype=torch.float32)).double().numpy()


def by_hand(at: Context, unit: int, which: int, cut: Any, after: Any) -> Array:
    """The gradient of naive in μ: −N/M·x'ᵀr', r = x'w' − y, where x', w' and r' are rounded factors of products."""
    place = at.key / "unit" / unit
    batch = at.batch(place / "minibatch")
    x, y = batch.inputs.double().numpy(), batch.targets.double().numpy().reshape(SIZE)
    (layer,) = at.problem.layers
    posterior = at.problem.posterior(layer, at.parameters)
    mean, scale = (t.double().numpy().reshape(-1) for t in (posterior.mean, posterior.scale))
    request = Request((layer.name,), tuple(posterior.mean.shape), "normal")
    key = place / "draw" / which
    eps = draw(key, request, torch.empty(request.shape)).double().numpy().reshape(-1)
    w = mean + scale * eps
    out = after(cut(x) @ cut(w))
    scaled = at.problem.scale(batch) * (y - out)
    return np.asarray(after(cut(scaled) @ cut(x)))


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_rows_are_those_of_gradients_by_hand(precision: str) -> None:
    """In numpy, products of rounded factors summed in float64: they differ from sums in float32 by 1e-6 of the size."""
    at = context("naive")
    if "bias" in "".join(at.parameters):
        pytest.fail("the problem has a bias, which the gradients by hand have not")
    cut = rounded(precision)
    after = cut if precision == "bf16" else exact
    table = rows(at, [precision], 0, UNITS)
    (group,) = [g for g in at.sizes if g.role == "mean"]
    found = {q: table[f"{group.layer}|mean|{q}"] for q in
             ("exact", "signal", f"{precision} noise", f"{precision} bias", f"{precision} error")}  # fmt: skip
    for unit in range(UNITS):
        r1, r2 = (by_hand(at, unit, d, exact, exact) for d in (0, 1))
        g1, g2 = (by_hand(at, unit, d, cut, after) for d in (0, 1))
        d1, d2 = g1 - r1, g2 - r2
        want = [
            ((r1 - r2) ** 2 / 2).mean(),
            (r1 * r2).mean(),
            ((g1 - g2) ** 2 / 2).mean(),
            (d1 * d2).mean(),
            ((d1**2 + d2**2) / 2).mean(),
        ]
        size = float(np.abs([r1, r2]).max())
        room = [1e-5 * size**2] * 3 + [1e-5 * size * float(np.abs([d1, d2]).max())] * 2
        for (quantity, column), value, near in zip(found.items(), want, room, strict=True):
            assert column[unit] == pytest.approx(value, abs=near), (unit, quantity)


def test_in_float64_nothing_is_rounded() -> None:
    table = rows(context("local"), ["float64"], 0, UNITS)
    for name, column in table.items():
        if name.endswith(("float64 bias", "float64 error")):
            assert not column.any(), name
        if name.endswith("float64 noise"):
            assert np.array_equal(column, table[name.replace("float64 noise", "exact")])


def test_draws_one_by_one_give_the_same_rows() -> None:
    at = context("local")
    together = rows(at, ["bf16"], 0, UNITS)
    looped = rows(replace(at, together=0), ["bf16"], 0, UNITS)
    assert set(together) == set(looped)
    for name, column in together.items():
        scale = float(np.abs(together[name.rpartition("|")[0] + "|exact"]).max())
        assert looped[name] == pytest.approx(column, abs=0.02 * scale), name


def test_values_are_those_of_the_law_that_rows_follow() -> None:
    """Errors of mean b and variance e² on draws of mean m and variance 1: ratio 1 + e², b/m and √(b² + e²).

    Intervals at 1 − 1e-4 hold all of them, in 2,000 units of 50 parameters: a false alarm in some 3,000 runs.
    """
    rng, group, count = np.random.default_rng(3), Group("0", "mean"), 2000
    b, e, m = 0.3, 0.4, 2.0
    r = m + rng.standard_normal((2, count, 50))
    d = b + e * rng.standard_normal((2, count, 50))
    g = r + d
    table = {
        "0|mean|exact": ((r[0] - r[1]) ** 2 / 2).mean(1),
        "0|mean|signal": (r[0] * r[1]).mean(1),
        "0|mean|tf32 noise": ((g[0] - g[1]) ** 2 / 2).mean(1),
        "0|mean|tf32 bias": (d[0] * d[1]).mean(1),
        "0|mean|tf32 error": ((d[0] ** 2 + d[1] ** 2) / 2).mean(1),
    }
    found = {
        v.metric: v
        for v in values(UnitRows(table, {group: 50}), ["tf32"], 1 - 1e-4)
        if v.layer == "all"
    }
    truth = {"variance": 1 + e**2, "bias": b / m, "error": np.hypot(b, e)}
    for name, want in truth.items():
        for kind in ("", "adjusted."):
            value = found[f"{kind}rounding.{name}"]
            assert value.precision == "tf32"
            assert value.estimate.low <= want <= value.estimate.high, (kind, name, value)
            assert value.estimate.relative_half_width < 0.2, (kind, name, value)
    assert found["adjusted.rounding.bias"].detail["comparisons"] == 3
    wide, narrow = (found[f"{k}rounding.bias"].estimate for k in ("adjusted.", ""))
    assert wide.high > narrow.high


def test_estimators_that_are_not_the_same_in_two_precisions_are_refused() -> None:
    fitted = replace(context("naive"), state={"mean": 1.0})
    with pytest.raises(
        CellError, match="estimator 'naive' is fitted, and what it is fitted to would differ"
    ):
        rows(fitted, ["tf32"], 0, 2)
