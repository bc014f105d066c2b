"""The series of a worker itself: the numbers that it has of its own work since its start, and one row for each series.

A row reads one `WorkerNumbers`, so a number that is missing or renamed is seen by the type checker.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, TypeVar

from app.core.events import Kind, Reason
from app.core.measures.measure import Histogram
from app.core.stats import Stats

#: (label values, value)
Sample = tuple[tuple[str, ...], float | Histogram]


@dataclass(frozen=True, slots=True)
class DocumentNumbers:
    """What the document writer has done. Times are in seconds."""

    results: Mapping[str, int]  # documents, by what became of them
    backlog: float  # joined records whose documents are not in Elasticsearch yet; NaN while that is not known
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class IntakeNumbers:
    """What the intake has done."""

    events: Mapping[str, int]  # by source topic
    lag: float  # records; NaN while that is not known
    stalled: float  # seconds without progress while something waits


#: What limits keep from being shown.
DROPPED: Final = ("classes", "segment_values", "metrics", "metric_series", "series")


@dataclass(frozen=True, slots=True)
class WorkerNumbers:
    """What a worker knows of its own work. `documents` and `intake` are None where it writes or reads none."""

    stats: Stats
    dropped: Mapping[str, int]  # what limits keep from being shown of the models that this worker exports, by `DROPPED`
    score_failures: Mapping[str, int]  # by the name of a score that is the user's own code
    documents: DocumentNumbers | None
    intake: IntakeNumbers | None
    monitor_lag: Mapping[str, float]  # records, by monitor; NaN while that is not known
    lag_events: Mapping[str, float]  # by canonical topic; NaN while that is not known
    lag_seconds: float  # the same
    open_exchanges: int
    store_bytes: Mapping[str, int]  # by where; none where exchanges are kept in memory
    standbys: int  # partitions that this worker stands by for
    standby_lag: int  # records that it lacks of these
    ready: int  # partitions
    loading: int  # partitions
    failed: int  # partitions
    of_topics: int  # partitions: of all workers together
    other_rules: int  # partitions
    clock_offset: float  # seconds
    recovered_records: int
    recovery_seconds: float
    fetch_age: float  # seconds; NaN while nothing is fetched
    heartbeat_age: float  # seconds


Numbers = TypeVar("Numbers")


class WorkerSeries(NamedTuple, Generic[Numbers]):
    """One series: its name, type, labels, help, and how its samples are read."""

    name: str
    kind: str  # gauge, counter, histogram
    labels: tuple[str, ...]
    help: str
    samples: Callable[[Numbers], Iterable[Sample]]


def _by_kind(counts: Mapping[str, int]) -> Iterable[Sample]:
    return [((kind,), counts.get(kind, 0)) for kind in Kind]


def _each(counts: Mapping[str, float]) -> list[tuple[tuple[str], float]]:
    return [((name,), count) for name, count in counts.items()]


def _documents(read: Callable[[DocumentNumbers], Iterable[Sample]]) -> Callable[[WorkerNumbers], Iterable[Sample]]:
    return lambda numbers: read(numbers.documents) if numbers.documents is not None else ()


def _intake(read: Callable[[IntakeNumbers], Iterable[Sample]]) -> Callable[[WorkerNumbers], Iterable[Sample]]:
    return lambda numbers: read(numbers.intake) if numbers.intake is not None else ()


WORKER: tuple[WorkerSeries[WorkerNumbers], ...] = (
    WorkerSeries(
        "tally_events_total", "counter", ("kind",),
        "Events read.",
        lambda worker: _by_kind(worker.stats.events),
    ),
    WorkerSeries(
        "tally_rejected_total", "counter", ("reason",),
        "Events refused, by reason.",
        lambda worker: [((reason,), worker.stats.rejected.get(reason, 0)) for reason in sorted(Reason)],
    ),
    WorkerSeries(
        "tally_duplicates_total", "counter", ("kind",),
        "Events that changed nothing: repeated, or outdated.",
        lambda worker: _by_kind(worker.stats.duplicates),
    ),
    WorkerSeries(
        "tally_lost_events_total", "counter", ("topic",),
        "Records that the brokers deleted before they were read, by topic.",
        lambda worker: sorted(_each(worker.stats.lost)),
    ),
    WorkerSeries(
        "tally_unreadable_records_total", "counter", ("topic",),
        "Records of changelogs that no worker has written; they are left out.",
        lambda worker: sorted(_each(worker.stats.unreadable)),
    ),
    WorkerSeries(
        "tally_rekeyed_total", "counter", (),
        "Events that were brought from a wrong key or partition to their own.",
        lambda worker: [((), worker.stats.rekeyed)],
    ),
    WorkerSeries(
        "tally_corrections_total", "counter", (),
        "Feedbacks that replaced an earlier statement.",
        lambda worker: [((), worker.stats.corrections)],
    ),
    WorkerSeries(
        "tally_late_total", "counter", (),
        "Labels for panes that are no longer kept; they count in the totals.",
        lambda worker: [((), worker.stats.late)],
    ),
    WorkerSeries(
        "tally_orphans_total", "counter", (),
        "Feedbacks that expired without a response.",
        lambda worker: [((), worker.stats.orphans)],
    ),
    WorkerSeries(
        "tally_failed_predictions_total", "counter", (),
        "Responses that were errors.",
        lambda worker: [((), worker.stats.failed)],
    ),
    WorkerSeries(
        "tally_clock_ahead_total", "counter", (),
        "Events whose time lay more than 5 minutes ahead of their record.",
        lambda worker: [((), worker.stats.clock_ahead)],
    ),
    WorkerSeries(
        "tally_dropped_total", "counter", ("what",),
        "What a limit keeps from being exported, on the worker that exports the models: classes that are shown as "
        '"other" (TALLY_MAX_CLASSES), values of segments that are (TALLY_MAX_SEGMENT_VALUES), custom metrics '
        "(TALLY_MAX_METRICS, or since a name comes with two types), label sets of these that are shown as "
        '"other" (TALLY_MAX_METRIC_SERIES), and series (TALLY_MAX_SERIES).',
        lambda worker: [((what,), worker.dropped.get(what, 0)) for what in DROPPED],
    ),
    WorkerSeries(
        "tally_score_failures_total", "counter", ("score",),
        "Times that a function of the YAML file's `scores:` gave no number: the score is NaN then.",
        lambda worker: _each(worker.score_failures),
    ),
    WorkerSeries(
        "tally_documents_total", "counter", ("result",),
        "Documents for Elasticsearch, by what became of them.",
        _documents(lambda documents: _each(documents.results)),
    ),
    WorkerSeries(
        "tally_documents_backlog", "gauge", (),
        "Joined records whose documents are not in Elasticsearch yet; NaN while that is not known.",
        _documents(lambda documents: [((), documents.backlog)]),
    ),
    WorkerSeries(
        "tally_documents_oldest_seconds", "gauge", (),
        "Age of the oldest record that waits for Elasticsearch.",
        _documents(lambda documents: [((), documents.oldest_seconds)]),
    ),
    WorkerSeries(
        "tally_intake_events_total", "counter", ("topic",),
        "Canonical events that the intake has written, by source topic.",
        _intake(lambda intake: sorted(_each(intake.events))),
    ),
    WorkerSeries(
        "tally_intake_lag_events", "gauge", (),
        "Records of the sources that the intake has not read yet; NaN while that is not known.",
        _intake(lambda intake: [((), intake.lag)]),
    ),
    WorkerSeries(
        "tally_intake_stalled_seconds", "gauge", (),
        "For how long the intake has not got on though records wait, or may wait; 0 while it does.",
        _intake(lambda intake: [((), intake.stalled)]),
    ),
    WorkerSeries(
        "tally_monitor_lag_records", "gauge", ("monitor",),
        "Records of the log of this worker's share that a monitor has not read and dealt with. It counts records, not "
        "rows to score: each result makes a record too, which is read and skipped. NaN while it is not known.",
        lambda worker: _each(worker.monitor_lag),
    ),
    WorkerSeries(
        "tally_lag_events", "gauge", ("topic",),
        "Events not read yet, by topic; NaN while that is not known.",
        lambda worker: _each(worker.lag_events),
    ),
    WorkerSeries(
        "tally_lag_seconds", "gauge", (),
        "Age of the oldest partition clock; NaN while the lag is not known.",
        lambda worker: [((), worker.lag_seconds)],
    ),
    WorkerSeries(
        "tally_fetch_age_seconds", "gauge", (),
        "Seconds since a broker last answered a fetch; NaN while nothing is fetched.",
        lambda worker: [((), worker.fetch_age)],
    ),
    WorkerSeries(
        "tally_heartbeat_age_seconds", "gauge", (),
        "Seconds since the group last answered a heartbeat.",
        lambda worker: [((), worker.heartbeat_age)],
    ),
    WorkerSeries(
        "tally_open_exchanges", "gauge", (),
        "Exchanges kept by this worker.",
        lambda worker: [((), worker.open_exchanges)],
    ),
    WorkerSeries(
        "tally_store_bytes", "gauge", ("where",),
        "Bytes of the store on disk (TALLY_STORE=rocksdb): about, in memory, which TALLY_STORE_MEMORY bounds but for a "
        "few bytes an exchange; and in files.",
        lambda worker: sorted(_each(worker.store_bytes)),
    ),
    WorkerSeries(
        "tally_standby_partitions", "gauge", (),
        "Partitions of other workers whose exchanges this worker keeps ready (TALLY_STANDBYS).",
        lambda worker: [((), worker.standbys)],
    ),
    WorkerSeries(
        "tally_standby_lag_records", "gauge", (),
        "Changelog records of these partitions that this worker has not taken in yet.",
        lambda worker: [((), worker.standby_lag)],
    ),
    WorkerSeries(
        "tally_partitions", "gauge", ("state",),
        "Partitions of this worker, by state.",
        lambda worker: [(("ready",), worker.ready), (("loading",), worker.loading), (("failed",), worker.failed)],
    ),
    WorkerSeries(
        "tally_topic_partitions", "gauge", (),
        "Partitions of the canonical topics: as many must be ready on all workers together.",
        lambda worker: [((), worker.of_topics)],
    ),
    WorkerSeries(
        "tally_rules_differ", "gauge", (),
        "Partitions whose owner counts by other rules (TALLY_CONFIG) than this worker.",
        lambda worker: [((), worker.other_rules)],
    ),
    WorkerSeries(
        "tally_clock_offset_seconds", "gauge", (),
        "By how much the clock of this machine is ahead of the brokers'.",
        lambda worker: [((), worker.clock_offset)],
    ),
    WorkerSeries(
        "tally_recovered_records", "gauge", (),
        "Changelog records that the last loading of partitions took in.",
        lambda worker: [((), worker.recovered_records)],
    ),
    WorkerSeries(
        "tally_recovery_seconds", "gauge", (),
        "Seconds that the last loading of partitions took to read its changelogs.",
        lambda worker: [((), worker.recovery_seconds)],
    ),
)  # fmt: skip
