"""How good recommendations are: ``python tests/helpers/recommend_campaign.py MINUTES REPETITIONS LONG [MODEL…]``.

Three models that vdbench does not have. For each: one long interleaved run of all their candidates, without
elimination, of ``LONG`` units; recommendations within so many minutes, under several seeds; and as many that are
*replayed*: their units and rounds are drawn from those of the long run, with replacement, and their clock goes on by
what these took there. A recommendation is *good* if the variance × seconds of what it names, taken from the long run,
is within 5 % of the best's there, or if the interval of their ratio at 95 % contains 1 (``make recommend``).
``--replayed`` leaves out those that are made.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, make_friedman1
from torch import nn

import vdbench
from vdbench import datasets
from vdbench.estimation.options import get
from vdbench.measures import memory, throughput
from vdbench.measures.cells import Place
from vdbench.measures.progress import Quiet
from vdbench.measures.timing import Timer
from vdbench.noise import Key
from vdbench.recommendation import Recommendation
from vdbench.recommendation.candidates import field_of
from vdbench.recommendation.contest import SECONDS, Contest, Plan, Question, Taken
from vdbench.recommendation.measuring import SAMPLE, Measuring
from vdbench.recommendation.model import model, suite
from vdbench.recommendation.one_model import answer_of, roles_of
from vdbench.recommendation.race import Race
from vdbench.runner.asking import asking
from vdbench.statistics.sequential import two_sided

BLOCK = 64
"""Units at a time."""

LONGEST = 15.0
"""Seconds that the units of one candidate may take in the long run; a slower one has one block, or none."""

NEAR = 0.05
"""What a recommendation may be worse than the best of the long run."""


def cnn() -> vdbench.Problem:
    """A convolutional network whose batch norms have been trained and are in eval mode."""
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip
    digits = datasets.load("digits")
    for start in range(0, 1024, 128):  # the running means and variances of the data
        net(digits.train.inputs[start : start + 128])
    return vdbench.noisy(net.eval(), digits, name="cnn-batchnorm")


def regression() -> vdbench.Problem:
    """A regression with one output."""
    torch.manual_seed(2)
    x, y = make_friedman1(1200, 10, noise=1.0, random_state=0)
    net = nn.Sequential(nn.Linear(10, 50), nn.Tanh(), nn.Linear(50, 1))
    data = (x.astype(np.float32), ((y - y.mean()) / y.std()).astype(np.float32)[:, None])
    return vdbench.noisy(net, data, name="regression", likelihood="regression")


def mlp() -> vdbench.Problem:
    """A classifier with three hidden layers."""
    torch.manual_seed(3)
    x, y = load_breast_cancer(return_X_y=True)
    x = (x - x.mean(0)) / x.std(0)
    layers = [
        nn.Linear(30, 64),
        nn.ReLU(),
        nn.Linear(64, 64),
        nn.ReLU(),
        nn.Linear(64, 32),
        nn.ReLU(),
    ]
    return vdbench.noisy(
        nn.Sequential(*layers, nn.Linear(32, 2)), (x.astype(np.float32), y), name="mlp"
    )


class Once(Plan):
    """One look, wherever it is."""

    def critical(self, n: int, alpha: float) -> float:
        """The normal quantile."""
        return two_sided(1 - alpha)


MODELS: dict[str, Callable[[], vdbench.Problem]] = {
    "cnn-batchnorm": cnn,
    "regression": regression,
    "mlp": mlp,
}


def long_run(
    problem: vdbench.Problem, sizes: Sequence[int], units: int, rounds: int
) -> tuple[Contest, list[str], dict[int, float]]:
    """All candidates side by side, none eliminated; with their names, and the seconds of a unit."""
    mine = model(problem, None, (), epochs=0, changes={"seed": 10_000})
    field = field_of(problem, get("naive"), sizes, (1, 4))
    measures = {"variance": {}, "throughput": {}}
    asked = suite(mine, field.candidates, measures, 1)
    with tempfile.TemporaryDirectory() as name, asking(
        asked, Path(name) / "run", held={problem.name: problem}
    ) as hands:  # fmt: skip
        places = [Place(problem.name, "initial", c.batch_size) for c in field.candidates]
        measuring = Measuring(
            hands, places, field.candidates, roles_of(mine), Key(("long",)), job=None
        )
        good = [i for i in range(len(places)) if _taken(measuring, i, units)]
        measuring.rounds(good, rounds)
        questions = tuple(Question(SECONDS, role) for role in roles_of(mine))
        # as if there were one look, and one pair: the interval of a ratio at 95 %
        plan = Once(BLOCK, (units,), (rounds,))
        contest = Contest(plan, dict(measuring.taken), questions, 0.05 * len(questions), NEAR, 2)
    return contest, [str(c) for c in field.candidates], dict(measuring.unit_seconds)


def _taken(measuring: Measuring, number: int, units: int) -> bool:
    """Whether a candidate was measured; a slow one, of which few units are enough to see that it is, on one block."""
    repeats = measuring.ask(number, throughput.calibrated, Timer(sample_seconds=1.0))
    if not repeats or 2 * BLOCK / repeats > LONGEST or not measuring.units(number, 0, BLOCK, BLOCK):
        return False
    if measuring.unit_seconds[number] * units < LONGEST:
        measuring.units(number, BLOCK, units, BLOCK)
    return number in measuring.taken


class Replay:
    """In the place of `Measuring`: rows and rounds of the long run, drawn again, and a clock that they move.

    Candidates at one minibatch size share the numbers of their units, and all share the numbers of their rounds.
    """

    def __init__(
        self, contest: Contest, names: Sequence[str], seconds: dict[int, float], seed: int
    ) -> None:
        self.candidates = list(names)
        self.pool, self.cost, self.now = contest.taken, seconds, 0.0
        first = contest.taken[0].batch_size
        self.sizes = [
            contest.taken[i].batch_size if i in contest.taken else first for i in range(len(names))
        ]
        self.seed, self.rng = seed, np.random.default_rng((seed, 1))
        self.taken: dict[int, Taken] = {}
        self.failed: dict[int, str] = {}
        self.unit_seconds = dict(seconds)
        self.job, self.helper = None, memory.Helper()

    def ask(self, number: int, question: Any, *more: Any) -> Any:
        """How often a gradient would fit into a second, which is all that is asked."""
        if number not in self.pool:
            self.failed[number] = "it failed in the long run"
            return None
        one = float(np.median(self.pool[number].seconds))
        self.now += 7 * one
        return max(1, round(1 / one))

    def units(self, number: int, start: int, stop: int, block: int) -> bool:
        """Draw units; False for one that failed in the long run."""
        if number not in self.pool:
            self.failed[number] = "it failed in the long run"
            return False
        mine = self.pool[number]
        kept = self.taken.setdefault(number, Taken(mine.batch_size))
        for first in range(start, stop, block):
            rng = np.random.default_rng((self.seed, mine.batch_size, first))
            drawn = (rng.random(block) * mine.n).astype(int)
            for role, rows in mine.rows.items():
                before = kept.rows.get(role, np.zeros(0))
                kept.rows[role] = np.concatenate([before, rows[drawn]])
            self.now += block * self.cost[number]
        return True

    def memory(self, number: int) -> None:
        """Memory is not replayed."""

    def rounds(self, numbers: Sequence[int], count: int) -> None:
        """Draw rounds."""
        most = min(len(self.pool[i].seconds) for i in numbers) if numbers else 0
        drawn = self.rng.integers(most, size=count) if most else []
        for number in numbers:
            seconds = self.pool[number].seconds[drawn]
            self.taken[number].seconds = np.concatenate([self.taken[number].seconds, seconds])
            one = float(np.median(seconds))
            self.now += count * (max(SAMPLE, one) + one)


def replayed(
    contest: Contest, names: Sequence[str], seconds: dict[int, float], minutes: float, seed: int
) -> list[tuple[Question, str, int, int]]:
    """Question, verdict, pick and how many are left, of one recommendation that is replayed."""
    made: Any = Replay(contest, names, seconds, seed)
    race = Race(made, 60 * minutes, 0.0, 0.05, 0.05, Quiet(), clock=lambda: float(made.now))
    found = race.run(contest.questions)
    return [
        (a.question, a.verdict, a.pick, len(a.left))
        for a in (answer_of(found, q) for q in found.questions)
    ]


def answers_of(found: Recommendation, names: Sequence[str]) -> list[tuple[Question, str, int, int]]:
    """The same of a recommendation that was made."""
    return [
        (a.question, a.verdict, names.index(found.name(a.pick)), len(a.left))
        for a in found.answers
        if a.question.cost == SECONDS
    ]


def judged(
    answers: Sequence[tuple[Question, str, int, int]], contest: Contest, names: Sequence[str]
) -> list[dict[str, Any]]:
    """One row a question: what was named, how it stands in the long run, and what was said of it."""
    rows = []
    for question, verdict, pick, left in answers:
        best = contest.leader(question)
        ratio = contest.ratio(question, pick, best)
        good = ratio.value <= 1 + NEAR or ratio.low <= 1
        rows.append(
            {
                "role": question.role, "pick": names[pick], "best": names[best],
                "ratio": round(ratio.value, 4), "low": round(ratio.low, 4), "good": bool(good),
                "verdict": verdict, "left": left,
            }
        )  # fmt: skip
    return rows


def campaign(
    minutes: float, repetitions: int, units: int, chosen: Sequence[str], real: bool = True
) -> dict[str, list[dict[str, Any]]]:
    """All recommendations, judged: those that were made, and those that were replayed."""
    rows: dict[str, list[dict[str, Any]]] = {"made": [], "replayed": []}
    for name in chosen or MODELS:
        problem = MODELS[name]()
        contest, names, seconds = long_run(problem, (32, 128), units, max(48, units // 8))
        if kept := os.environ.get("VDBENCH_CAMPAIGN"):
            Path(kept, f"{name}.pickle").write_bytes(pickle.dumps((contest.taken, names, seconds)))
        print(f"{name}: long run of {len(contest.taken)} candidates", flush=True)
        for kind in ("replayed", "made") if real else ("replayed",):
            for seed in range(repetitions):
                if kind == "made":
                    found = vdbench.recommend(problem, minutes=minutes, seed=seed)
                    answers = answers_of(found, names)
                else:
                    answers = replayed(contest, names, seconds, minutes, seed)
                for row in judged(answers, contest, names):
                    rows[kind].append({"model": name, "seed": seed, **row})
                    print(kind, json.dumps(rows[kind][-1]), flush=True)
    return rows


def told(rows: Sequence[dict[str, Any]]) -> str:
    """The counts: a recommendation is good if it is in every role."""
    each: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in rows:
        each.setdefault((row["model"], row["seed"]), []).append(row)
    good = sum(all(row["good"] for row in group) for group in each.values())
    close = sum(row["verdict"] == "too close to call" for row in rows)
    return (
        f"{good} of {len(each)} recommendations are good in every role; "
        f"{sum(r['good'] for r in rows)} of {len(rows)} answers are; {close} answers are too close to call."
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    words = sys.argv[1:]
    replay = "--replayed" in words
    words = [word for word in words if word != "--replayed"]
    each = campaign(float(words[0]), int(words[1]), int(words[2]), words[3:], real=not replay)
    for kind, found in each.items():
        if found:
            print(f"{kind}: {told(found)}")
