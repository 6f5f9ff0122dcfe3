// ---- data, elements, numbers --------------------------------------------------------------------
const report = JSON.parse(document.getElementById("data").textContent);
const $ = id => document.getElementById(id);
const body = id => $(id).querySelector(".body");
const SVG = "http://www.w3.org/2000/svg";

function add(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "style") made.style.cssText = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter(child => child !== null && child !== undefined));
  return made;
}
// Text goes in as text: no name or message from a record is ever read as markup.
const el = (tag, attributes, ...children) => add(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => add(document.createElementNS(SVG, tag), attributes, children);

const NOTHING = "–";
const minus = text => text.replace(/^-/, "−").replace("e-", "e−");
const isNumber = value => typeof value === "number";
function shown(metric, value) {
  if (!isNumber(value)) return NOTHING;
  const scaled = value * metric.factor;
  return minus(metric.digits === null ? String(+scaled.toPrecision(4)) : scaled.toFixed(metric.digits));
}
function settingText(value) {
  if (value === null || value === undefined || value === "") return NOTHING;
  return isNumber(value) ? minus(String(+value.toPrecision(4))) : String(value);
}
const count = (number, what) => `${number.toLocaleString("en")} ${what}${number === 1 ? "" : "s"}`;
const unit = metric => metric.unit ? el("span", { class: "unit" }, ` ${metric.unit}`) : null;

// A header keeps its colour everywhere; past the eighth the marks change their shape too.
const own = header => {
  const place = report.headers.indexOf(header), colours = 10;
  if (header === "linear") return "--own: var(--c0)";
  if (header === "normface") return "--own: var(--c1)";
  const rest = report.headers.filter(name => name !== "linear" && name !== "normface");
  return `--own: var(--c${2 + rest.indexOf(report.headers[place]) % (colours - 2)})`;
};
const shape = header => Math.floor(Math.max(0, report.headers.indexOf(header) - 2) / 8);
const swatch = header => el("span", { class: "swatch", style: own(header) });

function sparkline(curve, what) {
  if (!curve) return el("span", { class: "soft" }, NOTHING);
  const last = curve.heights.length - 1;
  const points = curve.heights.map((height, i) => height < 0 ? null : `${i / last * 100},${100 - height / 99 * 100}`);
  const digits = value => settingText(+value.toPrecision(3));
  const told = `${what} over ${curve.epochs} epochs: from ${digits(curve.low)} to ${digits(curve.high)}, last ${digits(curve.last)}`;
  return svg("svg", { class: "spark", viewBox: "0 0 100 100", preserveAspectRatio: "none", role: "img", "aria-label": told },
    svg("title", {}, told), svg("polyline", { points: points.filter(Boolean).join(" ") }));
}
