// Which classes a model has right, what it takes for what, and requests of each cell.
import { h } from "./tree.js";
import { choose, link } from "./address.js";
import { path, want } from "./store.js";
import { asAsked } from "./history.js";
import { Again, FreshnessOfPart } from "./parts.js";
import { count, moment, score, share } from "./say.js";
import { Table } from "./tables.js";
import { heading } from "./words.js";

// Above so many classes a matrix is no picture any more: the cells are listed.
const MOST_CLASSES = 20;
const MOST_CELLS = 50;

const isClasses = model => model.task !== "regression";

export function classesOf(model, reading) {
  const occurring = new Set((reading.confusion ?? []).flatMap(([actual, predicted]) => [actual, predicted]));
  return [...model.classes.filter(name => occurring.has(name)), ...[...occurring].filter(name => !model.classes.includes(name))];
}

// Of each class its rows, and the scores that come out of the cells where /api names none (of two classes it names those of the positive).
function rowsOf(model, reading) {
  const actual = new Map(), predicted = new Map(), right = new Map();
  const add = (sums, name, rows) => sums.set(name, (sums.get(name) ?? 0) + rows);
  for (const [truth, said, rows] of reading.confusion ?? []) {
    add(actual, truth, rows);
    add(predicted, said, rows);
    if (truth === said) add(right, truth, rows);
  }
  const ratio = (part, whole) => (whole ? part / whole : null);
  return classesOf(model, reading).map(name => {
    const [all, said, both] = [actual, predicted, right].map(sums => sums.get(name) ?? 0);
    const of = (score_, value) => reading.scores[`${score_}/${name}`] ?? value;
    return {
      name, support: all, predicted: said,
      recall: of("recall", ratio(both, all)), precision: of("precision", ratio(both, said)), f1: of("f1", ratio(2 * both, all + said)),
    };
  });
}

// How each class has done before and since the score fell: recall, where it has.
function sinceColumn(changes) {
  const of = row => changes.find(one => one.class === row.name) ?? { before: null, since: null };
  return {
    title: "since it fell", word: "since_fell", is: "number", value: row => of(row).since,
    cell: row => {
      const { before, since } = of(row);
      const worse = before !== null && since !== null && since < before;
      return [h(worse ? "b" : "span", null, score(since)), h("small", null, `${score(before)} before`)];
    },
  };
}

export function Classes({ model, view, reading, file }) {
  if (!isClasses(model)) return null;
  const rows = rowsOf(model, reading);
  const changes = view.history?.classes ?? [];
  const scoreColumn = name => ({
    title: name, word: name, is: "number", value: row => row[name],
    cell: row => (`${name}/${row.name}` in reading.scores
      ? h("button", { type: "button", class: "plain", onClick: () => choose({ score: asAsked(`${name}/${row.name}`) }), "aria-label": `${name} of ${row.name}, ${score(row[name])}: over time` }, score(row[name]))
      : score(row[name])),
  });
  const columns = [
    { title: "class", word: "classes", is: "name", value: row => row.name },
    { title: "labelled", word: "support", is: "number", value: row => row.support, cell: row => count(row.support) },
    { title: "predicted", word: "predicted", is: "number", value: row => row.predicted, cell: row => count(row.predicted) },
    ...["recall", "precision", "f1"].map(scoreColumn),
    ...(changes.length ? [sinceColumn(changes)] : []),
  ];
  return h("section", null,
    heading("h2", "classes", "By class"),
    rows.length ? h(Table, { name: `${file} classes`, label: "Scores by class", columns, rows, keyOf: row => row.name, most: 200 }) : h("p", { class: "soft" }, "No labels in this window."));
}

const heatOf = (rows, whole) => `${Math.round(4 + 42 * Math.sqrt(whole ? rows / whole : 0))}%`;

function Cell({ actual, predicted, rows, whole, at }) {
  if (!rows) return h("td", { class: "none" }, "0");
  const chosen = at.of.get("actual") === actual && at.of.get("predicted") === predicted;
  const pick = () => choose(chosen ? { actual: null, predicted: null } : { actual, predicted });
  return h("td", { class: actual === predicted ? "right" : "wrong", style: { "--heat": heatOf(rows, whole) } },
    h("button", { type: "button", "aria-pressed": String(chosen), onClick: pick,
      "aria-label": `${count(rows)} ${actual} taken for ${predicted}, ${share(rows / whole)} of ${actual}: show requests` }, count(rows)));
}

