"""A consumer that hands over records as `app.core.wire.records` reads them, at a quarter of the cost.

aiokafka makes a text and a tuple of every header and a dataclass of eleven fields of every record. The lane, the feed
and the loading need key, value, timestamp and offset, and the headers as bytes. What fetches, what follows transactions
and what unpacks a batch is aiokafka's own: two of its methods see other classes under two names, and one is written
anew; `tests/worker/kafka/test_pins.py` says when a new version no longer fits.
"""

import asyncio
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import Awaitable, Collection, Iterator
from itertools import islice
from types import MethodType
from typing import Any, Final, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import ConnectionGroup
from aiokafka.consumer.fetcher import READ_COMMITTED, Fetcher, FetchError, FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.structs import OffsetAndMetadata
from msgspec.structs import astuple

from app.core.wire.records import BrokenRecordError, Record
from app.settings import Settings
from app.worker.kafka.batches import Batches
from app.worker.kafka.client import client_options, ends_by_itself, prepare_client, with_globals
from app.worker.kafka.metadata import TopicFacts, ask_for_topics, topic_id

#: Of memory for what has been fetched and is not read yet, over all partitions; one response more may come.
_MOST_ASIDE: Final = 64 << 20
#: What brokers may answer at once. It is in memory three times while it is taken apart.
_LARGEST_RESPONSE: Final = 8 << 20
#: A record of so many bytes ends its list: some take a tenth of a second to join, in which the loop stands still.
_LARGE: Final = 64 << 10


class Stranger(Record, gc=False):
    """A record of a changelog that was written outside a transaction, and so by somebody else than a worker."""


class ParsedRecords(PartitionRecords):  # type: ignore[misc]
    """A fetched list that gives the records of committed transactions, list by list."""

    next_fetch_offset: int
    #: The time, in ms, of the newest marker of a transaction among what has been read: brokers write them, so by their
    #: clock (Kafka: `MemoryRecords.withEndTransactionMarker`).
    marked_at = 0
    #: Whether records that no transaction has written are told from others.
    tells_strangers = False
    _records_iterator: Iterator[Iterator[Record]]
    _of_batch: Iterator[Record] | None = None  # what is left of the batch that is being read

    def take(self, most: int) -> tuple[list[Record], bool]:
        """Up to `most` records, none behind a large one, and whether these are the last."""
        begin = self.next_fetch_offset
        records: list[Record] = []
        large = False
        try:
            while not large and (left := most - len(records)) > 0:
                of_batch = self._of_batch
                if of_batch is None:
                    of_batch = self._of_batch = next(self._records_iterator, None)
                    if of_batch is None:
                        break
                read = len(records)
                records += islice(of_batch, left)
                if len(records) - read < left:
                    self._of_batch = None
                large = bool(records) and len(records[-1].value or b"") > _LARGE
        except BaseException as error:
            self.next_fetch_offset = begin  # nothing of this list has been handed over
            self._of_batch, self._records_iterator = None, iter(())
            if isinstance(error, BrokenRecordError):
                raise CorruptRecordException(str(error)) from None
            raise
        if records:
            self.next_fetch_offset = max(self.next_fetch_offset, records[-1].offset + 1)
        return records, not large and len(records) < most

    def _unpack_records(self) -> Iterator[Iterator[Record]]:
        """The records, batch by batch: aiokafka's own steps for one batch, without its steps for one record."""
        batches = self._records
        begin = self.next_fetch_offset
        while batches.has_next():
            batch = batches.next_batch()
            if self._check_crcs and not batches.is_intact(batch):
                raise CorruptRecordException(f"a batch of {self._tp} does not have its checksum")
            wanted = not batch.is_control_batch
            if self._isolation_level == READ_COMMITTED and batch.producer_id is not None:
                self._consume_aborted_up_to(batch.base_offset)
                if batch.is_control_batch and self._contains_abort_marker(batch):
                    self._aborted_producers.discard(batch.producer_id)
                if batch.is_transactional and batch.producer_id in self._aborted_producers:
                    wanted = False
            if batch.is_control_batch:
                self.marked_at = batch.max_timestamp
            if wanted:
                records = batches.records(batch)
                if self.tells_strangers and not batch.is_transactional:
                    records = (Stranger(*astuple(record)) for record in records)
                # A fetch begins with the batch that holds the offset asked for, not with the offset.
                whole = isinstance(batch, DefaultRecordBatch) and batch.base_offset >= begin
                yield records if whole else (record for record in records if record.offset >= begin)
            # Compaction takes records away, not their offsets: the batch says where the next one begins.
            self.next_fetch_offset = batch.next_offset


