from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pytest

from reports.document import Bullets, Paragraph, Table
from reports.output.csv import write_published
from reports.results.estimate import Estimate
from reports.results.groups import Group, groups_of
from reports.results.load import load
from reports.results.published import Judged, comparisons, judged, matches_of
from reports.sections.published import published_blocks
from reports.sections.summary_sentences import sentences
from vdbench.statistics.verdicts import Verdict

Row = dict[str, Any]
Make = Callable[..., Path]
SOURCE = "Somebody 2015, Table 1"


def published(label: str, value: float, **more: Any) -> Row:
    """A published figure as a suite has it."""
    place = {"metric": "variance.total", "layer": "fc1", "role": "mean", "checkpoint": "initial"}
    return {"source": SOURCE, "estimator": label, "value": value, "verified": True} | place | more


FOUR = [published("local", 10.0), published("per-example", 20.0, note="the top layer"),
        published("naive", 90.0), published("deterministic", 5.0)]  # fmt: skip


@pytest.fixture
def group_of(first_rows: list[Row], make_run: Make) -> Callable[..., Group]:
    """Make a group with published figures; rows may be changed first."""

    def make(
        items: list[Row],
        change: Callable[[Row], Row | None] = lambda row: row,
        more: list[Row] | None = None,
    ) -> Group:
        rows = [found for row in first_rows if (found := change(row))] + (more or [])
        return groups_of(load([make_run(rows, suite={"name": "x", "published": items})]))[0]

    return make


def paired(row: Row, layer: str = "fc1") -> bool:
    return row["metric"] == "ratio.variance.total" and row["layer"] == layer


def tables(group: Group) -> list[Table]:
    return [block for block in published_blocks([group]) if isinstance(block, Table)]


def words(group: Group) -> list[tuple[str, str]]:
    """The sentences on each place: the last list of the section."""
    return [block for block in published_blocks([group]) if isinstance(block, Bullets)][-1].items


def test_figures_stand_beside_ours_in_our_order(group_of: Callable[..., Group]) -> None:
    figures, ratios, verdicts = tables(group_of(FOUR))
    assert figures.columns == ["what", "estimator", "published", "ours"]
    assert figures.rows[0] == ["mean, layer fc1", "local", "10", "84 [80, 88]"]
    assert [row[1] for row in figures.rows] == ["local", "per-example", "naive", "deterministic"]
    assert figures.apart == {3}  # shown, not ranked
    assert ratios.rows[0][1:4] == [
        "local",
        "0.11",
        "0.115 [0.111, 0.118]",
    ]  # to naive, the baseline
    assert ratios.rows[2][1:] == ["naive", "1", "1", "1", "1"]
    assert [row[1] for row in verdicts.rows] == ["local / per-example", "per-example / naive"]


def test_the_floor_is_taken_off_published_ratios_alone(group_of: Callable[..., Group]) -> None:
    ratios = tables(group_of(FOUR))[1]
    above, noise = (
        ratios.columns.index(x) for x in ("published, above its floor", "ours, noise part")
    )
    assert ratios.rows[0][above] == "0.059"  # (10 − 5) / (90 − 5)
    assert ratios.rows[3][above] == "–"  # the floor itself
    assert ratios.rows[0][noise].startswith("0.112 [")  # measured: (84 − 2) / (732 − 2)
    texts = [b.text for b in published_blocks([group_of(FOUR)]) if isinstance(b, Paragraph)]
    assert any("nothing is subtracted from it" in text for text in texts)
    without = tables(group_of(FOUR[:3]))[1]
    assert "published, above its floor" not in without.columns


def test_verdicts_are_adjusted_for_those_shown(group_of: Callable[..., Group]) -> None:
    group = group_of(FOUR)
    (match,) = matches_of(group)
    count = comparisons([match])
    assert count == 4  # two pairs of neighbours, total and noise part
    first = match.verdicts("variance.total", count)[1]  # per-example / naive, a ratio row at 95 %
    assert first is not None
    assert first.widened
    value, half = 420 / 1830, math.log(1.03)
    z = NormalDist().inv_cdf
    wide = half * z(1 - 0.05 / 8) / z(0.975)
    assert math.log(first.ratio.high / value) == pytest.approx(wide)
    assert first.verdict is Verdict.LOWER
    assert "approximation" in tables(group)[2].caption
    assert "for all 4 comparisons together" in tables(group)[2].caption


def test_an_interval_at_a_higher_level_is_not_widened() -> None:
    ratio = Estimate(0.5, 0.4, 0.6, level=0.999)
    assert judged(ratio, 0.95, 4) == Judged(Verdict.LOWER, ratio)
    assert judged(
        Estimate(0.5, 0.4, 0.6), 0.95, 4
    ).widened  # at the run's level, where it says none


def test_pairs_of_every_layer_are_used_where_there_are_such(
    group_of: Callable[..., Group], figure: Callable[..., Row]
) -> None:
    def change(row: Row) -> Row | None:
        layer = {"layer": "fc1", "value": 0.9, "ci_low": 0.85, "ci_high": 0.96, "level": 0.9999}
        return row | layer if row["metric"].startswith("pairwise.variance") else row

    group = group_of(FOUR, change)
    assert group.pair("pairwise.variance.total", "mean", "local", "per-example") is None
    (match,) = matches_of(group)
    verdict = match.verdicts("variance.total", 4)[0]
    assert verdict is not None
    assert (verdict.ratio.low, verdict.widened) == (0.85, False)
    assert verdict.verdict is Verdict.LOWER


