"""The pytest plugin and the skeleton: what an author gets, and that nothing of it can be forgotten."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vdbench import certificate, cli
from vdbench.certificate import Certificate, Finding
from vdbench.cli import scaffold
from vdbench.errors import InputError
from vdbench.estimation import registry
from vdbench.estimation.options import get, label

pytestmark = pytest.mark.usefixtures("elsewhere")

INSTALLED = bool(importlib.metadata.entry_points(group="pytest11", name="vdbench"))
PLUGIN = () if INSTALLED else ("-p", "vdbench.pytest_plugin")

MARKED = """
import pytest

@pytest.mark.vdbench({arguments})
def test_mine({fixture}):
    {body}
"""

NAMES = [one.name for one in certificate.checks_of(get("local"))]


def run(pytester: pytest.Pytester, *words: str) -> pytest.RunResult:
    return pytester.runpytest(*PLUGIN, "-p", "no:cacheprovider", *words)


def marked(
    pytester: pytest.Pytester,
    arguments: str = '"local"',
    fixture: str = "vdbench_finding",
    body: str = "pass",
    *words: str,
) -> pytest.RunResult:
    pytester.makepyfile(MARKED.format(arguments=arguments, fixture=fixture, body=body))
    return run(pytester, *words)


def canned(monkeypatch: pytest.MonkeyPatch, *changes: Finding, leave: str = "") -> list[Any]:
    """Let every check find that all is well, but for some findings; returns what was asked."""
    asked: list[Any] = []

    def check(estimator: Any, *, level: str, draws: int | None, seed: int) -> Certificate:
        asked.append((label(estimator), level, draws, seed))
        by_test = {f.test: f for f in changes}
        names = [n for n in dict.fromkeys([*NAMES, *by_test]) if n != leave]
        well = {n: Finding(n, "here", True, limit=0.1, power=0.05, draws=9) for n in names}
        findings = tuple(by_test.get(n, well[n]) for n in names)
        return Certificate(label(estimator), level, findings, 0.01, 0.0)  # type: ignore[arg-type]

    monkeypatch.setattr(certificate, "check", check)
    return asked


def test_every_test_of_a_certificate_is_one_test_and_the_check_is_made_once(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = canned(monkeypatch)
    result = marked(
        pytester,
        '"score", options={"samples": 3}, level="full", seed=7, draws=99',
        "vdbench_finding",
        "pass",
        "-v",
    )
    result.assert_outcomes(passed=len(NAMES) + 1)
    assert asked == [("score(samples=3)", "full", 99, 7)]
    for name in [*NAMES, "nothing left out"]:
        result.stdout.fnmatch_lines([f"*test_mine[[]{name}[]] PASSED*"])


def test_a_finding_that_failed_fails_its_test_alone_with_all_figures(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = Finding(
        "unbiased",
        "dense: layer 0",
        False,
        0.5,
        0.4,
        0.6,
        0.1,
        0.05,
        "relative bias",
        "half is missing",
    )
    canned(monkeypatch, bad)
    result = marked(pytester)
    result.assert_outcomes(passed=len(NAMES), failed=1)
    result.stdout.fnmatch_lines(
        ["local: unbiased, dense: layer 0: relative bias",
         "  figure 0.5, low 0.4, high 0.6, limit 0.1, power 0.05", "  half is missing"]
    )  # fmt: skip


@pytest.mark.parametrize(
    "body", ["pass", "return", "vdbench_finding = None", "pytest.skip('not today')"]
)
def test_no_body_hides_a_failure(
    body: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    canned(monkeypatch, Finding("finite", "here", False, note="NaN"))
    outcomes = marked(pytester, body=body).parseoutcomes()
    assert outcomes["failed"] == 1


def test_what_does_not_apply_is_skipped_with_the_reason(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    canned(monkeypatch, Finding("CPU and GPU", "all", None, note="no GPU here"))
    result = marked(pytester, '"local"', "vdbench_finding", "pass", "-rs")
    result.assert_outcomes(passed=len(NAMES), skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*no GPU here"])


def test_a_finding_that_no_test_stands_for_and_a_test_without_finding_fail(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    canned(monkeypatch, Finding("new", "here", True), leave="finite")
    result = marked(pytester)
    result.assert_outcomes(passed=len(NAMES) - 1, failed=2)
    result.stdout.fnmatch_lines(["local: the certificate has no finding of finite."])
    result.stdout.fnmatch_lines(["local: findings that no test stands for: new."])


UNDECIDED = {
    "compared nowhere": (
        Finding("unbiased", "linear", None, note="no exact gradient of 'mine'"),
        "local: INCONCLUSIVE *bias was not tested*",
    ),
    "too few draws": (
        Finding("unbiased", "linear: layer 0, mean", True, limit=0.2, power=0.3, draws=1000),
        "local: INCONCLUSIVE *below 0.3 could have gone unnoticed*--draws 11000 should settle it*",
    ),
}


@pytest.mark.parametrize("kind", UNDECIDED)
def test_what_is_inconclusive_is_skipped_and_fails_where_that_is_asked_for(
    kind: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `vdbench check` does not pass it: the test without power, and the one that stands for the whole."""
    finding, said = UNDECIDED[kind]
    canned(monkeypatch, finding)
    result = marked(pytester, '"local"', "vdbench_finding", "pass", "-rs")
    result.assert_outcomes(passed=len(NAMES) - 1, skipped=2)
    result.stdout.fnmatch_lines([f"SKIPPED*{said}"])
    fails = 2 if finding.passed else 1  # a test that does not apply is skipped all the same
    strict = run(pytester, "--vdbench-strict")
    strict.assert_outcomes(passed=len(NAMES) - 1, skipped=2 - fails, failed=fails)
    strict.stdout.fnmatch_lines([said])
    marked(pytester, '"local", strict=True').assert_outcomes(
        passed=len(NAMES) - 1, skipped=2 - fails, failed=fails
    )


