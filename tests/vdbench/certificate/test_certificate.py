"""The certificate: correct estimators pass it, and every known defect fails the test that is meant to see it."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import calibrate_certificate
import numpy as np
import oracles
import pytest
from everyone import first
from known_bad import DEFECTS, Changed, _each, declared

import vdbench
from estimators.local import Local
from estimators.naive import Naive
from vdbench.certificate import Certificate, check, checks_of, exact_gradients, two_looks
from vdbench.certificate.checks import CHECKS, precision
from vdbench.certificate.diagnoses import suggest
from vdbench.certificate.finding import LEFT_OUT, SEEN, Finding
from vdbench.certificate.planning import enough, for_spread
from vdbench.certificate.protocol import Pending, guarded, settle
from vdbench.certificate.reference_problems import KINDS, STAGES, stage
from vdbench.certificate.sampling import Subject
from vdbench.certificate.stages.build import drawn
from vdbench.certificate.two_looks import RATE, Question, Sample, answers, certain, doubtless
from vdbench.errors import InputError
from vdbench.estimation.base import Estimator, Gradient
from vdbench.estimation.options import get
from vdbench.estimation.registry import POSTERIORS, names
from vdbench.noise import Key
from vdbench.problems.problem import Problem

pytestmark = pytest.mark.usefixtures("one_thread")


# What it says of estimators


@functools.cache
def certified(name: str) -> Certificate:
    """The certificate of an estimator as it is by default, or with options where that is dear, made once."""
    return check(first(name), draws=None if name in DECIDED else 256)


FEW = 65536
"""Draws that a test is content with where it does not ask for power."""

DECIDED = ("local", "deterministic")
"""Checked with as many draws as level small makes; the others with few, which do not decide."""


@pytest.mark.parametrize("name", names())
def test_no_registered_estimator_fails(name: str) -> None:
    found = certified(name)
    assert not found.failed, found.text(verbose=True)
    if name in DECIDED:
        assert found.verdict == "PASSED", found.text(verbose=True)
        assert found.power is None or found.power <= SEEN
    assert {f.test for f in found.findings} == {one.name for one in checks_of(get(name))}


IN_COMPANY = 100
"""A certificate has fewer than a hundred times the columns of one of its checks that sees a defect."""


@pytest.mark.parametrize("name", DEFECTS)
def test_known_defects_are_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With few draws, by the check that is meant to see it, with what it points to.

    That check is made alone, at a rate at which it sees no more than in the company of the others.
    """
    defect = DEFECTS[name]
    (one,) = (c for c in CHECKS if c.name == defect.test)
    deep = {} if defect.where != "deep" else drawn("independent-normal", Key(("check", 0)))
    subject = Subject(defect.estimator, Key(("check", 0)), "cpu", FEW, 512, drawn=deep)
    monkeypatch.setattr(two_looks, "RATE", RATE / IN_COMPANY)
    monkeypatch.setattr(two_looks, "TOGETHER", 100)
    found = settle(guarded(one.name, "all", partial(one.ask, subject)))
    text = "\n".join(map(str, found))
    fitting = [f for f in found if f.passed is False and defect.where in f.where]
    assert fitting, text
    assert all(f.suggests for f in fitting), text
    assert any(defect.suggests in f.suggests for f in fitting), text


@pytest.mark.parametrize(
    "name",
    [
        # a statistical check and an exact one: all are reached in the same way
        pytest.param(name, marks=() if test in ("unbiased", "repeatable") else pytest.mark.long)
        for test, name in {d.test: name for name, d in DEFECTS.items()}.items()
    ],
)
def test_a_defect_fails_the_certificate(name: str) -> None:
    """One for each check that sees some, whose finding is among those of all checks."""
    found = check(DEFECTS[name].estimator, draws=2048)
    assert not found.passed
    assert DEFECTS[name].test in {f.test for f in found.failed}, found.text()


def test_a_check_alone_is_stricter_than_in_company() -> None:
    """Of the two that compare means: the rates of defects that `test_known_defects_are_caught` looks for."""
    counts = columns(get("local"))
    for name in ("unbiased", "pre-activations"):
        assert sum(counts.values()) < IN_COMPANY * counts[name], counts


