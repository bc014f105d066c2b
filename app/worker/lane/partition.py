"""One partition as a unit of ownership: its state, its producer and its position, kept or dropped together.

Loading fences the last owner, then reads what it left; an epoch is one Kafka transaction that holds the changed
exchanges, the changed rows of counts, the outgoing records, the position and the group's offsets. Any error ends the
unit.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable

import msgspec
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    CorruptRecordException,
    IllegalOperation,
    InvalidTimestampError,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFenced,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from aiokafka.structs import OffsetAndMetadata

from app.core.counts.rows import Owner, owner_key
from app.core.join.shard import Cut, Shard
from app.core.letters import Astray, OutRecord, letter_record
from app.core.wire.partitioning import partition_of
from app.settings import Settings
from app.worker.kafka.producer import close_producer

log = logging.getLogger(__name__)

#: At most so many changed keys wait for a commit; then the partition is not read on.
MOST_WAITING = 20_000


#: What stands beside the group's offsets: by it a state that is gone is told from one that has never been.
COMMITTED_BY_TALLY = "tally"

#: Brokers refuse what was written, whoever writes it: the partition is still ours.
_REFUSALS = (
    CorruptRecordException,
    InvalidTimestampError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)


class LostError(Exception):
    """The partition cannot go on; the message says why in a few words.

    `refused`: the brokers refuse what is written, and nobody else has taken the partition.
    """

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class Partition:
    """A loaded partition. `shard` is read and changed by the lane alone; `wall` is the clock that stamps records."""

    def __init__(
        self, number: int, shard: Shard, producer: AIOKafkaProducer, settings: Settings, wall: Callable[[], float]
    ) -> None:
        self.number = number
        self.shard = shard
        self.lost: LostError | None = None
        self.cut_at = 0.0
        self.swept = -1  # the pane of the clock at which it was looked last what has expired
        self.committed: dict[str, int] | None = None  # the offsets of the last epoch that committed here
        self.awaited: dict[str, float] = {}  # the loop time since which the other topics wait for a topic
        self.rests = 0  # how often it could not be read on
        self.rests_until = 0.0  # the loop time before which that is not tried again
        self._producer = producer
        self._settings = settings
        self._wall = wall
        self._commit: asyncio.Task[None] | None = None
        self._commit_started = 0.0
        self._announced = False

    @property
    def committing(self) -> bool:
        """Whether an epoch is on its way."""
        return self._commit is not None and not self._commit.done()

    @property
    def has_news(self) -> bool:
        """Whether there is anything to commit."""
        return self.shard.has_news or not self._announced

    def waiting_since(self) -> float | None:
        """The loop time at which the epoch on its way was begun."""
        return self._commit_started if self.committing else None

    @property
    def saturated(self) -> bool:
        """Whether so much waits for a commit that the partition should not be read on."""
        return self.committing and self.shard.waiting >= MOST_WAITING

    def rest(self, seconds: float) -> None:
        """Do not read on for so long."""
        self.rests += 1
        self.rests_until = asyncio.get_running_loop().time() + seconds

    def start_epoch(self, clock: float | None) -> None:
        """Cut an epoch and begin to commit it. Only while none is on its way."""
        loop = asyncio.get_running_loop()
        self.cut_at = loop.time()
        cut = self.shard.cut(clock)
        for note in cut.notes:
            log.warning("%s", note)
        if not self._announced:
            owner = Owner(self._settings.url, self.shard.config)
            cut.panes.append((owner_key(self.number), msgspec.json.encode(owner)))
            self._announced = True
        self._commit_started = loop.time()
        self._commit = loop.create_task(self._commit_epoch(cut))

    async def flush(self, clock: float | None) -> bool:
        """Commit all that is known. Returns whether all of it is durable."""
        await self._settle()
        if self.lost is None and self.has_news:
            self.start_epoch(clock)
            await self._settle()
        return self.lost is None

    async def _settle(self) -> None:
        if self._commit is not None:
            await asyncio.wait([self._commit])

    async def close(self) -> None:
        """Give the producer up. What an open transaction holds is aborted by the next owner, or by its time-out."""
        if self._commit is not None and not self._commit.done():
            self._commit.cancel()
            await asyncio.wait([self._commit])
        await close_producer(self._producer)

    async def _commit_epoch(self, cut: Cut) -> None:
        try:
            async with asyncio.timeout(self._settings.session_timeout):
                await self._write(cut)
            self.committed = cut.offsets
        except asyncio.CancelledError:
            self.lost = LostError("given away while an epoch was on its way")
            raise
        except (ProducerFenced, IllegalOperation, AssertionError) as error:
            self.lost = LostError(f"another worker has taken it (fenced: {type(error).__name__})")
        except TimeoutError:
            self.lost = LostError(f"an epoch did not commit within {self._settings.session_timeout:g} s")
        except KafkaError as error:
            text = f"an epoch did not commit: {type(error).__name__} {error}".strip()
            self.lost = LostError(text, refused=isinstance(error, _REFUSALS))
        except Exception as error:  # whatever it is, what was written is unknown: the unit ends
            log.exception("unexpected error in an epoch partition=%d", self.number)
            self.lost = LostError(f"an epoch did not commit: {error!r}")

    async def _write(self, cut: Cut) -> None:
        """Make an epoch durable: one transaction, so that all of it holds or nothing.

        1. Begin the transaction. Its producer is that of the loading: a new one would take the partition back from
           whoever has been given it since, with a state that is no longer true.
        2. Hand over what changed: the exchanges and, as the last of them, the position; then the counts.
        3. Hand over what goes out: joined records, dead letters, and the events astray or lent, rekeyed.
        4. Wait until the broker holds all of it, and raise what it refused: aiokafka commits a transaction that has
           lost a batch as if nothing had happened.
        5. Add the offsets of the group. Tools show the lag by them; no partition that has a position begins at them.
        6. Commit. Where this fails nobody knows what holds: the unit ends, and whoever loads the partition next reads
           it. To abort and go on would count the epoch twice where the commit did happen.
        """
        settings, producer = self._settings, self._producer
        await producer.begin_transaction()
        sent: list[asyncio.Future[object]] = []
        await self._send(settings.exchanges_topic, cut.exchanges, sent)
        await self._send(settings.panes_topic, cut.panes, sent)
        if settings.log_topic:
            await self._send(settings.log_topic, cut.joined, sent)
        await self._send(settings.dead_letters_topic, [letter_record(letter) for letter in cut.dead], sent)
        sent += [await self._rekey(astray) for astray in (*cut.astray, *cut.lent)]  # they are few: each by itself
        for outcome in await asyncio.gather(*sent, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
        offsets = {
            TopicPartition(topic, self.number): OffsetAndMetadata(offset, COMMITTED_BY_TALLY)
            for topic, offset in cut.offsets.items()
        }
        if offsets:
            await producer.send_offsets_to_transaction(offsets, settings.app_id)
        await producer.commit_transaction()

    async def _send(self, topic: str, records: Iterable[OutRecord], sent: list[asyncio.Future[object]]) -> None:
        """Hand records over in as few batches as they fit; their futures go to `sent`."""
        now = int(self._wall() * 1000)
        batch = append = None
        for key, value, *headers in records:
            given = headers[0] if headers else []
            if append is None or append(timestamp=now, key=key, value=value, headers=given) is None:
                if batch is not None:
                    sent.append(await self._producer.send_batch(batch, topic, partition=self.number))
                batch = self._producer.create_batch()
                append = batch.append
                fits = append(timestamp=now, key=key, value=value, headers=given)
                assert fits is not None, "a record does not fit an empty batch"
        if batch is not None:
            sent.append(await self._producer.send_batch(batch, topic, partition=self.number))

    async def _rekey(self, astray: Astray) -> asyncio.Future[object]:
        """Hand an event over to the partition of the key that it is brought to."""
        topic, record, key = astray
        sent: asyncio.Future[object] = await self._producer.send(
            topic,
            key=key,
            value=record.value,
            partition=partition_of(key, self.shard.partitions),
            timestamp_ms=record.timestamp,
            headers=astray.headers,
        )
        return sent
