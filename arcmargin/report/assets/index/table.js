// ---- a table that sorts by click or keyboard; what is missing always comes last ------------------
class SortableTable {
  // columns: { title, unit, hint, numeric, value(row), cell(row), heading (a row's name) }
  constructor(caption, columns, rows) {
    this.columns = columns;
    this.lines = rows.map(row => ({ row, line: null }));
    this.sorted = { column: null, falling: false };
    this.heads = columns.map((column, index) => this.head(column, index));
    this.tbody = el("tbody");
    this.empty = el("div", { class: "nothing", hidden: true }, "No run passes the filters.");
    this.root = el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
      el("table", {}, el("caption", { hidden: true }, caption), el("thead", {}, el("tr", {}, this.heads)), this.tbody), this.empty);
    this.draw();
  }
  head(column, index) {
    const name = [column.title, column.unit ? el("span", { class: "unit" }, ` ${column.unit}`) : null];
    const inner = column.value
      ? el("button", { type: "button", title: column.hint, onclick: () => this.sort(index) }, name)
      : el("span", { title: column.hint }, name);
    return el("th", { scope: "col", class: column.numeric ? "number" : null, "aria-sort": column.value ? "none" : null }, inner);
  }
  sort(index, falling = this.sorted.column === index ? !this.sorted.falling : false) {
    this.sorted = { column: index, falling };
    this.heads.forEach((head, other) => {
      if (this.columns[other].value) head.setAttribute("aria-sort", other !== index ? "none" : falling ? "descending" : "ascending");
    });
    const value = this.columns[index].value, sign = falling ? -1 : 1, missing = v => v === null || v === undefined || v === "";
    const keyed = this.lines.map(line => [value(line.row), line]);
    keyed.sort(([a], [b]) => {
      if (missing(a) || missing(b)) return missing(a) - missing(b);
      if (isNumber(a) && isNumber(b)) return sign * (a - b);
      return sign * String(a).localeCompare(String(b), "en", { numeric: true });
    });
    this.lines = keyed.map(([, line]) => line);
    this.draw();
  }
  draw() {
    this.tbody.replaceChildren(...this.lines.map(entry => entry.line ??= this.line(entry.row)));
  }
  line(row) {
    return el("tr", {}, this.columns.map(column =>
      el(column.heading ? "th" : "td", { scope: column.heading ? "row" : null, class: column.numeric ? "number" : null }, column.cell(row))));
  }
  redraw() {  // after the columns changed
    this.lines.forEach(entry => { entry.line = null; });
    this.draw();
  }
  filter(passes) {
    let left = 0;
    for (const { row, line } of this.lines) {
      line.hidden = !passes(row);
      left += !line.hidden;
    }
    this.empty.hidden = left > 0;
    return left;
  }
  get rows() { return this.lines.filter(({ line }) => !line.hidden).map(({ row }) => row); }
}

// Which metrics the tables show: the telling ones at first.
const columnsShown = new Set(report.metrics.flatMap((metric, index) => metric.shown ? [index] : []));
function metricColumns(cell, value) {
  return report.metrics.map((metric, index) => ({
    title: metric.title, unit: metric.unit, numeric: true, metric: index,
    hint: metric.better ? `${metric.name}: ${metric.better > 0 ? "higher" : "lower"} is better` : metric.name,
    value: row => value(row, index), cell: row => cell(row, index, metric),
  }));
}
function hideColumns(table) {  // a rule of style hides a column: no cell has to be touched
  table.id ??= `t${hideColumns.made = (hideColumns.made ?? 0) + 1}`;
  table.root.id = table.id;
  table.style ??= document.head.appendChild(el("style"));
  table.style.textContent = table.columns.flatMap((column, index) =>
    column.metric !== undefined && !columnsShown.has(column.metric) ? [`#${table.id} tr > :nth-child(${index + 1}) { display: none }`] : []).join("\n");
}
function columnChooser(tables) {
  const boxes = report.metrics.map((metric, index) => el("label", {}, el("input", { type: "checkbox", checked: columnsShown.has(index),
    onchange: event => { columnsShown[event.target.checked ? "add" : "delete"](index); tables.forEach(hideColumns); } }), metric.title));
  tables.forEach(hideColumns);
  return el("details", { class: "columns" }, el("summary", {}, "Choose the metrics of the tables"), el("div", {}, boxes));
}
