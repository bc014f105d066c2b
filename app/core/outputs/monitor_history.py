"""The answer of `/api/models/{key}/monitor-history`: what a monitor has said over time, from panes and from documents.

Each version of its code has points of its own, so that what a new file says stands beside what the old one said.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict

from app.core.events import Identity
from app.core.measures.monitors import MONITORS, OUTCOMES, STATS
from app.core.measures.reading import Reading
from app.core.monitors import words_of
from app.core.outputs.keys import key_of
from app.core.outputs.score_history import Source, source_of
from app.core.outputs.trends import Stretch
from app.core.rules import Rules


class MonitorPoint(TypedDict):
    """What one version of a monitor has said of the rows of one stretch; statistics are null where none has a value."""

    start: int
    version: str
    ok: int
    alert: int
    failed: int
    mean: float | None
    p50: float | None
    p95: float | None


class MonitorHistory(TypedDict):
    """A monitor over time. A row alerts where `value comparison threshold`; null where it is no longer in the rules."""

    key: str
    monitor: str
    version: str | None
    comparison: str | None
    threshold: float | None
    step: int
    points: list[MonitorPoint]
    source: Source
    note: str | None


def monitor_names(total: Reading, rules: Rules) -> list[str]:
    """The monitors of a model: those of its rules, then others that have scored rows of it."""
    own = [monitor.spec.name for monitor in rules.monitors]
    return [*dict.fromkeys((*own, *(words_of(key)[0] for key in MONITORS.of(total))))]


def points_of(stretch: Stretch, name: str) -> Iterator[MonitorPoint]:
    """What a monitor has said in a stretch: a point for each of its versions."""
    for key, counts in MONITORS.of(stretch.reading).items():
        monitor, version = words_of(key)
        if monitor == name:
            rows = dict(zip(OUTCOMES, counts.outcomes, strict=True))
            yield _point(stretch.start, version, {**rows, **counts.stats()})


def points_of_document(body: Mapping[str, Any], name: str) -> list[MonitorPoint]:
    """The points that a document of a window is. Raises LookupError, TypeError or ValueError where it is none."""
    start = int(datetime.fromisoformat(body["start"]).timestamp())
    return [_point(start, str(one["version"]), one) for one in body.get("monitors") or () if one["monitor"] == name]


def _point(start: int, version: str, said: Mapping[str, Any]) -> MonitorPoint:
    ok, alert, failed = (int(said[outcome]) for outcome in OUTCOMES)
    mean, p50, p95 = (None if said[stat] is None else float(said[stat]) for stat in STATS)
    return {
        "start": start, "version": version, "ok": ok, "alert": alert, "failed": failed,
        "mean": mean, "p50": p50, "p95": p95,
    }  # fmt: skip


def monitor_history_of(
    identity: Identity,
    rules: Rules,
    name: str,
    step: int,
    older: Sequence[MonitorPoint],
    newer: Sequence[MonitorPoint],
    note: str | None,
) -> MonitorHistory:
    """The history that points make: `older` ones are of Elasticsearch, `newer` ones of panes."""
    spec = next((monitor.spec for monitor in rules.monitors if monitor.spec.name == name), None)
    return {
        "key": key_of(identity),
        "monitor": name,
        "version": None if spec is None else spec.version,
        "comparison": None if spec is None else spec.when.comparison,
        "threshold": None if spec is None else spec.when.threshold,
        "step": step,
        "points": [*older, *newer],
        "source": source_of(older, newer),
        "note": note,
    }
