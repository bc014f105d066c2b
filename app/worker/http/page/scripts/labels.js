// How many answers have labels and how late these come; and the two pies: right or wrong, with feedback or without.
import { h } from "./tree.js";
import { Bars, Pie } from "./charts.js";
import { Figure } from "./parts.js";
import { count, length } from "./say.js";
import { heading } from "./words.js";

// The delay below which so many of all labels lie, by the buckets of a histogram: [[bound in seconds or null, labels], …].
function delayAt(buckets, part) {
  const whole = buckets.reduce((sum, [, labels]) => sum + labels, 0);
  let sum = 0;
  for (const [bound, labels] of buckets) {
    sum += labels;
    if (sum >= part * whole) return bound === null ? "more than 30 d" : `≤ ${length(bound)}`;
  }
  return null;
}

const upTo = (bound, before) => (bound === null ? `> ${length(before)}` : `≤ ${length(bound)}`);

export function Labels({ model, reading, file }) {
  const { correct = 0, incorrect = 0, measured = 0 } = reading.rows ?? {};
  const answered = Object.values(reading.rows ?? {}).reduce((sum, rows) => sum + rows, 0);
  const labelled = correct + incorrect + measured;
  const buckets = model.delay?.buckets ?? [];
  const some = buckets.some(([, labels]) => labels);
  const last = buckets.findLastIndex(([, labels]) => labels);
  const shown = buckets.slice(Math.max(0, buckets.findIndex(([, labels]) => labels)), last + 1);
  return h("section", null,
    heading("h2", "labels", "Labels"),
    h("div", { class: "plots" },
      correct + incorrect > 0 && h("div", null, heading("h3", "correct", "Right and wrong"),
        h(Pie, { parts: [["correct", correct, "good"], ["incorrect", incorrect, "bad"]], name: "Labelled rows", file: `${file} correct` })),
      answered > 0 && h("div", null, heading("h3", "provided", "With feedback and without"),
        h(Pie, { parts: [["provided", labelled, "accent"], ["not provided", answered - labelled, "line"]], name: "Feedback of answered rows", file: `${file} feedback` })),
      some && h("div", null, heading("h3", "delay", "How late labels come"),
        h("dl", { class: "figures" },
          h(Figure, { word: "delay", text: "half within", value: delayAt(buckets, 0.5) }),
          h(Figure, { word: "delay", text: "95 % within", value: delayAt(buckets, 0.95) })),
        h(Bars, { names: shown.map(([bound], number) => upTo(bound, shown[number - 1]?.[0])), sets: [["labels", shown.map(([, labels]) => labels), "accent"]],
          label: "Labels by their delay", file: `${file} delay`, format: count }))),
    !answered && h("p", { class: "soft" }, "No answers in this window."));
}
