"""``vdbench.recommend`` and ``vdbench recommend`` from end to end, in little time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn

import vdbench
from vdbench import cli, problems
from vdbench.measures import memory
from vdbench.measures.registry import load
from vdbench.noise import Key
from vdbench.recommendation import Recommendation
from vdbench.recommendation.contest import Question
from vdbench.recommendation.model import model
from vdbench.recommendation.result import BEST, STAY, Answer, Row
from vdbench.statistics import Estimate

pytestmark = pytest.mark.usefixtures("elsewhere")

FACTORY = """
from torch import nn


def net(width=4):
    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))


def number():
    return 3
"""


def vdbench_says(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["vdbench", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


@pytest.fixture(scope="module")
def found() -> Recommendation:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 4), nn.ReLU(), nn.Linear(4, 10))
    return vdbench.recommend(
        net, "digits", minutes=0.03, batch_sizes=[8], estimators=["local"], isolate=False
    )


def test_every_form_has_the_answer(found: Recommendation) -> None:
    assert [(row.estimator, row.batch_size) for row in found.rows.values()] == [
        ("naive", 8),
        ("local", 8),
    ]
    assert {a.question.role for a in found.answers} == {"mean", "scale"}
    assert (
        found.headline in found.text(200).replace("\n", " ").replace("  ", " ")
        or found.headline[:60] in found.text()
    )
    assert found.headline in found.markdown()
    page = found.html()
    assert "Number of candidates left over minutes" in page
    assert "Bytes are not compared" in page
    assert json.loads(json.dumps(found.json()))["headline"] == found.headline
    assert len(found.frame) == 4
    assert {"ci_low", "ci_high", "left"} <= set(found.frame)
    assert found._repr_html_().startswith("<p><strong>")
    assert len(repr(found)) < 1000
    assert found.suite == ""
    assert "made in Python" in found.markdown()


def test_intervals_hold_their_estimates(found: Recommendation) -> None:
    frame = found.frame
    assert ((frame.ci_low <= frame.ratio) & (frame.ratio <= frame.ci_high)).all()
    scale = next(a for a in found.answers if a.question.role == "scale")
    assert scale.pick == 1  # variance of the scales by naive is some twenty times as large here
    assert scale.ratio.value < 0.6


@pytest.mark.long
def test_the_command_line_keeps_a_run_and_its_suite(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, elsewhere: Path
) -> None:
    Path("own_recommended.py").write_text(FACTORY)
    words = ["recommend", "own_recommended:net", "--data", "digits", "--minutes", "0.02", "--batch-size", "8",
             "--only", "local", "--out", "kept"]  # fmt: skip
    code, _, err = vdbench_says(words, monkeypatch, capsys)
    assert code == 2
    assert "add --allow own_recommended" in err
    code, out, _ = vdbench_says(
        [*words, "--allow", "own_recommended", "--markdown", "--html", "p.html"],
        monkeypatch,
        capsys,
    )
    assert code == 0
    assert "vdbench run recommend.yaml --allow own_recommended" in out
    assert "<html" in Path("p.html").read_text()
    suite = load("kept/recommend.yaml")
    assert suite.problems[0].options == {"data": "digits"}
    assert (suite.batch_sizes, suite.baseline) == ([8], "naive")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["own_recommended:net", "--allow", "own_recommended"],
            "a network with the name of a data set",
        ),
        (
            ["own_recommended:net", "--allow", "own_recommended", "--data", "digts"],
            "Did you mean 'digits'",
        ),
        (
            ["own_recommended:number", "--allow", "own_recommended", "--data", "digits"],
            "returned int",
        ),
        (["clasification"], "Did you mean 'classification'"),
        (["quikc"], "neither a suite nor a factory of vdbench. Did you mean 'quick'?"),
        (["own_recommended.py"], "A model of your own is written MODULE:FACTORY."),
        (["quick:digits", "--html", "."], "--html .: it is a folder, expected a file."),
        (
            ["quick:digits", "--html", "own_recommended.py/page.html"],
            "is a file, expected a folder",
        ),
        (["quikc:digits"], "'quikc' is neither a suite nor a module. Did you mean 'quick:digits'?"),
        (["quick:digts"], "the suite has no problem 'digts'. Did you mean 'digits'?"),
        (["alpha-sweep"], "expected alpha-sweep:PROBLEM"),
        (["classification", "--minutes", "0"], "minutes must be above 0"),
        (["classification", "--zone", "-1"], "the zone must be"),
        (["classification", "--error", "0.9"], "the error rate must be"),
        (["classification", "--batch-size", "99999"], "batch size 99999 is more than"),
        (["classification", "--baseline", "nave"], "Did you mean 'naive'"),
        (["classification", "--only", "moment-matching"], "declares a bias"),
        (["classification", "--json", "--markdown"], "one of --markdown and --json"),
    ],
)
def test_bad_input_is_one_sentence(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    Path("own_recommended.py").write_text(FACTORY)
    code, _, err = vdbench_says(["recommend", *words, "--minutes", "0.01"] if "--minutes" not in words
                                else ["recommend", *words], monkeypatch, capsys)  # fmt: skip
    assert code == 2
    assert said in err
    assert err.strip().count("\n") == 0


def test_a_suites_problem_is_taken_with_its_checkpoint() -> None:
    mine = model("quick:digits", None, (), epochs=None, changes={})
    assert mine.checkpoint.epochs == load("quick").checkpoints[-1].epochs
    assert model("quick", None, (), epochs=0, changes={}).checkpoint.epochs == 0
    assert mine.common["seed"] == load("quick").seed


def test_what_python_gives_is_refused_where_it_cannot_be_measured() -> None:
    net = nn.Linear(4, 2)
    with pytest.raises(vdbench.InputError, match="a network needs data="):
        vdbench.recommend(net)
    with pytest.raises(vdbench.InputError, match=r"not int\.$"):
        vdbench.recommend(3)
    problem = vdbench.noisy(net, (np.random.rand(20, 4).astype("float32"), np.arange(20) % 2))
    with pytest.raises(vdbench.InputError, match="a problem has its data"):
        vdbench.recommend(problem, "digits")
    with pytest.raises(vdbench.InputError, match="arrays are given with the network"):
        vdbench.recommend("classification", (1, 2))
    for more in ({"batch_sizes": [0]}, {"samples": [1.5]}, {"threads": True}):
        with pytest.raises(vdbench.InputError, match="whole numbers from 1"):
            vdbench.recommend(problem, **more)  # type: ignore[arg-type]


def test_the_suite_of_a_recommendation_can_be_read() -> None:
    from vdbench.recommendation.candidates import field_of
    from vdbench.recommendation.model import suite

    mine = model("classification", None, (), epochs=0, changes={"objective": "elbo"})
    field = field_of(mine.problem, vdbench.get("naive"), (8, 16), (1, 4))
    made = suite(mine, field.candidates, {"variance": {}}, 1)
    text = yaml.safe_dump(made.model_dump(mode="json", exclude_defaults=True), sort_keys=False)
    Path("s.yaml").write_text(text)
    assert load("s.yaml") == made


@pytest.mark.long
def test_memory_is_measured_where_it_is_large_enough() -> None:
    """In processes of their own, of a problem that was made in Python; the same as the measure of a run."""
    problem = problems.build("p", "classification", {"widths": [512]})
    found = vdbench.recommend(
        problem, minutes=0.03, batch_sizes=[64], estimators=["per-example"], isolate=False
    )
    rows = {row.estimator: row for row in found.rows.values()}
    assert rows["per-example"].peak_bytes.low > 2**24 > 2**20 < rows["naive"].peak_bytes.low
    question = next(a.question for a in found.answers if a.question.cost == "bytes")
    assert rows["per-example"].ratios[question].low > 1


@pytest.mark.long
def test_a_helper_takes_several_jobs_and_goes_on_after_one_that_failed() -> None:
    file = Path("at.npz")
    problem = problems.build("p", "classification", {"widths": [4]})
    values = {f"parameter/{n}": v.numpy() for n, v in problem.initial(Key(("a",))).items()}
    from vdbench.store import arrays

    arrays.write(file, values, {})
    about = {
        "batch_size": 8,
        "device": "cpu",
        "precision": "float32",
        "key": ["k"],
        "noise": "torch",
        "threads": 1,
        "plugins": [],
    }
    named = {"name": "p", "factory": "classification", "options": {"widths": [4]}}
    job = memory.job_of(named, file, about, vdbench.get("naive"))
    with memory.Helper() as helper:
        assert len(helper.rows(job, 2)["bytes"]) == 2
        with pytest.raises(vdbench.CellError, match="failed: "):
            helper.rows({**job, "batch_size": 10**6}, 1)
        assert len(helper.rows(job, 1)["bytes"]) == 1


def test_the_sentence_says_of_how_many_candidates_memory_was_measured() -> None:
    time, size = Question("seconds", "mean"), Question("bytes", "mean")
    half = Estimate(0.5, 0.4, 0.6, 64)

    def row(label: str, *asked: Question) -> Row:
        nothing = dict.fromkeys((time, size), "left")
        return Row(
            label, 8, 64, 24, half, half, {"mean": half}, dict.fromkeys(asked, half), nothing
        )

    rows = {0: row("naive", time, size), 1: row("local", time, size), 2: row("flipout", time)}
    for verdict, gain, said in (
        (BEST, 0.6, "significantly lower than the other candidate whose memory was measured"),
        (STAY, 0.0, "no candidate whose memory was measured is better"),
    ):
        answer = Answer(size, verdict, 1, (1,), half, 0.0, gain)
        found = Recommendation("m", "cpu", 1, 1, 0.05, 0.05, rows, [answer], {}, [], [], "", "")
        assert said in found.headline
        of_time = replace(found, answers=[replace(answer, question=time)])
        assert "measured" not in of_time.headline


def test_the_headline_joins_only_what_holds_of_every_role(found: Recommendation) -> None:
    """A candidate beaten for the scales is not among those left for them, nor is a bound of the means one of theirs."""
    questions = [Question("seconds", role) for role in ("mean", "scale")]
    ratio = Estimate(0.5, 0.2, 1.4, 16)

    def said(*kept: tuple[tuple[int, ...], float]) -> str:
        answers = [
            Answer(question, "too close to call", 1, left, ratio, regret, 0.8)
            for question, (left, regret) in zip(questions, kept, strict=True)
        ]
        return replace(found, rows={**found.rows, 2: third}, answers=answers).headline

    third = replace(found.rows[1], estimator="flipout")
    apart = said(((0, 1, 2), 1.01), ((0, 1), 0.59))
    means, scales = apart.split("; for ")
    assert "of the mean parameters" in means
    assert "flipout" in means
    assert "101 %" in means
    assert "of the scale parameters" in scales
    assert "flipout" not in scales
    assert "59 %" in scales
    assert "101 %" not in scales
    assert said(((0, 1), 1.01), ((0, 1), 0.59)).count("too close to call") == 2
    assert said(((0, 1), 0.59), ((0, 1), 0.59)).count("too close to call") == 1


def test_no_figure_of_a_candidate_is_without_its_interval(found: Recommendation) -> None:
    table = found.frame
    for name in ("variance", "seconds"):
        assert (table[f"{name}_low"] <= table[name]).all(), table
        assert (table[name] <= table[f"{name}_high"]).all(), table
        assert (table[f"{name}_low"] < table[f"{name}_high"]).all(), table
