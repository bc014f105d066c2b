// A score over time, on either clock, with its interval, its limit, and since when it is lower.
import { h } from "./tree.js";
import { choose } from "./address.js";
import { TimePlot, withGaps } from "./charts.js";
import { From, Lacking, TimeChoices } from "./parts.js";
import { count, iso, local, moment, score } from "./say.js";
import { Table } from "./tables.js";
import { heading, term } from "./words.js";

// `recall/cat` of /api/models is `recall{cat}` of a history.
export const asAsked = name => name.replace(/^([^/]+)\/(.*)$/s, "$1{$2}");

const COLUMNS = [
  { title: "from", value: point => iso(point.start), cell: point => moment(point.start) },
  { title: "value", is: "number", value: point => point.value, cell: point => score(point.value) },
  { title: "low", is: "number", value: point => point.low, cell: point => score(point.low) },
  { title: "high", is: "number", value: point => point.high, cell: point => score(point.high) },
  { title: "labelled", word: "labelled", is: "number", value: point => point.labelled },
  { title: "predictions", word: "predictions", is: "number", value: point => point.predictions },
];

function ScoreChoice({ model, name }) {
  const names = Object.keys(model.windows.total.scores).filter(one => one !== "coverage");
  const whole = names.filter(one => !one.includes("/"));
  const ofClass = names.filter(one => one.includes("/"));
  const option = one => h("option", { key: one, value: asAsked(one), selected: asAsked(one) === name }, one.replace("/", " of "));
  return h("label", { class: "choice" }, term("history", "Score"), " ",
    h("select", { onChange: event => choose({ score: event.target.value }) },
      whole.map(option), ofClass.length > 0 && h("optgroup", { label: "of a class" }, ofClass.map(option))));
}

// The class that has lost the most right rows since the score fell.
const mostIn = one => (one && one.before !== null && one.since !== null && one.since < one.before
  ? `Most of it in class ${one.class}: recall ${score(one.since)} (${count(one.labelled_since)} rows) after ${score(one.before)} (${count(one.labelled_before)} rows).`
  : "");

export function History({ model, view, at, old, name, file }) {
  const data = view.history;
  const of = data?.score ?? name;
  const points = data?.points ?? [];
  const known = points.filter(point => point.value !== null);
  const label = known.length
    ? `${of} over time, from ${score(known[0].value)} at ${moment(known[0].start)} to ${score(known.at(-1).value)}. ${local(data.fell ?? "")}`
    : `${of} over time: no labels yet`;
  return h("section", null,
    heading("h2", "history", "Over time"),
    h("div", { class: "choices" },
      h(ScoreChoice, { model, name }),
      h(TimeChoices, { at, older: view.older })),
    h(Lacking, { error: view.errors.history }),
    data?.fell && h("p", { class: "sentences bad" }, local(data.fell), " ", !/^recall(\{|$)/.test(of) && mostIn(data.classes[0])),
    known.length > 0
      ? [
          h(TimePlot, { points: withGaps(points, data.step), step: data.step, name: of, label, file: `${file} ${of}`, limit: data.limit ?? null, fellAt: data.fell_at ?? null }),
          h("details", null, h("summary", null, "As a table"),
            h(Table, { name: `${file} ${of}`, label: `${of} over time`, columns: COLUMNS, rows: [...points].reverse(), most: 60 })),
          h(From, { data }),
        ]
      : data && !old && h("p", { class: "soft" }, `Nothing to draw yet: no stretch of time that is kept has a label. ${data.note ?? ""}`));
}
