"""Static plots: drawn ends are stored ends, whole decades, equal axes, widths, and bad input."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any
from unittest import mock

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.image import imread
from seaborn._statistics import EstimateAggregator

import reports
import vdbench
from reports.figures.medium import styled
from reports.plots import KINDS
from reports.plots.drawing import STYLES
from reports.plots.frame import Chosen
from reports.results.load import load
from vdbench import cli

RESULTS = Path(__file__).parents[3] / "docs" / "results"
QUICK, SCALING = RESULTS / "quick", RESULTS / "batch-scaling"
RUNS = {kind: SCALING if kind == "scaling" else QUICK for kind in KINDS}
METRICS = {
    "variance": "variance.total", "noise": "variance.noise", "ratio": "ratio.variance.total",
    "efficiency": "ratio.efficiency.variance_seconds", "time": "time.seconds_per_gradient",
    "scaling": "variance.total",
}  # fmt: skip


def refuse(*_: Any, **__: Any) -> None:
    raise AssertionError("seaborn estimates an interval of its own")


@functools.cache
def drawn(kind: str, style: str = "paper") -> tuple[Chosen, Any]:
    """A figure; seaborn's own intervals are never drawn."""
    chosen = KINDS[kind].choices(load([RUNS[kind]]))[0]
    with styled(STYLES[style]), mock.patch.object(EstimateAggregator, "__call__", refuse):
        return chosen, KINDS[kind].draw(chosen)


def segments(axes: Any, upright: bool) -> set[tuple[float, float]]:
    """Ends of the lines that stand for intervals."""
    k = int(upright)
    return {
        (float(line[0][k]), float(line[1][k]))
        for collection in axes.collections
        if isinstance(collection, LineCollection)
        for line in collection.get_segments()
        if line[0][1 - k] == line[1][1 - k]
    }


@pytest.mark.parametrize("kind", METRICS)
def test_drawn_ends_are_the_stored_ends(kind: str) -> None:
    chosen, figure = drawn(kind)
    rows = chosen.of(METRICS[kind])
    rows = rows[rows["value"] > 0]
    roles = list(dict.fromkeys(rows["role"]))
    assert len(figure.axes) == len(roles)
    for axes, role in zip(figure.axes, roles, strict=True):
        mine = rows[rows["role"] == role]
        low, high = axes.get_ylim() if kind == "scaling" else axes.get_xlim()
        stored = {
            (max(a, low), min(b, high))
            for a, b in zip(mine["ci_low"], mine["ci_high"], strict=True)
        }
        assert segments(axes, kind == "scaling") == stored
        assert all(a < b or kind in ("ratio", "efficiency") for a, b in stored)


def test_the_plane_has_both_intervals_of_each_point() -> None:
    chosen, figure = drawn("plane")
    for axes, role in zip(figure.axes, ("mean", "scale"), strict=True):
        rows = chosen.of("variance.total")
        mine = rows[(rows["role"] == role) & (rows["value"] > 0)]
        times = chosen.of("time.seconds_per_gradient").set_index("label").loc[mine["label"]]
        assert segments(axes, True) == set(zip(mine["ci_low"], mine["ci_high"], strict=True))
        assert segments(axes, False) == set(zip(times["ci_low"], times["ci_high"], strict=True))


def test_the_legend_of_the_plane_has_the_marks_of_the_plane() -> None:
    chosen, figure = drawn("plane")
    rows = chosen.of("variance.total")
    other = set(rows.loc[rows["serves"] != rows["own"], "label"])
    assert other == {"deterministic"}
    handles = figure.legends[0].legend_handles
    assert {h.get_label() for h in handles if h.get_markerfacecolor() == "white"} == other
    assert len(handles) > len(other)


