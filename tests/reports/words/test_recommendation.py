from __future__ import annotations

from reports.words.recommendation import by_estimator, by_reason


def test_one_reason_is_written_once() -> None:
    why = "is not valid here: estimator '{}' is made for learned binary masks; expected the posterior x"
    left = {"arm": why.format("arm"), "spsa": "declares a bias", "rebar": why.format("rebar")}
    assert by_reason(left) == {
        "is not valid here: it is made for learned binary masks": "arm, rebar",
        "declares a bias": "spsa",
    }


def test_sizes_of_an_estimator_stand_together() -> None:
    names = ["sobol(local) at M = 32", "score at M = 32", "sobol(local) at M = 128", "arm at M = 32",
             "score at M = 128"]  # fmt: skip
    assert by_estimator(names) == "sobol(local), score at M = 32 and 128; arm at M = 32"
    assert by_estimator(["naive at M = 8"]) == "naive at M = 8"
