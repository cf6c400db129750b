"""``vdbench.measure``: one call writes a suite and runs it as `vdbench.run` does, and the result shows itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import vdbench
from vdbench.measures.progress import Quiet

X, Y = torch.linspace(-1, 1, 320).reshape(80, 4), torch.arange(80) % 3
SMALL: dict[str, Any] = {"variance": {"first_units": 16, "max_units": 16}}

pytestmark = pytest.mark.usefixtures("elsewhere", "one_thread")


def net(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


def test_a_module_with_data_and_its_problem_give_the_same_figures() -> None:
    one = vdbench.measure(net(), ["naive", "local"], (X, Y), out="a", **SMALL)
    problem = vdbench.noisy(net(), (X, Y), name="model")
    two = vdbench.measure(problem, ["naive", vdbench.get("local")], out="b", **SMALL)
    suite = {
        "name": "measure",
        "problems": [{"name": "model", "problem": (net(), (X, Y))}],
        "batch_sizes": [64],
        "estimators": ["naive", "local"],
        "baseline": "naive",
        "measures": SMALL,
    }
    three = vdbench.run(suite, "c")
    columns = ["label", "metric", "layer", "role", "value", "ci_low", "ci_high"]
    for other in (two, three):
        assert one.frame[columns].equals(other.frame[columns])
    names = [sorted(p.name for p in Path(f, "blocks").rglob("*") if p.is_file()) for f in "abc"]
    assert names[0]
    assert names[0] == names[1] == names[2], "the blocks have other addresses"


def test_a_measurement_is_gone_on_with() -> None:
    vdbench.measure(net(), "naive", (X, Y), out="run", **SMALL)
    before = {p: p.stat().st_mtime_ns for p in Path("run/blocks").rglob("*") if p.is_file()}
    again = vdbench.measure(net(), "naive", (X, Y), out="run", **SMALL)
    assert {p: p.stat().st_mtime_ns for p in Path("run/blocks").rglob("*") if p.is_file()} == before
    assert json.loads(Path("run/run.json").read_text())["resumed"]
    assert again.failed == 0


@pytest.mark.parametrize("what", ["weights", "data", "name"])
def test_a_folder_with_another_problem_s_run_is_refused(what: str) -> None:
    vdbench.measure(net(), "naive", (X, Y), out="run", **SMALL)
    other = {
        "weights": (net(1), (X, Y), {}),
        "data": (net(), (X + 1, Y), {}),
        "name": (net(), (X, Y), {"name": "other"}),
    }[what]
    with pytest.raises(vdbench.InputError, match="holds another run, suite"):
        vdbench.measure(other[0], "naive", other[1], out="run", **other[2], **SMALL)


@pytest.mark.long
def test_a_run_in_processes_of_their_own_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The problem, and an estimator of this module, travel to them; memory is measured there as well."""
    from vdbench.runner import run_suite

    mine = vdbench.get("naive")
    more = {**SMALL, "memory": {"repetitions": 2}}
    here = vdbench.measure(net(), [mine, "local"], (X, Y), out="here", **SMALL)
    monkeypatch.setitem(run_suite.run.__kwdefaults__ or {}, "isolate", True)
    apart = vdbench.measure(net(), [mine, "local"], (X, Y), out="apart", **more)
    assert json.loads(Path("apart/run.json").read_text())["isolation"]["processes"]
    assert apart.failed == 0
    table = apart.frame
    assert (table[table.metric == "memory.peak_bytes"].value > 0).all()
    keys = ["label", "metric", "layer", "role"]
    both = here.frame.merge(table, on=keys)
    both = both[both.metric.str.contains("variance")]
    assert len(both)
    assert np.array_equal(both.value_x, both.value_y)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no model": ({"problem": "digits"}, "expected a problem"),
    "no data": ({"data": None}, "a module needs data="),
    "data as estimators": ({"estimators": (X, Y)}, "data are the third argument"),
    "no estimators": ({"estimators": []}, "estimators is empty"),
    "unknown estimator": ({"estimators": ["locla"]}, "Did you mean 'local'?"),
    "unknown measure": ({"varience": True}, "Did you mean 'variance'?"),
    "baseline": ({"baseline": "flipout"}, "baseline 'flipout' is none of the suite's"),
    "batch size": ({"batch_size": 81}, "batch size 81 is more than the 80"),
    "batch size 0": ({"batch_size": 0}, "batch_sizes.0"),
    "a measure's option": ({"variance": {"unit": 3}}, "unknown key 'unit'"),
    "checkpoint, alone": ({"checkpoints": "trained"}, "checkpoint 'trained' is unknown"),
    "checkpoint, a number": ({"checkpoints": 5}, "checkpoints.0"),
    "batch size, a text": ({"batch_size": "16"}, "batch_sizes.0"),
    "batch size, twice": ({"batch_size": [16, 16]}, "batch size 16 is given twice"),
    "a measure, a number": ({"variance": 3}, "measures.variance"),
    "device": ({"device": "gpu"}, "device 'gpu' is unknown"),
    "jobs": ({"jobs": 0}, "--jobs 0"),
    "level": ({"level": 95}, "level"),
    "name": ({"name": "a/b"}, "name"),
    "an estimator twice": ({"estimators": ["local", "local"]}, "given twice"),
    "an array": ({"estimators": np.array(["local"])}, "estimators: expected names"),
    "checkpoint": ({"checkpoints": ["trained"]}, "checkpoint 'trained' is unknown"),
    "mapping": ({"estimators": [{"nam": "local"}]}, "nam"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_and_leaves_nothing(case: str) -> None:
    given, said = BAD[case]
    words = {"problem": net(), "estimators": ["naive"], "data": (X, Y), **given}
    with pytest.raises(vdbench.InputError) as error:
        vdbench.measure(**words)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert not Path("runs").exists()


def test_a_problem_has_its_own_data() -> None:
    problem = vdbench.noisy(net(), (X, Y))
    with pytest.raises(vdbench.InputError, match="has its own data"):
        vdbench.measure(problem, "naive", (X, Y))


@pytest.mark.usefixtures("undrawn")
def test_the_result_shows_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    found = vdbench.measure(net(), ["naive", "local"], (X, Y), out="run", **SMALL)
    html = found._repr_html_()
    assert "<table" in html
    assert "data:image/svg+xml;base64," in html
    assert "local" in found.text()
    assert found.headline
    assert repr(found) == "Finished('run')"
    name = found.figures[0]
    assert found.figure()._repr_png_() == found.figure(name)._repr_png_()  # type: ignore[attr-defined]
    with pytest.raises(vdbench.InputError, match="the report has no figure 'x'"):
        found.figure("x")
    assert found.report("page") == Path("page/index.html")
    read = vdbench.Finished("run")  # type: ignore[arg-type]
    assert read == found
    with pytest.raises(vdbench.InputError, match=r"'nowhere' is no run"):
        vdbench.Finished("nowhere")  # type: ignore[arg-type]


def test_one_estimator_has_a_table_of_its_variances() -> None:
    """There is nothing to compare it with, and its figures are what was asked for."""
    found = vdbench.measure(net(), "local", (X, Y), out="run", **SMALL)
    table = found.frame
    value = table[(table.metric == "variance.total") & (table.layer == "all")].value.iloc[0]
    for text in (found.text(), found._repr_html_()):
        assert f"{value:.3g}"[:3] in text
    assert "<details>" not in found._repr_html_()


def test_names_cannot_break_out_of_the_html() -> None:
    problem = vdbench.noisy(net(), (X, Y), name="<script>alert(1)</script>")
    html = vdbench.measure(problem, ["naive", "local"], out="run", **SMALL)._repr_html_()
    assert "<script" not in html


def test_an_interrupted_measurement_says_how_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    class Told(Quiet):
        def note(self, text: str) -> None:
            told.append(text)

        def cell(self, name: str) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        vdbench.measure(net(), "naive", (X, Y), out="run", progress=Told(), **SMALL)
    assert told[-1] == "interrupted; the same call with out='run' goes on with what is measured."


def test_a_recorded_suite_cannot_make_the_problem_anew() -> None:
    for name in ("a", "b"):
        vdbench.measure(net(), "naive", (X, Y), out=name, **SMALL)
    suite = json.loads(Path("a/run.json").read_text())["suite"]
    assert "given" not in json.loads(Path("a/run.json").read_text())["allowed"]
    with pytest.raises(vdbench.InputError, match="was handed over from Python"):
        vdbench.run(suite, "c")
    from vdbench.runner.merge import merge

    with pytest.raises(vdbench.InputError, match="was handed over from Python"):
        merge([Path("a"), Path("b")], Path("all"))
    assert not Path("all").exists()


IN_A_SUITE: dict[str, tuple[Any, str]] = {
    "a text": ("digits", "problems.0: expected a problem"),
    "a module alone": (net(), "problems.0: expected a problem"),
    "both": ({"problem": (net(), (X, Y)), "factory": "classification"}, "a problem or factory"),
    "options": ({"problem": (net(), (X, Y)), "options": {}}, "a problem or options"),
    "three": ({"problem": (net(), X, Y)}, "problems.0: expected a problem"),
    "an unknown key": ({"problem": (net(), (X, Y)), "batches": [1]}, "unknown key 'batches'"),
    "nothing": ({"problem": None}, "problems.0: expected a problem"),
}


@pytest.mark.parametrize("case", IN_A_SUITE)
def test_what_is_no_problem_is_refused(case: str) -> None:
    item, said = IN_A_SUITE[case]
    suite = {"name": "s", "problems": [item], "batch_sizes": [8], "estimators": ["naive"],
             "baseline": "naive", "measures": SMALL}  # fmt: skip
    with pytest.raises(vdbench.InputError, match=said):
        vdbench.run(suite, "run")
    assert not Path("run").exists()


def test_objects_may_stand_where_names_may() -> None:
    local = vdbench.get("local")
    inner = {"name": "samples", "options": {"of": local, "samples": [1, 2]}}
    suite = {
        "name": "objects",
        "problems": [
            {
                "name": "one",
                "problem": vdbench.noisy(net(), (X, Y)),
                "estimators": [local, "naive"],
            },
            {"name": "digits", "options": {"widths": []}, "estimators": [local]},
        ],
        "checkpoints": [{"epochs": 1, "estimator": local, "batch_size": 20}],
        "batch_sizes": [8],
        "estimators": ["naive", local, inner],
        "baseline": local,
        "reference": vdbench.get("naive"),
        "measures": SMALL,
    }
    table = vdbench.run(suite, "run").frame
    labels = {name: set(rows.label) for name, rows in table.groupby("problem")}
    assert labels == {"one": {"local", "naive"}, "digits": {"local"}}
    about = json.loads(Path("run/run.json").read_text())
    assert about["suite"]["baseline"] == "local"
    assert about["suite"]["problems"][0]["factory"] == "given"


def test_representations_are_short() -> None:
    from vdbench.certificate import Certificate, Finding
    from vdbench.measures.registry import load

    problem = vdbench.noisy(net(), (X, Y), name="mine")
    assert repr(problem).splitlines()[0].startswith("Problem('mine', data 'mine' of 80 examples")
    deep = nn.Sequential(*(nn.Linear(4, 4) for _ in range(30)), nn.Linear(4, 3))
    findings = tuple(Finding("unbiased", f"problem {n}", True, power=0.1) for n in range(200))
    certificate = Certificate("mine", "small", findings, 0.001, 1.0)
    for shown in (problem, vdbench.noisy(deep, (X, Y)), load("quick"), certificate):
        assert len(repr(shown)) < 500
        assert len(repr(shown).splitlines()) <= 3
