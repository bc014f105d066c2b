"""One partition as a unit of ownership: its state, its producer and its position, kept or dropped together.

Loading fences the last owner, then reads what it left; an epoch is one Kafka transaction that holds the changed
exchanges, the changed rows of counts, the outgoing records, the position and the group's offsets. Any error ends the
unit.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import repeat
from typing import NamedTuple

import msgspec
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    CorruptRecordException,
    IllegalOperation,
    InvalidTimestampError,
    KafkaError,
    ProducerFenced,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from aiokafka.structs import OffsetAndMetadata

from app.core.counts.rows import Owner, owner_key
from app.core.events import Reason, shown
from app.core.join.cut import Cut
from app.core.join.position import COMMITTED_BY_TALLY
from app.core.join.shard import Shard
from app.core.join.store import StoreError
from app.core.letters import Astray, DeadLetter, OutRecord, letter_record
from app.core.stats import Stats
from app.core.wire.partitioning import partition_of
from app.core.wire.records import Record
from app.settings import Settings
from app.worker.kafka.producer import close_producer
from app.worker.kafka.sizes import RefusedBatchError, Sending, Sizes, size_alone

log = logging.getLogger(__name__)

#: At most so many changed keys wait for a commit; then the partition is not read on.
MOST_WAITING = 20_000
#: So many records are handed over before the others on the loop have their turn.
_IN_A_TURN = 500

#: Brokers refuse what was written, whoever writes it: the partition is still ours.
_REFUSALS = (
    CorruptRecordException,
    InvalidTimestampError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)


class LostError(Exception):
    """The partition cannot go on; the message says why in a few words.

    `refused`: what is written is refused, by brokers or by the disk, and nobody else has taken the partition.
    """

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class InDoubt(NamedTuple):
    """An epoch of which it is not known whether it holds: the offsets that it reaches, and what it has seen."""

    offsets: dict[str, int]
    seen: Stats


class Partition:
    """A loaded partition. `shard` is read and changed by the lane alone; `wall` is the clock that stamps records.

    What the shard has seen is added to `stats` with the epoch that commits it: an epoch that does not is read again.
    `in_doubt` is the epoch that is on its way, or was when the partition was lost.
    """

    def __init__(
        self,
        number: int,
        shard: Shard,
        producer: AIOKafkaProducer,
        settings: Settings,
        sizes: Sizes,
        wall: Callable[[], float],
        stats: Stats,
    ) -> None:
        self.number = number
        self.shard = shard
        self.lost: LostError | None = None
        self.cut_at = 0.0
        self.swept = -1  # the pane of the clock at which it was looked last what has expired
        self.committed: dict[str, int] | None = None  # the offsets of the last epoch that committed here
        self.met: set[str] = set()  # topics of which anything has been read
        self.awaited: dict[str, float] = {}  # the loop time since which the other topics wait for a topic
        self.rests = 0  # how often it could not be read on
        self.rests_until = 0.0  # the loop time before which that is not tried again
        self._producer = producer
        self._settings = settings
        self._sizes = sizes
        self._wall = wall
        self._stats = stats
        self.in_doubt: InDoubt | None = None
        self._seen = Stats()  # by the epoch that is on its way
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
        self.shard.limit(self._sizes.limits(self._settings))
        try:
            cut = self.shard.cut(clock)
        except StoreError as error:
            self.lose(error)
            return
        self._seen = self.shard.stats.take()
        self.in_doubt = InDoubt(cut.offsets, self._seen)
        for note in cut.notes:
            log.warning("%s", note)
        if not self._announced:
            owner = Owner(self._settings.url, self.shard.config)
            cut.panes.append((owner_key(self.number), msgspec.json.encode(owner)))
            self._announced = True
        self._commit_started = loop.time()
        self._commit = loop.create_task(self._commit_epoch(cut))

    def count_if_it_held(self, epoch: InDoubt) -> None:
        """Count what an epoch has seen that was in doubt when the partition was lost here, if it does hold: what has
        been loaded reaches as far, and no other worker has committed anything since.
        """
        shard = self.shard
        reached = all(shard.offsets.get(topic) == offset for topic, offset in epoch.offsets.items())
        if reached and shard.counts.owner == self._settings.url:
            self._stats.add(epoch.seen)

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
        self.shard.store.close()

    def lose(self, error: StoreError) -> None:
        """The store does not work any more: what the shard knows is dropped, and the partition is still ours."""
        self.lost = LostError(str(error), refused=True)

    def expire(self, clock: float) -> None:
        """Forget what is too old at a clock."""
        try:
            self.shard.expire(clock)
        except StoreError as error:
            self.lose(error)

    async def _commit_epoch(self, cut: Cut) -> None:
        try:
            async with asyncio.timeout(self._settings.session_timeout):
                place = await self._write(cut)
            self.committed = cut.offsets
            self.in_doubt = None
            self._stats.add(self._seen)
            await self.shard.store.keep(cut.exchanges, place)
        except asyncio.CancelledError:
            self.lost = LostError("given away while an epoch was on its way")
            raise
        except LostError as error:
            self.lost = error
        except StoreError as error:
            self.lose(error)
        except RefusedBatchError as error:
            self.lost = LostError(str(error), refused=True)
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

    async def _write(self, cut: Cut) -> int:
        """Make an epoch durable: one transaction, so that all of it holds or nothing. Returns the offset behind the
        last of its exchanges; -1 where brokers do not tell.

        1. Begin the transaction. Its producer is that of the loading: a new one would take the partition back from
           whoever has been given it since, with a state that is no longer true.
        2. Hand over what changed: the exchanges and, as the last of them, the position; then the counts.
        3. Hand over what goes out: joined records, dead letters, and the events astray or lent, rekeyed.
        4. Wait until the broker holds all of it, and raise what it refused: aiokafka commits a transaction that has
           lost a batch as if nothing had happened. Of what is refused for its size the unit that is loaded again makes
           less, or smaller batches.
        5. Add the offsets of the group. Tools show the lag by them; no partition that has a position begins at them.
        6. Commit. Where this fails nobody knows what holds: the unit ends, and whoever loads the partition next reads
           it. To abort and go on would count the epoch twice where the commit did happen.
        """
        settings, producer = self._settings, self._producer
        await producer.begin_transaction()
        sending = Sending(producer, self._sizes)
        for topic, changes in ((settings.exchanges_topic, cut.exchanges), (settings.panes_topic, cut.panes)):
            self._raise_lacking(topic, await self._send(topic, changes, sending))
        if settings.log_topic:
            lacking = await self._send(settings.log_topic, cut.joined, sending)
            cut.dead += [self._not_logged(settings.log_topic, record) for record in lacking]
        most = self._sizes.of(settings.dead_letters_topic)
        await self._send(settings.dead_letters_topic, [letter_record(letter, most) for letter in cut.dead], sending)
        await self._rekey([*cut.astray, *cut.lent], sending)
        await sending.settle()
        offsets = {
            TopicPartition(topic, self.number): OffsetAndMetadata(offset, COMMITTED_BY_TALLY)
            for topic, offset in cut.offsets.items()
        }
        if offsets:
            await producer.send_offsets_to_transaction(offsets, settings.app_id)
        await producer.commit_transaction()
        return sending.end(settings.exchanges_topic)

    async def _send(
        self,
        topic: str,
        records: Iterable[OutRecord],
        sending: Sending,
        partition: int | None = None,
        times: Iterable[int] | None = None,
    ) -> list[OutRecord]:
        """Hand records over in as few batches as the topic takes. `times` are in ms.

        Returns the records that it does not take even by themselves.
        """
        lacking: list[OutRecord] = []
        batch = append = None
        number = self.number if partition is None else partition
        times = repeat(int(self._wall() * 1000)) if times is None else times
        for place, ((key, value, *headers), time) in enumerate(zip(records, times, strict=False), 1):
            if place % _IN_A_TURN == 0:
                await asyncio.sleep(0)
            given = headers[0] if headers else []
            if append is None or append(timestamp=time, key=key, value=value, headers=given) is None:
                if not self._sizes.fits(topic, key, value, given):
                    lacking.append((key, value, given))
                    append = None
                    continue
                if batch is not None:
                    await sending.send(batch, topic, number)
                batch = self._producer.create_batch(self._sizes.of(topic))
                append = batch.append
                fits = append(timestamp=time, key=key, value=value, headers=given)
                assert fits is not None, "a record does not fit an empty batch"
        if batch is not None:
            await sending.send(batch, topic, number)
        return lacking

    async def _rekey(self, some: list[Astray], sending: Sending) -> None:
        """Hand events over to the partitions of the keys that they are brought to."""
        places: defaultdict[tuple[str, int], list[Astray]] = defaultdict(list)
        for astray in some:
            places[astray.topic, partition_of(astray.key, self.shard.partitions)].append(astray)
        for (topic, partition), moved in places.items():
            records: list[OutRecord] = [(one.key, one.record.value, one.headers) for one in moved]
            times = [one.record.timestamp for one in moved]
            self._raise_lacking(topic, await self._send(topic, records, sending, partition, times))

    def _raise_lacking(self, topic: str, lacking: list[OutRecord]) -> None:
        """End the unit where a record that it must write does not fit; loaded again, it knows so before it makes it."""
        for key, value, *headers in lacking:
            size = size_alone(key, value, headers[0] if headers else [])
            text = f"its record of {shown(key)} has {size} bytes, and {self._sizes.sentence(topic)}"
            raise LostError(text, refused=True)

    def _not_logged(self, topic: str, lacking: OutRecord) -> DeadLetter:
        """The dead letter of a joined record that its topic does not take even in parts; it has no offset."""
        self._seen.rejected[Reason.TOO_LARGE] += 1
        key, value = lacking[:2]
        detail = (
            f"the joined record has {len(value or b'')} bytes, and {self._sizes.sentence(topic)}; "
            "what it tells counts, but the documents of its puid lack it"
        )
        record = Record(-1, int(self._wall() * 1000), key, value)
        return DeadLetter(topic, self.number, record, Reason.TOO_LARGE, detail)