def columns(estimator: Estimator) -> dict[str, int]:
    """Figures of each check that a certificate compares."""
    stages = drawn("independent-normal", Key(("check", 0)))
    subject = Subject(estimator, Key(("columns",)), "cpu", 4096, 16, drawn=stages)
    return {
        one.name: sum(
            len(sample.p)
            for asked in guarded(one.name, "all", partial(one.ask, subject))
            if isinstance(asked, Pending)
            for sample in asked.question.first
        )
        for one in checks_of(estimator)
    }


def test_what_fails_beyond_doubt_ends_the_drawing() -> None:
    """And no right one: its certificate is the same whether it is to be complete or not."""
    defect = DEFECTS["scale-n-over-m-is-missing"].estimator
    short, whole = (check(defect, draws=2048, complete=all_of_it) for all_of_it in (False, True))
    left = {f.where for f in short.findings if f.note == LEFT_OUT}
    assert short.verdict == whole.verdict == "FAILED"
    assert short.grade == whole.grade == "bias"
    assert "dense" in left
    assert not any(f.note == LEFT_OUT for f in whole.findings)
    assert "further problems were left out" in short.diagnosis
    assert {f.where for f in short.failed} < {f.where for f in whole.failed}
    # of the draws that are allowed, some problems take all: none is to be cut short
    right = [check(get("naive"), draws=8192, complete=k).findings for k in (False, True)]
    assert right[0] == right[1]


def test_what_an_estimator_is_fitted_to_is_rounded_and_not_fitted_anew() -> None:
    """Pilot draws in float32 are other draws: a baseline of theirs says nothing of how digits cancel."""
    estimator = get("score", baseline="optimal")
    subject = Subject(
        estimator, Key(("check", 0)), drawn=drawn("independent-normal", Key(("check", 0)))
    )
    found = list(precision.ask(subject))
    assert len(found) > 10
    assert not [str(f) for f in found if f.passed is False]


def test_at_least_twelve_defects_are_known() -> None:
    assert len(DEFECTS) >= 12
    assert {d.test for d in DEFECTS.values()} >= {
        "unbiased",
        "pre-activations",
        "finite",
        "several draws",
        "repeatable",
        "float32",
    }


@pytest.mark.long
def test_a_few_checks_of_correct_estimators_accuse_none() -> None:
    """Two at other seeds, of the thousand that `calibrate_certificate` makes."""
    accused = [c.text() for c in calibrate_certificate.runs(2, first=100, draws=1024) if c.failed]
    assert not accused, "\n\n".join(accused)


def test_a_declared_bias_is_measured_and_passes() -> None:
    def shrunk(gradient: Gradient, problem: Problem, batch: Any) -> Gradient:
        return _each(gradient, lambda _, t: 0.5 * t)

    own = declared("shrunk", unbiased=False, objective_on_convolution="elbo-local-noise")
    cls = dataclass(frozen=True)(type("Shrunk", (Changed,), {"declared": own}))
    found = check(cls(shrunk), draws=4096)
    biases = [f for f in found.findings if f.test == "unbiased"]
    assert not found.failed, found.text()
    assert biases
    for f in biases:
        assert f.note.startswith("declared biased, measured"), f
        assert f.low is not None
        assert f.high is not None
        assert f.low < -0.5 < f.high < 0, f


@dataclass(frozen=True)
class Elsewhere(Naive):
    """Serves an objective that nobody knows."""

    declared = replace(Naive.declared, name="elsewhere", objective="my-own")


@dataclass(frozen=True)
class Breaks(Local):
    """Raises in the middle of a call."""

    declared = replace(Local.declared, name="breaks")

    def __call__(self, *args: Any, **more: Any) -> Gradient:
        raise ZeroDivisionError("no idea")


@dataclass(frozen=True)
class Misshapen(Local):
    """Returns a gradient of another shape."""

    declared = replace(Local.declared, name="misshapen")

    def __call__(self, *args: Any, **more: Any) -> Gradient:
        return _each(super().__call__(*args, **more), lambda _, t: t[None])


