"use strict";
/* Tables that sort, search, filter, and whose rows have links. */
VD.SIZES = { s: 1, ms: 1e-3, µs: 1e-6, B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 };

/* The number that a cell begins with, in the unit that it names; NaN for words. */
VD.amount = (text) => {
  const found = text.trim().match(/^([−-]?[\d,]*\.?\d+(?:e[−-]?\d+)?|[−-]?∞)/);
  if (!found) return NaN;
  const unit = (text.match(/(?:^|[\s\]])(ms|µs|s|B|KiB|MiB|GiB)\b/) || [])[1];
  return Number(found[1].replace(/,/g, "").replace(/−/g, "-").replace("∞", "Infinity")) * (VD.SIZES[unit] || 1);
};

/* Order two cells: numbers before words, nothing last. */
VD.compare = (one, other) => {
  const [a, b] = [VD.amount(one), VD.amount(other)];
  if (Number.isNaN(a) !== Number.isNaN(b)) return Number.isNaN(a) ? 1 : -1;
  return Number.isNaN(a) ? one.localeCompare(other) : a - b;
};

VD.sortable = (table, sort) => {
  for (const [place, head] of [...table.tHead.rows[0].cells].entries()) {
    const button = VD.make("button", { type: "button", class: "sort" }, ...head.childNodes);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      sort(place, down ? -1 : 1);
    });
  }
};

/* Link each row to itself, by the anchor that it has. */
VD.anchored = (row) => {
  if (!row.id || !row.cells.length) return;
  const name = row.cells[0].textContent;
  row.cells[0].append(" ", VD.make("a", { class: "anchor", href: `#${row.id}`, "aria-label": `Link to the row of ${name}` }, "#"));
};

/* A box to search in, and menus for columns of few different words. */
VD.filters = (count, columns, change) => {
  const words = VD.make("input", { type: "search" });
  const menus = columns.map(([name, options]) => {
    const select = VD.make("select", {}, VD.make("option", { value: "" }, "all"),
      ...options.map((text) => VD.make("option", { value: text }, text)));
    return [name, select];
  });
  const status = VD.make("output", {});
  const said = (shown) => { status.textContent = shown === count ? `${VD.number(count, 9)} rows` : `${VD.number(shown, 9)} of ${VD.number(count, 9)} rows`; };
  const tell = () => said(change(words.value.toLowerCase().split(/\s+/).filter(Boolean), menus.map(([, select]) => select.value)));
  words.addEventListener("input", tell);
  for (const [, select] of menus) select.addEventListener("change", tell);
  said(count);
  return { bar: VD.make("div", { class: "filters" }, VD.make("label", {}, "Search", words),
    ...menus.map(([name, select]) => VD.make("label", {}, name, select)), status), words, menus, tell };
};

/* Columns of words that have 2 to 24 different ones, each in several rows. */
VD.wordColumns = (head, rows) => head.map((name, place) => [name, place, VD.distinct(rows.map((row) => row[place]))])
  .filter(([, place, options]) => options.length > 1 && options.length <= 24 && options.length <= rows.length / 2
    && rows.every((row) => Number.isNaN(VD.amount(row[place]))));

VD.enhance = (table) => {
  const body = table.tBodies[0], rows = [...body.rows];
  if (rows.length < 2) return;
  const texts = new Map(rows.map((row) => [row, [...row.cells].map((cell) => cell.textContent.trim())]));
  VD.sortable(table, (place, sign) => body.append(...[...rows].sort((a, b) => sign * VD.compare(texts.get(a)[place], texts.get(b)[place]))));
  rows.forEach(VD.anchored);
  if (rows.length < 16) return;
  const head = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
  const columns = VD.wordColumns(head, [...texts.values()]);
  const { bar } = VD.filters(rows.length, columns.map(([name, , options]) => [name, options]), (words, chosen) => {
    let shown = 0;
    for (const row of rows) {
      const said = texts.get(row), whole = said.join(" ").toLowerCase();
      const kept = words.every((word) => whole.includes(word)) && chosen.every((x, i) => !x || said[columns[i][1]] === x);
      row.hidden = !kept;
      shown += kept ? 1 : 0;
    }
    return shown;
  });
  table.closest(".wide").before(bar);
};

