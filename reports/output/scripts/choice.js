"use strict";
/* What is chosen: the chart, the place, the metric, the layer, the parameter; and the menus for it. */
VD.ORDER = { metric: [], chart: ["estimators", "plane", "scaling", "training"] };
VD.CHARTS = {
  estimators: "Estimators", plane: "Variance against time", scaling: "Scaling", training: "Training",
};
VD.state = { chart: "", place: 0, metric: "", layer: "all", role: "", sweep: 0, over: "step", same: true, hidden: new Set() };

/* The different items of a list, in the order of the first. */
VD.distinct = (items) => [...new Set(items)];

/* Metrics that the chart of estimators can show at a place: not those against every other estimator. */
VD.metricsOf = (place) => {
  const found = VD.data.metric.filter((name) => !name.startsWith("pairwise.") && VD.index.has(`${place} ${VD.metricOf(name)}`)
    && VD.rowsOf(place, VD.metricOf(name)).some((x) => x.value !== null));
  const known = Object.keys(VD.data.order);
  const at = (name) => (known.includes(name) ? known.indexOf(name) : known.length);
  return found.sort((a, b) => at(a) - at(b));
};

/* Which charts have anything to show. */
VD.available = () => VD.ORDER.chart.filter((name) => ({
  estimators: () => VD.data.places.some((_, i) => VD.metricsOf(i).length),
  plane: () => VD.data.places.some((p) => Object.keys(p.fronts).length),
  scaling: () => VD.data.sweeps.length > 0,
  training: () => VD.data.places.some((p) => p.curves >= 0),
})[name]());

/* Places that the current chart can show. */
VD.placesOf = (chart) => VD.data.places.map((p, i) => ({ ...p, i })).filter((p) => ({
  estimators: VD.metricsOf(p.i).length > 0,
  plane: Object.keys(p.fronts).length > 0,
  training: p.curves >= 0,
})[chart]);

/* Take a choice that is not there to the nearest that is. */
VD.settle = () => {
  const s = VD.state, d = VD.data;
  if (s.chart === "scaling") {
    const sweep = d.sweeps[s.sweep] || d.sweeps[0];
    s.sweep = d.sweeps.indexOf(sweep);
    const metrics = VD.sweepMetrics(sweep);
    if (!metrics.includes(s.metric)) s.metric = metrics.find((x) => x === "variance.noise") || metrics[0];
  } else {
    const places = VD.placesOf(s.chart);
    if (!places.some((p) => p.i === s.place)) s.place = places[0].i;
    if (s.chart === "estimators") {
      const metrics = VD.metricsOf(s.place);
      if (!metrics.includes(s.metric)) [s.metric] = metrics;
    }
  }
  const rows = VD.candidates();
  const layers = VD.distinct(rows.map((x) => d.layer[x.layer]));
  if (layers.length && !layers.includes(s.layer)) s.layer = layers.includes("all") ? "all" : layers[0];
  const roles = VD.rolesIn(rows);
  if (roles.length && !roles.includes(s.role)) [s.role] = roles;
};

/* The rows that layer and parameter are chosen among. */
VD.candidates = () => {
  const s = VD.state;
  if (s.chart === "training") return [];
  if (s.chart === "plane") {
    return VD.rowsOf(s.place, VD.metricOf("variance.total")).filter((x) => VD.data.layer[x.layer] === "all" && x.value !== null);
  }
  const places = s.chart === "scaling"
    ? VD.distinct(VD.data.sweeps[s.sweep].lines.flatMap((line) => line.points.map((p) => p[1]))) : [s.place];
  return places.flatMap((place) => VD.rowsOf(place, VD.metricOf(s.metric))).filter((x) => x.value !== null);
};
VD.rolesIn = (rows) => {
  const known = VD.distinct(rows.map((x) => VD.data.role[x.role]));
  return known.sort((a, b) => VD.data.role.indexOf(a) - VD.data.role.indexOf(b));
};
VD.sweepMetrics = (sweep) => {
  const places = VD.distinct(sweep.lines.flatMap((line) => line.points.map((p) => p[1])));
  const wanted = ["variance.noise", "variance.total", "time.seconds_per_gradient", "memory.peak_bytes"];
  return wanted.filter((name) => places.filter((p) => VD.index.has(`${p} ${VD.metricOf(name)}`)).length > 1);
};

