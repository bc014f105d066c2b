// The workers: who counts which partition, how far behind, what they were started with, and what `tally check` says.
import { h, Component } from "./tree.js";
import { again, want } from "./store.js";
import { Figure, Freshness, Nothing, Sentences } from "./parts.js";
import { count, moment, plural, rate } from "./say.js";
import { Table } from "./tables.js";
import { heading } from "./words.js";

const SECONDS = 3;

// Of a partition that another worker counts this one knows no more than whose it is.
const stateOf = one => ({ true: "ready", false: "not ready" })[one.ready] ?? (one.owner ? "at another worker" : "nobody's");

const PARTITIONS = [
  { title: "partition", word: "partitions", is: "number", value: one => one.number },
  { title: "state", value: stateOf, cell: one => h("span", { class: one.ready === false ? "level warn" : "" }, stateOf(one)) },
  { title: "lag", word: "lag", is: "number", value: one => one.lag, cell: one => count(one.lag) },
  { title: "open requests", word: "open_exchanges", is: "number", value: one => one.open_exchanges, cell: one => count(one.open_exchanges) },
  { title: "worker", word: "worker", value: one => one.owner },
];
const SETTINGS = [
  { title: "setting", is: "name", value: one => one.name, cell: one => h("code", null, one.name) },
  { title: "value", is: "long bare", value: one => one.value, cell: one => h(one.default ? "span" : "b", null, one.value || "(none)") },
  { title: "meaning", is: "long bare", value: one => one.meaning },
];

export function Worker() {
  const answer = want("api/worker", SECONDS);
  const top = heading("h1", "worker", "Worker");
  const data = answer.content;
  if (!data) return [top, h(Nothing, { answer, what: "the worker" })];
  const lag = data.partitions.reduce((sum, one) => sum + (one.lag ?? 0), 0);
  const ready = data.partitions.filter(one => one.ready || (one.ready === null && one.owner)).length;
  const links = Object.entries(data.links ?? {});
  return [
    h("div", { class: "title" }, top, h("p", { class: "soft" }, `${data.url} · Tally ${data.version} · ${data.app_id} · since ${moment(data.started_at)}`)),
    h(Freshness, { answer, shown: data.problems }),
    h(Sentences, { of: data.problems, is: "bad" }),
    h(Sentences, { of: data.notes, is: "warn" }),
    h("dl", { class: "figures" },
      h(Figure, { word: "speed", text: "events", value: rate(data.events_per_second) }),
      h(Figure, { word: "lag", text: "waiting", value: count(lag), is: lag > 10_000 ? "bad" : "" }),
      h(Figure, { word: "partitions", text: "partitions ready", value: `${ready} of ${data.partitions.length}` }),
      h(Figure, { word: "worker", text: "workers", value: count(data.workers.length) })),
    links.length > 0 && h("p", null, links.map(([name, url], number) => [number > 0 && " · ", h("a", { href: url, key: name }, name)])),
    h("section", null, heading("h2", "partitions", "Partitions"), h(Table, { name: "partitions", label: "Partitions", columns: PARTITIONS, rows: data.partitions, keyOf: one => one.number, most: 256 })),
    h("section", null, heading("h2", "check", "Check"), h(Check)),
    h(Settings, { settings: data.settings }),
  ];
}

// What was set stands there; the rest, which is most, on demand.
function Settings({ settings }) {
  const usual = settings.filter(one => one.default);
  const set = settings.filter(one => !one.default);
  const table = (name, label, rows) => h(Table, { name, label, columns: SETTINGS, rows, keyOf: one => one.name });
  return h("section", null,
    heading("h2", "settings", "Settings"),
    set.length > 0 ? table("settings", "Settings that were set", set) : h("p", { class: "soft" }, "None was set."),
    h("details", null, h("summary", null, `${plural(usual.length, "more setting")} as ${usual.length === 1 ? "it comes" : "they come"}`),
      table("other settings", "Settings as they come", usual)));
}

const PLACE = "api/worker/check";

class Check extends Component {
  state = { asked: false };

  render(_, { asked }) {
    const answer = asked ? want(PLACE, Infinity) : null;
    const run = () => (asked ? again(PLACE) : this.setState({ asked: true }));
    const content = answer?.content;
    return [
      h("button", { type: "button", onClick: run, disabled: answer?.asking ?? false }, answer?.asking ? "Checking …" : "Run tally check"),
      answer?.error && h("p", { class: "sentences bad", role: "status" }, answer.error.sentence),
      content && h("p", { class: `sentences ${content.fine ? "fine" : "bad"}`, role: "status" },
        content.fine ? `All is as it should be, as of ${moment(content.checked_at)}.` : `${plural(content.problems.length, "problem")}, as of ${moment(content.checked_at)}.`),
      content && h("pre", { tabIndex: 0 }, content.lines.join("\n")),
    ];
  }
}