function Matrix({ classes, cells, at }) {
  const whole = new Map(classes.map(actual => [actual, classes.reduce((sum, predicted) => sum + (cells.get(actual)?.get(predicted) ?? 0), 0)]));
  return h("div", { class: "scroll", tabIndex: 0, role: "region", "aria-label": "Confusion matrix" },
    h("p", { class: "soft" }, "true class ↓ · predicted class →"),
    h("table", { class: "matrix", "aria-label": "Rows by true class (down) and predicted class (across)" },
      h("thead", null, h("tr", null, h("td"), classes.map(name => h("th", { key: name, scope: "col", title: name }, name)))),
      h("tbody", null, classes.map(actual => h("tr", { key: actual }, h("th", { scope: "row", title: actual }, actual),
        classes.map(predicted => h(Cell, { key: predicted, actual, predicted, rows: cells.get(actual)?.get(predicted) ?? 0, whole: whole.get(actual), at })))))));
}

function CellList({ reading, at, file }) {
  const wrong = (reading.confusion ?? []).filter(([actual, predicted]) => actual !== predicted).sort((one, other) => other[2] - one[2]);
  const columns = [
    { title: "true class", is: "name", value: ([actual]) => actual },
    { title: "taken for", value: ([, predicted]) => predicted },
    { title: "rows", is: "number", value: ([, , rows]) => rows,
      cell: ([actual, predicted, rows]) => h("button", { type: "button", class: "plain", onClick: () => choose({ actual, predicted }), "aria-label": `${rows} ${actual} taken for ${predicted}: show requests` }, count(rows)) },
  ];
  return h(Table, { name: `${file} confusion`, label: "What is taken for what", columns, rows: wrong, most: MOST_CELLS, keyOf: ([actual, predicted]) => JSON.stringify([actual, predicted]) });
}

export function Confusion({ model, reading, at, file }) {
  if (!isClasses(model)) return null;
  const classes = classesOf(model, reading);
  const cells = new Map(classes.map(actual => [actual, new Map()]));
  for (const [actual, predicted, rows] of reading.confusion ?? []) cells.get(actual).set(predicted, rows);
  return h("section", null,
    heading("h2", "confusion", "What is taken for what"),
    !classes.length ? h("p", { class: "soft" }, "No labels in this window.")
      : classes.length <= MOST_CLASSES ? h(Matrix, { classes, cells, at }) : h(CellList, { reading, at, file }));
}

// Requests of the cell that is chosen.
export function Examples({ at, of }) {
  const actual = at.of.get("actual"), predicted = at.of.get("predicted");
  if (actual === null || predicted === null) return null;
  const place = path(`api/models/${of}/examples`, { actual, predicted, limit: 20 });
  const answer = want(place, Infinity);
  const data = answer.content;
  const columns = [
    { title: "request id", word: "request", is: "name", value: one => one.puid, cell: one => h("a", { href: link("request", encodeURIComponent(one.puid)) }, one.puid) },
    ...(data?.examples.some(one => one.row) ? [{ title: "row", word: "row", is: "number", value: one => one.row }] : []),
    { title: "time", value: one => one.time_at, cell: one => moment(one.time_at) },
  ];
  return h("section", { class: "examples" },
    heading("h2", "examples", `Requests: ${actual} predicted as ${predicted}`),
    h("div", { class: "choices" },
      h(Again, { place, answer }),
      h("button", { type: "button", class: "plain", onClick: () => choose({ actual: null, predicted: null }) }, "Close")),
    h(FreshnessOfPart, { answer }),
    data?.note && h("p", { class: "soft" }, data.note),
    data && (data.examples.length
      ? h(Table, { name: `${actual} taken for ${predicted}`, label: "Requests of this cell", columns, rows: data.examples })
      : h("p", { class: "soft" }, "None of the requests that were looked through is of this cell.")));
}
