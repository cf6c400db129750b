"""Bias over minibatches of an estimator that is unbiased on average over them alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracles
from oracles import FIT, random_linear

from vdbench.estimation.options import get
from vdbench.measures.bias import rows
from vdbench.measures.context import Context
from vdbench.noise import Key

UNITS, DRAWS = 400, 2


def squared(name: str, exact: bool, **options: Any) -> list[str]:
    """Where the mean squared bias is not what it should be, on minibatches of 2 of 6 examples beside naive sampling."""
    of = random_linear(2, 6, 2)
    problem, parameters = of.problem(), of.parameters()
    made = []
    for estimator in (get(name, **options), get("naive")):
        state = estimator.fit(problem, parameters, FIT)
        where = (problem, parameters, estimator, "here", 2, Key(("bias", name)), {})
        made.append(Context(*where, state=state))
    table = rows(made[0], made[1], DRAWS, 0, UNITS)
    whole, truth = made[0].state["whole"], oracles.naive(of)
    found = []
    for parameter, role in oracles.ROLES.items():
        if parameter in whole:
            gap = whole[parameter].flatten().numpy() - truth[role][0]
            values = np.asarray(table[f"0|{role}|bias2"])
            found.append(
                oracles.compare_rows(f"{name} {role}", values, 0.0 if exact else (gap**2).mean())
            )
    assert len(found) == 2
    return oracles.alarms(found)


def test_an_anchor_s_control_of_the_minibatch_is_no_bias() -> None:
    """Given the minibatch its mean is far from that minibatch's gradient."""
    wrong = squared("svrg", True, distance=0.5)
    assert not wrong, "\n".join(wrong)


def test_the_bias_of_a_stored_mean_is_that_of_its_error() -> None:
    """One stored draw of the gradient of all examples: what it differs from the exact one is the bias of all draws."""
    wrong = squared("svrg", False, control="stored", draws=1)
    assert not wrong, "\n".join(wrong)
