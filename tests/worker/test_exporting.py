"""Who exports the model series: one worker at the most, after a gap. Lane and feed are stand-ins."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

import pytest

from app.settings import load_settings
from app.worker.exporting import Exporting

SETTINGS: Final = load_settings(scrape_interval="2s", session_timeout="10s")


class Worker:
    """A worker that may export; what a test changes of it is why it may not."""

    def __init__(self) -> None:
        self.now = 100.0
        self.heartbeat_age = self.longest_epoch = 0.0
        self.partitions: dict[int, Any] = {}
        self.damaged: dict[int, str] = {}
        self.at_end = asyncio.Event()
        self.at_end.set()
        lane: Any = SimpleNamespace(
            running=self.partitions,
            longest_epoch=lambda: self.longest_epoch,
            upkeep=SimpleNamespace(damaged=self.damaged),
        )
        feed: Any = SimpleNamespace(at_end=self.at_end)
        self.exporting = Exporting(SETTINGS, lane, feed, lambda: self.heartbeat_age, lambda: self.now)
        self.own(0)

    def own(self, *partitions: int) -> None:
        self.partitions.clear()
        self.partitions.update((number, SimpleNamespace(lost=None)) for number in partitions)

    def exports_after(self, seconds: float) -> bool:
        self.now += seconds
        return self.exporting.exports()


def an_exporter() -> Worker:
    """A worker that has waited long enough, and exports."""
    worker = Worker()
    assert not worker.exports_after(0)
    assert worker.exports_after(2)
    return worker


def lose(worker: Worker) -> None:
    worker.partitions[0].lost = RuntimeError("fenced")


HINDRANCES: Final[dict[str, tuple[Callable[[Worker], None], Callable[[Worker], None]]]] = {
    "it has partition 1 alone": (lambda it: it.own(1), lambda it: it.own(0, 1)),
    "it has none": (lambda it: it.own(), lambda it: it.own(0)),
    "an epoch of partition 0 has failed": (lose, lambda it: it.own(0)),
    "the feed is not at its end": (lambda it: it.at_end.clear(), lambda it: it.at_end.set()),
    "its last heartbeat is older than the session time-out": (
        lambda it: setattr(it, "heartbeat_age", 10.001),
        lambda it: setattr(it, "heartbeat_age", 10.0),
    ),
    "an epoch waits longer than the session time-out": (
        lambda it: setattr(it, "longest_epoch", 10.001),
        lambda it: setattr(it, "longest_epoch", 10.0),
    ),
}


def test_the_owner_of_a_damaged_partition_0_exports_what_the_others_count() -> None:
    worker = Worker()
    worker.own(1)
    worker.damaged[0] = "Partition 0 is not counted."
    assert not worker.exports_after(0)
    assert worker.exports_after(2)


def test_a_new_exporter_waits_a_scrape_interval_from_when_it_may() -> None:
    worker = Worker()
    assert not worker.exports_after(0)
    assert not worker.exports_after(1.999)
    assert worker.exports_after(0.001)
    assert worker.exports_after(86400)


def test_the_wait_begins_when_it_is_noted_and_needs_no_scrape() -> None:
    worker = Worker()
    worker.exporting.watch()
    assert worker.exports_after(2)


def test_watching_again_does_not_begin_the_wait_anew() -> None:
    worker = Worker()
    for _ in range(20):
        worker.exporting.watch()
        worker.now += 0.1
    assert worker.exports_after(0.001)


@pytest.mark.parametrize("why", HINDRANCES)
def test_it_ends_at_once_and_the_wait_begins_anew(why: str) -> None:
    hinder, mend = HINDRANCES[why]
    worker = an_exporter()
    hinder(worker)
    assert not worker.exports_after(0)
    assert not worker.exports_after(60)
    mend(worker)
    assert not worker.exports_after(0)
    assert not worker.exports_after(1.999)
    assert worker.exports_after(0.001)


@pytest.mark.parametrize("why", HINDRANCES)
def test_a_moment_in_which_it_may_not_is_remembered_though_nobody_scraped(why: str) -> None:
    hinder, mend = HINDRANCES[why]
    worker = an_exporter()
    hinder(worker)
    worker.exporting.watch()
    mend(worker)
    assert not worker.exports_after(0)
    assert worker.exports_after(2)


@pytest.mark.parametrize("handed_over_after", [0.0, 0.3, 5.0])
def test_when_partition_0_changes_hands_there_is_a_gap_and_never_a_double(handed_over_after: float) -> None:
    """Both are watched every 0.2 s; whoever scrapes both at the same moment sees the series once or not at all."""
    old, new = an_exporter(), Worker()
    new.own(1)
    exporters: list[str] = []
    for tick in range(100):
        if tick == 10:
            old.own(1)
        if tick == 10 + round(handed_over_after / 0.2):
            new.own(0, 1)
        shares = old.exports_after(0.2), new.exports_after(0.2)
        exporters.append(
            {(True, False): "old", (False, False): "-", (False, True): "new", (True, True): "both"}[shares]
        )
    gap = round((handed_over_after + SETTINGS.scrape_interval) / 0.2)
    assert exporters[:10] == ["old"] * 10
    assert gap <= exporters.count("-") <= gap + 1
    assert exporters[-1] == "new"
    assert "both" not in exporters
    assert exporters.index("new") > exporters.index("-")


def test_of_a_worker_that_slept_and_does_not_know_it_the_heartbeat_is_too_old() -> None:
    """It still has its partition, and its lane and feed have seen nothing: the group gave the partition away."""
    asleep, other = an_exporter(), Worker()
    asleep.heartbeat_age += 10.5
    assert other.exports_after(0) is False
    assert other.exports_after(2) is True
    assert asleep.exports_after(12.5) is False
