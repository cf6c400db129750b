"""Draws of an estimator under both ways to make noise: the same law, and by counter many at once as one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import oracles
import pytest
import torch
from linear_problems import DRAWS, moderate
from oracles import Comparison

from vdbench import get
from vdbench.estimation.draws import gradients, inject, trace
from vdbench.noise import NOISES, PHILOX, Key, Request, draw

Asked = tuple[str, dict[str, Any], Callable[[oracles.Linear], oracles.Moments] | None]

SOME: dict[str, Asked] = {
    "naive": ("naive", {}, oracles.naive),
    "local": ("local", {}, oracles.local),
    "flipout": ("flipout", {}, oracles.flipout),
    "per-example": ("per-example", {}, oracles.per_example),
    "score": (
        "score",
        {"samples": 4, "baseline": "leave-one-out"},
        lambda of: oracles.score(of, 4, True),
    ),
    "samples": ("samples", {"of": "local", "samples": 3}, None),
    "sobol": ("sobol", {"of": "naive", "samples": 4}, None),
    "price-hessian": ("price-hessian", {}, None),
    "spsa": ("spsa", {}, None),
}
"""Estimators that ask for every law, many times a draw or once, with their closed forms."""


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, dict[str, np.ndarray[Any, Any]]]]:
    """Gradients on one problem, by estimator and noise."""
    of = moderate(3, 3, 2, 2)
    return {
        case: {
            noise: oracles.sampled(
                get(name, **options), of, DRAWS, Key(("tests", "by counter", case), noise)
            )
            for noise in NOISES
        }
        for case, (name, options, _) in SOME.items()
    }


def test_means_and_variances_by_counter_are_the_closed_forms(rows) -> None:  # type: ignore[no-untyped-def]
    of = moderate(3, 3, 2, 2)
    found = [
        line
        for case, (_, _, oracle) in SOME.items()
        if oracle is not None
        for line in oracles.compare(case, rows[case][PHILOX], oracle(of))
    ]
    assert len(found) > 40
    assert not oracles.alarms(found)


def test_mean_gradients_under_both_kinds_of_noise_are_equal(rows) -> None:  # type: ignore[no-untyped-def]
    """Within the standard errors measured, `oracles.FALSE_ALARM` over all estimators and coordinates."""
    found = []
    for case, by in rows.items():
        for role in by[PHILOX]:
            for i in range(by[PHILOX][role].shape[1]):
                one, two = (by[noise][role][:, i] for noise in NOISES)
                error = np.hypot(*(v.std(ddof=1) / np.sqrt(len(v)) for v in (one, two)))
                place = f"{case} {role}[{i}]: by counter against torch"
                found.append(Comparison(place, float(two.mean()), float(error), float(one.mean())))
                assert not np.array_equal(one, two)
    assert not oracles.alarms(found)


@pytest.mark.parametrize("case", SOME)
def test_draws_at_once_are_made_of_the_noise_of_single_draws(case: str) -> None:
    """Their noise is equal bit for bit, and so are the gradients up to the rounding of vectorised arithmetic."""
    name, options, _ = SOME[case]
    estimator, of = get(name, **options), moderate(3, 3, 2, 2)
    problem, parameters, batch = of.problem(), of.parameters(), of.batch()
    state = estimator.fit(problem, parameters, oracles.FIT)
    traced = trace(estimator, problem, parameters, batch, state)
    keys = [Key(("tests", "unit", k // 2, "draw", k % 2), PHILOX) for k in range(10)]
    for dtype in (torch.float32, torch.float64):
        noise = inject(traced.requests, keys, problem.device, dtype)
        for request, stack in noise.items():
            for row, key in zip(stack, keys, strict=True):
                assert torch.equal(row, draw(key, request, torch.empty_like(row)))
    batches = oracles.repeat(batch, len(keys))
    assert traced.together
    together, looped = (
        gradients(estimator, problem, parameters, batches, keys, how, state)
        for how in (traced, replace(traced, together=0))
    )
    for name, value in together.gradients.items():
        torch.testing.assert_close(value, looped.gradients[name], rtol=1e-9, atol=1e-9)


def test_noise_of_all_draws_is_written_where_it_is_wanted() -> None:
    request = Request(("fc1",), (3, 4), "normal")
    keys = [Key(("tests", k), PHILOX) for k in range(5)]
    held = torch.empty(5, 3, 4)
    found = inject([request], keys, torch.device("cpu"), torch.float32, lambda _: held)
    assert found[request] is held
    assert torch.equal(held[3], draw(keys[3], request, torch.empty(3, 4)))