def failed(estimator: Estimator) -> tuple[Certificate, dict[str, str]]:
    found = check(estimator, draws=256)
    assert not found.passed
    assert found.verdict == ("FAILED" if found.failed else "INCONCLUSIVE")
    return found, {f.test: f.note for f in found.failed}


def test_what_cannot_be_compared_does_not_pass() -> None:
    found, wrong = failed(Elsewhere())
    assert not wrong
    assert (
        "no exact reference gradient exists for its objective, so bias was not tested"
        in found.summary()
    )
    notes = [f.note for f in found.findings if f.test == "unbiased"]
    assert all("no exact gradient of the objective 'my-own'" in note for note in notes)


def test_an_error_of_the_estimator_is_a_finding() -> None:
    _, wrong = failed(Breaks())
    assert wrong["unbiased"] == "it raises ZeroDivisionError: no idea"


def test_a_broken_contract_is_a_finding() -> None:
    _, wrong = failed(Misshapen())
    assert "returns a gradient of shape" in wrong["contract"]


# The references


def test_the_reference_on_the_linear_problem_is_the_closed_form() -> None:
    at = stage("linear")
    x, y = (t.numpy() for t in at.batch)
    values = at.parameters
    of = oracles.Linear(
        x,
        y[:, 0],
        values["0.mean"][0].numpy(),
        np.exp(values["0.log_variance"][0].numpy() / 2),
        at.problem.examples,
        float(values["0.bias"]),
    )
    truth = at.truth("elbo")
    assert truth is not None
    for name, role in oracles.ROLES.items():
        exact = 2 * np.pi * oracles.naive(of)[role][0]  # of a likelihood of variance 1/2π
        assert np.allclose(truth[name].flatten().numpy(), exact, rtol=1e-10), name


@pytest.mark.parametrize("name", [n for n, (toy, _) in STAGES.items() if toy.nodes])
@pytest.mark.parametrize("objective", ["elbo", "elbo-gaussian-preactivations"])
def test_a_reference_needs_no_more_nodes(name: str, objective: str) -> None:
    at = stage(name)
    assert at.toy.nodes is not None
    more = {n: k + 1 for n, k in at.toy.nodes.items()}
    if name == "dense" and objective == "elbo":  # 4^6 · 3^4 nodes: one layer after the other
        more = {**at.toy.nodes, "2": 3}
    if name == "convolution" and objective == "elbo":
        more = {**at.toy.nodes, "3": 3}
    finer = exact_gradients.gradient(objective, at.problem, at.parameters, at.batch, more)
    truth = at.truth(objective)
    assert truth is not None
    assert all(bool((truth[n] - g).abs().max() < 1e-9) for n, g in finer.items())


def test_objectives_agree_where_they_are_one_and_differ_where_not() -> None:
    def apart(name: str) -> float:
        elbo, local = (stage(name).truth(o) for o in ("elbo", "elbo-local-noise"))
        assert elbo is not None
        assert local is not None
        return max(float((elbo[n] - local[n]).abs().max()) for n in elbo)

    assert apart("dense") < 1e-9
    assert apart("convolution") > 0.1


def test_every_kind_of_posterior_has_stages() -> None:
    assert set(KINDS) >= set(POSTERIORS)
    for kind in KINDS.values():
        assert {*kind.exact, kind.network, kind.layer} <= set(STAGES)


# The two looks


def family(rng: np.random.Generator, shift: float = 0.0, samples: int = 6) -> list[Question]:
    """A certificate of normal figures whose true means are 1, off by a common factor."""

    def draw(look: str, times: int) -> list[Sample]:
        return [
            Sample("", 1 + shift + rng.normal(size=(400 * times, 4)), np.ones(4))
            for _ in range(samples)
        ]

    return [Question("", draw, draw("first", 1))]


def test_false_alarms_multiply() -> None:
    """Of 2,000 families, about 40 are flagged by the first look, 1 by two and none by all; more than 1 has p < 1e-3."""
    rng = np.random.default_rng(5)
    alarms = sum(any(a.differs for a in answers(family(rng, samples=2))[0]) for _ in range(2000))
    assert RATE == 0.02
    assert alarms <= 1


