"""Mistakes that stream processors make, stock Faust among them: the histories must find each one of them.

Each puts a small change into the lane of one history.
"""

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final
from unittest.mock import patch

from aiokafka import AIOKafkaProducer, TopicPartition

from app.core.join.cut import Cut
from app.core.join.exchange import Monitored
from app.core.join.store import LoadedStore, MemoryStore
from app.core.outputs.scoring import Pairs
from app.settings import Settings
from app.worker import clock
from app.worker.kafka.consumer import RecordConsumer
from app.worker.kafka.producer import close_producer
from app.worker.lane import lane, loading
from app.worker.lane.loading import Counts, Loaded, Loader
from app.worker.lane.partition import Partition
from app.worker.monitors import runner
from app.worker.store.rocks import STANDS, RocksStore
from tests.simulation.history import History, Mistake


@contextmanager
def offsets_before_state(history: History) -> Iterator[None]:
    """Where reading goes on is committed first, and then what has been read: in between it can be lost."""

    class Split(Partition):
        async def _write(self, cut: Cut) -> int:
            *exchanges, position = cut.exchanges
            await super()._write(replace(cut, exchanges=[position], panes=[], joined=[], dead=[], astray=[]))
            return await super()._write(replace(cut, exchanges=exchanges, offsets={}))

    with patch.object(loading, "Partition", Split):
        yield


@contextmanager
def fence_after_reading(history: History) -> Iterator[None]:
    """The changelogs are read first, then the producer is opened: the last owner can still write in between."""

    class Late(Loader):
        async def load(self, numbers: list[int]) -> Loaded:
            self._read: dict[int, LoadedStore] = {number: MemoryStore() for number in numbers}
            self._known = await super()._read_changelogs(self._read, {})
            return await super().load(numbers)

        async def _read_changelogs(self, stores: dict[int, LoadedStore], ids: Mapping[str, str]) -> tuple[Counts, int]:
            stores |= self._read
            return self._known

    with patch.object(lane, "Loader", Late):
        yield


@contextmanager
def fence_nobody(history: History) -> Iterator[None]:
    """Each producer has a transactional id of its own: whoever had the partition before is not fenced."""

    class Own(Loader):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            opened, self._open_shared = 0, self._open_producer

            async def open_own(settings: Settings, partition: int | None = None) -> AIOKafkaProducer:
                nonlocal opened
                opened += 1
                own = f"{settings.app_id}-{id(self)}-{opened}"
                return await self._open_shared(settings.model_copy(update={"app_id": own}), partition)

            self._open_producer = open_own

    with patch.object(lane, "Loader", Own):
        yield


@contextmanager
def keep_what_was_lost(history: History) -> Iterator[None]:
    """A partition stays with its owner over a rebalance although an epoch of it has failed meanwhile, with a new
    producer.
    """
    assign = lane.Lane.assign

    async def kept(self: lane.Lane, numbers: set[int], standbys: Collection[int] = ()) -> None:
        for number, part in self.running.items():
            if part.lost is not None and number in numbers:
                await close_producer(part._producer)
                part._producer = await history.kafka.open_producer(history.settings, number)
                part.lost = None
        await assign(self, numbers, standbys)

    with patch.object(lane.Lane, "assign", kept):
        yield


@contextmanager
def abort_and_go_on(history: History) -> Iterator[None]:
    """After a commit that failed: abort, begin anew, and go on with what is in memory."""

    class Persistent(Partition):
        async def _commit_epoch(self, cut: Cut) -> None:
            await super()._commit_epoch(cut)
            if self.lost is not None:
                try:
                    async with asyncio.timeout(1):
                        await self._producer.abort_transaction()
                except Exception:  # noqa: BLE001 - then with a new one
                    await close_producer(self._producer)
                    self._producer = await history.kafka.open_producer(history.settings, self.number)
                self.lost = None

    with patch.object(loading, "Partition", Persistent):
        yield


