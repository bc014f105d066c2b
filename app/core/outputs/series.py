"""The series of models: one row for each, and where its samples come from.

A model's series are those of its measures, its scores, and two that say what it is. Those of Seldon's own names stand
at the end.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from app.core.events import Identity
from app.core.measures.catalogue import MEASURES
from app.core.measures.confusion import CONFUSION
from app.core.measures.measure import Family, Measure
from app.core.measures.reading import Reading
from app.core.measures.rewards import REWARDS

#: Each measure's series: counted in total (`tally_<name>`), and where the row says so in every window
#: (`tally_window_<name>`, with a window label). Histograms are written last.
COUNTS: Final[tuple[tuple[Measure[Any], Family[Any]], ...]] = tuple(
    (measure, family) for measure in MEASURES for family in measure.families
)


class Series(NamedTuple):
    """One series that is no measure's: its name, type, help, and labels besides identity."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...]


SCORE: Final = Series(
    "tally_score",
    "gauge",
    "Score of a model (class empty) or of one class, as in scikit-learn; NaN where undefined.",
    ("score", "class", "window"),
)
SCORE_SAMPLES: Final = Series("tally_score_samples", "gauge", "Rows that the score rests on.", SCORE.labels)
SCORE_LIMIT: Final = Series(
    "tally_score_limit",
    "gauge",
    "What a score should reach (bound lower) or not exceed (upper), as the YAML file says.",
    ("score", "class", "bound"),
)
LEAST_SAMPLES: Final = Series(
    "tally_least_samples", "gauge", "Rows below which nothing is concluded, as the YAML file says.", ()
)
SCORE_LOW: Final = Series(
    "tally_score_low", "gauge", "Lower end of a score's 95 % interval, where the YAML file asks for it.", SCORE.labels
)
SCORE_HIGH: Final = Series("tally_score_high", "gauge", "Its upper end.", SCORE.labels)
SCORE_ESTIMATE: Final = Series(
    "tally_score_estimate",
    "gauge",
    "Score that is estimated from the calibrated probabilities of all rows, without their labels; NaN where undefined.",
    SCORE.labels,
)
SCORE_ESTIMATE_LOW: Final = Series(
    "tally_score_estimate_low",
    "gauge",
    "Lower end of where the score will lie with 95 %, once these rows have labels.",
    SCORE.labels,
)
SCORE_ESTIMATE_HIGH: Final = Series("tally_score_estimate_high", "gauge", "Its upper end.", SCORE.labels)
ESTIMATE_ROWS: Final = Series(
    "tally_estimate_rows", "gauge", "Rows with a probability, on which estimates rest.", ("window",)
)
ESTIMATE_LABELS: Final = Series(
    "tally_estimate_labels",
    "gauge",
    "Labels by which the probabilities are calibrated; with fewer than tally_least_samples nothing is estimated.",
    (),
)
ERROR: Final = Series(
    "tally_error", "gauge", "Score of a regression that has the unit of its labels; NaN where undefined.",
    ("error", "window"),
)  # fmt: skip
ERROR_SAMPLES: Final = Series("tally_error_samples", "gauge", "Rows that the error rests on.", ERROR.labels)
COMPARISON: Final = Series(
    "tally_comparison",
    "gauge",
    "A model and its shadow on the rows that both answered; differences are the shadow's less the model's.",
    ("shadow", "quantity", "window"),
)
DRIFT: Final = Series(
    "tally_drift",
    "gauge",
    "How far a feature is from the reference: PSI, Jensen-Shannon and Kolmogorov-Smirnov distance, p-values.",
    ("feature", "measure", "window"),
)
FEATURE_SHARE: Final = Series(
    "tally_feature_share",
    "gauge",
    "Share of the rows whose value is missing, below or above all of the reference, unseen in it, or invalid.",
    ("feature", "kind", "window"),
)
FEATURE_ROWS: Final = Series(
    "tally_feature_rows", "gauge", "Rows that are compared with the reference, or checked.", ("feature", "window")
)
DRIFTED: Final = Series(
    "tally_drifted_share",
    "gauge",
    "Share of the features that have drifted, of those with enough rows; NaN where none has.",
    ("window",),
)
VERSION_DRIFT: Final = Series(
    "tally_version_drift",
    "gauge",
    "How far what a version answers is from all that the version before it has answered, by the measures of drift.",
    ("before", "feature", "measure", "window"),
)
VERSION_ROWS: Final = Series(
    "tally_version_rows",
    "gauge",
    "Rows that it rests on: of the version that has fewer.",
    ("before", "feature", "window"),
)
VERSION_DRIFTED: Final = Series(
    "tally_version_drifted_share",
    "gauge",
    "Share of the features that have drifted from the version before, of those with enough rows; NaN where none has.",
    ("before", "window"),
)
MONITOR_VALUE: Final = Series(
    "tally_monitor_value",
    "gauge",
    "Mean and quantiles (within 1/64) of the values that a monitor gave; NaN where there are none.",
    ("monitor", "monitor_version", "stat", "window"),
)
MONITOR_THRESHOLD: Final = Series(
    "tally_monitor_threshold",
    "gauge",
    "What values are compared with, as the YAML file says: a row alerts where the comparison holds.",
    ("monitor", "monitor_version", "comparison"),
)
MONITOR_ALERTING: Final = Series(
    "tally_monitor_alerting",
    "gauge",
    "Whether a monitor alerts: 1 from so many alerts within the shortest window as `hold` says, to `clear` or fewer.",
    ("monitor", "monitor_version"),
)
CHANGE: Final = Series(
    "tally_change",
    "gauge",
    "When a score has changed last, by a detector, as a Unix time; NaN where it has not in the last day.",
    ("score", "detector"),
)
SEGMENT_SCORE: Final = Series(
    "tally_segment_score",
    "gauge",
    "Score of a model, or of one of its classes, in one value of a segment; NaN where undefined.",
    ("segment", "value", *SCORE.labels),
)
SEGMENT_SCORE_SAMPLES: Final = Series(
    "tally_segment_score_samples", "gauge", "Rows that the score rests on.", SEGMENT_SCORE.labels
)
SEGMENT_ROWS: Final = Series(
    "tally_segment_rows",
    "gauge",
    "Rows answered in one value of a segment, by verdict.",
    ("segment", "value", "verdict", "window"),
)
FAIRNESS: Final = Series(
    "tally_fairness",
    "gauge",
    "How those of a value of a segment (all but the privileged: value empty) fare beside the privileged one.",
    ("attribute", "value", "measure", "window"),
)
FAIRNESS_SAMPLES: Final = Series(
    "tally_fairness_samples", "gauge", "Rows that the measure rests on, those of the smaller group.", FAIRNESS.labels
)
INFO: Final = Series("tally_model_info", "gauge", "Always 1; says what task the model is judged as.", ("task",))
FIRST_SEEN: Final = Series(
    "tally_model_first_seen_timestamp_seconds",
    "gauge",
    "Start of the earliest pane in which the model was counted.",
    (),
)

