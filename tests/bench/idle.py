"""How long workers do nothing while they have events unread."""

import itertools
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from tests.bench.table import ONE, TWO, Row
from tests.bench.tally_runs import Tally
from tests.bench.workers import POLL_SECONDS, START_SECONDS, Worker, processed, total, worker

IDLE: Final = "idle while lagging"


@dataclass(frozen=True, slots=True)
class Moment:
    """A worker at one moment. Times are in seconds; `core_wait` is None where the system does not say."""

    at: float
    events: float
    unread: float
    cpu: float
    core_wait: float | None


def run(tally: Tally) -> list[Row]:
    """For one and for two workers, of each: wall time less CPU time, from its first event to its last unread one."""
    return [*_run(tally, ONE, 1), *_run(tally, TWO, 2)]


def _run(tally: Tally, figure: str, workers: int) -> list[Row]:
    app_id = f"{tally.bench.prefix}-idle-{workers}"
    with ExitStack() as stack:
        started = [stack.enter_context(worker(tally.topics, app_id, tally.bench.folder)) for _ in range(workers)]
        moments = _watch(started, tally.topics.events)
    rows = []
    for number, its in enumerate(zip(*moments, strict=True), 1):
        of = f"{figure}: {IDLE}" if workers == 1 else f"{figure}: {IDLE}, worker {number}"
        rows += _rows(of, its)
    return rows


def _rows(figure: str, moments: Sequence[Moment]) -> list[Row]:
    lagging = [
        (before, after)
        for before, after in itertools.pairwise(moments)
        if before.unread and after.unread and before.events
    ]
    if not lagging:
        return [Row(figure, "not measured: read between two polls; ask for more --events")]
    wall = sum(after.at - before.at for before, after in lagging)
    cpu = sum(after.cpu - before.cpu for before, after in lagging)
    rows = [Row(figure, max(0.0, wall - cpu), f"s of {wall:.1f}")]
    waits = [
        after.core_wait - before.core_wait
        for before, after in lagging
        if after.core_wait is not None and before.core_wait is not None
    ]
    return [*rows, Row(f"{figure}: of it ready, but without a core", sum(waits), "s")] if waits else rows


def _watch(workers: Sequence[Worker], events: int) -> list[tuple[Moment, ...]]:
    """All workers at each poll, until every event is processed."""
    moments: list[tuple[Moment, ...]] = []
    deadline = time.monotonic() + START_SECONDS + events / 1000
    while not moments or sum(it.events for it in moments[-1]) < events:
        polled = time.monotonic()
        if polled > deadline:
            raise TimeoutError(f"{events} events were not processed in time")
        moments.append(tuple(map(_moment, workers)))
        time.sleep(max(0.0, polled + POLL_SECONDS - time.monotonic()))
    return moments


def _moment(of: Worker) -> Moment:
    text = of.metrics()
    return Moment(
        time.monotonic(), processed(text), total(text, "tally_lag_events"), of.cpu_seconds(), of.core_wait_seconds()
    )
