"""A lane of one worker on the Kafka in memory, whose time passes at once."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from aiokafka import TopicPartition

from app.core.rules import Rulebook
from app.core.wire.records import Record as Read
from app.settings import Settings, load_settings
from app.worker.clock import Clock
from app.worker.lane.lane import Lane
from app.worker.store.disk import DiskStores
from tests.builders import START, Record
from tests.memory_kafka import Fate, MemoryKafka, Weather
from tests.memory_kafka.network import Client
from tests.patience import PATIENCE
from tests.simulation.loop import run_virtually

SETTINGS: Final = load_settings(
    request_topic="request", response_topic="response", feedback_topic="feedback", session_timeout="1s"
)


class Trouble(Weather):
    """What is told to go wrong with the next requests of a kind."""

    def __init__(self) -> None:
        self.next: dict[str, list[Fate]] = {}

    def fate(self, request: str, client: Client) -> Fate:
        fates = self.next.get(request)
        return fates.pop(0) if fates else Fate()


class Scene:
    """A lane of a worker that nobody else disturbs."""

    def __init__(self, partitions: int = 1, folder: Path | None = None) -> None:
        self.folder = folder
        self.trouble = Trouble()
        topics = dict.fromkeys(SETTINGS.own_topics, partitions)
        self.kafka = MemoryKafka(topics, self.trouble)
        self.rejoins = 0
        self.partitions = partitions
        self.failures: list[Exception] = []
        self.lane = self.new_lane()

    def new_lane(self, settings: Settings = SETTINGS) -> Lane:
        """A lane, of another worker where there was one before."""
        loop = asyncio.get_running_loop()
        return Lane(
            settings,
            Rulebook(),
            self.partitions,
            rejoin=self._rejoin,
            fail=self.failures.append,
            open_consumer=self.kafka.open_consumer,
            open_producer=self.kafka.open_producer,
            ask_ids=self.kafka.ask_ids,
            clock=Clock(lambda: START + loop.time(), loop.time),
            stores=None if self.folder is None else DiskStores(settings, self.folder, 16 << 20),
        )

    def _rejoin(self) -> None:
        self.rejoins += 1

    async def begin(self, *numbers: int) -> None:
        """Start the lane and let it load these partitions."""
        await self.lane.start()
        await self.lane.assign(set(numbers))
        await self.until(lambda: self.lane.ready)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds."""
        async with asyncio.timeout(PATIENCE):
            for _ in iter(holds, True):
                await asyncio.sleep(0.01)

    def write(self, *records: Record, partition: int = 0) -> None:
        """Write requests."""
        self.kafka.broker.append(TopicPartition("request", partition), [record.read() for record in records])

    def stranger(self, topic: str, key: bytes, value: bytes | None) -> None:
        """Somebody writes into a topic of ours."""
        self.kafka.broker.append(TopicPartition(topic, 0), [Read(0, 0, key, value)])

    def is_quiet(self) -> bool:
        """Whether all that has been read is written."""
        return not any(part.has_news or part.committing for part in self.lane.running.values())

    def open_producers(self) -> int:
        """How many producers are connected."""
        return sum(client.name == "producer" and not client.closed for client in self.kafka.clients)


def play(act: Callable[[Scene], Awaitable[Any]], partitions: int = 1, folder: Path | None = None) -> None:
    """Run a scene. Its time passes at once. With a folder its exchanges are on disk there."""

    async def whole() -> None:
        await act(Scene(partitions, folder))

    run_virtually(whole())