def test_the_band_of_the_elbo_is_the_stored_interval() -> None:
    chosen, figure = drawn("elbo")
    (axes,) = figure.axes
    bands = [
        c for c in axes.collections if hasattr(c, "get_paths") and not isinstance(c, PathCollection)
    ]
    ends = {
        round(float(y), 6)
        for band in bands
        for path in band.get_paths()
        for y in path.vertices[:, 1]
    }
    stored = {round(float(y), 6) for column in ("ci_low", "ci_high") for y in chosen.rows[column]}
    assert stored <= ends
    lines = {round(float(y), 6) for line in axes.lines for y in line.get_ydata()}
    assert {round(float(y), 6) for y in chosen.rows["value"]} <= lines


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "elbo"])
def test_logarithmic_axes_have_whole_decades_and_a_row_equal_axes(kind: str) -> None:
    _, figure = drawn(kind)
    first = figure.axes[0]
    for axes in figure.axes:
        assert axes.get_ylim() == first.get_ylim()
        assert axes.get_xlim() == first.get_xlim()
        for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            if axis.get_scale() == "log" and not (kind == "scaling" and axis is axes.xaxis):
                assert all(abs(math.log10(x) - round(math.log10(x))) < 1e-9 for x in limits)


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_is_as_wide_as_papers_have_it_and_slides_are_readable(kind: str) -> None:
    assert drawn(kind)[1].get_figwidth() == 3.25
    _, figure = drawn(kind, "slides")
    assert figure.get_figwidth() == 10
    assert min(t.get_fontsize() for t in figure.axes[0].get_xticklabels()) >= 16


def test_files_are_written_in_every_format(tmp_path: Path) -> None:
    ((name, what, figure),) = reports.plotted([QUICK], "variance", "paper")
    assert name.startswith("variance-digits")
    assert "total variance" in what
    for end, start in (("pdf", b"%PDF"), ("png", b"\x89PNG"), ("svg", b"<?xml")):
        path = tmp_path / "new" / f"{name}.{end}"
        reports.save_plot(figure, path, "paper")
        assert path.read_bytes().startswith(start)
    picture = imread(tmp_path / "new" / f"{name}.png")
    assert picture.shape[1] == pytest.approx(3.25 * 192, abs=2)
    assert np.ptp(picture[..., :3]) > 0.5
    assert mpl.rcParams["font.size"] == mpl.rcParamsDefault["font.size"]


def test_python_gives_one_figure_and_says_which_there_are() -> None:
    figure = vdbench.plot(QUICK, "plane", style="slides")
    assert [axes.get_title() for axes in figure.axes] == ["mean", "scale"]
    with pytest.raises(vdbench.InputError, match="figures fit; choose by problem"):
        vdbench.plot(SCALING, "variance")
    size = vdbench.plot(SCALING, "variance", problem="mnist", batch_size=32)
    assert len(size.axes) == 2
    with pytest.raises(
        vdbench.InputError, match=r"there is no kind 'varance'\. Did you mean 'variance'"
    ):
        vdbench.plot(QUICK, "varance")
    with pytest.raises(vdbench.InputError, match="there is no style"):
        vdbench.plot(QUICK, style="poster")
    with pytest.raises(vdbench.InputError, match="nothing for kind 'scaling'"):
        vdbench.plot(QUICK, "scaling")
    with pytest.raises(vdbench.InputError, match="nothing is at batch_size 7; expected one of"):
        vdbench.plot(QUICK, batch_size=7)
    with pytest.raises(vdbench.InputError):
        vdbench.plot(RESULTS)


def test_the_command_line_writes_one_file_a_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    words = [
        "vdbench",
        "plot",
        str(SCALING),
        "--kind",
        "time",
        "--format",
        "svg",
        "--out",
        str(tmp_path),
    ]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    if ended.value.code:  # a run without times
        assert "nothing for kind 'time'" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", [*words[:4], "variance", *words[5:]])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    files = sorted(path.name for path in tmp_path.glob("variance-*.svg"))
    assert len(files) == len(KINDS["variance"].choices(load([SCALING])))
    monkeypatch.setattr("sys.argv", [*words[:5], "--format", "jpg"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "there is no such format" in capsys.readouterr().err
    (tmp_path / "notes.txt").write_text("mine")
    for out in ("notes.txt", "notes.txt/below"):
        monkeypatch.setattr("sys.argv", [*words[:4], "variance", "--out", str(tmp_path / out)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 2
        assert (
            f"'{tmp_path / 'notes.txt'}' is a file, expected a folder." in capsys.readouterr().err
        )
