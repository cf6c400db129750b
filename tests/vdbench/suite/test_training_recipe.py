"""Recipes in the one training loop: schedules, KL weight, bounds, early stopping, resumption, and the stop at a NaN."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vdbench.datasets import Dataset, Split
from vdbench.errors import CellError
from vdbench.estimation.base import Declaration, Estimator, Gradient
from vdbench.estimation.options import get
from vdbench.noise import Key, Noise, stream
from vdbench.problems.from_module import noisy
from vdbench.problems.gaussian import MeanLogVariance, ThetaLogAlpha
from vdbench.problems.log_alpha import clamp, image_map
from vdbench.problems.parameterization import Parameterization
from vdbench.problems.priors import LogUniformPrior
from vdbench.problems.problem import Batch, Parameters, Problem
from vdbench.schedules import Cosine, Linear, Recipe, Step
from vdbench.training.history import Tracker, Tracking, hold_out
from vdbench.training.non_finite import Watch
from vdbench.training.trainer import Trainer, train

KEY = Key(("tests", "recipes"))
TRACKING = Tracking(marks=(0, 2, 5), samples=2, examples=20, prune=0.5)


pytestmark = pytest.mark.usefixtures("one_thread")


def classifier(form: Parameterization | None = None) -> Problem:
    noise = stream(KEY, dtype=torch.float64)

    def split(name: str) -> Split:
        x = noise(name, (40, 4))
        return Split(x, (x[:, 0] > 0).long() + (x[:, 1] > 0.5).long())

    data = Dataset("synthetic", split("train"), split("test"), 3)
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    made = noisy(module, data, parameterization=form, prior=LogUniformPrior(), keep_weights=False)
    return made.to("cpu", torch.float32)


def trainer(
    recipe: Recipe | None = None,
    estimator: Estimator | None = None,
    form: Parameterization | None = None,
    problem: Problem | None = None,
    rate: float = 0.02,
) -> Trainer:
    problem = problem or classifier(form)
    return Trainer(
        problem, estimator or get("local"), problem.initial(KEY), 8, rate, KEY,
        recipe=recipe or Recipe(),
    )  # fmt: skip


def equal(one: Parameters, other: Parameters) -> bool:
    return set(one) == set(other) and all(torch.equal(one[n], other[n]) for n in one)


# -- recipes --------------------------------------------------------------------------------------------------


def test_the_default_recipe_changes_nothing() -> None:
    one, other = trainer(), trainer(Recipe(epochs=3, kl_weight=1.0, log_alpha=(-1e3, 1e3)))
    one.advance(6)
    other.advance(6)
    assert equal(one.parameters, other.parameters)


@pytest.mark.parametrize("schedule", [Linear(), Cosine(), Step(1, 0.5)])
def test_the_learning_rate_follows_its_schedule(schedule: Any) -> None:
    """Adam's first step moves every parameter by the rate; each later one is taken at the rate of its step."""
    run = trainer(Recipe(epochs=2, schedule=schedule))
    rates = []
    for step in range(10):
        run.advance(1)
        rates.append(run._optimizer.param_groups[0]["lr"])
        assert rates[-1] == pytest.approx(0.02 * schedule.factor(step / 5, 2))
    assert rates[0] == 0.02
    assert rates[-1] < 0.011


def test_a_rate_of_zero_moves_nothing() -> None:
    run = trainer(Recipe(epochs=1, schedule=Linear()))
    run.advance(5)
    before = {n: v.clone() for n, v in run.parameters.items()}
    run.advance(1)  # beyond the last epoch
    assert equal(run.parameters, before)


def test_a_kl_weight_of_zero_is_maximum_likelihood() -> None:
    """Equal to the bit to a training whose problem has no KL at all."""

    class Nothing:
        def kl(self, mean: Tensor, variance: Tensor) -> Tensor:
            return 0 * (mean.sum() + variance.sum())

    free = trainer(Recipe(kl_weight=0.0))
    problem = classifier()
    object.__setattr__(problem, "prior", Nothing())
    without = trainer(problem=problem)
    weighed = trainer()
    for run in (free, without, weighed):
        run.advance(10)
    assert equal(free.parameters, without.parameters)
    assert not equal(free.parameters, weighed.parameters)