class ChangelogRecords(ParsedRecords):
    """The same of a changelog."""

    tells_strangers = True


class ParsedFetcher(Fetcher):  # type: ignore[misc]
    """A fetcher that makes such lists, and asks for the next one of a partition while the one before is being read.

    aiokafka asks a broker for nothing as long as anything of it has not been read. Here a list is put aside as soon as
    it has come, and the position moves behind it, so that the next request goes out at once. All partitions together
    may have so many bytes aside; what comes beyond that is left where aiokafka puts it, and waited for.
    """

    #: What its lists are.
    records_class = ParsedRecords
    most_aside = _MOST_ASIDE

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.answered_at = time.monotonic()
        # Where aiokafka asks for the time an answer has come: this is noted, and stamped by a clock that never jumps.
        fetch = with_globals(
            Fetcher._proc_fetch_request, PartitionRecords=self.records_class, MemoryRecords=Batches, time=self
        )
        self._proc_fetch_request = MethodType(fetch, self)
        self.reset()

    def time(self) -> float:
        """The time of an answer that has just come; aiokafka notes it, in ms, for each partition of the answer."""
        self.answered_at = time.monotonic()
        return self.answered_at

    def reset(self) -> None:
        """Begin with nothing."""
        self._records = _Arrivals(self)
        self._aside: defaultdict[TopicPartition, deque[FetchResult]] = defaultdict(deque)
        self._aside_bytes = 0

    def put_aside(self, tp: TopicPartition, fetched: FetchResult) -> bool:
        """Keep a list that has just come, and ask for what follows it. Returns whether there is room for it."""
        batches = fetched._partition_records._records
        behind = batches.next_offset() if self._aside_bytes < self.most_aside else None
        if behind is None:
            return False
        self._aside[tp].append(fetched)
        self._aside_bytes += batches.size_in_bytes()
        fetched._assignment.state_value(tp).consumed_to(behind)
        return True

    def first(self, tp: TopicPartition) -> FetchResult | FetchError | None:
        """The list of a partition that is read next, or what went wrong in its place."""
        queue = self._aside.get(tp)
        if queue:
            if queue[0]._assignment.active:
                return queue[0]
            self.drop(tp)  # it is of a time before a rebalance
        return self._records.get(tp)

    def finish(self, tp: TopicPartition) -> None:
        """The first list of a partition has been read."""
        queue = self._aside.get(tp)
        if queue:
            self._aside_bytes -= queue.popleft()._partition_records._records.size_in_bytes()
        else:
            self._records.pop(tp, None)
            self._notify(self._wait_consume_future)

    def drop(self, tp: TopicPartition) -> None:
        """Forget what is aside of a partition: it is read from elsewhere on, or by somebody else."""
        for fetched in self._aside.pop(tp, ()):
            self._aside_bytes -= fetched._partition_records._records.size_in_bytes()

    def drop_all(self) -> None:
        """Forget what is aside of all partitions."""
        self._aside.clear()
        self._aside_bytes = 0


class ChangelogFetcher(ParsedFetcher):
    """The same for changelogs."""

    records_class = ChangelogRecords


