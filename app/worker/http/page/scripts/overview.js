// All models, those that need attention first.
import { h } from "./tree.js";
import { choose, link, nameOf } from "./address.js";
import { held, path, want } from "./store.js";
import { Spark } from "./charts.js";
import { Choice, clockTitle, Freshness, Level, levels, levelTitle, Nothing, Sentences } from "./parts.js";
import { count, local, moment, plural, rate, score, share } from "./say.js";
import { Table } from "./tables.js";
import { heading } from "./words.js";
import { Start } from "./start.js";

const SECONDS = 3;

const interval = ({ low, high }) => (low === null || low === undefined ? "" : `${score(low)} to ${score(high)}`);

function scoreCell({ score: of }) {
  if (!of) return h("span", { class: "soft" }, "no score yet");
  const limit = of.limit === null || of.limit === undefined ? null : `limit ${score(of.limit)}`;
  return [h("b", null, score(of.value)), " ", of.name, h("small", null, [interval(of), limit].filter(Boolean).join(" · "))];
}

function nameCell(model) {
  const since = model.attention.since_at ? ` Since ${moment(model.attention.since_at)}.` : "";
  return [
    h("a", { href: link("model", model.key) }, nameOf(model)),
    h("span", { class: "tag" }, model.task),
    h("small", { class: `why ${model.attention.level}` }, local(model.attention.why), model.attention.why.includes("since") ? "" : since),
  ];
}

function trendCell(model) {
  const values = model.trend.filter(([, value]) => value !== null);
  if (!values.length) return h("span", { class: "soft" }, "no labels");
  const [first, last] = [values[0][1], values.at(-1)[1]];
  const label = `${model.score?.name ?? "score"} of ${nameOf(model)} from ${score(first)} to ${score(last)}`;
  return h(Spark, { points: model.trend, label, isBad: model.attention.level === "bad" });
}

const COLUMNS = [
  { title: "Attention", word: "attention", is: "state", value: model => model.attention.level, cell: model => h(Level, model.attention) },
  { title: "Model", word: "model", is: "name", value: nameOf, cell: nameCell },
  { title: "Score", word: "interval", is: "number wide", value: model => model.score?.value ?? null, cell: scoreCell },
  { title: "Trend", word: "trend", is: "trend", value: model => model.trend.findLast(([, value]) => value !== null)?.[1] ?? null, cell: trendCell },
  { title: "Labels", word: "labelled", is: "number", value: model => model.labelled, cell: model => [count(model.labelled), h("small", null, `of ${count(model.predictions)}`)] },
  { title: "Coverage", word: "coverage", is: "number", value: model => model.coverage, cell: model => share(model.coverage) },
  { title: "Speed", word: "speed", is: "number", value: model => model.events_per_second, cell: model => rate(model.events_per_second) },
];

const wordsOf = model => [nameOf(model), model.task, model.attention.why, model.score?.name].join(" ").toLowerCase();

function Filters({ models, at, shown }) {
  const chosen = (at.of.get("show") ?? "").split(",").filter(Boolean);
  const toggle = level => choose({ show: (chosen.includes(level) ? chosen.filter(one => one !== level) : [...chosen, level]).join(",") });
  const number = level => models.filter(model => model.attention.level === level).length;
  return h("div", { class: "filters" },
    h("label", { class: "choice grow" }, h("span", { class: "unseen" }, "Search models"),
      h("input", { type: "search", placeholder: "Search models", value: at.of.get("q") ?? "", onInput: event => choose({ q: event.target.value }) })),
    h("div", { role: "group", "aria-label": "Show only", class: "chips" },
      levels.filter(level => number(level) || chosen.includes(level)).map(level =>
        h("button", { key: level, type: "button", class: `chip ${level}`, "aria-pressed": String(chosen.includes(level)), onClick: () => toggle(level) },
          `${levelTitle(level)} ${number(level)}`))),
    h("span", { class: "unseen", role: "status" }, `${shown} of ${plural(models.length, "model")} shown`));
}

export function Overview({ at }) {
  const window_ = at.of.get("window"), clock = at.of.get("clock");
  const answer = want(path("api/overview", { window: window_, clock }), SECONDS, "overview");
  const data = answer.content;
  if (!data) return [heading("h1", "models", "Models"), h(Nothing, { answer, what: "models" })];
  const { models } = data;
  const search = (at.of.get("q") ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  const show = (at.of.get("show") ?? "").split(",").filter(Boolean);
  const found = models.filter(model =>
    (!show.length || show.includes(model.attention.level)) && search.every(word => wordsOf(model).includes(word)));
  const facts = [plural(models.length, "model"), rate(data.events_per_second).replace("/s", " events/s"), `as of ${moment(data.now_at)}`];
  return [
    h("div", { class: "title" }, heading("h1", "models", "Models"), h("p", { class: "soft" }, facts.join(" · "))),
    h(Freshness, { answer }),
    h(Sentences, { of: data.notes ?? [] }),
    models.length === 0 && !held ? h(Start) : [
      h("div", { class: "choices" },
        h(Choice, { name: "window", text: "Window", value: data.window, values: data.windows }),
        data.clocks.length > 1 && h(Choice, { name: "clock", text: "Counted", value: data.clock, values: data.clocks, title: clockTitle }),
        h(Filters, { models, at, shown: found.length })),
      found.length
        ? h("div", { class: answer.old ? "old models" : "models" }, h(Table, { name: "models", label: "Models", columns: COLUMNS, rows: found, keyOf: model => model.key, mark: model => model.attention.level }))
        : h("p", { class: "soft" }, "No model fits: change the search, or show all."),
    ],
  ];
}
