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
INFO: Final = Series("tally_model_info", "gauge", "Always 1; says what task the model is judged as.", ("task",))
FIRST_SEEN: Final = Series(
    "tally_model_first_seen_timestamp_seconds",
    "gauge",
    "Start of the earliest pane in which the model was counted.",
    (),
)

#: Series of this process since its start: (name, type, help, labels).
WORKER: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("tally_events_total", "counter", "Events read.", ("kind",)),
    ("tally_rejected_total", "counter", "Events refused, by reason.", ("reason",)),
    ("tally_duplicates_total", "counter", "Events that changed nothing: repeated, or outdated.", ("kind",)),
    ("tally_rekeyed_total", "counter", "Events that were brought from a wrong key or partition to their own.", ()),
    ("tally_corrections_total", "counter", "Feedbacks that replaced an earlier statement.", ()),
    ("tally_late_total", "counter", "Labels for panes that are no longer kept; they count in the totals.", ()),
    ("tally_orphans_total", "counter", "Feedbacks that expired without a response.", ()),
    ("tally_failed_predictions_total", "counter", "Responses that were errors.", ()),
    ("tally_clock_ahead_total", "counter", "Events whose time lay more than 5 minutes ahead of their record.", ()),
    ("tally_dropped_total", "counter", "What a limit has dropped.", ("what",)),
    ("tally_documents_total", "counter", "Documents for Elasticsearch, by what became of them.", ("result",)),
    ("tally_documents_backlog", "gauge", "Joined records whose documents are not in Elasticsearch yet.", ()),
    ("tally_documents_oldest_seconds", "gauge", "Age of the oldest record that waits for Elasticsearch.", ()),
    ("tally_intake_events_total", "counter", "Canonical events that the intake made, by source topic.", ("topic",)),
    ("tally_intake_lag_events", "gauge", "Records of the sources that the intake has not read yet.", ()),
    ("tally_lag_events", "gauge", "Events not read yet, by topic.", ("topic",)),
    ("tally_lag_seconds", "gauge", "Age of the oldest partition clock.", ()),
    ("tally_open_exchanges", "gauge", "Exchanges kept by this worker.", ()),
    ("tally_partitions", "gauge", "Partitions of this worker, by state.", ("state",)),
    ("tally_recovered_records", "gauge", "Changelog records that the last loading of partitions kept.", ()),
    ("tally_recovery_seconds", "gauge", "Seconds that the last loading of partitions took to read its changelogs.", ()),
)  # fmt: skip

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


def seldon_samples(identity: Identity, reading: Reading) -> Iterator[tuple[str, tuple[str, ...], float]]:
    """The Seldon-compatible samples of one model: (series, labels, value)."""
    pod = f"{identity.service}-{identity.predictor}-0-{identity.model}"
    rewards, confusion = REWARDS.of(reading), CONFUSION.of(reading)
    if rewards.feedbacks:
        yield "correct_total", (pod,), rewards.points
        yield "total_total", (pod,), rewards.feedbacks
    if not confusion.judged:
        return
    if reading.nature.task == "binary":
        one = confusion.outcomes[""]
        yield "true_pos", (pod,), one.tp
        yield "true_neg", (pod,), one.tn
        yield "false_pos", (pod,), one.fp
        yield "false_neg", (pod,), one.fn
    elif reading.nature.task == "multiclass":
        deployment = f"{identity.service}-{identity.predictor}"
        for name, outcomes in confusion.outcomes.items():
            yield "score_TP", (f"class_{name}", deployment), outcomes.tp
            yield "score_FP", (f"class_{name}", deployment), outcomes.fp
            yield "score_FN", (f"class_{name}", deployment), outcomes.fn