/* A menu with its label; nothing where there is no choice. */
VD.menu = (id, name, options, chosen, change) => {
  if (options.length < 2) return [];
  const select = VD.make("select", { id: `vd-choose-${id}` },
    ...options.map(([value, text]) => VD.make("option", { value, selected: String(value) === String(chosen) }, text)));
  select.addEventListener("change", () => change(select.value));
  return [VD.make("label", { for: `vd-choose-${id}` }, name, select)];
};

/* The menus for the current choice. */
VD.menus = () => {
  const s = VD.state, d = VD.data;
  const set = (name) => (value) => { s[name] = value; VD.update(`vd-choose-${name}`); };
  const found = [];
  if (s.chart === "scaling") {
    found.push(...VD.menu("sweep", "What", d.sweeps.map((x, i) => [i, x.title]), s.sweep,
      (value) => { s.sweep = Number(value); VD.update("vd-choose-sweep"); }));
    found.push(...VD.menu("metric", "Metric", VD.sweepMetrics(d.sweeps[s.sweep]).map(VD.metricOption), s.metric, set("metric")));
  } else {
    for (const [key, name] of [["run", "Run"], ["problem", "Problem"], ["checkpoint", "Checkpoint"], ["batch", "Minibatch size"], ["variant", "Place"]]) {
      found.push(...VD.menu(key, name, VD.facetOptions(key), d.places[s.place][key], (value) => VD.chooseFacet(key, value)));
    }
    if (s.chart === "estimators") found.push(...VD.menu("metric", "Metric", VD.metricsOf(s.place).map(VD.metricOption), s.metric, set("metric")));
  }
  const rows = VD.candidates();
  const layers = VD.distinct(rows.map((x) => d.layer[x.layer]));
  found.push(...VD.menu("layer", "Layer", layers.map((x) => [x, x === "all" ? "all layers" : x]), s.layer, set("layer")));
  const roles = VD.rolesIn(rows.filter((x) => d.layer[x.layer] === s.layer));
  found.push(...VD.menu("role", "Parameter", roles.map((x) => [x, d.roleNames[d.role.indexOf(x)]]), s.role, set("role")));
  if (s.chart === "training" && VD.curvesOf(s.place).some((x) => x.seconds > 0)) {
    found.push(...VD.menu("over", "Against", [["step", "step"], ["seconds", "second"]], s.over, set("over")));
  }
  if (s.chart === "estimators" && rows.length && layers.length * roles.length > 1) {
    const box = VD.make("input", { type: "checkbox", id: "vd-choose-same", checked: s.same });
    box.addEventListener("change", () => { s.same = box.checked; VD.update("vd-choose-same"); });
    found.push(VD.make("label", { for: "vd-choose-same", class: "check" }, box, "one axis for all layers and parameters"));
  }
  return found;
};
VD.metricOption = (name) => [name, VD.data.metricNames[VD.metricOf(name)]];
VD.facetOptions = (key) => {
  const chosen = VD.data.places[VD.state.place];
  const places = VD.placesOf(VD.state.chart).filter((p) => key !== "variant" || (p.variant
    && ["run", "problem", "checkpoint", "batch"].every((x) => p[x] === chosen[x])));
  return VD.distinct(places.map((p) => p[key])).map((x) => [x, key === "batch" ? VD.number(x, 6) : x]);
};

/* Go to the place that has a value, and that agrees most with the one before. */
VD.chooseFacet = (key, value) => {
  const before = VD.data.places[VD.state.place];
  const like = (p) => ["run", "problem", "checkpoint", "batch"].filter((x) => p[x] === before[x]).length;
  const found = VD.placesOf(VD.state.chart).filter((p) => String(p[key]) === value).sort((a, b) => like(b) - like(a));
  VD.state.place = found[0].i;
  VD.update(`vd-choose-${key}`);
};
