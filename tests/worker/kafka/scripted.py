"""A group whose brokers, other members and troubles are what a test says; and time that costs none."""

import asyncio
import math
import selectors
from collections import defaultdict
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, TypeVar

from aiokafka import TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import IllegalStateError, NoOffsetForPartitionError, OffsetOutOfRangeError

from app.core.wire.records import Record
from app.settings import Settings
from app.worker.kafka.metadata import TopicFacts
from tests.patience import PATIENCE

T = TypeVar("T")


class _Selector(selectors.SelectSelector):
    """What a loop waits with. Here its clock moves on instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everybody waits for something that never happens"
        self.now += max(0.0, timeout)
        return super().select(0)


def in_no_time(test: Coroutine[Any, Any, T]) -> T:
    """Run a test in a loop whose clock moves on by itself as soon as everybody waits."""

    def make_loop() -> asyncio.AbstractEventLoop:
        selector = _Selector()
        loop = asyncio.SelectorEventLoop(selector)
        loop.time = lambda: selector.now  # type: ignore[method-assign]
        return loop

    with asyncio.Runner(loop_factory=make_loop) as runner:
        return runner.run(test)


async def until(holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait until something holds."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not holds():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


class Brokers:
    """The topics and the one group of a test; `open_consumer` is given to whoever reads them."""

    def __init__(self, **partitions: int) -> None:
        #: The partition counts of the topics that exist.
        self.partitions = partitions
        #: Their ids, where they have any, and what was noted with the group's offsets.
        self.ids: dict[str, str] = {}
        self.notes: dict[TopicPartition, str] = {}
        #: A record at each offset, or None: the marker of a transaction.
        self.logs: defaultdict[TopicPartition, list[Record | None]] = defaultdict(list)
        #: The oldest offset that is still there.
        self.beginnings: defaultdict[TopicPartition, int] = defaultdict(int)
        self.committed: dict[TopicPartition, int] = {}
        #: All that was committed, in its order.
        self.commits: list[dict[TopicPartition, int]] = []
        #: All consumers that were opened; the last one is the member.
        self.consumers: list[Consumer] = []
        #: Whether they send nothing.
        self.silent = False
        #: How long they take to let a member leave, and what they answer it.
        self.leave_seconds = 0.0
        self.leave_error: Exception | None = None
        #: What they answer to who connects, to who commits, and to who asks for topics.
        self.connection_error: Exception | None = None
        self.commit_error: Exception | None = None
        self.topics_error: Exception | None = None

    @property
    def member(self) -> "Consumer":
        return self.consumers[-1]

    async def open_consumer(self, settings: Settings, **options: Any) -> Any:
        if self.connection_error is not None:
            raise self.connection_error
        self.consumers.append(Consumer(self, options))
        return self.member

    def write(self, tp: TopicPartition, *values: bytes | None, timestamp: int = 0) -> None:
        """Append records with these values; None is a marker."""
        log = self.logs[tp]
        for value in values:
            log.append(None if value is None else Record(len(log), timestamp, b"key", value))


class Consumer:
    """A consumer of such a group."""

    def __init__(self, brokers: Brokers, options: Mapping[str, Any]) -> None:
        self.options = options
        self.topics: list[str] = []
        self.sought: list[tuple[TopicPartition, int]] = []
        self.stopped = False
        self.cut = False
        #: What has ended the membership.
        self.failure: Exception | None = None
        #: The partitions that the group gives at its next rebalance; None for all that are subscribed to.
        self.share: Collection[TopicPartition] | None = None
        self._brokers = brokers
        self._listener: Any = None
        self._offsets: dict[TopicPartition, int | None] = {}
        self._joining: asyncio.Task[None] | None = None

    async def rebalance(self) -> None:
        """Take the partitions, and give this member its share."""
        await self.take_away()
        self.give()

    async def take_away(self) -> None:
        await self._listener.on_partitions_revoked(self.assignment())

    def give(self) -> None:
        """Give this member its share, each partition at its committed offset."""
        all_of_them = [TopicPartition(it, n) for it in self.topics for n in range(self._brokers.partitions.get(it, 0))]
        share = all_of_them if self.share is None else self.share
        self._offsets = {tp: self._brokers.committed.get(tp) for tp in share}
        self._listener.on_partitions_assigned(set(share))

    def subscribe(self, topics: Sequence[str], *, listener: ConsumerRebalanceListener) -> None:
        self.topics, self._listener = list(topics), listener
        self._joining = asyncio.get_running_loop().create_task(self.rebalance())

    def unsubscribe(self) -> None:
        self.topics, self._offsets = [], {}

    def assignment(self) -> set[TopicPartition]:
        return set(self._offsets)

    def check(self) -> None:
        if self.failure is not None:
            raise self.failure

    async def describe(self, names: Collection[str] | None) -> dict[str, TopicFacts]:
        await asyncio.sleep(0)
        if self._brokers.topics_error is not None:
            raise self._brokers.topics_error
        return {
            name: TopicFacts(count, self._brokers.ids.get(name, ""))
            for name, count in self._brokers.partitions.items()
            if names is None or name in names
        }

    async def committed_notes(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, str]:
        return {tp: self._brokers.notes.get(tp, "") for tp in tps if tp in self._brokers.committed}

    async def wait_for_records(self, tps: list[TopicPartition], seconds: float) -> None:
        for tp in tps:
            offset = self._offsets[tp]
            if offset is None:
                raise NoOffsetForPartitionError(tp)
            if not self._brokers.beginnings[tp] <= offset <= len(self._brokers.logs[tp]):
                raise OffsetOutOfRangeError({tp: offset})
        if self._brokers.silent or not any((self._offsets[tp] or 0) < len(self._brokers.logs[tp]) for tp in tps):
            await asyncio.sleep(seconds)

    def take(self, tp: TopicPartition, most: int) -> list[Record]:
        records: list[Record] = []
        log, offset = self._brokers.logs[tp], self._offsets[tp]
        if offset is None or offset < self._brokers.beginnings[tp] or self._brokers.silent:
            return []
        while len(records) < most and offset < len(log):
            record = log[offset]
            offset += 1
            if record is not None:
                records.append(record)
        self._offsets[tp] = offset
        return records

    def next_offset(self, tp: TopicPartition) -> int | None:
        return self._offsets[tp]

    def known_end(self, tp: TopicPartition, seconds: float) -> int | None:
        return None if self._brokers.silent and seconds < math.inf else len(self._brokers.logs[tp])

    def seek(self, tp: TopicPartition, offset: int) -> None:
        assert tp in self._offsets
        self.sought.append((tp, offset))
        self._offsets[tp] = offset

    async def beginning_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        await asyncio.sleep(0.01)
        return {tp: self._brokers.beginnings[tp] for tp in tps}

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        await asyncio.sleep(0.01)
        return {tp: len(self._brokers.logs[tp]) for tp in tps}

    async def offsets_for_times(self, times: dict[TopicPartition, int]) -> dict[TopicPartition, Any]:
        """Of logs whose records stand in the order of their times."""
        found = {}
        for tp, time in times.items():
            log = self._brokers.logs[tp][self._brokers.beginnings[tp] :]
            offsets = [record.offset for record in log if record is not None and record.timestamp >= time]
            found[tp] = SimpleNamespace(offset=offsets[0]) if offsets else None
        return found

    async def commit(self, noted: dict[TopicPartition, tuple[int, str]]) -> None:
        await asyncio.sleep(0.01)
        if self._brokers.commit_error is not None:
            raise self._brokers.commit_error
        offsets = {tp: offset for tp, (offset, _) in noted.items()}
        if not offsets.keys() <= self.assignment():
            raise IllegalStateError(f"of {offsets} not all are assigned")
        self._brokers.committed |= offsets
        self._brokers.notes |= {tp: note for tp, (_, note) in noted.items()}
        self._brokers.commits.append(offsets)

    async def cut_off(self) -> None:
        self.cut = True

    async def stop(self) -> None:
        if self._brokers.leave_error is not None:
            raise self._brokers.leave_error
        await asyncio.sleep(self._brokers.leave_seconds)
        self.stopped = True
        self._offsets = {}
        if self._joining is not None:
            self._joining.cancel()
