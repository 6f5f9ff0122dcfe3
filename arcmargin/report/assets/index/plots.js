// ---- metrics against the margin: small multiples with error bars and the baselines' bands --------
const WIDTH = 340, HEIGHT = 226, LEFT = 50, RIGHT = 8, TOP = 8, BOTTOM = 40;

function niceTicks(low, high, most) {
  const rough = (high - low) / most || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map(n => n * power).find(n => n >= rough * .999);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) ticks.push(+(i * step).toPrecision(12));
  return ticks;
}
function marker(kind, x, y, size = 4) {
  const paths = [
    `M${x - size},${y}a${size},${size} 0 1,0 ${2 * size},0a${size},${size} 0 1,0 ${-2 * size},0`,
    `M${x - size},${y - size}h${2 * size}v${2 * size}h${-2 * size}z`,
    `M${x},${y - 1.3 * size}l${1.3 * size},${1.3 * size}l${-1.3 * size},${1.3 * size}l${-1.3 * size},${-1.3 * size}z`,
  ];
  return svg("path", { class: "mark", d: paths[kind % paths.length] });
}
const spread = (index, metric) => {  // [mean, half the interval or 0, told] of a configuration
  const [mean, half] = report.configurations[index].metrics[metric];
  const of = report.metrics[metric], one = report.configurations[index];
  const told = `${one.label}: ${shown(of, mean)}${isNumber(half) ? ` ± ${shown(of, half)}` : ""}${of.unit && ` ${of.unit}`}`;
  return { mean, half: half ?? 0, told: `${told} (${count(one.runs, "run")})` };
};
const isBaselineLine = index => report.configurations[index].header === "linear" ? "base linear" : "base";

