"""What tests ask pages in a browser: JavaScript that returns plain data."""

from __future__ import annotations

from pathlib import Path

AXE = Path(__file__).parents[2] / "build" / "browser" / "node_modules" / "axe-core" / "axe.min.js"
"""Where ``make browser`` and ``make test`` put axe-core."""

PAINTED = """(() => {
  const found = [];
  const look = (root) => { for (const e of root.querySelectorAll("*")) {
    if (e.tagName === "CANVAS") found.push(e);
    if (e.shadowRoot) look(e.shadowRoot);
  } };
  look(document.getElementById("vd-plot"));
  const colours = new Set();
  for (const canvas of found) {
    if (!canvas.width || !canvas.height) continue;
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    for (let i = 0; i < data.length; i += 4) {
      if (data[i + 3] > 200) colours.add(data[i] * 65536 + data[i + 1] * 256 + data[i + 2]);
    }
  }
  return [...colours].map((x) => "#" + x.toString(16).padStart(6, "0"));
})()"""
"""Colours that stand in the chart."""

CHOOSE = """(async (chart) => {{ VD.state.chart = chart; await VD.update(); }})({chart!r})"""
"""Go to a chart."""

EVERY_OPTION = """(async () => {
  let count = 0;
  for (const select of [...document.querySelectorAll("#vd-menus select")]) {
    for (const value of [...select.options].map((x) => x.value)) {
      const now = document.getElementById(select.id);
      if (!now || ![...now.options].some((x) => x.value === value)) continue;
      now.value = value;
      now.dispatchEvent(new Event("change"));
      await new Promise((done) => setTimeout(done, 0));
      count += 1;
    }
  }
  await VD.paint();
  return count;
})()"""
"""Choose every option of every menu, one after the other."""

DRAWN_ROWS = """VD.view.model.renderers.filter((x) => x.data_source.data.name).map((x) => x.data_source.data)
  .map((data) => Object.fromEntries(["x", "from", "to", "name"].map((key) => [key, Array.from(data[key] ?? [])])))
  .at(-1)"""
"""The points that are drawn in the chart of estimators, with the ends of their intervals."""

OVERFLOWING = """[...document.querySelectorAll("*")].filter((e) => {
  const { overflowX, overflowY } = getComputedStyle(e);
  const scrolls = e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 1;
  return /auto|scroll/.test(overflowX + overflowY) && scrolls && e.clientWidth > 0 && e.tabIndex < 0
    && !e.querySelector("a, button, input, select, [tabindex='0']");
}).map((e) => e.outerHTML.slice(0, 120))"""
"""Parts that scroll and that the keyboard does not reach."""

TOOLTIP = """(() => {
  const found = [];
  const look = (root) => { for (const e of root.querySelectorAll("*")) {
    const tip = /tooltip/i.test(`${e.className} ${e.tagName}`);
    if (tip && e.getClientRects().length) found.push(e.textContent, e.shadowRoot ? e.shadowRoot.textContent : "");
    if (e.shadowRoot) look(e.shadowRoot);
  } };
  look(document);
  return found.join(" ");
})()"""
"""What tooltips say."""

MARK = """(() => {
  const box = document.getElementById("vd-plot").getBoundingClientRect(), { frame } = VD.view;
  const { data } = VD.view.model.renderers.filter((x) => x.data_source.data.name).at(-1).data_source;
  return [box.x + frame.x_scale.compute(data.x[0]), box.y + frame.y_scale.compute(data.y[0])];
})()"""
"""Where the first mark is in the window."""

CUT = """[...document.querySelectorAll("figcaption, p, h1, h2, h3, dd, summary")].filter((e) =>
  e.getClientRects().length && e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".wide, .skip")
).map((e) => e.textContent.slice(0, 80))"""
"""Words that stand out of the window."""

VIOLATIONS = """axe.run({ resultTypes: ["violations"] }).then((found) => found.violations.map((v) =>
  [v.id, v.nodes.length, v.nodes[0].html.slice(0, 160), v.nodes[0].failureSummary]))"""
"""What axe-core finds, once it is in the page."""

ROWS = """VD.data.rows.place.map((_, i) => {
  const r = VD.row(i), d = VD.data;
  return [r.place, d.labels[r.label], d.metric[r.metric], d.layer[r.layer], d.role[r.role], r.value, r.low, r.high,
    r.n, r.status];
})"""
"""All figures of the columns."""
