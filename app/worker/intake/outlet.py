"""What the intake has made and the brokers do not have yet: rounds of batches, one on its way, the next one filling."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from app.core.dialects.plain import Event
from app.core.events import Kind
from app.core.letters import DeadLetter, letter_record
from app.core.wire.partitioning import partitions_of
from app.settings import Settings
from app.worker.kafka.sizes import Sending, Sizes

#: Records that are worth a round of batches while more is there to be read: so many, and for each batch so many.
_ROUND: Final = 4_000
_PER_BATCH: Final = 50
#: The most that wait for the brokers, and the most bytes; the same for one request: brokers take no more than 100 MB.
_MOST: Final = 20_000
_MOST_BYTES: Final = 16 << 20
_COMMIT_SECONDS: Final = 0.2
#: After so long without an acknowledgement the producer is given up: it has no end of its own.
_DELIVERY_SECONDS: Final = 300
#: Brokers refuse a batch with a record that is an hour ahead of them.
_AHEAD_MS: Final = 3_500_000


class Read:
    """What has been read: where reading goes on behind it, and what was made of it."""

    __slots__ = ("events", "offsets", "rejected")

    def __init__(self) -> None:
        self.offsets: dict[TopicPartition, int] = {}
        self.events: Counter[str] = Counter()  # by source
        self.rejected: Counter[str] = Counter()  # by reason

    def go_on(self, after: "Read") -> None:
        """Add what was read after it."""
        self.offsets |= after.offsets
        self.events.update(after.events)
        self.rejected.update(after.rejected)


class Round:
    """What is made of some lists of records: batches, and what has been read for them."""

    __slots__ = ("appends", "full", "open", "read", "records", "size")

    def __init__(self, slots: int) -> None:
        self.records = 0
        self.size = 0  # bytes of the values
        self.full: list[tuple[int, Any]] = []
        self.open: list[Any] = [None] * slots
        self.appends: list[Any] = [None] * slots  # the `append` of each open batch
        self.read = Read()

    def batches(self) -> list[tuple[int, Any]]:
        """All batches, by slot, those of one slot in their order."""
        return self.full + [(slot, batch) for slot, batch in enumerate(self.open) if batch is not None]


class Outlet:
    """What is on its way to the brokers: a round that is being delivered, and the next one, which fills meanwhile.

    A slot is a partition of a canonical topic or of the dead letters. `commit` commits offsets of the sources. `events`
    counts by source what is committed, since what is not may be read and written again; `rejected` the dead letters
    among it by reason. `now` is what time it is, in seconds.
    """

    def __init__(
        self,
        settings: Settings,
        partitions: int,
        producer: AIOKafkaProducer,
        commit: Callable[[Mapping[TopicPartition, int]], Awaitable[None]],
        sizes: Sizes,
        events: Counter[str],
        rejected: Counter[str],
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._topics = (*settings.topics, settings.dead_letters_topic)
        self._partitions = partitions
        self._producer = producer
        self._commit = commit
        self._sizes = sizes
        self._events = events
        self._rejected = rejected
        self._now = now
        slots = len(self._topics) * partitions
        #: An old source's records are given this age (their `ce_time` stays): with their own, the brokers might delete
        #: them before they are read.
        self._kept_ms = int(settings.exchange_retention * 500)
        self._worth_sending = min(max(_ROUND, _PER_BATCH * slots), _MOST // 2)
        self._next = Round(slots)
        self._acknowledged = Read()
        self._commit_at = 0.0
        self._go = asyncio.Event()  # set when the next round is worth sending
        self._moved = asyncio.Event()  # set when a round has been delivered
        self._busy = False
        self._hurry = False  # commit at once
        self._task = asyncio.get_running_loop().create_task(self._deliver())

    @property
    def full(self) -> bool:
        """Whether so much waits for the brokers that no more should be read."""
        return self._next.records >= _MOST or self._next.size >= _MOST_BYTES

    def put(self, events: Sequence[tuple[Kind, Event, int]]) -> list[tuple[str, Event]]:
        """Add events, each to its partition of its kind's topic. Returns those that it does not take, with it."""
        partitions, appends = self._partitions, self._next.appends
        now = int(self._now() * 1000)
        earliest, latest = now - self._kept_ms, now + _AHEAD_MS
        too_large: list[tuple[str, Event]] = []
        size = 0
        numbers = partitions_of([event.key for _, event, _ in events], partitions)
        for (kind, event, timestamp), number in zip(events, numbers, strict=True):
            slot = number  # of requests; responses follow them, and outliers and drift travel with these
            if kind is not Kind.REQUEST:
                slot += 2 * partitions if kind is Kind.FEEDBACK else partitions
            if timestamp > latest:
                timestamp = latest  # noqa: PLW2901 - a name of its own would cost every event
            elif timestamp < earliest:
                timestamp = earliest  # noqa: PLW2901
            key, value, named = event
            headers = list(named)
            size += len(value)
            append = appends[slot]
            if append is None or append(timestamp=timestamp, key=key, value=value, headers=headers) is None:
                # A batch takes as its first record one of any size; so only there the size must be asked for.
                topic = self._topics[slot // partitions]
                if not self._sizes.fits(topic, key, value, headers):
                    too_large.append((topic, event))
                else:
                    self._begin_batch(slot)(timestamp=timestamp, key=key, value=value, headers=headers)
        self._next.size += size
        return too_large

    def put_letter(self, letter: DeadLetter) -> None:
        """Add a dead letter, to the partition that the number of its origin says."""
        self._next.read.rejected[letter.reason.value] += 1
        key, value, *headers = letter_record(letter, self._sizes.of(self._topics[-1]))
        slot = len(self._topics[:-1]) * self._partitions + letter.partition % self._partitions
        fields = {"timestamp": int(self._now() * 1000), "key": key, "value": value, "headers": headers[0]}
        append = self._next.appends[slot]
        if append is None or append(**fields) is None:
            self._begin_batch(slot)(**fields)
        self._next.size += len(value or b"")

    def note(self, tp: TopicPartition, next_offset: int, records: int, events: int = 0) -> None:
        """All that was made of so many records before this offset has been put here, so many events among it."""
        self._next.read.offsets[tp] = next_offset
        self._next.records += records
        self._next.read.events[tp.topic] += events
        if self._next.records >= self._worth_sending or self._next.size >= _MOST_BYTES // 2:
            self._go.set()

    def send(self) -> None:
        """Nothing more is there to be read: send what there is as soon as the round before it is delivered."""
        if self._next.read.offsets:
            self._go.set()

    def raise_failure(self) -> None:
        """Raise what ended the delivery, if anything did."""
        if self._task.cancelled():
            raise KafkaError("the intake begins again")
        if self._task.done():
            self._task.result()

    async def wait_for_room(self) -> None:
        """Wait until more may be put here."""
        while self.full:
            self._go.set()
            await self._wait()

    async def flush(self) -> None:
        """Deliver and commit all that has been put here."""
        self._hurry = True
        try:
            while self._busy or self._next.read.offsets or self._acknowledged.offsets:
                self._go.set()
                await self._wait()
        finally:
            self._hurry = False

    async def close(self) -> None:
        """Deliver no more."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def _begin_batch(self, slot: int) -> Callable[..., Any]:
        before = self._next.open[slot]
        if before is not None:
            self._next.full.append((slot, before))
        batch = self._next.open[slot] = self._producer.create_batch(
            self._sizes.of(self._topics[slot // self._partitions])
        )
        append: Callable[..., Any] = batch.append
        self._next.appends[slot] = append
        return append

    async def _wait(self) -> None:
        """Wait until a round has been delivered; raise what ended the delivery."""
        self._moved.clear()
        moved = asyncio.ensure_future(self._moved.wait())
        try:
            await asyncio.wait([moved, self._task], return_when=asyncio.FIRST_COMPLETED)
        finally:
            moved.cancel()
        self.raise_failure()

    async def _deliver(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            left = self._commit_at - loop.time() if self._acknowledged.offsets else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):  # `wait_for` may miss that it is cancelled
                    await self._go.wait()
            self._go.clear()
            self._busy = True
            if self._next.read.offsets:
                now, self._next = self._next, Round(len(self._next.open))
                async with asyncio.timeout(_DELIVERY_SECONDS):
                    await self._send(now)
                self._acknowledged.go_on(now.read)
            if self._acknowledged.offsets and (self._hurry or loop.time() >= self._commit_at):
                acknowledged, self._acknowledged = self._acknowledged, Read()
                await self._commit(acknowledged.offsets)
                self._events.update(acknowledged.events)
                self._rejected.update(acknowledged.rejected)
                self._commit_at = loop.time() + _COMMIT_SECONDS
            self._busy = False
            self._moved.set()

    async def _send(self, now: Round) -> None:
        """Send a round and wait for its acknowledgements; more than one request holds goes in several.

        Of what is refused for its size the next session makes smaller batches, and dead letters.
        """
        sending = Sending(self._producer, self._sizes)
        size = 0
        for slot, batch in now.batches():
            number, partition = divmod(slot, self._partitions)
            size += batch.size()
            await sending.send(batch, self._topics[number], partition)
            if size >= _MOST_BYTES:
                await sending.settle()
                size = 0
        await sending.settle()
