// Is the shadow better? All comparisons in a table, and each on its own.
import { h } from "./tree.js";
import { choose, keyOf, link, nameOf } from "./address.js";
import { path, want } from "./store.js";
import { TimePlot, withGaps } from "./charts.js";
import { Again, anyRows, Choice, clockTitle, Figure, Freshness, FreshnessOfPart, From, Lacking, Nothing, TimeChoices } from "./parts.js";
import { byDrift } from "./drift.js";
import { count, moment, score, share, signed } from "./say.js";
import { Table } from "./tables.js";
import { comparisonView } from "./views.js";
import { heading, term } from "./words.js";

const SECONDS = 5;
const BY_LABELS = "labels_";

// The difference that a comparison is about: of accuracy, or of errors.
const differenceOf = of => (of.measures ? "error_difference" : "accuracy_difference");
// Accuracies differ by 1 at most; the interval of a few rows may be wider than that.
const inside = (end, measures) => (measures || end === null || end === undefined ? end : Math.max(-1, Math.min(1, end)));
const range = of => {
  const name = differenceOf(of);
  const [low, high] = [of[`${name}_low_always`] ?? of[`${name}_low`], of[`${name}_high_always`] ?? of[`${name}_high`]];
  return low === null || low === undefined ? "" : `${signed(inside(low, of.measures))} to ${signed(inside(high, of.measures))}`;
};
const verdictOf = of => ({ 1: "better", 0: "no difference", "-1": "worse" })[of.verdict] ?? of.verdict ?? "not enough labels";
// How many rows a verdict takes, where there are fewer.
const needed = (rows, { least_count }) => (rows < least_count ? `need ${count(least_count)}` : "");

export function Comparisons() {
  const answer = want("api/comparisons", SECONDS, "comparisons");
  const found = answer.content?.comparisons;
  const top = heading("h1", "comparisons", "Comparisons");
  if (!found) return [top, h(Nothing, { answer, what: "comparisons" })];
  const total = one => one.windows.total;
  const columns = [
    { title: "verdict", word: "verdict", is: "state", value: one => one.verdict, cell: one => h(Verdict, { verdict: one.verdict }) },
    { title: "shadow", word: "shadow", is: "name", value: one => nameOf(one.shadow),
      cell: one => [h("a", { href: link("comparison", "", { current: keyOf(one.current), shadow: keyOf(one.shadow) }) }, nameOf(one.shadow)), h("small", { class: "why" }, one.sentence)] },
    { title: "against", word: "current", is: "other", value: one => nameOf(one.current) },
    { title: "difference", word: "interval", is: "number", value: one => total(one)[differenceOf(total(one))], cell: one => [h("b", null, signed(total(one)[differenceOf(total(one))])), h("small", null, range(total(one)))] },
    { title: "shared labels", word: "labelled", is: "number", value: one => total(one).samples, cell: one => [count(total(one).samples), h("small", null, needed(total(one).samples, one))] },
  ];
  return [
    top,
    h(Freshness, { answer }),
    found.length
      ? h("div", { class: "models" }, h(Table, { name: "comparisons", label: "Comparisons", columns, rows: found, keyOf: one => keyOf(one.current) + keyOf(one.shadow) }))
      : h("p", null, "Nothing to compare yet: two models of one service are compared once both have answered the same requests. Name the shadow's predictor “shadow”, or set shadow: in the YAML file."),
    h(Versions, { versions: answer.content.versions ?? [] }),
  ];
}

const MOVED = { true: ["warn", "drifted"], false: ["fine", "as before"] };

// The newest version of each model, beside the one before: of what is compared the farthest apart stands first.
function Versions({ versions }) {
  if (!versions.length) return null;
  const farthest = one => [...one.windows.total.drift].sort(byDrift)[0];
  const [level, text] = [0, 1].map(place => one => (MOVED[farthest(one).drifted] ?? ["quiet", "too few rows"])[place]);
  const model = (leg, ...more) => [h("a", { href: link("model", keyOf(leg)) }, nameOf(leg)), ...more];
  const columns = [
    { title: "answers", word: "versions", is: "state", value: text, cell: one => h("span", { class: `level ${level(one)}` }, text(one)) },
    { title: "newest version", word: "model", is: "name", value: one => nameOf(one.after), cell: one => model(one.after, h("small", { class: "why" }, one.sentence)) },
    { title: "before", is: "other", value: one => nameOf(one.before), cell: one => model(one.before, h("small", null, `${count(farthest(one).rows_before)} rows`)) },
    { title: "PSI", word: "psi", is: "number", value: one => farthest(one).psi, cell: one => [h("b", null, score(farthest(one).psi)), h("small", null, farthest(one).feature)] },
    { title: "rows", is: "number", value: one => farthest(one).rows, cell: one => [count(farthest(one).rows), h("small", null, needed(farthest(one).rows, one))] },
  ];
  return [
    heading("h2", "versions", "New versions"),
    h("div", { class: "models" }, h(Table, { name: "versions", label: "New versions", columns, rows: versions, keyOf: one => keyOf(one.after) })),
  ];
}

