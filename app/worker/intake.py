"""Intake: topics in any dialect are read by a group of their own, and written to the canonical topics, keyed by puid.

At least once: an offset is committed when the brokers hold what was made of the records before it. After a crash some
events are written again, as the same event of the same time, and the join drops what comes twice; so nothing here needs
a transaction. Events of one source partition reach each canonical partition in their order, since a producer has one
batch of a partition on its way. Whatever goes wrong ends a session: the next one begins at the committed offsets.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from functools import partial
from types import MethodType
from typing import Any, Final

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from app.core.events import DeadLetter, Kind, Reason
from app.core.partitions import partitions_of
from app.core.plain import Event
from app.core.records import Record
from app.core.rekeying import Rekeyed, Rekeying
from app.core.stats import Stats
from app.settings import Settings, is_pattern
from app.worker.kafka import client_options
from app.worker.partition import BATCH_BYTES, close_producer, letter_record
from app.worker.records import RecordConsumer, _with_globals
from app.worker.topics import sources_among

log = logging.getLogger(__name__)

_NEVER_MS: Final = 2**31 - 1
#: Records rekeyed at once; the lane and the web server have their turn in between.
_LIST: Final = 300
#: Records that are worth a round of batches while more is there to be read: so many, and for each batch so many.
_ROUND: Final = 4_000
_PER_BATCH: Final = 50
#: The most that wait for the brokers, and the most bytes; the same for one request: brokers take no more than 100 MB.
_MOST: Final = 20_000
_MOST_BYTES: Final = 16 << 20
_WAIT_SECONDS: Final = 0.1
_COMMIT_SECONDS: Final = 0.2
#: How often topics that are not there yet are looked for; and the share of its time that looking may take.
_LOOK_SECONDS: Final = 3.0
_LOOK_SHARE: Final = 0.01
#: After so long without an acknowledgement the producer is given up: it has no end of its own.
_DELIVERY_SECONDS: Final = 300
#: Between sessions that go wrong.
_LONGEST_PAUSE: Final = 30.0
#: Brokers refuse a batch with a record that is an hour ahead of them.
_AHEAD_MS: Final = 3_500_000


class Member(RecordConsumer):
    """A member of the intake's group. Neither its subscription nor its questions create a topic."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(
            **client_options(settings),
            group_id=settings.intake_group,
            isolation_level="read_committed",
            auto_offset_reset="none",
            enable_auto_commit=False,
            check_crcs=False,
            max_partition_fetch_bytes=1 << 20,
            fetch_max_wait_ms=200,
            metadata_max_age_ms=30_000,
            max_poll_interval_ms=_NEVER_MS,  # its records are taken, not polled
            session_timeout_ms=int(settings.session_timeout * 1000),
            heartbeat_interval_ms=int(settings.session_timeout * 100),
            rebalance_timeout_ms=int(settings.session_timeout * 3000),
        )
        # aiokafka asks for the topics that it reads in a way that creates them again after somebody has deleted them.
        ask = partial(MetadataRequest, allow_auto_topic_creation=False)
        update = _with_globals(AIOKafkaClient._metadata_update, MetadataRequest=ask)
        self._client._metadata_update = MethodType(update, self._client)

    def check(self) -> None:
        """Raise what has ended the membership, if anything has."""
        self._coordinator.check_errors()

    async def close(self, seconds: float) -> None:
        """Leave the group; where the brokers do not answer in time, without a word."""
        try:
            async with asyncio.timeout(seconds):
                await self.stop()
        except (TimeoutError, KafkaError, OSError) as error:
            log.debug("intake's consumer closed hard: %r", error)
            if self._coordinator is not None:  # else it would join again by itself, and hold partitions unread
                for task in (self._coordinator._heartbeat_task, self._coordinator._coordination_task):
                    if task is not None:
                        task.cancel()
            await self._client.close()

    async def existing(self, names: Collection[str] | None) -> dict[str, int]:
        """The partition counts of those of the topics that exist; with None, of all."""
        request = MetadataRequest(None if names is None else sorted(names), allow_auto_topic_creation=False)
        reply = await self._client.send(self._client.get_random_node(), request)
        return {topic: len(partitions) for error, topic, _, partitions in reply.topics if not error}


