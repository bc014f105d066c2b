"""The inputs: what has been fetched of the canonical topics, and which of a partition's three topics is read next."""

import asyncio
import logging
import math
from collections.abc import Iterable

from aiokafka import TopicPartition

from app.core.wire.partitioning import partition_of
from app.core.wire.records import Record
from app.settings import Settings
from app.worker.kafka.consumer import RecordConsumer
from app.worker.lane.partition import Partition

log = logging.getLogger(__name__)

#: Records parsed at once: enough for the loop to cost nothing, few enough to stay in the cache. Fewer where they take
#: longer than so to be folded: such ones have many rows.
_LIST = 100
_LIST_SECONDS = 0.01
#: How far one topic of a partition may run ahead of another that has more to read, and how long it waits for it.
_SKEW_MS = 20  # of record time; more lets the parts of a puid miss each other's epoch while catching up
_PATIENCE_SECONDS = 1.0
#: Less than `app.core.join.deciding` waits for what comes late.
_FRESH_SECONDS = 5.0
_UNKNOWN = 1 << 62


class Inputs:
    """What a consumer has fetched for some partitions. It reads nothing by itself."""

    def __init__(self, settings: Settings, partitions: int, consumer: RecordConsumer) -> None:
        self.consumer = consumer
        self._settings = settings
        self._partitions = partitions
        self._checked: set[str] = set()  # topics of which every key is checked
        self._shorter: dict[str, int] = {}  # by topic how many records are taken at once, where these are fewer

    def point(self, parts: Iterable[Partition]) -> None:
        """Point the consumer at partitions, each where its shard stands."""
        places = {
            TopicPartition(topic, part.number): part.shard.offsets.get(topic, 0)
            for part in parts
            for topic in self._settings.topics
        }
        if places:
            self.consumer.assign(list(places))
            for tp, offset in places.items():
                self.consumer.seek(tp, offset)
        else:
            self.consumer.unsubscribe()

    # -- taking -------------------------------------------------------------------------------------------------------

    def fold_next(self, part: Partition) -> bool:
        """Fold the next records of the topic that is furthest back in time. Returns whether there were any."""
        topic, records = self._next_list(part)
        if records:
            loop = asyncio.get_running_loop()
            begun = loop.time()
            self._fold(part, topic, records)
            self._set_length(topic, len(records), loop.time() - begun)
        return bool(records)

    def _set_length(self, topic: str, records: int, seconds: float) -> None:
        """Set how many records are taken at once, by how long so many took to be folded."""
        if seconds > _LIST_SECONDS:
            self._shorter[topic] = max(1, int(records * _LIST_SECONDS / seconds))
        elif seconds < _LIST_SECONDS / 2 and topic in self._shorter:
            self._shorter[topic] *= 2
            if self._shorter[topic] >= _LIST:
                del self._shorter[topic]

    def _next_list(self, part: Partition) -> tuple[str, list[Record]]:
        """The next records of the topic that is furthest back; none while it is waited for."""
        shard = part.shard
        newest = shard.newest
        behind: list[str] = []  # of which nothing has been fetched
        for topic in sorted(self._settings.topics, key=lambda topic: newest.get(topic, 0)):
            tp = TopicPartition(topic, part.number)
            edge = newest.get(topic, 0) - _SKEW_MS
            if any(newest.get(it, 0) < edge and self._worth_waiting(part, it) for it in behind):
                break
            records = self.consumer.take(tp, self._shorter.get(topic, _LIST))
            place = self.consumer.next_offset(tp)
            if not records and place is not None:
                shard.skip(topic, place)  # only transaction markers lie before it
            if records:
                part.awaited.pop(topic, None)
                return topic, records
            behind.append(topic)
        return "", []

    def _worth_waiting(self, part: Partition, topic: str) -> bool:
        """Whether the others should wait for the next fetch of a topic that is behind them.

        They do not wait for ever: what is left of it may be held back by a transaction that nobody ends.
        """
        if not self.unread(part, topic):
            return False
        now = asyncio.get_running_loop().time()
        return now - part.awaited.setdefault(topic, now) < _PATIENCE_SECONDS

    def _fold(self, part: Partition, topic: str, records: list[Record]) -> None:
        shard = part.shard
        place = shard.offsets.get(topic, 0)
        if records[0].offset < place:
            records = [record for record in records if record.offset >= place]
            if not records:
                return
        # The hash of every key would cost a fifth more: all of the first list are checked, then one of each list; and
        # all once one was wrong.
        if topic not in self._checked:
            some = records[-1:] if topic in part.met else records
            part.met.add(topic)
            if any(record.key and self._partition_of(record.key) != part.number for record in some):
                log.warning("topic=%s holds keys in wrong partitions; every key of it is checked from now on", topic)
                self._checked.add(topic)
        shard.absorb(topic, records, self._partition_of if topic in self._checked else None)

    def _partition_of(self, puid: bytes) -> int:
        return partition_of(puid, self._partitions)

    # -- ends ---------------------------------------------------------------------------------------------------------

    def ended(self, part: Partition) -> list[str]:
        """The topics of a partition that have been read to their end."""
        return [
            topic
            for topic in self._settings.topics
            if part.shard.offsets.get(topic, 0) >= self._end(topic, part.number, _UNKNOWN)
        ]

    def knows_ends(self, part: Partition) -> bool:
        """Whether the ends of a partition's inputs have been seen just now: what has come since cannot be old."""
        ends = (
            self.consumer.known_end(TopicPartition(topic, part.number), _FRESH_SECONDS)
            for topic in self._settings.topics
        )
        return None not in ends

    def unread(self, part: Partition, topic: str) -> int:
        """How many records of an input are unread, as far as is known."""
        return max(0, self._end(topic, part.number, 0) - part.shard.offsets.get(topic, 0))

    def unread_in_all(self, part: Partition) -> int:
        """The same of all inputs together."""
        return sum(self.unread(part, topic) for topic in self._settings.topics)

    def known_unread(self, part: Partition, topic: str) -> float:
        """The same; NaN where no broker has told within a session's time."""
        end = self.consumer.known_end(TopicPartition(topic, part.number), self._settings.session_timeout)
        return math.nan if end is None else max(0, end - part.shard.offsets.get(topic, 0))

    def _end(self, topic: str, number: int, unknown: int) -> int:
        """The end of an input as the last fetch saw it."""
        end = self.consumer.end(TopicPartition(topic, number))
        return unknown if end is None else end