#: Those that are no measure's, in the order of the text.
OTHERS: Final = (
    SCORE,
    SCORE_SAMPLES,
    SCORE_LIMIT,
    LEAST_SAMPLES,
    SCORE_LOW,
    SCORE_HIGH,
    SCORE_ESTIMATE,
    SCORE_ESTIMATE_LOW,
    SCORE_ESTIMATE_HIGH,
    ESTIMATE_ROWS,
    ESTIMATE_LABELS,
    ERROR,
    ERROR_SAMPLES,
    COMPARISON,
    DRIFT,
    FEATURE_SHARE,
    FEATURE_ROWS,
    DRIFTED,
    VERSION_DRIFT,
    VERSION_ROWS,
    VERSION_DRIFTED,
    MONITOR_VALUE,
    MONITOR_THRESHOLD,
    MONITOR_ALERTING,
    CHANGE,
    SEGMENT_SCORE,
    SEGMENT_SCORE_SAMPLES,
    SEGMENT_ROWS,
    FAIRNESS,
    FAIRNESS_SAMPLES,
    INFO,
    FIRST_SEEN,
)

#: The seed's own series, all gauges.
SELDON: Final = (
    Series("correct_total", "gauge", "Sum of rewards.", ("app",)),
    Series("total_total", "gauge", "Feedbacks with a reward.", ("app",)),
    Series("true_pos", "gauge", "True positives of a binary model.", ("app",)),
    Series("true_neg", "gauge", "True negatives of a binary model.", ("app",)),
    Series("false_pos", "gauge", "False positives of a binary model.", ("app",)),
    Series("false_neg", "gauge", "False negatives of a binary model.", ("app",)),
    Series("score_TP", "gauge", "True positives of one class.", ("class", "seldon_app")),
    Series("score_FP", "gauge", "False positives of one class.", ("class", "seldon_app")),
    Series("score_FN", "gauge", "False negatives of one class.", ("class", "seldon_app")),
)


def seldon_samples(identity: Identity, reading: Reading) -> Iterator[tuple[Series, list[list[str]], list[float]]]:
    """The Seldon-compatible samples of one model: of each series that it has, the values of each label, and its own."""
    pod = [f"{identity.service}-{identity.predictor}-0-{identity.model}"]
    rewards, confusion = REWARDS.of(reading), CONFUSION.of(reading)
    points, feedbacks, *of_binary = SELDON[:6]
    if rewards.feedbacks:
        yield points, [pod], [rewards.points]
        yield feedbacks, [pod], [rewards.feedbacks]
    if not confusion.judged:
        return
    if reading.nature.task == "binary":
        one = confusion.outcomes[""]
        for series, value in zip(of_binary, (one.tp, one.tn, one.fp, one.fn), strict=True):
            yield series, [pod], [value]
    elif reading.nature.task == "multiclass":
        classes = [f"class_{name}" for name in confusion.outcomes]
        deployments = [f"{identity.service}-{identity.predictor}"] * len(classes)
        for place, series in enumerate(SELDON[6:]):  # in the order of an outcome's fields
            yield series, [classes, deployments], [one[place] for one in confusion.outcomes.values()]
