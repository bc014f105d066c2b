"""A worker of a history: the real lane and the real feed, and a membership in place of Faust's."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from app.core.counts.view import View
from app.core.measures.readings import Readings
from app.core.rules import Rulebook
from app.settings import Settings
from app.worker.clock import Clock
from app.worker.first_rows import FirstRows
from app.worker.kafka.client import SetupError
from app.worker.kafka.metadata import TopicFacts
from app.worker.kafka.sizes import Sizes
from app.worker.kafka.watch import TopicWatch
from app.worker.lane.feed import Feed
from app.worker.lane.lane import Lane
from app.worker.store.disk import DiskStores
from tests.memory_kafka import MemoryKafka
from tests.simulation.loop import KILLED, Process, SimulatedLoop
from tests.simulation.story import rules

log = logging.getLogger(__name__)

STARTING: Final = "starting"
RUNNING: Final = "running"
STOPPING: Final = "stopping"
ENDED: Final = "ended"


class Watch(TopicWatch):
    """The watch over the topics of the Kafka in memory."""

    def __init__(
        self,
        kafka: MemoryKafka,
        settings: Settings,
        begin_anew: Callable[[str, str], None],
        fail: Callable[[SetupError], None],
    ) -> None:
        super().__init__(settings, _facts(kafka), Sizes(), begin_anew, fail)
        self._kafka = kafka

    async def _ask(self) -> dict[str, TopicFacts]:
        try:
            return await self._kafka.ask(lambda: _facts(self._kafka))
        except KafkaError as error:
            raise SetupError(repr(error)) from None


def _facts(kafka: MemoryKafka) -> dict[str, TopicFacts]:
    broker = kafka.broker
    return {topic: TopicFacts(len(logs), broker.ids[topic]) for topic, logs in broker.topics.items()}


class Worker:
    """What `Worker` of `app.worker.build` puts together, as far as it concerns the lane, in a process of its own."""

    def __init__(
        self,
        loop: SimulatedLoop,
        name: str,
        kafka: MemoryKafka,
        settings: Settings,
        partitions: int,
        wall: Callable[[], float],
        stores: DiskStores | None = None,
    ) -> None:
        self.process: Process = loop.process(name)
        self.stores = stores
        self.state = STARTING
        self.jump = 0.0  # by how many seconds its clock is wrong
        self.errors: list[BaseException] = []
        self.rulebook = Rulebook(rules())
        self.view = View(settings.clock, settings.windows)
        self.lane = Lane(
            settings,
            self.rulebook,
            partitions,
            rejoin=self._rejoin,
            fail=self._fail,
            ask_ids=kafka.ask_ids,
            open_consumer=kafka.open_consumer,
            open_producer=kafka.open_producer,
            clock=Clock(lambda: wall() + self.jump, wall),
            stores=stores,
        )
        self.feed = Feed(
            self.view, settings, partitions, self.lane.stats, self.lane.clock, open_consumer=kafka.open_consumer
        )
        self.first_rows = FirstRows(Readings(self.view, self.rulebook, 200), self.lane, self.feed)
        self.watch = Watch(kafka, settings, self.lane.begin_anew, self._fail)
        self._kafka = kafka
        self._settings = settings
        self._member: Any = None
        self._tasks: list[asyncio.Task[None]] = []
        self.process.spawn(self._start())

    @property
    def lives(self) -> bool:
        """Whether the process has not ended, whatever it does."""
        return self.process.state is not KILLED and self.state != ENDED

    def stop(self) -> None:
        """SIGTERM."""
        if self.state == RUNNING:
            self.state = STOPPING
            self.process.spawn(self._stop())

    async def _start(self) -> None:
        """Worker.on_start. A worker that finds no broker ends, and is started again by whoever runs it."""
        settings = self._settings
        try:
            await self.lane.start()
            self._member = await self._kafka.open_consumer(
                settings,
                group_id=settings.app_id,
                fetches=False,
                session_timeout_ms=settings.session_timeout * 1000,
                heartbeat_interval_ms=settings.session_timeout * 100,
                rebalance_timeout_ms=settings.session_timeout * 4000,
            )
        except KafkaError as error:
            log.warning("cannot start: %r", error)
            self._exit()
            return
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(part.run()) for part in (self.feed, self.watch, self.first_rows)]
        self._member.subscribe(settings.topics, listener=self)
        self.state = RUNNING

    async def _stop(self) -> None:
        """Worker.on_stop: the lane gives everything up before the group is left."""
        await self.lane.stop()
        await self._member.stop()
        self._exit()

    def _exit(self) -> None:
        self.state = ENDED
        self.process.kill()

    def _rejoin(self) -> None:
        self._member.rejoin()

    def _fail(self, error: SetupError) -> None:
        self.errors.append(error)
        self._exit()

    # -- what MembershipConsumer and DeclaredTables do ----------------------------------------------------------------

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """A rebalance begins."""
        await self.lane.revoke()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """A rebalance is over."""
        await self.lane.assign({tp.partition for tp in assigned})

    def failure(self) -> BaseException | None:
        """What would have ended the process."""
        return self.errors[0] if self.errors else self.lane.failure()