def test_a_kl_weight_multiplies_the_kl_s_gradient() -> None:
    """∇(w·KL − L) − ∇(−L) = w·∇KL at the first step, where all share parameters, minibatch and noise."""
    slopes = {}
    for weight in (0.0, 0.25, 1.0):
        run = trainer(Recipe(kl_weight=weight))
        run.advance(1)
        slopes[weight] = {n: leaf.grad.clone() for n, leaf in run._leaves.items()}  # type: ignore[union-attr]
    for name, plain in slopes[0.0].items():
        whole, part = slopes[1.0][name] - plain, slopes[0.25][name] - plain
        assert torch.allclose(part, 0.25 * whole, atol=1e-6)
    assert any((slopes[1.0][n] != slopes[0.0][n]).any() for n in slopes[0.0])


def test_warm_up_begins_without_the_kl_and_ends_with_it() -> None:
    warm, free, whole = trainer(Recipe(warm_up=2)), trainer(Recipe(kl_weight=0.0)), trainer()
    for run in (warm, free, whole):
        run.advance(1)
    assert equal(warm.parameters, free.parameters)
    assert not equal(warm.parameters, whole.parameters)
    assert warm.recipe.weight(warm.epochs) == pytest.approx(0.1)
    warm.advance(9)
    assert warm.recipe.weight(warm.epochs) == 1


@pytest.mark.parametrize("form", [MeanLogVariance(0.5), ThetaLogAlpha(0.9)])
def test_log_alpha_stays_in_bounds_at_every_step(form: Parameterization) -> None:
    from vdbench.problems.log_alpha import log_alpha

    free = trainer(form=form, rate=0.1)
    run = trainer(Recipe(log_alpha=(-1.0, 0.0)), form=form, rate=0.1)
    out = 0
    for _ in range(15):
        free.advance(1)
        run.advance(1)
        for layer in run.problem.layers:
            inside = log_alpha(run.problem, layer, run.parameters)
            assert bool(((inside > -1.00001) & (inside < 1e-5)).all())
            loose = log_alpha(free.problem, layer, free.parameters)
            out += int(((loose < -1.1) | (loose > 0.1)).sum())
    assert out, "the bounds were never needed"


# -- resumption -----------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("recipe", "patience"),
    [
        (Recipe(), None),
        (Recipe(epochs=12, schedule=Cosine(), warm_up=3, log_alpha=(-4.0, 0.0)), None),
        (Recipe(), 3),
    ],
)
@pytest.mark.parametrize("at", [1, 4])
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


# -- tracking -------------------------------------------------------------------------------------------------


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


# -- the stop at what is not finite ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Breaks(Estimator):
    """As `local`, until a value or a gradient is lost at the seventh call."""

    declaration = Declaration("breaks", "elbo", True, ("normal",), True, "1")
    what: str
    calls: list[int]

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        value, gradients = get("local")(problem, parameters, batch, noise)
        self.calls.append(1)
        if len(self.calls) == 7 and self.what == "value":
            value = value + math.inf
        if len(self.calls) == 7 and self.what == "gradient":
            gradients = {**gradients, "2.bias": gradients["2.bias"] * math.nan}
        return Gradient(value, gradients)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("value", "diverged at step 6: the value of the likelihood is not finite; lower"),
        ("gradient", "diverged at step 6: the gradient of parameter '2.bias' is not finite; lower"),
    ],
)
def test_training_stops_at_the_first_step_that_is_not_finite(
    what: str, said: str, tmp_path: Path
) -> None:
    calls: list[int] = []
    with pytest.raises(CellError, match=said):
        train(trainer(estimator=Breaks(what, calls)), 9, tmp_path / "state.npz")
    assert len(calls) == (7 if what == "value" else 8)  # a lost gradient is seen at the next value
    with np.load(tmp_path / "state.npz") as saved:
        assert int(saved["step"]) == 5  # what is broken is not saved


