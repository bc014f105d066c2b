// What several views share: choices, sentences, what to say while nothing is known.
import { h } from "./tree.js";
import { choose } from "./address.js";
import { again, held } from "./store.js";
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
const BACKS = { "": "all that is kept", "1h": "1 hour", "1d": "1 day", "7d": "7 days" };
const ALL = { all: "since first seen" }; // which only documents know

// A value that somebody has written into the address is one more.
const choiceOf = (name, text, titles, value) =>
  h(Choice, { name, text, value, values: [...new Set([...Object.keys(titles), value])], title: one => titles[one] ?? one });

// How far back charts reach, and how long each stretch of theirs is. A replay holds no others.
export const TimeChoices = ({ at, older }) => !held && [
  choiceOf("back", "How far back", older ? { ...BACKS, ...ALL } : BACKS, at.of.get("back") ?? ""),
  choiceOf("step", "Step", STEPS, at.of.get("step") ?? ""),
];

const SOURCES = { panes: "the counts that workers keep", elasticsearch: "Elasticsearch", both: "the counts that workers keep, and further back Elasticsearch" };

// Why a part of an answer is not there.
export const Lacking = ({ error }) => error && h("p", { class: "sentences warn", role: "status" }, local(error));

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

// Of when what is shown is, and whether it is old: what the worker says of that, unless it stands on the view already.
export function Freshness({ answer, shown = [] }) {
  const stale = answer.content?.stale ?? null;
  const old = answer.error
    ? `${answer.error.sentence} ${answer.at ? `What is shown is of ${moment(answer.at)}. ` : ""}Asking again.`
    : shown.includes(stale) ? null : stale;
  return h("div", { role: "status", class: old ? "sentences warn" : "unseen" }, old ? local(old) : "");
}

// The same for a part of a view, which is asked for by itself: it tells of its errors alone.
export const FreshnessOfPart = ({ answer }) => h(Freshness, { answer, shown: [answer.content?.stale] });

// Rows that were looked for once: when, and a way to look again.
export const Again = ({ place, answer }) =>
  h("button", { type: "button", class: "plain", disabled: answer.asking, onClick: () => again(place) },
    answer.asking ? "Looking …" : `Look again${answer.at ? ` (these are of ${moment(answer.at)})` : ""}`);

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
