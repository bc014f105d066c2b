"""Intake: topics in any dialect are read by a group of their own, and written to the canonical topics, keyed by puid.

At least once: an offset is committed when the brokers hold what was made of the records before it. After a crash some
events are written again, as the same event of the same time, and the join drops what comes twice; so nothing here needs
a transaction. Events of one source partition reach each canonical partition in their order, since a producer has one
batch of a partition on its way. Whatever goes wrong ends a session: the next one begins at the committed offsets.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Collection
from typing import Final

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from app.core.dialects.plain import Event
from app.core.dialects.rekeying import Rekeyed, Rekeying
from app.core.events import Kind, Reason
from app.core.letters import DeadLetter
from app.core.stats import Stats
from app.core.wire.records import Record
from app.settings import Settings, is_pattern
from app.worker.intake.member import Member
from app.worker.intake.outlet import Outlet
from app.worker.kafka.producer import BATCH_BYTES, close_producer, open_producer
from app.worker.kafka.topics import sources_among

log = logging.getLogger(__name__)

#: Records rekeyed at once; the lane and the web server have their turn in between.
_LIST: Final = 300
_WAIT_SECONDS: Final = 0.1
#: How often topics that are not there yet are looked for; and the share of its time that looking may take.
_LOOK_SECONDS: Final = 3.0
_LOOK_SHARE: Final = 0.01
#: Between sessions that go wrong.
_LONGEST_PAUSE: Final = 30.0


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
        places = [(consumer.end(tp), consumer.next_offset(tp)) for tp in consumer.assignment()]
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
        producer: AIOKafkaProducer | None = None
        self._hold()
        self._topics, self._look_at, self._unflushed = set(), 0.0, None
        try:
            await consumer.start()
            producer = await open_producer(settings)
            self._outlet = Outlet(settings, self._partitions, producer, consumer)
            await self._read(consumer, self._outlet)
        finally:
            if self._outlet is not None:
                await self._outlet.close()
            self._outlet = self._consumer = None
            await consumer.close(settings.session_timeout)
            if producer is not None:
                await close_producer(producer)

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
                outlet.note(tp, consumer.next_offset(tp) or records[-1].offset + 1, len(records))
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
