"""Custom metrics: the numbers that a model's own code gives beside its answers, in `meta.metrics`.

    [{"type": "COUNTER", "key": "searches", "value": 1}, {"type": "GAUGE", "key": "queue", "value": 7.5},
     {"type": "TIMER", "key": "lookup", "value": 20.2, "tags": {"store": "eu"}}]

https://docs.seldon.io/projects/seldon-core/en/v1/analytics/analytics.html#custom-metrics: Seldon's wrapper adds up
counters, keeps the newest value of a gauge, and makes a histogram in seconds of a timer's milliseconds. It takes more
than Prometheus can show (any text as a name, counters that fall); what Prometheus cannot show is refused here.
"""

import re
from collections.abc import Collection, Iterable
from typing import Any, Final

import msgspec

from app.core.events import Identity, identity_fields
from app.core.segments import value_text

COUNTER, GAUGE, TIMER = METRIC_TYPES = ("COUNTER", "GAUGE", "TIMER")
#: The label that says what a metric came with: an answer, a feedback, or what a detector said.
METHOD: Final = "method"

_KEY: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL: Final = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_LONGEST_NAME: Final = 100
_MOST_TAGS: Final = 10
_TOTAL: Final = "_total"
#: Names that Tally's own series have, and how all others of them begin.
RESERVED: Final = frozenset(
    "correct_total total_total true_pos true_neg false_pos false_neg score_TP score_FP score_FN".split()  # noqa: SIM905
)
_RESERVED_BEGINNINGS: Final = ("tally_", "process_", "python_")
_OWN_LABELS: Final = frozenset({*identity_fields(Identity("", "", "", "", "")), METHOD, "le"})
_NUMBER: Final = "its value must be a number"
#: What the value of each type must be.
VALUE_RULES: Final = {
    COUNTER: f"{_NUMBER} from 0 to 1e9: a counter never falls",
    GAUGE: f"{_NUMBER}, and finite",
    TIMER: f"{_NUMBER} of milliseconds from 0 to 1e12",
}


class Metric(msgspec.Struct, gc=False):
    """One entry of `meta.metrics`, as it came."""

    key: Any = None
    type: Any = None
    value: Any = None
    tags: Any = None


class MetricsError(Exception):
    """What stands in the place of metrics is no list of objects. The message is a sentence about it."""


def metrics_of(given: Any) -> list[Metric]:
    """The entries of `meta.metrics`, which is given as it was decoded: its entries may be `Metric` already.

    Raises MetricsError.
    """
    if type(given) is not list:
        raise MetricsError("meta.metrics must be a list")
    if given and type(given[0]) is Metric:
        return given
    found = []
    for entry in given:
        if type(entry) is not dict:
            raise MetricsError("each entry of meta.metrics must be an object with key, type and value")
        found.append(Metric(*(entry.get(name) for name in ("key", "type", "value", "tags"))))
    return found


def trouble_of(metric: Metric) -> str:
    """Why a metric cannot be used whatever its value is, as the rest of a sentence; empty where it can."""
    key, tags = metric.key, metric.tags
    if metric.type not in METRIC_TYPES:
        return "its type must be COUNTER, GAUGE or TIMER"
    if type(key) is not str or len(key) > _LONGEST_NAME or not _KEY.fullmatch(key):
        return f"its key must be a name that Prometheus takes (letters, digits, _ and :, at most {_LONGEST_NAME})"
    if any(
        name in RESERVED or name.startswith(_RESERVED_BEGINNINGS) for name in names_of(metric.type, own_key(metric))
    ):
        return "Tally has a series of that name itself"
    if tags is None:
        return ""
    if type(tags) is not dict or len(tags) > _MOST_TAGS:
        return f"its tags must be an object of at most {_MOST_TAGS} names and texts"
    for name in tags:
        if type(name) is not str or len(name) > _LONGEST_NAME or not _LABEL.fullmatch(name):
            return f"its tag {str(name)[:_LONGEST_NAME]!r} is no name that Prometheus takes (letters, digits and _)"
    return ""


def own_key(metric: Metric) -> str:
    """The name that a metric goes by: a counter's without the ending that Prometheus gives it."""
    key: str = metric.key
    return key.removesuffix(_TOTAL) or key if metric.type == COUNTER else key


def names_of(kind: str, key: str) -> tuple[str, ...]:
    """The names that the series of a metric have; the first is that of the family."""
    if kind == COUNTER:
        return (key + _TOTAL,)
    return (key,) if kind == GAUGE else (key, f"{key}_bucket", f"{key}_sum", f"{key}_count")


def labels_of(tags: dict[str, Any] | None, redact: Collection[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names and values of the labels that tags make, in order of their names; but for those that are kept back.

    A name that series have for something else gets `exported_` before it, as Prometheus does it.
    """
    found: dict[str, str] = {}
    for name, value in sorted((tags or {}).items()):
        if name not in redact:
            label = name
            while label in _OWN_LABELS or label in found:
                label = f"exported_{label}"
            found[label] = value_text(value) or ""
    return tuple(found), tuple(found.values())


# -- what detectors say -----------------------------------------------------------------------------------------------

_DRIFT: Final = "seldon_metric_drift_"
_OUTLIER: Final = "seldon_metric_outlier_"
#: Of each member of `data` the metrics that Seldon's detector server makes of it.
_OF_DETECTIONS: Final[dict[str, tuple[tuple[str, str, str], ...]]] = {
    "drift": (
        ("is_drift", COUNTER, f"{_DRIFT}counter"),
        ("is_drift", GAUGE, f"{_DRIFT}is_drift"),
        ("distance", GAUGE, f"{_DRIFT}distance"),
        ("p_val", GAUGE, f"{_DRIFT}p_val"),
        ("threshold", GAUGE, f"{_DRIFT}threshold"),
    ),
    "outlier": (
        ("is_outlier", COUNTER, f"{_OUTLIER}is_outlier"),
        ("instance_score", GAUGE, f"{_OUTLIER}instance_score"),
    ),
}


def metrics_of_detection(body: dict[str, Any], kind: str) -> Iterable[Metric]:
    """The metrics that a detector's event (`drift`, `outlier`) means: `index` is the feature, or the row, from 0.

    https://github.com/SeldonIO/seldon-core/tree/v1.17.1/components/alibi-detect-server/adserver (cd_model.py and
    od_model.py)
    """
    data = body.get("data")
    if type(data) is not dict:
        return
    for member, of_type, key in _OF_DETECTIONS[kind]:
        said = data.get(member)
        for index, value in enumerate(said if type(said) is list else [said]):
            if value is not None:
                yield Metric(key, of_type, value, {"index": str(index)})
