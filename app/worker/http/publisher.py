"""One Kafka producer for all that comes in over HTTP: what may wait for it is bounded, and a broken one is replaced.

It is not idempotent. A producer that is retries for ever, and is broken for good by one refused batch; this one gives
up in time, so that whoever sent the event hears of it. What is written twice therefore changes nothing: each record
keeps its event's time or the time at which it came, and the join removes what comes twice.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, ProducerClosed

from app.core.dialects.plain import Event
from app.core.wire.partitioning import partition_of
from app.settings import Settings
from app.worker.kafka.client import client_options
from app.worker.kafka.producer import Producer
from app.worker.kafka.sizes import TOO_LARGE, Sizes, size_alone

log = logging.getLogger(__name__)

#: How long an event may wait for Kafka before its sender is told to come again.
ACK_SECONDS = 15.0
#: Of memory, that may wait in all: 5,461 small events.
MOST_BYTES = 64 << 20
#: What an event takes of it besides its bytes: its connection, its task, its record.
EVENT_BYTES = 12 << 10
#: Between two producers, where each breaks at once.
_PAUSE_SECONDS = 1.0
_CLOSE_SECONDS = 5.0


class BusyError(Exception):
    """So much waits for Kafka that no more is taken; nothing of this was."""


class UnavailableError(Exception):
    """Kafka has not acknowledged; the event may be there all the same. The message names what went wrong."""


class TooLargeError(Exception):
    """A topic does not take a record of this size. The message says which, and what it takes."""


def make_producer(settings: Settings, sizes: Sizes) -> AIOKafkaProducer:
    """A producer that sends together what comes together, and soon."""
    return Producer(
        **client_options(settings),
        acks="all",
        linger_ms=2,
        max_batch_size=min(64 << 10, *map(sizes.of, settings.topics)),  # of batches of several records
        max_request_size=2 * settings.max_body + (1 << 20),  # the topic's limit decides, not another one
        request_timeout_ms=10_000,  # shorter than a sender waits, so that it is told what went wrong
    )


class Room:
    """What one request holds of the memory for what waits."""

    def __init__(self, publisher: "Publisher") -> None:
        self.held = 0
        self._publisher = publisher

    def check(self, size: int) -> None:
        """Raise BusyError where so many bytes more have no room. The first to come always has."""
        others = self._publisher._held - self.held
        if others and others + self.held + size > self._publisher._most_bytes:
            raise BusyError

    def take(self, size: int, events: int = 0) -> None:
        """Hold so many bytes and events more. Raises BusyError."""
        needed = size + events * EVENT_BYTES
        self.check(needed)
        self.held += needed
        self._publisher._held += needed


class Publisher:
    """Writes events to their topics; `publish` returns once all of them are acknowledged."""

    def __init__(
        self,
        connect: Callable[[], AIOKafkaProducer],
        sizes: Sizes,
        *,
        most_bytes: int = MOST_BYTES,
        ack_seconds: float = ACK_SECONDS,
    ) -> None:
        self._connect = connect
        self._sizes = sizes
        self._most_bytes = most_bytes
        self._ack_seconds = ack_seconds
        self._held = 0
        self._producer: AIOKafkaProducer | None = None
        self._starting: asyncio.Task[AIOKafkaProducer] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._may_start = 0.0

    @contextlib.contextmanager
    def room(self) -> Iterator[Room]:
        """Room for one event, without its bytes; what is taken besides is given back at the end. Raises BusyError."""
        room = Room(self)
        try:
            room.take(0, 1)
            yield room
        finally:
            self._held -= room.held

    async def publish(self, records: Sequence[tuple[str, Event]], timestamp: int) -> None:
        """Write (topic, event) pairs, and wait until Kafka has all of them. `timestamp` is in ms since the epoch.

        Raises UnavailableError or TooLargeError; what was written before stays written.
        """
        for topic, event in records:
            size = size_alone(event.key, event.value, event.headers)
            if size > self._sizes.largest(topic):
                raise TooLargeError(self._too_large(topic, size))
        producer: AIOKafkaProducer | None = None
        try:
            async with asyncio.timeout(self._ack_seconds):
                producer = await self._connected()
                try:
                    await _send(producer, records, timestamp)
                except TOO_LARGE:  # a topic takes less than it did; these may have shared a batch
                    await self._send_each(producer, records, timestamp)
                    self._retire(producer)
        except (KafkaError, OSError, TimeoutError) as error:
            self._retire(producer)
            raise UnavailableError(type(error).__name__) from None

    async def _send_each(
        self, producer: AIOKafkaProducer, records: Sequence[tuple[str, Event]], timestamp: int
    ) -> None:
        """Write each event in a batch of its own, so that none is refused for the size of others."""
        for topic, event in records:
            batch = producer.create_batch()
            batch.append(timestamp=timestamp, key=event.key, value=event.value, headers=list(event.headers))
            size = batch.size()
            number = partition_of(event.key, len(await producer.partitions_for(topic)))
            try:
                await (await producer.send_batch(batch, topic, partition=number))
            except TOO_LARGE:
                self._sizes.refuse(topic, size, 1)
                raise TooLargeError(self._too_large(topic, size)) from None

    def _too_large(self, topic: str, size: int) -> str:
        return f"as a record of Kafka the event has {size} bytes, and {self._sizes.sentence(topic)}"

    async def close(self) -> None:
        """Close what is open, after a moment for what is on its way."""
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        self._retire(self._producer)
        if self._closing:
            await asyncio.wait(self._closing, timeout=_CLOSE_SECONDS)

    async def _connected(self) -> AIOKafkaProducer:
        if self._producer is not None:
            return self._producer
        if self._starting is None or self._starting.done():
            self._starting = asyncio.create_task(self._start())
        return await asyncio.shield(self._starting)

    async def _start(self) -> AIOKafkaProducer:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._may_start - loop.time())
        self._may_start = loop.time() + _PAUSE_SECONDS
        producer = self._connect()
        try:
            async with asyncio.timeout(self._ack_seconds):
                await producer.start()
        except BaseException:
            await self._close(producer)
            raise
        self._producer = producer
        return producer

    def _retire(self, producer: AIOKafkaProducer | None) -> None:
        """Let a producer that has failed finish what it still can; whatever comes next gets a new one."""
        if producer is None or producer is not self._producer:
            return
        self._producer = None
        task = asyncio.create_task(self._close(producer))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close(self, producer: AIOKafkaProducer) -> None:
        try:
            async with asyncio.timeout(self._ack_seconds):
                await producer.stop()
        except (KafkaError, OSError, TimeoutError, AssertionError) as error:
            log.debug("producer closed hard: %r", error)
            await producer.client.close()
            producer._message_accumulator.fail_all(ProducerClosed())
            if producer._sender.sender_task is not None:
                producer._sender.sender_task.cancel()


async def _send(producer: AIOKafkaProducer, records: Sequence[tuple[str, Event]], timestamp: int) -> None:
    """Write events together with what else is written now, and wait until Kafka has all of them."""
    sent: list[asyncio.Future[object]] = []
    try:
        for topic, event in records:
            sent.append(
                await producer.send(
                    topic,
                    key=event.key,
                    value=event.value,
                    headers=list(event.headers),
                    timestamp_ms=timestamp,
                )
            )
        await asyncio.gather(*sent)
    finally:
        for future in sent:
            if not future.cancel() and not future.cancelled():
                future.exception()  # told already, by the first that failed