const Verdict = ({ verdict }) => h("span", { class: `level ${{ better: "fine", worse: "bad" }[verdict] ?? "quiet"}` }, verdict === "not enough" ? "not enough labels" : verdict);

export function Comparison({ at }) {
  const current = at.of.get("current") ?? "", shadow = at.of.get("shadow") ?? "";
  const answer = comparisonView(current, shadow, at.of);
  const view = answer.content;
  const back = h("p", { class: "crumbs" }, h("a", { href: link("comparisons") }, "All comparisons"));
  if (!view) return [back, heading("h1", "comparisons", "Comparison"), h(Nothing, { answer, what: "the comparison" })];
  const one = view.comparison;
  const windows = Object.keys(one.windows).filter(name => !name.startsWith(BY_LABELS));
  const window_ = windows.includes(at.of.get("window")) ? at.of.get("window") : "total";
  const hasLabels = Object.keys(one.windows).length > windows.length;
  const clock = hasLabels && at.of.get("clock") === "labels" ? "labels" : "predictions";
  const of = (clock === "labels" && one.windows[BY_LABELS + window_]) || one.windows[window_];
  const difference = differenceOf(of);
  return [
    back,
    h("div", { class: "title" }, heading("h1", "comparisons", `${nameOf(one.shadow)} against ${nameOf(one.current)}`), h(Verdict, { verdict: one.verdict })),
    h(Freshness, { answer }),
    h("p", { class: `sentences ${{ better: "fine", worse: "bad" }[one.verdict] ?? ""}` }, one.sentence, "."),
    h("div", { class: "choices" },
      h(Choice, { name: "window", text: "Window", value: window_, values: windows }),
      hasLabels && h(Choice, { name: "clock", text: "Counted", value: clock, values: ["predictions", "labels"], title: clockTitle })),
    h("dl", { class: "figures" },
      h(Figure, { word: "interval", text: difference.replace("_", " "), value: signed(of[difference]), more: range(of) }),
      h(Figure, { word: "labelled", text: "shared labels", value: count(of.samples), more: needed(of.samples, one) }),
      of.only_shadow_right !== undefined && h(Figure, { word: "only_right", text: "only shadow right", value: count(of.only_shadow_right) }),
      of.only_current_right !== undefined && h(Figure, { word: "only_right", text: "only current right", value: count(of.only_current_right) }),
      h(Figure, { word: "agreement", text: "agreement", value: share(of.agreement) }),
      of.prediction_psi !== undefined && h(Figure, { word: "answers_psi", text: "answers, PSI", value: score(of.prediction_psi), more: `on ${count(of.prediction_rows)}` }),
      of.score_ks !== undefined && h(Figure, { word: "answers_ks", text: "probabilities, KS", value: score(of.score_ks), more: `on ${count(of.score_rows)}` }),
      h(Figure, { word: "p", text: "p", value: score(of.p_value_always), more: `${score(of.p_value)} for one look` }),
      of.detectable !== null && h(Figure, { word: "detectable", text: "would be found", value: score(of.detectable) })),
    h(Over, { view, at, old: answer.old === true, file: `${nameOf(one.shadow)} against ${nameOf(one.current)}` }),
    h(Beside, { current, shadow, view, window_, clock }),
    h(ByClass, { one }),
    !of.measures && h(OnlyOne, { at, current, shadow }),
  ];
}

function Over({ view, at, old, file }) {
  const data = view.history;
  const points = (data?.points ?? []).map(({ difference, low, high, ...point }) =>
    ({ ...point, value: difference, low: inside(low, data.measures), high: inside(high, data.measures) }));
  const known = points.filter(point => point.value !== null);
  return h("section", null,
    heading("h2", "interval", "The difference over time"),
    h("div", { class: "choices" }, h(TimeChoices, { at, older: view.older })),
    h(Lacking, { error: view.errors.history }),
    known.length > 0
      ? [
          h(TimePlot, { points: withGaps(points, data.step), step: data.step, name: "difference", label: `Difference over time, ${signed(known.at(-1).value)} at the end`, file, zero: true }),
          h(From, { data }),
        ]
      : data && !old && h("p", { class: "soft" }, `Nothing to draw yet. ${data.note ?? ""}`));
}

