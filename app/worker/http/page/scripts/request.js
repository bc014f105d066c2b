// One request: who answered what, what was right, its documents; and a form that tells the truth of it.
import { h, Component } from "./tree.js";
import { keyOf, link, nameOf } from "./address.js";
import { again, held, post, want } from "./store.js";
import { Freshness } from "./parts.js";
import { moment, precise, score } from "./say.js";
import { Table } from "./tables.js";
import { heading, meaning, term } from "./words.js";

const SECONDS = 3;

class Look extends Component {
  render({ puid }) {
    const go = event => {
      event.preventDefault();
      const asked = new FormData(event.target).get("puid").trim();
      if (asked) location.hash = link("request", encodeURIComponent(asked));
    };
    return h("form", { class: "choices", onSubmit: go },
      h("label", { class: "choice grow" }, "Request id ", h("input", { name: "puid", type: "search", required: true, autocomplete: "off", spellcheck: false, defaultValue: puid, key: puid, placeholder: "as in Seldon-Puid or Ce-Requestid" })),
      h("button", { type: "submit" }, "Look up"));
  }
}

export function Request({ at }) {
  let puid = at.rest;
  try {
    puid = decodeURIComponent(at.rest);
  } catch {
    // As it was typed.
  }
  const asked = encodeURIComponent(puid);
  return [
    heading("h1", "request", "Request"),
    h(Look, { puid }),
    puid ? h(Known, { key: puid, puid, place: `api/exchanges/${asked}` }) : h("p", { class: "soft" }, "A request id is what joins a prediction with its label. Cells of a model's confusion lead to request ids, too."),
  ];
}

function Known({ puid, place }) {
  const answer = want(place, SECONDS);
  const data = answer.content;
  if (!data) return h("p", { class: answer.error ? "sentences warn" : "soft", role: "status" }, answer.error ? answer.error.sentence : "Asking …");
  const answered = data.legs.filter(leg => leg.response_time);
  const rows = Math.max(0, ...data.legs.map(leg => leg.rows.length));
  return [
    h(Freshness, { answer }),
    data.note && h("p", { class: "sentences warn" }, data.note),
    h("dl", { class: "facts" },
      h("dt", null, "Request id"), h("dd", null, data.puid),
      data.row !== undefined && [h("dt", null, term("row", "Row")), h("dd", null, data.row)],
      h("dt", null, term("label", "Label")), h("dd", null, labelText(data.label)),
      h("dt", null, term("reward", "Reward")), h("dd", null, data.reward === null ? "none" : score(data.reward)),
      h("dt", null, "Feedback"), h("dd", null, data.feedback_time ? moment(data.feedback_time) : "none yet")),
    data.legs.map(leg => h(Leg, { key: keyOf(leg), leg, puid })),
    data.detections?.length > 0 && h("section", null, heading("h2", "detections", "Detections"), h("ul", null, data.detections.map(one => h("li", null, `${one.kind} at ${moment(one.time)}: ${one.leg}`)))),
    h(History, { data }),
    !held && h(Feedback, { puid: data.puid, rows, known: answered.length > 0, place }),
    !held && h(Documents, { place }),
  ];
}

const labelText = label => (label === null || label === undefined ? "not known yet" : Array.isArray(label) ? label.map(one => one ?? "–").join(", ") : String(label));

function right(row) {
  if (row.correct === true) return h("span", { class: "level fine" }, "✓ right");
  if (row.correct === false) return h("span", { class: "level bad" }, "✕ wrong");
  return row.error === undefined ? h("span", { class: "soft" }, "not known") : `off by ${score(row.error)}`;
}

