"use strict";
const page = JSON.parse(document.getElementById("data").textContent);
page.short = page.classes.map(name => name.length > 14 ? `${name.slice(0, 13)}…` : name);
const ESCAPES = { "&": "&amp;", "<": "&lt;", ">": "&gt;" };
const onPlot = page.short.map(name => name.replace(/[&<>]/g, char => ESCAPES[char]));  // plotly reads markup
const ROOM = page.short.some(name => name.length > 3) ? 2.1 : 1.85;  // half the width of the circle's plot
const $ = id => document.getElementById(id);
const shown = page.classes.map(() => true);
const dark = matchMedia("(prefers-color-scheme: dark)"), paint = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
dark.addEventListener("change", () => location.reload());
const colors = dark.matches ? page.dark : page.colors, GROUPS = colors.length, color = label => colors[label % GROUPS];  // a group: classes of one colour
const DEGREE = Math.PI / 180, INK = paint("--ink"), GAP = paint("--gap"), OVERLAP = paint("--overlap"), LINE = paint("--line"), HALO = `0 0 3px ${paint("--plot")}, 0 0 3px ${paint("--plot")}`, FONT = "system-ui, Arial, sans-serif";
const UNSEEN = GROUPS, CHOSEN = GROUPS + 1;  // traces, after the groups' dots
let only = false, strangers = true;  // show: misclassified images alone, unseen classes

// ---- the address keeps what was chosen ---------------------------------------------------------------
const state = new URLSearchParams(location.hash.slice(1));
function remember(key, value) {
  if ((state.get(key) ?? "") === (value ?? "")) return;
  if (value) state.set(key, value);
  else state.delete(key);
  clearTimeout(remember.later);
  remember.later = setTimeout(() => history.replaceState(null, "", `#${state}`.replaceAll("%2C", ",")), 200);
}
const numbersIn = key => (state.get(key) ?? "").split(",").filter(Boolean).map(Number);

// ---- which runs: those of the address, such as #runs=0,4, or else the page's own choice -------------
async function choose() {
  const asked = numbersIn("runs").filter(i => page.runs[i]);
  let contexts = 0;
  page.panels = [];
  page.cards = [];
  for (const run of (asked.length ? asked : page.shown).map(i => page.runs[i])) {
    const needed = page.contexts[run.kind], fits = contexts + needed <= page.most_contexts;
    if (fits && run.file) await load(run.file);
    if (fits && run.panel) contexts += needed;
    if (fits && run.panel) page.panels.push({ ...run, ...run.panel });
    else page.cards.push(run);  // its picture, which opens its own page
  }
  page.stops = [...new Set(page.panels.flatMap(spec => spec.replay?.epochs ?? []))].sort((a, b) => a - b);
  page.limits = curveLimits();
}
const load = file => new Promise(done => {
  document.head.append(Object.assign(element("script"), { src: file, onload: done, onerror: done }));
});
const arrived = (index, panel) => Object.assign(page.runs[index], { panel, file: null });
addEventListener("hashchange", () => location.reload());

// ---- data: int16 unit vectors, base64 -----------------------------------------------------------
function unpack(text, Kind) {
  const bytes = Uint8Array.from(atob(text), char => char.charCodeAt(0));
  return new Kind(bytes.buffer);
}
const vectors = text => Float32Array.from(unpack(text, Int16Array), value => value / 32767);
const places = text => Float32Array.from(unpack(text, Int16Array), value => value === -32768 ? NaN : value / 32767);
const integers = text => text && Int32Array.from(unpack(text.slice(1), text[0] === "s" ? Int16Array : Int32Array));  // short or long
function sample(spec, kind) {  // the samples, which rows of the test split they are, and their moments
  return { labels: integers(spec.labels), ids: integers(spec.rows), predicted: integers(spec.predicted), images: integers(spec.images),
    epochs: spec.epochs, moments: spec.moments.map(kind === flat ? flatMomentOf : momentOf) };
}
function flatMomentOf(spec) {  // dots and classes on a map, with the angles that it cannot show
  const means = places(spec.means), classes = page.classes.map(() => null);
  spec.classes.forEach((label, i) => { classes[label] = { label, mean: [means[2 * i], means[2 * i + 1]] }; });
  return { points: places(spec.points), directions: new Float32Array(), classes, rival: integers(spec.rival), told: spec.told.map(text => unpack(text, Uint16Array)) };
}
function momentOf(spec) {  // the dots, the header's class directions, and each class as it was measured
  const means = vectors(spec.means), classes = page.classes.map(() => null), dim = means.length / spec.classes.length;
  spec.classes.forEach((label, i) => {
    classes[label] = { label, mean: unit([...means.subarray(i * dim, (i + 1) * dim)]) };
    for (const key of ["centre", "low", "high", "gap", "radius"]) if (spec[key]) classes[label][key] = spec[key][i];
  });
  return { points: vectors(spec.points), directions: vectors(spec.directions), classes,
    heights: spec.heights && unpack(spec.heights, Uint8Array) };
}

// ---- on the way from one moment to the next -------------------------------------------------------
function unit(vector) {  // NaN, and so not drawn, where there is no direction
  const length = Math.hypot(...vector);
  return vector.map(value => length > 1e-6 ? value / length : NaN);
}
const at = (points, row, dim) => unit(Array.from(points.subarray(row * dim, row * dim + dim)));
const angle = (a, b) => Math.acos(Math.max(-1, Math.min(1, a.reduce((sum, v, i) => sum + v * b[i], 0)))) / DEGREE;
const wrap = degrees => ((degrees + 540) % 360 + 360) % 360 - 180;
function glide(a, b, share) {
  if (a === b || !share) return a;
  return { told: b.told, rival: b.rival, points: between(a.points, b.points, share), directions: between(a.directions, b.directions, share),
    heights: a.heights && between(a.heights, b.heights, share), classes: a.classes.map((one, label) => glideClass(one, b.classes[label], share)) };
}
function glideClass(a, b, share) {
  if (!a || !b) return share < .5 ? a : b;
  const mean = between(a.mean, b.mean, share), made = { label: a.label, mean: "centre" in a || "radius" in a ? unit(mean) : mean };
  for (const key of ["low", "high", "gap", "radius"]) if (key in a) made[key] = a[key] + share * (b[key] - a[key]);
  if ("centre" in a) made.centre = a.centre + share * wrap(b.centre - a.centre);
  return made;
}
function between(a, b, share) {  // along the chord
  return a.map((value, i) => value + share * (b[i] - value));
}

