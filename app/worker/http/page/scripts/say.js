// Numbers and times as people read them.

const NOTHING = "–";

export const count = value => (value === null || value === undefined ? NOTHING : value.toLocaleString("en", { maximumFractionDigits: 2 }));

export function score(value) {
  if (value === null || value === undefined) return NOTHING;
  const size = Math.abs(value);
  if (size !== 0 && size < 0.001) return value.toExponential(1);
  return size < 100 ? value.toFixed(3) : value.toLocaleString("en", { maximumSignificantDigits: 5 });
}

export const signed = value => (value === null || value === undefined ? NOTHING : (value > 0 ? "+" : "") + score(value));

export const share = value => (value === null || value === undefined ? NOTHING : `${(100 * value).toFixed(1)} %`);

export function rate(value) {
  if (value === null || value === undefined) return NOTHING;
  return `${value >= 100 ? count(Math.round(value)) : value === 0 ? 0 : value >= 0.01 ? value.toPrecision(2) : "< 0.01"}/s`;
}

export function length(seconds) {
  if (seconds === null || seconds === undefined) return NOTHING;
  const [name, size] = [["d", 86400], ["h", 3600], ["min", 60]].find(([, unit]) => seconds >= unit) ?? ["s", 1];
  return `${Number((seconds / size).toPrecision(2))} ${name}`;
}

const isToday = date => date.toDateString() === new Date().toDateString();
const CLOCK = { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false };
const DAY = { month: "short", day: "numeric" };

// A moment (seconds, or a text as /api writes it) on the clock of whoever looks; with the day where it is not today.
export function moment(at) {
  if (at === null || at === undefined) return NOTHING;
  const date = typeof at === "number" ? new Date(1000 * at) : new Date(at);
  if (Number.isNaN(date.getTime())) return String(at);
  return date.toLocaleString("en", isToday(date) ? CLOCK : { ...DAY, ...CLOCK });
}

// The same to the millisecond: parts of one request are often of one second.
export function precise(at) {
  const date = new Date(at);
  return Number.isNaN(date.getTime()) ? String(at) : `${moment(at)}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

// A sentence of the worker with its times (UTC) on the clock of whoever looks.
export const local = sentence => sentence.replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z/g, moment);

export const iso = at => (typeof at === "number" ? new Date(1000 * at).toISOString() : at);

// A time on an axis that spans so many seconds.
export function tick(at, span) {
  const date = new Date(1000 * at);
  const isMidnight = date.getHours() === 0 && date.getMinutes() === 0;
  if (span > 172_800 || (isMidnight && span > 7200)) return date.toLocaleString("en", DAY);
  return date.toLocaleString("en", span < 300 ? CLOCK : { hour: "2-digit", minute: "2-digit", hour12: false });
}

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;
