// ---- figures: the page's ink on no paper, light or dark ----------------------------------------------
function themed(layout) {
  const style = getComputedStyle(document.documentElement), ink = style.getPropertyValue("--ink"), line = style.getPropertyValue("--line");
  const axes = Object.fromEntries(Object.keys(layout).filter(name => /^[xy]axis/.test(name)).map(name =>
    [name, { gridcolor: line, zerolinecolor: line, linecolor: line, ...layout[name] }]));
  return { paper_bgcolor: "transparent", plot_bgcolor: "transparent", font: { color: ink, size: 12 }, margin: { l: 52, r: 8, t: 8, b: 42 }, ...layout, ...axes };
}
const figures = new Map();
function draw(place, { data, layout }) {
  figures.set(place, { data, layout });
  if (layout.height) place.style.height = `${layout.height}px`;
  const svg = { name: "SVG", title: "save as SVG", icon: Plotly.Icons.disk, click: plot => Plotly.downloadImage(plot, { format: "svg" }) };
  return Plotly.react(place, data, themed(layout), { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"], modeBarButtonsToAdd: [svg] });
}
const dark = matchMedia("(prefers-color-scheme: dark)");
dark.addEventListener("change", () => {
  for (const [place, figure] of figures) if (place.isConnected) draw(place, figure);
});
document.querySelectorAll("[data-figure]").forEach(place => draw(place, JSON.parse(place.dataset.figure)));
