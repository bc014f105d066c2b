"""The feed of the merged view: every worker reads all of the panes topic, committed records only, without a group."""

import asyncio
from typing import Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from app.core.counts.view import UnreadableError, View
from app.core.stats import Stats
from app.core.wire.records import Record
from app.settings import Settings
from app.worker.clock import Clock
from app.worker.ending import named
from app.worker.kafka.consumer import OpenConsumer, Stranger, open_consumer
from app.worker.lane.loading import report_stranger
from app.worker.lane.upkeep import pauses
from app.worker.troubles import Troubles

_LONGEST_PAUSE: Final = 5.0


class Feed:
    """Keeps a view up to date. `at_end` is set once the topic has been read to the end that it had at the start.

    `clock` hears what time the brokers have: at its end the feed reads each epoch as soon as it has committed.
    """

    def __init__(
        self,
        view: View,
        settings: Settings,
        partitions: int,
        stats: Stats,
        clock: Clock,
        *,
        open_consumer: OpenConsumer = open_consumer,
    ) -> None:
        self.troubles = Troubles()
        self._view = view
        self._settings = settings
        self._partitions = partitions
        self._stats = stats
        self._clock = clock
        self._open_consumer = open_consumer
        self.at_end = asyncio.Event()

    async def run(self) -> None:
        """Read until cancelled. A broker that goes away is waited for; then all is read again.

        From nothing, since a row may have gone meanwhile, and even the record that said so.
        """
        waits = pauses(1)
        while True:
            try:
                await self._read()
            except (KafkaError, OSError, TimeoutError) as error:
                if self.at_end.is_set():
                    waits = pauses(1)
                topic = self._settings.panes_topic
                self.troubles.begin(topic, f"Topic {topic} cannot be read; it is tried again ({named(error)}).")
                self.at_end.clear()
                for number in range(self._partitions):
                    self._view.forget(number)
                await asyncio.sleep(min(next(waits), _LONGEST_PAUSE))

    async def _read(self) -> None:
        consumer = await self._open_consumer(
            self._settings,
            changelogs=True,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=4 << 20,
            fetch_max_wait_ms=500,
        )
        try:
            tps = [TopicPartition(self._settings.panes_topic, number) for number in range(self._partitions)]
            consumer.assign(tps)
            await consumer.seek_to_beginning(*tps)
            ends = await consumer.end_offsets(tps)
            heard = 0
            while True:
                await consumer.wait_for_records(tps, 0.5)
                for tp in tps:
                    while records := consumer.take(tp, 500):
                        self._take(tp, records)
                        await asyncio.sleep(0)
                if not self.at_end.is_set():
                    heard = consumer.marked_at
                    if all((consumer.next_offset(tp) or 0) >= ends[tp] for tp in tps):
                        self.at_end.set()
                        self._clock.hear_old(heard / 1000)
                        self.troubles.end(self._settings.panes_topic)
                elif consumer.marked_at > heard:
                    heard = consumer.marked_at
                    self._clock.hear(heard / 1000)
        finally:
            await consumer.stop()

    def _take(self, tp: TopicPartition, records: list[Record]) -> None:
        take = self._view.take
        for record in records:
            if type(record) is Stranger:
                report_stranger(self._stats, tp, record)
            elif record.key is not None:
                try:
                    take(tp.partition, record.key, record.value)
                except UnreadableError:
                    report_stranger(self._stats, tp, record)
