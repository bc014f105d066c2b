"""The catalogue: one row for each exported metric, and where its samples come from.

A model row reads one `Reading`; the whole of a model and each of its windows are read by the same function.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from app.core.counts.numbers import DELAY_BUCKETS
from app.core.events import Identity
from app.core.measures.reading import Reading

#: (labels besides identity, value)
Sample = tuple[tuple[str, ...], float | None]
MOST_CONFUSION_CLASSES = 20


class Family(NamedTuple):
    """One metric: its name, type, help, labels besides identity (and window), and how samples are read."""

    name: str
    kind: str  # gauge, counter, histogram
    help: str
    labels: tuple[str, ...]
    samples: Callable[[Reading], Iterator[Sample]]


def _exchanges(reading: Reading) -> Iterator[Sample]:
    for part, amount in reading.parts.items():
        yield (part,), amount


def _rows(reading: Reading) -> Iterator[Sample]:
    for verdict, amount in reading.rows.items():
        yield (verdict,), amount


def _confusion(reading: Reading) -> Iterator[Sample]:
    if len(reading.classes) <= MOST_CONFUSION_CLASSES:
        yield from sorted(reading.confusion.items())


def _classes(reading: Reading) -> Iterator[Sample]:
    for name, one in reading.outcomes.items():
        yield (name, "tp"), one.tp
        yield (name, "fp"), one.fp
        yield (name, "fn"), one.fn
        yield (name, "tn"), one.tn


def _rewards(reading: Reading) -> Iterator[Sample]:
    yield (), reading.rewards


def _points(reading: Reading) -> Iterator[Sample]:
    yield (), reading.reward_points


def _mismatched(reading: Reading) -> Iterator[Sample]:
    yield (), reading.mismatched


#: Counted in the whole (`tally_<name>`) and in every window (`tally_window_<name>`, with a window label).
COUNTS: tuple[Family, ...] = (
    Family("exchanges", "gauge", "Request ids that have that part.", ("part",), _exchanges),
    Family("rows", "gauge", "Rows answered, by verdict.", ("verdict",), _rows),
    Family("confusion", "gauge", "Rows judged, by class; not-zero cells.", ("actual", "predicted"), _confusion),
    Family("class", "gauge", "One class against the rest; empty: the positive one.", ("class", "outcome"), _classes),
    Family("rewards", "gauge", "Feedbacks with a reward.", (), _rewards),
    Family("reward_points", "gauge", "Sum of rewards.", (), _points),
)  # fmt: skip

#: Counted in the whole only.
TOTALS: tuple[Family, ...] = (
    Family("mismatched_labels", "gauge", "Answers whose rows do not match their labels in number.", (), _mismatched),
)

SCORE = ("tally_score", "Score of a model (class empty) or of one class, as in scikit-learn; NaN where undefined.")
SCORE_SAMPLES = ("tally_score_samples", "Rows that the score rests on.")
DELAY = ("tally_feedback_delay_seconds", "Time from a prediction to its winning label.")
INFO = ("tally_model_info", "Always 1; says what task the model is judged as.")
FIRST_SEEN = ("tally_model_first_seen_timestamp_seconds", "Start of the earliest pane in which the model was counted.")

#: The seed's own series: (name, help, labels).
SELDON: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("correct_total", "Sum of rewards.", ("app",)),
    ("total_total", "Feedbacks with a reward.", ("app",)),
    ("true_pos", "True positives of a binary model.", ("app",)),
    ("true_neg", "True negatives of a binary model.", ("app",)),
    ("false_pos", "False positives of a binary model.", ("app",)),
    ("false_neg", "False negatives of a binary model.", ("app",)),
    ("score_TP", "True positives of one class.", ("class", "seldon_app")),
    ("score_FP", "False positives of one class.", ("class", "seldon_app")),
    ("score_FN", "False negatives of one class.", ("class", "seldon_app")),
)


def seldon_samples(identity: Identity, reading: Reading) -> Iterator[tuple[str, tuple[str, ...], float]]:
    """The Seldon-compatible samples of one model: (series, labels, value)."""
    pod = f"{identity.service}-{identity.predictor}-0-{identity.model}"
    if reading.rewards:
        yield "correct_total", (pod,), reading.reward_points
        yield "total_total", (pod,), reading.rewards
    if not reading.judged:
        return
    if reading.task == "binary":
        one = reading.outcomes[""]
        yield "true_pos", (pod,), one.tp
        yield "true_neg", (pod,), one.tn
        yield "false_pos", (pod,), one.fp
        yield "false_neg", (pod,), one.fn
    elif reading.task == "multiclass":
        deployment = f"{identity.service}-{identity.predictor}"
        for name, outcomes in reading.outcomes.items():
            yield "score_TP", (f"class_{name}", deployment), outcomes.tp
            yield "score_FP", (f"class_{name}", deployment), outcomes.fp
            yield "score_FN", (f"class_{name}", deployment), outcomes.fn


def delay_buckets(reading: Reading) -> Iterator[tuple[str, int]]:
    """Cumulative counts by upper bound."""
    total = 0
    for bound, amount in zip([*map(str, DELAY_BUCKETS), "+Inf"], reading.delays, strict=True):
        total += amount
        yield bound if bound == "+Inf" else f"{bound}.0", total
