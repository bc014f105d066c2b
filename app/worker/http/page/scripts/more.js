// What a model has besides: monitors, metrics of its own, and all other scores of the window.
import { h } from "./tree.js";
import { anyRows } from "./parts.js";
import { count, score } from "./say.js";
import { Table } from "./tables.js";
import { heading, term } from "./words.js";

const said = value => (typeof value === "number" ? score(value) : value === null ? null : typeof value === "object" ? JSON.stringify(value) : String(value));

function Any({ word, title, content, file }) {
  const rows = anyRows(content);
  if (!rows.length) return null;
  const names = [...new Set(rows.flatMap(row => Object.keys(row)))];
  const columns = names.map(name => ({
    title: name, value: row => (typeof row[name] === "object" ? JSON.stringify(row[name]) : row[name]), cell: row => said(row[name] ?? null),
    is: rows.every(row => typeof (row[name] ?? 0) === "number") ? "number" : name === "name" ? "name" : "",
  }));
  return h("section", null, heading("h2", word, title), h(Table, { name: `${file} ${word}`, label: title, columns, rows }));
}

export const More = ({ model, file }) => [
  h(Any, { key: "monitors", word: "monitors", title: "Monitors", content: model.monitors, file }),
  h(Any, { key: "custom_metrics", word: "custom_metrics", title: "Metrics of its own", content: model.custom_metrics, file }),
];

const SCORES = [
  { title: "score", is: "name", value: row => row.name, cell: row => term(row.name, row.name.replace("/", " of ")) },
  { title: "value", is: "number", value: row => row.value, cell: row => score(row.value) },
  { title: "rows", is: "number", value: row => row.rows, cell: row => count(row.rows) },
];

export function OtherScores({ reading, file }) {
  const rows = Object.entries(reading.scores).map(([name, value]) => ({ name, value, rows: reading.score_samples?.[name] ?? null }));
  return h("section", null,
    heading("h2", "others", "All scores"),
    h("details", null, h("summary", null, `${rows.length} scores of this window`),
      h(Table, { name: `${file} scores`, label: "All scores", columns: SCORES, rows, keyOf: row => row.name, most: 500 })));
}
