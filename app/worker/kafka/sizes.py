"""Sizes: how many bytes each topic takes at once, and what comes of a batch that was larger.

A broker compares the whole batch, with its header and as it comes, with the topic's `max.message.bytes`. So batches are
filled up to that, and a record that no batch of its topic can hold is put aside before it is sent. What brokers refuse
all the same (the limit was lowered, or they do not tell it) is learnt from: a batch of several records is half as large
the next time, and of a single record it is known then that it is too large.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from aiokafka.errors import MessageSizeTooLargeError, RecordListTooLargeError, RecordTooLargeError
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from app.core.limits import Limits
from app.settings import Settings
from app.worker.kafka.metadata import LARGEST_BATCH, TopicFacts
from app.worker.kafka.producer import BATCH_BYTES

#: What a batch of one record has beside key and value: 61 bytes of its header, and up to 31 of the record's own.
_OVERHEAD: Final = 100
_TOO_LARGE: Final = (MessageSizeTooLargeError, RecordListTooLargeError, RecordTooLargeError)


class Sizes:
    """What each topic takes, in bytes: what brokers say, `BATCH_BYTES` where they do not, less where they refuse it."""

    def __init__(self, facts: Mapping[str, TopicFacts] = MappingProxyType({})) -> None:
        self._told: dict[str, int | None] = {}
        self._batches: dict[str, int] = {}
        self._largest: dict[str, int] = {}
        self.update(facts)

    def update(self, facts: Mapping[str, TopicFacts]) -> None:
        """Take what brokers say now. What was learnt holds until they say something else than before."""
        for topic, known in facts.items():
            told = known.largest_batch
            if topic not in self._told or told != self._told[topic]:
                self._told[topic] = told
                self._largest[topic] = largest = BATCH_BYTES if told is None else told
                self._batches[topic] = min(largest, BATCH_BYTES)

    def of(self, topic: str) -> int:
        """The most bytes that a batch of several records may have."""
        return self._batches.get(topic, BATCH_BYTES)

    def largest(self, topic: str) -> int:
        """The most bytes that a batch of one record may have."""
        return self._largest.get(topic, BATCH_BYTES)

    def fits(self, topic: str, key: bytes | None, value: bytes | None, headers: Sequence[Any]) -> bool:
        """Whether a topic takes a record by itself."""
        return size_alone(key, value, headers) <= self.largest(topic)

    def refuse(self, topic: str, size: int, records: int) -> None:
        """Learn that a topic has refused a batch of so many bytes and records."""
        if records > 1:
            self._batches[topic] = min(self.of(topic), size // 2)
        else:
            self._largest[topic] = min(self.largest(topic), size - 1)
            self._batches[topic] = min(self.of(topic), size - 1)

    def sentence(self, topic: str) -> str:
        """What a topic takes, and how it takes more."""
        told = self._told.get(topic)
        limit = self.largest(topic)
        if told is None:
            return (
                f"{topic} is taken to take {limit} bytes at once, as its {LARGEST_BATCH} is not known: "
                "allow DescribeConfigs on it"
            )
        if limit < told:
            return f"{topic} takes less than {limit + 1} bytes at once, though its {LARGEST_BATCH} is {told}"
        return f"{topic} takes {limit} bytes at once: raise its {LARGEST_BATCH}"

    def limits(self, settings: Settings) -> Limits:
        """What bounds a partition, by the settings and by what the topics take.

        An exchange's record holds the puid, the exchange and the feedback that waits in it for its prediction.
        """
        limits = settings.limits
        exchange = self.largest(settings.exchanges_topic) - _OVERHEAD
        held, puid = min(limits.held_bytes, exchange // 4), min(limits.puid_bytes, exchange // 16)
        return replace(
            limits,
            exchange_bytes=min(limits.exchange_bytes, exchange - held - puid),
            held_bytes=held,
            puid_bytes=puid,
            row_bytes=self.largest(settings.panes_topic) - _OVERHEAD,
            joined_bytes=self.largest(settings.log_topic) - _OVERHEAD if settings.log_topic else limits.joined_bytes,
            moved_bytes=min(limits.moved_bytes, *(self.largest(topic) - 2 * _OVERHEAD for topic in settings.topics)),
        )


def size_alone(key: bytes | None, value: bytes | None, headers: Sequence[Any]) -> int:
    """The bytes of a batch with one record, at most: some 20 fewer where its numbers are short."""
    size: int = DefaultRecordBatchBuilder.estimate_size_in_bytes(key, value, list(headers))
    return size


class Sent(NamedTuple):
    """A batch on its way: its topic, its bytes and records, and what its brokers' answer is awaited by."""

    topic: str
    size: int
    records: int
    future: "asyncio.Future[object]"


class Failure(NamedTuple):
    """A batch that brokers do not hold, and why."""

    batch: Sent
    error: BaseException

    @property
    def too_large(self) -> bool:
        """Whether it is its size."""
        return isinstance(self.error, _TOO_LARGE)

    def __str__(self) -> str:
        topic, size, records, _ = self.batch
        return f"a batch for {topic} of {size} bytes and {records} records was refused: {self.error!r}"


async def first_failure(sent: Sequence[Sent], sizes: Sizes) -> Failure | None:
    """Wait until the brokers have answered all that was sent. Returns the first that they do not hold.

    `sizes` learns what was refused for its size; the next batches must be of another producer, since brokers miss the
    numbers of these.
    """
    outcomes = await asyncio.gather(*(batch.future for batch in sent), return_exceptions=True)
    failures = [Failure(batch, it) for batch, it in zip(sent, outcomes, strict=True) if isinstance(it, BaseException)]
    for failure in failures:
        if failure.too_large:
            sizes.refuse(failure.batch.topic, failure.batch.size, failure.batch.records)
    return failures[0] if failures else None
