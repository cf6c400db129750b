"use strict";
/* Axes of the charts: their ranges, ticks and colours. */
VD.superscript = (k) => String(k).replace(/./g, (c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]);
VD.isPower = (x) => Math.abs(x / 10 ** Math.round(Math.log10(x)) - 1) < 1e-9;
VD.tickText = (x, powers = true) => {
  const k = Math.round(Math.log10(Math.abs(x)));
  return powers && VD.isPower(x) && (k > 4 || k < -3) ? `10${VD.superscript(k)}` : VD.number(x, 3);
};

/* Ticks of a logarithmic axis: the densest of some choices that fit; the others of 1 to 9 are minor ticks. */
VD.logTicks = (low, high, most) => {
  const first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high));
  const of = (steps, stride = 1) => {
    const found = [];
    for (let k = first; k <= last; k += 1) {
      if (k % stride === 0) found.push(...steps.map((s) => s * 10 ** k));
    }
    return found.filter((x) => x >= low * 0.9999 && x <= high * 1.0001);
  };
  const choices = [of([1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8]), of([1, 1.5, 2, 3, 5, 7]), of([1, 2, 5]), of([1, 3]),
    of([1]), of([1], 2), of([1], 3), of([1], 5), of([1], 10)];
  const length = Math.log(high / low);
  const fits = (places) => places.length > 1
    && places.slice(1).every((x, i) => Math.log(x / places[i]) * most >= length);
  const ticks = choices.find(fits) || choices.find((x) => x.length > 1 && x.length <= most) || [low, high];
  return { ticks, minor: of([1, 2, 3, 4, 5, 6, 7, 8, 9]).length < 60 ? of([1, 2, 3, 4, 5, 6, 7, 8, 9]) : of([1]) };
};

/* The range of a logarithmic axis that shows all positive figures and the positive ends of their intervals. */
VD.logRange = (rows, extra = []) => {
  const values = rows.map((x) => x.value).filter((x) => x > 0);
  const ends = rows.flatMap((x) => (x.value > 0 ? [x.low, x.high] : [])).filter((x) => x > 0);
  const every = [...values, ...extra, ...ends];
  if (!every.length) return [0.1, 10];
  const least = Math.min(...values, ...extra), most = Math.max(...values, ...extra);
  const low = Math.max(Math.min(...every), least / 1000), high = Math.min(Math.max(...every), most * 1000);
  const room = Math.max((high / low) ** 0.05, 1.05);
  return [low / room, high * room];
};

VD.linearRange = (rows, extra = []) => {
  const values = rows.map((x) => x.value);
  const ends = rows.flatMap((x) => [x.low, x.high]).filter((x) => x !== null);
  const every = [...values, ...ends, ...extra].filter(Number.isFinite);
  if (!every.length) return [0, 1];
  const low = Math.min(...every), high = Math.max(...every);
  const room = 0.05 * (high - low) || Math.abs(high) * 0.05 || 1;
  return [low - room, high + room];
};

/* Colours of the page as it is now, light or dark. */
VD.theme = () => {
  const style = getComputedStyle(document.documentElement);
  const get = (name) => style.getPropertyValue(name).trim();
  return { ink: get("--ink"), soft: get("--soft"), line: get("--line"), paper: get("--paper"), accent: get("--accent") };
};

/* The unit that suits some times, and how many of it make a second. */
VD.timeUnit = (rows) => {
  const most = Math.max(...rows.map((x) => x.value));
  return most >= 1 ? [1, "s"] : most >= 1e-3 ? [1e3, "ms"] : [1e6, "µs"];
};
VD.scaled = (x, factor) => ({ ...x, value: x.value * factor, low: x.low === null ? null : x.low * factor,
  high: x.high === null ? null : x.high * factor });

/* A text that Bokeh draws as it is, not as a formula. */
VD.plain = (text) => text.replace(/\$\$/g, "$\u200b$").replace(/\\([[(])/g, "\\\u200b$1");

/* A figure without toolbar, with the page's colours and font. */
VD.figure = (options) => {
  const t = VD.theme();
  const font = "system-ui, sans-serif";
  const made = Bokeh.Plotting.figure({
    toolbar_location: null, tools: [], sizing_mode: "stretch_width", height: options.height, min_border_right: 12,
    x_axis_type: options.x.log ? "log" : "linear", y_axis_type: options.y.log ? "log" : "linear",
    x_range: new Bokeh.Range1d({ start: options.x.range[0], end: options.x.range[1] }),
    y_range: new Bokeh.Range1d({ start: options.y.range[0], end: options.y.range[1] }),
    background_fill_color: null, border_fill_color: null, outline_line_color: null,
  });
  for (const [axis, grid, said, room] of [[made.xaxis, made.xgrid, options.x, options.width / 58],
    [made.yaxis, made.ygrid, options.y, options.height / 34]]) {
    const at = (ticks, minor_ticks) => { grid.ticker = axis.ticker = new Bokeh.FixedTicker({ ticks, minor_ticks }); };
    axis.axis_label = VD.plain(said.title || "");
    axis.axis_label_text_color = t.ink;
    axis.axis_label_text_font_style = "normal";
    axis.axis_label_text_font_size = "13px";
    axis.major_label_text_color = t.ink;
    axis.major_label_text_font_size = "12px";
    axis.axis_label_text_font = axis.major_label_text_font = font;
    axis.axis_line_color = axis.major_tick_line_color = axis.minor_tick_line_color = t.soft;
    if (said.log) {
      const { ticks, minor } = VD.logTicks(...said.range, room);
      at(ticks, minor);
      axis.major_label_overrides = new Map(ticks.map((x) => [x, VD.tickText(x, ticks.every(VD.isPower))]));
    } else if (said.names) {
      at(said.centres, []);
      axis.major_label_overrides = new Map(said.names.map((name, i) => [said.centres[i], VD.plain(name)]));
      axis.major_tick_line_color = null;
    } else if (said.at) {
      at(said.at, []);
      axis.major_label_overrides = new Map(said.at.map((x) => [x, VD.number(x, 3)]));
    } else {
      grid.ticker = axis.ticker = new Bokeh.BasicTicker({ desired_num_ticks: Math.max(3, Math.min(6, Math.floor(room))) });
      axis.formatter = new Bokeh.NumeralTickFormatter({ format: "0,0.[0000]" });
    }
  }
  made.xgrid.grid_line_color = made.ygrid.grid_line_color = t.line;
  if (options.y.names) made.ygrid.grid_line_color = null;
  return made;
};
