"""A consumer that hands over records as `app.core.wire.records` reads them, at a quarter of the cost.

aiokafka makes a text and a tuple of every header and a dataclass of eleven fields of every record. The lane, the feed
and the loading need key, value, timestamp and offset, and the headers as bytes. What fetches, what follows transactions
and what unpacks a batch is aiokafka's own: two of its methods see other classes under two names, and one is written
anew; `tests/worker/kafka/test_pins.py` says when a new version no longer fits.
"""

import asyncio
import struct
from collections.abc import Awaitable, Collection, Iterator
from functools import partial
from itertools import islice
from types import FunctionType, MethodType
from typing import Any, Final, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.consumer.fetcher import READ_COMMITTED, Fetcher, FetchError, PartitionRecords
from aiokafka.errors import CorruptRecordException, KafkaError
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

from app.core.wire.records import BrokenRecordError, Record, read_records
from app.settings import Settings
from app.worker.kafka.client import client_options

_INT: Final = struct.Struct(">i")
#: Where a batch says how many bytes follow; and where its records begin, after their number.
_LENGTH_AT: Final = 8
_HEADER_BYTES: Final = 61


def with_globals(function: Any, **names: Any) -> Any:
    """The same function, seeing other objects under some of its module's names."""
    copy = FunctionType(
        function.__code__,
        {**function.__globals__, **names},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


class _Batches:
    """The batches of a fetched list, and the bytes of the last one."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._batches = MemoryRecords(data)
        self._start = self._next = 0

    def size_in_bytes(self) -> int:
        return len(self._data)

    def has_next(self) -> bool:
        more: bool = self._batches.has_next()
        return more

    def next_batch(self) -> Any:
        batch = self._batches.next_batch()
        self._start = self._next
        (length,) = _INT.unpack_from(self._data, self._start + _LENGTH_AT)
        self._next += _LENGTH_AT + _INT.size + length
        return batch

    def records(self, batch: Any) -> Iterator[Record]:
        """The records of that last batch."""
        if not isinstance(batch, DefaultRecordBatch):  # of the years before Kafka 0.11; the oldest have no time
            yield from (Record(old.offset, old.timestamp or 0, old.key, old.value) for old in batch)
            return
        body, at, stop = self._data, self._start + _HEADER_BYTES, self._next
        (count,) = _INT.unpack_from(body, at - _INT.size)
        log_time = batch.max_timestamp if batch.timestamp_type else None
        try:
            if batch.compression_type:
                body, at = _unpacked(body[self._start : self._next]), 0
                stop = len(body)
            yield from read_records(body, at, stop, count, batch.base_offset, batch.first_timestamp, log_time)
        except BrokenRecordError as error:
            raise CorruptRecordException(str(error)) from None


def _unpacked(batch: bytes) -> bytes:
    """The records of a compressed batch."""
    packed = _DefaultRecordBatchPy(batch)
    try:
        packed._maybe_uncompress()
    except KafkaError:
        raise  # the codec is not installed, and the message says so
    except Exception as error:  # noqa: BLE001 - each codec has errors of its own for broken bytes
        raise BrokenRecordError(f"a compressed batch cannot be read: {error}") from None
    return bytes(packed._buffer)


class ParsedRecords(PartitionRecords):  # type: ignore[misc]
    """A fetched list that gives the records of committed transactions, list by list."""

    next_fetch_offset: int

    def take(self, most: int) -> tuple[list[Record], bool]:
        """Up to `most` records, and whether these are the last."""
        begin = self.next_fetch_offset
        try:
            records = list(islice(self._records_iterator, most))
        except BaseException:
            self.next_fetch_offset = begin  # nothing of this list has been handed over
            raise
        if records:
            self.next_fetch_offset = max(self.next_fetch_offset, records[-1].offset + 1)
        return records, len(records) < most

    def _unpack_records(self) -> Iterator[Record]:
        """As aiokafka's own, whose steps for one batch these are, without its steps for one record."""
        batches = self._records
        begin = self.next_fetch_offset
        while batches.has_next():
            batch = batches.next_batch()
            if self._check_crcs and not batch.validate_crc():
                raise CorruptRecordException(f"a batch of {self._tp} does not have its checksum")
            wanted = not batch.is_control_batch
            if self._isolation_level == READ_COMMITTED and batch.producer_id is not None:
                self._consume_aborted_up_to(batch.base_offset)
                if batch.is_control_batch and self._contains_abort_marker(batch):
                    self._aborted_producers.discard(batch.producer_id)
                if batch.is_transactional and batch.producer_id in self._aborted_producers:
                    wanted = False
            if wanted:
                records = batches.records(batch)
                # A fetch begins with the batch that holds the offset asked for, not with the offset.
                whole = isinstance(batch, DefaultRecordBatch) and batch.base_offset >= begin
                yield from records if whole else (record for record in records if record.offset >= begin)
            # Compaction takes records away, not their offsets: the batch says where the next one begins.
            self.next_fetch_offset = batch.next_offset


class ParsedFetcher(Fetcher):  # type: ignore[misc]
    """A fetcher that makes such lists."""

    _proc_fetch_request = with_globals(
        Fetcher._proc_fetch_request, PartitionRecords=ParsedRecords, MemoryRecords=_Batches
    )


class RecordConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """An aiokafka consumer whose records are taken from what has been fetched, by partition. It creates no topic."""

    start = with_globals(AIOKafkaConsumer.start, Fetcher=ParsedFetcher)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # aiokafka asks for the topics that it reads in a way that creates them again after somebody has deleted them.
        ask = partial(MetadataRequest, allow_auto_topic_creation=False)
        update = with_globals(AIOKafkaClient._metadata_update, MetadataRequest=ask)
        self._client._metadata_update = MethodType(update, self._client)

    def check(self) -> None:
        """Raise what has ended the membership in the group, if anything has."""
        self._coordinator.check_errors()

    async def partition_counts(self, names: Collection[str] | None) -> dict[str, int]:
        """The partition counts of those of the topics that exist; with None, of all."""
        request = MetadataRequest(None if names is None else sorted(names), allow_auto_topic_creation=False)
        # Not on the connection of the fetches: there it would wait for the answer of the one before it.
        node = self._client.get_random_node()
        reply = await self._client.send(node, request, group=ConnectionGroup.COORDINATION)
        return {topic: len(partitions) for error, topic, _, partitions in reply.topics if not error}

    async def cut_off(self) -> None:
        """End without leaving the group, which hears no more heartbeats."""
        if self._coordinator is not None:  # else it would join again by itself, and hold partitions unread
            for task in (self._coordinator._heartbeat_task, self._coordinator._coordination_task):
                if task is not None:
                    task.cancel()
        await self._client.close()

    async def wait_for_records(self, tps: list[TopicPartition], seconds: float, *, more: bool = False) -> None:
        """Wait until something has been fetched of any of these partitions; with `more`, until more has been fetched.

        Raises what the fetch raised.
        """
        fetcher = self._fetcher
        ready = [tp for tp in tps if tp in fetcher._records]
        for tp in ready:
            if type(fetcher._records[tp]) is FetchError:
                error = fetcher._records.pop(tp)
                fetcher._notify(fetcher._wait_consume_future)
                error.check_raise()
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
        fetched = fetcher._records.get(tp)
        if fetched is None or type(fetched) is FetchError:
            return []  # an error is raised by the next `wait_for_records`
        records: list[Record] = []
        last = True
        if fetched.check_assignment(tp):
            records, last = fetched._partition_records.take(most)
            fetched._update_position()
        if last:
            fetcher._records.pop(tp, None)
            fetcher._notify(fetcher._wait_consume_future)
        return records

    def end(self, tp: TopicPartition) -> int | None:
        """The end of a partition as the last fetch saw it."""
        state = self._state(tp)
        return state.highwater if state is not None else None

    def next_offset(self, tp: TopicPartition) -> int | None:
        """The offset after the last record taken and the markers behind it."""
        state = self._state(tp)
        return state.position if state is not None and state.has_valid_position else None

    def _state(self, tp: TopicPartition) -> Any:
        subscription = self._subscription.subscription
        assignment = subscription.assignment if subscription is not None else None
        return assignment.state_value(tp) if assignment is not None else None


class OpenConsumer(Protocol):
    """How whoever reads Kafka gets a consumer. Tests give another one."""

    def __call__(self, settings: Settings, **options: Any) -> Awaitable[RecordConsumer]:
        """A started consumer of committed records, with these options of aiokafka's besides."""


async def open_consumer(settings: Settings, **options: Any) -> RecordConsumer:
    """A started consumer of committed records that commits nothing by itself."""
    consumer = RecordConsumer(
        **client_options(settings), isolation_level="read_committed", enable_auto_commit=False, **options
    )
    try:
        await consumer.start()
    except BaseException:
        await consumer.stop()
        raise
    return consumer
