"use strict";
/* The chart of the first screen: tabs, menus, legend, table, and what follows when something is chosen. */
VD.PATHS = {
  circle: "M1 6a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z", square: "M1.5 1.5h9v9h-9z", triangle: "M6 1l5.3 9.5H.7z",
  diamond: "M6 0l4.5 6L6 12 1.5 6z", inverted_triangle: "M6 11L.7 1.5h10.6z", hex: "M6 .5l5 2.8v5.4l-5 2.8-5-2.8V3.3z",
  star: "M6 0l1.5 4.2L12 4.3 8.4 7l1.3 4.4L6 8.8l-3.7 2.6L3.6 7 0 4.3l4.5-.1z", plus: "M4.2 1h3.6v3.2H11v3.6H7.8V11H4.2V7.8H1V4.2h3.2z",
  square_pin: "M1 1q5 3 10 0q-3 5 0 10q-5 -3 -10 0q3 -5 0 -10z",
};
VD.icon = (colour, shape, hollow) => {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "-1 -1 14 14");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", VD.PATHS[shape]);
  path.setAttribute("stroke", colour);
  path.setAttribute("fill", hollow ? "none" : colour);
  svg.append(path);
  return svg;
};

/* Boxes that show or hide estimators, with their signs. */
VD.legend = (keys) => {
  const s = VD.state, d = VD.data;
  return keys.map((key) => {
    const line = typeof key === "string" ? d.sweeps[s.sweep].lines[Number(key.slice(5))] : null;
    const [colour, shape] = line ? line.sign : d.signs[key];
    const hollow = line ? !line.ranked : Boolean(VD.unranked(s.place, key));
    const name = line ? line.name : d.labels[key];
    const slope = line ? VD.slopeOf(line) : "–";
    const box = VD.make("input", { type: "checkbox", checked: !s.hidden.has(key) });
    box.addEventListener("change", () => {
      if (box.checked) s.hidden.delete(key); else s.hidden.add(key);
      VD.paint();
    });
    return VD.make("label", {}, box, VD.icon(colour, shape, hollow), name + (hollow ? " (not ranked)" : "")
      + (slope === "–" ? "" : `, slope ${slope}`));
  });
};

/* Draw what is chosen. */
VD.paint = async () => {
  const target = document.getElementById("vd-plot");
  const width = target.clientWidth;
  const { figure, head, body, said, legend } = VD.draw[VD.state.chart](width);
  if (VD.view) { VD.view.remove(); VD.view = null; }
  target.replaceChildren();
  target.setAttribute("aria-label", `Chart. ${said} The table below has the same figures.`);
  document.getElementById("vd-plot-said").textContent = said;
  const table = document.getElementById("vd-plot-table");
  const cell = (tag, attributes) => (text) => VD.make(tag, attributes, text);
  table.tHead.replaceChildren(VD.make("tr", {}, ...head.map(cell("th", { scope: "col" }))));
  table.tBodies[0].replaceChildren(...body.map((row) => VD.make("tr", {}, ...row.map(cell("td", {})))));
  VD.all = VD.all && VD.allFor === VD.keyOf() ? VD.distinct([...VD.all, ...legend]) : legend;
  VD.allFor = VD.keyOf();
  const focused = document.activeElement && document.activeElement.closest("#vd-plot-legend");
  if (!focused) document.getElementById("vd-plot-legend").replaceChildren(...VD.legend(VD.all));
  const turn = (VD.turn || 0) + 1;
  VD.turn = turn;
  const view = await Bokeh.Plotting.show(figure, target);
  if (turn !== VD.turn) view.remove(); else VD.view = view;
  target.dataset.drawn = String(turn);
  target.dataset.first ||= String(Math.round(performance.now()));
};
VD.keyOf = () => [VD.state.chart, VD.state.place, VD.state.sweep].join(" ");

/* Settle the choice, offer the menus for it, draw, and keep the focus where it was. */
VD.update = (focus = "") => {
  if (VD.keyOf() !== VD.allFor) VD.state.hidden.clear();
  VD.settle();
  document.getElementById("vd-menus").replaceChildren(...VD.menus());
  for (const tab of document.querySelectorAll("#vd-charts-tabs button")) {
    tab.setAttribute("aria-pressed", String(tab.dataset.chart === VD.state.chart));
  }
  if (focus) document.getElementById(focus)?.focus();
  return VD.paint();
};

/* What links ask for: data-show has a choice as JSON. */
VD.choose = (wanted) => {
  const place = VD.data.places.findIndex((p) => p.title === wanted.place);
  const sweep = VD.data.sweeps.findIndex((x) => x.title === wanted.sweep);
  const { place: _, sweep: __, ...rest } = wanted;
  Object.assign(VD.state, rest, place >= 0 ? { place } : {}, sweep >= 0 ? { sweep } : {});
  return VD.update();
};

VD.start = () => {
  const home = document.getElementById("vd-explore");
  if (!home || !VD.data || !VD.available().length) return;
  home.hidden = false;
  const tabs = VD.available().map((name) => {
    const tab = VD.make("button", { type: "button", "data-chart": name, "aria-pressed": "false" }, VD.CHARTS[name]);
    tab.addEventListener("click", () => { VD.state.chart = name; VD.update(); });
    return tab;
  });
  document.getElementById("vd-charts-tabs").replaceChildren(...(tabs.length > 1 ? tabs : []));
  const first = JSON.parse(home.dataset.show);
  [VD.state.chart] = VD.available().includes(first.chart) ? [first.chart] : VD.available();
  if (!VD.available().includes(first.chart)) delete first.chart;
  /* the pictures give way only to a chart that is there */
  VD.choose(first).then(() => document.documentElement.classList.add("live"), (error) => { home.hidden = true; throw error; });
  for (const link of document.querySelectorAll("a[data-show]")) {
    link.addEventListener("click", () => VD.choose(JSON.parse(link.dataset.show)));
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => VD.paint());
  let width = innerWidth, waiting = 0;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { if (innerWidth !== width) { width = innerWidth; VD.paint(); } }, 150);
  });
};
