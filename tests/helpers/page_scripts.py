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
    for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 200) colours.add(data[i] * 65536 + data[i + 1] * 256 + data[i + 2]);
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

DRAWN_ROWS = """VD.view.model.renderers.filter((x) => x.data_source.data.name)
  .map((x) => Object.fromEntries(["x", "from", "to", "name"].map((key) => [key, Array.from(x.data_source.data[key] ?? [])])))
  .at(-1)"""
"""The points that are drawn in the chart of estimators, with the ends of their intervals."""

OVERFLOWING = """[...document.querySelectorAll("*")].filter((e) => {
  const style = getComputedStyle(e);
  return /auto|scroll/.test(style.overflowX + style.overflowY) && (e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 1)
    && e.clientWidth > 0 && e.tabIndex < 0 && !e.querySelector("a, button, input, select, [tabindex='0']");
}).map((e) => e.outerHTML.slice(0, 120))"""
"""Parts that scroll and that the keyboard does not reach."""

TOOLTIP = """(() => {
  const found = [];
  const look = (root) => { for (const e of root.querySelectorAll("*")) {
    if (String(e.className).includes("tooltip") && e.getClientRects().length) found.push(e.textContent);
    if (e.shadowRoot) { if (String(e.className).includes("tooltip") || e.tagName.includes("TOOLTIP")) found.push(e.shadowRoot.textContent); look(e.shadowRoot); }
  } };
  look(document);
  return found.join(" ");
})()"""
"""What tooltips say."""

MARK = """(() => {
  const view = VD.view.owner ? VD.view : VD.view;
  const box = document.getElementById("vd-plot").getBoundingClientRect();
  const frame = view.frame.bbox, data = view.model.renderers.filter((x) => x.data_source.data.name).at(-1).data_source.data;
  return [box.x + frame.left + view.frame.x_scale.compute(data.x[0]) - frame.left,
    box.y + view.frame.y_scale.compute(data.y[0])];
})()"""
"""Where the first mark is in the window."""
