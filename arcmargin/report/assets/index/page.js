// ---- the sections -------------------------------------------------------------------------------
const failed = report.runs.filter(run => run.error !== null);
const settingColumns = settings => report.settings.map(({ key, unit }, index) => ({
  title: key, unit, numeric: report.runs.every(run => isNumber(run.settings[index]) || run.settings[index] === null),
  value: row => settings(row)[index],
  cell: row => key === "header" ? el("span", {}, swatch(row.header), ` ${settings(row)[index]}`) : settingText(settings(row)[index]),
}));
const withSpread = (one, index, metric) => {
  const [mean, half] = one.metrics[index];
  return [shown(metric, mean), isNumber(half) && metric.name !== "gap_predicted_deg" ? el("span", { class: "spread" }, ` ± ${shown(metric, half)}`) : null];
};

function overview() {
  document.querySelector("h1").textContent = report.title;
  $("common").textContent = report.common;
  const seeds = new Set(report.runs.map(run => run.seed)).size;
  const facts = [["runs", report.runs.length], ["configurations", report.configurations.length], ["seeds", seeds],
    ["failed", failed.length, true], ["unfinished", report.unfinished.length, true], ["damaged", report.damaged.length, true]];
  $("facts").append(...facts.filter(([, number, bad]) => number || !bad).map(([name, number, bad]) =>
    el("div", { class: bad ? "bad" : null }, el("dt", {}, name), el("dd", {}, number.toLocaleString("en")))));
}
function problems() {
  const list = (title, items) => items.length ? [el("h3", {}, title), el("ul", {}, items)] : [];
  const parts = [
    ...list("Failed", failed.map(run => el("li", {}, el("b", {}, run.of === null ? run.name : report.configurations[run.of].label), `, seed ${settingText(run.seed)}: ${run.error} `,
      run.traceback ? el("a", { href: run.traceback }, "traceback") : run.folder ? el("a", { href: run.folder }, "folder") : null))),
    ...list("Unfinished: interrupted, or still running", report.unfinished.map(one => el("li", {}, el("a", { href: one.href }, one.text)))),
    ...list("Damaged, and left out", report.damaged.map(sentence => el("li", {}, sentence))),
    ...(report.repeats ? list("Repeated", [el("li", {}, `${count(report.repeats, "run")} with the settings and the seed of another: the last finished one counts.`)]) : []),
  ];
  $("problems").hidden = !parts.length;
  body("problems").append(...parts);
}
function pictures() {
  const has = name => report.files.includes(name);
  const pages = report.files.filter(name => /^(grid|angles|roc|heatmap)(_\d+)?\.(png|svg)$/.test(name));
  const kinds = pages.some(name => name.endsWith(".png")) ? pages.filter(name => name.endsWith(".png")) : pages;
  const about = { grid: "Test embeddings of each configuration, the first seed", angles: "Angles to the own and to the nearest wrong class direction",
    roc: "Verification of unseen classes", heatmap: "A metric over the scale and the margin" };
  const figures = kinds.map(name => {
    const [stem, page] = name.split(/[._]/), pdf = `${stem}.pdf`;
    return el("figure", {}, el("a", { href: name }, el("img", { src: name, alt: about[stem], loading: "lazy" })),
      el("figcaption", {}, about[stem], page > 1 ? `, page ${page}` : "", has(pdf) ? [" · ", el("a", { href: pdf }, "PDF")] : null));
  });
  $("pictures").hidden = !figures.length;
  if (has("compare.html")) body("pictures").append(el("a", { class: "button", href: "compare.html" }, "Open them side by side, turning together"));
  body("pictures").append(el("div", { class: "pictures" }, figures));
}
function configurationsTable() {
  return new SortableTable("configurations", [
    { title: "configuration", heading: true, value: one => one.label, cell: one => el("div", { class: "name" }, thumbnail(one), el("span", {}, swatch(one.header), ` ${one.label}`)) },
    ...metricColumns(withSpread, (one, index) => one.metrics[index][0]),
    { title: "runs", numeric: true, value: one => one.runs, cell: one => `${one.runs}${one.failed ? ` of ${one.runs + one.failed}` : ""}` },
  ], report.configurations);
}
function runsTable() {
  const table = new SortableTable("runs", [
    { title: "run", heading: true, value: run => run.name,
      cell: run => el("div", { class: "name" }, thumbnail(run), el("button", { type: "button", onclick: () => view(run) }, run.name)) },
    { title: "seed", numeric: true, value: run => run.seed, cell: run => settingText(run.seed) },
    ...settingColumns(run => run.settings),
    { title: "val. accuracy", hint: "validation accuracy over the epochs, each run on its own scale; sorts by the last", value: run => run.accuracy?.last, cell: run => sparkline(run.accuracy, "validation accuracy") },
    { title: "train loss", hint: "training loss over the epochs, each run on its own scale; sorts by the last", value: run => run.loss?.last, cell: run => sparkline(run.loss, "training loss") },
    ...metricColumns((run, index, metric) => shown(metric, run.metrics[index]), (run, index) => run.metrics[index]),
    { title: "time", unit: "s", numeric: true, value: run => run.seconds, cell: run => isNumber(run.seconds) ? run.seconds.toFixed(1) : NOTHING },
    { title: "status", value: run => run.error ?? "", cell: run => run.error === null ? (run.of === null ? "repeated" : "finished")
      : el("div", { class: "error", title: run.error }, `failed: ${run.error} `, run.traceback ? el("a", { href: run.traceback }, "traceback") : null) },
  ], report.runs);
  viewer.order = () => table.rows;
  return table;
}
function filters(table) {
  const text = el("input", { type: "search", id: "search", placeholder: "arcface seed=1 …", oninput: apply, autocomplete: "off" });
  const shownCount = el("output", { "aria-live": "polite", for: "search" });
  const options = [["status", run => run.error === null ? "finished" : "failed"], ...report.settings.map(({ key }, index) => [key, run => settingText(run.settings[index])]),
    ["seed", run => settingText(run.seed)]];
  const selects = options.map(([key, value]) => {
    const values = [...new Set(report.runs.map(value))].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    const select = el("select", { onchange: apply, "data-key": key }, el("option", { value: "" }, "all"), values.map(v => el("option", { value: v }, v)));
    return { key, value, select, telling: values.length > 1 };
  }).filter(one => one.telling);
  const words = new Map(report.runs.map(run => [run, [run.name, run.error ?? "", run.overrides, `seed=${run.seed}`,
    ...report.settings.map(({ key }, index) => `${key}=${settingText(run.settings[index])}`)].join(" ").toLowerCase()]));
  function apply() {
    const wanted = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = selects.filter(one => one.select.value);
    const passes = run => onKeptAxes(run) && wanted.every(word => words.get(run).includes(word)) && chosen.every(one => one.value(run) === one.select.value);
    const left = table.filter(passes);
    fade(passes);
    shownCount.textContent = left === report.runs.length ? count(left, "run") : `${left.toLocaleString("en")} of ${count(report.runs.length, "run")}`;
  }
  parallel.changed = apply;
  const clear = el("button", { type: "button", id: "clear", onclick: () => { text.value = ""; selects.forEach(one => { one.select.value = ""; }); $("letgo")?.click(); apply(); } }, "Clear");
  body("runs").append(el("div", { class: "bar" }, el("label", { class: "wide" }, "containing all of these words", text),
    selects.map(one => el("label", {}, one.key, one.select)), clear, shownCount));
  apply();
}
function differences() {
  const kinds = report.differences.filter(one => one.metrics.length), place = el("div");
  if (!kinds.length) {
    body("differences").append(el("p", {}, "Nothing to compare: that takes two configurations with runs of the same seed, such as header=normface,arcface seed=0,1,2."));
    return;
  }
  const kind = el("select", { id: "compared", onchange: offer }, kinds.map((one, index) => el("option", { value: index }, one.kind)));
  const which = el("select", { id: "compared-metric", onchange: draw });
  function offer() {
    const before = which.selectedOptions[0]?.textContent;
    which.replaceChildren(...kinds[kind.value].metrics.map((one, index) => {
      const { title } = report.metrics.find(metric => metric.name === one.metric);
      return el("option", { value: index, selected: title === before }, title);
    }));
    draw();
  }
  function draw() {
    const { metric: name, caveat, tests } = kinds[kind.value].metrics[which.value];
    const metric = report.metrics.find(one => one.name === name);
    const rows = tests.map(([first, second, seeds, mean, half, p, corrected]) => ({ first, second, seeds, mean, half, p, corrected,
      larger: corrected !== null && corrected < .05 }));
    const larger = rows.filter(row => row.larger).length;
    place.replaceChildren(
      el("p", {}, el("b", {}, larger ? `${larger} of ${count(rows.length, "difference")} ${larger === 1 ? "is" : "are"} larger than the noise of the seeds.`
        : rows.some(row => row.p !== null) ? `None of ${count(rows.length, "difference")} is larger than the noise of the seeds.` : "No test is possible."), " ", caveat),
      new SortableTable(`differences of ${metric.title}`, differenceColumns(metric, rows), rows).root);
  }
  body("differences").append(el("div", { class: "bar" }, el("label", {}, "compared", kind), el("label", {}, "metric", which)), place);
  if (!kinds.some(one => one.kind === "every pair") && report.configurations.length > report.most_pairwise)
    body("differences").append(el("p", { class: "soft" }, `Every pair is compared up to ${report.most_pairwise} configurations; here are ${report.configurations.length}.`));
  offer();
}
function differenceColumns(metric, rows) {
  const reach = Math.max(...rows.map(row => Math.min(Math.abs(row.mean) + (row.half ?? 0), 4 * Math.max(...rows.map(r => Math.abs(r.mean)))))) || 1;
  const name = index => el("span", {}, swatch(report.configurations[index].header), ` ${report.configurations[index].label}`);
  const pText = p => p === null ? NOTHING : p < .001 ? "< 0.001" : p.toFixed(3);
  const verdict = row => {
    if (!row.larger) return el("span", { class: "soft" }, row.p === null ? "not tested" : "not shown");
    if (!metric.better) return row.mean > 0 ? "higher" : "lower";
    return row.mean * metric.better > 0 ? el("b", { class: "good" }, "better") : el("b", { class: "bad" }, "worse");
  };
  const bar = row => {
    const x = value => 80 + 76 * Math.max(-1, Math.min(1, value / reach));
    return svg("svg", { viewBox: "0 0 160 22", width: 160, height: 22, "aria-hidden": "true", style: own(report.configurations[row.first].header) },
      svg("line", { class: "axis", x1: 80, x2: 80, y1: 0, y2: 22 }),
      row.half === null ? null : svg("line", { class: "bars", x1: x(row.mean - row.half), x2: x(row.mean + row.half), y1: 11, y2: 11 }),
      marker(0, x(row.mean), 11));
  };
  return [
    { title: "this", heading: true, value: row => report.configurations[row.first].label, cell: row => name(row.first) },
    { title: "less that", value: row => report.configurations[row.second].label, cell: row => name(row.second) },
    { title: "is", value: row => row.larger ? row.mean * (metric.better || 1) : null, cell: verdict },
    { title: "mean difference", unit: metric.unit === "%" ? "points" : metric.unit, numeric: true, hint: "with the 95 % interval of this one difference, not corrected", value: row => row.mean,
      cell: row => [shown(metric, row.mean), row.half === null ? null : el("span", { class: "spread" }, ` ± ${shown(metric, row.half)}`)] },
    { title: "with its interval", cell: bar },
    { title: "p corrected", numeric: true, hint: "Holm", value: row => row.corrected, cell: row => pText(row.corrected) },
    { title: "p alone", numeric: true, value: row => row.p, cell: row => pText(row.p) },
    { title: "seeds", numeric: true, value: row => row.seeds, cell: row => String(row.seeds) },
  ];
}
function filesSection() {
  const about = { "runs.csv": "every run", "summary.csv": "every configuration", "summary.md": "Markdown table", "summary.tex": "LaTeX table (booktabs)",
    "differences.csv": "the tests above", "compare.html": "side by side", "grid.pdf": "comparison grid", "angles.pdf": "angles", "roc.pdf": "ROC curves", "heatmap.pdf": "heat maps" };
  body("files").append(el("ul", {}, report.files.map(name => el("li", {}, el("a", { href: name }, name), about[name] ? ` ${about[name]}` : ""))));
}

overview();
problems();
pictures();
const configurations = configurationsTable();
margins();
differences();
drawParallel();
const runs = runsTable();
filters(runs);
body("configurations").append(columnChooser([configurations, runs]), configurations.root);
body("runs").append(runs.root);
filesSection();
document.querySelector("nav").append(...[...document.querySelectorAll("main > section:not([hidden])")].map(section =>
  el("a", { href: `#${section.id}` }, section.querySelector("h2").textContent)));
document.body.dataset.ready = "yes";