const dotSize = spec => (page.panels.length > 1 ? .8 : 1) * (spec.total < 1000 ? 1.5 : 1);

// ---- 2-D: the circle. Every dot stands on it; the height above it follows its class's density ---
const circle = {
  traces(spec) {
    const per = make => colors.map(make);
    const lines = { type: "scatter", mode: "lines", hoverinfo: "skip" };
    return [
      ...flatDots(spec),
      ...per(color => ({ ...lines, fill: "toself", fillcolor: color + "55", line: { color, width: 1.2 } })),
      { ...lines, fill: "toself", fillcolor: GAP, line: { width: 0 } },
      { ...lines, line: { color: OVERLAP, width: 4 } },
      { ...lines, line: { color: INK, width: 1.6 } },
      { ...lines, line: { color: INK, width: 1 } },
      { ...lines, mode: "text", textfont: { size: 12, family: FONT, shadow: HALO } },
      { ...lines, mode: "text", cliponaxis: false, textfont: { size: 14, family: FONT, weight: 700 } },
    ];
  },
  layout() {
    return plain(ROOM, 1.62);
  },
  place({ units, heights }, row) {  // the golden ratio spreads the dots evenly and leaves each at its share of the height
    const height = .03 + .42 * heights[row] / 255;
    return polar(Math.atan2(units[row][1], units[row][0]) / DEGREE, 1.012 + height * (row * .618034 % 1));
  },
  stranger: ([x, y]) => [.9 * x, .9 * y],
  frame(moment, spec) {
    const found = moment.classes;
    const sectors = colors.map((_, group) => line(found.filter(arc => arc && shown[arc.label] && arc.label % GROUPS === group).flatMap(arc => [[0, 0],
      ...sweep(arc.centre + arc.low, arc.centre + arc.high, 1), [0, 0], null, [0, 0], polar(arc.centre, 1), null])));
    const wedges = [], overlaps = [], brackets = [];
    const numbers = { x: [], y: [], text: [], color: [] }, names = { x: [], y: [], text: [], place: [] };
    const present = found.filter(arc => arc).sort((a, b) => wrap(a.centre) - wrap(b.centre));
    present.forEach((arc, i) => {
      const next = present[(i + 1) % present.length], end = arc.centre + arc.high;
      const turn = (next.centre - arc.centre + 720) % 360 || 360, gap = arc.gap;
      if (!shown[arc.label] || !shown[next.label]) return;
      if (gap < 0) overlaps.push(...sweep(end + gap, end, .97), null);
      else wedges.push([0, 0], ...sweep(end, end + gap, 1), [0, 0], null);
      if (found.length > 24 || gap < -30 || turn < 10) return;  // no room to write
      const [x, y] = polar(end + gap / 2, .7);
      numbers.x.push(x); numbers.y.push(y);
      numbers.text.push(`${gap.toFixed(0).replace("-", "−")}°`); numbers.color.push(gap < 0 ? OVERLAP : INK);
      const [from, to] = [-.5, .5].map(half => end + gap / 2 + half * spec.predicted);
      if (spec.predicted) brackets.push(polar(from, .79), ...sweep(from, to, .83), polar(to, .79), null);
    });
    for (const arc of present.filter(arc => shown[arc.label])) {
      const [x, y] = polar(arc.centre, 1.49);
      names.x.push(x); names.y.push(y);
      names.text.push(present.length > 40 ? "" : onPlot[arc.label]);
      names.place.push(Math.abs(x) < .4 ? `${y > 0 ? "top" : "bottom"} center` : `middle ${x > 0 ? "right" : "left"}`);
    }
    const ticks = page.classes.flatMap((_, label) => shown[label] ? [.95, 1.02].map(r =>
      at(moment.directions, label, 2).map(v => v * r)).concat([null]) : []);
    const marks = [...sweep(0, 360, 1), null, ...brackets];
    const update = [...sectors, line(wedges), line(overlaps), line(ticks), line(marks), numbers, names];
    return { x: update.map(t => t.x), y: update.map(t => t.y), text: update.map(t => t.text ?? ""),
      "textfont.color": update.map(t => t.color ?? INK), textposition: update.map(t => t.place ?? "middle center") };
  },
};
function flatDots(spec) {
  const marks = { type: "scattergl", mode: "markers", hoverinfo: "none" };
  return [...colors.map(color => ({ ...marks, marker: { color, size: 4 * dotSize(spec), opacity: .6 } })),
    { ...marks, marker: { symbol: "circle-open", size: 6, line: { width: 1.5 } } },
    { ...marks, marker: { size: 10, line: { color: INK, width: 2 } } }];
}
function plain(wide, high) {
  const axis = { visible: false, constrain: "domain" };
  return { dragmode: "pan", xaxis: { ...axis, range: [-wide, wide] }, yaxis: { ...axis, range: [-high, high], scaleanchor: "x" } };
}

