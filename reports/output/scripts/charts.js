"use strict";
/* The charts. Each returns its figure, the rows of its table, and what it is in a sentence. */
VD.DASH = { false: "5 4", true: "solid" };
VD.unranked = (place, label) => VD.data.places[place].unranked[label] || "";
VD.nameOf = (place, label) => VD.data.labels[label] + (VD.unranked(place, label) ? " (not ranked)" : "");
VD.wrap = (text, most) => {
  const lines = [""];
  for (const word of text.split(/(?<=[ ,])|(?=\()/)) {
    if (lines[lines.length - 1] && (lines[lines.length - 1] + word).length > most) lines.push("");
    lines[lines.length - 1] += word;
  }
  return lines.map((x) => x.trim()).join("\n");
};
VD.source = (columns) => new Bokeh.ColumnDataSource({ data: columns });
VD.columns = (items, names) => Object.fromEntries(names.map((name) => [name, items.map((x) => x[name])]));
VD.field = (name) => ({ field: name });
VD.hover = (figure, renderers, pairs) => figure.add_tools(new Bokeh.HoverTool({
  renderers, tooltips: pairs, mode: "mouse", point_policy: "snap_to_data",
}));
VD.marks = (figure, source, size = 10) => figure.scatter(VD.field("x"), VD.field("y"), {
  source, marker: VD.field("shape"), size, line_color: VD.field("colour"), fill_color: VD.field("fill"), line_width: 1.5,
});
VD.bars = (figure, source, x0, y0, x1, y1) => figure.segment(VD.field(x0), VD.field(y0), VD.field(x1), VD.field(y1),
  { source, line_color: VD.field("colour"), line_width: 2 });

/* How an estimator is drawn: hollow where it is not ranked. */
VD.style = (label, hollow) => {
  const [colour, shape] = VD.data.signs[label];
  return { colour, shape, fill: hollow ? VD.theme().paper : colour };
};

VD.draw = { };
VD.draw.estimators = (width) => {
  const s = VD.state, d = VD.data, metric = VD.metricOf(s.metric);
  let every = VD.rowsOf(s.place, metric).filter((x) => x.value !== null);
  const timed = d.units[metric] === "s" && every.length > 0;
  const [factor, time] = timed ? VD.timeUnit(every) : [1, ""];
  if (timed) every = every.map((x) => VD.scaled(x, factor));
  const rows = every.filter((x) => d.layer[x.layer] === s.layer && d.role[x.role] === s.role && !s.hidden.has(x.label));
  const base = d.places[s.place].baseline, ratio = s.metric.startsWith("ratio.");
  if (ratio && base >= 0 && rows.length && !s.hidden.has(base) && !rows.some((x) => x.label === base)) {
    rows.push({ label: base, value: 1, low: 1, high: 1, n: rows[0].n, status: "baseline", place: s.place });
  }
  const later = (x) => (VD.unranked(s.place, x.label) ? 1 : 0);
  rows.sort((a, b) => later(b) - later(a) || b.value - a.value);
  const scope = s.same ? every.filter((x) => !s.hidden.has(x.label)) : rows;
  const log = scope.every((x) => x.value >= 0) && scope.some((x) => x.value > 0) && !["convergence.final_elbo"].includes(s.metric);
  const range = (log ? VD.logRange : VD.linearRange)(scope, ratio ? [1] : []);
  const most = width < 600 ? 18 : 42;
  const names = rows.map((x) => VD.wrap(VD.nameOf(s.place, x.label), most));
  const heights = names.map((name) => Math.max(1.6, name.split("\n").length * 1.1));
  const centres = heights.map((_, i) => heights.slice(0, i).reduce((sum, h) => sum + h, 0) + heights[i] / 2);
  const total = heights.reduce((sum, h) => sum + h, 0);
  const items = rows.map((x, i) => ({
    ...x, y: centres[i], ...VD.style(x.label, later(x)), name: VD.nameOf(s.place, x.label), said: VD.said(x),
    x: log && !(x.value > 0) ? range[0] : x.value,
    from: x.low === null ? x.value : Math.max(x.low, range[0]), to: x.high === null ? x.value : Math.min(x.high, range[1]),
  }));
  const unit = ratio && base >= 0 ? `× ${d.labels[base]}` : time || d.units[metric];
  const figure = VD.figure({
    width: width - (width < 600 ? 130 : 260), height: Math.round(62 + total * 17),
    x: { log, range, title: width < 600 ? unit || d.metricNames[metric] : `${d.metricNames[metric]}${unit ? ` (${unit})` : ""}` }, y: { range: [-0.2, total + 0.2], names, centres },
  });
  if (ratio) figure.add_layout(new Bokeh.Span({ location: 1, dimension: "height", line_color: VD.theme().soft, line_width: 1 }));
  const source = VD.source(VD.columns(items, ["x", "y", "from", "to", "colour", "fill", "shape", "name", "said", "n", "status"]));
  VD.bars(figure, source, "from", "y", "to", "y");
  VD.hover(figure, [VD.marks(figure, source)], [["", "@name"], [d.metricNames[metric], "@said"], ["n", "@n{0,0}"], ["status", "@status"]]);
  return {
    figure, legend: rows.map((x) => x.label).reverse(),
    head: ["estimator", d.metricNames[metric] + (unit ? ` (${unit})` : ""), "n", "status"],
    body: [...items].reverse().map((x) => [x.name, x.said, VD.number(x.n, 9), x.status]),
    said: `${d.metricNames[metric]}, ${VD.where()}; ${items.length} estimators, ranked ones first, the lowest figure at the top.`
      + ` Bars: intervals of each figure alone, at ${VD.number(100 * d.places[s.place].level, 4)} %.`
      + (rows.some(later) ? ` Not ranked: ${[...new Set(rows.filter(later).map((x) => VD.unranked(s.place, x.label).split(";")[0]))].join(", ")}.` : ""),
  };
};
VD.said = (x) => VD.show(x.value, x.low, x.high) + (x.status === "bounded" ? " †" : "");
VD.where = () => {
  const s = VD.state, d = VD.data;
  const place = s.chart === "scaling" ? d.sweeps[s.sweep].title : d.places[s.place].title;
  if (s.chart === "training") return place;
  return `${place}, ${s.layer === "all" ? "all layers" : s.layer}, ${d.roleNames[d.role.indexOf(s.role)]}`;
};

VD.draw.plane = (width) => {
  const s = VD.state, d = VD.data;
  const seconds = new Map(VD.rowsOf(s.place, VD.metricOf("time.seconds_per_gradient")).map((x) => [x.label, x]));
  const rows = VD.candidates().filter((y) => d.role[y.role] === s.role && seconds.has(y.label) && !s.hidden.has(y.label)
    && seconds.get(y.label).value > 0);
  const [factor, unit] = VD.timeUnit(rows.map((y) => seconds.get(y.label)));
  for (const y of rows) seconds.set(y.label, VD.scaled(seconds.get(y.label), factor));
  const xs = rows.map((y) => seconds.get(y.label));
  const xr = VD.logRange(xs), yr = VD.logRange(rows);
  const zero = rows.some((y) => !(y.value > 0));
  if (zero) yr[0] /= (yr[1] / yr[0]) ** 0.12;
  const front = d.places[s.place].fronts[s.role] || [];
  const items = rows.map((y) => {
    const x = seconds.get(y.label);
    return {
      ...VD.style(y.label, VD.unranked(s.place, y.label)), label: y.label, name: VD.nameOf(s.place, y.label), n: y.n,
      x: x.value, y: y.value > 0 ? y.value : yr[0], x0: Math.max(x.low ?? x.value, xr[0]), x1: Math.min(x.high ?? x.value, xr[1]),
      y0: y.value > 0 ? Math.max(y.low ?? y.value, yr[0]) : yr[0], y1: y.value > 0 ? Math.min(y.high ?? y.value, yr[1]) : yr[0],
      time: VD.show(x.value, x.low, x.high), variance: VD.said(y), product: VD.number(x.value / factor * y.value, 3), ranked: !VD.unranked(s.place, y.label), front: front.includes(y.label),
    };
  });
  const t = VD.theme();
  const figure = VD.figure({ width: width - 70, height: 380, x: { log: true, range: xr, title: `time per gradient (${unit})` },
    y: { log: true, range: yr, title: "variance (gradient²)" } });
  VD.equalCost(figure, items, xr, yr, t);
  const good = items.filter((x) => x.front).sort((a, b) => a.x - b.x || a.y - b.y);
  const steps = { x: [], y: [] };
  for (const p of good) {
    const last = steps.y[steps.y.length - 1];
    if (last !== undefined && p.y >= last) continue;
    if (last !== undefined) { steps.x.push(p.x); steps.y.push(last); }
    steps.x.push(p.x); steps.y.push(p.y);
  }
  figure.line(VD.field("x"), VD.field("y"), { source: VD.source(steps), line_color: t.soft, line_width: 1.5 });
  figure.scatter(VD.field("x"), VD.field("y"), { source: VD.source(VD.columns(good, ["x", "y"])), marker: "circle", size: 19,
    fill_color: null, line_color: t.ink, line_width: 1.5 });
  const source = VD.source(VD.columns(items, ["x", "y", "x0", "x1", "y0", "y1", "colour", "fill", "shape", "name", "time", "variance", "product", "n"]));
  VD.bars(figure, source, "x0", "y", "x1", "y");
  VD.bars(figure, source, "x", "y0", "x", "y1");
  VD.hover(figure, [VD.marks(figure, source, 11)],
    [["", "@name"], [`time (${unit})`, "@time"], ["variance", "@variance"], ["variance × time", "@product"], ["n", "@n{0,0}"]]);
  return {
    figure, legend: items.map((x) => x.label),
    head: ["estimator", `time per gradient (${unit})`, "variance (gradient²)", "variance × time (gradient² s)", "n", "on the front"],
    body: items.map((x) => [x.name, x.time, x.variance, x.product, VD.number(x.n, 9), x.front ? "yes" : "no"]),
    said: `Total variance against time per gradient, ${VD.where()}. Lower left is better. On a thin line variance × time is the same. `
      + `Ringed estimators are on the front: no ranked one is significantly faster and significantly less noisy.`
      + (zero ? " Variances that are not above 0 are drawn at the lower edge." : ""),
  };
};

/* Lines of equal variance × time: through the best ranked point, and at powers of ten of it. */
VD.equalCost = (figure, items, xr, yr, t) => {
  const products = items.filter((p) => p.ranked).map((p) => p.x * p.y).filter((x) => x > 0);
  if (!products.length) return;
  const best = Math.min(...products);
  const first = Math.ceil(Math.log10((xr[0] * yr[0]) / best)), last = Math.floor(Math.log10((xr[1] * yr[1]) / best));
  const xs = [], ys = [], words = { x: [], y: [], text: [] };
  const stride = Math.max(1, Math.ceil((last - first) / 8));
  for (let k = first; k <= last; k += 1) {
    if (k % stride) continue;
    const c = best * 10 ** k;
    const x0 = Math.max(xr[0], c / yr[1]), x1 = Math.min(xr[1], c / yr[0]);
    if (x1 <= x0) continue;
    xs.push([x0, x1]);
    ys.push([c / x0, c / x1]);
    words.x.push(x0); words.y.push(c / x0);
    words.text.push(k === 0 ? "lowest" : `× ${VD.tickText(10 ** k)}`);
  }
  figure.multi_line(VD.field("xs"), VD.field("ys"), { source: VD.source({ xs, ys }), line_color: t.soft, line_alpha: 0.55, line_dash: "2 4" });
  figure.text(VD.field("x"), VD.field("y"), VD.field("text"), { source: VD.source(words), text_color: t.soft, text_font_size: "11px",
    x_offset: 4, y_offset: 14, text_font: "system-ui, sans-serif" });
};

VD.draw.scaling = (width) => {
  const s = VD.state, d = VD.data, sweep = d.sweeps[s.sweep], metric = VD.metricOf(s.metric);
  const lines = sweep.lines.map((line, number) => {
    const points = line.points.map(([x, place, label]) => ({ x, row: VD.find(place, s.metric, label, s.layer, s.role) }))
      .filter((p) => p.row && p.row.value > 0);
    return { ...line, number, points };
  }).filter((line) => line.points.length);
  const shown = lines.filter((line) => !s.hidden.has(`line ${line.number}`));
  const rows = shown.flatMap((line) => line.points.map((p) => p.row));
  const at = VD.distinct(shown.flatMap((line) => line.points.map((p) => p.x))).sort((a, b) => a - b);
  const xlog = at.length > 1 && at[0] > 0 && (!sweep.option || at[at.length - 1] >= 20 * at[0]);
  const room = xlog ? (at[at.length - 1] / at[0]) ** 0.07 : 0.07 * (at[at.length - 1] - at[0]) || 1;
  const xr = xlog ? [at[0] / room, at[at.length - 1] * room] : [at[0] - room, at[at.length - 1] + room];
  const yr = VD.logRange(rows), t = VD.theme();
  const figure = VD.figure({ width: width - 70, height: 400, x: { log: xlog, range: xr, title: sweep.over, at: xlog ? null : at.length < 12 ? at : null },
    y: { log: true, range: yr, title: `${d.metricNames[metric]} (${d.units[metric]})` } });
  if (xlog) {
    const ticks = at.length <= width / 60 ? at : at.filter((_, i) => i % 2 === 0);
    figure.xgrid.ticker = figure.xaxis.ticker = new Bokeh.FixedTicker({ ticks, minor_ticks: [] });
    figure.xaxis.major_label_overrides = new Map(ticks.map((x) => [x, VD.number(x, 6)]));
  }
  if (xlog && !sweep.option && rows.length) {
    const middle = Math.exp(rows.reduce((sum, x) => sum + Math.log(x.value), 0) / rows.length) * Math.sqrt(xr[0] * xr[1]);
    figure.line(VD.field("x"), VD.field("y"), { source: VD.source({ x: xr, y: xr.map((x) => middle / x) }), line_color: t.soft, line_dash: "2 4", line_width: 1.5 });
  }
  const spread = xlog ? (k) => 1.012 ** k : (k) => 0.006 * k * (xr[1] - xr[0]);
  const items = [], drawn = [];
  for (const [k, line] of shown.entries()) {
    const [colour, shape] = line.sign, shift = spread(k - (shown.length - 1) / 2);
    const mine = line.points.map(({ x, row }) => ({
      x: xlog ? x * shift : x + shift, size: x, y: row.value, y0: Math.max(row.low ?? row.value, yr[0]), y1: Math.min(row.high ?? row.value, yr[1]),
      colour, shape, fill: line.ranked ? colour : t.paper, name: line.name + (line.ranked ? "" : " (not ranked)"), said: VD.said(row), n: row.n,
      slope: VD.slopeOf(line),
    }));
    figure.line(VD.field("x"), VD.field("y"), { source: VD.source(VD.columns(mine, ["x", "y"])), line_color: colour, line_width: 1.5, line_dash: VD.DASH[line.ranked] });
    items.push(...mine);
    drawn.push(line);
  }
  const source = VD.source(VD.columns(items, ["x", "y", "y0", "y1", "size", "colour", "shape", "fill", "name", "said", "n", "slope"]));
  VD.bars(figure, source, "x", "y0", "x", "y1");
  VD.hover(figure, [VD.marks(figure, source)], [["", "@name"], [VD.plain(sweep.over), "@size"], ["value", "@said"], ["n", "@n{0,0}"], ["slope", "@slope"]]);
  const zeros = sweep.lines.length - lines.length;
  return {
    figure, legend: lines.map((x) => `line ${x.number}`),
    head: ["estimator", sweep.over, `${d.metricNames[metric]} (${d.units[metric]})`, "n", "slope of the line"],
    body: items.map((x) => [x.name, VD.number(x.size, 6), x.said, VD.number(x.n, 9), x.slope]),
    said: `${d.metricNames[metric]} against ${sweep.over}, ${VD.where()}.`
      + (xlog && !sweep.option ? " The dotted line has slope −1." : "") + (zeros ? ` ${zeros} without a figure above 0 are not drawn.` : ""),
  };
};
VD.slopeOf = (line) => {
  const s = VD.state;
  const found = line.slopes.find(([metric, layer, role]) => metric === s.metric && layer === s.layer && role === s.role);
  return found ? VD.show(found[3], found[4], found[5]) : "–";
};

VD.curvesOf = (place) => {
  const c = VD.data.curves, set = VD.data.places[place].curves;
  const found = [];
  for (let i = 0; i < c.set.length; i += 1) {
    if (c.set[i] === set) {
      found.push({ label: c.label[i], step: c.step[i], seconds: c.seconds[i], value: c.value[i], low: c.low[i], high: c.high[i] });
    }
  }
  return found;
};
VD.draw.training = (width) => {
  const s = VD.state, d = VD.data, t = VD.theme();
  let points = VD.curvesOf(s.place);
  const legend = VD.distinct(points.map((x) => x.label)).sort((a, b) => a - b);
  points = points.filter((x) => !s.hidden.has(x.label) && x[s.over] !== null && (s.over === "step" || (x.step > 0 && x.seconds > 0)));
  const far = 0.2 * Math.max(...points.map((x) => x.step));
  const late = points.filter((x) => x.step >= far);
  const top = Math.max(...points.map((x) => x.value)), least = Math.min(...points.map((x) => x.value));
  const cut = Math.min(...late.map((x) => x.value));
  const steep = top - least > 4 * (top - cut) && top > cut;
  const yr = VD.linearRange((steep ? late : points).map((x) => ({ ...x, low: x.value, high: x.value })));
  const ends = VD.distinct(points.map((x) => x.label)).map((label) => Math.max(...points.filter((x) => x.label === label).map((x) => x[s.over])));
  const log = s.over === "seconds" && Math.max(...ends) > 4 * Math.min(...ends);
  const places = points.map((x) => ({ value: x[s.over], low: null, high: null }));
  const xr = log ? VD.logRange(places) : VD.linearRange(places);
  const figure = VD.figure({ width: width - 90, height: 380, x: { log, range: xr, title: s.over === "step" ? "step" : "training time (s)" },
    y: { range: yr, title: "ELBO (nats, whole training set)" } });
  const items = [];
  for (const label of legend.filter((x) => !s.hidden.has(x))) {
    const mine = points.filter((x) => x.label === label).sort((a, b) => a[s.over] - b[s.over]).map((x) => ({
      ...x, ...VD.style(label, VD.unranked(s.place, label)), x: x[s.over], y: x.value, name: VD.nameOf(s.place, label), said: VD.said({ ...x, status: "" }),
      from: Math.max(x.low ?? x.value, yr[0]), to: Math.min(x.high ?? x.value, yr[1]),
    }));
    const source = VD.source(VD.columns(mine, ["x", "y", "from", "to"]));
    figure.varea(VD.field("x"), VD.field("from"), VD.field("to"), { source, fill_color: d.signs[label][0], fill_alpha: 0.16 });
    figure.line(VD.field("x"), VD.field("y"), { source, line_color: d.signs[label][0], line_width: 2, line_dash: VD.DASH[!VD.unranked(s.place, label)] });
    items.push(...mine);
  }
  const inside = VD.source(VD.columns(items.filter((x) => x.y >= yr[0]), ["x", "y", "colour", "fill", "shape", "name", "said", "step", "seconds"]));
  VD.hover(figure, [VD.marks(figure, inside, 7)], [["", "@name"], ["ELBO", "@said"], ["step", "@step"], ["seconds", "@seconds"]]);
  return {
    figure, legend,
    head: ["estimator", "step", "training time (s)", "ELBO (nats)"],
    body: items.map((x) => [x.name, VD.number(x.step, 9), VD.number(x.seconds, 4), x.said]),
    said: `ELBO by ${s.over === "step" ? "step" : "second"} of training with bands of its interval, ${VD.where()}.`
      + (steep ? " The first, steep steps are outside the axis range." : ""),
  };
};
