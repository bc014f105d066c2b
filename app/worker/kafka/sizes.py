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

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError, RecordTooLargeError
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from app.core.limits import Limits
from app.settings import Settings
from app.worker.kafka.metadata import LARGEST_BATCH, TopicFacts
from app.worker.kafka.producer import BATCH_BYTES
from app.worker.kafka.topics import LEAST_BATCH

#: What a batch of one record has beside key and value: 61 bytes of its header, and up to 31 of the record's own.
_OVERHEAD: Final = 100
#: How brokers, and the producer before them, refuse what is too large.
TOO_LARGE: Final = (MessageSizeTooLargeError, RecordListTooLargeError, RecordTooLargeError)


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
        """Learn that a topic has refused a batch of so many bytes and records.

        No topic that a worker can use takes less than `LEAST_BATCH`: what is refused below that is not for its size.
        """
        if size <= LEAST_BATCH:
            return
        if records > 1:
            self._batches[topic] = min(self.of(topic), max(size // 2, LEAST_BATCH))
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


class RefusedBatchError(KafkaError):  # type: ignore[misc]
    """Brokers have refused a batch for its size; the message says which."""

    def __str__(self) -> str:
        return str(self.args[0])


class _Sent(NamedTuple):
    topic: str
    size: int
    records: int
    future: "asyncio.Future[Any]"


class Sending:
    """Batches on their way, handed over one after the other.

    What is refused for its size the `Sizes` learn; all that comes after it must be of another producer, since the
    brokers miss the numbers of its records.
    """

    def __init__(self, producer: AIOKafkaProducer, sizes: Sizes) -> None:
        self._producer = producer
        self._sizes = sizes
        self._sent: list[_Sent] = []
        self._last: dict[str, _Sent] = {}  # of each topic, of those that are settled

    async def send(self, batch: Any, topic: str, partition: int) -> None:
        """Hand a batch over. Raises RefusedBatchError where one before it was refused, or what else goes wrong."""
        size, records = batch.size(), batch.record_count()
        try:
            future = await self._producer.send_batch(batch, topic, partition=partition)
        except KafkaError:  # the brokers may take nothing any more, since they have refused one
            await asyncio.sleep(0)
            self._raise([sent for sent in self._sent if sent.future.done()], only_refused=True)
            raise
        self._sent.append(_Sent(topic, size, records, future))

    async def settle(self) -> None:
        """Wait until the brokers have answered all. Raises RefusedBatchError, else what else went wrong first."""
        await asyncio.gather(*(sent.future for sent in self._sent), return_exceptions=True)
        self._raise(self._sent, only_refused=False)
        self._last.update((sent.topic, sent) for sent in self._sent)
        self._sent = []

    def end(self, topic: str) -> int:
        """The offset behind the last batch of a topic that is settled; -1 where brokers have not told it.

        They do not of a batch that has come to them twice, when they no longer know the first time.
        """
        last = self._last.get(topic)
        offset: int = -1 if last is None else last.future.result().offset
        return offset if last is None or offset < 0 else offset + last.records

    def _raise(self, answered: list[_Sent], *, only_refused: bool) -> None:
        failed = [(sent, error) for sent in answered if (error := _error_of(sent)) is not None]
        refused = [(sent, error) for sent, error in failed if isinstance(error, TOO_LARGE)]
        for sent, _ in refused:
            self._sizes.refuse(sent.topic, sent.size, sent.records)
        for sent, error in refused:
            raise RefusedBatchError(
                f"a batch for {sent.topic} of {sent.size} bytes and {sent.records} records was refused ({error!r}): "
                "the next ones are smaller"
            ) from error
        for _, error in failed if not only_refused else ():
            raise error


def _error_of(sent: _Sent) -> BaseException | None:
    return asyncio.CancelledError() if sent.future.cancelled() else sent.future.exception()
