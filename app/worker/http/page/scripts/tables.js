// Tables: sorted by a column that is chosen, read as cards on a phone, taken along as CSV.
import { h, Component } from "./tree.js";
import { meaning } from "./words.js";

export function download(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name.replace(/[^\w.@-]+/g, "_");
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// A cell of CSV (RFC 4180). A text that a spreadsheet would take for a formula is marked as a text.
function csvCell(value) {
  if (value === null || value === undefined) return "";
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export const csvOf = (columns, rows) =>
  [columns.map(column => column.title), ...rows.map(row => columns.map(column => column.value(row)))]
    .map(cells => `${cells.map(csvCell).join(",")}\r\n`)
    .join("");

const byValue = column => (one, other) => {
  const [a, b] = [column.value(one), column.value(other)];
  if (a === null || a === undefined) return 1;
  if (b === null || b === undefined) return -1;
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });
};

// A column is {title, value: row → what is sorted by and written to CSV, cell: row → what shows (the value, if there is
// none), word: that says what it means, is: a class of its cells}. `mark` gives a row a class, `keyOf` what tells it apart.
export class Table extends Component {
  state = { by: null, down: false };

  sort(title) {
    const { by, down } = this.state;
    if (by !== title) this.setState({ by: title, down: false });
    else if (!down) this.setState({ by: title, down: true });
    else this.setState({ by: null, down: false });
  }

  render({ name, columns, rows, label, mark, keyOf, most = Infinity, plain = false }, { by, down }) {
    const column = columns.find(({ title }) => title === by);
    const sorted = column ? [...rows].sort(byValue(column)) : rows;
    if (column && down) sorted.reverse();
    const shown = sorted.slice(0, most);
    const take = () => download(`${name}.csv`, new Blob([csvOf(columns, sorted)], { type: "text/csv" }));
    return h("div", { class: "table" },
      h("table", { role: "table", "aria-label": label },
        h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, columns.map(one => this.head(one, by, down)))),
        h("tbody", { role: "rowgroup" }, shown.map((row, number) =>
          h("tr", { role: "row", key: keyOf ? keyOf(row) : number, class: mark?.(row) }, columns.map(one =>
            h("td", { role: "cell", class: one.is, "data-title": one.title }, (one.cell ?? one.value)(row) ?? "–")))))),
      shown.length < sorted.length && h("p", { class: "soft" }, `${shown.length} of ${sorted.length} are shown; CSV has all.`),
      !plain && rows.length > 0 && h("button", { type: "button", class: "take", onClick: take, "aria-label": `${label} as CSV` }, "CSV"));
  }

  head({ title, word, is, silent }, by, down) {
    const tip = word ? meaning(word) : null;
    const order = by === title ? (down ? "descending" : "ascending") : undefined;
    const text = silent ? h("span", { class: "unseen" }, title) : [title, order && h("span", { "aria-hidden": "true" }, down ? " ↓" : " ↑")];
    return h("th", { role: "columnheader", scope: "col", class: is, "aria-sort": order },
      h("button", { type: "button", class: tip ? "sort term" : "sort", "data-tip": tip, onClick: () => this.sort(title) }, text));
  }
}