def test_a_kl_that_is_not_finite_is_named() -> None:
    class Broken:
        def kl(self, mean: Tensor, variance: Tensor) -> Tensor:
            return (mean / 0).sum()

    problem = classifier()
    object.__setattr__(problem, "prior", Broken())
    said = r"at step 0: the KL is not finite, and with it the gradient of parameter '0.mean'"
    with pytest.raises(CellError, match=said):
        trainer(problem=problem).advance(3)


def test_a_gradient_lost_in_the_last_step_of_an_epoch_is_named() -> None:
    run = trainer(estimator=Breaks("gradient", []))
    with pytest.raises(CellError, match=r"at step 6: the gradient of parameter '2\.bias'"):
        run.advance(7)


def test_a_parameter_that_overflows_is_named() -> None:
    """The gradient is finite and the step is not."""
    leaf = torch.tensor([1.0, math.inf])
    leaf.grad = torch.ones(2)
    with pytest.raises(CellError, match=r"before step 3: parameter 'w' is not finite; lower"):
        Watch("local", 0.1, {"v": torch.ones(1), "w": leaf}).parameters(3)


def test_noise_rate_multiplies_the_learning_rate_of_the_noise_alone() -> None:
    """Adam's first step is the learning rate in size, wherever the gradient is not tiny."""
    start = trainer().parameters
    run = trainer(Recipe(noise_rate=4.0))
    run.advance(1)
    moved = {
        n: float((v - start[n]).abs().max()) / run.learning_rate for n, v in run.parameters.items()
    }
    for name, step in moved.items():
        scale = name.endswith(("log_variance", "log_alpha"))
        assert step == pytest.approx(4.0 if scale else 1.0, rel=1e-3), (name, moved)


@pytest.mark.parametrize("per", ["input", "output", "layer", "weight"])
def test_maps_are_log_alpha_by_pixel(per: str) -> None:
    """Three images of two channels, 2 × 2: the mean over outputs and channels of each pixel's log α."""
    inputs = torch.rand(3, 2, 2, 2, generator=torch.Generator().manual_seed(1))
    split = Split(inputs, torch.tensor([0, 1, 0]))
    module = nn.Sequential(nn.Flatten(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 2))
    problem = noisy(
        module, Dataset("images", split, split, 2), parameterization=ThetaLogAlpha(0.5, per=per)
    )
    parameters = problem.initial(KEY)
    logs = parameters["1.log_alpha"]
    logs += torch.arange(logs.numel()).reshape(logs.shape) / 4
    found = image_map(problem, parameters)
    assert found is not None
    whole = logs.expand(5, 8)
    for pixel in range(4):
        feeding = [float(whole[j, i]) for j in range(5) for i in (pixel, 4 + pixel)]
        assert float(found[pixel // 2, pixel % 2]) == pytest.approx(sum(feeding) / 10, abs=1e-5)


def test_no_map_where_the_first_layer_sees_no_image() -> None:
    problem = classifier(ThetaLogAlpha(0.5))
    assert image_map(problem, problem.initial(KEY)) is None


def test_an_upper_bound_leaves_the_variance_where_a_mean_goes_through_zero() -> None:
    """Lowered with the mean, log σ² would stay down when the mean has passed, and the weight have lost its noise."""
    problem = classifier(MeanLogVariance(0.5))
    parameters = problem.initial(KEY)
    before = {n: v.clone() for n, v in parameters.items()}
    means = parameters["0.mean"].view(-1)
    means[:3] = torch.tensor([0.0, -1e-9, 1e-4])
    clamp(problem, parameters, problem.free(parameters), (-8, 8))
    assert bool((parameters["0.log_variance"] == before["0.log_variance"]).all())
    least = 0.5 * math.exp(-4)
    assert means[:3].tolist() == pytest.approx([least, -least, least])
    assert bool((means[3:] == before["0.mean"].view(-1)[3:]).all())
