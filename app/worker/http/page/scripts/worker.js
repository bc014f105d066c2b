// The workers: who counts which partition, how far behind, what they were started with, and what `tally check` says.
import { h, Component } from "./tree.js";
import { again, want } from "./store.js";
import { Figure, Freshness, Nothing, Sentences } from "./parts.js";
import { count, moment, rate } from "./say.js";
import { Table } from "./tables.js";
import { heading } from "./words.js";

const SECONDS = 3;

const PARTITIONS = [
  { title: "partition", word: "partitions", is: "number", value: one => one.number },
  { title: "state", value: one => (one.ready ? "ready" : "not ready"), cell: one => h("span", { class: one.ready ? "" : "level warn" }, one.ready ? "ready" : "not ready") },
  { title: "lag", word: "lag", is: "number", value: one => one.lag, cell: one => count(one.lag) },
  { title: "open requests", word: "open_exchanges", is: "number", value: one => one.open_exchanges, cell: one => count(one.open_exchanges) },
  { title: "worker", word: "worker", is: "name", value: one => one.owner },
];
const written = value => (typeof value === "string" ? value : JSON.stringify(value));
const SETTINGS = [
  { title: "setting", is: "name", value: one => one.name, cell: one => h("code", null, one.name) },
  { title: "value", is: "long", value: one => written(one.value), cell: one => (one.default ? h("span", { class: "soft" }, written(one.value)) : h("b", null, written(one.value))) },
  { title: "meaning", is: "long", value: one => one.meaning },
];

export function Worker({ at }) {
  const answer = want("api/worker", SECONDS);
  const top = heading("h1", "worker", "Worker");
  const data = answer.content;
  if (!data) return [top, h(Nothing, { answer, what: "the worker" })];
  const lag = data.partitions.reduce((sum, one) => sum + (one.lag ?? 0), 0);
  const ready = data.partitions.filter(one => one.ready).length;
  const links = Object.entries(data.links ?? {});
  return [
    h("div", { class: "title" }, top, h("p", { class: "soft" }, `${data.url} · Tally ${data.version} · ${data.app_id} · since ${moment(data.started_at)}`)),
    h(Freshness, { answer }),
    h(Sentences, { of: data.problems, is: "bad" }),
    h(Sentences, { of: data.notes, is: "warn" }),
    h("dl", { class: "figures" },
      h(Figure, { word: "speed", text: "events", value: rate(data.events_per_second) }),
      h(Figure, { word: "lag", text: "waiting", value: count(lag), is: lag > 10_000 ? "bad" : "" }),
      h(Figure, { word: "partitions", text: "partitions ready", value: `${ready} of ${data.partitions.length}` }),
      h(Figure, { word: "worker", text: "workers", value: count(data.workers.length) })),
    links.length > 0 && h("p", null, links.map(([name, url], number) => [number > 0 && " · ", h("a", { href: url, key: name }, name)])),
    h("section", null, heading("h2", "partitions", "Partitions"), h(Table, { name: "partitions", label: "Partitions", columns: PARTITIONS, rows: data.partitions, keyOf: one => one.number, most: 256 })),
    h("section", null, heading("h2", "check", "Check"), h(Check, { wanted: at.of.get("check") !== null })),
    h("section", null, heading("h2", "settings", "Settings"), h("p", { class: "soft" }, "What was set is bold, the rest is as it comes."),
      h(Table, { name: "settings", label: "Settings", columns: SETTINGS, rows: data.settings, keyOf: one => one.name })),
  ];
}

const PLACE = "api/worker/check";

class Check extends Component {
  state = { asked: false };

  render(_, { asked }) {
    const answer = asked ? want(PLACE, Infinity) : null;
    const run = () => (asked ? again(PLACE) : this.setState({ asked: true }));
    const content = answer?.content;
    const lines = Array.isArray(content) ? content : content?.lines ?? content?.verdicts ?? [];
    return [
      h("button", { type: "button", onClick: run, disabled: answer?.asking ?? false }, answer?.asking ? "Checking …" : "Run tally check"),
      answer?.error && h("p", { class: "sentences bad", role: "status" }, answer.error.sentence),
      content && h("ul", { class: "checks", role: "status" }, lines.map(checkLine)),
    ];
  }
}

function checkLine(line, number) {
  if (typeof line === "string") return h("li", { key: number }, line);
  const { ok, level, verdict, what, name, text, detail, sentence, ...rest } = line;
  const state = ok === true || ["ok", "fine"].includes(level ?? verdict) ? "fine" : ok === false || ["bad", "error", "wrong"].includes(level ?? verdict) ? "bad" : "warn";
  return h("li", { key: number }, h("span", { class: `level ${state}` }, level ?? verdict ?? (ok ? "ok" : "wrong")), " ", [what ?? name, sentence ?? text ?? detail ?? Object.values(rest).join(" ")].filter(Boolean).join(": "));
}
