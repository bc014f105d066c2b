// What comes beside what the model was trained on: a row for each feature, and its bins side by side.
import { h } from "./tree.js";
import { choose } from "./address.js";
import { Bars } from "./charts.js";
import { count, score, share } from "./say.js";
import { Table } from "./tables.js";
import { heading } from "./words.js";

const DISTANCES = ["psi", "js", "ks", "ks_p", "chi2_p"];
const KINDS = ["missing", "below", "above", "unseen", "invalid"];
const MOST_BINS = 60;

const state = one => (one.drifted === true ? "drifted" : one.drifted === false ? "no" : "too few rows");

// The features that have drifted first, then by PSI.
const byDrift = (one, other) => (other.drifted === true) - (one.drifted === true) || (other.psi ?? -1) - (one.psi ?? -1);

export function Drift({ model, reading, at, file }) {
  const features = [...(reading.drift ?? [])].sort(byDrift);
  const gathering = model.reference?.gathered !== undefined && h("p", { class: "soft" },
    `It has no reference yet. Gathering: ${count(model.reference.gathered)} of the first ${count(model.reference.first)} rows.`);
  if (!features.length) return gathering ? h("section", null, heading("h2", "drift", "Has the data moved?"), gathering) : null;
  const chosen = features.find(one => one.feature === at.of.get("feature")) ?? features[0];
  const given = names => names.filter(name => features.some(one => one[name] !== undefined && one[name] !== null));
  const columns = [
    { title: "feature", word: "feature", is: "name", value: one => one.feature,
      cell: one => h("button", { type: "button", class: "plain", "aria-pressed": String(one === chosen), onClick: () => choose({ feature: one.feature }) }, one.feature) },
    { title: "drifted", word: "drifted", value: state, cell: one => h("span", { class: one.drifted ? "level bad" : "soft" }, state(one)) },
    { title: "rows", is: "number", value: one => one.rows, cell: one => count(one.rows) },
    ...given(DISTANCES).map(name => ({ title: name, word: name, is: "number", value: one => one[name], cell: one => score(one[name]) })),
    ...given(KINDS).map(name => ({ title: name, word: name, is: "number", value: one => one[name], cell: one => share(one[name]) })),
  ];
  const none = features.every(one => !one.rows);
  return h("section", null,
    heading("h2", "drift", "Has the data moved?"),
    gathering,
    reading.drifted_share !== undefined && reading.drifted_share !== null
      && h("p", null, reading.drifted_share ? `${share(reading.drifted_share)} of the features have drifted from the reference.` : "No feature has drifted from the reference."),
    none && h("p", { class: "sentences warn" },
      "No row of this window could be compared with the reference. Features are found by their names where requests name their columns, "
      + "else by their place: does the reference fit what is asked? The worker's log says so where it does not."),
    h(Bins, { one: chosen, file }),
    h(Table, { name: `${file} drift`, label: "Drift by feature", columns, rows: features, keyOf: one => one.feature, mark: one => (one.drifted ? "bad" : null), most: 100 }));
}

function Bins({ one, file }) {
  const bins = (one.bins ?? []).filter(bin => bin.reference || bin.rows).slice(0, MOST_BINS);
  if (!bins.length) return null;
  const sum = field => bins.reduce((total, bin) => total + bin[field], 0) || 1;
  const [reference, rows] = [sum("reference"), sum("rows")];
  return h("div", null,
    heading("h3", "bins", one.feature),
    h(Bars, {
      names: bins.map(bin => bin.bin), label: `${one.feature}: reference and live, ${state(one)}`, file: `${file} ${one.feature}`,
      sets: [["reference", bins.map(bin => bin.reference / reference), "soft"], ["live", bins.map(bin => bin.rows / rows), one.drifted ? "bad" : "accent"]],
    }));
}