// ---- more dimensions: a map in the unit circle ---------------------------------------------------------
const flat = {
  traces: flatDots,
  layout: () => ({ ...plain(1.08, 1.08), shapes: [{ type: "circle", x0: -1, x1: 1, y0: -1, y1: 1, layer: "below", line: { color: LINE, width: 1 } }] }),
  place: ({ units }, row) => units[row],
  stranger: place => place,
  frame: () => ({ x: [], y: [] }),
  notes: moment => moment.classes.length > 40 ? [] : moment.classes.filter(one => one && shown[one.label]).map(({ label, mean: [x, y] }) =>
    ({ x, y, text: onPlot[label], showarrow: false, bgcolor: paint("--plot") + "b0", borderpad: 1, font: { size: 14, family: FONT, weight: 700, color: INK } })),
};

const polar = (degrees, r) => [r * Math.cos(degrees * DEGREE), r * Math.sin(degrees * DEGREE)];
function sweep(from, to, r) {
  const steps = Math.max(2, Math.ceil(Math.abs(to - from) / 1.5));
  return Array.from({ length: steps + 1 }, (_, i) => polar(from + (to - from) * i / steps, r));
}
function line(corners) {  // null lifts the pen
  const [x, y, z] = [0, 1, 2].map(axis => corners.map(corner => corner && corner[axis]));
  return { x, y, z };
}

// ---- 3-D: a globe, opaque until asked to be glass --------------------------------------------------
const sphere = {
  traces(spec) {
    const many = page.panels.length > 1, lines = { type: "scatter3d", mode: "lines", hoverinfo: "skip" };
    return [
      ...colors.map(color => ({ type: "scatter3d", mode: "markers", hoverinfo: "none",  // circles draw far slower
        marker: { color, symbol: "diamond", size: 1.7 * dotSize(spec), line: { width: 0 } } })),
      { type: "scatter3d", mode: "markers", hoverinfo: "none", marker: { symbol: "diamond-open", size: 3 } },
      { type: "scatter3d", mode: "markers", hoverinfo: "none", marker: { symbol: "diamond", size: 5, line: { color: INK, width: 2 } } },
      { ...lines, line: { width: 4 } },
      { ...lines, mode: "markers",
        marker: { color: paint("--paper"), size: many ? 4 : 5, symbol: "diamond", line: { color: INK, width: 2 } } },
      { ...lines, mode: "text", textfont: { size: many ? 15 : 20, weight: 700, family: "Arial, sans-serif", color: INK } },
      { ...lines, ...graticule(), line: { color: paint("--grid"), width: 1 } },
      { type: "mesh3d", ...globe(), color: paint("--globe"), hoverinfo: "skip",
        lighting: { ambient: .93, diffuse: .12, specular: 0 } },
    ];
  },
  layout() {
    const axis = { visible: false, range: [-1.2, 1.2], showspikes: false };
    return { scene: { xaxis: axis, yaxis: axis, zaxis: axis, aspectmode: "manual", aspectratio: cube(),
      dragmode: false, camera: camera() } };
  },
  place: ({ units }, row) => units[row],
  stranger: place => place,
  frame(moment) {
    const caps = [], rings = [], names = { x: [], y: [], z: [], text: [] };
    moment.classes.forEach((one, label) => {
      if (!one || !shown[label]) return;
      const { mean, radius } = one, ring = cap(mean, radius);
      caps.push(...ring, null);
      rings.push(...Array(ring.length + 1).fill(color(label)));
      const place = cap(mean, radius + 2)[45];  // above the ring
      ["x", "y", "z"].forEach((axis, i) => names[axis].push(1.16 * place[i]));
      names.text.push(moment.classes.length > 40 || behind(place) ? "" : onPlot[label]);
    });
    const directions = page.classes.flatMap((_, label) =>
      shown[label] ? [at(moment.directions, label, 3).map(v => 1.03 * v)] : []);
    const update = [line(caps), line(directions), names];
    return { x: update.map(t => t.x), y: update.map(t => t.y), z: update.map(t => t.z),
      text: update.map(t => t.text ?? ""),
      "line.color": update.map((_, i) => i ? INK : rings) };
  },
};
const FIRST = { azimuth: 29, elevation: 23, zoom: 1.85 };
const look = { ...FIRST, ...Object.fromEntries(numbersIn("camera").map((value, i) => [Object.keys(FIRST)[i], value])) };  // degrees; one look for all spheres
const behind = place => place.reduce((sum, v, i) => sum + v * onSphere(look.azimuth, look.elevation)[i], 0) < 0 && $("glass").getAttribute("aria-pressed") === "false";
const cube = () => ({ x: look.zoom, y: look.zoom, z: look.zoom });
function camera() {
  const [x, y, z] = onSphere(look.azimuth, look.elevation).map(v => 1.6 * v);
  return { projection: { type: "orthographic" }, eye: { x, y, z }, center: { x: 0, y: 0, z: 0 }, up: { x: 0, y: 0, z: 1 } };
}
const onSphere = (longitude, latitude) => [Math.cos(longitude * DEGREE) * Math.cos(latitude * DEGREE),
  Math.sin(longitude * DEGREE) * Math.cos(latitude * DEGREE), Math.sin(latitude * DEGREE)];
function cap(mean, radius) {  // the small circle of this radius in degrees; corner 45 is its highest
  const helper = Math.abs(mean[2]) < .9 ? [0, 0, 1] : [1, 0, 0];
  const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
  const u = unit(cross(mean, helper)), v = cross(mean, u), c = Math.cos(radius * DEGREE), s = Math.sin(radius * DEGREE);
  return Array.from({ length: 61 }, (_, i) => i * 6 * DEGREE).map(t =>
    mean.map((m, k) => 1.008 * (c * m + s * (Math.cos(t) * u[k] + Math.sin(t) * v[k]))));
}
function globe() {  // a mesh: plotly's surfaces take several times as long to draw
  const around = 72, corners = [], mesh = { i: [], j: [], k: [] };
  for (let row = 0; row <= 36; row++) for (let column = 0; column < around; column++) {
    corners.push(onSphere(column * 5, row * 5 - 90).map(v => .985 * v));
    if (row === 36) continue;
    const here = row * around + column, right = row * around + (column + 1) % around;
    mesh.i.push(here, right);
    mesh.j.push(right, right + around);
    mesh.k.push(here + around, here + around);
  }
  return { ...line(corners), ...mesh };
}
function graticule() {
  const around = Array.from({ length: 73 }, (_, i) => i * 5), corners = [];
  for (let b = -60; b <= 60; b += 30) corners.push(...around.map(a => onSphere(a, b)), null);
  for (let a = 0; a < 180; a += 30) corners.push(...around.map(b => onSphere(a, b)), null);
  return line(corners);
}

