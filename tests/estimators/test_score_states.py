"""States of score functions and their like: repeated, saved, and of earlier costs alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from score_places import place

from vdbench.errors import CellError
from vdbench.estimation.base import Estimator
from vdbench.estimation.options import get, label
from vdbench.noise import Key, stream
from vdbench.training import estimator_state

STATEFUL = [
    get("score", baseline="moving-average", pilot=3),
    get("score-local", baseline="optimal", pilot=3),
    get("samples", of=get("score", baseline="moving-average", pilot=3), samples=2),
    get("antithetic", of=get("score-local", baseline="moving-average", pilot=3)),
    get("control-variate", coefficient="fitted", pilot=2),
    get(
        "control-variate",
        of=get("score", baseline="moving-average", pilot=3),
        kind="delta",
        coefficient="fitted",
        pilot=2,
    ),
]


@pytest.mark.parametrize("estimator", STATEFUL, ids=label)
def test_a_state_is_repeatable_and_can_be_saved(estimator: Estimator) -> None:
    problem, parameters, _ = place()
    state, again = (estimator.fit(problem, parameters, Key(("state",))) for _ in range(2))
    other = estimator.fit(problem, parameters, Key(("other",)))
    packed = estimator_state.pack(state)

    def same(a: Any, b: Any) -> bool:
        found, wanted = estimator_state.pack(a), estimator_state.pack(b)
        assert set(found) == set(wanted)
        return all((found[name] == wanted[name]).all() for name in found)

    assert same(state, again)
    assert same(state, estimator_state.unpack(packed, torch.device("cpu")))
    assert not same(state, other)


@pytest.mark.parametrize("estimator", STATEFUL, ids=label)
def test_a_state_that_is_missing_is_told(estimator: Estimator) -> None:
    with pytest.raises(
        CellError, match=r"has a state and was given none; expected state=estimator\.fit"
    ):
        estimator(*place(), stream(Key(("none",)), dtype=torch.float64))


def test_an_update_knows_earlier_costs_alone() -> None:
    """The baseline of a step is made of the costs before it: decay·average + (1 − decay)·cost, through wrappers too."""
    problem, parameters, batch = place()
    inner = get("score", baseline="moving-average", decay=0.75, pilot=3)
    for estimator in (inner, get("samples", of=inner, samples=2), get("antithetic", of=inner)):
        state = estimator.fit(problem, parameters, Key(("update",)))
        average = float(state["cost"])
        for step in range(3):
            noise = stream(Key(("update", step)), dtype=torch.float64)
            gradient = estimator(problem, parameters, batch, noise, state)
            assert float(state["cost"]) == pytest.approx(average, rel=1e-12)
            state = estimator.update(state, gradient)
            average = 0.75 * average + 0.25 * float(gradient.value)
        assert float(state["cost"]) == pytest.approx(average, rel=1e-12)
    assert get("score").update((), gradient) == ()
    fitted = get("control-variate", of=inner, kind="delta", coefficient="fitted", pilot=2)
    state = fitted.fit(problem, parameters, Key(("update",)))
    moved = fitted.update(state, gradient)
    assert moved["coefficient"] is state["coefficient"]
    assert float(moved["of"]["cost"]) == pytest.approx(
        0.75 * float(state["of"]["cost"]) + 0.25 * float(gradient.value)
    )
