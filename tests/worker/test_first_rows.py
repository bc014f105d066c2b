"""References of first rows in a worker: only the owner of partition 0 makes them, and each once."""

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from app.core.measures.readings import Readings
from app.worker.first_rows import FirstRows
from tests.builders import START
from tests.core.join.test_firsts import Job, M, pair, rules


def a_worker(job: Job, *numbers: int, at_end: bool = True) -> FirstRows:
    """A worker that owns partitions, and has read what was written."""
    ended = asyncio.Event()
    if at_end:
        ended.set()
    parts = {number: SimpleNamespace(shard=job.ledger.shards[number]) for number in numbers}
    lane: Any = SimpleNamespace(running=parts, partitions=len(job.ledger.panes))
    feed: Any = SimpleNamespace(at_end=ended)
    return FirstRows(Readings(job.view, job.ledger.rulebook, 200), lane, feed)


def a_full_job(partitions: int = 2) -> Job:
    """A job in which all is known that a reference needs."""
    job = Job(rules(2), partitions=partitions).tell(*pair("a", 1), *pair("b", 2), *pair("c", 3))
    return job.tell(clock=60)


@pytest.mark.parametrize(
    ("numbers", "at_end", "made"), [((0, 1), True, True), ((0,), True, True), ((1,), True, False), ((0,), False, False)]
)
def test_only_who_owns_partition_0_and_has_read_all_makes_it(
    numbers: tuple[int, ...], at_end: bool, made: bool
) -> None:
    job = a_full_job()

    async def look() -> None:
        await a_worker(job, *numbers, at_end=at_end).look()

    asyncio.run(look())
    job.tell(clock=61)
    assert (job.first() is not None) == made


def test_it_is_made_once_and_told_by_all(caplog: pytest.LogCaptureFixture) -> None:
    job = a_full_job()

    async def story() -> None:
        owner, other = a_worker(job, 0), a_worker(job, 1)
        await owner.look()
        await owner.look()
        assert job.ledger.shards[0].has_news
        job.tell(clock=61)
        watched = job.ledger.rulebook.entries[0].reference
        assert watched is not None
        watched.versions.clear()
        await other.look()
        await other.look()

    with caplog.at_level(logging.INFO):
        asyncio.run(story())
    first = job.first()
    assert first is not None
    assert (first.rows, first.until) == (2, (START + 2) * 1_000_000)
    told = [record.message for record in caplog.records]
    assert told == [f"{M} has its reference {first.reference.digest}, of its first 2 rows"]