// ---- one run: heading, plot, curve --------------------------------------------------------------
class Panel {
  constructor(spec) {
    this.spec = spec;
    this.kind = { 2: circle, 3: sphere, 4: flat }[spec.kind];
    this.final = sample(spec.final, this.kind);
    this.replay = spec.replay && sample(spec.replay, this.kind);
    this.others = spec.unseen && strangersOf(spec, this.kind);
    this.root = element("section", "panel");
    if (page.panels.length + page.cards.length > 1) this.root.append(heading(spec));
    this.told = element("span");  // how this head fares on the chosen images
    const about = this.root.appendChild(element("div", "about"));
    about.append(element("span", "", spec.projection), this.told);
    this.plot = this.root.appendChild(element("div", "plot"));
    this.svg = spec.track && spec.replay && this.root.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "svg"));
    this.svg?.setAttribute("class", "track");
  }
  async start() {
    const paper = paint("--plot"), kept = numbersIn("view");
    const layout = { margin: { l: 0, r: 0, t: 0, b: 0 }, showlegend: false, hovermode: "closest", paper_bgcolor: paper, plot_bgcolor: paper,
      modebar: { bgcolor: "transparent", color: paint("--soft"), activecolor: INK }, uirevision: 1, ...this.kind.layout() };
    const filename = this.spec.name.replace(/[^\w.=-]+/g, "_"), image = format => ({ format, filename, width: 900, height: 900 });
    const svg = { name: "SVG", title: "save as SVG", icon: Plotly.Icons.disk, click: plot => Plotly.downloadImage(plot, image("svg")) };
    const config = { displaylogo: false, displayModeBar: true, responsive: true, scrollZoom: page.panels.length === 1, doubleClick: false,
      modeBarButtons: [...(this.kind === sphere ? [] : [["pan2d", "lasso2d"]]), ["toImage", svg]], toImageButtonOptions: { ...image("png"), scale: 2 },
      plotGlPixelRatio: Math.max(1, devicePixelRatio) };
    if (this.kind !== sphere && kept.length === 4) Object.assign(layout.xaxis, { range: kept.slice(0, 2) }), Object.assign(layout.yaxis, { range: kept.slice(2) });
    await Plotly.newPlot(this.plot, this.kind.traces(this.spec), layout, config);
    this.plot.on("plotly_hover", event => { this.under = this.image(event.points[0]); hover(this, event.points[0]); });
    this.plot.on("plotly_unhover", () => { this.under = undefined; $("tip").style.display = "none"; });
    if (this.kind === sphere) return grip(this);
    this.plot.on("plotly_click", event => pick(this, this.image(event.points[0])));
    this.plot.on("plotly_selected", event => {
      if (!event) return;
      Plotly.relayout(this.plot, { selections: [] });
      Plotly.restyle(this.plot, { selectedpoints: [null] });
      lasso(this, event.points.map(point => this.image(point)).filter(id => id !== undefined));
    });
    this.plot.on("plotly_relayout", change => {
      const { xaxis, yaxis } = this.plot.layout;
      if ("xaxis.range[0]" in change && page.panels.length === 1) remember("view", [...xaxis.range, ...yaxis.range].map(v => v.toFixed(3)).join());
    });
  }
  moment(epoch) {  // from the last snapshot on: the whole test split
    const all = this.replay, final = this.final;
    if (!all || epoch >= all.epochs.at(-1)) return { ...final, ...final.moments[0], others: this.others };
    const next = Math.max(1, all.epochs.findIndex(e => e > epoch));
    const share = Math.max(0, (epoch - all.epochs[next - 1]) / (all.epochs[next] - all.epochs[next - 1]));
    return { ...all, ...glide(all.moments[next - 1], all.moments[next], share) };
  }
  draw(epoch) {
    const moment = this.now = this.moment(epoch), dim = this.kind === sphere ? 3 : 2;
    const vector = this.kind === flat ? (points, row) => [points[2 * row], points[2 * row + 1]] : (points, row) => at(points, row, dim);
    moment.units = Array.from(moment.labels, (_, row) => vector(moment.points, row));
    moment.drawn = colors.map(() => []);  // rows of each group
    moment.labels.forEach((label, row) => {
      if (shown[label] && !(only && moment.predicted?.[row] === label)) moment.drawn[label % GROUPS].push(row);
    });
    const dots = moment.drawn.map(rows => line(rows.map(row => this.kind.place(moment, row))));
    const others = moment.others && strangers && !only ? moment.others : { spots: [], labels: [] };
    const update = this.kind.frame(moment, this.spec), marked = this.marked(), before = Array(GROUPS + 2).fill(undefined);
    for (const key in update) update[key] = [...before, ...update[key]];
    [...dots, line(others.spots), line(marked.spots)].forEach((trace, i) => ["x", "y", "z"].forEach(axis => { if (axis in update) update[axis][i] = trace[axis]; }));
    update["marker.color"] = [...before.slice(2), Array.from(others.labels, label => color(Math.max(0, label))), marked.colors, ...Array(update.x.length - GROUPS - 2).fill(undefined)];
    if (this.svg) track(this.svg, this.spec.track, epoch);
    const annotations = this.kind.notes?.(moment) ?? [];  // names: dots would hide what a trace writes
    return Plotly.update(this.plot, update, { annotations }, update.x.map((_, trace) => trace));
  }
  marked() {  // the chosen images that are in the plot now
    const rows = [...this.now.ids.keys()].filter(row => chosen.ids.has(this.now.ids[row]));
    const others = this.now.others ? [...this.now.others.ids.keys()].filter(i => chosen.ids.has(this.now.others.ids[i])) : [];
    return { spots: [...rows.map(row => this.kind.place(this.now, row)), ...others.map(i => this.others.spots[i])],
      ids: [...rows.map(row => this.now.ids[row]), ...others.map(i => this.others.ids[i])],
      colors: [...rows.map(row => color(this.now.labels[row])), ...others.map(i => color(Math.max(0, this.others.labels[i])))] };
  }
  mark() {
    const { spots, colors } = this.marked(), { x, y, z } = line(spots), all = this.final.predicted;
    const rows = [...this.final.ids.keys()].filter(row => chosen.ids.has(this.final.ids[row]));
    const wrong = all ? rows.filter(row => all[row] !== this.final.labels[row]).length : 0;
    this.told.textContent = rows.length && all ? `${wrong} of the ${rows.length} chosen misclassified` : "";
    return Plotly.restyle(this.plot, { x: [x], y: [y], ...(this.kind === sphere && { z: [z] }), "marker.color": [colors] }, [CHOSEN]);
  }
  image(point) {  // which one: its row in the test split, unseen ones after those
    const { curveNumber: trace, pointNumber: i } = point;
    if (trace < GROUPS) return this.now.ids[this.now.drawn[trace][i]];
    return trace === UNSEEN ? this.others.ids[i] : trace === CHOSEN ? this.marked().ids[i] : undefined;
  }
  about(id) {  // what is known of an image, and where it is among those of the page
    const { final, others, spec } = this, n = final.ids.length;
    this.places ??= new Map([...final.ids, ...(others?.ids ?? [])].map((id, place) => [id, place]));
    const place = this.places.get(id), replayed = place === undefined ? this.replay?.ids.indexOf(id) : -1;
    if (replayed >= 0) return { place, label: this.replay.labels[replayed], name: page.short[this.replay.labels[replayed]], picture: this.replay.images?.[replayed] ?? -1 };
    if (place >= n) return { place, label: others.labels[place - n], unseen: true, name: spec.unseen.names[others.labels[place - n]] ?? "unknown", picture: -1 };
    return { place, label: final.labels[place], name: page.short[final.labels[place]], predicted: final.predicted?.[place], picture: final.images?.[place] ?? -1 };
  }
  nearest(place) {  // [image, degrees] of each, nearest first
    this.near ??= { rows: integers(this.spec.nearest.rows), degrees: unpack(this.spec.nearest.degrees, Uint16Array) };
    const { count } = this.spec.nearest, ids = [...this.places.keys()];
    return Array.from({ length: place === undefined ? 0 : count }, (_, i) => place * count + i).filter(i => this.near.rows[i] >= 0)
      .map(i => [ids[this.near.rows[i]], this.near.degrees[i] / 100]);
  }
}
function strangersOf(spec, kind) {  // images of classes that training has not seen
  const rows = integers(spec.unseen.rows), points = (kind === flat ? places : vectors)(spec.unseen.points), dim = points.length / rows.length;
  const spots = Array.from(rows, (_, i) => kind.stranger(kind === flat ? [...points.subarray(2 * i, 2 * i + 2)] : at(points, i, dim)));
  return { labels: integers(spec.unseen.labels), ids: rows.map(row => spec.total + row), spots };
}

