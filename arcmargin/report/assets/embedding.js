"use strict";
const page = JSON.parse(document.getElementById("data").textContent);
page.short = page.classes.map(name => name.length > 14 ? `${name.slice(0, 13)}…` : name);
const ESCAPES = { "&": "&amp;", "<": "&lt;", ">": "&gt;" };
const onPlot = page.short.map(name => name.replace(/[&<>]/g, char => ESCAPES[char]));  // plotly reads markup
const ROOM = page.short.some(name => name.length > 3) ? 2.1 : 1.62;  // half the width of the circle's plot
const $ = id => document.getElementById(id);
const shown = page.classes.map(() => true);
const DEGREE = Math.PI / 180, INK = "#222222", GAP = "#efeee8", OVERLAP = "#d7301f", FONT = "system-ui, Arial, sans-serif";

// ---- which runs: those of the address, such as #runs=0,4, or else the page's own choice -------------
async function choose() {
  const asked = /runs=([\d,]+)/.exec(location.hash)?.[1].split(",").map(Number).filter(i => page.runs[i]) ?? [];
  let contexts = 0;
  page.panels = [];
  page.cards = [];
  for (const run of (asked.length ? asked : page.shown).map(i => page.runs[i])) {
    const needed = page.contexts[run.dim] ?? Infinity, fits = contexts + needed <= page.most_contexts;
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
function rowsByClass(labels) {
  const rows = page.classes.map(() => []);
  labels.forEach((label, row) => rows[label].push(row));
  return rows;
}
function sample(spec) {  // the samples, and their moments
  const labels = unpack(spec.labels, Int32Array);
  return { labels, rows: rowsByClass(labels), images: spec.images && unpack(spec.images, Int32Array),
    epochs: spec.epochs, moments: spec.moments.map(momentOf) };
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
  return { points: between(a.points, b.points, share), directions: between(a.directions, b.directions, share),
    heights: a.heights && between(a.heights, b.heights, share), classes: a.classes.map((one, label) => glideClass(one, b.classes[label], share)) };
}
function glideClass(a, b, share) {
  if (!a || !b) return share < .5 ? a : b;
  const made = { label: a.label, mean: unit(between(a.mean, b.mean, share)) };
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
    const per = make => page.classes.map((name, label) => make(page.colors[label], label));
    const lines = { type: "scatter", mode: "lines", hoverinfo: "skip" };
    return [
      ...per(color => ({ type: "scattergl", mode: "markers", hoverinfo: "none",
        marker: { color, size: 4 * dotSize(spec), opacity: .6 } })),
      ...per(color => ({ ...lines, fill: "toself", fillcolor: color + "55", line: { color, width: 1.2 } })),
      { ...lines, fill: "toself", fillcolor: GAP, line: { width: 0 } },
      { ...lines, line: { color: OVERLAP, width: 4 } },
      { ...lines, line: { color: INK, width: 1.6 } },
      { ...lines, line: { color: INK, width: 1 } },
      { ...lines, mode: "text", textfont: { size: 12, family: FONT } },
      { ...lines, mode: "text", cliponaxis: false, textfont: { size: 14, family: FONT, weight: 700 } },
    ];
  },
  layout() {
    const axis = { visible: false, constrain: "domain" };
    return { dragmode: "pan", xaxis: { ...axis, range: [-ROOM, ROOM] },
      yaxis: { ...axis, range: [-1.62, 1.62], scaleanchor: "x" } };
  },
  frame(moment, units, spec) {
    const found = moment.classes;
    const dots = page.classes.map((_, label) => corona(units, moment.heights, found[label] ? moment.rows[label] : []));
    const sectors = found.map((arc, label) => arc && shown[label] ? line([[0, 0],
      ...sweep(arc.centre + arc.low, arc.centre + arc.high, 1), [0, 0], null, [0, 0], polar(arc.centre, 1)]) : line([]));
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
    const update = [...dots, ...sectors, line(wedges), line(overlaps), line(ticks), line(marks), numbers, names];
    return { x: update.map(t => t.x), y: update.map(t => t.y), text: update.map(t => t.text ?? ""),
      "textfont.color": update.map(t => t.color ?? INK), textposition: update.map(t => t.place ?? "middle center") };
  },
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
function corona(units, heights, members) {
  const x = [], y = [];
  for (const row of members) {
    const degrees = Math.atan2(units[row][1], units[row][0]) / DEGREE, height = .03 + .42 * heights[row] / 255;
    // The golden ratio spreads the dots evenly and leaves each at its share of the height.
    const [px, py] = polar(degrees, 1.012 + height * (row * .618034 % 1));
    x.push(px); y.push(py);
  }
  return { x, y };
}

// ---- 3-D: a globe, opaque until asked to be glass --------------------------------------------------
const sphere = {
  traces(spec) {
    const many = page.panels.length > 1, lines = { type: "scatter3d", mode: "lines", hoverinfo: "skip" };
    return [
      ...page.colors.map(color => ({ type: "scatter3d", mode: "markers", hoverinfo: "none",  // circles draw far slower
        marker: { color, symbol: "diamond", size: 1.7 * dotSize(spec), line: { width: 0 } } })),
      { ...lines, line: { width: 4 } },
      { ...lines, mode: "markers",
        marker: { color: "#ffffff", size: many ? 4 : 5, symbol: "diamond", line: { color: INK, width: 2 } } },
      { ...lines, mode: "text", textfont: { size: many ? 15 : 20, weight: 700, family: "Arial, sans-serif", color: INK } },
      { ...lines, ...graticule(), line: { color: "#c9ccd1", width: 1 } },
      { type: "mesh3d", ...globe(), color: "#f6f7f9", hoverinfo: "skip",
        lighting: { ambient: .93, diffuse: .12, specular: 0 } },
    ];
  },
  layout() {
    const axis = { visible: false, range: [-1.2, 1.2], showspikes: false };
    return { scene: { xaxis: axis, yaxis: axis, zaxis: axis, aspectmode: "manual", aspectratio: cube(),
      dragmode: false, camera: camera() } };
  },
  frame(moment, units) {
    const dots = moment.rows.map(members => line(members.map(row => units[row])));
    const caps = [], colors = [], names = { x: [], y: [], z: [], text: [] };
    moment.classes.forEach((one, label) => {
      if (!one || !shown[label]) return;
      const { mean, radius } = one, ring = cap(mean, radius);
      caps.push(...ring, null);
      colors.push(...Array(ring.length + 1).fill(page.colors[label]));
      const place = cap(mean, radius + 2)[45];  // above the ring
      ["x", "y", "z"].forEach((axis, i) => names[axis].push(1.16 * place[i]));
      names.text.push(moment.rows.length > 40 ? "" : onPlot[label]);
    });
    const directions = page.classes.flatMap((_, label) =>
      shown[label] ? [at(moment.directions, label, 3).map(v => 1.03 * v)] : []);
    const update = [...dots, line(caps), line(directions), names];
    return { x: update.map(t => t.x), y: update.map(t => t.y), z: update.map(t => t.z),
      text: update.map(t => t.text ?? ""),
      "line.color": update.map((_, i) => i === page.classes.length ? colors : INK) };
  },
};
const FIRST = { azimuth: 29, elevation: 23, zoom: 1.85 };
const look = { ...FIRST };  // degrees; one look for all spheres
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
    this.kind = spec.dim === 2 ? circle : sphere;
    this.final = sample(spec.final);
    this.replay = spec.replay && sample(spec.replay);
    this.root = element("section", "panel");
    if (page.panels.length + page.cards.length > 1) this.root.append(heading(spec));
    this.plot = element("div", "plot");
    this.root.append(this.plot);
    this.svg = spec.track && this.root.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "svg"));
    this.svg?.setAttribute("class", "track");
  }
  async start() {
    const layout = { margin: { l: 0, r: 0, t: 0, b: 0 }, showlegend: false, hovermode: "closest", paper_bgcolor: "#fff",
      plot_bgcolor: "#fff", uirevision: 1, ...this.kind.layout() };
    const config = { displayModeBar: false, responsive: true, scrollZoom: page.panels.length === 1, doubleClick: false,
      plotGlPixelRatio: Math.max(1, devicePixelRatio) };
    await Plotly.newPlot(this.plot, this.kind.traces(this.spec), layout, config);
    this.plot.on("plotly_hover", event => hover(this, event));
    this.plot.on("plotly_unhover", () => { $("tip").style.display = "none"; });
    if (this.kind === sphere) grip(this.plot);
  }
  moment(epoch) {  // from the last snapshot on: the whole test split
    const all = this.replay, final = this.final;
    if (!all || epoch >= all.epochs.at(-1)) return { ...final, ...final.moments[0] };
    const next = Math.max(1, all.epochs.findIndex(e => e > epoch));
    const share = Math.max(0, (epoch - all.epochs[next - 1]) / (all.epochs[next] - all.epochs[next - 1]));
    return { ...all, ...glide(all.moments[next - 1], all.moments[next], share) };
  }
  draw(epoch) {
    const moment = this.now = this.moment(epoch), dim = this.spec.dim;
    moment.units = Array.from(moment.labels, (_, row) => at(moment.points, row, dim));
    const update = this.kind.frame(moment, moment.units, this.spec);
    update.visible = update.x.map((_, trace) => shown[trace] ?? true);
    if (this.svg) track(this.svg, this.spec.track, epoch);
    return Plotly.restyle(this.plot, update, update.x.map((_, trace) => trace));
  }
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
function hover(panel, event) {
  const point = event.points[0], label = point.curveNumber, now = panel.now;
  if (label >= page.classes.length) return;
  const row = now.rows[label][point.pointNumber], own = now.units[row], dim = panel.spec.dim;
  const directions = page.classes.map((_, other) => angle(own, at(now.directions, other, dim)));
  const others = page.classes.map((_, other) => other).filter(other => other !== label);
  const rival = others.sort((a, b) => directions[a] - directions[b])[0];
  const title = element("b"), dot = element("i"), table = element("table"), side = element("div");
  dot.style.background = page.colors[label];
  title.append(dot, page.classes[label]);
  const tell = (what, degrees) => {
    const row = table.insertRow();
    for (const text of [what, `${degrees.toFixed(1)}°`]) row.insertCell().textContent = text;
  };
  tell("to its class centre", angle(own, now.classes[label]?.mean ?? own.map(() => NaN)));
  tell("to its class direction", directions[label]);
  const nearer = directions[rival] < directions[label] ? " (nearer)" : "";
  if (others.length) tell(`to that of ${page.short[rival]}${nearer}`, directions[rival]);
  side.append(title, table);
  const tip = $("tip");
  tip.replaceChildren(side);
  const image = now.images ? now.images[row] : -1;
  if (image >= 0) tip.prepend(thumbnail(page.sprites[panel.spec.sprite], pictures[panel.spec.sprite], image));
  tip.style.display = "flex";
  const { clientX, clientY } = pointer, box = tip.getBoundingClientRect();
  tip.style.left = `${clientX + 18 + box.width > innerWidth ? clientX - 18 - box.width : clientX + 18}px`;
  tip.style.top = `${Math.max(6, Math.min(clientY + 14, innerHeight - box.height - 6))}px`;
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
  turn.waiting ??= requestAnimationFrame(() => {
    turn.waiting = null;
    for (const panel of spheres) Plotly.relayout(panel.plot, { "scene.camera": camera() });
  });
}
function zoom(factor) {
  look.zoom = Math.max(1, Math.min(20, look.zoom * factor));
  for (const panel of spheres) Plotly.relayout(panel.plot, { "scene.aspectratio": cube() });
}
function grip(plot) {  // drag to turn: plotly's own way overshoots when frames are slow, and cannot be linked
  plot.addEventListener("pointerdown", event => {
    held = { ...look, x: event.clientX, y: event.clientY, scale: 160 / plot.clientHeight };
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
  turn(held.azimuth - (event.clientX - held.x) * held.scale, held.elevation + (event.clientY - held.y) * held.scale);
}, true);
for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => { held = null; }, true);
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
    dot.style.background = page.colors[label];
    chip.append(dot, name, element("small", "", page.counts[label].toLocaleString("en")));
    chip.title = "click: hide or show · double click: only this class";
    chip.onclick = () => { shown[label] = !shown[label]; refresh(); };
    chip.ondblclick = () => { shown.forEach((_, other) => { shown[other] = other === label; }); refresh(); };
    $("legend").append(chip);
  });
  if (page.classes.length > 12) $("legend").className = "long";
  refresh.chips = [...$("legend").children];
}
function refresh() {
  refresh.chips.forEach((chip, label) => chip.setAttribute("aria-pressed", shown[label]));
  return draw();
}
async function start() {
  await choose();
  panels = page.panels.map(spec => new Panel(spec));
  spheres = panels.filter(panel => panel.kind === sphere);
  position = Math.max(0, page.stops.length - 1);
  document.querySelector("h1").textContent = page.title;
  $("subtitle").textContent = page.subtitle;
  const alone = page.panels.length + page.cards.length === 1;
  $("back").hidden = !page.back;
  $("back").href = page.back ?? "";
  const hand = alone ? "Drag and scroll to look closer." : spheres.length ? "Drag one sphere to turn them all." : "";
  document.querySelector("footer").textContent =
    `${page.notes} ${hand} Click a class to hide or show it, double click to see it alone.`;
  $("bar").hidden = document.querySelector("footer").hidden = !panels.length;
  if (alone) document.querySelector("header").append(facts(page.panels[0]));
  document.body.className = alone ? "alone" : "";
  $("panels").append(...panels.map(panel => panel.root), ...page.cards.map(card));
  $("player").hidden = page.stops.length < 2;
  $("slider").max = page.stops.length - 1;
  $("spin").hidden = $("glass").hidden = !spheres.length;
  $("slider").oninput = () => { if (playing) play(); seek(+$("slider").value, 250); };
  $("play").onclick = play;
  $("spin").onclick = spin;
  $("glass").onclick = () => {
    const glass = $("glass").getAttribute("aria-pressed") === "false";
    $("glass").setAttribute("aria-pressed", glass);
    for (const { plot } of spheres) Plotly.restyle(plot, { visible: !glass }, [plot.data.length - 1]);
  };
  $("all").onclick = () => { shown.fill(true); refresh(); };
  $("reset").onclick = () => {
    turn(FIRST.azimuth, FIRST.elevation);
    zoom(FIRST.zoom / look.zoom);
    for (const { plot, kind } of panels) if (kind === circle)
      Plotly.relayout(plot, { "xaxis.range": [-ROOM, ROOM], "yaxis.range": [-1.62, 1.62] });
  };
  addEventListener("resize", () => panels.forEach(panel => panel.svg && track(panel.svg, panel.spec.track, epochNow())));
  if (alone && panels[0].svg) $("rail").prepend(panels[0].svg);
  legend();
  for (const panel of panels) await panel.start();
  if (panels.length) await refresh();
  document.body.dataset.ready = "yes";
}
start();