class Round:
    """What is made of some lists of records: batches, and where reading goes on behind them."""

    __slots__ = ("appends", "full", "open", "places", "records", "size")

    def __init__(self, slots: int) -> None:
        self.records = 0
        self.size = 0  # bytes of the values
        self.full: list[tuple[int, Any]] = []
        self.open: list[Any] = [None] * slots
        self.appends: list[Any] = [None] * slots  # the `append` of each open batch
        self.places: dict[TopicPartition, int] = {}

    def batches(self) -> list[tuple[int, Any]]:
        """All batches, by slot, those of one slot in their order."""
        return self.full + [(slot, batch) for slot, batch in enumerate(self.open) if batch is not None]


class Outlet:
    """What is on its way to the brokers: a round that is being delivered, and the next one, which fills meanwhile.

    A slot is a partition of a canonical topic or of the dead letters.
    """

    def __init__(self, settings: Settings, partitions: int, producer: AIOKafkaProducer, consumer: Member) -> None:
        self._topics = (*settings.topics, settings.dead_letters_topic)
        self._partitions = partitions
        self._producer = producer
        self._consumer = consumer
        slots = len(self._topics) * partitions
        self._worth_sending = min(max(_ROUND, _PER_BATCH * slots), _MOST // 2)
        self._next = Round(slots)
        self._acknowledged: dict[TopicPartition, int] = {}
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

    def put(self, events: Sequence[tuple[Kind, Event, int]]) -> list[Event]:
        """Add events, each to its partition of its kind's topic. Returns those that are larger than any batch."""
        partitions, appends = self._partitions, self._next.appends
        latest = int(time.time() * 1000) + _AHEAD_MS
        too_large: list[Event] = []
        size = 0
        numbers = partitions_of([event.key for _, event, _ in events], partitions)
        for (kind, event, timestamp), number in zip(events, numbers, strict=True):
            slot = number  # of requests; responses follow them, and outliers and drift travel with these
            if kind is not Kind.REQUEST:
                slot += 2 * partitions if kind is Kind.FEEDBACK else partitions
            if timestamp > latest:
                timestamp = latest  # noqa: PLW2901 - a name of its own would cost every event
            key, value, named = event
            headers = list(named)
            size += len(value)
            append = appends[slot]
            if append is None or append(timestamp=timestamp, key=key, value=value, headers=headers) is None:
                # A batch takes as its first record one of any size; so only there the size must be asked for.
                if DefaultRecordBatchBuilder.estimate_size_in_bytes(key, value, headers) > BATCH_BYTES:
                    too_large.append(event)
                else:
                    self._begin_batch(slot)(timestamp=timestamp, key=key, value=value, headers=headers)
        self._next.size += size
        return too_large

    def put_letter(self, letter: DeadLetter) -> None:
        """Add a dead letter, to the partition that the number of its origin says."""
        key, value, *headers = letter_record(letter)
        slot = len(self._topics[:-1]) * self._partitions + letter.partition % self._partitions
        fields = {"timestamp": int(time.time() * 1000), "key": key, "value": value, "headers": headers[0]}
        append = self._next.appends[slot]
        if append is None or append(**fields) is None:
            self._begin_batch(slot)(**fields)
        self._next.size += len(value or b"")

    def note(self, tp: TopicPartition, place: int, records: int) -> None:
        """All that was made of so many records before this place has been put here."""
        self._next.places[tp] = place
        self._next.records += records
        if self._next.records >= self._worth_sending or self._next.size >= _MOST_BYTES // 2:
            self._go.set()

    def send(self) -> None:
        """Nothing more is there to be read: send what there is as soon as the round before it is delivered."""
        if self._next.places:
            self._go.set()

    def raise_failure(self) -> None:
        """Raise what ended the delivery, if anything did."""
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
            while self._busy or self._next.places or self._acknowledged:
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
        batch = self._next.open[slot] = self._producer.create_batch()
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
            left = self._commit_at - loop.time() if self._acknowledged else None
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._go.wait(), None if left is None else max(left, 0))
            self._go.clear()
            self._busy = True
            if self._next.places:
                now, self._next = self._next, Round(len(self._next.open))
                async with asyncio.timeout(_DELIVERY_SECONDS):
                    await self._send(now)
                self._acknowledged |= now.places
            if self._acknowledged and (self._hurry or loop.time() >= self._commit_at):
                await self._commit()
                self._commit_at = loop.time() + _COMMIT_SECONDS
            self._busy = False
            self._moved.set()

    async def _send(self, now: Round) -> None:
        """Send a round and wait for its acknowledgements; more than one request holds goes in several."""
        sent: list[tuple[str, asyncio.Future[object]]] = []
        size = 0
        for slot, batch in now.batches():
            number, partition = divmod(slot, self._partitions)
            topic = self._topics[number]
            size += batch.size()
            sent.append((topic, await self._producer.send_batch(batch, topic, partition=partition)))
            if size >= _MOST_BYTES:
                await _settle(sent)
                sent, size = [], 0
        await _settle(sent)

    async def _commit(self) -> None:
        acknowledged, self._acknowledged = self._acknowledged, {}
        try:
            await self._consumer.commit(acknowledged)
        except (CommitFailedError, IllegalStateError) as error:
            # The partitions have been given to others, who go on at the last commit: what is sent again does no harm.
            log.info("intake could not commit, its partitions are given anew: %r", error)


