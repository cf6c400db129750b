from __future__ import annotations

import csv
import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

import reports
from reports.charts.columns import chart_data
from reports.document import Code, Document, Picture
from reports.figures.elbo_curves import curve_figure
from reports.output.csv import FILES, write_csv
from reports.output.html import CHARTS, LIBRARY, page, split
from reports.output.markdown import block, escape, markdown, place
from reports.output.paper_tables import write_tex
from reports.output.pictures import draw_pictures
from reports.output.write import default_folder
from reports.results.estimate import Estimate
from reports.results.groups import groups_of
from reports.results.load import load
from reports.results.pareto import front
from reports.sections.bias import bias_text
from reports.sections.section import Findings
from reports.words.numbers import time_unit

HEADINGS = [
    "Summary",
    "Results by place",
    "Variance by layer",
    "Variance relative to the baseline",
    "Cost per gradient",
    "Variance against time per gradient",
    "Training",
    "Signal-to-noise ratio and bias",
    "Failed and incomplete measurements",
    "Method and glossary",
    "Environment and reproduction",
]
LABELS = ("deterministic", "naive", "local")
VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """Collects what a page refers to, and checks that its elements are nested well."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [v or "" for k, v in attrs if k == "id"]
        self.links += [v or "" for k, v in attrs if k in ("src", "href", "srcset", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def small_run(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one place and three estimators, in one role and over all layers: little to draw, of every kind."""
    rows = [
        row
        for row in rows_of(run_folder)
        if row["problem"] == "digits-mlp" and row["label"] in LABELS
        if row["layer"] == "all" and row["role"] in ("mean", "all")
    ]
    folder = tmp_path_factory.mktemp("runs") / "small"
    folder.mkdir()
    pd.DataFrame(rows).to_parquet(folder / "results.parquet")
    shutil.copy(run_folder / "run.json", folder)
    return folder