// What says nothing of how right a model is, and comes last.
const BESIDE_SCORES = ["reward_mean", "coverage"];

// The scores of both, side by side.
function Beside({ current, shadow, view, window_, clock }) {
  const one = view.comparison;
  const [own, other] = [view.current, view.shadow].map(windows => (clock === "labels" && windows[BY_LABELS + window_]) || windows[window_]);
  if (!own || !other) return null;
  const names = [...new Set([...Object.keys(own), ...Object.keys(other)])].filter(name => !name.includes("/"));
  const rows = [...names.filter(name => !BESIDE_SCORES.includes(name)), ...names.filter(name => BESIDE_SCORES.includes(name))]
    .map(name => ({ name, own: own[name] ?? null, other: other[name] ?? null }))
    .map(row => ({ ...row, difference: row.own === null || row.other === null ? null : row.other - row.own }));
  const number = (title, field, word, format = score) => ({ title, word, is: "number", value: row => row[field], cell: row => format(row[field]) });
  const columns = [
    { title: "score", is: "name", value: row => row.name, cell: row => term(row.name) },
    number("current", "own", "current"), number("shadow", "other", "shadow"), number("difference", "difference", null, signed),
  ];
  return h("section", null,
    heading("h2", "comparisons", "Side by side"),
    h("p", { class: "soft" }, "Each over all of its own labelled rows: ",
      h("a", { href: link("model", current) }, nameOf(one.current)), " and ", h("a", { href: link("model", shadow) }, nameOf(one.shadow)), "."),
    h(Table, { name: "side by side", label: "Scores side by side", columns, rows, keyOf: row => row.name }));
}

function ByClass({ one }) {
  const rows = Object.entries(one.classes ?? {}).map(([name, of]) => ({ name, ...of }));
  if (!rows.length) return null;
  const columns = [
    { title: "class", word: "classes", is: "name", value: row => row.name },
    { title: "shared labels", is: "number", value: row => row.samples, cell: row => count(row.samples) },
    { title: "only current right", word: "only_right", is: "number", value: row => row.only_current_right },
    { title: "only shadow right", word: "only_right", is: "number", value: row => row.only_shadow_right },
    { title: "difference", word: "interval", is: "number", value: row => row[differenceOf(row)], cell: row => [signed(row[differenceOf(row)]), h("small", null, range(row))] },
    { title: "verdict", word: "verdict", value: verdictOf },
  ];
  return h("section", null, heading("h2", "classes", "By true class, in total"), h(Table, { name: "comparison by class", label: "Difference by class", columns, rows, keyOf: row => row.name }));
}

const LABELS = { puid: "request id", time_at: "time", actual: "true class", predicted: "predicted" };

// Rows that one of the two alone has right.
function OnlyOne({ at, current, shadow }) {
  const right = at.of.get("right") === "current" ? "current" : "shadow";
  const place = path("api/comparisons/examples", { current, shadow, right });
  const answer = want(place, Infinity);
  const rows = anyRows(answer.content?.examples ?? []);
  const isTold = name => name !== "puid" && name !== "right" && (name !== "row" || rows.some(row => row.row)); // what is the same in all rows is not
  const names = ["puid", ...new Set(rows.flatMap(row => Object.keys(row)).filter(isTold))];
  const columns = names.map(name => ({
    title: LABELS[name] ?? name.replaceAll("_", " "), value: row => row[name], is: name === "puid" ? "name" : "",
    cell: row => (name === "puid" ? h("a", { href: link("request", encodeURIComponent(row.puid)) }, row.puid) : name === "time_at" ? moment(row[name]) : row[name] ?? null),
  }));
  const option = value => h("button", { type: "button", class: "chip", "aria-pressed": String(right === value), onClick: () => choose({ right: value }) }, `only the ${value} is right`);
  return h("section", null,
    heading("h2", "only_right", "Where only one was right"),
    h("div", { class: "chips", role: "group", "aria-label": "Which one is right" }, option("shadow"), option("current")),
    h(Again, { place, answer }),
    h(FreshnessOfPart, { answer }),
    answer.content?.note && h("p", { class: "soft" }, answer.content.note),
    rows.length ? h(Table, { name: `only ${right} right`, label: `Rows that only the ${right} has right`, columns, rows }) : answer.content && h("p", { class: "soft" }, "None of the requests that were looked through."));
}
