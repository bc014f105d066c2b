// The same scores for slices of the traffic, and how fair they are to groups.
import { h } from "./tree.js";
import { count, score, share, signed } from "./say.js";
import { Table } from "./tables.js";
import { heading } from "./words.js";

// Bins of numbers in their order (<12, 12-15, >=15); other values as they come.
const placeOf = value => (/^<\S/.test(value) ? -Infinity : /^>=\S/.test(value) ? Infinity : Number.parseFloat(value));
const inOrder = rows => (rows.some(row => Number.isNaN(placeOf(row.value))) ? rows : [...rows].sort((one, other) => placeOf(one.value) - placeOf(other.value) || 0));

function rowsOf(values, name, whole) {
  return Object.entries(values).map(([value, reading]) => {
    const own = reading.scores[name] ?? null;
    return {
      value, answered: Object.values(reading.rows ?? {}).reduce((sum, rows) => sum + rows, 0), labelled: reading.samples,
      coverage: reading.scores.coverage ?? null, score: own, difference: own === null || whole === null ? null : own - whole,
    };
  });
}

export function Segments({ reading, name, file }) {
  const found = Object.entries(reading.segments ?? {});
  const plain = name.replace(/^(.*)\{(.*)\}$/s, "$1/$2");
  const whole = reading.scores[plain] ?? null;
  const columns = [
    { title: "value", word: "value", is: "name", value: row => row.value },
    { title: "answered", word: "predictions", is: "number", value: row => row.answered, cell: row => count(row.answered) },
    { title: "labelled", word: "labelled", is: "number", value: row => row.labelled, cell: row => count(row.labelled) },
    { title: "coverage", word: "coverage", is: "number", value: row => row.coverage, cell: row => share(row.coverage) },
    { title: plain, word: plain, is: "number", value: row => row.score, cell: row => score(row.score) },
    { title: "difference", word: "difference", is: "number", value: row => row.difference, cell: row => signed(row.difference) },
  ];
  return [
    found.length > 0 && h("section", null,
      heading("h2", "segments", "By segment"),
      found.map(([segment, values]) => h("div", { key: segment },
        heading("h3", "segment", segment),
        h(Table, { name: `${file} ${segment}`, label: `Scores by ${segment}`, columns, rows: inOrder(rowsOf(values, plain, whole)), keyOf: row => row.value })))),
    reading.fairness?.length > 0 && h(Fairness, { fairness: reading.fairness, privileged: reading.privileged, file }),
  ];
}

function Fairness({ fairness, privileged, file }) {
  const measures = [...new Set(fairness.flatMap(one => Object.keys(one.scores)))];
  const columns = [
    { title: "group", is: "name", value: one => `${one.attribute}: ${one.value || "all others"}` },
    ...measures.map(measure => ({
      title: measure.replaceAll("_", " "), word: measure, is: "number", value: one => one.scores[measure] ?? null,
      cell: one => [score(one.scores[measure]), h("small", null, `${count(one.score_samples[measure])} rows`)],
    })),
  ];
  return h("section", null,
    heading("h2", "fairness", "Fairness"),
    h("p", { class: "soft" }, "Each group beside the privileged one, ", h("b", null, `${fairness[0].attribute}: ${privileged}`), "."),
    h(Table, { name: `${file} fairness`, label: "Fairness by group", columns, rows: fairness }));
}
