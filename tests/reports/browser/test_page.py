"""The page in a browser: drawn, silent, usable by keyboard and menu, the same figures as in the results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chromium import Browser
from page_scripts import (
    AXE,
    CHOOSE,
    CUT,
    DRAWN_ROWS,
    EVERY_OPTION,
    MARK,
    OVERFLOWING,
    PAINTED,
    ROWS,
    TOOLTIP,
    VIOLATIONS,
)

from reports.figures.identity import sign
from reports.results.groups import groups_of
from reports.results.load import load

pytestmark = pytest.mark.browser

CHARTS = ("estimators", "plane", "training")
EVIL = "</script><script>window.pwned=1</script><img src=x onerror=window.pwned=2> $$x$$ \"'&"


def test_the_page_is_silent_and_asks_for_nothing(opened: Browser) -> None:
    assert opened.console == []
    assert opened.requests == []


@pytest.mark.parametrize("chart", CHARTS)
def test_every_chart_is_drawn_whatever_is_chosen(opened: Browser, chart: str) -> None:
    opened.run(CHOOSE.format(chart=chart))
    assert sign("local").colour in opened.run(PAINTED)
    assert opened.run(EVERY_OPTION) > 1
    assert sign("local").colour in opened.run(PAINTED)
    assert opened.console == []


def test_the_columns_have_the_figures_of_the_results(opened: Browser, run_folder: Path) -> None:
    groups = groups_of(load([run_folder]))
    rows = opened.run(ROWS)
    found = {tuple(row[:5]): row[5:10] for row in rows if not row[2].startswith("pairwise.")}
    for place, group in enumerate(groups):
        for key, e in group.figures.items():
            value, low, high, n, status = found[place, *key]
            for drawn, stored in ((value, e.value), (low, e.low), (high, e.high)):
                assert (
                    drawn == pytest.approx(stored, rel=1e-5) if stored == stored else drawn is None
                )
            assert (n, status) == (e.n, e.status)
    assert sum(len(group.figures) + len(group.pairs) for group in groups) == len(rows)


def test_what_is_drawn_are_the_stored_ends(opened: Browser, run_folder: Path) -> None:
    group = groups_of(load([run_folder]))[0]
    opened.run("VD.choose({chart: 'estimators', metric: 'variance.total', layer: 'fc2', role: 'mean', "
               f"place: {group.title!r}}})")  # fmt: skip
    drawn = opened.run(DRAWN_ROWS)
    assert len(drawn["name"]) == len(group.labels)
    for x, low, high, name in zip(
        drawn["x"], drawn["from"], drawn["to"], drawn["name"], strict=True
    ):
        e = group.get(name.removesuffix(" (not ranked)"), "variance.total", "fc2", "mean")
        assert e is not None
        assert (x, low, high) == pytest.approx((e.value, e.low, e.high), rel=1e-5), name


def test_a_mark_tells_its_figure_with_interval_and_n(opened: Browser) -> None:
    x, y = opened.run(MARK)
    opened.move(x - 40, y)
    opened.move(x, y)
    opened.wait(f"{TOOLTIP}.includes('[')")
    said = opened.run(TOOLTIP)
    assert "n" in said
    assert "status" in said


def test_an_estimator_can_be_hidden_and_a_table_has_the_same(opened: Browser) -> None:
    before = opened.run("document.querySelectorAll('#vd-plot-table tbody tr').length")
    opened.run("(async () => { document.querySelector('#vd-plot-legend input').click(); "
               "await new Promise((done) => setTimeout(done, 100)); })()")  # fmt: skip
    assert opened.run("document.querySelectorAll('#vd-plot-table tbody tr').length") == before - 1


def test_tables_sort_search_and_filter(opened: Browser) -> None:
    cells = (
        "[...document.querySelectorAll('table.data')].find((t) => t.tBodies[0].rows.length > 20)"
    )
    opened.run(f"window.table = {cells}; table.closest('details').open = true;")
    count = opened.run("table.tBodies[0].rows.length")
    place = opened.run("[...table.tHead.rows[0].cells].findIndex((c) => c.textContent === 'total')")
    values = f"[...table.tBodies[0].rows].map((r) => VD.amount(r.cells[{place}].textContent)).filter(Number.isFinite)"
    for order, sort in (("ascending", sorted), ("descending", lambda x: sorted(x, reverse=True))):
        opened.run(f"table.tHead.rows[0].cells[{place}].querySelector('button').click()")
        assert opened.run(f"table.tHead.rows[0].cells[{place}].getAttribute('aria-sort')") == order
        found = opened.run(values)
        assert found == sort(found)
    fill = (
        "(() => {{ const box = table.closest('figure').querySelector('.filters {0}'); box.value = '{1}'; "
        "box.dispatchEvent(new Event('{2}')); }})()"
    )
    shown = "[...table.tBodies[0].rows].filter((r) => !r.hidden).length"
    opened.run(fill.format("input", "local", "input"))
    assert opened.run(shown) == count / 5
    opened.run(fill.format("select", "mean", "change"))
    assert opened.run(shown) == count / 5 / 3


def test_all_figures_can_be_filtered_and_linked_to(opened: Browser, whole_page: Path) -> None:
    opened.run("document.querySelector('#vd-all-figures details').open = true")
    opened.wait("document.querySelectorAll('#vd-all-figures tbody tr').length === 100")
    opened.run("(() => { const menus = [...document.querySelectorAll('#vd-all-figures select')]; "
               "const menu = menus.find((m) => [...m.options].some((o) => o.value === 'signal-to-noise ratio')); "
               "menu.value = 'signal-to-noise ratio'; menu.dispatchEvent(new Event('change')); })()")  # fmt: skip
    rows = "[...document.querySelectorAll('#vd-all-figures tbody tr')]"
    metrics = opened.run(f"VD.distinct({rows}.map((r) => r.cells[2].textContent.trim()))")
    assert metrics == ["signal-to-noise ratio"]
    anchor = opened.run("document.querySelector('#vd-all-figures tbody tr:last-child').id")
    opened.show(whole_page, f"#{anchor}")
    opened.wait(f"document.getElementById({anchor!r})?.getBoundingClientRect().height > 0")


def test_a_row_s_address_opens_what_it_is_in(opened: Browser, whole_page: Path) -> None:
    anchor = opened.run("document.querySelector('details.table tbody tr:nth-child(2)').id")
    opened.show(whole_page, f"#{anchor}")
    box = opened.run(
        f"(({{ top, height }}) => [top, height])(document.getElementById({anchor!r}).getBoundingClientRect())"
    )
    assert box[1] > 0
    assert -5 < box[0] < 800


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_is_cut_or_out_of_the_keyboard_s_reach(
    browser: Browser, whole_page: Path, width: int
) -> None:
    browser.show(whole_page, width=width)
    assert browser.run("document.documentElement.scrollWidth") <= width
    browser.run("for (const d of document.querySelectorAll('details')) d.open = true")
    assert browser.run(OVERFLOWING) == []
    assert browser.run(CUT) == []


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed: make browser installs it")
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_axe_finds_nothing(browser: Browser, whole_page: Path, width: int, scheme: str) -> None:
    browser.show(whole_page, width=width)
    browser.scheme(scheme)
    browser.run(AXE.read_text(encoding="utf-8") + ";0")
    found = browser.run(VIOLATIONS)
    assert found == []


def test_the_keyboard_reaches_chart_menus_and_tables(opened: Browser) -> None:
    reached = []
    for _ in range(60):
        opened.press("Tab")
        reached.append(
            opened.run(
                "document.activeElement.id || document.activeElement.className || document.activeElement.tagName"
            )
        )
    assert reached[0] == "skip"
    assert "vd-choose-metric" in reached
    assert "wide" in reached
    opened.run("document.querySelector('#vd-charts-tabs button:nth-child(2)').focus()")
    opened.press("Enter")
    opened.wait("VD.state.chart === 'plane' && VD.view")


def test_without_scripts_words_tables_and_pictures_are_there(
    browser: Browser, whole_page: Path
) -> None:
    browser.scripts(False)
    browser.size(1280)
    browser.open(whole_page)
    try:
        browser.scripts(True)  # for the questions: the page's own scripts have had their chance
        assert browser.run("typeof VD") == "undefined"
        assert browser.run("document.getElementById('vd-explore').getClientRects().length") == 0
        shown = browser.run(
            "[...document.querySelectorAll('figure.still')].every((e) => e.getBoundingClientRect().height > 50)"
        )
        assert shown
        assert browser.run("document.querySelectorAll('table.data').length") > 5
    finally:
        browser.scripts(True)


def test_what_users_name_is_text(
    browser: Browser, run_folder: Path, make_run: Callable[..., Path], page_of: Callable[..., Path]
) -> None:
    rows: list[dict[str, Any]] = (
        load([run_folder]).frame.drop(columns=["run", "detail"]).to_dict("records")
    )
    rows = [
        row | {key: EVIL for key in ("label", "against") if row[key] == "local"} for row in rows
    ]
    rows = [
        row | {"problem": f"{EVIL} {row['problem']}", "layer": row["layer"].replace("fc1", EVIL)}
        for row in rows
    ]
    suite = {"name": EVIL, "description": EVIL}
    path = page_of(make_run(rows, suite=suite, command=f"vdbench run {EVIL}"))
    browser.show(path)
    for chart in CHARTS:
        browser.run(CHOOSE.format(chart=chart))
        browser.run(EVERY_OPTION)
    browser.run("document.querySelector('#vd-all-figures details').open = true")
    browser.run(CHOOSE.format(chart="estimators"))
    x, y = browser.run(MARK)
    browser.move(x - 40, y)
    browser.move(x, y)
    browser.wait(f"{TOOLTIP}.includes('[')")
    assert browser.run("window.pwned") is None
    assert browser.console == []
    assert browser.requests == []
    assert "<img" in browser.run("document.body.innerText")
