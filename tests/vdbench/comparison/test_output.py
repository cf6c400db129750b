"""``vdbench compare``: exit codes, and what is printed and written."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import vdbench
from vdbench import cli
from vdbench.comparison.judging import judged
from vdbench.comparison.rows import Candidate, Comparison, Refusal, Where
from vdbench.measures.registry import load
from vdbench.statistics.contrasts import one_look, ratio_of_means

DOCS = Path(__file__).parents[3] / "docs"
ESTIMATORS = ("--base", "local", "--new", "naive")


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Call ``vdbench compare`` in this process: exit code, output and errors."""

    def compare(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["vdbench", "compare", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return int(end.value.code or 0), said.out, said.err

    return compare


def drawn(name: str = "local", problem: str = "p", more: float = 2.0) -> Comparison:
    """A comparison with a row of each verdict but SAME."""
    generator = np.random.default_rng(0)
    a, noise = generator.gamma(2.0, 1.0, 200), generator.gamma(2.0, 1.0, 200)
    found = []
    for role, b in (("mean", a * more), ("scale", noise), ("bias", a / more)):
        where = Where(problem, "initial", 16, name, name)
        contrast = ratio_of_means(b * (1 + 1e-3 * noise), a, one_look)
        found.append(
            Candidate(
                where, "variance", "variance.total", contrast, (1.0, 2.0), "g", role=role, n=200
            )
        )
    rows, family = judged(found, 0.95, 0.05)
    refused = [Refusal(problem, "initial", 16, name, "memory", "the device differs: a and b")]
    return Comparison("base", "new", 0.95, 0.05, family, rows, refused, ["torch: 1 and 2"])


def test_exit_codes(runs: Path, call: Callable[..., tuple[int, str, str]]) -> None:
    base, new = runs / "base", runs / "new"
    assert call(base, new)[0] == 0
    assert call(base, new, "--strict")[0] == 1  # times of two sessions
    assert call(base, new, "--strict", "--metric", "variance.total")[0] == 0
    assert call(base, *ESTIMATORS)[0] == 1
    for words in (
        (base,),
        (base, runs),
        (base, new, "--metric", "nope"),
        (base, new, "--json", "--markdown"),
    ):
        code, out, err = call(*words)
        assert (code, out) == (2, "")
        assert err.startswith("vdbench: ")
        assert err.count("\n") == 1
    code, _, err = call(base, new, "--html", runs / "base" / "run.json" / "page.html")
    assert (code, err.count("\n")) == (2, 1)


def test_the_headline_comes_first_and_worse_rows_before_others(
    runs: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    _, out, _ = call(runs / "base", *ESTIMATORS)
    assert re.match(
        r"WORSE: \d+ of \d+ figures (is|are) significantly worse, most of all the ", out
    )
    verdicts = re.findall(r"│ (WORSE|INCONCLUSIVE|BETTER|SAME) ", out)
    order = ["WORSE", "INCONCLUSIVE", "BETTER", "SAME"]
    assert [order.index(v) for v in verdicts] == sorted(order.index(v) for v in verdicts)


def test_json_has_every_row(runs: Path, call: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = call(runs / "base", *ESTIMATORS, "--json")
    content = json.loads(out)
    found = vdbench.compare(runs / "base", base="local", new="naive")
    assert (code, content["verdict"], content["adjustment"]) == (1, "WORSE", "Bonferroni")
    assert len(content["rows"]) == len(found.rows) == content["comparisons"]
    assert content["needed"] == found.needed
    assert {row["verdict"] for row in content["rows"]} == {row.verdict for row in found.rows}


def test_markdown_is_a_table_for_a_pull_request(
    runs: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    _, out, _ = call(runs / "base", *ESTIMATORS, "--markdown", "--metric", "variance.total")
    lines = out.splitlines()
    assert lines[0] == "# naive compared with local"
    assert lines[2].startswith("WORSE: ")
    head = next(n for n, line in enumerate(lines) if line.startswith("| verdict"))
    columns = lines[head].count("|")
    for line in lines[head + 2 : lines.index("", head)]:
        assert line.count("|") == columns
    assert "adjusted for 9 comparisons (Bonferroni)" in out


def test_a_page_stands_alone(
    runs: Path, elsewhere: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    _, out, _ = call(runs / "base", *ESTIMATORS, "--html", "page.html")
    page = (elsewhere / "page.html").read_text("utf-8")
    assert "page: page.html" in out
    assert not re.search(r"(src|href)=[\"']?(http|//)", page)
    assert vdbench.compare(runs / "base", base="local", new="naive").headline.split(",")[0] in page


def test_all_that_a_reader_needs_is_said() -> None:
    text = drawn().text()
    assert text.startswith(
        "WORSE: 1 of 3 figures is significantly worse, most of all the variance of local in mean on p, "
    )
    assert "1 measurement could not be compared" in text.splitlines()[0] + text.splitlines()[1]
    assert "units would settle it" in " ".join(text.replace("│", " ").split())
    assert "--set measures.variance.max_units=" in text
    assert "the device differs: a and b" in " ".join(text.replace("│", " ").split())
    assert "torch: 1 and 2" in text
    assert "(Bonferroni): all verdicts hold together at 95 %" in " ".join(text.split())


def test_names_command_nothing() -> None:
    name = "\x1b[31m<script>|`[red]"
    found = drawn(name, name)
    assert "\x1b" not in found.text() + found.markdown() + found.html() + found._repr_html_()
    written = found.markdown() + found.html() + found._repr_html_()
    assert "<script>|" not in written  # the page has scripts of its own
    assert "&lt;script&gt;|" in written
    assert "[red]" in found.text(400)
    assert json.loads(json.dumps(found.json()))["rows"][0]["problem"] == name


def test_a_notebook_shows_a_table() -> None:
    class Tags(HTMLParser):
        seen: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag: str, attrs: Any) -> None:
            self.seen.append(tag)

    found = drawn()
    Tags().feed(found._repr_html_())
    assert Tags.seen.count("table") == 2
    assert (
        repr(found) == "Comparison(base → new: 1 WORSE, 1 INCONCLUSIVE, 1 BETTER; 1 not compared)"
    )
    assert list(found.frame["verdict"]) == ["WORSE", "INCONCLUSIVE", "BETTER"]


def test_the_example_of_a_gate_is_valid(call: Callable[..., tuple[int, str, str]]) -> None:
    """Its suite is one but for the estimator of the reader, and its commands are ours."""
    suite = load(DOCS / "gate" / "gate.yaml", ["estimators=[naive, local]"])
    assert suite.measures.variance is not None
    assert suite.measures.variance.first_units == suite.measures.variance.max_units
    steps = yaml.safe_load((DOCS / "gate" / "pull-request.yml").read_text("utf-8"))["jobs"][
        "compare"
    ]["steps"]
    commands = "\n".join(step.get("run", "") for step in steps)
    assert set(re.findall(r"vdbench (\w+)", commands)) >= {"run", "compare"}
    _, usage, _ = call("--help")
    options = set(re.findall(r"vdbench compare [^\n]*?(--\w+)", commands))
    assert options
    assert all(option in usage for option in options)
