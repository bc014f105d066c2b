"""The runner: joined records in, results of monitors out, as events of the response topic.

The monitors of one name read the log of joined records in a group of their own, so that a slow one holds up no other.
What is read is scored in batches, the results are sent, and when the brokers hold them the offsets are committed: after
a crash some rows are scored again, and their results replace themselves. While it is away, records wait in the log; so
do answers for their requests (`app.core.outputs.scoring`). Where an answer comes alone whose request lies before the
committed offset, that is looked up.
"""

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any, Final

from aiokafka import AIOKafkaProducer, TopicPartition

from app.core.dialects.plain import Event
from app.core.events import RefusedError
from app.core.monitors import Code, Monitor, MonitorSpec
from app.core.outputs.scoring import Answered, Pairs, result_event, too_large
from app.core.rules import Rulebook
from app.core.wire.partitioning import partitions_of
from app.settings import Settings
from app.worker.kafka.consumer import OpenConsumer, open_consumer
from app.worker.kafka.group import GroupReader, Taken
from app.worker.kafka.group_consumer import GroupConsumer
from app.worker.kafka.producer import OpenProducer, close_producer, open_producer
from app.worker.kafka.reading import Reader
from app.worker.kafka.sizes import Sending, Sizes
from app.worker.monitors.process import MonitorProcess
from app.worker.monitors.scorer import Value

log = logging.getLogger(__name__)

#: Rows that are scored at once, at most, and records that are read at once.
_ROWS: Final = 1000
_LIST: Final = 500
_WAIT_SECONDS: Final = 0.1
#: So many offsets before the committed one are looked through for what belongs to a part that comes alone.
_PAST: Final = 20_000
#: How often offsets are committed where nothing is scored.
_COMMIT_SECONDS: Final = 1.0


class Runner:
    """Scores answers by the monitors of a rulebook that have this name. Build it in the loop that it runs in."""

    def __init__(
        self,
        settings: Settings,
        rulebook: Rulebook,
        name: str,
        *,
        open_consumer: OpenConsumer = open_consumer,
        open_producer: OpenProducer = open_producer,
        wall: Callable[[], float] = time.time,
    ) -> None:
        assert settings.log_topic is not None
        self.lost: Counter[str] = Counter()
        self._settings = settings
        self._rulebook = rulebook
        self._name = name
        self._sizes = Sizes()
        self._log_topic = settings.log_topic
        self._open_consumer = open_consumer
        self._open_producer = open_producer
        self._wall = wall
        self._pairs: dict[TopicPartition, Pairs] = {}
        self._read: dict[TopicPartition, int] = {}
        self._processes: dict[Monitor, tuple[MonitorSpec, Code, MonitorProcess]] = {}
        self._committed_at = 0.0
        self._scoring = 0  # records that are read, and whose results are not committed
        self._group = GroupReader(
            settings,
            settings.monitors_group(name),
            f"the monitor {name}",
            open_consumer,
            session=self._session,
            flush=self._flush,
            first_offset=_first_offset,
            again=math.inf,  # a result replaces itself
            lost=self.lost,
        )

    @property
    def task(self) -> asyncio.Task[None] | None:
        """What runs; None until it starts."""
        return self._group.task

    def lag(self) -> float:
        """How many joined records of its partitions it has not dealt with yet; NaN where that is not known.

        While it scores, what is fetched may lie there for long, and nothing more is fetched: then it is what the last
        fetch has seen, and may be more.
        """
        return self._group.unread(math.inf if self._scoring else None) + self._scoring

    def start(self) -> None:
        """Begin."""
        self._group.start()

    async def stop(self) -> None:
        """Leave the group, and end the processes."""
        await self._group.stop()
        for _, _, process in self._processes.values():
            process.close()
        self._processes.clear()

    async def _flush(self) -> None:
        """What is read and not committed is read again by whoever has its partition."""
        self._pairs.clear()
        self._read.clear()
        self._scoring = 0

    async def _session(self) -> None:
        group, topic, loop = self._group, self._settings.response_topic, asyncio.get_running_loop()
        producer = await self._open_producer(self._settings, None)
        await self._flush()
        try:
            facts = await group.describe([topic])
            self._sizes.update(facts)
            partitions = facts[topic].partitions
            await group.subscribe([self._log_topic])
            while True:
                self._scoring = 0
                taken = await group.read(_LIST, _WAIT_SECONDS)
                self._scoring = 0 if taken is None else len(taken.records)
                answered = [] if taken is None else await self._answers(taken)
                read = dict(self._read)  # of a rebalance meanwhile nothing is left
                if answered:
                    events, stamp = await self._results(answered), int(self._wall() * 1000)
                    await send(producer, topic, partitions, events, self._sizes, stamp)
                if self._read and (answered or loop.time() - self._committed_at >= _COMMIT_SECONDS):
                    self._committed_at = loop.time()
                    await group.commit(
                        {tp: self._pairs[tp].first_offset(offset) for tp, offset in read.items() if tp in self._read}
                    )
        finally:
            await close_producer(producer)

    async def _answers(self, taken: Taken) -> list[Answered]:
        tp, records, next_offset = taken
        pairs = self._pairs.get(tp)
        if pairs is None:
            pairs = self._pairs[tp] = Pairs(self._rulebook, records[0].offset if records else next_offset)
        for record in records:
            try:
                pairs.take(record.offset, record.timestamp, record.value or b"")
            except RefusedError as refused:
                log.warning("topic=%s partition=%d offset=%d: %s", *tp, record.offset, refused.detail)
        if pairs.lacks_past:
            past = await self._before(tp, pairs.begins_at)
            if self._pairs.get(tp) is not pairs:  # a rebalance has begun meanwhile: all this is read again
                return []
            pairs.remember(past)
        found = pairs.answers()
        if records:
            found += pairs.expire(max(record.timestamp for record in records))
        self._read[tp] = next_offset
        return found

    async def _before(self, tp: TopicPartition, offset: int) -> list[bytes]:
        """The records of the log that lie before an offset, as far back as is looked."""
        found: list[bytes] = []
        consumer = await self._open_consumer(self._settings)
        try:
            consumer.assign([tp])
            begin = max((await consumer.beginning_offsets([tp]))[tp], offset - _PAST)
            async with aclosing(Reader(self._settings, consumer).between({tp: begin}, {tp: offset})) as lists:
                async for _, records in lists:
                    found += [record.value or b"" for record in records if record.offset < offset]
        finally:
            await consumer.stop()
        return found

    async def _results(self, answered: Sequence[Answered]) -> list[Event]:
        """The results of these answers. Monitors of several models that have one name score beside each other."""
        by_monitor: dict[Monitor, list[Answered]] = {}
        for one in answered:
            for monitor in self._rulebook.of(one.identity.leg).monitors:
                if monitor.spec.name == self._name:
                    by_monitor.setdefault(monitor, []).append(one)
        found = await asyncio.gather(*(self._of_monitor(*one) for one in by_monitor.items()))
        return [event for events in found for event in events]

    async def _of_monitor(self, monitor: Monitor, answered: Sequence[Answered]) -> list[Event]:
        spec, process = self._process(monitor)
        events: list[Event] = []
        for batch in _batches(answered):
            asked = [(one.inputs, one.outputs) for one in batch if one.inputs is not None and one.outputs is not None]
            values = iter(await process.score(asked) if asked else [])
            for one in batch:
                said: list[Value] = [one.trouble] * one.size if one.trouble else next(values)
                events.append(result_event(one, spec, said))
        return events

    def _process(self, monitor: Monitor) -> tuple[MonitorSpec, MonitorProcess]:
        """What runs a monitor as it is now: another version, or other limits, are another process."""
        spec, code = monitor.spec, monitor.code
        known = self._processes.get(monitor)
        if known is not None and (known[0].version, known[1]) == (spec.version, code):
            process = known[2]
        else:
            if known is not None:
                known[2].close()
            process = MonitorProcess(spec.name, code)
        self._processes[monitor] = spec, code, process
        return spec, process


