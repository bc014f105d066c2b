// What is shown of a model, or of two that are compared: asked for with one request. A replay holds the parts by themselves.
import { keyOf } from "./address.js";
import { held, path, want } from "./store.js";

const SECONDS = 5;
const SLOW_SECONDS = 15; // where documents may be searched for it
const FAR = ["7d", "all"];

const pace = back => (FAR.includes(back) ? SLOW_SECONDS : SECONDS);
const chosen = (of, names) => Object.fromEntries(names.map(name => [name, of.get(name)]));

// The score that says most of a model of this task, of those that it has.
export function mainScore(model) {
  const scores = model.windows.total.scores;
  const limited = Object.keys(model.limits ?? {}).find(name => name in scores);
  return limited ?? ["accuracy", "mae", "reward_mean"].find(name => scores[name] !== undefined && scores[name] !== null) ?? "accuracy";
}

// What is known of a model, by the choices of an address.
export function modelView(key, of) {
  const choices = chosen(of, ["score", "clock", "step", "back", "monitor", "before"]);
  return held ? modelOfReplay(key, choices) : want(path(`api/models/${key}/view`, choices), pace(choices.back), `view of ${key}`);
}

// What is known of two models that are compared.
export function comparisonView(current, shadow, of) {
  if (held) return comparisonOfReplay(current, shadow);
  const choices = chosen(of, ["clock", "step", "back"]);
  return want(path("api/comparisons/view", { current, shadow, ...choices }), pace(choices.back), `${shadow} against ${current}`);
}

const ofReplay = (content, errors = {}) => ({ content: { stale: null, older: false, ...content, errors }, error: null });
const comparisonsOfReplay = fits => want("api/comparisons").content.comparisons.filter(one => fits(keyOf(one.current), keyOf(one.shadow)));

function modelOfReplay(key, { score, clock }) {
  const { content: model, error } = want(`api/models/${key}`);
  if (!model) return { error };
  const history = want(path(`api/models/${key}/history`, { score: score ?? mainScore(model), clock }));
  const comparisons = comparisonsOfReplay((...keys) => keys.includes(key));
  return ofReplay({ model, window: held.usual.window, history: history.content, comparisons }, history.error ? { history: history.error.sentence } : {});
}

function comparisonOfReplay(current, shadow) {
  const [comparison] = comparisonsOfReplay((...keys) => keys[0] === current && keys[1] === shadow);
  if (!comparison) return { error: want(`${shadow} against ${current}`).error };
  const scores = key => Object.fromEntries(Object.entries(want(`api/models/${key}`).content?.windows ?? {}).map(([window_, of]) => [window_, of.scores]));
  return ofReplay({ comparison, current: scores(current), shadow: scores(shadow) });
}