async def _settle(sent: list[tuple[str, asyncio.Future[object]]]) -> None:
    """Wait until the brokers have answered all that was sent. Raises what they refused."""
    outcomes = await asyncio.gather(*(future for _, future in sent), return_exceptions=True)
    for (topic, _), outcome in zip(sent, outcomes, strict=True):
        if isinstance(outcome, BaseException):
            raise KafkaError(f"a batch for {topic} was refused: {outcome!r}") from outcome


class Intake(ConsumerRebalanceListener):  # type: ignore[misc]
    """The intake of this worker. Build it in the loop that it runs in."""

    def __init__(self, settings: Settings, partitions: int, stats: Stats) -> None:
        #: Canonical events made since the start, by the topic that they came from.
        self.events: Counter[str] = Counter()
        self._settings = settings
        self._partitions = partitions
        self._stats = stats
        self._rekey = Rekeying().rekey
        self._names = {name for name in settings.intake_topics if not is_pattern(name)}
        self._asked = None if len(self._names) < len(settings.intake_topics) else self._names
        #: The partition counts at the first look: what comes later is new, and has no record that is too old.
        self._first: dict[str, int] | None = None
        self._waited: set[str] = set()  # topics that do not exist yet, of which the log has been told
        self._topics: set[str] = set()
        self._look_at = 0.0
        self._consumer: Member | None = None
        self._outlet: Outlet | None = None
        self._held = True  # nothing is read while a rebalance goes on
        self._turn = 0  # counts rebalances, so that no list is taken across one
        self._given = asyncio.Event()
        self._mine: list[TopicPartition] = []
        self._unflushed: Exception | None = None
        self._task: asyncio.Task[None] | None = None

    # -- what the rest of the worker asks -----------------------------------------------------------------------------

    def lag(self) -> int:
        """How many records this worker's partitions of the sources are ahead of what it has read."""
        consumer = self._consumer
        if consumer is None:
            return 0
        places = [(consumer.end(tp), consumer.place(tp)) for tp in consumer.assignment()]
        return sum(max(0, end - place) for end, place in places if end is not None and place is not None)

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Commit what has been read and leave the group."""
        if self._task is None:
            return
        if self._outlet is not None:
            self._hold()
            await self._flush(self._outlet)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    # -- sessions -----------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        pause = 1.0
        while True:
            began = loop.time()
            try:
                await self._session()
            except (KafkaError, OSError, TimeoutError) as error:
                log.warning("intake begins again at its committed offsets: %r", error)
            except Exception:
                log.exception("unexpected error in the intake, which begins again at its committed offsets")
            pause = 1.0 if loop.time() - began > _LONGEST_PAUSE else min(2 * pause, _LONGEST_PAUSE)
            await asyncio.sleep(pause)

    async def _session(self) -> None:
        """Join the group and read until something goes wrong."""
        settings = self._settings
        consumer = self._consumer = Member(settings)
        producer = AIOKafkaProducer(
            **client_options(settings),
            acks="all",
            enable_idempotence=True,
            max_batch_size=BATCH_BYTES,
            retry_backoff_ms=50,
        )
        self._hold()
        self._topics, self._look_at, self._unflushed = set(), 0.0, None
        try:
            await consumer.start()
            await producer.start()
            self._outlet = Outlet(settings, self._partitions, producer, consumer)
            await self._read(consumer, self._outlet)
        finally:
            if self._outlet is not None:
                await self._outlet.close()
            self._outlet = self._consumer = None
            await consumer.close(settings.session_timeout)
            await _close_producer(producer)

    async def _look(self, consumer: Member, outlet: Outlet) -> None:
        """Look which topics exist, and read those that are wanted."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            counts = await consumer.existing(self._asked)
        except KafkaError as error:  # its next reading will tell
            log.debug("intake could not look for its topics: %r", error)
            self._look_at = loop.time() + _WAIT_SECONDS
            return
        self._look_at = loop.time() + max(_LOOK_SECONDS, (loop.time() - began) / _LOOK_SHARE)
        topics = sources_among(self._settings, counts)
        if self._first is None:
            self._first = {topic: counts[topic] for topic in topics}
        for topic in sorted(self._names - topics - self._waited):
            log.info("intake waits for topic %s, which does not exist or may not be read", topic)
        self._waited = self._names - topics
        if topics == self._topics:
            return
        self._hold()
        await self._flush(outlet)
        self._topics = topics
        if topics:
            log.info("intake reads topics=%s", sorted(topics))
            consumer.subscribe(sorted(topics), listener=self)
        else:
            consumer.unsubscribe()

    # -- rebalances ---------------------------------------------------------------------------------------------------

    def _hold(self) -> None:
        self._held = True
        self._turn += 1
        self._given.clear()

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """A rebalance begins: read no more, and commit what has been read, so that others go on behind it."""
        self._hold()
        if self._outlet is not None:
            await self._flush(self._outlet)

    async def _flush(self, outlet: Outlet) -> None:
        """Deliver and commit what has been read. Where that takes too long, the session ends."""
        try:
            async with asyncio.timeout(self._settings.session_timeout):
                await outlet.flush()
        except Exception as error:  # noqa: BLE001 - whatever it is, the reader raises it
            self._unflushed = error

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """A rebalance is over."""
        self._mine = sorted(assigned)
        self._held = False
        self._turn += 1
        self._given.set()

    # -- reading ------------------------------------------------------------------------------------------------------

    async def _read(self, consumer: Member, outlet: Outlet) -> None:
        loop = asyncio.get_running_loop()
        found = False
        while True:
            if self._unflushed is not None:
                raise self._unflushed
            outlet.raise_failure()
            consumer.check()
            if loop.time() >= self._look_at:
                await self._look(consumer, outlet)
            if self._held:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._given.wait(), _WAIT_SECONDS)
                continue
            try:
                await consumer.wait_for_records(self._mine, 0 if found else _WAIT_SECONDS)
                found = await self._read_fetched(consumer, outlet)
            except NoOffsetForPartitionError as error:
                await self._begin(consumer, outlet, error.args[0])
            except OffsetOutOfRangeError as error:
                await self._move_into_range(consumer, error.args[0])
            if not found:
                outlet.send()

    async def _read_fetched(self, consumer: Member, outlet: Outlet) -> bool:
        """Read a list of each partition of which something has been fetched. Returns whether there was any."""
        turn = self._turn
        found = False
        for tp in self._mine:
            await outlet.wait_for_room()
            if self._held or turn != self._turn:
                return False
            records = consumer.take(tp, _LIST)
            if records:
                found = True
                self._rekey_list(outlet, tp, records)
                outlet.note(tp, consumer.place(tp) or records[-1].offset + 1, len(records))
                await asyncio.sleep(0)
        return found

    def _rekey_list(self, outlet: Outlet, tp: TopicPartition, records: list[Record]) -> None:
        try:
            rekeyed = self._rekey(tp.topic, records)
        except Exception:  # a bug must not stop a topic at one record for ever
            log.exception("unexpected error in records of topic=%s partition=%d", tp.topic, tp.partition)
            rekeyed = self._rekey_each(tp.topic, records)
        self.events[tp.topic] += len(rekeyed.events)
        for event in outlet.put(rekeyed.events):
            detail = f"as a record of Kafka it would have more than {BATCH_BYTES} bytes"
            self._refuse(outlet, tp, self._origin(tp.topic, records, event), Reason.TOO_LARGE, detail)
        for record, reason, detail in rekeyed.refused:
            self._refuse(outlet, tp, record, reason, detail)

    def _rekey_each(self, topic: str, records: list[Record]) -> Rekeyed:
        """Rekey records one by one, and refuse those that cannot be."""
        events: list[tuple[Kind, Event, int]] = []
        refused: list[tuple[Record, Reason, str]] = []
        for record in records:
            try:
                made = self._rekey(topic, [record])
            except Exception as error:  # noqa: BLE001 - see above
                refused.append((record, Reason.UNEXPECTED, repr(error)))
            else:
                events += made.events
                refused += made.refused
        return Rekeyed(events, refused)

    def _refuse(self, outlet: Outlet, tp: TopicPartition, record: Record, reason: Reason, detail: str) -> None:
        self._stats.rejected[reason.value] += 1
        outlet.put_letter(DeadLetter(tp.topic, tp.partition, record, reason, detail))

    def _origin(self, topic: str, records: list[Record], event: Event) -> Record:
        """The record that an event was made of: so seldom asked for that it is not remembered."""
        largest = max(records, key=lambda record: len(record.value or b""))
        alike = (
            record for record in records if any(made[1] == event for made in self._rekey_each(topic, [record]).events)
        )
        return next(alike, largest)

    # -- where reading begins -----------------------------------------------------------------------------------------

    async def _begin(self, consumer: Member, outlet: Outlet, tp: TopicPartition) -> None:
        """Begin a partition of which the group has no offset: where `TALLY_START` says, or at its beginning if new."""
        start = self._settings.start
        known = tp.partition < (self._first or {}).get(tp.topic, 0)
        place: int | None = None
        if known and isinstance(start, float):
            found = (await consumer.offsets_for_times({tp: int(start * 1000)}))[tp]
            place = found.offset if found is not None else None
        elif start == "earliest" or not known:
            place = (await consumer.beginning_offsets([tp]))[tp]
        if place is None:
            place = (await consumer.end_offsets([tp]))[tp]
        if tp in consumer.assignment():
            consumer.seek(tp, place)
            outlet.note(tp, place, 0)  # committed before the first record: a start holds once

    async def _move_into_range(self, consumer: Member, places: dict[TopicPartition, int]) -> None:
        """The broker no longer has the records that come next: go on with the oldest, and say what is lost."""
        beginnings = await consumer.beginning_offsets(list(places))
        ends = await consumer.end_offsets(list(places))
        for tp, place in places.items():
            goal = beginnings[tp] if place < beginnings[tp] else ends[tp]
            log.error(
                "topic=%s partition=%d offset=%d is no longer there: intake goes on at %d; what lay between is lost",
                tp.topic, tp.partition, place, goal,
            )  # fmt: skip
            if tp in consumer.assignment():
                consumer.seek(tp, goal)


async def _close_producer(producer: AIOKafkaProducer) -> None:
    """Close a producer that may be stuck; what it could not send it must not send later."""
    await close_producer(producer)
    task = producer._sender.sender_task
    if task is not None:
        task.cancel()
