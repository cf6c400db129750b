"use strict";
/* The figures of the report, read from their columns. */
const VD = {};
VD.data = (() => {
  const holder = document.getElementById("vd-data");
  return holder ? JSON.parse(holder.textContent) : null;
})();

/* A number to some significant digits, with the minus sign and the thousands' commas of the tables. */
VD.number = (x, digits = 3) => {
  if (x === null || x === undefined || !Number.isFinite(x)) return "–";
  if (x === 0) return "0";
  const size = Math.abs(x);
  let text;
  if (size >= 1e-3 && size < 1e6) {
    const places = Math.max(0, digits - 1 - Math.floor(Math.log10(size)));
    text = x.toLocaleString("en-US", { minimumFractionDigits: 0, maximumFractionDigits: Math.min(places, 12) });
  } else {
    const [mantissa, power] = x.toExponential(digits - 1).split("e");
    text = `${Number(mantissa)}e${Number(power)}`;
  }
  return text.replace(/-/g, "−");
};

/* A figure with its interval: digits down to a tenth of the interval's half width. */
VD.show = (value, low, high) => {
  if (value === null) return "–";
  if (value === low && value === high) return value === 0 ? "0 (exact)" : VD.number(value, 4);
  if (low === null || high === null) return VD.number(value, 4);
  const half = Math.max(Math.abs(high - value), Math.abs(value - low));
  const top = Math.max(Math.abs(value), Math.abs(high), Math.abs(low)) || 1;
  const digits = half > 0 ? Math.floor(Math.log10(top)) - Math.floor(Math.log10(half)) + 2 : 4;
  const fit = (x) => {
    const lost = x ? Math.floor(Math.log10(top)) - Math.floor(Math.log10(Math.abs(x))) : 0;
    return VD.number(x, Math.min(Math.max(digits - lost, 1), 6));
  };
  return `${fit(value)} [${fit(low)}, ${fit(high)}]`;
};

/* One figure of the columns as an object. */
VD.row = (i) => {
  const r = VD.data.rows;
  return { i, place: r.place[i], label: r.label[i], metric: r.metric[i], layer: r.layer[i], role: r.role[i],
    against: r.against[i], status: VD.data.status[r.status[i]], value: r.value[i], low: r.low[i], high: r.high[i],
    n: r.n[i] };
};

/* Rows by place and metric, so that a choice is answered without going through all. */
VD.index = (() => {
  const found = new Map();
  if (!VD.data) return found;
  const { place, metric } = VD.data.rows;
  for (let i = 0; i < place.length; i += 1) {
    const key = `${place[i]} ${metric[i]}`;
    if (!found.has(key)) found.set(key, []);
    found.get(key).push(i);
  }
  return found;
})();
VD.rowsOf = (place, metric) => (VD.index.get(`${place} ${metric}`) || []).map(VD.row);
VD.metricOf = (name) => VD.data.metric.indexOf(name);
VD.find = (place, metric, label, layer, role) =>
  VD.rowsOf(place, VD.metricOf(metric)).find(
    (x) => x.label === label && VD.data.layer[x.layer] === layer && VD.data.role[x.role] === role);

/* An element with attributes and children; texts are texts, never markup. */
VD.make = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
};