def test_the_power_is_what_it_says() -> None:
    """A common factor of the size that is stated is found with probability 0.95 at least, in one sample of many."""
    rng = np.random.default_rng(6)
    power = answers(family(rng))[0][0].power
    assert power is not None
    found = sum(answers(family(rng, power))[0][0].differs for _ in range(300))
    assert found >= 300 * 0.95 - 3 * (300 * 0.95 * 0.05) ** 0.5


def test_only_what_leaves_no_doubt_is_decided_at_once() -> None:
    """A factor of six standard errors is seen by the looks together, and not at once; one of fifteen is."""
    rng = np.random.default_rng(7)
    size = two_looks.CERTAIN
    assert all(certain(family(rng)[0]) is None for _ in range(200))
    assert certain(family(rng, 2.2 / 400**0.5)[0]) is None
    found = certain(family(rng, 15 / 400**0.5)[0])
    assert found is not None
    assert all(one.differs and one.worst < size for one in found)
    declared = replace(family(rng, 15 / 400**0.5)[0], declared=True)
    assert certain(declared) is None


def test_draws_that_may_be_waiting_for_a_rare_one_leave_doubt() -> None:
    """512 draws of what is 10,000 once in 10,000 times, and else 0, miss it 19 times of 20: more are taken."""
    rng = np.random.default_rng(7)
    normal, truth = rng.standard_normal((512, 2)) + 1, np.ones(2)
    names = ["common", "rare"]
    rare = Sample("", normal * [1.0, 0.0], truth, names)
    assert rare.flagged(two_looks.CERTAIN)[0]
    assert not doubtless([rare])
    assert not doubtless([Sample("", normal, truth, names)])
    assert doubtless([Sample("", 2 * normal, truth, names)])
    assert doubtless([rare, Sample("", 3 * normal, truth, names)])
    lost = rare.rows * np.where(np.arange(512) == 5, np.nan, 1.0)[:, None]
    assert doubtless([Sample("", lost, truth, names)])


def test_a_figure_without_spread_is_compared_to_rounding() -> None:
    rows = np.ones((5, 2))
    assert Sample("", rows, np.ones(2)).p.tolist() == [1, 1]
    assert Sample("", rows, np.array([1, 1 + 1e-6])).p.tolist() == [1, 0]
    assert Sample("", rows * np.nan, np.ones(2)).p.min() == 0


# Its form


def test_it_is_reached_as_vdbench_check_and_written_as_plain_data() -> None:
    import json

    found = vdbench.check(get("deterministic"), seed=3)
    plain = json.loads(json.dumps(found.json()))
    assert plain["subject"] == "deterministic"
    assert plain["passed"] is True
    assert len(plain["findings"]) == len(found.findings)
    assert set(plain["findings"][0]) == {
        "test", "where", "passed", "figure", "low", "high", "limit", "power", "note", "suggests",
        "against", "draws", "carried", "grade",
    }  # fmt: skip
    assert {c["feature"] for c in plain["coverage"]} >= {"noisy layers", "groups", "σ"}
    assert plain["verdict"] == "PASSED"
    assert found.text().startswith(found.summary())


@pytest.mark.long
def test_a_seed_repeats_a_certificate() -> None:
    first, again, other = (check(get("local"), draws=4096, seed=s).findings for s in (3, 3, 4))
    assert first == again != other


WRONG: list[tuple[Any, dict[str, Any], str]] = [
    (
        "local",
        {},
        "check: expected a registered estimator, such as vdbench.get('local'), not 'local'.",
    ),
    (get("local"), {"level": "smal"}, "level 'smal' is unknown. Did you mean 'small'?"),
    (get("local"), {"device": "tpu"}, "device 'tpu' is unknown; expected cpu or cuda."),
]