@pytest.mark.parametrize(
    ("arguments", "fixture", "said"),
    [
        ('"loca"', "vdbench_finding", "*estimator 'loca' is unknown. Did you mean 'local'?*"),
        ('"local", lvl="full"', "vdbench_finding", "*mark vdbench has no argument 'lvl'. Did you mean 'level'?*"),
        ('"local", level="big"', "vdbench_finding", "*level is 'big', expected 'small' or 'full'.*"),
        ('"local", file="no.py"', "vdbench_finding", "*plug-in '*no.py': expected an existing Python file*"),
        ("", "vdbench_finding", "*mark vdbench takes one estimator, not 0.*"),
        ('"local"', "", "*is marked vdbench and must take the argument vdbench_finding.*"),
    ],
)  # fmt: skip
def test_a_bad_mark_is_refused_in_one_sentence(
    arguments: str, fixture: str, said: str, pytester: pytest.Pytester
) -> None:
    result = marked(pytester, arguments, fixture)
    assert result.ret == pytest.ExitCode.USAGE_ERROR or result.parseoutcomes().get("errors") == 1
    both = pytest.LineMatcher([*result.outlines, *result.errlines])
    both.fnmatch_lines([said])


def test_the_fixture_alone_is_refused(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_mine(vdbench_finding): ...")
    result = run(pytester)
    both = pytest.LineMatcher([*result.outlines, *result.errlines])
    both.fnmatch_lines(['*add @pytest.mark.vdbench("my-estimator").*'])


def test_the_plugin_costs_other_sessions_nothing() -> None:
    code = "import sys, vdbench.pytest_plugin; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# The skeleton


def test_a_new_estimator_and_its_test_both_run_at_once(
    pytester: pytest.Pytester, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.app.app(["new", "estimator", "my-own", "--out", "mine"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "wrote mine/my_own.py and mine/test_my_own.py" in said
    assert "vdbench check mine/my_own.py" in said
    assert registry.load_plugin("mine/my_own.py") == ["my-own"]
    result = run(pytester, "mine/test_my_own.py")
    outcomes = result.parseoutcomes()
    assert outcomes.get("passed", 0) + outcomes.get("skipped", 0) == len(NAMES) + 2
    assert outcomes.get("passed", 0) > len(NAMES) - 2
    assert len(certificate.checks_of(get("my-own"))) == len(NAMES)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "My-Own",
            "a name is lower-case letters, digits and '-' between them, such as 'my-estimator'",
        ),
        ("my_own", "a name is lower-case letters"),
        ("-own", "a name is lower-case letters"),
        ("", "a name is lower-case letters"),
        ("2own", "a name begins with a letter"),
        ("local", "there is an estimator of that name already"),
    ],
)
def test_a_bad_name_is_refused(name: str, said: str, elsewhere: Path) -> None:
    with pytest.raises(InputError, match=said):
        scaffold.write(name, elsewhere)
    assert not list(elsewhere.glob("*.py"))


@pytest.mark.parametrize("there", ["my_own.py", "test_my_own.py"])
def test_nothing_is_written_over(there: str, elsewhere: Path) -> None:
    (elsewhere / there).write_text("mine")
    with pytest.raises(InputError, match=rf"'.*{there}' is there already; nothing was written"):
        scaffold.write("my-own", elsewhere)
    assert [(p.name, p.read_text()) for p in elsewhere.glob("*.py")] == [(there, "mine")]
