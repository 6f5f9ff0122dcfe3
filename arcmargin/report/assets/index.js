const report = JSON.parse(document.getElementById("data").textContent);
const $ = id => document.getElementById(id);
const part = (section, name) => $(section).querySelector(name);
function element(tag, attributes, ...children) {
  const made = Object.assign(document.createElement(tag), attributes);
  made.append(...children);
  return made;
}
const escaped = text => element("i", { textContent: text }).innerHTML.replace(/"/g, "&quot;");
const minus = text => text.replace(/^-/, "−");
function shown(metric, value) {
  const scaled = value * metric.factor;
  return minus(metric.digits === null ? String(+scaled.toPrecision(4)) : scaled.toFixed(metric.digits));
}

// ---- the address keeps the filter, the order, the brush and the open run -------------------------------
const state = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
function remember(key, value) {
  if ((state.get(key) ?? "") === (value ?? "")) return;
  if (value) state.set(key, value);
  else state.delete(key);
  clearTimeout(remember.later);
  remember.later = setTimeout(() => history.replaceState(null, "", state.size ? `#${state}` : location.pathname), 200);
}

const follow = () => document.documentElement.classList.toggle("dark", dark.matches);  // as DataTables asks
follow();
dark.addEventListener("change", follow);

// ---- tables ------------------------------------------------------------------------------------------
const source = new Blob([$("datatables").textContent], { type: "text/javascript" });
const { default: DataTable } = await import(URL.createObjectURL(source));
const missing = value => value === null || value === undefined || value === "" || value === "–";
function compare(a, b, sign) {  // what is missing comes last, whichever way
  if (missing(a) || missing(b)) return missing(a) - missing(b);
  if (typeof a === "number" && typeof b === "number") return sign * (a - b);
  return sign * String(a).localeCompare(String(b), "en", { numeric: true });
}
Object.assign(DataTable.ext.type.order, { "value-asc": (a, b) => compare(a, b, 1), "value-desc": (a, b) => compare(a, b, -1) });

const curve = ([, corners, words]) => corners === "–" ? corners
  : `<svg class="curve" viewBox="0 0 100 26" preserveAspectRatio="none" role="img" aria-label="${words}"><title>${words}</title><polyline points="${corners}"/></svg>`;
function column({ title, unit, kind, tip, better, hidden }, index) {
  return {
    title: `<span title="${escaped(tip)}">${escaped(title)}${unit && ` <span class="unit">${escaped(unit)}</span>`}</span>`, type: "value", visible: !hidden,
    className: kind === "number" ? "dt-right" : "", orderSequence: better > 0 ? ["desc", "asc"] : ["asc", "desc"],
    data: row => row.cells[index], defaultContent: "",
    render: (cell, type) => type === "sort" || type === "type" ? cell[0] : type === "filter" ? "" : kind === "curve" ? curve(cell) : cell[1],  // apply() filters
  };
}
const stripped = document.createElement("template");
function plain(cell, kind) {  // what a reader sees of a cell
  if (kind === "curve" || typeof cell[1] === "number") return String(cell[0] ?? "");
  stripped.innerHTML = cell[1];
  return stripped.content.textContent.replace(/−/g, "-");
}
function table(name, { columns, rows }, more = {}) {
  const place = part(name, "table"), first = more.select ? [{ data: null, defaultContent: "", orderable: false, render: DataTable.render.select() }] : [];
  const key = `${name} order`, kept = (state.get(key) ?? "").split(",").filter(Boolean).map((part, i) => i ? part : Number(part));
  const choosable = columns.flatMap((one, index) => "hidden" in one ? [index + first.length] : []);
  const made = new DataTable(place, {
    data: rows, columns: [...first, ...columns.map(column)], order: kept.length ? [kept] : [], pageLength: 50, lengthMenu: [10, 50, 200, { label: "all", value: -1 }],
    scrollX: true, scrollCollapse: true, deferRender: true, autoWidth: false, fixedColumns: innerWidth > 640 ? { start: first.length + 1 } : false,
    layout: { topStart: choosable.length ? { buttons: [{ extend: "colvis", text: "Metrics shown", columns: choosable }] } : null, topEnd: null,
      bottomStart: rows.length > 10 ? "info" : null, bottomEnd: rows.length > (more.pageLength ?? 50) ? ["pageLength", "paging"] : null },
    language: { emptyTable: "Nothing here.", zeroRecords: "No run passes the filter.", info: "_START_ to _END_ of _TOTAL_", infoFiltered: "(of _MAX_)", lengthMenu: "_MENU_ a page" },
    ...more,
  });
  made.on("order", () => remember(key, (made.order()[0] ?? []).slice(0, 2).join()));
  place.closest(".dt-container").addEventListener("click", event => {
    const row = event.target.closest("tbody tr"), opens = event.target.closest(".open, .thumbnail");
    if (row && opens) view(made.row(row).data());
  });
  return made;
}
const configurations = table("configurations", report.tables.configurations, { select: { style: "multi", selector: "td:first-child", selectable: row => row.compare !== null, info: false } });
const runs = table("runs", report.tables.runs);

// ---- which configurations stand side by side ---------------------------------------------------------
configurations.on("select deselect", () => {
  const chosen = configurations.rows({ selected: true }).data().toArray().map(row => row.compare);
  $("compare").href = "compare.html" + (chosen.length ? `#runs=${chosen.join(",")}` : "");
  $("compared").textContent = chosen.length ? `${chosen.length} chosen` : "tick configurations to choose which";
});

// ---- filter: words, and conditions such as accuracy>93 or header=arcface -----------------------------
const spelled = text => text.toLowerCase().replace(/[\s_]+/g, "_");
const known = report.tables.runs.columns.flatMap(({ name, title }, index) => [[spelled(name), index], [spelled(title), index]]);
const indexOf = key => (known.find(([name]) => name === spelled(key)) ?? known.find(([name]) => name.startsWith(spelled(key))))?.[1];
const TESTS = { "=": order => order === 0, "!=": order => order !== 0, "<": order => order < 0, ">": order => order > 0, "<=": order => order <= 0, ">=": order => order >= 0 };
function condition(word) {
  const [, key, sign, wanted] = /^([\w.@-]+)(<=|>=|!=|=|<|>)(.+)$/.exec(word) ?? [];
  if (!key) return { passes: row => row.words.includes(word.toLowerCase()) };
  const index = indexOf(key);
  if (index === undefined) return { passes: () => true, problem: `no column ${key}` };
  const number = Number(wanted);
  return { passes: ({ texts }) => {
    const text = texts[index], value = parseFloat(text);
    if (missing(text)) return false;
    const order = Number.isNaN(number) || Number.isNaN(value) ? compare(text.toLowerCase(), wanted.toLowerCase(), 1) : value - number;
    return TESTS[sign](order);
  } };
}
const readable = report.tables.runs.rows.map(row => {
  const texts = row.cells.map((cell, index) => plain(cell, report.tables.runs.columns[index].kind));
  const values = row.cells.map((cell, index) => typeof cell[0] === "string" ? cell[0] : texts[index]);  // to choose from
  return { texts, values, words: [...texts, row.about].join(" ").toLowerCase() };
});
const kept = new Map();  // of an axis: the values between which a run is kept
function apply() {
  const conditions = $("filter").value.split(/\s+/).filter(Boolean).map(condition);
  const chosen = [...document.querySelectorAll("#runs .bar select")].filter(one => one.value);
  runs.search.fixed("kept", (text, row, index) =>
    conditions.every(one => one.passes(readable[index])) && chosen.every(one => readable[index].values[one.dataset.index] === one.value) &&
    [...kept].every(([axis, ranges]) => ranges.some(([low, high]) => { const at = report.parallel.data[0].dimensions[axis].values[index]; return at >= low && at <= high; }))).draw();
  remember("filter", $("filter").value);
  remember("brush", [...kept].map(([axis, ranges]) => [axis, ...ranges.flat().map(value => +value.toPrecision(6))].join()).join(";"));
  for (const { dataset, value } of document.querySelectorAll("#runs .bar select")) remember(report.tables.runs.columns[dataset.index].name, value);
  const left = runs.rows({ search: "applied" }).count(), all = report.tables.runs.rows.length, problem = conditions.find(one => one.problem)?.problem;
  part("runs", "output").textContent = problem ?? (left === all ? `${all.toLocaleString("en")} runs` : `${left.toLocaleString("en")} of ${all.toLocaleString("en")} runs`);
}
report.tables.runs.columns.forEach(({ choice, title }, index) => {
  const values = choice ? [...new Set(readable.map(row => row.values[index]))].sort((a, b) => compare(a, b, 1)) : [];
  if (values.length < 2) return;
  const options = ["", ...values].map(value => element("option", { value, textContent: value || "all" }));
  const select = element("select", { onchange: apply, value: "" }, ...options);
  if (values.includes(state.get(report.tables.runs.columns[index].name))) select.value = state.get(report.tables.runs.columns[index].name);
  select.dataset.index = index;
  $("clear").before(element("label", {}, title, select));
});
$("filter").value = state.get("filter") ?? "";
$("filter").oninput = apply;
$("clear").onclick = () => {
  $("filter").value = "";
  document.querySelectorAll("#runs .bar select").forEach(select => { select.value = ""; });
  if (kept.size) kept.clear(), drawParallel();
  apply();
};
const brushed = (state.get("brush") ?? "").split(";").filter(Boolean).map(part => part.split(",").map(Number));

// ---- all runs in parallel coordinates; keeping a part of an axis filters the table of runs -----------
function drawParallel() {
  const figure = structuredClone(report.parallel), place = part("parallel", ".plot");
  for (const [axis, ranges] of kept) figure.data[0].dimensions[axis].constraintrange = ranges;
  place.style.minWidth = `${110 * figure.data[0].dimensions.length}px`;
  Plotly.purge(place);
  draw(place, figure);
  place.on("plotly_restyle", () => {
    place.data[0].dimensions.forEach(({ constraintrange: range }, axis) => {
      if (range?.length) kept.set(axis, Array.isArray(range[0]) ? range : [range]);
      else kept.delete(axis);
    });
    apply();
  });
}
if (report.parallel) {
  for (const [axis, ...ends] of brushed) {
    const ranges = ends.flatMap((low, i) => i % 2 ? [] : [[low, ends[i + 1]]]);
    if (report.parallel.data[0].dimensions[axis]) kept.set(axis, ranges);
  }
  drawParallel();
} else $("parallel").hidden = true;

// ---- metrics against the margin ------------------------------------------------------------------------
const choice = (name, titles, change) => {
  const select = element("select", { onchange: change }, ...titles.map((title, value) => element("option", { value, textContent: title })));
  return [select, element("label", { hidden: titles.length < 2 }, name, select)];
};
const heading = ({ title, unit, tip }) => element("figcaption", { title: tip }, title, element("span", { className: "unit", textContent: unit && ` ${unit}` }));
const metricOf = name => report.metrics.find(one => one.name === name);
function margins() {
  let against, label;
  const [where, whereLabel] = choice("runs with", report.charts.map(one => one.title), offer);
  function offer() {
    const before = against?.selectedOptions[0]?.textContent, { axes } = report.charts[where.value];
    label?.remove();
    [against, label] = choice("against", axes.map(axis => axis.title), show);
    against.value = Math.max(0, axes.findIndex(axis => axis.title === before));
    part("margins", ".bar").append(label);
    show();
  }
  function show() {
    const { legend, figures: drawn } = report.charts[where.value].axes[against.value];
    part("margins", ".legend").replaceChildren(...legend.map(({ label, colour, dash }) => {
      const line = element("i", { className: `line ${dash}` });
      line.style.setProperty("--own", colour);
      return element("li", {}, line, label);
    }));
    const places = drawn.map(({ metric }) => element("figure", {}, heading(metricOf(metric)), element("div", { className: "plot" })));
    part("margins", ".plots").replaceChildren(...places);
    drawn.forEach(({ figure }, index) => draw(places[index].lastChild, figure));
  }
  part("margins", ".bar").append(whereLabel);
  offer();
}
margins();

// ---- differences larger than the noise -----------------------------------------------------------------
function differences() {
  if (!report.differences.length) {
    $("caveat").textContent = "Nothing to compare: that takes two configurations with runs of the same seed, such as header=normface,arcface seeds=3.";
    part("differences", "table").remove();
    return;
  }
  const [kind, kindLabel] = choice("compared", report.differences.map(one => one.kind), offer);
  let which, label, listed;
  function offer() {
    const { metrics } = report.differences[kind.value], before = which ? metrics[which.value]?.metric : report.headline;
    label?.remove();
    [which, label] = choice("metric", metrics.map(one => metricOf(one.metric).title), show);
    which.value = Math.max(0, metrics.findIndex(one => one.metric === before));
    part("differences", ".bar").append(label);
    show();
  }
  function show() {
    const { metric: name, caveat, tests } = report.differences[kind.value].metrics[which.value], metric = metricOf(name);
    const larger = tests.filter(test => test.at(-1)).length, tested = tests.some(test => test[5] !== null);
    const answer = larger ? `${larger} of ${tests.length} ${larger === 1 ? "is" : "are"} larger than the noise of the seeds.`
      : tested ? `None of ${tests.length} is larger than the noise of the seeds.` : "No test is possible.";
    $("caveat").replaceChildren(element("b", { textContent: answer }), " ", caveat);
    const columns = ["this", "less that", "is", "mean difference", "p corrected", "p alone", "seeds"].map((title, index) => ({
      name: title, title, unit: index === 3 ? (metric.unit === "%" ? "points" : metric.unit) : "", kind: index > 2 ? "number" : "text",
      tip: ["", "", "", "± the 95 % interval of this one difference, not corrected", "Holm: for the number of comparisons", "", ""][index] }));
    const p = value => value === null ? [null, "–"] : [value, value < .001 ? "&lt; 0.001" : value.toFixed(3)];
    const rows = tests.map(([first, second, seeds, mean, half, alone, corrected, clear]) => ({ cells: [
      named(first), named(second), verdict(metric, mean, alone, clear),
      [mean, shown(metric, mean) + (half === null ? "" : `<span class="spread"> ± ${shown(metric, half)}</span>`)], p(corrected), p(alone), [seeds, seeds]] }));
    listed?.destroy();
    part("differences", "table").replaceChildren();
    listed = table("differences", { columns, rows }, { pageLength: 10 });
    draw(part("differences", ".forest"), forest(metric, tests.slice(0, 40)));
  }
  part("differences", ".bar").append(kindLabel);
  offer();
}
function named(index) {
  const { label, colour } = report.configurations[index];
  return [label, `<i class="swatch" style="--own: ${colour}"></i> ${escaped(label)}`];
}
function verdict(metric, mean, alone, clear) {
  if (!clear) return [null, alone === null ? "not tested" : "not shown"];
  const good = mean * (metric.better || 1) > 0;
  return [mean * (metric.better || 1), metric.better ? `<b class="${good ? "good" : "bad"}">${good ? "better" : "worse"}</b>` : good ? "higher" : "lower"];
}
function forest(metric, tests) {  // the first forty, with the interval of each
  const names = tests.map(([first, second]) => `${escaped(report.configurations[first].label)} − ${escaped(report.configurations[second].label)}`);
  const trace = (test, index) => ({ type: "scatter", mode: "markers", x: [test[3] * metric.factor], y: [names[index]], hovertemplate: "%{x:.3~f}<extra></extra>",
    error_x: { type: "data", array: [(test[4] ?? 0) * metric.factor], visible: test[4] !== null },
    marker: { color: report.configurations[test[0]].colour, size: 8, symbol: test.at(-1) ? "circle" : "circle-open" } });
  return { data: tests.map(trace), layout: { height: 90 + 22 * tests.length, showlegend: false, hovermode: "closest", margin: { l: 10, r: 10, t: 6, b: 60 },
    xaxis: { title: { text: `difference of ${metric.title}${metric.unit && ` (${metric.unit === "%" ? "points" : metric.unit})`}<br>filled: larger than the noise` }, zerolinewidth: 2 },
    yaxis: { autorange: "reversed", automargin: true } } };
}
differences();

// ---- one run: its interactive view, its numbers, its curves ----------------------------------------------
let viewed = null;
const order = () => runs.rows({ search: "applied", order: "applied" }).data().toArray();
function view(row) {
  viewed = "run" in row ? report.tables.runs.rows[row.run] : row;
  const { columns } = report.tables.runs;
  $("viewed").textContent = viewed.cells[0][0];
  part("viewer", "p").textContent = viewed.about;
  const facts = viewed.cells.flatMap((cell, index) => index === 0 || columns[index].kind === "curve" || missing(cell[1]) ? [] : [
    element("div", { title: columns[index].tip }, element("dt", { textContent: columns[index].title }), element("dd", { innerHTML: `${cell[1]} ${columns[index].unit}` }))]);
  const curves = viewed.cells.flatMap((cell, index) => columns[index].kind !== "curve" || missing(cell[1]) ? [] : [
    element("div", { innerHTML: curve(cell) }, element("div", { className: "soft", textContent: `${columns[index].title}, ${cell[2]}` }))]);
  const picture = viewed.page ? element("iframe", { src: viewed.page, title: `embeddings of ${viewed.cells[0][0]}` })
    : viewed.picture ? element("img", { src: viewed.picture, alt: `embeddings of ${viewed.cells[0][0]}` }) : "";
  const links = [["page", "in a tab of its own"], ["picture", "picture"], ["traceback", "traceback"], ["folder", "folder"]].flatMap(([key, text]) =>
    viewed[key] ? [element("a", { href: viewed[key], target: "_blank", textContent: text }), " "] : []);
  part("viewer", ".view").replaceChildren(element("dl", {}, ...facts), picture, element("div", { className: "curves" }, ...curves), element("p", {}, ...links));
  const at = order().indexOf(viewed);
  $("before").disabled = at <= 0;
  $("after").disabled = at < 0 || at === order().length - 1;
  remember("run", `${1 + report.tables.runs.rows.indexOf(viewed)}`);
  if (!$("viewer").open) $("viewer").showModal();
}
const step = by => { const next = order()[order().indexOf(viewed) + by]; if (next) view(next); };
$("close").onclick = () => $("viewer").close();
$("before").onclick = () => step(-1);
$("after").onclick = () => step(1);
$("viewer").addEventListener("click", event => { if (event.target === $("viewer")) $("viewer").close(); });
$("viewer").addEventListener("close", () => { part("viewer", ".view").replaceChildren(); remember("run"); });  // stops what moves
addEventListener("message", ({ data }) => { if (data === "Escape") $("viewer").close(); });  // from inside the interactive view
$("viewer").addEventListener("keydown", event => { if (event.key === "ArrowLeft") step(-1); if (event.key === "ArrowRight") step(1); });

apply();
document.querySelector("nav").append(...[...document.querySelectorAll("main > section:not([hidden])")].map(section =>
  element("a", { href: `#${section.id}`, textContent: section.querySelector("h2").textContent })));
if (report.tables.runs.rows[state.get("run") - 1]) view(report.tables.runs.rows[state.get("run") - 1]);
document.body.dataset.ready = "yes";
