"""Records of some partitions between two places, the oldest first, read without a group."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Final

from aiokafka import TopicPartition

from app.core.wire.records import Record
from app.replay.stretch import Stretch, StretchError
from app.settings import Settings
from app.worker.kafka.consumer import RecordConsumer, open_consumer

#: So many records at once: enough for the loop to cost nothing, few enough to stay in the cache.
_LIST: Final = 100
#: After so long without a record that must be there, something is wrong.
_PATIENCE_SECONDS: Final = 60.0
_MOST_ASIDE: Final = 8 << 20
#: What a replay's consumer asks for.
OPTIONS: Final[dict[str, Any]] = {
    "auto_offset_reset": "none",
    "max_partition_fetch_bytes": 1 << 20,
    "fetch_max_wait_ms": 100,
}


async def open_reader(settings: Settings, **more: Any) -> RecordConsumer:
    """A consumer of committed records, of no group, that keeps little in memory."""
    consumer = await open_consumer(settings, **OPTIONS | more)
    consumer.keep_aside(_MOST_ASIDE)
    return consumer


async def read(consumer: Any, stretch: Stretch) -> AsyncGenerator[tuple[TopicPartition, list[Record]], None]:
    """The records of a stretch in short lists, always those of the partition that is furthest back in time.

    So the order depends on what the topics hold alone, and the parts of a request id come near to each other. A list is
    empty where a partition has only moved on.
    """
    newest = {tp: 0 for tp, start in stretch.starts.items() if start < stretch.ends[tp]}
    if not newest:
        return
    consumer.assign([*newest])
    for tp in newest:
        consumer.seek(tp, stretch.starts[tp])
    loop = asyncio.get_running_loop()
    patience = loop.time() + _PATIENCE_SECONDS
    turn = 0
    since, until = stretch.since, stretch.until
    while newest:
        tp = min(newest, key=newest.__getitem__)
        end = stretch.ends[tp]
        records = consumer.take(tp, _LIST)
        if records:
            if records[-1].offset >= end:
                records = [record for record in records if record.offset < end]
            newest[tp] = max(newest[tp], records[-1].timestamp if records else 0)
            if since is not None or until is not None:
                low, high = since or 0, 1 << 62 if until is None else until
                records = [record for record in records if low <= record.timestamp < high]
            turn += 1
            if turn % 10 == 0:  # what fetches has its turn
                await asyncio.sleep(0)
                patience = loop.time() + _PATIENCE_SECONDS
            yield tp, records
        if (consumer.next_offset(tp) or 0) >= end:
            del newest[tp]
        elif not records:
            await consumer.wait_for_records([tp], 0.2)
            if loop.time() > patience:
                raise StretchError(
                    f"The brokers have not sent the records of {tp.topic}, partition {tp.partition}, before {end}: "
                    "run `tally check`."
                )
