// The page: its head, and the view that the address names.
import { h, Component, render } from "./tree.js";
import { addressOf, link } from "./address.js";
import { held, keep } from "./store.js";
import { Comparison, Comparisons } from "./comparison.js";
import { Letters } from "./letters.js";
import { Model } from "./model.js";
import { Overview } from "./overview.js";
import { redrawPlots } from "./plots.js";
import { Request } from "./request.js";
import { watchTips } from "./tips.js";
import { Worker } from "./worker.js";

const VIEWS = {
  "": ["Models", Overview],
  model: ["Model", Model],
  comparisons: ["Comparisons", Comparisons],
  comparison: ["Comparison", Comparison],
  request: ["Request", Request],
  letters: ["Dead letters", Letters],
  worker: ["Worker", Worker],
};
// Which link of the head a view stands under, and which a replay has.
const LINKS = { "": ["", "model"], comparisons: ["comparisons", "comparison"], request: ["request"], letters: ["letters"], worker: ["worker"] };
const OF_A_REPLAY = ["", "comparisons"];
const THEMES = { "": "Light or dark as the system", light: "Light", dark: "Dark" };

class Theme extends Component {
  choose({ target: { value } }) {
    const root = document.documentElement;
    if (value) root.dataset.theme = value;
    else delete root.dataset.theme;
    try {
      localStorage.setItem("tally-theme", value);
    } catch {
      // It holds until the page is closed.
    }
    redrawPlots();
  }

  render() {
    const theme = document.documentElement.dataset.theme ?? "";
    return h("label", { class: "choice theme" }, h("span", { class: "unseen" }, "Light or dark"),
      h("select", { onChange: event => this.choose(event) },
        Object.entries(THEMES).map(([value, title]) => h("option", { key: value, value, selected: value === theme }, value ? title : "Auto"))));
  }
}

function Page() {
  const at = addressOf(location.hash);
  const [title, View] = VIEWS[at.page] ?? ["Not found", Unknown];
  document.title = at.rest ? `${readable(at.rest)} · Tally` : `${title} · Tally`;
  const links = Object.entries(LINKS).filter(([page]) => !held || OF_A_REPLAY.includes(page));
  return [
    h("a", { class: "skip", href: "#content", onClick: skip }, "To the content"),
    h("header", null,
      h("a", { class: "brand", href: link("") }, "Tally"),
      h("nav", { "aria-label": "Views" }, links.map(([page, own]) =>
        h("a", { key: page, href: link(page), "aria-current": own.includes(at.page) ? "page" : undefined }, VIEWS[page][0]))),
      h(Theme)),
    h("main", { id: "content", tabIndex: -1 }, held && h("p", { class: "sentences" }, `A replay, of ${held.now}.`), h(View, { at, key: at.page + at.rest })),
  ];
}

const Unknown = () => [h("h1", null, "Not found"), h("p", null, "There is no such view. ", h("a", { href: "#/" }, "All models"))];

function readable(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function skip(event) {
  event.preventDefault();
  document.getElementById("content").focus();
}

const root = document.getElementById("page");
root.replaceChildren();
const redraw = keep(() => render(h(Page), root));
let view = null;
window.addEventListener("hashchange", () => {
  const { page, rest } = addressOf(location.hash);
  if (view !== null && view !== page + rest) {
    window.scrollTo(0, 0);
    document.getElementById("content")?.focus({ preventScroll: true }); // so that a screen reader reads the new view
  }
  view = page + rest;
  redraw();
});
view = addressOf(location.hash).page + addressOf(location.hash).rest;
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawPlots);
watchTips();