function plot(context, axis, metric) {
  const of = report.metrics[metric];
  if (of.name === axis.key) return null;
  const lines = axis.lines.map(line => ({ ...line, points: line.members.map((index, i) => ({ at: line.at[i], ...spread(index, metric) }))
    .filter(point => isNumber(point.mean)) })).filter(line => line.points.length);
  if (!lines.length) return null;
  const baselines = (axis.key === "s" ? [] : context.baselines).map(index => ({ index, ...spread(index, metric) })).filter(b => isNumber(b.mean));
  const all = [...lines.flatMap(line => line.points), ...baselines];
  const [low, high] = limits(all, of);
  const at = lines.flatMap(line => line.points.map(point => point.at)), left = Math.min(...at), right = Math.max(...at);
  const x = value => LEFT + 12 + (WIDTH - LEFT - RIGHT - 24) * (right > left ? (value - left) / (right - left) : .5);
  const y = value => TOP + (HEIGHT - TOP - BOTTOM) * (1 - (value * of.factor - low) / (high - low));
  const parts = [svg("line", { class: "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM })];
  for (const tick of niceTicks(low, high, 5)) {
    const height = y(tick / of.factor);
    parts.push(svg("line", { class: "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: height, y2: height }),
      svg("text", { x: LEFT - 6, y: height + 4, "text-anchor": "end" }, minus(String(tick))));
  }
  for (const tick of niceTicks(left, right, 6))
    parts.push(svg("text", { x: x(tick), y: HEIGHT - BOTTOM + 16, "text-anchor": "middle" }, minus(String(tick))));
  parts.push(svg("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 4, "text-anchor": "middle" }, axis.title + (axis.unit && ` (${axis.unit})`)));
  const inside = [];
  for (const { index, mean, half, told } of baselines) {
    const style = own(report.configurations[index].header), top = y(mean + half);
    if (half) inside.push(svg("rect", { class: "band", style, x: LEFT, width: WIDTH - LEFT - RIGHT, y: top, height: y(mean - half) - top }));
    inside.push(svg("line", { class: isBaselineLine(index), style, x1: LEFT, x2: WIDTH - RIGHT, y1: y(mean), y2: y(mean) }, svg("title", {}, told)));
  }
  if (axis.key === "gap_predicted_deg" && /^gap_(min|mean)_deg$/.test(of.name)) inside.push(svg("line", { class: "predicted",
    x1: x(left), x2: x(right), y1: y(left), y2: y(right) }, svg("title", {}, "the gap that the margin predicts")));
  lines.forEach((line, place) => {
    const aside = (place - (lines.length - 1) / 2) * Math.min(3, 18 / lines.length), group = svg("g", { style: own(line.header) });
    group.append(svg("polyline", { class: `own dash${line.kind % 4}`, points: line.points.map(p => `${x(p.at) + aside},${y(p.mean)}`).join(" ") }));
    for (const point of line.points) {
      const across = x(point.at) + aside;
      if (point.half) group.append(svg("path", { class: "bars", d: `M${across},${y(point.mean - point.half)}V${y(point.mean + point.half)}` }));
      const dot = marker(line.kind, across, y(point.mean), line.points.length > 24 ? 2.4 : 4);
      dot.append(svg("title", {}, point.told));
      group.append(dot);
    }
    inside.push(group);
  });
  parts.push(clipped(LEFT, TOP, WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM, inside));
  return frame(of, `against ${axis.title}`, svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img",
    "aria-label": `${of.title} against ${axis.title}: ${all.map(p => p.told).join("; ")}` }, parts));
}
function limits(points, of) {  // intervals of two seeds may be huge: beyond the range of the means they are cut off
  const means = points.map(p => p.mean), least = Math.min(...means), most = Math.max(...means);
  const reach = most > least ? (most - least) : Math.abs(most) * .1 || 1;
  let low = Math.max(least - reach, Math.min(...points.map(p => p.mean - p.half)));
  let high = Math.min(most + reach, Math.max(...points.map(p => p.mean + p.half)));
  const room = (high - low) * .06 || Math.abs(high) * .1 || 1;
  return [(low - room) * of.factor, (high + room) * of.factor];
}
function clipped(x, y, width, height, parts) {
  return svg("svg", { x, y, width, height, viewBox: `${x} ${y} ${width} ${height}`, style: "overflow: hidden" }, parts);
}
function dots(context, metric) {  // without a margin that varies: one row a configuration
  const of = report.metrics[metric];
  const rows = context.members.map(index => ({ index, ...spread(index, metric) })).filter(row => isNumber(row.mean));
  if (!rows.length) return null;
  const step = 22, height = TOP + rows.length * step + 26, long = Math.max(...rows.map(row => report.configurations[row.index].label.length));
  const left = Math.min(210, 14 + 6.1 * long), letters = Math.floor((left - 14) / 6.1);
  const [low, high] = limits(rows, of);
  const x = value => left + (WIDTH - left - RIGHT) * (value * of.factor - low) / (high - low);
  const parts = niceTicks(low, high, 4).flatMap(tick => [
    svg("line", { class: "axis", x1: x(tick / of.factor), x2: x(tick / of.factor), y1: TOP, y2: height - 22 }),
    svg("text", { x: x(tick / of.factor), y: height - 7, "text-anchor": "middle" }, minus(String(tick)))]);
  rows.forEach(({ index, mean, half, told }, place) => {
    const { label, header } = report.configurations[index], middle = TOP + (place + .5) * step, style = own(header);
    if (context.baselines.includes(index)) {
      const from = Math.max(left, x(mean - half)), to = Math.min(WIDTH - RIGHT, x(mean + half));
      if (half) parts.push(svg("rect", { class: "band", style, x: from, width: to - from, y: TOP, height: rows.length * step }));
      parts.push(svg("line", { class: isBaselineLine(index), style, x1: x(mean), x2: x(mean), y1: TOP, y2: TOP + rows.length * step }));
    }
    const dot = marker(shape(header), x(mean), middle), wide = clipped(left, TOP, WIDTH - left - RIGHT, rows.length * step,
      half ? svg("path", { class: "bars", d: `M${x(mean - half)},${middle}H${x(mean + half)}` }) : []);
    dot.append(svg("title", {}, told));
    const name = label.length > letters ? `${label.slice(0, letters - 1)}…` : label;
    parts.push(svg("text", { x: left - 8, y: middle + 4, "text-anchor": "end" }, name, svg("title", {}, label)),
      svg("g", { style }, wide, dot));
  });
  return frame(of, "of each configuration", svg("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img",
    "aria-label": `${of.title} of each configuration: ${rows.map(row => row.told).join("; ")}` }, parts));
}
function frame(of, what, drawing) {
  return el("figure", {}, el("figcaption", { title: of.name }, of.title, unit(of)), drawing);
}
function legend(context, axis) {
  const lines = axis.lines.map(line => [line.label, line.header, null, line.kind]);
  const level = axis.key === "s" ? [] : context.baselines.map(index =>
    [`${report.configurations[index].label} (${report.configurations[index].header === "linear" ? "plain softmax" : "m = 0"})`,
      report.configurations[index].header, index, 0]);
  return el("ul", { class: "legend" }, [...lines, ...level].map(([label, header, index, kind]) =>
    el("li", {}, svg("svg", { viewBox: "0 0 26 14", style: own(header), "aria-hidden": "true" }, index === null
      ? [svg("line", { class: `own dash${kind % 4}`, x1: 0, x2: 26, y1: 7, y2: 7 }), marker(kind, 13, 7)]
      : svg("line", { class: isBaselineLine(index), x1: 0, x2: 26, y1: 7, y2: 7 })), label)),
    axis.key === "gap_predicted_deg" ? el("li", {}, svg("svg", { viewBox: "0 0 26 14", "aria-hidden": "true" },
      svg("line", { class: "predicted", x1: 0, x2: 26, y1: 12, y2: 2 })), "measured = predicted") : null);
}
// A header's second line, such as at another scale, has other marks and dashes.
for (const { axes } of report.contexts) for (const { lines } of axes) lines.forEach((line, place) => {
  line.kind = shape(line.header) + lines.slice(0, place).filter(other => other.header === line.header).length;
});
function margins() {
  const MOST_DOTS = 40;
  const choose = el("select", { id: "context", onchange: draw }), against = el("select", { id: "against", onchange: draw });
  const place = el("div");
  report.contexts.forEach((context, index) => choose.append(el("option", { value: index }, context.title || "all")));
  function offer() {
    const { axes } = report.contexts[choose.value], before = against.selectedOptions[0]?.textContent;
    against.replaceChildren(...axes.map((axis, index) => el("option", { value: index }, axis.title)), el("option", { value: -1 }, "each configuration"));
    [...against.options].forEach(option => { option.selected = option.textContent === before || option.selected; });
  }
  function draw(event) {
    if (event?.target !== against) offer();
    const context = report.contexts[choose.value], axis = context.axes[against.value];
    const drawn = report.metrics.map((_, index) => axis ? plot(context, axis, index)
      : dots({ ...context, members: context.members.slice(0, MOST_DOTS) }, index)).filter(Boolean);
    const cut = !axis && context.members.length > MOST_DOTS ? `The first ${MOST_DOTS} of ${context.members.length} configurations.` : null;
    place.replaceChildren(...[axis ? legend(context, axis) : null, cut && el("p", { class: "soft" }, cut),
      el("div", { class: "plots" }, drawn)].filter(Boolean));
  }
  draw();
  body("margins").append(
    el("p", { class: "soft" }, "Means over the seeds with their 95 % intervals. Dashed: the baseline at m = 0; dotted: plain softmax; their intervals are bands. Long intervals are cut off at the frame."),
    el("div", { class: "bar" }, el("label", { hidden: report.contexts.length < 2 }, "runs with", choose), el("label", {}, "against", against)), place);
}
