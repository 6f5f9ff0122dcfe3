// ---- one run: its interactive view, its numbers, its curves --------------------------------------
const viewer = { run: null, order: () => report.runs };
function thumbnail(run) {  // the picture, which opens the interactive view
  if (!run.picture && !run.page) return el("span", { class: "none", title: run.error ? "failed: no picture" : "no picture" });
  const picture = run.picture && el("img", { src: run.picture, alt: "", loading: "lazy", decoding: "async", width: 42, height: 42,
    onerror: event => event.target.remove() });
  return el("a", { href: run.page ?? run.picture, title: "open the embeddings", "aria-label": `embeddings of ${run.name ?? run.shown}`,
    onclick: event => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;  // a tab of its own, as with any link
      event.preventDefault();
      view(run.of === undefined ? report.runs.find(one => one.folder === run.folder) : run);
    } }, picture);
}
function view(run) {
  viewer.run = run;
  const settings = Object.entries(run.all).filter(([, value]) => value !== null && value !== "default");
  $("viewed").textContent = run.name;
  $("viewer").querySelector("p").textContent =
    [...settings.map(([key, value]) => `${key} ${settingText(value)}`), `seed ${settingText(run.seed)}`].join(" · ");
  const facts = report.metrics.flatMap((metric, index) => isNumber(run.metrics[index])
    ? [el("div", {}, el("dt", {}, metric.title), el("dd", {}, shown(metric, run.metrics[index]), unit(metric)))] : []);
  const links = [["page", "in a tab of its own"], ["picture", "picture"], ["traceback", "traceback"], ["folder", "folder"]];
  const embedded = run.page ? el("iframe", { src: run.page, title: `embeddings of ${run.name}` })
    : run.picture ? el("img", { src: run.picture, alt: `embeddings of ${run.name}` }) : null;
  $("viewer").querySelector(".view").replaceChildren(...[
    run.error ? el("pre", { class: "bad" }, run.error) : null,
    facts.length ? el("dl", {}, facts) : null,
    embedded,
    el("div", { class: "curves" }, [["accuracy", "validation accuracy"], ["loss", "training loss"]].map(([key, what]) =>
      run[key] ? el("div", {}, el("div", { class: "soft" }, what), sparkline(run[key], what)) : null)),
    run.overrides ? el("pre", {}, run.overrides) : null,
    el("p", {}, links.filter(([key]) => run[key]).flatMap(([key, text]) => [el("a", { href: run[key], target: "_blank" }, text), "   "])),
  ].filter(Boolean));
  const order = viewer.order(), at = order.indexOf(run);
  $("before").disabled = at <= 0;
  $("after").disabled = at < 0 || at === order.length - 1;
  if (!$("viewer").open) $("viewer").showModal();
}
function step(by) {
  const order = viewer.order(), next = order[order.indexOf(viewer.run) + by];
  if (next) view(next);
}
$("close").onclick = () => $("viewer").close();
$("before").onclick = () => step(-1);
$("after").onclick = () => step(1);
$("viewer").addEventListener("click", event => { if (event.target === $("viewer")) $("viewer").close(); });
$("viewer").addEventListener("close", () => $("viewer").querySelector(".view").replaceChildren());  // stops what moves
$("viewer").addEventListener("keydown", event => {
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});