/* The table of all figures, built from their columns; a part of the rows stands in the page at a time. */
VD.PART = 100;
VD.everything = () => {
  const home = document.getElementById("vd-all-figures");
  if (!home || !VD.data) return;
  home.hidden = false;
  const d = VD.data, r = d.rows;
  const text = [(i) => d.places[r.place[i]].title, (i) => d.labels[r.label[i]], (i) => d.metricNames[r.metric[i]], (i) => d.layer[r.layer[i]],
    (i) => d.roleShort[r.role[i]], (i) => (r.against[i] < 0 ? "" : d.labels[r.against[i]]), (i) => VD.show(r.value[i], r.low[i], r.high[i]),
    (i) => (r.n[i] ? VD.number(r.n[i], 9) : "–"), (i) => d.status[r.status[i]]];
  const value = [...text.slice(0, 6), (i) => r.value[i] ?? Infinity, (i) => r.n[i], text[8]];
  const names = ["place", "estimator", "metric", "layer", "parameter", "against"];
  const id = (i) => `f-${text.slice(0, 6).map((get) => get(i).toLowerCase().replace(/[^a-z0-9.]+/g, "-")).join("_")}`;
  const table = home.querySelector("table"), body = table.tBodies[0], more = home.querySelector("button.more");
  let order = r.place.map((_, i) => i), found = order, part = VD.PART;
  const fill = () => {
    body.replaceChildren(...found.slice(0, part).map((i) => {
      const row = VD.make("tr", { id: id(i) }, ...text.map((get) => VD.make("td", {}, get(i))));
      VD.anchored(row);
      return row;
    }));
    more.hidden = found.length <= part;
    more.textContent = `Show ${Math.min(VD.PART, found.length - part)} more rows`;
  };
  const options = names.map((name, k) => [name, VD.distinct(order.map(text[k])).filter(Boolean)]).filter(([, x]) => x.length > 1 && x.length <= 200);
  const places = options.map(([name]) => names.indexOf(name));
  let words = [], chosen = options.map(() => "");
  const search = () => {
    found = order.filter((i) => chosen.every((x, k) => !x || text[places[k]](i) === x)
      && (!words.length || (() => { const whole = text.map((get) => get(i)).join(" ").toLowerCase(); return words.every((x) => whole.includes(x)); })()));
    part = VD.PART;
    fill();
    return found.length;
  };
  const filters = VD.filters(order.length, options, (said, picked) => { words = said; chosen = picked; return search(); });
  table.closest(".wide").before(filters.bar);
  VD.sortable(table, (place, sign) => {
    const keys = new Map(order.map((i) => [i, value[place](i)]));
    order = [...order].sort((a, b) => { const [x, y] = [keys.get(a), keys.get(b)]; return sign * (typeof x === "string" ? x.localeCompare(y) : x - y); });
    search();
  });
  more.addEventListener("click", () => { part += VD.PART; fill(); });
  const opened = home.querySelector("details");
  opened.addEventListener("toggle", () => { if (opened.open && !body.rows.length) fill(); });
  /* Show the row that an address names. */
  VD.reveal = (name) => {
    const i = order.find((x) => id(x) === name);
    if (i === undefined) return;
    opened.open = true;
    found = [i, ...order.filter((x) => x !== i)];
    fill();
    document.getElementById(name).scrollIntoView({ block: "center" });
  };
};

/* Open what is closed around the place that an address names, and go there. */
VD.follow = () => {
  const name = decodeURIComponent(location.hash.slice(1));
  if (!name) return;
  if (name.startsWith("f-") && VD.reveal) { VD.reveal(name); return; }
  const place = document.getElementById(name);
  if (!place) return;
  const closed = [];
  for (let at = place; at; at = at.parentElement) if (at.tagName === "DETAILS" && !at.open) closed.push(at);
  for (const one of closed) one.open = true;
  if (closed.length) place.scrollIntoView();
};