// ---- chosen images: those of a lasso, or one with its nearest neighbours; the same in every plot ---------
const chosen = { ids: new Set() };
function choosing(panel, title, tiles) {  // tiles: [image, degrees]
  chosen.ids = new Set(tiles.map(([id]) => id));
  const moves = $("tray").hidden !== !tiles.length;
  $("tray").hidden = !tiles.length;
  if (moves && panels.length === 1) Plotly.Plots.resize(panels[0].plot);
  document.querySelector("#tray b").textContent = title;
  document.querySelector("#tray div").replaceChildren(...tiles.slice(0, 60).map(([id, degrees]) => {
    const one = panel.about(id), tile = element("button", "tile"), dot = element("i");
    dot.style.background = color(Math.max(0, one.label));
    if (one.picture >= 0) tile.append(thumbnail(page.sprites[panel.spec.sprite], pictures[panel.spec.sprite], one.picture));
    const name = element("span", "", one.name);
    name.prepend(dot);
    tile.append(name, element("small", "", degrees === undefined ? "" : `${degrees.toFixed(1)}°`));
    tile.title = `${one.name}${one.unseen ? ", an unseen class" : ""}${mistaken(one)}: its nearest neighbours`;
    tile.onclick = () => pick(panel, id);
    return tile;
  }));
  return Promise.all(panels.map(panel => panel.mark()));
}
const mistaken = one => one.predicted === undefined || one.predicted === one.label ? "" : `, taken for ${page.short[one.predicted]}`;
function pick(panel, id) {
  if (id === undefined) return;
  const one = panel.about(id), tiles = panel.nearest(one.place);
  remember("image", `${page.panels.indexOf(panel.spec)},${id}`);
  const where = panels.length > 1 ? ` under ${panel.spec.name}` : "";
  return choosing(panel, `${one.name}${mistaken(one)} and its ${tiles.length} nearest by angle${where}`, [[id], ...tiles]);
}
function lasso(panel, ids) {
  remember("image", null);
  choosing(panel, `${ids.length} chosen${panels.length > 1 ? ", the same in every plot" : ""}`, ids.map(id => [id]));
}
function unchoose() {
  remember("image", null);
  choosing(panels[0], "", []);
}
function element(tag, kind, text) {
  const made = document.createElement(tag);
  if (kind) made.className = kind;
  if (text !== undefined) made.textContent = text;
  return made;
}
function facts(spec) {
  const list = element("dl", "facts");
  for (const [name, value, meaning] of spec.facts) {
    const pair = Object.assign(element("div"), { title: meaning });
    pair.append(element("dt", "", name), element("dd", "", value));
    list.append(pair);
  }
  return list;
}
function heading(spec) {
  const head = element("div", "head");
  head.append(element("h2", "", spec.name), element("div", "soft", spec.setting), facts(spec));
  return head;
}
function card(spec) {  // a run beyond the live ones: its picture, linked to its own page
  const link = element(spec.href ? "a" : "div", "card panel");
  if (spec.href) link.href = spec.href;
  link.append(heading(spec));
  if (spec.picture) link.append(Object.assign(element("img"), { src: spec.picture, alt: `embeddings of ${spec.name}` }));
  return link;
}
function curveLimits() {  // the same for all; before training classes overlap by far more than any margin: cut off
  const heights = [0, ...page.panels.flatMap(({ track }) => track ? [...track.values, track.predicted ?? 0] : [])];
  return [Math.max(Math.min(...heights), -Math.max(...heights, 10)), Math.max(...heights)];
}
function valueAt(curve, epoch) {
  const next = Math.max(1, curve.epochs.findIndex(e => e >= epoch));
  const [e0, e1] = curve.epochs.slice(next - 1), [v0, v1] = curve.values.slice(next - 1);
  return v0 + (v1 - v0) * Math.max(0, Math.min(1, (epoch - e0) / (e1 - e0)));
}
function track(svg, curve, epoch) {  // how the margin opened, with the predicted gap as a dashed line
  const width = svg.clientWidth || 400, height = 54, [low, high] = page.limits;
  const x = e => 8 + (width - 16) * Math.min(1, place(e) / (page.stops.length - 1));  // as the slider's thumb moves
  const y = value => height - 4 - (height - 24) * (Math.max(low, value) - low) / (high - low || 1);
  const shape = (tag, attributes) => {
    const made = document.createElementNS(svg.namespaceURI, tag);
    for (const key in attributes) made.setAttribute(key, attributes[key]);
    return made;
  };
  const level = (value, style) => shape("line", { x1: 8, x2: width - 8, y1: y(value), y2: y(value), ...style });
  const now = Math.min(epoch, curve.epochs.at(-1)), value = valueAt(curve, now), text = shape("text", { x: 8, y: 11 });
  text.textContent = `${curve.name} ${value.toFixed(1).replace("-", "−")}°` +
    (curve.predicted ? ` · predicted ${curve.predicted.toFixed(1)}° (dashed)` : "");
  const points = curve.epochs.map((e, i) => `${x(e)},${y(curve.values[i])}`).join(" ");
  svg.replaceChildren(text, level(0, { class: "zero" }),
    curve.predicted ? level(curve.predicted, { class: "promised" }) : "",
    shape("polyline", { points }),
    shape("circle", { cx: x(now), cy: y(value), r: 4.5 }));
}