@pytest.mark.parametrize(
    ("ends", "word"),
    [
        ((0.7, 0.9), "significantly lower"),
        ((0.9, 0.9999), "inconclusive"),
        ((1.1, 1.3), "significantly higher"),
        ((0.98, 1.01), "equivalent within ±5 %"),
    ],
)
def test_what_excludes_1_only_before_adjustment_is_inconclusive(
    group_of: Callable[..., Group], ends: tuple[float, float], word: str
) -> None:
    middle = math.sqrt(ends[0] * ends[1])

    def change(row: Row) -> Row:
        hit = paired(row) and row["label"] == "per-example"
        return row | {"value": middle, "ci_low": ends[0], "ci_high": ends[1]} if hit else row

    group = group_of(FOUR, change)
    assert tables(group)[2].rows[1][4] == word
    ((place, said),) = words(group)
    assert place == "mean, layer fc1:"
    if word == "inconclusive":
        assert "inconclusive: per-example / naive = 0.95 [0.89, 1.01], n = 400" in said
        assert "1 is inconclusive" in sentences(group)[-1].body
    if word == "significantly lower":
        assert "Total: significant for all pairs of neighbours." in said


def test_the_order_is_compared_with_the_published_one(group_of: Callable[..., Group]) -> None:
    group = group_of(FOUR)
    assert (
        "our estimates are in the order local < per-example < naive; the published order is the same."
        in words(group)[0][1]
    )
    assert sentences(group)[-1].text.startswith(
        "Published results: Our estimates are in the published order in 1 of 1 case; in 1 of these every step is "
        "significant. Each estimator was compared with the next in our order. Of 4 comparisons, 4 are significantly "
        "lower (95 %, adjusted"
    )
    other = [FOUR[0] | {"value": 30.0}, *FOUR[1:]]
    said = words(group_of(other))[0][1]
    assert "the published order is per-example < local < naive" in said


def test_what_was_recalled_is_marked_and_times_have_their_unit(
    group_of: Callable[..., Group], figure: Callable[..., Row]
) -> None:
    epoch = {"metric": "time.seconds_per_epoch", "layer": "all", "role": "all", "unit": "s",
             "verified": False, "checkpoint": ""}  # fmt: skip
    items = [published("local", 7.4, **epoch), published("naive", 1635.0, **epoch)]
    assert matches_of(group_of(items)) == []  # not measured
    rows = [
        figure(label, "time.seconds_per_epoch", value, 0.9 * value, 1.1 * value, unit="s")
        for label, value in (("local", 5.0), ("naive", 4.0))
    ]
    group = group_of(items, more=rows)
    figures, ratios, verdicts = tables(group)
    assert ["seconds per epoch", "naive", "1,635 s (from memory, not checked)",
            "4.0 [3.6, 4.4] s"] in figures.rows  # fmt: skip
    assert ratios.rows[1][3] == "1.34 [1.29, 1.39]"  # that of seconds per gradient
    assert verdicts.rows[0][1] == "naive / local"
    texts = [b.text for b in published_blocks([group]) if isinstance(b, Paragraph)]
    assert any("quoted from memory" in text for text in texts)


def test_what_is_of_another_place_is_left_out(group_of: Callable[..., Group]) -> None:
    group = group_of([published("local", 1.0, checkpoint="other"), published("naive", 2.0, batch_size=7),
                      published("score", 3.0), published("local", 4.0, layer="fc9")])  # fmt: skip
    assert matches_of(group) == []
    (said,) = published_blocks([group])
    assert said.text.startswith("4 of the suite's published values are not shown")
    assert "variance.total score fc1 mean initial" in said.text
    assert len(matches_of(group_of([published("local", 1.0, batch_size=128, checkpoint="")]))) == 1


def test_without_any_pair_the_ratios_to_the_baseline_serve(group_of: Callable[..., Group]) -> None:
    group = group_of(FOUR, lambda row: None if row["metric"].startswith("pairwise") else row)
    (match,) = matches_of(group)
    verdict = match.verdicts("variance.total", 1)[0]
    assert verdict is not None
    assert verdict.ratio.value == pytest.approx(210 / 420)
    z = NormalDist().inv_cdf
    factor = z(0.975) / z(0.95)  # from end to end both hold at 90 %
    assert verdict.ratio.low == pytest.approx(0.5 * (0.97 / 1.03) ** factor)
    nothing = group_of(FOUR, lambda row: None if "ratio" in row["metric"] or
                       "pairwise" in row["metric"] else row)  # fmt: skip
    assert "not compared: local / per-example" in words(nothing)[0][1]


def test_the_csv_has_both(group_of: Callable[..., Group], tmp_path: Path) -> None:
    write_published([group_of(FOUR)], tmp_path)
    with (tmp_path / "published.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["estimator"], float(row["published"])) for row in rows][:2] == [
        ("local", 10.0), ("per-example", 20.0)]  # fmt: skip
    assert float(rows[0]["value"]) == 84.0
    assert rows[1]["note"] == "the top layer"
    empty = tmp_path / "none"
    empty.mkdir()
    write_published([group_of([])], empty)
    assert list(empty.iterdir()) == []
