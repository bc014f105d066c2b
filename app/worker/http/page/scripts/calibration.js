// Whether probabilities may be taken at their word.
import { h } from "./tree.js";
import { CalibrationPlot } from "./charts.js";
import { Figure } from "./parts.js";
import { count, score } from "./say.js";
import { Table } from "./tables.js";
import { heading } from "./words.js";

const SCORES = ["ece", "brier", "log_loss", "roc_auc", "average_precision"];
const COLUMNS = [
  { title: "probability given", word: "confidence", is: "number", value: bin => bin.confidence, cell: bin => score(bin.confidence) },
  { title: "turned out so", word: "right", is: "number", value: bin => bin.right, cell: bin => score(bin.right) },
  { title: "rows", is: "number", value: bin => bin.rows, cell: bin => count(bin.rows) },
];

export function Calibration({ reading, file }) {
  const bins = (reading.calibration ?? []).filter(bin => bin.rows);
  const scores = SCORES.filter(name => reading.scores[name] !== undefined && reading.scores[name] !== null);
  if (!bins.length && !scores.length) return null;
  return h("section", null,
    heading("h2", "calibration", "Are the probabilities right?"),
    h("dl", { class: "figures" }, scores.map(name => h(Figure, { key: name, word: name, text: name, value: score(reading.scores[name]) }))),
    bins.length > 0 && [
      h(CalibrationPlot, { bins, label: `Calibration in ${bins.length} bins`, file: `${file} calibration` }),
      h("details", null, h("summary", null, "As a table"), h(Table, { name: `${file} calibration`, label: "Calibration", columns: COLUMNS, rows: bins })),
    ]);
}
