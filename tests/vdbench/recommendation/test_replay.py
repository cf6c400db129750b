"""The campaign of ``make recommend``, on rows that are made up: what it replays, and how it judges."""

from __future__ import annotations

import numpy as np
import pytest
from recommend_campaign import MODELS, Once, judged, replayed, told

from vdbench.estimation.options import get
from vdbench.recommendation.candidates import field_of
from vdbench.recommendation.contest import SECONDS, Contest, Question, Taken

TIME = Question(SECONDS, "mean")


def pool(values: list[tuple[float, float]]) -> tuple[Contest, list[str], dict[int, float]]:
    """A long run of candidates of these variances and times."""
    rng = np.random.default_rng(0)
    taken = {
        i: Taken(
            32, {"mean": v * rng.gamma(2, 0.5, 2048)}, s * np.exp(0.05 * rng.standard_normal(256))
        )
        for i, (v, s) in enumerate(values)
    }
    contest = Contest(Once(64, (2048,), (256,)), taken, (TIME,), 0.05, 0.05, 2)
    return contest, [f"c{i}" for i in taken], dict.fromkeys(taken, 0.001)


def test_recommendations_that_are_replayed_are_good() -> None:
    contest, names, seconds = pool([(1, 1e-3), (0.4, 2e-3), (0.3, 2e-3), (5, 1e-3), (0.31, 2e-3)])
    rows = [
        {"model": "made up", "seed": seed, **row}
        for seed in range(10)
        for row in judged(replayed(contest, names, seconds, 0.5, seed), contest, names)
    ]
    assert all(row["good"] for row in rows)
    assert {row["pick"] for row in rows} <= {"c2", "c4"}
    assert told(rows).startswith("10 of 10 recommendations are good")


def test_a_bad_recommendation_is_called_so() -> None:
    contest, names, _ = pool([(1, 1e-3), (0.5, 1e-3)])
    (bad,) = judged([(TIME, "best", 0, 1)], contest, names)
    (good,) = judged([(TIME, "best", 1, 1)], contest, names)
    assert not bad["good"]
    assert good["good"]
    assert bad["ratio"] == pytest.approx(2, rel=0.1)


def test_the_models_are_what_they_are_said_to_be() -> None:
    made = {name: make() for name, make in MODELS.items()}
    assert made["cnn-batchnorm"].shared
    assert not any(module.training for module in made["cnn-batchnorm"].module.modules())
    assert made["regression"].data.train.targets.is_floating_point()
    for problem in made.values():
        assert len(field_of(problem, get("naive"), (32, 128), (1, 4)).candidates) > 10
