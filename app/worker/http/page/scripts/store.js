// What the worker has answered, by path. A view says with `want` what it shows; that is asked for again as it ages, one
// request at a time for each. What no view shows any more is not asked for.

// A replay is this page with its answers in it, by path.
export const held = window.TALLY ?? null;

const MOST_KEPT = 60;
const LONGEST_WAIT = 30;
const answers = new Map(); // path → {content, error, at, asked, asking}
const newest = new Map(); // name of a resource → the path that was last answered
let wanted = new Map(); // path → {seconds, name}
let redraw = () => {};

// A path with its query. Choices that are empty are left to the worker; a replay says what is usual.
export function path(place, choices = {}) {
  const usual = held?.usual ?? {};
  const of = Object.entries(choices).map(([name, value]) => [name, value ?? usual[name]]).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return of.length ? `${place}?${new URLSearchParams(of)}` : place;
}

// What is known of a path: {content, error, at, asking}, content undefined while there is none. It is asked for again after so
// many seconds (never, if Infinity). Until the first answer comes, the last one of the same `name` stands in, as `old`.
export function want(place, seconds, name = "") {
  if (held) return { content: held[place], error: held[place] ? null : NOT_HELD, at: null, asking: false };
  wanted.set(place, { seconds, name });
  const known = answers.get(place);
  if (known && (known.content !== undefined || known.error)) return known;
  const stand = answers.get(newest.get(name));
  return stand?.content === undefined ? { asking: true, error: null } : { ...stand, asking: true, old: true };
}

const NOT_HELD = { status: 404, sentence: "This file holds a replay: what only a worker knows is not in it." };

// Ask for a path anew, now.
export function again(place) {
  const known = answers.get(place);
  if (known) known.asked = -Infinity;
  step();
}

// A page that was opened as http://user:password@host/ may ask for no address with these in it; the browser adds them.
const whole = place => new URL(place, location.origin + location.pathname);

async function reply(place, options) {
  let got;
  try {
    got = await fetch(whole(place), options);
  } catch (error) {
    throw { status: 0, sentence: `No answer from the worker (${error.message}).` };
  }
  const text = await got.text();
  let content = null;
  try {
    content = text ? JSON.parse(text) : null;
  } catch {
    throw { status: got.status, sentence: `The answer is no JSON (status ${got.status}): does a proxy stand between?` };
  }
  if (!got.ok) throw { status: got.status, sentence: content?.error ?? `The worker answers with status ${got.status}.` };
  return content;
}

// Send JSON to the worker. It raises {status, sentence} where that is refused.
export const post = (place, content) =>
  reply(place, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(content) });

async function ask(place, name) {
  const known = answers.get(place) ?? {};
  answers.set(place, known);
  known.asking = true;
  known.asked = Date.now();
  try {
    known.content = await reply(place);
    known.error = null;
    known.at = Date.now() / 1000;
    known.took = Date.now() - known.asked;
    if (name) newest.set(name, place);
  } catch (error) {
    known.error = error.sentence ? error : { status: 0, sentence: String(error) };
    if (known.error.status === 404) known.content = undefined; // it is gone: what was known of it would mislead
  }
  known.asking = false;
  for (const [old, { asking }] of answers) {
    if (answers.size <= MOST_KEPT) break;
    if (!asking && !wanted.has(old)) answers.delete(old);
  }
  redraw();
}

// Ask for what has aged. An answer that takes long to make is asked for less often.
function step() {
  if (document.hidden) return;
  for (const [place, { seconds, name }] of wanted) {
    const known = answers.get(place);
    if (known?.asking) continue;
    const wait = known?.error ? Math.min(seconds, LONGEST_WAIT) : seconds;
    if (!known || Date.now() - known.asked >= Math.max(1000 * wait, 10 * (known.took ?? 0))) ask(place, name);
  }
}

// Draw with `draw`, and again whenever an answer has come.
export function keep(draw) {
  let waiting = false;
  redraw = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      wanted = new Map();
      draw();
      step();
    });
  };
  setInterval(step, 500);
  document.addEventListener("visibilitychange", () => !document.hidden && redraw());
  redraw();
  return redraw;
}
