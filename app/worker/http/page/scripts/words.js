// What the words of the page mean. They show where a word with a dotted line is pointed at, or has the focus.
import { h } from "./tree.js";

const WORDS = {
  // views
  models: "A model here is one that answered: namespace, service, predictor, model and version. Those that need attention come first.",
  comparisons: "Two models of one service that answered the same requests, on the rows that both answered, by the same labels.",
  request: "All that is known of one request id: each answer to it, the label, and whether it was right.",
  letters: "Events that could not be used. They are kept with the reason and can be sent again once the cause is mended.",
  worker: "One of the processes that read Kafka and count. Any of them shows this page.",
  // columns and choices
  window: "The stretch of time that is counted: the full minutes of its length and the open one. Total is everything.",
  clock: "By predictions: what was predicted in the window, and what is known of it by now. By labels: the labels that came in the window, whenever their predictions were.",
  attention: "A score under its limit comes first, then what is worth a look (a score that fell, inputs that have drifted, a monitor that alerts), then models with too few labels to judge.",
  model: "Namespace, service, predictor and model, with the version behind the @.",
  trend: "The score over the window, one point for each stretch of time. Gaps are stretches without labels.",
  coverage: "The share of answered rows that have a label. A score rests on these rows alone.",
  labelled: "Rows of which the truth is known.",
  predictions: "Rows answered.",
  speed: "Answers counted in each second, of late.",
  limit: "What the YAML file asks for, as `limits`.",
  estimate: "What the score most likely is, from the answers' own probabilities and no label of these rows: earlier labels say how far the probabilities are right. Behind it where the score will lie with 95 %.",
  interval: "Where the true score lies with 95 % confidence: the fewer labels, the wider.",
  back: "How far back the charts reach. Workers keep counts for a time; what is older comes from Elasticsearch, where there is one.",
  step: "How much time each point holds.",
  history: "The score of each stretch of time, with its 95 % interval, its limit, and the moment from which on it is lower than before beyond chance.",
  // model
  classes: "Each class against all others, from the labelled rows of the window.",
  support: "Labelled rows that are of this class in truth.",
  since_fell: "The recall of this class since the score fell, and before: which class got worse.",
  predicted: "Labelled rows that the model said are of this class.",
  confusion: "What was true (down) against what was predicted (across). Colour is the share of the true class. Choose a cell to see request ids.",
  examples: "Some of the newest requests of this cell.",
  labels: "How many answers have a label, and how long labels take to come.",
  delay: "From the answer to the label that holds.",
  correct: "Labelled rows that were right, against those that were not.",
  provided: "Answered rows with feedback, against those without.",
  segments: "The same scores for slices of the traffic, as the YAML file declares them.",
  segment: "A slice of the traffic, by a value of the request or the answer.",
  value: "The value of the segment.",
  difference: "The score of this value less that of the whole model.",
  fairness: "Each other group beside the privileged one: unprivileged less privileged, or divided by it.",
  statistical_parity_difference: "How much more often the positive class is predicted for this group: 0 is equal.",
  disparate_impact: "How many times as often the positive class is predicted for this group: 1 is equal, 0.8 to 1.25 is often allowed.",
  equal_opportunity_difference: "The recall of this group less that of the privileged one: 0 is equal.",
  average_odds_difference: "The mean of the differences of recall and of false alarms: 0 is equal.",
  bins: "The share of values in each bin: of the reference, and of what has come in the window.",
  drift: "What comes, beside what the model was trained on. Labels come late; this comes at once.",
  feature: "One column of the requests, or what was predicted, scored or labelled.",
  drifted: "PSI above 0.1 and p below 0.01 and enough rows.",
  psi: "Population stability index: 0 is the same distribution, above 0.1 is a shift, above 0.25 a large one.",
  js: "Jensen-Shannon distance: 0 is the same distribution, 1 is nothing in common.",
  ks: "Kolmogorov-Smirnov distance: the largest gap between the two cumulative distributions.",
  ks_p: "How often chance alone gives such a Kolmogorov-Smirnov distance.",
  chi2_p: "How often chance alone gives such a difference of the bins (chi-square test).",
  missing: "Share of values that are null, NaN, or no number where numbers are expected.",
  below: "Share of values that are below all of the reference.",
  above: "Share of values that are above all of the reference.",
  unseen: "Share of values that are not in the reference.",
  invalid: "Share of values that the declared schema does not allow.",
  calibration: "Of the rows that the model called 80 % sure, about 80 % should be right: points on the line.",
  confidence: "Mean probability that the model gave, in this bin.",
  right: "Share of these rows that turned out so.",
  monitors: "Scoring functions of your own, with a threshold each.",
  monitor_history: "Mean and quantiles (p50, p95) of the values in each stretch of time, with the threshold they are compared with.",
  custom_metrics: "Metrics that the model itself sends with its answers (`meta.metrics`).",
  others: "All other scores of the window.",
  // comparison
  current: "The model that answers the clients.",
  shadow: "The model that answers beside it, unseen.",
  versions: "The classes that the newest version of a model names, beside those that the version before it named. They answered different requests; it needs no label.",
  versions_psi: "How far the classes of the newest version are from those of the one before (PSI): above 0.1 is a shift.",
  verdict: "Whether the shadow is better. It may be looked at as often as one likes.",
  only_right: "Rows that this one alone has right. Only these tell the two apart.",
  agreement: "Share of rows for which both said the same.",
  answers_ks: "How far the probabilities of the shadow are from those of the current model, on the same rows (Kolmogorov-Smirnov); it needs no label.",
  answers_psi: "How far the classes that the shadow names are from those of the current model, on the same rows (PSI); it needs no label.",
  p: "How surprising the difference is if both are equally good. It holds however often one looks.",
  detectable: "The smallest difference that would most likely have been found with so many rows.",
  // request
  leg: "One model that answered this request.",
  row: "A batch has several rows; the first is 0.",
  label: "The truth.",
  reward: "A number that says how good the answer was.",
  order: "When each part happened, by the times of the events.",
  detections: "What outlier and drift detectors said of this request.",
  documents: "What is written of it for searching.",
  feedback: "Tell the truth of this request. What is sent later holds; null takes a label back.",
  // letters and worker
  reason: "Why events were refused: one of a closed list.",
  preview: "The beginning of the event.",
  partitions: "The canonical topics are split into partitions; each is counted by one worker.",
  lag: "Events that wait to be read.",
  open_exchanges: "Requests whose parts may still come.",
  settings: "What this worker was started with. Secrets are never shown.",
  check: "What `tally check` finds: settings, broker, topics, Elasticsearch.",
  // scores
  accuracy: "Share of labelled rows that were right.",
  balanced_accuracy: "The mean of the classes' recalls: rare classes count as much as frequent ones.",
  precision: "Of the rows predicted as this class, the share that are.",
  recall: "Of the rows that are of this class, the share that were found.",
  specificity: "Of the rows that are not of this class, the share that were not taken for it.",
  npv: "Of the rows predicted as not of this class, the share that are not.",
  f1: "Precision and recall in one: their harmonic mean.",
  mcc: "Matthews correlation: 1 is always right, 0 is chance, -1 is always wrong.",
  kappa: "Cohen's kappa: agreement beyond chance.",
  reward_mean: "Mean of the rewards.",
  log_loss: "How surprised the probabilities are by the truth: 0 is best.",
  brier: "Mean squared error of the probabilities: 0 is best.",
  ece: "Expected calibration error: how far probabilities are from what turned out, on the mean.",
  roc_auc: "The chance that a row of the class scores higher than another one: 0.5 is chance, 1 is best.",
  roc_auc_macro: "The same on the mean over the classes.",
  average_precision: "The area under precision over recall, of the class.",
  average_precision_macro: "The same on the mean over the classes.",
  mae: "Mean error without sign, in the label's unit.",
  mse: "Mean squared error.",
  rmse: "Root of the mean squared error, in the label's unit.",
  mape: "Mean error as a share of the truth.",
  bias: "Mean of prediction less truth: above 0 the model says too much.",
  r2: "Share of the spread of the truth that the model explains.",
};

// What a word means; of a score like recall_macro, roc_auc_error or recall/cat what it is made of.
export function meaning(word) {
  const [name] = word.split("/");
  if (WORDS[name]) return WORDS[name];
  const whole = name.replace(/_error$/, "");
  if (WORDS[whole]) return `By so much ${whole} may be off at most: probabilities are counted in bins.`;
  const [, base, mean] = /^(.*)_(macro|weighted|micro)$/.exec(name) ?? [];
  if (!WORDS[base]) return null;
  const over = { macro: "The mean over all classes", weighted: "The mean over all classes, each by its rows", micro: "Over all rows together" };
  return `${over[mean]}: ${WORDS[base]}`;
}

// A word that says what it means.
export function term(word, text = word) {
  const tip = meaning(word);
  return tip ? h("span", { class: "term", tabIndex: 0, "data-tip": tip }, text) : text;
}

// A heading that does.
export const heading = (level, word, text, ...more) => h(level, null, term(word, text), ...more);
