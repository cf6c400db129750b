"""Schedules, KL weight and warm-up; bounds on log α; counts of log α; pruning; saved states."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from vdbench import schedules
from vdbench.datasets import Dataset, Split
from vdbench.errors import CellError, InputError
from vdbench.noise import Key, stream
from vdbench.problems import log_alpha
from vdbench.problems.from_module import noisy
from vdbench.problems.gaussian import MeanLogVariance, ThetaLogAlpha
from vdbench.problems.layers import Layer
from vdbench.problems.parameterization import Parameterization
from vdbench.problems.priors import LogUniformPrior
from vdbench.problems.problem import Problem
from vdbench.schedules import Cosine, Linear, Recipe, Step
from vdbench.training import estimator_state
from vdbench.training.pruning import prune

KEY = Key(("tests", "schedules"))


def test_factors_at_the_ends_and_between() -> None:
    assert [Linear().factor(e, 8) for e in (0, 2, 8, 9)] == [1, 0.75, 0, 0]
    assert Cosine().factor(0, 8) == 1
    assert Cosine().factor(4, 8) == pytest.approx(0.5)
    assert Cosine().factor(8, 8) == pytest.approx(0)
    assert Cosine().factor(2, 8) == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert [Step(2, 0.1).factor(e, 8) for e in (0, 1.9, 2, 4.5)] == pytest.approx([1, 1, 0.1, 0.01])
    assert Recipe().rate(3.5) == 1.0


def test_warm_up_rises_linearly_to_the_weight() -> None:
    recipe = Recipe(kl_weight=0.5, warm_up=4)
    assert [recipe.weight(e) for e in (0, 1, 2, 4, 9)] == [0, 0.125, 0.25, 0.5, 0.5]
    assert Recipe().weight(0) == 1


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: schedules.from_spec("cosin"), "schedule 'cosin' is unknown. Did you mean"),
        (lambda: schedules.from_spec({"kind": "step", "ever": 2}), "no option 'ever'"),
        (lambda: Step(every=0), "every must be a whole number above 0, not 0"),
        (lambda: Step(by=1.5), "by must lie between 0 and 1, not 1.5"),
        (lambda: Recipe(kl_weight=-1), "kl_weight must be a finite number of at least 0, not -1"),
        (lambda: Recipe(warm_up=-1), "warm_up must be a whole number of epochs"),
        (lambda: Recipe(log_alpha=(math.nan, None)), "bounds on log α must be finite"),
        (lambda: Recipe(log_alpha=(1, 0)), "the lower bound on log α, 1, is above the upper, 0"),
        (lambda: Recipe(schedule=Linear()), "needs the epochs it runs over"),
    ],
)
def test_what_is_no_recipe_is_refused(made: Any, said: str) -> None:
    with pytest.raises(InputError, match=said.replace("(", r"\(")):
        made()


def problem(form: Parameterization) -> Problem:
    noise = stream(KEY, dtype=torch.float64)
    x, y = noise("x", (12, 3)), (noise("y", (12,), "uniform") * 2).long()
    data = Dataset("synthetic", Split(x, y), Split(x, y), 2)
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    return noisy(module, data, parameterization=form, prior=LogUniformPrior(), keep_weights=False)


def bounded(made: Problem, low: float | None, high: float | None) -> dict[str, torch.Tensor]:
    values = made.initial(KEY)
    log_alpha.clamp(made, values, made.free(values), (low, high))
    return values


@pytest.mark.parametrize("bounds", [(None, 0.0), (-2.0, None), (-1.0, 0.5)])
@pytest.mark.parametrize("form", [MeanLogVariance(0.3), ThetaLogAlpha((4.0, 0.001))])
def test_log_alpha_stays_within_its_bounds(
    form: Parameterization, bounds: tuple[float | None, float | None]
) -> None:
    made = problem(form)
    start, values = made.initial(KEY), bounded(made, *bounds)
    low = -math.inf if bounds[0] is None else bounds[0]
    high = math.inf if bounds[1] is None else bounds[1]
    moved = 0
    for layer in made.layers:
        before = log_alpha.log_alpha(made, layer, start)
        after = log_alpha.log_alpha(made, layer, values)
        assert torch.allclose(after, before.clamp(low, high), atol=1e-12)
        moved += int((before != after).sum())
        theta, mean = f"{layer.name}.theta", f"{layer.name}.mean"
        if theta in values:
            assert torch.equal(values[theta], start[theta])
        else:  # beyond the upper bound the mean moves, and the noise stays
            inside, scale = before <= high, f"{layer.name}.log_variance"
            assert torch.equal(values[mean][inside], start[mean][inside])
            assert torch.equal(values[scale][before >= low], start[scale][before >= low])
    assert moved


def test_a_fixed_alpha_is_left_alone() -> None:
    made = problem(ThetaLogAlpha(4.0, learned=False))
    assert float(bounded(made, None, 0.0)["0.log_alpha"]) == pytest.approx(math.log(4))


def test_bounds_stay_finite_at_a_mean_of_zero() -> None:
    made = problem(MeanLogVariance(0.7))
    values = made.initial(KEY)
    values["0.mean"].zero_()
    log_alpha.clamp(made, values, made.free(values), (-8.0, 8.0))
    assert values["0.log_variance"].isfinite().all()
    assert float(made.kl(values)) < math.inf


def test_bounds_need_a_coordinate_to_act_on() -> None:
    made = problem(MeanLogVariance())
    other = {n.replace("log_variance", "rho"): v for n, v in made.initial(KEY).items()}
    with pytest.raises(
        CellError,
        match="need the coordinate log_alpha, or log_variance of the weights alone; layer '0'",
    ):
        log_alpha.clamp(made, other, other, (None, 0.0))


def test_counts_by_hand() -> None:
    edges = np.array([-1.0, 0.0, 1.0])
    values = torch.tensor([-5.0, -1.0, -0.5, 0.0, 1.0, math.inf, -math.inf])
    assert log_alpha.counts(values, edges).tolist() == [2, 2, 1, 2]


def test_pruning_by_hand() -> None:
    made = problem(MeanLogVariance(1.0))
    values = made.initial(KEY)
    # σ = 1: log α = −2 log|μ|, at or above 3 where |μ| ≤ e^−1.5
    for layer in made.layers:
        values[f"{layer.name}.mean"].fill_(1.0)
    values["0.mean"][0] = 0.1
    values["2.mean"][1, :3] = 0.0
    found = prune(made, values)
    assert found.pruned == {"0": 3, "2": 3}
    assert found.shares == pytest.approx({"0": 25.0, "2": 37.5, "all": 30.0})
    assert found.compression == pytest.approx(20 / 14)
    assert found.weights["0"][0].tolist() == [0, 0, 0]
    assert float(found.weights["0"].sum()) == 9
    assert prune(made, values, -1.0).compression == math.inf
    assert prune(made, values, 1e9).shares["all"] == pytest.approx(15.0)  # μ = 0: log α is infinite


def test_a_shared_alpha_prunes_together() -> None:
    made = problem(ThetaLogAlpha((100.0, 0.5)))
    found = prune(made, made.initial(KEY))
    assert found.pruned == {"0": 12, "2": 0}
    assert float(found.weights["0"].abs().sum()) == 0


def test_a_state_survives_being_saved(tmp_path: Path) -> None:
    state = (
        torch.arange(3.0), {"mean": 0.1, "deep": [torch.tensor(2), None, (True, 3, "word")]}, (),
    )  # fmt: skip
    np.savez(tmp_path / "state.npz", **estimator_state.pack(state))
    with np.load(tmp_path / "state.npz", allow_pickle=False) as saved:
        found = estimator_state.unpack(saved, torch.device("cpu"))
    assert torch.equal(found[0], state[0])
    assert found[1]["mean"] == 0.1
    deep = found[1]["deep"]
    assert type(deep) is list
    assert torch.equal(deep[0], torch.tensor(2))
    assert deep[1:] == [None, (True, 3, "word")]
    assert found[2] == ()
    assert estimator_state.can_save(())
    assert not estimator_state.can_save((Layer("a", (1, 1)),))
    assert not estimator_state.can_save({1: 2.0})
