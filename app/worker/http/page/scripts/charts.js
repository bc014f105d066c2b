// What each kind of chart shows: lines over time with their interval, pies, bars side by side, calibration.
import { h } from "./tree.js";
import { Plot } from "./plots.js";
import { count, moment, score, share, tick } from "./say.js";

const STEPS = [60, 300, 600, 900, 1800, 3600, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800, 2_592_000];
const FONT = { size: 12 };

// Marks of a time axis: whole minutes, hours, days of whoever looks.
function timeTicks(axis) {
  const span = axis.max - axis.min;
  const most = Math.max(2, Math.floor(axis.width / 80));
  const step = STEPS.find(one => span / one <= most) ?? STEPS.at(-1);
  const shift = 60 * new Date(1000 * axis.min).getTimezoneOffset();
  const first = Math.ceil((axis.min - shift) / step) * step + shift;
  axis.ticks = Array.from({ length: Math.floor((axis.max - first) / step) + 1 }, (_, number) => ({ value: first + number * step }));
}

function timeAxis(colours, points) {
  const [first, last] = [points[0].start, points.at(-1).start];
  const aside = first === last ? 600 : 0; // so that a single point has a time
  return {
    type: "linear",
    min: first - aside,
    max: last + aside,
    afterBuildTicks: timeTicks,
    ticks: { color: colours.soft, font: FONT, maxRotation: 0, callback: at => tick(at, last - first + 2 * aside) },
    grid: { display: false },
    border: { color: colours.line },
  };
}

const valueAxis = (colours, more = {}) => ({
  ticks: { color: colours.soft, font: FONT, maxTicksLimit: 8 },
  grid: { color: colours.line },
  border: { display: false },
  ...more,
});

// A legend with a line for a line, and a box for an interval.
const legend = colours => ({
  labels: {
    color: colours.ink, font: FONT, boxWidth: 22, usePointStyle: true,
    generateLabels: chart => Chart.defaults.plugins.legend.labels.generateLabels(chart).filter(({ text }) => text).map(item => {
      const { borderColor, backgroundColor, borderDash, borderWidth } = chart.data.datasets[item.datasetIndex];
      return borderWidth
        ? { ...item, pointStyle: "line", strokeStyle: borderColor, lineDash: borderDash, lineWidth: 2 }
        : { ...item, pointStyle: "rect", fillStyle: backgroundColor, lineWidth: 0 };
    }),
  },
});

// A line at the moment from which on a score is worse.
const WORSE = "worse from here";
const fallMark = (at, { bad, card }) => ({
  id: "fall",
  afterDatasetsDraw({ ctx, chartArea, scales }) {
    const x = scales.x.getPixelForValue(at);
    if (x < chartArea.left || x > chartArea.right) return;
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = bad;
    ctx.lineWidth = 2;
    ctx.beginPath();
    ctx.moveTo(x, chartArea.top);
    ctx.lineTo(x, chartArea.bottom);
    ctx.stroke();
    ctx.font = `600 12px ${Chart.defaults.font.family}`;
    const isRight = x > (chartArea.left + chartArea.right) / 2;
    ctx.textAlign = isRight ? "right" : "left";
    const place = [x + (isRight ? -6 : 6), chartArea.bottom - 8];
    ctx.lineWidth = 5;
    ctx.strokeStyle = card; // so that it can be read over a line
    ctx.strokeText(WORSE, ...place);
    ctx.fillText(WORSE, ...place);
    ctx.restore();
  },
});

// Stretches of which nothing is known are gaps.
export function withGaps(points, step) {
  return points.flatMap((point, number) => {
    const next = points[number + 1];
    return next && step && next.start - point.start > 1.5 * step ? [point, { start: point.start + step, value: null, low: null, high: null, mean: null, p50: null, p95: null }] : [point];
  });
}

// Points are dots where there is room for them; what has no neighbours is one always, since no line shows it.
const isKnown = point => point !== undefined && point.value !== null;
const isAlone = (points, at) => isKnown(points[at]) && !isKnown(points[at - 1]) && !isKnown(points[at + 1]);
const dots = points => ({ chart, dataIndex }) => (isAlone(points, dataIndex) || chart.width > 10 * points.length ? 2.5 : 0);

