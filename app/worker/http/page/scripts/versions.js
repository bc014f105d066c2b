// What a version answers, and is asked, beside another version of the same model: a row for each, and its bins.
import { h } from "./tree.js";
import { choose, keyOf, nameOf } from "./address.js";
import { Choice, Lacking } from "./parts.js";
import { count, score } from "./say.js";
import { Bins, byDrift, given, state } from "./drift.js";
import { Table } from "./tables.js";
import { heading } from "./words.js";

const versionOf = leg => `@${leg.model_version}`;

export function Versions({ model, view, at, window_, file }) {
  const found = view.versions;
  const lacking = h(Lacking, { error: view.errors?.versions });
  if (!found) return view.errors?.versions ? h("section", null, heading("h2", "versions", "Beside other versions"), lacking) : null;
  const shifts = [...(found.windows[window_] ?? found.windows.total).drift].sort(byDrift);
  const chosen = shifts.find(one => one.feature === at.of.get("shift")) ?? shifts[0];
  const before = nameOf(found.before);
  const columns = [
    { title: "of", word: "feature", is: "name", value: one => one.feature,
      cell: one => h("button", { type: "button", class: "plain", "aria-pressed": String(one === chosen), onClick: () => choose({ shift: one.feature }) }, one.feature) },
    { title: "drifted", word: "drifted", value: state, cell: one => h("span", { class: one.drifted ? "level warn" : "soft" }, state(one)) },
    { title: "rows", is: "number", value: one => one.rows, cell: one => count(one.rows) },
    { title: "rows before", is: "number", value: one => one.rows_before, cell: one => count(one.rows_before) },
    ...given(shifts).map(name => ({ title: name, word: name, is: "number", value: one => one[name], cell: one => score(one[name]) })),
  ];
  return h("section", null,
    heading("h2", "versions", "Beside other versions"),
    h("p", null, `In total: ${found.sentence}.`),
    view.others.length > 1 && h("div", { class: "choices" },
      h(Choice, { name: "before", text: "Beside", word: "versions", value: keyOf(found.before), values: view.others, title: key => decodeURIComponent(key.slice(key.lastIndexOf("/") + 1)) })),
    h("p", { class: "soft" }, `This window, beside all that ${before} has counted.`),
    h(Bins, { one: chosen, file, sets: [[versionOf(found.before), "before"], [versionOf(found.after), "rows"]] }),
    h(Table, { name: `${file} versions`, label: "Drift from another version", columns, rows: shifts, keyOf: one => one.feature, mark: one => (one.drifted ? "warn" : null), most: 100 }));
}
