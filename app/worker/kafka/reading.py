"""The last records of a topic and those that come after them, read without a group: nothing is committed or created."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError

from app.core.wire.records import Record
from app.settings import Settings
from app.worker.kafka.client import ACLS_HINT, SetupError, client_options, prepare_client, unreachable
from app.worker.kafka.consumer import RecordConsumer

#: After so long without a record that must be there, something is wrong.
_PATIENCE_SECONDS = 30
_LIST = 500


class Placed(NamedTuple):
    """A record, and where it lies."""

    topic: str
    partition: int
    record: Record


class Reader:
    """Reads topics from where it is told to; it remembers how far it has read."""

    def __init__(self, settings: Settings, consumer: RecordConsumer) -> None:
        self._settings = settings
        self._consumer = consumer
        self._places: dict[TopicPartition, int] = {}

    async def last(
        self, topic: str, partitions: int, count: int, wanted: Callable[[Record], bool] = lambda _record: True
    ) -> list[Placed]:
        """The last `count` wanted records of a topic in the order of their times.

        Any partition may be the one that has all of the last.
        """
        found = await self._last_of_each(topic, partitions, count, wanted)
        found.sort(key=lambda placed: (placed.record.timestamp, placed.partition, placed.record.offset))
        return found[-count:]

    async def newest(self, topic: str, partitions: int, wanted: Callable[[Record], bool]) -> list[Placed]:
        """The last wanted record of each partition that has one."""
        return await self._last_of_each(topic, partitions, 1, wanted)

    async def _last_of_each(
        self, topic: str, partitions: int, count: int, wanted: Callable[[Record], bool]
    ) -> list[Placed]:
        """The last `count` wanted records of each partition.

        Offsets may hold no record, or one that is not wanted, so more and more of a partition is read until there are
        enough.
        """
        beginnings, ends = await self.span(topic, partitions)
        tps = [*ends]
        found: list[Placed] = []
        span = count
        while tps:
            starts = {tp: max(beginnings[tp], ends[tp] - span) for tp in tps}
            read = await self._read(starts, ends, count, wanted)
            tps = [tp for tp in tps if len(read[tp]) < count and starts[tp] > beginnings[tp]]
            found += [placed for tp, records in read.items() if tp not in tps for placed in records]
            span *= 10
        return found

    async def follow(self) -> AsyncIterator[Placed]:
        """The records that come to all topics that have been read, for ever."""
        tps = list(self._places)
        self._consumer.assign(tps)
        for tp, place in self._places.items():
            self._consumer.seek(tp, place)
        while True:
            await self._consumer.wait_for_records(tps, 0.5)
            for tp in tps:
                for record in self._consumer.take(tp, _LIST):
                    yield Placed(tp.topic, tp.partition, record)

    async def _read(
        self,
        starts: Mapping[TopicPartition, int],
        ends: Mapping[TopicPartition, int],
        count: int,
        wanted: Callable[[Record], bool],
    ) -> dict[TopicPartition, deque[Placed]]:
        """The last `count` wanted records of each partition between two places."""
        found: dict[TopicPartition, deque[Placed]] = {tp: deque(maxlen=count) for tp in starts}
        async with aclosing(self.between(starts, ends)) as lists:
            async for tp, records in lists:
                found[tp] += [Placed(tp.topic, tp.partition, record) for record in records if wanted(record)]
        return found

    async def span(self, topic: str, partitions: int) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
        """Where the partitions of a topic begin, and where they end now, as far as transactions have committed."""
        tps = [TopicPartition(topic, number) for number in range(partitions)]
        self._consumer.assign(tps)
        return await self._consumer.beginning_offsets(tps), await self._consumer.end_offsets(tps)

    async def between(
        self, starts: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> AsyncGenerator[tuple[TopicPartition, list[Record]], None]:
        """The records of each of the partitions between two places, and some that follow; `span` has assigned them."""
        left = {tp for tp in starts if starts[tp] < ends[tp]}
        self._places |= starts
        for tp in left:
            self._consumer.seek(tp, starts[tp])
        loop = asyncio.get_running_loop()
        patience = loop.time() + _PATIENCE_SECONDS
        while left:
            await self._consumer.wait_for_records(list(left), 0.2)
            for tp in list(left):
                while records := self._consumer.take(tp, _LIST):
                    yield tp, records
                    patience = loop.time() + _PATIENCE_SECONDS
                self._places[tp] = place = self._consumer.next_offset(tp) or 0
                if place >= ends[tp]:
                    left.discard(tp)
            if loop.time() > patience:
                where = self._settings.kafka_bootstrap_servers
                raise SetupError(f"The brokers at {where} have not sent the records of {next(iter(left)).topic}.")


@contextlib.asynccontextmanager
async def open_reader(settings: Settings) -> AsyncIterator[Reader]:
    """A reader. What goes wrong with the brokers becomes a `SetupError`."""
    consumer = RecordConsumer(
        **client_options(settings),
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_wait_ms=100,
    )
    try:
        await consumer.start()
        yield Reader(settings, consumer)
    except TopicAuthorizationFailedError as error:
        named = error.args[0] if error.args else "a topic"
        topics = named if type(named) is str else ", ".join(sorted(named))  # aiokafka names one, or a set
        where = settings.kafka_bootstrap_servers
        raise SetupError(f"This user of {where} may not read {topics}: {ACLS_HINT}.") from None
    except (KafkaError, OSError, TimeoutError) as error:
        raise unreachable(settings, error) from None
    finally:
        await consumer.stop()


@contextlib.asynccontextmanager
async def open_offsets_reader(settings: Settings) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of no group, for questions about offsets."""
    consumer = AIOKafkaConsumer(**client_options(settings), enable_auto_commit=False)
    prepare_client(consumer._client)
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()
