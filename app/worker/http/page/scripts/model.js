// One model: how right it is and since when, for which classes, and whether one may trust that.
import { h } from "./tree.js";
import { keyOf, link, nameOf } from "./address.js";
import { Calibration } from "./calibration.js";
import { Classes, Confusion, Examples } from "./confusion.js";
import { Drift } from "./drift.js";
import { Labels } from "./labels.js";
import { Choice, clockTitle, Figure, Freshness, Nothing, Sentences } from "./parts.js";
import { count, moment, plural, score, share } from "./say.js";
import { MonitorHistory } from "./monitors.js";
import { More, OtherScores } from "./more.js";
import { History } from "./history.js";
import { Segments } from "./segments.js";
import { mainScore, modelView } from "./views.js";
import { heading } from "./words.js";

const BY_LABELS = "labels_";

// The windows of a model by their plain names, and how /api names one by a clock.
const windowsOf = model => Object.keys(model.windows).filter(name => !name.startsWith(BY_LABELS));
const named = (model, window_, clock) => (clock === "labels" && BY_LABELS + window_ in model.windows ? BY_LABELS + window_ : window_);
const clocksOf = model => (Object.keys(model.windows).some(name => name.startsWith(BY_LABELS)) ? ["predictions", "labels"] : ["predictions"]);

// The window that is chosen; else that of the overview, or where it has no labels a longer one that has.
function windowOf(model, at, usual) {
  const windows = windowsOf(model);
  const chosen = at.of.get("window");
  if (windows.includes(chosen)) return chosen;
  const moving = windows.filter(name => name !== "total");
  return moving.slice(Math.max(0, moving.indexOf(usual))).find(name => model.windows[name].samples) ?? "total";
}

// Notes on limits are one a window, which they name at their end: those of other windows are left out.
const isOf = window_ => note => {
  const [, said] = /\((\w+), [\d,]+ rows\)\.$/.exec(note) ?? [];
  return said === undefined || said === window_;
};

// What misses its limit is worse than what is merely worth a word.
const missesLimit = note => /(?:below|above) its limit of/.test(note);

const isFew = (model, reading) => reading.samples < model.least_count;

// What the score most likely is, before labels come.
function Estimate({ reading, name }) {
  const estimated = reading.estimate?.scores ?? {};
  const own = estimated[name] === undefined ? "accuracy" : name;
  if (estimated[own] === undefined || estimated[own] === null) return null;
  const { low, high } = reading.estimate;
  return h(Figure, { word: "estimate", text: `estimated ${own}`, value: score(estimated[own]), more: `${score(low[own])}–${score(high[own])}, no label needed` });
}

function Figures({ model, reading, interval, name }) {
  const rows = Object.values(reading.rows ?? {}).reduce((sum, amount) => sum + amount, 0);
  const limit = model.limits?.[name];
  const more = [interval && interval.map(score).join(" to "), limit !== undefined && `limit ${score(limit)}`].filter(Boolean).join(" · ");
  return h("dl", { class: "figures" },
    h(Figure, { word: name, text: name, value: score(reading.scores[name]), is: isFew(model, reading) ? "few" : "", more }),
    h(Estimate, { reading, name }),
    h(Figure, { word: "labelled", text: "labelled", value: count(reading.samples), more: `of ${count(rows)} rows${isFew(model, reading) ? `, need ${count(model.least_count)}` : ""}` }),
    h(Figure, { word: "coverage", text: "coverage", value: share(reading.scores.coverage) }),
    reading.rewards > 0 && h(Figure, { word: "reward_mean", text: "mean reward", value: score(reading.scores.reward_mean), more: `${count(reading.rewards)} rewards` }),
    h(Figure, { word: "predictions", text: "requests in total", value: count(model.exchanges.request), more: `${count(model.exchanges.response)} answered` }));
}

export function Model({ at }) {
  const key = at.rest;
  const answer = modelView(key, at.of);
  const view = answer.content, old = answer.old === true;
  const model = view?.model;
  const back = h("p", { class: "crumbs" }, h("a", { href: link("") }, "All models"));
  if (!model) return [back, heading("h1", "model", decodeURIComponent(key)), h(Nothing, { answer, what: "this model" })];
  const window_ = windowOf(model, at, view.window);
  const clocks = clocksOf(model);
  const clock = clocks.includes(at.of.get("clock")) ? at.of.get("clock") : "predictions";
  const ofWindow = named(model, window_, clock);
  const reading = model.windows[ofWindow];
  const name = at.of.get("score") ?? view.history?.score ?? mainScore(model);
  const notes = model.notes.filter(isOf(ofWindow));
  const asOf = view.now_at ? `as of ${moment(view.now_at)}` : null;
  const facts = [model.task, model.shadow ? "shadow" : null, `first seen ${moment(model.first_seen)}`, asOf].filter(Boolean);
  const shared = { model, reading, at, file: nameOf(model) };
  return [
    back,
    h("div", { class: "title" }, heading("h1", "model", nameOf(model)), h("p", { class: "soft" }, facts.join(" · "))),
    h(Freshness, { answer }),
    h(Against, { comparisons: view.comparisons }),
    isFew(model, reading) && h("p", { class: "sentences" }, `Too few to judge: ${plural(reading.samples, "label")} in this window, need ${count(model.least_count)}.`),
    h(Sentences, { of: notes.filter(missesLimit), is: "bad" }),
    h(Sentences, { of: notes.filter(note => !missesLimit(note)), is: "warn" }),
    h("div", { class: "choices" },
      h(Choice, { name: "window", text: "Window", value: window_, values: windowsOf(model) }),
      clocks.length > 1 && h(Choice, { name: "clock", text: "Counted", value: clock, values: clocks, title: clockTitle })),
    h(Figures, { model, reading, interval: view.history?.score === name ? view.intervals?.[ofWindow] : null, name: name.replace(/^(.*)\{(.*)\}$/, "$1/$2") }),
    h(History, { ...shared, view, old, name }),
    h("div", { class: "pair" },
      h(Classes, { ...shared, view }),
      h(Confusion, shared)),
    h(Examples, { at, of: key }),
    h(Labels, shared),
    h(Segments, { ...shared, name }),
    h(Drift, shared),
    h(Calibration, shared),
    h(MonitorHistory, { ...shared, view, old }),
    h(More, shared),
    h(OtherScores, shared),
  ];
}

// How it does beside others that answer the same requests.
const Against = ({ comparisons }) => comparisons.length > 0 && h("ul", { class: "sentences" }, comparisons.map(one => {
  const choices = { current: keyOf(one.current), shadow: keyOf(one.shadow) };
  return h("li", { key: choices.current + choices.shadow },
    h("a", { href: link("comparison", "", choices) }, `${nameOf(one.shadow)} against ${nameOf(one.current)}`), ": ", one.sentence, ".");
}));
