// What was refused and why, and a way to send it again.
import { h, Component } from "./tree.js";
import { choose } from "./address.js";
import { again, path, post, want } from "./store.js";
import { Freshness, Nothing } from "./parts.js";
import { count, iso, moment, plural } from "./say.js";
import { Table } from "./tables.js";
import { heading } from "./words.js";

const SECONDS = 10;
const MOST = 100;

export function Letters({ at }) {
  const reason = at.of.get("reason");
  const place = path("api/letters", { limit: MOST, reason });
  const answer = want(place, SECONDS, "letters");
  const top = heading("h1", "letters", "Dead letters");
  const data = answer.content;
  if (!data) return [top, h(Nothing, { answer, what: "dead letters" })];
  const reasons = Object.entries(data.reasons).sort(([, one], [, other]) => other - one);
  return [
    top,
    h(Freshness, { answer }),
    data.note && h("p", { class: "soft" }, data.note),
    reasons.length === 0 ? h("p", { class: "sentences fine" }, "No dead letters: all that came could be used.") : [
      h("div", { class: "chips", role: "group", "aria-label": "Show one reason" },
        reasons.map(([name, number]) => h("button", { key: name, type: "button", class: "chip", "aria-pressed": String(name === reason), onClick: () => choose({ reason: name === reason ? null : name }) }, `${name} ${count(number)}`))),
      h(List, { key: reason, letters: data.letters, refresh: () => again(place) }),
    ],
  ];
}

class List extends Component {
  state = { chosen: new Set(), said: null, failed: false, sending: false };

  toggle(id) {
    const chosen = new Set(this.state.chosen);
    if (!chosen.delete(id)) chosen.add(id);
    this.setState({ chosen });
  }

  async send() {
    this.setState({ sending: true });
    try {
      const { sent, refused } = await post("api/letters/resend", { ids: [...this.state.chosen] });
      const not = refused.length ? ` ${plural(refused.length, "letter")} not: ${refused.map(one => one.why ?? one.error ?? one.detail ?? String(one.id ?? one)).join("; ")}` : "";
      this.setState({ said: `${plural(sent, "letter")} sent again.${not}`, failed: refused.length > 0, chosen: new Set() });
      this.props.refresh();
    } catch (error) {
      this.setState({ said: error.sentence, failed: true });
    }
    this.setState({ sending: false });
  }

  render({ letters }, { chosen, said, failed, sending }) {
    const columns = [
      { title: "send again", silent: true, is: "pick", value: () => null,
        cell: one => h("input", { type: "checkbox", checked: chosen.has(one.id), onChange: () => this.toggle(one.id), "aria-label": `Send again: ${one.reason} of ${moment(one.time_at)}` }) },
      { title: "time", value: one => iso(one.time_at), cell: one => moment(one.time_at) },
      { title: "reason", word: "reason", is: "name", value: one => one.reason, cell: one => [one.reason, h("small", { class: "why" }, one.detail)] },
      { title: "from", value: one => one.topic, cell: one => [one.topic, h("small", null, one.kind)] },
      { title: "event", word: "preview", is: "long", value: one => one.preview, cell: one => h("code", null, one.preview) },
    ];
    const all = letters.length > 0 && letters.every(one => chosen.has(one.id));
    return h("section", null,
      h("div", { class: "choices" },
        h("button", { type: "button", onClick: () => this.setState({ chosen: new Set(all ? [] : letters.map(one => one.id)) }) }, all ? "Choose none" : `Choose all ${count(letters.length)}`),
        h("button", { type: "button", disabled: !chosen.size || sending, onClick: () => this.send() }, `Send ${count(chosen.size)} again`)),
      h("p", { role: "status", class: said ? `sentences ${failed ? "warn" : "fine"}` : "unseen" }, said ?? ""),
      h(Table, { name: "dead letters", label: "Dead letters", columns, rows: letters, keyOf: one => one.id }));
  }
}
