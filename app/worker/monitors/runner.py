"""The runner: joined records in, results of monitors out, as events of the response topic.

A group of its own reads the log of joined records. What is read is scored in batches, the results are sent, and when
the brokers hold them the offsets are committed: after a crash some rows are scored again, and their results replace
themselves. While it is away, records wait in the log; so do answers for their requests (`app.core.outputs.scoring`).
"""

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import MessageSizeTooLargeError

from app.core.dialects.plain import Event
from app.core.events import RefusedError
from app.core.monitors import Monitor, MonitorSpec
from app.core.outputs.scoring import Answered, Pairs, result_event
from app.core.rules import Rulebook
from app.core.wire.partitioning import partitions_of
from app.settings import Settings
from app.worker.kafka.consumer import OpenConsumer, open_consumer
from app.worker.kafka.group import GroupReader, Taken
from app.worker.kafka.group_consumer import GroupConsumer
from app.worker.kafka.producer import OpenProducer, close_producer, open_producer
from app.worker.monitors.process import MonitorProcess
from app.worker.monitors.scorer import Value

log = logging.getLogger(__name__)

#: Rows that are scored at once, at most, and records that are read at once.
_ROWS: Final = 1000
_LIST: Final = 500
_WAIT_SECONDS: Final = 0.1
#: How often offsets are committed where nothing is scored.
_COMMIT_SECONDS: Final = 1.0


class Runner:
    """Scores the answers of the models of a rulebook that have monitors. Build it in the loop that it runs in."""

    def __init__(
        self,
        settings: Settings,
        rulebook: Rulebook,
        *,
        open_consumer: OpenConsumer = open_consumer,
        open_producer: OpenProducer = open_producer,
    ) -> None:
        assert settings.log_topic is not None
        self.lost: Counter[str] = Counter()
        self._settings = settings
        self._rulebook = rulebook
        self._log_topic = settings.log_topic
        self._open_producer = open_producer
        self._pairs: dict[TopicPartition, Pairs] = {}
        self._read: dict[TopicPartition, int] = {}
        self._processes: dict[Monitor, tuple[MonitorSpec, MonitorProcess]] = {}
        self._committed_at = 0.0
        self._group = GroupReader(
            settings,
            settings.monitors_group,
            "the runner of monitors",
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

    def start(self) -> None:
        """Begin."""
        self._group.start()

    async def stop(self) -> None:
        """Leave the group, and end the processes."""
        await self._group.stop()
        for _, process in self._processes.values():
            process.close()
        self._processes.clear()

    async def _flush(self) -> None:
        """What is read and not committed is read again by whoever has its partition."""
        self._pairs.clear()
        self._read.clear()

    async def _session(self) -> None:
        group, topic = self._group, self._settings.response_topic
        producer = await self._open_producer(self._settings, None)
        self._pairs.clear()
        self._read.clear()
        try:
            partitions = (await group.describe([topic]))[topic].partitions
            await group.subscribe([self._log_topic])
            while True:
                taken = await group.read(_LIST, _WAIT_SECONDS)
                answered = [] if taken is None else self._answers(taken)
                read = dict(self._read)  # of a rebalance meanwhile nothing is left
                if answered:
                    await send(producer, topic, partitions, await self._results(answered))
                if self._read and (answered or time.monotonic() - self._committed_at >= _COMMIT_SECONDS):
                    self._committed_at = time.monotonic()
                    await group.commit(
                        {tp: self._pairs[tp].first_offset(offset) for tp, offset in read.items() if tp in self._read}
                    )
        finally:
            await close_producer(producer)

    def _answers(self, taken: Taken) -> list[Answered]:
        tp, records, next_offset = taken
        pairs = self._pairs.get(tp)
        if pairs is None:
            pairs = self._pairs[tp] = Pairs(self._rulebook)
        found: list[Answered] = []
        for record in records:
            try:
                found += pairs.take(record.offset, record.timestamp, record.value or b"")
            except RefusedError as refused:
                log.warning("topic=%s partition=%d offset=%d: %s", *tp, record.offset, refused.detail)
        if records:
            found += pairs.expire(max(record.timestamp for record in records))
        self._read[tp] = next_offset
        return found

    async def _results(self, answered: Sequence[Answered]) -> list[Event]:
        """The results of all monitors of these answers. Monitors score beside each other."""
        by_monitor: dict[Monitor, list[Answered]] = {}
        for one in answered:
            for monitor in self._rulebook.of(one.identity.leg).monitors:
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
        """What runs a monitor as it is now: another version is another process."""
        known = self._processes.get(monitor)
        if known is None or known[0].version != monitor.spec.version:
            if known is not None:
                known[1].close()
            known = self._processes[monitor] = monitor.spec, MonitorProcess(monitor.spec.name, monitor.code)
        elif known[0] != monitor.spec:
            known = self._processes[monitor] = monitor.spec, known[1]
        return known


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


async def send(producer: AIOKafkaProducer, topic: str, partitions: int, events: Sequence[Event]) -> None:
    """Write events, each to the partition of its key, until the brokers hold them."""
    numbers = partitions_of([event.key for event in events], partitions)
    sent = []
    for event, partition in zip(events, numbers, strict=True):
        try:
            sent.append(await producer.send(topic, event.value, event.key, partition, headers=[*event.headers]))
        except MessageSizeTooLargeError:  # of tens of thousands of rows
            puid, size = event.key.decode(errors="replace"), len(event.value)
            log.warning(
                "puid=%s: the result of a monitor has %d bytes, more than can be sent: it is left out", puid, size
            )
    await asyncio.gather(*sent)


async def _first_offset(consumer: GroupConsumer, tp: TopicPartition) -> int:
    """At a first start what is in the log is scored."""
    return (await consumer.beginning_offsets([tp]))[tp]