function Leg({ leg, puid }) {
  const rows = leg.rows.map((row, number) => ({ number, ...row }));
  const segments = [...new Set(rows.flatMap(row => Object.keys(row.segments ?? {})))];
  const columns = [
    ...(rows.length > 1 ? [{ title: "row", word: "row", is: "number", value: row => row.number }] : []),
    { title: "predicted", value: row => row.predicted, cell: row => String(row.predicted ?? "no class") },
    { title: "score", is: "number", value: row => row.score ?? null, cell: row => score(row.score ?? null) },
    { title: "label", word: "label", value: row => row.label ?? null, cell: row => (row.label === undefined ? "–" : String(row.label)) },
    { title: "right?", value: row => row.correct ?? row.error ?? null, cell: right },
    ...segments.map(name => ({ title: name, value: row => row.segments?.[name] })),
  ];
  return h("section", null,
    h("h2", null, h("a", { class: "term", "data-tip": meaning("leg"), href: link("model", keyOf(leg)) }, nameOf(leg))),
    h("p", { class: "soft" }, `asked ${leg.request_time ? moment(leg.request_time) : "at an unknown time"}, `, leg.response_time ? `answered ${moment(leg.response_time)}` : "no answer yet"),
    rows.length > 0 && h(Table, { name: `${puid} ${nameOf(leg)}`, label: `Rows of ${nameOf(leg)}`, columns, rows, plain: rows.length < 2, most: 100 }));
}

// What came when.
function History({ data }) {
  const events = data.legs.flatMap(leg => [[leg.request_time, `request to ${nameOf(leg)}`], [leg.response_time, `answer of ${nameOf(leg)}`]]);
  events.push([data.feedback_time, "newest feedback"], ...(data.detections ?? []).map(one => [one.time, one.kind]));
  const known = events.filter(([time]) => time).sort(([one], [other]) => (one < other ? -1 : 1));
  return h("section", null, heading("h2", "order", "In order of time"),
    h("ol", { class: "events" }, known.map(([time, what]) => h("li", { key: time + what }, h("time", { datetime: time }, precise(time)), " ", what))));
}

// A label as it is typed: JSON where it is some (a number, a list, null), else the text.
function labelOf(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

class Feedback extends Component {
  state = { said: null, failed: false };

  async send(event) {
    event.preventDefault();
    const form = new FormData(event.target);
    const [label, reward, row] = ["label", "reward", "row"].map(name => (form.get(name) ?? "").trim());
    if (!label && !reward) {
      this.setState({ said: "Fill in a label or a reward.", failed: true });
      return;
    }
    const content = { puid: this.props.puid + (row ? `-item-${row}` : "") };
    if (label) content.label = labelOf(label);
    if (reward) content.reward = labelOf(reward);
    try {
      await post("feedback", content);
      this.setState({ said: "Taken. It counts within a second.", failed: false });
      setTimeout(() => again(this.props.place), 700);
    } catch (error) {
      this.setState({ said: error.sentence, failed: true });
    }
  }

  render({ rows }, { said, failed }) {
    return h("section", null,
      heading("h2", "feedback", "Give feedback"),
      h("form", { class: "choices", onSubmit: event => this.send(event) },
        h("label", { class: "choice" }, term("label", "Label"), " ", h("input", { name: "label", autocomplete: "off", placeholder: rows > 1 ? "a class, or a list: [1, 0]" : "a class or a number" })),
        rows > 1 && h("label", { class: "choice" }, term("row", "Row"), " ",
          h("select", { name: "row" }, h("option", { value: "" }, "all"), Array.from({ length: Math.min(rows, 1000) }, (_, number) => h("option", { key: number, value: number }, number)))),
        h("label", { class: "choice" }, term("reward", "Reward"), " ", h("input", { name: "reward", autocomplete: "off", inputmode: "decimal", size: 8 })),
        h("button", { type: "submit" }, "Send")),
      h("p", { role: "status", class: said ? `sentences ${failed ? "bad" : "fine"}` : "soft" }, said ?? "It is sent as who opened this page: where the worker has a token, with the token."));
  }
}

// Asked for when they are opened: most workers have none.
class Documents extends Component {
  state = { open: false };

  render({ place }, { open }) {
    const answer = open ? want(`${place}/documents`, 30) : null;
    const documents = answer?.content?.documents;
    return h("section", null, heading("h2", "documents", "Documents in Elasticsearch"),
      h("details", { onToggle: event => this.setState({ open: event.currentTarget.open }) },
        h("summary", null, "Show them"),
        answer?.error && h("p", { class: "sentences", role: "status" }, answer.error.sentence),
        documents?.length === 0 && h("p", { class: "soft" }, "None is written yet."),
        documents?.map(one => [h("h3", null, `${one.index} / ${one.id}`), h("pre", { tabIndex: 0 }, JSON.stringify(one.body, null, 2))])));
  }
}