def _batches(answered: Sequence[Answered]) -> list[list[Answered]]:
    """Neighbours with so many rows together at most; or one that has more."""
    found: list[list[Answered]] = []
    rows = _ROWS
    for one in answered:
        if rows + one.size > _ROWS:
            found.append([])
            rows = 0
        found[-1].append(one)
        rows += one.size
    return found


async def send(
    producer: AIOKafkaProducer, topic: str, partitions: int, events: Sequence[Event], sizes: Sizes, stamp: int
) -> None:
    """Write events of a time in ms, each to the partition of its key, until the brokers hold them. Where the topic
    cannot take one, of tens of thousands of rows, it is sent without their values: they have failed.

    Raises RefusedBatchError where the topic takes less than it said: `sizes` know it then, so the next time all goes.
    """
    sending = Sending(producer, sizes)
    batches: dict[int, Any] = {}
    for given, partition in zip(events, partitions_of([event.key for event in events], partitions), strict=True):
        event, size = given, len(given.value)
        if not sizes.fits(topic, event.key, event.value, event.headers):
            event = too_large(event, f"the result has {size} bytes, and {sizes.sentence(topic)}")
            puid = event.key.decode(errors="replace")
            log.warning(
                "puid=%s: the result of a monitor has %d bytes: its rows count as failed. %s",
                puid, size, sizes.sentence(topic),
            )  # fmt: skip
        fields = {"timestamp": stamp, "key": event.key, "value": event.value, "headers": [*event.headers]}
        batch = batches.get(partition)
        if batch is not None and batch.append(**fields) is not None:
            continue
        if batch is not None:
            await sending.send(batch, topic, partition)
        batch = batches[partition] = producer.create_batch(sizes.of(topic))
        fits = batch.append(**fields)
        assert fits is not None, "a record does not fit an empty batch"
    for partition, batch in batches.items():
        await sending.send(batch, topic, partition)
    await sending.settle()


async def _first_offset(consumer: GroupConsumer, tp: TopicPartition) -> int:
    """At a first start what is in the log is scored."""
    return (await consumer.beginning_offsets([tp]))[tp]