class _Arrivals(OrderedDict[TopicPartition, Any]):
    """Where aiokafka puts what it has fetched."""

    def __init__(self, fetcher: ParsedFetcher) -> None:
        super().__init__()
        self._fetcher = fetcher

    def clear(self) -> None:
        """The assignment has changed: nothing that was fetched for the one before is read."""
        super().clear()
        self._fetcher.drop_all()

    def __setitem__(self, tp: TopicPartition, fetched: Any) -> None:
        if type(fetched) is FetchError or not self._fetcher.put_aside(tp, fetched):
            super().__setitem__(tp, fetched)


class RecordConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """An aiokafka consumer whose records are taken from what has been fetched, by partition. It creates no topic."""

    start = with_globals(AIOKafkaConsumer.start, Fetcher=ParsedFetcher)

    def __init__(self, **options: Any) -> None:
        super().__init__(fetch_max_bytes=_LARGEST_RESPONSE, **options)
        #: The time, in ms, of the newest marker of a transaction that has been read.
        self.marked_at = 0
        self._asked: Any = None  # the assignment that was last looked at, and since when it is there
        self._asked_since = 0.0
        prepare_client(self._client)

    def keep_aside(self, most_bytes: int) -> None:
        """Let so many bytes wait that have been fetched and are not read yet."""
        self._fetcher.most_aside = most_bytes

    def check(self) -> None:
        """Raise what has ended the membership in the group, if anything has."""
        self._coordinator.check_errors()

    async def describe(self, names: Collection[str] | None) -> dict[str, TopicFacts]:
        """The partition counts and ids of those of the topics that exist; with None, of all. Creates none."""

        async def send(request: Any) -> Any:
            # Not on the connection of the fetches: there it would wait for the answer of the one before it.
            node = self._client.get_random_node()
            return await self._client.send(node, request, group=ConnectionGroup.COORDINATION)

        answer = await ask_for_topics(send, names)
        return {
            topic["topic"]: TopicFacts(len(topic["partitions"]), topic_id(topic))
            for topic in answer["topics"]
            if not topic["error_code"]
        }

    async def committed_notes(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, str]:
        """What was noted with the group's offsets; of those partitions that have one."""
        offsets = await self._coordinator.fetch_committed_offsets(list(tps))
        return {tp: committed.metadata for tp, committed in offsets.items()}

    async def commits(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, OffsetAndMetadata | None]:
        """What the group has committed, and what stands beside it; None where that is nothing."""
        found = await self._coordinator.fetch_committed_offsets(list(tps))
        return {tp: found.get(tp) for tp in tps}

    async def stop(self) -> None:
        """Leave the group, and close the connections."""
        if not await ends_by_itself(super().stop()):
            await self.cut_off()

    async def cut_off(self) -> None:
        """End without leaving the group, which hears no more heartbeats."""
        tasks: list[asyncio.Task[Any] | None] = []
        if self._coordinator is not None:  # else it would join again by itself, and hold partitions unread
            tasks += [self._coordinator._heartbeat_task, self._coordinator._coordination_task]
        if self._fetcher is not None:
            tasks += [self._fetcher._fetch_task, *self._fetcher._pending_tasks]
        for task in tasks:
            if task is not None:
                task.cancel()
        await self._client.close()

    async def wait_for_records(self, tps: list[TopicPartition], seconds: float, *, more: bool = False) -> None:
        """Wait until something has been fetched of any of these partitions; with `more`, until more has been fetched.

        Raises what the fetch raised.
        """
        fetcher = self._fetcher
        ready = False
        for tp in tps:
            fetched = fetcher.first(tp)
            if type(fetched) is FetchError:
                fetcher.finish(tp)
                fetched.check_raise()
            ready = ready or fetched is not None
        if more or not ready:
            waiter = fetcher._create_fetch_waiter()
            done, _ = await asyncio.wait([waiter], timeout=seconds)
            if done:
                waiter.result()  # raises where the fetch failed as a whole
            else:
                waiter.cancel()

    def take(self, tp: TopicPartition, most: int) -> list[Record]:
        """Up to `most` of the records that have been fetched of a partition; its position moves on."""
        fetcher = self._fetcher
        fetched = fetcher.first(tp)
        if fetched is None or type(fetched) is FetchError:
            return []  # an error is raised by the next `wait_for_records`
        aside = fetched is not fetcher._records.get(tp)
        if not aside and not fetched.check_assignment(tp):
            fetcher.finish(tp)
            return []
        records, last = fetched._partition_records.take(most)
        if fetched._partition_records.marked_at > self.marked_at:
            self.marked_at = fetched._partition_records.marked_at
        if not aside:
            fetched._update_position()
        if last:
            fetcher.finish(tp)
        return records  # type: ignore[no-any-return]

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read a partition from an offset on."""
        self._fetcher.drop(partition)
        super().seek(partition, offset)

    async def seek_to_beginning(self, *partitions: TopicPartition) -> bool:
        """Read partitions from their beginning on."""
        for tp in partitions:
            self._fetcher.drop(tp)
        return bool(await super().seek_to_beginning(*partitions))

    def end(self, tp: TopicPartition) -> int | None:
        """The end of a partition as the last fetch saw it."""
        state = self._state(tp)
        return state.highwater if state is not None else None

    def fetch_age(self) -> float:
        """Seconds since any fetch was last answered."""
        return time.monotonic() - float(self._fetcher.answered_at)

    def known_end(self, tp: TopicPartition, seconds: float) -> int | None:
        """The end of a partition where a fetch has seen it within so many seconds."""
        state = self._state(tp)
        known = state is not None and state.timestamp is not None
        return state.highwater if known and time.monotonic() - state.timestamp / 1000 <= seconds else None

    def unanswered(self, seconds: float) -> list[str]:
        """The topics of which a partition has been asked for so long in vain. To be called a few times a second."""
        subscription = self._subscription.subscription
        assignment = subscription.assignment if subscription is not None else None
        now = time.monotonic()
        if assignment is not self._asked:
            self._asked, self._asked_since = assignment, now
        if assignment is None or self._fetcher._records:  # nothing is asked of who has sent more than is read
            return []
        last = {tp: assignment.state_value(tp).timestamp for tp in assignment.tps}
        return sorted(
            {tp.topic for tp, at in last.items() if now - (self._asked_since if at is None else at / 1000) > seconds}
        )

    def next_offset(self, tp: TopicPartition) -> int | None:
        """The offset after the last record taken and the markers behind it."""
        fetched = self._fetcher.first(tp) if self._fetcher is not None else None
        if fetched is not None and type(fetched) is not FetchError:
            offset: int = fetched._partition_records.next_fetch_offset
            return offset
        state = self._state(tp)
        return state.position if state is not None and state.has_valid_position else None

    def _state(self, tp: TopicPartition) -> Any:
        subscription = self._subscription.subscription
        assignment = subscription.assignment if subscription is not None else None
        return assignment.state_value(tp) if assignment is not None else None


class ChangelogConsumer(RecordConsumer):
    """The same for changelogs: what is not of Tally comes as `Stranger`."""

    start = with_globals(AIOKafkaConsumer.start, Fetcher=ChangelogFetcher)


class OpenConsumer(Protocol):
    """How whoever reads Kafka gets a consumer. Tests give another one."""

    def __call__(self, settings: Settings, *, changelogs: bool = False, **options: Any) -> Awaitable[RecordConsumer]:
        """A started consumer of committed records, or of changelogs, with these options of aiokafka's besides."""


async def open_consumer(settings: Settings, *, changelogs: bool = False, **options: Any) -> RecordConsumer:
    """A started consumer of committed records that commits nothing by itself."""
    kind = ChangelogConsumer if changelogs else RecordConsumer
    consumer = kind(**client_options(settings), isolation_level="read_committed", enable_auto_commit=False, **options)
    try:
        await consumer.start()
    except BaseException:
        await consumer.stop()
        raise
    return consumer