// A value over time with its interval, one point a step (in seconds). `limit`, `fellAt` and `zero` are lines across, where
// they are given.
export function TimePlot({ points, step, name, label, file, limit = null, fellAt = null, zero = false }) {
  const tops = points.map(({ value, high }) => high ?? value ?? 0);
  const isShare = tops.every(top => top <= 1) && Math.max(...tops) > 0.75;
  const make = colours => {
    // An interval of a point alone has no width of its own: it gets a part of its step.
    const aside = at => (isAlone(points, at) ? [-step / 3, step / 3] : [0]);
    const bound = field => points.flatMap((point, at) => aside(at).map(shift => ({ x: point.start + shift, y: point[field] ?? null })));
    const values = points.map(point => ({ x: point.start, y: point.value }));
    const line = { borderWidth: 2, clip: 6, pointHitRadius: 12, pointRadius: dots(points), borderColor: colours.accent, backgroundColor: colours.accent };
    const edge = { borderWidth: 0, pointRadius: 0, pointHitRadius: 0, backgroundColor: colours.band };
    const across = (y, title, colour) => ({
      label: title, data: [{ x: points[0].start, y }, { x: points.at(-1).start, y }],
      borderColor: colour, borderWidth: 1.5, borderDash: [6, 4], pointRadius: 0, pointHitRadius: 0,
    });
    const datasets = [
      { ...line, label: name, data: values },
      { ...edge, label: "95 % interval", data: bound("low"), fill: "+1" },
      { ...edge, label: "", data: bound("high"), fill: false },
    ];
    if (limit !== null) datasets.push(across(limit, `limit ${score(limit)}`, colours.bad));
    if (zero) datasets.push(across(0, "no difference", colours.soft));
    const told = ({ raw, dataset }) => {
      const point = points.find(one => one.start === raw.x);
      if (dataset.label !== name || !point) return null;
      const range = point.low === null || point.low === undefined ? "" : ` (${score(point.low)} to ${score(point.high)})`;
      return [`${name} ${score(point.value)}${range}`, `${count(point.labelled ?? point.samples)} labelled`];
    };
    return {
      type: "line",
      data: { datasets },
      plugins: fellAt === null ? [] : [fallMark(fellAt, colours)],
      options: {
        scales: { x: timeAxis(colours, points), y: valueAxis(colours, isShare ? { max: 1 } : { grace: "5%" }) },
        plugins: {
          legend: legend(colours),
          tooltip: { filter: item => item.dataset.label === name, callbacks: { title: items => items.length ? moment(items[0].raw.x) : "", label: told } },
        },
      },
    };
  };
  const stamp = JSON.stringify([points, name, limit, fellAt]);
  return h(Plot, { make, stamp, label, name: file, is: "time" });
}

// What a monitor has said over time: mean and quantiles of its values, and its threshold across.
export function MonitorPlot({ points, threshold, name, label, file }) {
  const make = colours => {
    const line = (field, more) => ({
      label: field, data: points.map(point => ({ x: point.start, y: point[field] })), borderWidth: 2, pointHitRadius: 12,
      pointRadius: points.length > 80 ? 0 : 2.5, ...more,
    });
    const datasets = [
      line("mean", { borderColor: colours.accent, backgroundColor: colours.accent }),
      line("p50", { borderColor: colours.soft, backgroundColor: colours.soft, borderWidth: 1.5, borderDash: [2, 3], pointRadius: 0 }),
      line("p95", { borderColor: colours.soft, backgroundColor: colours.soft, borderWidth: 1.5, pointRadius: 0 }),
    ];
    if (threshold !== null) {
      datasets.push({
        label: `threshold ${score(threshold)}`, data: [{ x: points[0].start, y: threshold }, { x: points.at(-1).start, y: threshold }],
        borderColor: colours.bad, borderWidth: 1.5, borderDash: [6, 4], pointRadius: 0, pointHitRadius: 0,
      });
    }
    const told = ({ raw, dataset }) => {
      const point = points.find(one => one.start === raw.x);
      const rows = dataset.label === "mean" && point ? [`${count(point.alert)} alerts of ${count(point.ok + point.alert)}, ${count(point.failed)} failed`] : [];
      return [`${dataset.label} ${score(raw.y)}`, ...rows];
    };
    return {
      type: "line",
      data: { datasets },
      options: {
        scales: { x: timeAxis(colours, points), y: valueAxis(colours, { grace: "5%" }) },
        plugins: {
          legend: legend(colours),
          tooltip: { callbacks: { title: items => items.length ? moment(items[0].raw.x) : "", label: told } },
        },
      },
    };
  };
  return h(Plot, { make, stamp: JSON.stringify([points, threshold, name]), label, name: file, is: "time" });
}

