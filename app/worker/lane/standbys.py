"""Standbys: stores of partitions that others own, kept up to date from their changelogs, so that a takeover is short.

The group says which these are, and gives a partition whose owner is gone to who stands by for it. A standby knows what
has committed and no more. Where the worker is given the partition, its store is closed and loaded as one that was left
by an earlier owner: the last owner is fenced, and what is lacking is read.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from app.core.join.store import LoadedStore, StoreError
from app.settings import Settings
from app.worker.ending import named
from app.worker.kafka.client import SetupError
from app.worker.kafka.consumer import OpenConsumer, RecordConsumer, Stranger
from app.worker.lane.loading import AskIds
from app.worker.lane.upkeep import pauses
from app.worker.store.stores import Stores

log = logging.getLogger(__name__)

#: So many records are taken at once: the lane waits that long.
_LIST: Final = 1_000
_TIDY_SECONDS: Final = 60.0


class Standbys:
    """The partitions that this worker stands by for. `now` is the clock by which exchanges expire."""

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        *,
        ask_ids: AskIds,
        open_consumer: OpenConsumer,
        now: Callable[[], float],
    ) -> None:
        #: By partition how many records of its changelog its store lacks, as far as is known.
        self.lags: dict[int, int] = {}
        #: Why they are not up to date, where something is wrong.
        self.trouble: str | None = None
        self._settings = settings
        self._stores = stores
        self._ask_ids = ask_ids
        self._open_consumer = open_consumer
        self._now = now
        self._numbers: set[int] = set()
        self._task: asyncio.Task[None] | None = None

    def failure(self) -> BaseException | None:
        """What has ended the task, if anything has."""
        task = self._task
        return task.exception() if task is not None and task.done() and not task.cancelled() else None

    async def keep(self, numbers: set[int]) -> None:
        """Stand by for these partitions and no others: the stores of the others are closed then."""
        if numbers == self._numbers:
            return
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self._numbers = numbers
        self.lags, self.trouble = {}, None
        if numbers:
            self._task = asyncio.get_running_loop().create_task(self._run(sorted(numbers)))

    async def _run(self, numbers: list[int]) -> None:
        """Follow the changelogs until cancelled; what goes wrong is tried again."""
        waits = pauses(1)
        while True:
            try:
                await self._follow(numbers)
            except (KafkaError, StoreError, SetupError, OSError, TimeoutError, AssertionError) as error:
                self.trouble = (
                    f"The standbys (TALLY_STANDBYS) of partitions {', '.join(map(str, numbers))} are not kept up to "
                    f"date; it is tried again ({named(error)}). Nothing is lost, but a takeover would take longer."
                )
                self.lags = {}
                log.warning("%s", self.trouble)
            await asyncio.sleep(next(waits))

    async def _follow(self, numbers: list[int]) -> None:
        settings = self._settings
        stores: dict[TopicPartition, LoadedStore] = {}
        consumer = await self._open_consumer(
            settings,
            changelogs=True,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=1 << 20,
            fetch_max_wait_ms=500,
        )
        try:
            topic_id = (await self._ask_ids()).get(settings.exchanges_topic)
            for number in numbers:
                stores[TopicPartition(settings.exchanges_topic, number)] = self._stores.open(number, topic_id)
                await asyncio.sleep(0)
            filling = await self._begin(consumer, stores, topic_id)
            tidied = self._now()
            while True:
                await consumer.wait_for_records([*stores], 0.5)
                for tp, store in stores.items():
                    await self._take(consumer, tp, store)
                    place = consumer.next_offset(tp) or 0
                    if tp in filling and place >= filling[tp]:
                        del filling[tp]
                        await store.loaded()
                    self.lags[tp.partition] = max(0, (consumer.end(tp) or 0) - place)
                    if self._now() > tidied + _TIDY_SECONDS and tp not in filling:
                        await store.tidy(self._now() - settings.exchange_retention)
                    await asyncio.sleep(0)
                if self._now() > tidied + _TIDY_SECONDS:
                    tidied = self._now()
                if not filling:
                    self.trouble = None
        finally:
            for store in stores.values():
                store.close()
            await consumer.stop()

    async def _begin(
        self, consumer: RecordConsumer, stores: dict[TopicPartition, LoadedStore], topic_id: str | None
    ) -> dict[TopicPartition, int]:
        """Point the consumer at where stores stand. Returns where the changelogs end now: filled to there they are
        whole.
        """
        tps = [*stores]
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        begins = await consumer.beginning_offsets(tps)
        ends: dict[TopicPartition, int] = dict(await consumer.end_offsets(tps))
        for tp, store in list(stores.items()):
            if store.place and begins[tp] <= store.place <= ends[tp]:
                consumer.seek(tp, store.place)
            elif store.place:
                why = f"it stands at offset {store.place}, and {tp.topic} goes from {begins[tp]} to {ends[tp]}"
                stores[tp] = self._stores.open_anew(tp.partition, topic_id, store, why)
        return ends

    async def _take(self, consumer: RecordConsumer, tp: TopicPartition, store: LoadedStore) -> None:
        """Take what has been fetched of one changelog. What no worker has written is left out, as by who loads it."""
        while records := consumer.take(tp, _LIST):
            changes = {record.key: record.value for record in records if record.key and type(record) is not Stranger}
            if changes:
                await store.load(changes, consumer.next_offset(tp) or 0)
            await asyncio.sleep(0)
