// What several views share: choices, sentences, what to say while nothing is known.
import { h } from "./tree.js";
import { choose } from "./address.js";
import { local, moment } from "./say.js";
import { term } from "./words.js";

// A choice of one of a few values, which goes to the address.
export function Choice({ name, word = name, text, value, values, title = value => value }) {
  return h("label", { class: "choice" }, term(word, text), " ",
    h("select", { value, onChange: event => choose({ [name]: event.target.value }) },
      values.map(one => h("option", { key: one, value: one, selected: one === value }, title(one)))));
}

const CLOCKS = { predictions: "by predictions", labels: "by labels" };
export const clockTitle = clock => CLOCKS[clock] ?? clock;

const STEPS = { "": "as fits", "1m": "1 min", "10m": "10 min", "1h": "1 h", "1d": "1 d" };

// How long each stretch of a history is.
export const StepChoice = ({ step }) =>
  h(Choice, { name: "step", text: "Step", value: step, values: Object.keys(STEPS), title: value => STEPS[value] });

const SOURCES = { panes: "the counts that workers keep", elasticsearch: "Elasticsearch", both: "the counts that workers keep, and further back Elasticsearch" };

// Where the points of a history are from, and what is to be said of that.
export const From = ({ data }) => h("p", { class: "soft" }, `From ${SOURCES[data.source] ?? data.source}. ${data.note ?? ""}`);

// Sentences that somebody should read.
export const Sentences = ({ of, is = "" }) =>
  of.length > 0 && h("ul", { class: `sentences ${is}` }, of.map(sentence => h("li", { key: sentence }, local(sentence))));

// While a view has no answer yet, or why it has none.
export function Nothing({ answer, what }) {
  return h("p", { class: answer.error ? "sentences bad" : "soft", role: "status" },
    answer.error ? answer.error.sentence : `Asking for ${what} …`);
}

// Of when what is shown is, and whether it is old.
export function Freshness({ answer, stale = null }) {
  const old = answer.error ? `${answer.error.sentence} ${answer.at ? `What is shown is of ${moment(answer.at)}. ` : ""}Asking again.` : stale;
  return h("div", { role: "status", class: old ? "sentences warn" : "unseen" }, old ? local(old) : "");
}

const LEVELS = {
  bad: ["Needs attention", "✕"],
  warn: ["Worth a look", "!"],
  few: ["Too few labels", "…"],
  quiet: ["Quiet", "–"],
  fine: ["Fine", "✓"],
};
export const levels = Object.keys(LEVELS);
export const levelTitle = level => LEVELS[level]?.[0] ?? level;

export const Level = ({ level }) =>
  h("span", { class: `level ${level}` }, h("span", { "aria-hidden": "true" }, LEVELS[level]?.[1] ?? "?"), " ", levelTitle(level));

// A large number with what it is.
export const Figure = ({ word, text, value, more, is = "" }) =>
  h("div", { class: `figure ${is}` }, h("dt", null, term(word, text)), h("dd", null, value, more && h("small", null, more)));

// JSON of any kind, as people read it: a table of objects that are alike, else names and values.
export function anyRows(content) {
  if (Array.isArray(content)) return content.map(one => (one !== null && typeof one === "object" ? one : { value: one }));
  return Object.entries(content ?? {}).map(([name, one]) => (one !== null && typeof one === "object" ? { name, ...one } : { name, value: one }));
}