// A line without axes, for one row of a table. `points` are [start, value or null, labelled].
export function Spark({ points, label, isBad }) {
  // Small noise looks small: what lies between 0 and 1 spans a quarter at least.
  const values = points.map(([, value]) => value).filter(value => value !== null);
  const top = Math.max(...values);
  const least = top <= 1 && top >= 0 ? top - 0.25 : undefined;
  const make = colours => ({
    type: "line",
    data: { datasets: [{
      data: points.map(([x, y]) => ({ x, y })), borderColor: isBad ? colours.bad : colours.accent, borderWidth: 1.5,
      pointRadius: points.filter(([, y]) => y !== null).length < 2 ? 2 : 0, spanGaps: true,
    }] },
    options: {
      events: [], layout: { padding: 2 },
      scales: { x: { type: "linear", display: false, bounds: "data" }, y: { display: false, bounds: "data", suggestedMin: least } },
      plugins: { legend: { display: false }, tooltip: { enabled: false } },
    },
  });
  return h(Plot, { make, stamp: JSON.stringify([points, isBad]), label, name: "trend", small: true });
}

// Two parts of a whole. `parts` are [name, amount, colour].
export function Pie({ parts, name, file }) {
  const whole = parts.reduce((sum, [, amount]) => sum + amount, 0);
  const texts = parts.map(([part, amount]) => `${part} ${count(amount)} (${share(whole ? amount / whole : null)})`);
  const borderWidth = parts.every(([, amount]) => amount > 0) ? 2 : 0; // round a whole it would look like a sliver
  const make = colours => ({
    type: "pie",
    data: { labels: texts, datasets: [{ data: parts.map(([, amount]) => amount), backgroundColor: parts.map(([, , colour]) => colours[colour]), borderColor: colours.card, borderWidth }] },
    options: { plugins: {
      legend: { position: "bottom", labels: { color: colours.ink, font: FONT, boxWidth: 12 } },
      tooltip: { callbacks: { label: ({ dataIndex }) => texts[dataIndex], title: () => "" } },
    } },
  });
  return h(Plot, { make, stamp: JSON.stringify(parts), label: `${name}: ${texts.join(", ")}`, name: file, is: "pie" });
}

// Bars side by side: one group each of `names`. `sets` are [name, values, colour]; `format` writes a value.
export function Bars({ names, sets, label, file, format = share }) {
  const short = text => (text.length > 24 ? `${text.slice(0, 23)}…` : text);
  const make = colours => ({
    type: "bar",
    data: { labels: names.map(short), datasets: sets.map(([name, data, colour]) => ({ label: name, data, backgroundColor: colours[colour] })) },
    options: {
      scales: {
        x: { ticks: { color: colours.soft, font: FONT }, grid: { display: false }, border: { color: colours.line } },
        y: valueAxis(colours, { beginAtZero: true, ticks: { color: colours.soft, font: FONT, maxTicksLimit: 6, callback: format, precision: format === count ? 0 : undefined } }),
      },
      plugins: {
        legend: { display: sets.length > 1, labels: { color: colours.ink, font: FONT, boxWidth: 12 } },
        tooltip: { callbacks: { title: ([{ dataIndex }]) => names[dataIndex], label: ({ dataset, raw }) => `${dataset.label} ${format(raw)}` } },
      },
    },
  });
  return h(Plot, { make, stamp: JSON.stringify([names, sets]), label, name: file });
}

// How often what was said with a probability turned out so. `bins` are {confidence, right, rows}.
export function CalibrationPlot({ bins, label, file }) {
  const most = Math.max(...bins.map(bin => bin.rows));
  const make = colours => ({
    type: "scatter",
    data: { datasets: [
      {
        label: "what turned out", data: bins.map(bin => ({ x: bin.confidence, y: bin.right })), showLine: true, borderWidth: 2, clip: false,
        borderColor: colours.accent, backgroundColor: colours.accent, pointRadius: bins.map(bin => 3 + 6 * Math.sqrt(bin.rows / most)),
      },
      { label: "as it should be", data: [{ x: 0, y: 0 }, { x: 1, y: 1 }], showLine: true, borderDash: [6, 4], borderWidth: 1.5, borderColor: colours.soft, pointRadius: 0, pointHitRadius: 0 },
    ] },
    options: {
      scales: {
        x: valueAxis(colours, { min: 0, max: 1, title: { display: true, text: "probability given", color: colours.soft } }),
        y: valueAxis(colours, { min: 0, max: 1, title: { display: true, text: "share that turned out so", color: colours.soft } }),
      },
      plugins: {
        legend: legend(colours),
        tooltip: { callbacks: { label: ({ dataIndex }) => `${score(bins[dataIndex].confidence)} given, ${score(bins[dataIndex].right)} so, ${count(bins[dataIndex].rows)} rows` } },
      },
    },
  });
  return h(Plot, { make, stamp: JSON.stringify(bins), label, name: file, is: "square" });
}
