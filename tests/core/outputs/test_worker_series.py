"""The series of a worker: each row reads the numbers, and each number is read by a row."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import pytest

from app.core.events import Kind, Reason
from app.core.outputs.worker_series import WORKER, DocumentNumbers, IntakeNumbers, WorkerNumbers
from app.core.stats import Stats

NONE = WorkerNumbers(
    stats=Stats(),
    dropped={},
    score_failures={"cost": 0},
    documents=DocumentNumbers({"written": 0}, backlog=0, oldest_seconds=0),
    intake=IntakeNumbers({"seldon": 0}, lag=0, stalled=0),
    monitor_lag={"outliers": 0},
    lag_events={"asked": 0},
    lag_seconds=0,
    open_exchanges=0,
    store_bytes={"memory": 0},
    standbys=0,
    standby_lag=0,
    ready=0,
    loading=0,
    failed=0,
    of_topics=0,
    other_rules=0,
    clock_offset=0,
    recovered_records=0,
    recovery_seconds=0,
    fetch_age=0,
    heartbeat_age=0,
)
#: What a number that is not nothing looks like, by the word that the row shows it with.
OF_WORD = {
    "events": "request",
    "rejected": "bad-json",
    "duplicates": "request",
    "lost": "asked",
    "results": "written",
    "dropped": "classes",
}


def more(holder: Any, name: str) -> Any:
    """The same numbers with one of them at 1."""
    old = getattr(holder, name)
    if isinstance(old, int | float):
        return replace(holder, **{name: 1})
    word = next(iter(old), OF_WORD.get(name))
    return replace(holder, **{name: Counter({word: 1})})


def each_alone() -> Iterator[tuple[str, WorkerNumbers]]:
    """Each number by its name, and numbers of which it alone is not zero."""
    parts = {"stats": NONE.stats, "documents": NONE.documents, "intake": NONE.intake}
    for field in fields(NONE):
        if field.name not in parts:
            yield field.name, more(NONE, field.name)
    for part, holder in parts.items():
        assert holder is not None
        for field in fields(holder):
            yield f"{part}.{field.name}", replace(NONE, **{part: more(holder, field.name)})


def not_zero(numbers: WorkerNumbers) -> dict[str, Any]:
    return {series.name: value for series in WORKER for _, value in series.samples(numbers) if value}


@pytest.mark.parametrize(("name", "numbers"), [*each_alone()], ids=lambda one: one if isinstance(one, str) else "")
def test_each_number_is_shown_by_one_series(name: str, numbers: WorkerNumbers) -> None:
    assert list(not_zero(numbers).values()) == [1]


def test_no_two_numbers_are_shown_by_one_series_but_states_of_partitions() -> None:
    shown = Counter(series for _, numbers in each_alone() for series in not_zero(numbers))
    assert shown == dict.fromkeys((series.name for series in WORKER), 1) | {"tally_partitions": 3}


def test_each_sample_has_a_value_for_each_label() -> None:
    for series in WORKER:
        for labels, _ in series.samples(NONE):
            assert len(labels) == len(series.labels), series.name


def test_a_total_is_a_counter_and_the_rest_are_gauges() -> None:
    for series in WORKER:
        assert series.kind == ("counter" if series.name.endswith("_total") else "gauge")


def test_every_reason_and_kind_is_there_from_the_start() -> None:
    """Prometheus sees no increase of a series that it did not know before."""
    samples = {(series.name, *labels): value for series in WORKER for labels, value in series.samples(NONE)}
    assert {name[1] for name in samples if name[0] == "tally_rejected_total"} == {*Reason}
    for counter in ("tally_events_total", "tally_duplicates_total"):
        assert {name[1] for name in samples if name[0] == counter} == {*Kind}
    assert {name[1] for name in samples if name[0] == "tally_dropped_total"} == {
        "classes",
        "segment_values",
        "metrics",
        "metric_series",
        "series",
    }


def test_the_topics_that_are_known_are_counted_from_the_start() -> None:
    stats = Stats(lost=Counter(asked=2))
    stats.expect(read=["asked", "answered"], changelogs=["panes"])
    assert (stats.lost, stats.unreadable) == (Counter(asked=2, answered=0), Counter(panes=0))
    samples = {
        (series.name, *labels): value
        for series in WORKER
        for labels, value in series.samples(replace(NONE, stats=stats))
    }
    assert samples["tally_lost_events_total", "answered"] == 0
    assert samples["tally_unreadable_records_total", "panes"] == 0
