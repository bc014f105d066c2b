// The monitors of a model over time: values and threshold of each, as its version in force says them.
import { h } from "./tree.js";
import { choose } from "./address.js";
import { MonitorPlot, withGaps } from "./charts.js";
import { Lacking } from "./parts.js";
import { moment, score } from "./say.js";
import { heading, term } from "./words.js";

const option = (value, chosen) => h("option", { key: value, value, selected: value === chosen }, value);

// The names of the monitors that a model has, or had.
const namesOf = model => [...new Set([...(model.monitors ?? []), ...(model.windows.total.monitors ?? [])].map(one => one.monitor))];

export function MonitorHistory({ model, view, at, old, file }) {
  const names = namesOf(model);
  return names.length > 0 && h(Chosen, { names, data: view.monitor, error: view.errors.monitor, at, old, file });
}

function Chosen({ names, data, error, at, old, file }) {
  const name = data?.monitor ?? at.of.get("monitor") ?? names[0];
  const versions = [...new Set([...(data?.points ?? []).map(point => point.version)])];
  const version = versions.find(one => one === at.of.get("monitor_version")) ?? versions.find(one => one === data.version) ?? versions.at(-1);
  const points = (data?.points ?? []).filter(point => point.version === version);
  const known = points.filter(point => point.mean !== null);
  const when = data && data.threshold !== null ? `a row alerts where its value is ${data.comparison} ${score(data.threshold)}` : "no longer in the YAML file";
  return h("section", null,
    heading("h2", "monitor_history", "Monitors over time"),
    h("div", { class: "choices" },
      h("label", { class: "choice" }, term("monitors", "Monitor"), " ",
        h("select", { onChange: event => choose({ monitor: event.target.value, monitor_version: "" }) }, names.map(one => option(one, name)))),
      versions.length > 1 && h("label", { class: "choice" }, "Version ",
        h("select", { onChange: event => choose({ monitor_version: event.target.value }) }, versions.map(one => option(one, version))))),
    h(Lacking, { error }),
    known.length > 0
      ? [
          h(MonitorPlot, {
            points: withGaps(points, data.step), threshold: data.threshold, name, file: `${file} ${name}`,
            label: `${name} over time, mean ${score(known[0].mean)} at ${moment(known[0].start)} to ${score(known.at(-1).mean)}; ${when}.`,
          }),
          h("p", { class: "soft" }, `Version ${version}; ${when}. ${data.note ?? ""}`),
        ]
      : data && !old && h("p", { class: "soft" }, "Nothing to draw yet: no row of the time that is kept has a value."));
}
