"""Which topics the intake reads, and where it begins to read them."""

import asyncio
import logging
from collections.abc import Iterable
from typing import Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from app.setting_values import is_pattern
from app.settings import Settings
from app.worker.kafka.group import GroupReader
from app.worker.kafka.group_consumer import GroupConsumer
from app.worker.kafka.metadata import TopicFacts
from app.worker.kafka.topics import sources_among

log = logging.getLogger(__name__)

#: How often topics that are not there yet are looked for; and the share of its time that looking may take.
_LOOK_SECONDS: Final = 3.0
_LOOK_SHARE: Final = 0.01
#: However long brokers take to answer, a topic that was made again is seen within so long.
_LONGEST_LOOK_SECONDS: Final = 15.0
_RETRY_SECONDS: Final = 0.1


class Sources:
    """The topics of `TALLY_INTAKE_TOPICS` that exist: looked for again and again, since they may come and go."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._names = {name for name in settings.intake_topics if not is_pattern(name)}
        self._asked = None if len(self._names) < len(settings.intake_topics) else self._names
        #: What was there at the first look and is there still: what comes later is new, and has no record that is too
        #: old. Not so what has been deleted since, or made again.
        self._first: dict[str, TopicFacts] | None = None
        #: Those that are named, and do not exist.
        self.missing: set[str] = set()
        self._look_at = 0.0

    def look_at_once(self) -> None:
        """Let the next look be one, however soon it comes."""
        self._look_at = 0.0

    async def look(self, group: GroupReader) -> Iterable[str]:
        """If it is time, look which of the topics exist, and let the group read these. Returns them; else none."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        if began < self._look_at:
            return ()
        try:
            found = await group.describe(self._asked)
        except KafkaError as error:  # its next reading will tell
            log.debug("intake could not look for its topics: %r", error)
            self._look_at = loop.time() + _RETRY_SECONDS
            return ()
        self._look_at = loop.time() + min(
            max(_LOOK_SECONDS, (loop.time() - began) / _LOOK_SHARE), _LONGEST_LOOK_SECONDS
        )
        topics = sources_among(self._settings, found)
        if self._first is None:
            self._first = {topic: found[topic] for topic in topics}
        self._first = {
            topic: facts for topic, facts in self._first.items() if topic in topics and found[topic].id == facts.id
        }
        for topic in sorted(self._names - topics - self.missing):
            log.info("intake waits for topic %s, which does not exist or may not be read", topic)
        self.missing = self._names - topics
        await group.subscribe(topics)
        return topics

    async def first_offset(self, consumer: GroupConsumer, tp: TopicPartition) -> int:
        """Where a partition begins of which the group has no offset: as `TALLY_START` says, a new one at its beginning.

        A time that is later than all records means the end.
        """
        start = self._settings.start
        first = (self._first or {}).get(tp.topic)
        if first is None or tp.partition >= first.partitions or start == "earliest":
            return (await consumer.beginning_offsets([tp]))[tp]
        if isinstance(start, float):
            found = (await consumer.offsets_for_times({tp: int(start * 1000)}))[tp]
            if found is not None:
                return int(found.offset)
        return (await consumer.end_offsets([tp]))[tp]