// ---- hover --------------------------------------------------------------------------------------
let pointer = { clientX: 0, clientY: 0 };  // the spheres' hover events do not always say where
addEventListener("pointermove", event => { pointer = event; }, true);
const pictures = page.sprites.map(sprite => Object.assign(new Image(), { src: sprite.uri }));
function hover(panel, point) {
  const id = panel.image(point);
  if (id === undefined) return;
  const one = panel.about(id), title = element("b"), dot = element("i"), table = element("table"), side = element("div");
  dot.style.background = color(Math.max(0, one.label));
  title.append(dot, one.name);
  side.append(title, element("div", "soft", one.unseen ? "unseen class" : mistaken(one).slice(2)), table);
  const angles = panel.now.ids.indexOf(id) >= 0 && !one.unseen ? anglesOf(panel, panel.now.ids.indexOf(id)) : [];
  for (const [what, degrees] of angles) {
    const row = table.insertRow();
    for (const text of [what, `${degrees.toFixed(1)}°`]) row.insertCell().textContent = text;
  }
  const tip = $("tip");
  tip.replaceChildren(side);
  if (one.picture >= 0) tip.prepend(thumbnail(page.sprites[panel.spec.sprite], pictures[panel.spec.sprite], one.picture));
  tip.style.display = "flex";
  const { clientX, clientY } = pointer, box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(6, clientX + 18 + box.width > innerWidth ? clientX - 18 - box.width : clientX + 18)}px`;
  tip.style.top = `${Math.max(6, Math.min(clientY + 14, innerHeight - box.height - 6))}px`;
}
function anglesOf({ now, kind }, row) {
  const label = now.labels[row], dim = kind === sphere ? 3 : 2;
  let centre, own, rival, nearest;
  if (kind === flat) [[centre, own, nearest], rival] = [now.told.map(told => told[row] / 100), now.rival[row]];
  else {
    const directions = page.classes.map((_, other) => angle(now.units[row], at(now.directions, other, dim)));
    rival = page.classes.map((_, other) => other).filter(other => other !== label).sort((a, b) => directions[a] - directions[b])[0];
    [centre, own, nearest] = [angle(now.units[row], now.classes[label]?.mean ?? now.units[row].map(() => NaN)), directions[label], directions[rival]];
  }
  const others = page.classes.length > 1 ? [[`to that of ${page.short[rival]}${nearest < own ? " (nearer)" : ""}`, nearest]] : [];
  return [["to its class centre", centre], ["to its class direction", own], ...others];
}
function thumbnail({ width, height, columns }, picture, index) {
  const canvas = Object.assign(element("canvas"), { width, height });
  const left = index % columns * width, top = Math.floor(index / columns) * height;
  canvas.style.width = "84px";
  canvas.getContext("2d").drawImage(picture, left, top, width, height, 0, 0, width, height);
  return canvas;
}

// ---- the page: one set of classes, one camera, one slider for all panels --------------------------
let panels = [], spheres = [], position = 0, playing = false, spinning = false, held = null;
function place(epoch) {  // where on the slider, in stops
  const next = page.stops.findIndex(stop => stop >= epoch);
  if (next < 0) return page.stops.length - 1;
  return next ? next - 1 + (epoch - page.stops[next - 1]) / (page.stops[next] - page.stops[next - 1]) : 0;
}
function epochNow() {
  const low = Math.floor(position);
  if (low >= page.stops.length - 1) return Infinity;
  return page.stops[low] + (position - low) * (page.stops[low + 1] - page.stops[low]);
}
async function draw() {
  await Promise.all(panels.map(panel => panel.draw(epochNow())));
  $("slider").value = position;
  const epoch = Math.min(epochNow(), page.stops.at(-1)), total = Math.max(...page.panels.map(spec => spec.total));
  remember("epoch", epochNow() === Infinity ? null : epochNow().toFixed(1));
  const drawn = Math.max(...panels.map(panel => panel.now.labels.length)), count = n => n.toLocaleString("en");
  $("when").textContent = `epoch ${epoch.toFixed(0)} · ` +
    (drawn === total ? `all ${count(total)} samples` : `${count(drawn)} of ${count(total)} samples`);
}
async function seek(target, milliseconds) {  // glide there; a later call takes over
  const from = position, begin = performance.now(), mine = seek.latest = {};
  while (seek.latest === mine && position !== target) {
    const share = Math.min(1, (performance.now() - begin) / milliseconds);
    position = share === 1 ? target : from + (target - from) * share;
    await draw();
    await new Promise(requestAnimationFrame);
  }
  return seek.latest === mine;
}
async function play() {
  playing = !playing;
  $("play").textContent = playing ? "❚❚ Pause" : "▶ Play";
  if (!playing) { seek.latest = null; return; }
  const last = page.stops.length - 1;
  if (position === last) { position = 0; await draw(); await new Promise(done => setTimeout(done, 500)); }
  if (playing && await seek(last, (last - position) * 450)) { playing = false; $("play").textContent = "▶ Play"; }
}
function turn(azimuth, elevation) {  // every sphere at once, at most once a frame
  look.azimuth = azimuth;
  look.elevation = Math.max(-89, Math.min(89, elevation));
  remember("camera", Object.values(look).map(v => v.toFixed(2)).join());
  turn.waiting ??= requestAnimationFrame(() => {
    turn.waiting = null;
    for (const panel of spheres) Plotly.relayout(panel.plot, { "scene.camera": camera() });
  });
  clearTimeout(turn.names);
  turn.names = setTimeout(draw, 200);  // those of classes that are behind now are taken away
}
function zoom(factor) {
  look.zoom = Math.max(1, Math.min(20, look.zoom * factor));
  remember("camera", Object.values(look).map(v => v.toFixed(2)).join());
  for (const panel of spheres) Plotly.relayout(panel.plot, { "scene.aspectratio": cube() });
}
function grip(panel) {  // drag to turn: plotly's own way overshoots when frames are slow, and cannot be linked
  const { plot } = panel;
  plot.addEventListener("pointerdown", event => {
    held = { ...look, panel, x: event.clientX, y: event.clientY, scale: 160 / plot.clientHeight };
    if ($("lasso").getAttribute("aria-pressed") === "true") held.outline = [[held.x, held.y]];
    if (spinning) spin();
  }, true);
  plot.addEventListener("wheel", event => {
    if (panels.length > 1) return;  // there the page scrolls
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 800));
  }, { passive: false });
}
addEventListener("pointermove", event => {
  if (!held) return;
  $("tip").style.display = "none";
  if (held.outline) {
    held.outline.push([event.clientX, event.clientY]);
    return $("outline").firstElementChild.setAttribute("points", held.outline.join(" "));
  }
  turn(held.azimuth - (event.clientX - held.x) * held.scale, held.elevation + (event.clientY - held.y) * held.scale);
}, true);
addEventListener("pointerup", event => {
  const { panel, outline, x, y } = held ?? {};
  release();
  if (outline?.length > 2) lasso(panel, inside(panel, outline));
  else if (panel && Math.hypot(event.clientX - x, event.clientY - y) < 4) pick(panel, panel.under);
}, true);
addEventListener("pointercancel", release, true);
function release() {
  held = null;
  $("outline").firstElementChild.setAttribute("points", "");
}
function inside({ plot, now }, outline) {  // the images within corners on the screen, of those that can be seen
  const box = plot.getBoundingClientRect(), scale = box.height / 2 * look.zoom / 2.4;  // pixels: 2.4 is the axes' length
  const right = onSphere(look.azimuth + 90, 0), up = onSphere(look.azimuth, look.elevation + 90);
  const along = (axis, place) => scale * axis.reduce((sum, v, i) => sum + v * place[i], 0);
  const within = place => {
    const x = box.x + box.width / 2 + along(right, place), y = box.y + box.height / 2 - along(up, place);
    const crossed = outline.filter(([x0, y0], i) => {
      const [x1, y1] = outline.at(i - 1);
      return y0 > y !== y1 > y && x < x0 + (x1 - x0) * (y - y0) / (y1 - y0);
    });
    return crossed.length % 2 && !behind(place);
  };
  const others = now.others && strangers && !only ? now.others : { ids: [], spots: [] };
  return [...now.drawn.flat().filter(row => within(now.units[row])).map(row => now.ids[row]), ...others.ids.filter((_, i) => within(others.spots[i]))];
}
async function spin() {
  spinning = !spinning;
  $("spin").setAttribute("aria-pressed", spinning);
  $("spin").textContent = spinning ? "Stop" : "Spin";
  for (let last = performance.now(); spinning;) {
    const now = await new Promise(requestAnimationFrame);
    turn(look.azimuth + (now - last) * .018, look.elevation);
    last = now;
  }
}
function legend() {
  page.classes.forEach((name, label) => {
    const chip = element("button", "class"), dot = element("i");
    dot.style.background = color(label);
    chip.append(dot, name, element("small", "", page.counts[label].toLocaleString("en")));
    chip.title = "click: hide or show · double click: only this class";
    chip.onclick = () => { shown[label] = !shown[label]; refresh(); };
    chip.ondblclick = () => { shown.forEach((_, other) => { shown[other] = other === label; }); refresh(); };
    $("legend").append(chip);
  });
  if (page.classes.length > 12) $("legend").className = "long";
  refresh.chips = [...$("legend").children];
  const unseen = page.panels.find(spec => spec.unseen)?.unseen, chip = element("button", "class");
  if (!unseen) return;
  chip.append(element("i", "hollow"), "unseen classes", element("small", "", unseen.names.length.toLocaleString("en")));
  chip.onclick = () => { chip.setAttribute("aria-pressed", strangers = !strangers); draw(); };
  $("legend").append(chip);
}
function refresh() {
  refresh.chips.forEach((chip, label) => chip.setAttribute("aria-pressed", shown[label]));
  return draw();
}
function find(text) {  // only the classes whose names hold it
  const wanted = text.trim().toLowerCase();
  page.classes.forEach((name, label) => {
    shown[label] = name.toLowerCase().includes(wanted);
    refresh.chips[label].hidden = !shown[label];
  });
  remember("find", wanted);
}
function misclassified(wanted) {
  only = wanted;
  $("only").setAttribute("aria-pressed", only);
  remember("only", only ? "misclassified" : "");
}
async function start() {
  await choose();
  panels = page.panels.map(spec => new Panel(spec));
  spheres = panels.filter(panel => panel.kind === sphere);
  position = state.has("epoch") ? place(Number(state.get("epoch"))) : Math.max(0, page.stops.length - 1);
  document.querySelector("h1").textContent = page.title;
  $("subtitle").textContent = page.subtitle;
  const alone = page.panels.length + page.cards.length === 1;
  $("back").hidden = !page.back;
  $("back").href = page.back ?? "";
  const hand = alone ? "Drag and scroll to look closer." : spheres.length ? "Drag one sphere to turn them all." : "";
  document.querySelector("footer").textContent =
    `${page.notes} ${hand} Click a class to hide or show it, double click to see it alone.`;
  $("bar").hidden = document.querySelector("footer").hidden = !panels.length;
  $("only").hidden = !panels.some(panel => panel.final.predicted);
  $("find").hidden = page.classes.length < 6;
  if (alone) document.querySelector("header").append(facts(page.panels[0]));
  document.body.className = alone ? "alone" : "";
  $("panels").append(...panels.map(panel => panel.root), ...page.cards.map(card));
  $("player").hidden = page.stops.length < 2;
  $("slider").max = page.stops.length - 1;
  $("spin").hidden = $("glass").hidden = $("lasso").hidden = !spheres.length;
  $("slider").oninput = () => { if (playing) play(); seek(+$("slider").value, 250); };
  $("play").onclick = play;
  $("spin").onclick = spin;
  $("lasso").onclick = () => $("lasso").setAttribute("aria-pressed", $("lasso").getAttribute("aria-pressed") === "false");
  $("glass").onclick = () => {
    const glass = $("glass").getAttribute("aria-pressed") === "false";
    $("glass").setAttribute("aria-pressed", glass);
    for (const { plot } of spheres) Plotly.restyle(plot, { visible: !glass }, [plot.data.length - 1]);
    draw();
  };
  $("all").onclick = () => { $("find").value = ""; find(""); misclassified(false); refresh(); };
  $("find").oninput = () => { find($("find").value); refresh(); };
  $("only").onclick = () => { misclassified(!only); draw(); };
  document.querySelector("#tray .close").onclick = unchoose;
  $("reset").onclick = () => {
    turn(FIRST.azimuth, FIRST.elevation);
    zoom(FIRST.zoom / look.zoom);
    for (const { plot, kind } of panels) if (kind !== sphere) {
      const { xaxis, yaxis } = kind.layout();
      Plotly.relayout(plot, { "xaxis.range": xaxis.range, "yaxis.range": yaxis.range });
    }
    for (const key of ["view", "camera"]) remember(key, null);
  };
  addEventListener("resize", () => panels.forEach(panel => panel.svg && track(panel.svg, panel.spec.track, epochNow())));
  if (alone && panels[0].svg) $("rail").prepend(panels[0].svg);
  legend();
  await Promise.all(pictures.map(picture => picture.decode()));
  for (const panel of panels) await panel.start();
  if (state.has("find")) find($("find").value = state.get("find"));
  if (state.has("only")) misclassified(true);
  if (panels.length) await refresh();
  const [own, id] = numbersIn("image");
  if (panels[own]) pick(panels[own], id);
  document.body.dataset.ready = "yes";
}
addEventListener("click", event => { if (event.detail) event.target.closest?.("button")?.blur(); }, true);  // or space would press it again
addEventListener("keydown", event => {
  if (event.key === "Escape") {
    if (!$("tray").hidden) unchoose();
    else if (parent !== window) parent.postMessage("Escape", "*");  // the report's dialog
  }
  if (event.target.matches("input, button") || page.stops.length < 2) return;
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (by) seek(Math.max(0, Math.min(page.stops.length - 1, Math.round(position) + by)), 250);
  if (event.key === " ") play();
  if (by || event.key === " ") event.preventDefault();
});
start();
