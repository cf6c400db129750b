"""What a training keeps of its epochs: resumed to the bit, its best epoch, running means and histograms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_training import KEY, classifier, equal, trainer

from vdbench.estimation.base import Declaration, Estimator, Gradient
from vdbench.estimation.options import get
from vdbench.noise import Key, Noise
from vdbench.problems.gaussian import ThetaLogAlpha
from vdbench.problems.problem import Batch, Parameters, Problem
from vdbench.schedules import Cosine, Recipe
from vdbench.training.history import Tracker, Tracking, hold_out
from vdbench.training.trainer import Trainer, train

TRACKING = Tracking(marks=(0, 2, 5), samples=2, examples=20, prune=0.5)

pytestmark = pytest.mark.usefixtures("one_thread")


def watched(recipe: Recipe, patience: int | None = None) -> tuple[Trainer, Tracker]:
    problem, validation = classifier(), None
    tracking = TRACKING
    if patience is not None:
        problem, validation = hold_out(problem, 0.25, KEY)
        tracking = Tracking((0, 2, 5), 2, 20, 0.5, patience)
    return trainer(recipe, problem=problem, rate=0.1), Tracker(tracking, KEY, validation)


def timeless(tracker: Tracker) -> list[Any]:
    table = tracker.table()
    keep = ~np.char.endswith(table["metric"].astype(str), "seconds")
    return [table[name][keep].tolist() for name in table]


COSINE = Recipe(epochs=12, schedule=Cosine(), warm_up=3, log_alpha=(-4.0, 0.0))


@pytest.mark.parametrize(
    ("recipe", "patience", "at"),
    [
        (Recipe(), None, 1),
        (COSINE, None, 4),
        (Recipe(), 3, 4),
        pytest.param(Recipe(), None, 4, marks=pytest.mark.long),
        pytest.param(COSINE, None, 1, marks=pytest.mark.long),
        pytest.param(Recipe(), 3, 1, marks=pytest.mark.long),
    ],
)
def test_a_training_that_is_killed_ends_where_it_would_have(
    recipe: Recipe, patience: int | None, at: int, tmp_path: Path
) -> None:
    """To the bit, in parameters, history and the best epoch; constant, cosine, and early stopping."""
    run, whole = watched(recipe, patience)
    train(run, 12, tmp_path / "whole.npz", whole)
    best = whole.finish(run)
    first, tracker = watched(recipe, patience)

    class Killed(Exception):
        pass

    def end(trainer: Trainer, seconds: float) -> None:
        if trainer.step > at * trainer.steps_per_epoch:
            raise Killed  # in the next epoch, before it is saved
        Tracker.epoch(tracker, trainer, seconds)

    tracker.epoch = end  # type: ignore[method-assign]
    with pytest.raises(Killed):
        train(first, 12, tmp_path / "part.npz", tracker)
    second, again = watched(recipe, patience)
    train(second, 12, tmp_path / "part.npz", again)
    resumed = again.finish(second)
    assert equal(run.parameters, second.parameters)
    assert equal(best, resumed)
    assert repr(timeless(again)) == repr(timeless(whole))  # repr: NaN equals itself
    assert (again.best_epoch, again.best_nll) == (whole.best_epoch, whole.best_nll)
    finished, read = watched(recipe, patience)
    train(finished, 12, tmp_path / "part.npz", read)
    assert equal(read.finish(finished), best)


def test_early_stopping_gives_the_best_epoch_back(tmp_path: Path) -> None:
    """Few examples and a high rate: validation gets worse, training ends early and its best epoch is returned."""
    run, tracker = watched(Recipe(kl_weight=0.0), patience=2)
    last = train(run, 60, tmp_path / "state.npz", tracker)
    best = tracker.finish(run)
    table = tracker.table()
    nll = table["value"][table["metric"] == "validation.nll"]
    stopped = run.step // run.steps_per_epoch
    assert stopped == len(nll) < 60
    assert tracker.best_epoch == 1 + int(np.argmin(nll)) == stopped - 2
    assert not equal(best, last)
    said = table["value"][table["metric"] == "final.training.epochs"]
    assert said.tolist() == [tracker.best_epoch]


def test_validation_examples_are_taken_from_the_training_set() -> None:
    problem = classifier()
    rest, held = hold_out(problem, 0.25, KEY)
    again, same = hold_out(problem, 0.25, KEY)
    other, _ = hold_out(problem, 0.25, KEY / 1)
    assert (rest.examples, len(held.inputs)) == (30, 10)
    both = torch.cat([rest.data.train.inputs, held.inputs])
    assert sorted(map(tuple, both.tolist())) == sorted(
        map(tuple, problem.data.train.inputs.tolist())
    )
    assert torch.equal(held.inputs, same.inputs)
    assert torch.equal(again.data.train.inputs, rest.data.train.inputs)
    assert not torch.equal(other.data.train.inputs, rest.data.train.inputs)
    assert rest.data.test is problem.data.test


@dataclass(frozen=True)
class Remembers(Estimator):
    """As `local`, with a moving average of the value that changes its gradient."""

    declaration = Declaration("remembers", "elbo", True, ("normal",), True, "1")
    opaque: bool = False

    def fit(self, problem: Problem, parameters: Parameters, key: Key) -> Any:
        state = {"mean": torch.zeros(()), "count": 0}
        return (state, {3} if self.opaque else None)

    def update(self, state: Any, gradient: Gradient) -> Any:
        old, rest = state
        return (
            {"mean": 0.9 * old["mean"] + 0.1 * gradient.value, "count": old["count"] + 1},
            rest,
        )

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        drawn = get("local")(problem, parameters, batch, noise)
        factor = 1 + torch.tanh(state[0]["mean"] / 100) / (1 + state[0]["count"])
        return Gradient(drawn.value, {n: factor * g for n, g in drawn.gradients.items()})


@pytest.mark.parametrize("opaque", [False, True])
def test_an_estimator_s_state_is_gone_on_with_or_the_training_begins_again(
    opaque: bool, tmp_path: Path
) -> None:
    whole = train(trainer(estimator=Remembers()), 4, tmp_path / "whole.npz")
    path, said = tmp_path / "part.npz", []
    train(trainer(estimator=Remembers(opaque)), 2, path)
    run = trainer(estimator=Remembers(opaque))
    steps: list[int] = []
    advance = run.advance
    run.advance = lambda n: (steps.append(n), advance(n))[1]  # type: ignore[method-assign]
    found = train(run, 4, path, say=said.append)
    assert equal(found, whole)
    assert sum(steps) == (20 if opaque else 10)
    words = (
        "the state of remembers cannot be saved: its training, which was interrupted, begins again"
    )
    assert said == ([words] if opaque else [])
    again = trainer(estimator=Remembers(opaque))
    assert equal(train(again, 4, path), whole)  # a finished one is only read


def test_running_means_are_those_of_the_steps(tmp_path: Path) -> None:
    run, tracker = watched(Recipe(warm_up=1))
    values: list[float] = []

    @dataclass(frozen=True)
    class Noted(Estimator):
        declaration = Declaration("noted", "elbo", True, ("normal",), True, "1")

        def __call__(self, *given: Any) -> Gradient:
            found = get("local")(*given)
            values.append(float(found.value))
            return found

    run = trainer(Recipe(warm_up=1), estimator=Noted(), rate=0.1)
    train(run, 2, tmp_path / "state.npz", tracker)
    table = tracker.table()
    mine = table["metric"] == "running.log_likelihood"
    expected = np.array(values).reshape(2, 5).mean(1)
    assert table["value"][mine] == pytest.approx(expected, rel=1e-6)
    weights = table["value"][table["metric"] == "kl_weight"]
    assert weights == pytest.approx([0.8, 1.0])
    assert np.isfinite(table["value"][table["metric"] == "running.kl"]).all()


def test_histograms_count_every_weight(tmp_path: Path) -> None:
    run, tracker = watched(Recipe())
    train(run, 5, tmp_path / "state.npz", tracker)
    table = tracker.table()
    for metric in ("log_alpha", "log_sigma"):
        for layer, size in (("0", 24), ("2", 18)):
            for epoch in TRACKING.marks:
                mine = (table["metric"] == metric) & (table["layer"] == layer)
                assert table["value"][mine & (table["epoch"] == epoch)].sum() == size
    shared = trainer(form=ThetaLogAlpha(0.5))
    tracker = Tracker(TRACKING, KEY)
    tracker.before(shared)
    table = tracker.table()
    mine = (table["metric"] == "log_alpha") & (table["layer"] == "0")
    assert table["value"][mine].tolist() == [24]  # one α for all: all in one bin
    assert table["bin"][mine].tolist() == [1 + math.floor((math.log(0.5) + 12) / 0.5)]


def test_a_tracker_that_is_saved_and_loaded_knows_all_it_knew() -> None:
    """The best validation NLL above all: without it the next epoch would always be the best."""
    run, before = watched(Recipe())
    before.before(run)
    before.best_nll, before.best_epoch, before.epochs, before.seconds = 0.25, 3, 5, 1.5
    before.best = {name: value.clone() for name, value in run.parameters.items()}
    after = Tracker(before.plan, before.key)
    after.load(before.arrays())
    for name in ("best_nll", "best_epoch", "epochs", "seconds"):
        assert getattr(after, name) == getattr(before, name), name
    assert repr(after.rows) == repr(before.rows)  # NaN in some of them
    assert all(torch.equal(after.best[name], value) for name, value in before.best.items())
