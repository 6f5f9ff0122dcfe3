// ---- parallel coordinates: one line a run over settings and metrics ------------------------------
const parallel = { kept: new Map(), lines: [], changed: () => {} };

function parallelAxes() {
  const settings = report.settings.map(({ key, unit }, index) => ({ title: key, unit, value: run => run.settings[index] }));
  const metrics = report.metrics.flatMap((metric, index) => !metric.shown ? [] : ({ title: metric.title, unit: metric.unit, metric,
    value: run => isNumber(run.metrics[index]) ? run.metrics[index] * metric.factor : null }));
  return [...settings, ...metrics].filter(axis => new Set(report.runs.map(axis.value).filter(v => v !== null)).size > 1).map(axis => {
    const values = report.runs.map(axis.value).filter(value => value !== null);
    axis.numeric = values.every(isNumber);
    if (axis.numeric) {
      axis.low = Math.min(...values);
      axis.high = Math.max(...values);
      axis.ticks = niceTicks(axis.low, axis.high, 5).map(value => [minus(String(value)), (value - axis.low) / (axis.high - axis.low)]);
    } else {
      const names = [...new Set(values)].sort((a, b) => axis.title === "header"
        ? report.headers.indexOf(a) - report.headers.indexOf(b) : String(a).localeCompare(String(b), "en", { numeric: true }));
      axis.places = new Map(names.map((name, index) => [name, names.length > 1 ? 1 - index / (names.length - 1) : .5]));
      axis.ticks = [...axis.places].map(([name, share]) => [settingText(name), share]);
    }
    axis.share = run => {
      const value = axis.value(run);
      if (value === null) return null;
      return axis.numeric ? (value - axis.low) / (axis.high - axis.low) : axis.places.get(value);
    };
    return axis;
  });
}
function drawParallel() {
  const axes = parallelAxes(), height = 360, top = 40, step = 122, left = 92, width = left + (axes.length - 1) * step + 60;
  if (axes.length < 2 || report.runs.length < 2) { $("parallel").hidden = true; return; }
  const y = share => top + (1 - share) * (height - top - 16);
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img",
    "aria-label": `parallel coordinates of ${report.runs.length} runs over ${axes.map(axis => axis.title).join(", ")}` });
  root.style.setProperty("--faint", Math.max(.12, Math.min(.75, 12 / Math.sqrt(report.runs.length * 4))));
  const told = svg("text", { x: left, y: height + 4 });
  parallel.behind = svg("g");
  parallel.before = svg("g");
  for (const run of report.runs) {  // a gap where a run has no value, such as the margin of plain softmax
    let path = "", pen = "M";
    axes.forEach((axis, index) => {
      const share = axis.share(run);
      path += share === null ? "" : `${pen}${left + index * step},${y(share).toFixed(1)}`;
      pen = share === null ? "M" : "L";
    });
    const line = svg("path", { class: "run", d: path, style: own(run.header), onclick: () => view(run),
      onmouseenter: () => { line.classList.add("lit"); told.textContent = `${run.name}, seed ${settingText(run.seed)}`; },
      onmouseleave: () => { line.classList.remove("lit"); told.textContent = ""; } });
    parallel.lines.push({ run, line });
  }
  root.append(parallel.behind, parallel.before);
  axes.forEach((axis, index) => root.append(drawAxis(axis, left + index * step, y, height, top)));
  root.append(told);
  const letGo = el("button", { type: "button", id: "letgo", onclick: () => { parallel.kept.clear(); root.querySelectorAll(".kept").forEach(r => r.setAttribute("height", 0)); parallel.changed(); } }, "Let go of all axes");
  body("parallel").append(el("div", { class: "bar" }, letGo), el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "parallel coordinates" }, root));
}
function drawAxis(axis, x, y, height, top) {
  const kept = svg("rect", { class: "kept", x: x - 8, width: 16, y: top, height: 0 });
  const grip = svg("rect", { class: "grip", x: x - 16, width: 32, y: top - 6, height: height - top + 2 });
  const share = event => {
    const box = grip.getBoundingClientRect(), at = (event.clientY - box.top) / box.height * (height - top + 2) + top - 6;
    return Math.max(0, Math.min(1, 1 - (at - top) / (height - top - 16)));
  };
  let from = null;
  grip.addEventListener("pointerdown", event => { from = share(event); grip.setPointerCapture(event.pointerId); event.preventDefault(); });
  grip.addEventListener("pointermove", event => {
    if (from === null) return;
    const [low, high] = [from, share(event)].sort((a, b) => a - b);
    parallel.kept.set(axis, [low, high]);
    kept.setAttribute("y", y(high));
    kept.setAttribute("height", y(low) - y(high));
    parallel.changed();
  });
  grip.addEventListener("pointerup", event => {
    if (from !== null && Math.abs(share(event) - from) < .012) {
      parallel.kept.delete(axis);
      kept.setAttribute("height", 0);
      parallel.changed();
    }
    from = null;
  });
  const ticks = axis.ticks.map(([text, at]) => svg("text", { x: x - 7, y: y(at) + 4, "text-anchor": "end",
    style: "paint-order: stroke; stroke: var(--paper); stroke-width: 3px" }, text.length > 13 ? `${text.slice(0, 12)}…` : text));
  const title = axis.title.length > 19 ? `${axis.title.slice(0, 18)}…` : axis.title;
  return svg("g", {}, svg("line", { x1: x, x2: x, y1: y(1), y2: y(0), stroke: "var(--soft)" }), ticks,
    svg("text", { class: "title", x, y: 16, "text-anchor": "middle" }, title, svg("title", {}, axis.title)),
    svg("text", { x, y: 30, "text-anchor": "middle" }, axis.unit), kept, grip);
}
function fade(passes) {  // what is filtered out lies behind the rest
  for (const { run, line } of parallel.lines) {
    const out = !passes(run);
    line.classList.toggle("out", out);
    (out ? parallel.behind : parallel.before).append(line);
  }
}
const onKeptAxes = run => [...parallel.kept].every(([axis, [low, high]]) => {
  const share = axis.share(run);
  return share !== null && share >= low - 1e-9 && share <= high + 1e-9;
});
