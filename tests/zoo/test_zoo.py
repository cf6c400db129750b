"""A short form of the zoo: a defect is caught in one check, and a right one is not accused; ``make long`` has more.

``make zoo`` checks all of them with five seeds.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.optimize import brentq
from scipy.stats import binom

sys.path.append(str(Path(__file__).parent))

from table import page
from zoo import DEFECTS, ENTRIES, RIGHT

from estimators.relax import Relax
from vdbench.certificate import check
from vdbench.certificate.reference_problems import stage
from vdbench.noise import Key, stream

pytestmark = pytest.mark.usefixtures("one_thread")

FEW = 2048
"""Draws: what so few catch, more do too."""

CAUGHT = (
    "alpha-clamped-at-1", "rows-of-a-kernel-share-noise", "no-noise-with-padding-same", "labels-are-clamped",
    "layernorm-has-no-gradient", "half-above-128-examples", "a-table-of-16-rows", "noise-of-torch-s-generator",
    "mixture-with-local-at-a-convolution", "deterministic-vi-with-half-the-spread", "arms-with-the-factor-of-two",
    "double-control-variate-of-its-own-slope", "straight-through-gumbel-claims-no-bias",
    "quadratic-control-variate-without-its-mean", "quadratic-control-variate-of-its-own-draw",
    "ensemble-control-variate-of-its-own-draw", "ensemble-control-variate-of-two-objectives",
)  # fmt: skip

SPARED = ("noise-negated", "local-as-it-is", "500-g-one-time-in-500")


def test_there_are_enough_of_them() -> None:
    assert len(DEFECTS) >= 80
    assert len(RIGHT) >= 40


def first_of(names: tuple[str, ...]) -> list[Any]:
    """Parameters for pytest, all but the first left to ``make long``."""
    return [pytest.param(n, marks=pytest.mark.long if k else ()) for k, n in enumerate(names)]


@pytest.mark.parametrize("name", first_of(CAUGHT))
def test_a_defect_fails(name: str) -> None:
    found = check(ENTRIES[name].estimator, draws=FEW)
    assert found.verdict == "FAILED", found.text(verbose=True)
    assert found.diagnosis


@pytest.mark.parametrize("name", first_of(SPARED))
def test_a_right_one_is_not_accused(name: str) -> None:
    found = check(ENTRIES[name].estimator, draws=FEW, seed=1)
    assert not found.failed, found.text(verbose=True)


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in RIGHT if name not in SPARED])
def test_every_right_one_can_be_called(name: str) -> None:
    found = check(
        ENTRIES[name].estimator, draws=64, seed=1
    )  # too few for rare values: of its mean nothing is asked
    assert not [finding for finding in found.failed if finding.test == "contract"], found.diagnosis


@pytest.mark.parametrize("name", [n for n in DEFECTS if n.startswith("relax-")])
def test_what_is_made_of_a_fitted_estimator_is_another(name: str) -> None:
    """At the same noise and state its gradient is not the right one's, so that there is something to catch."""
    at, key = stage("masks"), Key(("relax", 1))
    right = Relax(steps=2)
    state = right.fit(at.problem, at.parameters, key)
    one, other = (
        estimator(at.problem, at.parameters, at.batch, stream(key, "cpu", torch.float64), state)
        for estimator in (right, ENTRIES[name].estimator)
    )
    assert not torch.equal(one.gradients["0.logit"], other.gradients["0.logit"])
    assert torch.equal(one.gradients["0.theta"], other.gradients["0.theta"])


def test_the_page_has_a_line_for_each() -> None:
    row = {"name": "chunks-of-32", "verdict": "FAILED", "grade": "bias", "power": 0.09}
    made = page([row], [{"name": "chunks-of-32", "dense": 0.25}])
    assert (
        "| chunks-of-32 | chunks of 32, the remainder dropped | 0.25 | – | – | 1 of 1 | bias | 0.09 |"
        in made
    )
    assert all(f"| {name} |" in made for name in ENTRIES)


def test_the_page_counts_catches_by_the_number_of_checks_with_exact_intervals() -> None:
    """Of three defects one is caught at once, one with its second seed, one never; a line has no seed."""
    one, other, third = list(DEFECTS)[:3]
    rows = [
        {"name": name, "seed": seed, "verdict": verdict, "grade": None, "power": None}
        for name, seed, verdict in (
            (other, 1, "FAILED"), (other, 0, "INCONCLUSIVE"),
            (third, 0, "INCONCLUSIVE"), (third, 1, "INCONCLUSIVE"),
        )
    ]  # fmt: skip
    old = {"name": one, "verdict": "FAILED", "grade": "bias", "power": 0.09}
    right = {"name": next(iter(RIGHT)), "verdict": "PASSED", "grade": None, "power": 0.09}
    made = page([old, *rows, *[right] * 46], [])
    # 1 of 3 and 1 of 2: Clopper and Pearson's ends from the tails of the binomial distribution
    for count, n, seeds in ((1, 3, 1), (1, 2, 2)):
        low = brentq(lambda p: binom.sf(count - 1, n, p) - 0.025, 1e-9, 1 - 1e-9)  # noqa: B023
        high = brentq(lambda p: binom.cdf(count, n, p) - 0.025, 1e-9, 1 - 1e-9)  # noqa: B023
        assert f"| {seeds} | {count} of {n}, [{100 * low:.1f}, {100 * high:.1f}] % |" in made
    assert "| FAILED in the first check | 1 of 3, [0.8, 90.6] % |" in made
    assert f"0 of 46, [0.0, {100 * (1 - 0.025 ** (1 / 46)):.1f}] %" in made
