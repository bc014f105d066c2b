"""Loading partitions: fence the last owner, read both changelogs to their end, find where the inputs go on.

The order is what makes a state exact: the producer first (its start fences, and aborts what was left open), then the
ends of the changelogs, then a read_committed read up to them.
"""

import asyncio
import logging
from collections.abc import Callable

from aiokafka import AIOKafkaProducer, TopicPartition

from app.core.counts.rows import owner_key
from app.core.join.position import StateError
from app.core.join.shard import Shard
from app.settings import Settings
from app.worker.kafka.client import SetupError
from app.worker.kafka.consumer import OpenConsumer
from app.worker.kafka.producer import OpenProducer, close_producer
from app.worker.kafka.sizes import Sizes
from app.worker.lane.partition import Partition

log = logging.getLogger(__name__)

#: The newest value of each key of a changelog.
State = dict[bytes, bytes]


class Recovery:
    """What the last loading read, for the metrics."""

    records = 0
    seconds = 0.0


class Loader:
    """Loads partitions that this worker has been assigned. `wall` is the clock that their records are stamped by."""

    def __init__(
        self,
        settings: Settings,
        partitions: int,
        new_shard: Callable[[int], Shard],
        *,
        open_consumer: OpenConsumer,
        open_producer: OpenProducer,
        sizes: Sizes,
        wall: Callable[[], float],
    ) -> None:
        self.recovery = Recovery()
        self._settings = settings
        self._partitions = partitions
        self._new_shard = new_shard
        self._open_consumer = open_consumer
        self._open_producer = open_producer
        self._sizes = sizes
        self._wall = wall

    async def load(self, numbers: list[int]) -> list[Partition]:
        """Load partitions, all or none: on an error, and when it is cancelled, all producers are closed."""
        producers: dict[int, AIOKafkaProducer] = {}

        async def fence(number: int) -> None:
            producers[number] = await self._open_producer(self._settings, number)

        try:
            for outcome in await asyncio.gather(*map(fence, numbers), return_exceptions=True):
                if isinstance(outcome, BaseException):
                    raise outcome
            loaded = await self._recover(producers)
            await self._find_starts(loaded)
        except BaseException:
            await asyncio.gather(*map(close_producer, producers.values()), return_exceptions=True)
            raise
        return loaded

    async def _recover(self, producers: dict[int, AIOKafkaProducer]) -> list[Partition]:
        """Partitions as their changelogs say, now that nobody else can write these."""
        settings = self._settings
        loop = asyncio.get_running_loop()
        began = loop.time()
        states = await self._read_changelogs(sorted(producers))
        loaded = []
        for number, producer in sorted(producers.items()):
            shard = self._new_shard(number)
            exchanges = states[TopicPartition(settings.exchanges_topic, number)]
            panes = states[TopicPartition(settings.panes_topic, number)]
            try:
                position = shard.recover(exchanges.items(), panes.items())
            except StateError as error:
                raise SetupError(f"Partition {number} of {settings.app_id}: {error}.") from None
            await asyncio.sleep(0)
            if position is not None and position.partitions != self._partitions:
                raise SetupError(
                    f"The state of {settings.app_id} was written with {position.partitions} partitions and the topics "
                    f"have {self._partitions}: give the topics their old count, or start afresh with another "
                    "TALLY_APP_ID."
                )
            loaded.append(Partition(number, shard, producer, settings, self._sizes, self._wall))
        recovery = self.recovery
        recovery.records, recovery.seconds = sum(map(len, states.values())), loop.time() - began
        log.info("loaded partitions=%s records=%d seconds=%.2f", sorted(producers), recovery.records, recovery.seconds)
        return loaded

    async def _read_changelogs(self, numbers: list[int]) -> dict[TopicPartition, State]:
        """What both changelogs of these partitions hold."""
        settings = self._settings
        consumer = await self._open_consumer(
            settings, auto_offset_reset="earliest", max_partition_fetch_bytes=4 << 20, fetch_max_wait_ms=100
        )
        try:
            tps = [
                TopicPartition(topic, n) for topic in (settings.exchanges_topic, settings.panes_topic) for n in numbers
            ]
            consumer.assign(tps)
            await consumer.seek_to_beginning(*tps)
            ends = await consumer.end_offsets(tps)
            states: dict[TopicPartition, State] = {tp: {} for tp in tps}
            left = tps
            while left := [tp for tp in left if (consumer.next_offset(tp) or 0) < ends[tp]]:
                await consumer.wait_for_records(left, 0.2)
                for tp in left:
                    state = states[tp]
                    # In short lists, so that the records' own objects take up little memory at any time.
                    while records := consumer.take(tp, 500):
                        for record in records:
                            key, value = record.key, record.value
                            if value is None:
                                state.pop(key or b"", None)
                            elif key:
                                state[key] = value
                    await asyncio.sleep(0)
        finally:
            await consumer.stop()
        for number in numbers:
            states[TopicPartition(settings.panes_topic, number)].pop(owner_key(number), None)
        return states

    async def _find_starts(self, loaded: list[Partition]) -> None:
        """Where partitions without a position begin: at the group's offset, else where `TALLY_START` says."""
        settings = self._settings
        fresh = [
            TopicPartition(topic, part.number)
            for part in loaded
            for topic in settings.topics
            if topic not in part.shard.offsets
        ]
        if not fresh:
            return
        consumer = await self._open_consumer(settings, group_id=settings.app_id)
        try:
            consumer.assign(fresh)
            beginnings = await consumer.beginning_offsets(fresh)
            ends = await consumer.end_offsets(fresh)
            times = {}
            if isinstance(settings.start, float):
                times = await consumer.offsets_for_times({tp: int(settings.start * 1000) for tp in fresh})
            shards = {part.number: part.shard for part in loaded}
            for tp in fresh:
                start = await consumer.committed(tp)
                if start is None:
                    if isinstance(settings.start, float):
                        found = times.get(tp)
                        start = found.offset if found is not None else ends[tp]
                    else:
                        start = beginnings[tp] if settings.start == "earliest" else ends[tp]
                shards[tp.partition].offsets[tp.topic] = start
        finally:
            await consumer.stop()
