"""Intake: topics in any dialect are read by a group of their own, and written to the canonical topics, keyed by puid.

At least once: an offset is committed when the brokers hold what was made of the records before it. After a crash some
events are written again, as the same event of the same time, and the join drops what comes twice; so nothing here needs
a transaction. Events of one source partition reach each canonical partition in their order, since a producer has one
batch of a partition on its way. Whatever goes wrong ends a session: the next one begins at the committed offsets.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from aiokafka import TopicPartition

from app.core.dialects.keeping import NO_SEGMENTS, SegmentHeaders
from app.core.dialects.plain import Event
from app.core.dialects.rekeying import Rekeyed, Rekeying
from app.core.events import Kind, Reason
from app.core.letters import DeadLetter
from app.core.stats import Stats
from app.core.wire.records import Record
from app.setting_values import is_pattern
from app.settings import Settings
from app.worker.intake.outlet import Outlet
from app.worker.intake.sources import Sources
from app.worker.kafka.consumer import OpenConsumer, open_consumer
from app.worker.kafka.group import GroupReader
from app.worker.kafka.producer import OpenProducer, close_producer, open_producer
from app.worker.kafka.sizes import Sizes, size_alone

log = logging.getLogger(__name__)

#: Records rekeyed at once; the lane and the web server have their turn in between.
_LIST: Final = 300
_WAIT_SECONDS: Final = 0.1


class Intake:
    """The intake of this worker. Build it in the loop that it runs in.

    Events keep the headers that `segments` are read from. `now` is what time it is, in seconds.
    """

    def __init__(
        self,
        settings: Settings,
        partitions: int,
        stats: Stats,
        *,
        segments: SegmentHeaders = NO_SEGMENTS,
        open_consumer: OpenConsumer = open_consumer,
        open_producer: OpenProducer = open_producer,
        sizes: Sizes | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        #: Canonical events that the brokers hold and that are committed, since the start, by the topic they came from.
        self.events: Counter[str] = Counter()
        self._expect(stats, [name for name in settings.intake_topics if not is_pattern(name)])
        self._settings = settings
        self._partitions = partitions
        self._stats = stats
        self._open_producer = open_producer
        self._sizes = Sizes() if sizes is None else sizes
        self._now = now
        self._rekey = Rekeying(segments).rekey
        self._sources = Sources(settings)
        self._outlet: Outlet | None = None
        self._group = GroupReader(
            settings,
            settings.intake_group,
            "intake",
            open_consumer,
            session=self._session,
            flush=self._flush,
            first_offset=self._sources.first_offset,
            # What the join still knows counts once, however often it comes; older events would count again.
            again=settings.exchange_retention / 2,
            lost=stats.lost,
        )

    @property
    def task(self) -> asyncio.Task[None] | None:
        """What runs; None until it starts."""
        return self._group.task

    def lag(self) -> float:
        """How many records this worker's partitions of the sources are ahead of what it has read; NaN while unknown."""
        return self._group.unread()

    def stalled(self) -> float:
        """Seconds since it last got on, or had nothing to do."""
        return self._group.stalled()

    def start(self) -> None:
        """Begin."""
        self._group.start()

    async def stop(self) -> None:
        """Commit what has been read and leave the group."""
        await self._group.stop()

    @property
    def missing(self) -> set[str]:
        """The sources that are named, and do not exist."""
        return self._sources.missing

    def _expect(self, stats: Stats, topics: Iterable[str]) -> None:
        """Let the counters of topics begin at 0."""
        for topic in topics:
            self.events.setdefault(topic, 0)
        stats.expect(read=topics)

    async def _session(self) -> None:
        """Read until something goes wrong."""
        group = self._group
        producer = await self._open_producer(self._settings, None)
        outlet = self._outlet = Outlet(
            self._settings, self._partitions, producer, group.commit, self._sizes, self.events, self._stats.rejected,
            now=self._now,
        )  # fmt: skip
        self._sources.look_at_once()
        try:
            while True:
                outlet.raise_failure()
                self._expect(self._stats, await self._sources.look(group))
                await outlet.wait_for_room()
                taken = await group.read(_LIST, _WAIT_SECONDS)
                if taken is None:
                    outlet.send()
                    continue
                events = self._rekey_list(outlet, taken.tp, taken.records) if taken.records else 0
                # Also without records: a start is committed before the first of them, so it holds once.
                outlet.note(taken.tp, taken.next_offset, len(taken.records), events)
        finally:
            self._outlet = None
            await outlet.close()
            await close_producer(producer)

    async def _flush(self) -> None:
        """Deliver and commit what has been read."""
        if self._outlet is not None:
            await self._outlet.flush()

    def _rekey_list(self, outlet: Outlet, tp: TopicPartition, records: list[Record]) -> int:
        """Make events of records and put them into the outlet. Returns how many."""
        try:
            rekeyed = self._rekey(tp.topic, records)
        except Exception:  # a bug must not stop a topic at one record for ever
            log.exception("unexpected error in records of topic=%s partition=%d", tp.topic, tp.partition)
            rekeyed = self._rekey_each(tp.topic, records)
        too_large = outlet.put(rekeyed.events)
        for topic, event in too_large:
            size = size_alone(event.key, event.value, event.headers)
            detail = f"as a record of Kafka it would have {size} bytes, and {self._sizes.sentence(topic)}"
            record = self._record_of(tp.topic, records, event)
            outlet.put_letter(DeadLetter(tp.topic, tp.partition, record, Reason.TOO_LARGE, detail))
        for record, reason, detail in rekeyed.refused:
            outlet.put_letter(DeadLetter(tp.topic, tp.partition, record, reason, detail))
        return len(rekeyed.events) - len(too_large)

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

    def _record_of(self, topic: str, records: list[Record], event: Event) -> Record:
        """The record that an event was made of: so seldom asked for that it is not remembered."""
        largest = max(records, key=lambda record: len(record.value or b""))
        alike = (
            record for record in records if any(made[1] == event for made in self._rekey_each(topic, [record]).events)
        )
        return next(alike, largest)
