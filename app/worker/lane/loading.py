"""Loading partitions: fence the last owner, read both changelogs to their end, find where the inputs go on.

The order is what makes a state exact: the producer first (its start fences, and aborts what was left open), then the
ends of the changelogs, then a read_committed read up to them.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer, TopicPartition

from app.core.counts.rows import owner_key
from app.core.join.shard import Shard
from app.settings import Settings
from app.worker.kafka.client import SetupError, client_options
from app.worker.kafka.consumer import RecordConsumer
from app.worker.kafka.producer import close_producer, open_producer
from app.worker.lane.partition import Partition

log = logging.getLogger(__name__)


class Recovery:
    """What the last loading read, for the metrics."""

    records = 0
    seconds = 0.0


async def load_partitions(
    numbers: list[int], partitions: int, settings: Settings, new_shard: Callable[[int], Shard], recovery: Recovery
) -> list[Partition]:
    """Load partitions that this worker has been assigned. All or none: on an error all producers are closed."""
    producers = await asyncio.gather(*(open_producer(settings, number) for number in numbers), return_exceptions=True)
    opened = [producer for producer in producers if not isinstance(producer, BaseException)]
    try:
        for producer in producers:
            if isinstance(producer, BaseException):
                raise producer
        began = time.monotonic()
        states = await _read_changelogs(numbers, settings)
        recovery.records = sum(len(state) for state in states.values())
        loaded = []
        for number, producer in zip(numbers, opened, strict=True):
            shard = new_shard(number)
            mark = shard.recover(
                states[settings.exchanges_topic, number].items(), states[settings.panes_topic, number].items()
            )
            await asyncio.sleep(0)
            if mark is not None and mark.partitions != partitions:
                raise SetupError(
                    f"The state of {settings.app_id} was written with {mark.partitions} partitions and the topics have "
                    f"{partitions}: give the topics their old count, or start afresh with another TALLY_APP_ID."
                )
            loaded.append(Partition(number, shard, producer, settings))
        recovery.seconds = time.monotonic() - began
        await _find_starts(loaded, settings)
        log.info("loaded partitions=%s records=%d seconds=%.2f", numbers, recovery.records, recovery.seconds)
        return loaded
    except BaseException:
        for producer in opened:
            await close_producer(producer)
        raise


async def _read_changelogs(numbers: list[int], settings: Settings) -> dict[tuple[str, int], dict[bytes, bytes]]:
    """The newest value of each key of both changelogs, by topic and partition."""
    consumer = RecordConsumer(
        **client_options(settings),
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=4 << 20,
        fetch_max_wait_ms=100,
    )
    await consumer.start()
    try:
        tps = [TopicPartition(topic, n) for topic in (settings.exchanges_topic, settings.panes_topic) for n in numbers]
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        ends = await consumer.end_offsets(tps)
        states: dict[tuple[str, int], dict[bytes, bytes]] = {(tp.topic, tp.partition): {} for tp in tps}
        left = set(tps)
        while left:
            await consumer.wait_for_records(list(left), 0.2)
            for tp in list(left):
                state = states[tp.topic, tp.partition]
                # In short lists, so that the records' own objects take up little memory at any time.
                while records := consumer.take(tp, 500):
                    for record in records:
                        key, value = record.key, record.value
                        if value is None:
                            state.pop(key or b"", None)
                        elif key:
                            state[key] = value
                await asyncio.sleep(0)
                if (consumer.next_offset(tp) or 0) >= ends[tp]:
                    left.discard(tp)
        for number in numbers:
            states[settings.panes_topic, number].pop(owner_key(number), None)
        return states
    finally:
        await consumer.stop()


async def _find_starts(loaded: list[Partition], settings: Settings) -> None:
    """Where partitions without a mark begin: at the group's offset, else where `TALLY_START` says."""
    fresh = [
        TopicPartition(topic, part.number)
        for part in loaded
        for topic in settings.topics
        if topic not in part.shard.offsets
    ]
    if not fresh:
        return
    consumer = AIOKafkaConsumer(**client_options(settings), group_id=settings.app_id, enable_auto_commit=False)
    await consumer.start()
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
