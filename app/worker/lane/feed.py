"""The feed of the merged view: every worker reads all of the panes topic, committed records only, without a group."""

import asyncio
import logging

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from app.core.counts.view import View
from app.settings import Settings
from app.worker.kafka.consumer import OpenConsumer, open_consumer

log = logging.getLogger(__name__)


class Feed:
    """Keeps a view up to date. `at_end` is set once the topic has been read to the end that it had at the start."""

    def __init__(
        self, view: View, settings: Settings, partitions: int, *, open_consumer: OpenConsumer = open_consumer
    ) -> None:
        self._view = view
        self._settings = settings
        self._partitions = partitions
        self._open_consumer = open_consumer
        self.at_end = asyncio.Event()

    async def run(self) -> None:
        """Read until cancelled. A broker that goes away is waited for; then all is read again.

        From nothing, since a row may have gone meanwhile, and even the record that said so.
        """
        while True:
            try:
                await self._read()
            except (KafkaError, OSError) as error:
                log.warning("the feed of counts stopped, reading it again error=%r", error)
                self.at_end.clear()
                for number in range(self._partitions):
                    self._view.forget(number)
                await asyncio.sleep(1)

    async def _read(self) -> None:
        consumer = await self._open_consumer(
            self._settings, auto_offset_reset="earliest", max_partition_fetch_bytes=4 << 20, fetch_max_wait_ms=500
        )
        try:
            tps = [TopicPartition(self._settings.panes_topic, number) for number in range(self._partitions)]
            consumer.assign(tps)
            await consumer.seek_to_beginning(*tps)
            ends = await consumer.end_offsets(tps)
            take = self._view.take
            while True:
                await consumer.wait_for_records(tps, 0.5)
                for tp in tps:
                    while records := consumer.take(tp, 500):
                        for record in records:
                            if record.key is not None:
                                take(tp.partition, record.key, record.value)
                        await asyncio.sleep(0)
                if not self.at_end.is_set() and all((consumer.next_offset(tp) or 0) >= ends[tp] for tp in tps):
                    self.at_end.set()
        finally:
            await consumer.stop()
