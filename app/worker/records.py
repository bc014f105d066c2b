"""A consumer that hands over records as they are parsed, at a third of the cost.

aiokafka wraps each parsed record in a dataclass of eleven fields. The lane, the feed and the loading need key, value,
headers, timestamp and offset, which the parsed record has. The two methods below are aiokafka's own, with one name in
each bound to another class; `tests/worker/test_pins.py` says when a new version no longer fits.
"""

import asyncio
import struct
from collections.abc import Iterator
from types import FunctionType
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import Fetcher, FetchError, PartitionRecords
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

_LENGTH = struct.Struct(">i")


def _with_globals(function: Any, **names: Any) -> Any:
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


class _LenientBytes(bytearray):
    """Bytes whose slices decode to text whatever they hold."""

    def __getitem__(self, at: Any) -> Any:
        part = super().__getitem__(at)
        return _LenientBytes(part) if isinstance(at, slice) else part

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        return super().decode(encoding, errors)


class _Batch:
    """A record batch that also yields records whose header names are not UTF-8.

    aiokafka's parser raises at such a record, again at each fetch: one of them would stop a partition for ever. The
    rest of that batch is read by aiokafka's slower parser in Python, with bytes that decode leniently.
    """

    def __init__(self, batch: Any, data: Any, start: int) -> None:
        self._batch = batch
        self._data = data
        self._start = start

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        done = -1
        try:
            for record in self._batch:
                yield record
                done = record.offset
        except UnicodeDecodeError:
            lenient = _DefaultRecordBatchPy(memoryview(self._data)[self._start :][: self._length()])
            lenient._maybe_uncompress()
            lenient._buffer = _LenientBytes(lenient._buffer)
            yield from (record for record in lenient if record.offset > done)

    def __next__(self) -> Any:
        return next(self._batch)

    def _length(self) -> int:
        length: int = _LENGTH.unpack_from(self._data, self._start + 8)[0]
        return length + 12


class _Batches:
    """The batches of a fetched list."""

    def __init__(self, data: Any) -> None:
        self._data = data
        self._batches = MemoryRecords(data)
        self._next = 0

    def size_in_bytes(self) -> int:
        return len(self._data)

    def has_next(self) -> bool:
        more: bool = self._batches.has_next()
        return more

    def next_batch(self) -> _Batch:
        batch = _Batch(self._batches.next_batch(), self._data, self._next)
        self._next += batch._length()
        return batch


class ParsedRecords(PartitionRecords):  # type: ignore[misc]
    """A fetched list that yields records as the parser made them."""

    def __iter__(self) -> Any:
        return self._records_iterator if self._records_iterator is not None else iter(())

    def _consumer_record(self, _tp: Any, record: Any) -> Any:
        return record


class ParsedFetcher(Fetcher):  # type: ignore[misc]
    """A fetcher that makes such lists."""

    _proc_fetch_request = _with_globals(
        Fetcher._proc_fetch_request, PartitionRecords=ParsedRecords, MemoryRecords=_Batches
    )


class RecordConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """An aiokafka consumer whose `getmany` gives parsed records (no topic, no partition: the dict's key has them)."""

    start = _with_globals(AIOKafkaConsumer.start, Fetcher=ParsedFetcher)

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

    def take(self, tp: TopicPartition, most: int) -> list[Any]:
        """Up to `most` of the records that have been fetched of a partition; its position moves on."""
        fetcher = self._fetcher
        fetched = fetcher._records.get(tp)
        if fetched is None or type(fetched) is FetchError:
            return []  # an error is raised by the next `wait_for_records`
        records: list[Any] = fetched.getall(most)
        if not fetched.has_more():
            fetcher._records.pop(tp, None)
            fetcher._notify(fetcher._wait_consume_future)
        return records

    def end(self, tp: TopicPartition) -> int | None:
        """The end of a partition as the last fetch saw it."""
        subscription = self._subscription.subscription
        state = subscription.assignment.state_value(tp) if subscription is not None else None
        return state.highwater if state is not None else None

    def place(self, tp: TopicPartition) -> int | None:
        """The offset after the last record taken and the markers behind it."""
        state = self._subscription.subscription.assignment.state_value(tp)
        return state.position if state is not None and state.has_valid_position else None