@pytest.mark.parametrize(("estimator", "options", "message"), WRONG)
def test_bad_input_is_refused(estimator: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        check(estimator, **options)
    assert message in str(caught.value)


@pytest.mark.long
def test_the_text_says_whose_gradient_was_compared_with() -> None:
    """Local noise has another objective on a convolution, naive sampling the same everywhere."""
    line = "The mean was compared with the gradient of elbo on linear, dense,"
    said = certified("local").text(verbose=True)
    assert line in said
    assert "; of elbo-local-noise on convolution, drawn sequence, drawn convolution." in said
    assert "The mean was compared" not in certified("naive").text(verbose=True)


def test_a_suggestion_is_told_once() -> None:
    failed = [Finding("unbiased", f"here {k}", False, suggests="fix it.") for k in range(3)]
    lines = Certificate("it", "small", tuple(failed), 0.001, 0.0).text(True).splitlines()
    assert [x.strip() for x in lines if "suggests" in x] == [
        "suggests: fix it.", "suggests: the same, see above.", "suggests: the same, see above.",
    ]  # fmt: skip


def test_a_noisy_mean_names_the_mistake_that_is_as_near() -> None:
    """Half and a fifth of the gradient: with wide draws neither is excluded, with narrow ones one is named alone."""
    defect = DEFECTS["scale-n-over-m-is-missing"]
    at = stage("deep")
    made = Subject(defect.estimator, Key(("noisy",))).on(at)
    truth, names = np.array([-0.83, 1.2]), ["0.mean[0]", "0.mean[1]"]
    rng = np.random.default_rng(3)

    def said(spread: float) -> str:
        rows = 0.3 * truth + spread * rng.standard_normal((64, 2))
        rows += 0.3 * truth - rows.mean(0)  # the mean as it is, whatever was drawn
        return suggest(made, "elbo", Sample("here", rows, truth, names))

    wide = said(1.0)
    assert "half the gradient" in wide
    assert "1/5 of the gradient" in wide
    assert "With these draws it may as well be" in wide
    assert "no known mistake explains" in said(0.001)


def test_a_first_look_draws_more_where_few_draws_carry_its_spread() -> None:
    """One draw in 200 carries a spread of a half: 4,096 draws have about 20, and no more are made than may be."""

    def drawn_with(most: int) -> Sample:
        rng = np.random.default_rng(9)

        def draw(look: str, count: int) -> list[Sample]:
            hit = (rng.random((count, 1)) < 1 / 200) - 1 / 200
            return [Sample("", 1 + 0.5 * hit / (1 / 200) ** 0.5, np.ones(1))]

        return enough(draw, 4096, lambda want: most, 1024)[0]

    plenty, bound = drawn_with(100_000), drawn_with(8192)
    assert len(bound.rows) == 4096
    assert 8192 < len(plenty.rows) <= 32768
    for one, sees in ((plenty, True), (bound, False)):
        assert one.judged_by is not None
        assert (one.judged_by >= two_looks.CARRIED) is sees


def test_a_pilot_that_asks_for_too_few_does_not_bound_the_draws() -> None:
    """As many as decide are made, though fewer are allowed otherwise; and not more where they would not decide."""

    def drawn_with(further: int) -> int:
        rng = np.random.default_rng(4)

        def draw(look: str, count: int) -> list[Sample]:
            return [Sample("", 1 + 2.0 * rng.standard_normal((count, 1)), np.ones(1))]

        def most(want: float) -> int:
            return further if 8192 < want <= further else 8192

        return len(enough(draw, 4096, most, 1024)[0].rows)

    wanted = for_spread(2.0)
    assert wanted * 0.9 < drawn_with(40_000) < wanted * 1.2
    assert drawn_with(12_000) == 8192


def test_what_a_few_draws_carry_is_not_judged() -> None:
    """500 times the truth with probability 1/500: 8 of 4,096 draws; and with ten times the draws it is."""

    def looked(count: int, seed: int) -> two_looks.Answer:
        rng = np.random.default_rng(seed)

        def draw(look: str, times: int) -> list[Sample]:
            hit = rng.random((count * times, 1)) < 1 / 500
            return [Sample("", np.where(hit, 600.0, 0.0) * np.ones((1, 3)), np.ones(3))]

        return answers([Question("", draw, draw("first", 1))])[0][0]

    few = [looked(4096, seed) for seed in range(20)]
    assert not any(one.differs for one in few)
    assert all(one.carried is not None and one.carried < two_looks.CARRIED for one in few)
    assert looked(400_000, 0).differs  # its mean is 1.2 times the truth
