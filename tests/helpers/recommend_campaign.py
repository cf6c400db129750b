"""How good recommendations are: ``python tests/helpers/recommend_campaign.py MINUTES REPETITIONS LONG [MODEL…]``.

Three models that vdbench does not have. For each: recommendations within so many minutes, under several seeds; and one
long interleaved run of all their candidates, without elimination, of as many units and rounds as ``LONG`` says. A
recommendation is *good* if the variance × seconds of what it names, taken from the long run, is within 5 % of the
best's there, or if the interval of their ratio at 95 % contains 1 (``make recommend``).
"""

from __future__ import annotations

import json
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
from vdbench.measures.cells import Place
from vdbench.measures.progress import Quiet
from vdbench.noise import Key
from vdbench.recommendation import Recommendation
from vdbench.recommendation.candidates import field_of
from vdbench.recommendation.contest import SECONDS, Contest, Plan, Question
from vdbench.recommendation.measuring import Measuring
from vdbench.recommendation.model import model, suite
from vdbench.recommendation.one_model import _roles
from vdbench.runner.run_suite import asking
from vdbench.statistics.sequential import two_sided

BLOCK = 64
"""Units at a time."""

LONGEST = 60.0
"""Seconds that the units of one candidate may take in the long run; a slower one has one block."""

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
) -> tuple[Contest, list[str]]:
    """All candidates side by side, none eliminated."""
    mine = model(problem, None, (), epochs=0, changes={"seed": 10_000})
    field = field_of(problem, get("naive"), sizes, (1, 4))
    measures = {"variance": {}, "throughput": {}}
    asked = suite(mine, field.candidates, measures, 1)
    with tempfile.TemporaryDirectory() as name, asking(
        asked, Path(name) / "run", given={problem.name: problem}
    ) as hands:  # fmt: skip
        places = [Place(problem.name, "initial", c.batch_size) for c in field.candidates]
        measuring = Measuring(
            hands, places, field.candidates, _roles(mine), Key(("long",)), job=None
        )
        good = []
        for i in range(len(places)):
            if not (measuring.units(i, 0, BLOCK, BLOCK)):
                continue
            good.append(i)
            if (
                measuring.unit_seconds[i] * units < LONGEST
            ):  # the others are hopeless, and few units show it
                measuring.units(i, BLOCK, units, BLOCK)
        measuring.rounds(good, rounds)
        questions = tuple(Question(SECONDS, role) for role in _roles(mine))
        # as if there were one look, and one pair: the interval of a ratio at 95 %
        plan = Once(BLOCK, (units,), (rounds,))
        contest = Contest(plan, dict(measuring.taken), questions, 0.05 * len(questions), NEAR, 2)
    return contest, [str(c) for c in field.candidates]


def judged(found: Recommendation, contest: Contest, names: Sequence[str]) -> list[dict[str, Any]]:
    """One row a question: what was named, how it stands in the long run, and what was said of it."""
    rows = []
    for answer in found.answers:
        question = answer.question
        if question.cost != SECONDS:
            continue
        best, pick = contest.leader(question), names.index(found.name(answer.pick))
        ratio = contest.ratio(question, pick, best)
        good = ratio.value <= 1 + NEAR or ratio.low <= 1
        rows.append(
            {
                "model": found.model, "role": question.role, "pick": names[pick], "best": names[best],
                "ratio": ratio.value, "low": ratio.low, "high": ratio.high, "good": bool(good),
                "verdict": answer.verdict, "left": len(answer.left), "tried": len(found.rows),
            }
        )  # fmt: skip
    return rows


def campaign(
    minutes: float, repetitions: int, units: int, chosen: Sequence[str]
) -> list[dict[str, Any]]:
    """All recommendations, judged."""
    rows = []
    for name in chosen or MODELS:
        problem = MODELS[name]()
        contest, names = long_run(problem, (32, 128), units, max(24, units // 8))
        print(f"{name}: long run of {len(contest.taken)} candidates", flush=True)
        for seed in range(repetitions):
            found = vdbench.recommend(problem, minutes=minutes, seed=seed, progress=Quiet())
            for row in judged(found, contest, names):
                rows.append({**row, "seed": seed})
                print(json.dumps(rows[-1]), flush=True)
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
    found = campaign(float(words[0]), int(words[1]), int(words[2]), words[3:])
    print(told(found))
