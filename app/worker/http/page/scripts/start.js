// What an empty system shows: how to send the first event, and how to see what became of it.
import { h } from "./tree.js";
import { heading } from "./words.js";

const copy = text => navigator.clipboard?.writeText(text);

export function Start() {
  const worker = location.origin;
  const json = "-H 'Content-Type: application/json'";
  const commands = [
    ["A prediction of a model:", `curl ${worker}/ ${json} -d '{"puid": "first", "service": "hello", "features": [5.1, 3.5], "output": "yes"}'`],
    ["Its truth, as soon as it is known:", `curl ${worker}/feedback ${json} -d '{"puid": "first", "label": "yes"}'`],
    ["What is known of it now:", `curl ${worker}/api/exchanges/first`],
  ];
  return h("section", { class: "start" },
    heading("h2", "models", "No model yet"),
    h("p", null, "Nothing that was read so far has named a model. Three commands send the first event:"),
    h("ol", null, commands.map(([text, command]) => h("li", { key: text },
      h("p", null, text),
      h("div", { class: "command" }, h("code", null, command),
        navigator.clipboard && h("button", { type: "button", class: "take", onClick: () => copy(command), "aria-label": `Copy: ${text}` }, "Copy"))))),
    h("p", { class: "soft" }, "Where the worker has a token, add -H \"Authorization: Bearer $TALLY_HTTP_TOKEN\". The model shows here within a few seconds; "
      + "how Seldon, KServe or a server of your own sends its events is in the README, under “Connect your models”."));
}