@pytest.fixture(scope="module")
def written(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a small run, with its pictures."""
    return reports.write([small_run], tmp_path_factory.mktemp("out") / "report").parent


@pytest.fixture(scope="module")
def whole_page(run_folder: Path, composed: Callable[..., Document]) -> str:
    """The page of the complete run, with empty pictures."""
    return page_of(composed(run_folder))


def pictures_of(document: Document) -> list[Picture]:
    return [x for section in document.sections for x in section.blocks if isinstance(x, Picture)]


def page_of(document: Document) -> str:
    return page(document, {picture.name: "" for picture in pictures_of(document)}, {})


def rows_of(folder: Path) -> list[dict]:
    return load([folder]).frame.drop(columns=["run", "detail"]).to_dict("records")


def test_everything_is_written(written: Path) -> None:
    assert {p.name for p in written.iterdir()} == {"index.html", "report.md", "figures", "tables"}
    names = {p.stem for p in (written / "tables").glob("*.csv")}
    assert names == set(FILES) - {"slopes", "instrument", "training"}
    figures = sorted(p.name for p in (written / "figures").iterdir())
    assert {Path(name).suffix for name in figures} == {".svg", ".png", ".pdf"}
    assert len(figures) == 3 * 6  # five kinds and training, in three formats
    assert all(re.fullmatch(r"[a-z0-9.-]+", name) for name in figures)


def test_a_group_has_five_pictures_and_its_training_one(whole_report: str) -> None:
    assert whole_report.count("](figures/") == 2 * 5 + 1


def test_sections_come_in_order(whole_report: str, whole_page: str) -> None:
    assert re.findall(r"^## (.*)$", whole_report, re.MULTILINE) == HEADINGS
    on_page = [*HEADINGS[:-2], "All figures", *HEADINGS[-2:]]
    assert re.findall(r"<h2>(.*)</h2>", whole_page) == on_page


def test_the_page_needs_nothing_beside_itself(written: Path) -> None:
    text = (written / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert all(link.startswith(("#", "data:image/svg+xml;base64,")) for link in page.links)
    assert not {"link", "iframe", "object", "embed"} & set(page.tags)
    text = re.sub("<script.*?</script>", "", text, flags=re.DOTALL)  # in a browser: tests/browser
    assert "http:" not in text
    assert "https:" not in text
    assert "@import" not in text
    assert "url(" not in text


def test_markdown_shows_figures_that_exist(written: Path) -> None:
    text = (written / "report.md").read_text(encoding="utf-8")
    links = re.findall(r"!\[[^\]]*\]\((.*?)\)", text)
    assert len(links) == 6
    assert all((written / link).is_file() for link in links)


def test_failed_and_bounded_cells_are_listed_with_their_cause(whole_report: str) -> None:
    section = whole_report.split("## Failed and incomplete")[1].split("## ")[0]
    assert "| failed | out of memory – out of memory: 3.1 GiB asked |" in section
    assert "| bounded | 4096 units drawn, ±5 % not reached | 4,096 |" in section
    assert "variance: 4 converged (precision reached), 1 bounded, 1 failed." in section
    assert "Failed, so not compared:" in whole_report
    assert "†" in whole_report


def test_tables_hold_every_digit(run_folder: Path, tmp_path: Path) -> None:
    frame = load([run_folder]).frame
    write_csv(load([run_folder]), tmp_path)
    with (tmp_path / "variance.csv").open(encoding="utf-8", newline="") as file:
        got = [float(row["ci_low"]) for row in csv.DictReader(file)]
    assert got == frame[frame["metric"].str.startswith("variance.")]["ci_low"].tolist()


def test_a_csv_has_what_a_value_is_and_what_it_is_against(run_folder: Path, tmp_path: Path) -> None:
    write_csv(load([run_folder]), tmp_path)
    ratios = pd.read_csv(tmp_path / "ratio.csv")
    wanted = {
        "problem", "checkpoint", "batch_size", "label", "layer", "role", "metric", "value", "ci_low", "ci_high",
        "level", "n", "unit", "status", "against",
    }  # fmt: skip
    for path in tmp_path.glob("*.csv"):
        assert wanted - {"against"} <= set(pd.read_csv(path).columns), path.name
    assert wanted <= set(ratios.columns)
    assert set(ratios["against"]) == {"naive"}


def test_zero_is_shown_not_dropped(whole_report: str) -> None:
    assert "0 (exact)" in whole_report


def test_equal_runs_give_equal_bytes(
    small_run: Path, written: Path, composed: Callable[..., Document], tmp_path: Path
) -> None:
    document = composed(small_run)
    drawn = draw_pictures(document, tmp_path, ["svg", "pdf"])
    for name, text in drawn.items():
        assert (written / "figures" / f"{name}.svg").read_text(encoding="utf-8") == text
        pdf = f"{name}.pdf"
        assert (written / "figures" / pdf).read_bytes() == (tmp_path / pdf).read_bytes()
    assert markdown(document) == (written / "report.md").read_text(encoding="utf-8")
    svgs = {path.stem: path.read_text("utf-8") for path in written.rglob("*.svg")}
    found = Findings(load([small_run]))
    data = chart_data(found.groups, found.sweeps)
    assert page(document, svgs, data) == (written / "index.html").read_text(encoding="utf-8")
    write_csv(found.results, tmp_path / "tables")
    write_tex(found.groups, found.sweeps, tmp_path / "tables")
    for path in sorted((tmp_path / "tables").iterdir()):
        assert (written / "tables" / path.name).read_bytes() == path.read_bytes()


def test_figures_are_saved_in_the_formats_asked_for(
    run_folder: Path, make_run: Callable[..., Path], tmp_path: Path
) -> None:
    rows = [row for row in rows_of(run_folder) if row["metric"] == "time.seconds_per_gradient"]
    rows = [row for row in rows if row["problem"] == "digits-mlp"]
    out = reports.write([make_run(rows)], tmp_path / "out", formats=["svg"]).parent
    (path,) = (out / "figures").iterdir()
    assert path.suffix == ".svg"
    assert f"](figures/{path.name})" in (out / "report.md").read_text(encoding="utf-8")


def test_a_report_is_composed_without_matplotlib(run_folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from reports.results.load import load\n"
        "from reports.sections.report import document; from reports.sections.section import Findings\n"
        "assert document(Findings(load([Path(sys.argv[1])]))).sections\n"
        "assert 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(run_folder)], check=True)


def test_only_variance(
    run_folder: Path, make_run: Callable[..., Path], report: Callable[..., str]
) -> None:
    rows = [
        row
        for row in rows_of(run_folder)
        if row["metric"].startswith("variance.") and row["problem"] == "digits-mlp"
    ]
    text = report(make_run(rows))
    told = text.split("Not measured by this suite:")[1].splitlines()[0]
    for title in ("Variance relative to the baseline", "Cost per gradient", "Training"):
        assert title.lower() in told.lower(), told
    assert "Variance by layer" not in told
    assert "not compared" in text
    assert text.count("](figures/") == 1  # no ratio, so no summary


def test_only_training(
    run_folder: Path, make_run: Callable[..., Path], report: Callable[..., str]
) -> None:
    rows = [row for row in rows_of(run_folder) if row["checkpoint"] == "training"]
    text = report(make_run(rows))
    assert "Not ranked: this run has no variance over all layers" in text.replace("*", "")
    assert "not reached" in text


def test_nothing_but_failures(
    run_folder: Path, make_run: Callable[..., Path], report: Callable[..., str]
) -> None:
    rows = [row for row in rows_of(run_folder) if row["status"] == "failed"]
    text = report(make_run(rows))
    assert "out of memory" in text


def test_no_rows_at_all(
    run_folder: Path, make_run: Callable[..., Path], report: Callable[..., str]
) -> None:
    folder = make_run(rows_of(run_folder)[:1])
    load([folder]).frame.drop(columns=["run", "detail"]).iloc[:0].to_parquet(
        folder / "results.parquet"
    )
    text = report(folder)
    assert "The run has no rows to report on." in text
    assert reports.headline([folder]) == []


@pytest.mark.parametrize("ends", [(math.nan, math.nan), (0.0, math.inf), (-1.0, 1e9)])
def test_odd_intervals(
    run_folder: Path,
    make_run: Callable[..., Path],
    ends: tuple[float, float],
    report: Callable[..., str],
) -> None:
    rows = [row for row in rows_of(run_folder) if row["problem"] == "digits-mlp"]
    rows = [row | {"ci_low": ends[0], "ci_high": ends[1]} for row in rows]
    rows[0]["value"] = math.nan
    text = report(make_run(rows))
    assert (
        "significantly lower" not in text.partition("## ")[2].partition("\n## ")[0]
    )  # no interval


def test_many_layers_go_to_several_figures(
    run_folder: Path, make_run: Callable[..., Path], report: Callable[..., str]
) -> None:
    rows = [row for row in rows_of(run_folder) if row["metric"].startswith("variance.")]
    rows = [row for row in rows if row["problem"] == "digits-mlp" and row["label"] == "local"]
    rows += [
        row | {"layer": f"fc{i}"} for row in rows if row["layer"] == "fc1" for i in range(4, 8)
    ]
    text = report(make_run(rows, baseline="local"))
    assert len(re.findall(r"\]\(figures/variance-[a-z0-9.-]*-[12].png\)", text)) == 2


def test_several_runs_are_put_side_by_side(
    run_folder: Path, make_run: Callable[..., Path], report: Callable[..., str], tmp_path: Path
) -> None:
    folders = [make_run(rows_of(run_folder), name=name) for name in ("cpu", "gpu")]
    assert default_folder(folders) == folders[0].parent / "report"
    assert default_folder(folders[:1]) == folders[0] / "report"
    text = report(*folders)
    assert text.count("| run | estimator |") == 2
    assert "**cpu: Use local: it has" in text
    assert "**gpu: Use local: it has" in text
    write_csv(load(folders), tmp_path)
    with (tmp_path / "cost.csv").open(encoding="utf-8", newline="") as file:
        assert {row["run"] for row in csv.DictReader(file)} == {"cpu", "gpu"}
    said = reports.headline(folders)
    assert [line.split(" · ")[0] for line in said if " · " in line] == ["cpu", "cpu", "gpu", "gpu"]


def test_what_users_name_is_escaped(
    run_folder: Path, make_run: Callable[..., Path], composed: Callable[..., Document]
) -> None:
    evil = "<script>alert(1)</script>"
    rows = [
        row | {key: evil for key in ("label", "against") if row[key] == "local"}
        for row in rows_of(run_folder)
    ]
    rows = [row | {"message": f"{evil} $x_1$ | `a` ](b)"} for row in rows]
    rows = [row | {"problem": f"../{evil}"} for row in rows]
    folder = make_run(rows, reference=evil, command=f"vdbench {evil}")
    document = composed(folder)
    pictures = [
        x for section in document.sections for x in section.blocks if isinstance(x, Picture)
    ]
    found = Findings(load([folder]))
    text = page(
        document, {picture.name: "" for picture in pictures}, chart_data(found.groups, found.sweeps)
    )
    bare = re.sub("<script.*?</script>", "", text, flags=re.DOTALL)
    assert "script" not in Page(bare).tags
    assert text.count("<script") == text.count("</script>") == len(CHARTS) + len(LIBRARY) + 1
    assert "&lt;script&gt;" in text
    said = markdown(document)
    assert "<script" not in re.sub(r"```sh\n.*\n```", "", said)  # but in the code
    assert pictures
    assert all(re.fullmatch(r"[a-z0-9.-]+", picture.name) for picture in pictures)


def test_markdown_escapes() -> None:
    assert escape("a|b *c* `d`\ne <f> [g](h) snake_case _i_") == (
        r"a\|b \*c\* \`d\` e &lt;f&gt; [g\](h) snake_case \_i\_"
    )


def test_bias_says_what_would_have_been_seen() -> None:
    assert bias_text(Estimate(0.01, 0.0, 0.25)) == "none found; at most 0.25"
    weak = "none found, but the test is weak: at most 0.8"
    assert bias_text(Estimate(0.01, -0.2, 0.8)) == weak
    assert bias_text(Estimate(0.288, 0.18, 0.361)) == "bias 0.29 [0.18, 0.36]"
    assert bias_text(Estimate(math.nan, status="undefined", detail={"why": "why"})) == "– (why)"


def test_bias_names_its_reference_and_who_has_another_objective(whole_report: str) -> None:
    section = whole_report.split("## Signal-to-noise")[1].split("## Failed and incomplete")[0]
    assert "| deterministic | none found; at most 0.03 |" in section
    assert "| different objective: a bias is expected |" in section
    assert "of the reference (local); intervals at 95 %; n = 400." in section


def test_the_headline_table_leaves_noise_out_and_is_short(whole_report: str) -> None:
    header = next(line for line in whole_report.splitlines() if line.startswith("| estimator |"))
    assert "noise" not in header
    assert header.endswith(
        "| final ELBO (nats) | test error (%) | variance compared with the lowest |"
    )
    assert "| not ranked |" in whole_report


def test_several_groups_are_listed_first_with_links_that_lead_somewhere(
    whole_report: str, whole_page: str
) -> None:
    page = Page(whole_page)
    inside = [link.removeprefix("#") for link in page.links if link.startswith("#")]
    assert len(inside) > 20
    assert set(inside) <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    first = "| [digits-mlp · checkpoint initial · batch 128](#digits-mlp--checkpoint-initial--batch-128) | mean"
    assert first in whole_report
    assert place("A · b (c), d_e") == "a--b-c-d_e"


def test_what_is_undefined_is_no_failure(
    run_folder: Path, make_run: Callable[..., Path], report: Callable[..., str]
) -> None:
    rows = [row for row in rows_of(run_folder) if row["problem"] == "digits-mlp"]
    nothing = {"value": math.nan, "ci_low": math.nan, "ci_high": math.nan, "status": "undefined",
               "message": "no value: division by zero"}  # fmt: skip
    rows = [row | nothing if row["metric"] == "snr" else row for row in rows]
    rows = [row | nothing if row["metric"].startswith("ratio.var") else row for row in rows]
    text = report(make_run(rows))
    assert "| – (division by zero) |" in text
    assert "Failed, so not compared" not in text


def test_the_environment_gives_what_a_reader_looks_for(whole_report: str, whole_page: str) -> None:
    assert "```sh\nvdbench run quick --out runs/quick\n```" in whole_report
    for line in ("source (git) | 0123abc, with uncommitted changes", "torch | 2.13.0",
                 "processor | a processor", "threads | 2", "wall time (s) | 56.2"):  # fmt: skip
        assert f"| {line} |" in whole_report
    assert "<code>vdbench run quick --out runs/quick</code></pre>" in whole_page


@pytest.mark.parametrize(("load", "warned"), [(1.6, True), (1.0, False)])
def test_a_busy_machine_is_said_beside_the_cost(
    run_folder: Path,
    make_run: Callable[..., Path],
    load: float,
    warned: bool,
    report: Callable[..., str],
) -> None:
    machine = {"cpu": {"model": "a processor", "logical_cores": 2},
               "load_average": [load, 0.5, 0.25], "packages": {"torch": "2.13.0"}}  # fmt: skip
    rows = [row for row in rows_of(run_folder) if row["problem"] == "digits-mlp"]
    folder = make_run(rows, environment=machine)
    text = report(folder)
    said = f"The machine was busy when the run began (load {load} on 2 cores), so absolute times"
    assert (said in text.split("## Cost per gradient")[1].split("## ")[0]) == warned
    assert f"| load average at the start (1, 5, 15 min) | {load}, 0.5, 0.25 |" in text
    assert "packages torch" not in text


def test_times_of_random_numbers_by_counter_are_said_to_be_longer(
    run_folder: Path, make_run: Callable[..., Path], report: Callable[..., str]
) -> None:
    rows = [row for row in rows_of(run_folder) if row["problem"] == "digits-mlp"]
    suite = json.loads((run_folder / "run.json").read_text())["suite"]
    cost = {
        noise: report(make_run(rows, suite={**suite, "noise": noise})).split(
            "## Cost per gradient"
        )[1]
        for noise in ("torch", "philox")
    }
    said = "Random numbers were made by counter (noise: philox), which takes longer on a CPU"
    assert (said in cost["torch"], said in cost["philox"]) == (False, True)


def test_the_bias_of_a_layer_is_named_so_but_in_the_csv(
    whole_report: str, run_folder: Path, tmp_path: Path
) -> None:
    assert "| layer bias | fc1 |" in whole_report
    assert "| bias |" not in whole_report
    write_csv(load([run_folder]), tmp_path)
    assert ",bias," in (tmp_path / "variance.csv").read_text(encoding="utf-8")


def test_a_page_shows_the_unit_of_a_time_beside_the_figure() -> None:
    assert split("609 [601, 619] µs") == ("609 µs", "[601, 619] µs")
    assert split("7.2 [6, 8] †") == ("7.2", "[6, 8] †")
    assert split("1 (baseline)") == ("1 (baseline)", "")
    assert split("failed [x] s") == ("failed [x] s", "")


def test_times_on_axes_have_the_unit_of_the_tables() -> None:
    assert time_unit([Estimate(2.5e-3), Estimate(2e-4)]) == (1e3, "ms")
    assert time_unit([Estimate(2e-4)]) == (1e6, "µs")
    assert time_unit([Estimate(2.0), Estimate(math.nan)]) == (1, "s")


def test_code_with_backticks_stays_code() -> None:
    assert block(Code("a ```b```")) == "````sh\na ```b```\n````"


@pytest.mark.parametrize("first", [0.0, 1e-4])
def test_no_time_at_step_0_does_not_stretch_the_axis(
    run_folder: Path, make_run: Callable[..., Path], first: float
) -> None:
    rows = [row for row in rows_of(run_folder) if row["checkpoint"] == "training"]
    rows = [row | {"seconds": first} if row["step"] == 0 else row for row in rows]
    group = groups_of(load([make_run(rows)]))[0]
    figure = curve_figure(group)
    by_step, by_second = figure.axes
    starts = [line.get_xdata()[0] for line in by_second.get_lines()]
    assert by_second.get_xlim()[0] == min(starts) == pytest.approx(20 * 4.1e-4)
    assert {line.get_xdata()[0] for line in by_step.get_lines()} == {0}


def test_the_front_is_of_ranked_estimators(run_folder: Path) -> None:
    group = groups_of(load([run_folder]))[0]
    assert front(group, "mean") == ["naive", "local"]