@contextmanager
def read_to_a_stale_end(history: History) -> Iterator[None]:
    """The ends of the changelogs are taken before the last owner is fenced."""

    class Stale(Loader):
        async def load(self, numbers: list[int]) -> Loaded:
            settings = self._settings
            topics = (settings.exchanges_topic, settings.panes_topic)
            consumer = await self._open_consumer(settings)
            try:
                self._ends = await consumer.end_offsets([TopicPartition(it, n) for it in topics for n in numbers])
            finally:
                await consumer.stop()
            return await super().load(numbers)

        async def _read_changelogs(self, stores: dict[int, LoadedStore], ids: Mapping[str, str]) -> tuple[Counts, int]:
            opens = self._open_consumer

            async def ends(_: Any) -> Any:
                return self._ends

            async def opened(*args: Any, **options: Any) -> RecordConsumer:
                consumer = await opens(*args, **options)
                consumer.end_offsets = ends
                return consumer

            self._open_consumer = opened
            try:
                return await super()._read_changelogs(stores, ids)
            finally:
                self._open_consumer = opens

    with patch.object(lane, "Loader", Stale):
        yield


@contextmanager
def believe_strangers(history: History) -> Iterator[None]:
    """What others have written into the changelogs is taken for the state."""
    with patch.object(loading, "Stranger", type(None)):
        yield


@contextmanager
def believe_the_clock(history: History) -> Iterator[None]:
    """The time is what the machine says."""
    with (
        patch.object(clock.Clock, "now", lambda self: self._wall()),
        patch.object(clock.Clock, "settled", True),
    ):
        yield


@contextmanager
def score_and_forget(history: History) -> Iterator[None]:
    """Monitors know nothing of what was before they were started."""
    with patch.object(Pairs, "lacks_past", False):
        yield


@contextmanager
def send_and_go_on(history: History) -> Iterator[None]:
    """Monitors commit what they have read while their results are still on their way."""
    send = runner.send
    sending = []

    async def begin(*args: Any) -> None:
        sending.append(asyncio.get_running_loop().create_task(send(*args)))
        await asyncio.sleep(0)

    with patch.object(runner, "send", begin):
        yield


@contextmanager
def believe_any_result(history: History) -> Iterator[None]:
    """Of two results of a monitor on one answer, with two requests, any holds."""
    with patch.object(Monitored, "rank", property(lambda self: (self.time, self.digest, self.ahead))):
        yield


@contextmanager
def keep_before_it_commits(history: History) -> Iterator[None]:
    """What is cut goes to the disk at once: it is there also where the epoch never commits."""

    class Hasty(Partition):
        async def _write(self, cut: Cut) -> int:
            assert isinstance(self.shard.store, RocksStore)
            _, ages, count = self.shard.store._sealed or ({}, [], 0)
            self.shard.store.database.write([*cut.exchanges, *ages, (STANDS, b"[%d,%d,0]" % (self._end, count))])
            self._end = await super()._write(cut)
            return self._end

        _end = 0

    with patch.object(loading, "Partition", Hasty):
        yield


@contextmanager
def stand_too_far(history: History) -> Iterator[None]:
    """The disk is taken to reach further than it does: of the changelog some is never read."""
    keep = RocksStore.keep

    async def too_far(self: RocksStore, changes: Sequence[tuple[bytes, bytes | None]], place: int) -> None:
        await keep(self, changes[1:] if len(changes) > 2 else changes, place)

    with patch.object(RocksStore, "keep", too_far):
        yield


MISTAKES_ON_DISK: Final[dict[str, Mistake]] = {
    mistake.__name__: mistake for mistake in (keep_before_it_commits, stand_too_far)
}

MISTAKES: Final[dict[str, Mistake]] = {
    mistake.__name__: mistake
    for mistake in (
        offsets_before_state,
        fence_after_reading,
        fence_nobody,
        keep_what_was_lost,
        abort_and_go_on,
        read_to_a_stale_end,
        believe_strangers,
        believe_the_clock,
        score_and_forget,
        send_and_go_on,
        believe_any_result,
    )
}
