// The view stands in the address behind the #, like #/model/demo/iris/default/m@1?window=1h: so it can be shared, kept and
// gone back to.

// What goes along from view to view.
const KEPT = ["window", "clock", "back"];

// What an address names: the kind of page, what it is of (as it stands there), and the choices made on it.
export function addressOf(hash) {
  const [path, query = ""] = splitAtFirst(hash.replace(/^#/, ""), "?");
  const [page, rest = ""] = splitAtFirst(path.replace(/^\//, ""), "/");
  return { page, rest, of: new URLSearchParams(query) };
}

function splitAtFirst(text, mark) {
  const at = text.indexOf(mark);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + mark.length)];
}

function written(page, rest, of) {
  const query = of.toString();
  return `#/${page}${rest ? `/${rest}` : ""}${query ? `?${query}` : ""}`;
}

function withChoices(of, choices) {
  for (const [name, value] of Object.entries(choices)) {
    if (value === null || value === undefined || value === "") of.delete(name);
    else of.set(name, value);
  }
  return of;
}

// The address of another view. `rest` is percent-encoded already.
export function link(page, rest = "", choices = {}) {
  const here = addressOf(location.hash).of;
  const kept = new URLSearchParams(KEPT.filter(name => here.get(name)).map(name => [name, here.get(name)]));
  return written(page, rest, withChoices(kept, choices));
}

// Choose something on this view. Going back leads to the view before, not to the choice before.
export function choose(choices) {
  const { page, rest, of } = addressOf(location.hash);
  history.replaceState(null, "", written(page, rest, withChoices(of, choices)));
  window.dispatchEvent(new Event("hashchange"));
}

// How /api writes a model, from its identity.
export function keyOf(leg) {
  const parts = [leg.model_namespace, leg.model_service, leg.predictor, leg.model].map(part => encodeURIComponent(part ?? ""));
  return parts.join("/") + (leg.model_version ? `@${encodeURIComponent(leg.model_version)}` : "");
}

// How a person reads it: without what is empty.
export function nameOf(leg) {
  const parts = [leg.model_namespace ?? leg.namespace, leg.model_service ?? leg.service, leg.predictor ?? leg.endpoint, leg.model];
  const version = leg.model_version ?? leg.version;
  return (parts.filter(Boolean).join("/") || "(no model named)") + (version ? `@${version}` : "");
}
