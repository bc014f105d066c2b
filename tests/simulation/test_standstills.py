"""For how long at most a partition commits nothing while workers come, go and stand still. Time passes at once."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from itertools import count, pairwise
from typing import Final

import pytest
from aiokafka import TopicPartition

from app.core.join.position import POSITION_KEY
from app.core.wire.partitioning import partition_of
from app.settings import load_settings
from tests.builders import START, a_request
from tests.memory_kafka import MemoryKafka, Weather
from tests.simulation.loop import SimulatedLoop
from tests.simulation.worker import RUNNING, Worker

PARTITIONS: Final = 6
SETTINGS: Final = load_settings(
    request_topic="request", response_topic="response", feedback_topic="feedback", session_timeout="10s"
)
#: An epoch, and what it takes to commit one.
MOST_SECONDS: Final = 1.0


class Fine(Weather):
    """All goes well, by the clock of the loop."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop

    def now(self) -> float:
        return START + self._loop.time()


class Job:
    """Some workers, and a hundred events a second."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self.loop = loop
        self.wall = Fine(loop).now
        self.kafka = MemoryKafka(dict.fromkeys(sorted(SETTINGS.own_topics), PARTITIONS), Fine(loop))
        self.workers: list[Worker] = []
        self.stays = set(range(PARTITIONS))
        self._owned: dict[int, Worker] = {}

    async def start(self) -> Worker:
        """One worker more; returned once all share the partitions."""
        worker = Worker(self.loop, f"worker {len(self.workers)}", self.kafka, SETTINGS, PARTITIONS, self.wall)
        self.workers.append(worker)
        await self.shared(*self.workers)
        return worker

    async def shared(self, *workers: Worker) -> None:
        """Wait until these have all partitions among them, and each has some; what has moved does not stay."""
        while True:
            await asyncio.sleep(0.1)
            owned = {number: it for it in workers for number in it.lane.running}
            if len(owned) == PARTITIONS and all(it.state == RUNNING and it.lane.ready for it in workers):
                break
        self.stays -= {number for number, owner in self._owned.items() if owned[number] is not owner}
        self._owned = owned

    async def write(self) -> None:
        for number in count():
            event = a_request(puid=f"{number}").read()
            partition = partition_of(b"%d" % number, PARTITIONS)
            self.kafka.broker.append(TopicPartition("request", partition), [event])
            await asyncio.sleep(0.01)

    def standstill(self, number: int, since: float) -> float:
        """The longest time without a committed epoch."""
        log = self.kafka.broker.log_of(TopicPartition(SETTINGS.exchanges_topic, number))
        times = [record.timestamp / 1000 for record in log.committed() if record.key == POSITION_KEY]
        ends = [since, *(at for at in times if at > since), self.wall()]
        return max(later - earlier for earlier, later in pairwise(ends))


async def a_third_comes_and_goes(job: Job) -> None:
    third = await job.start()
    await asyncio.sleep(2)
    third.stop()
    await job.shared(*job.workers[:2])


async def a_third_comes_while_one_stands_still(job: Job) -> None:
    """The group waits for it until its session is over."""
    first, second = job.workers
    second.process.stop()
    third = Worker(job.loop, "third", job.kafka, SETTINGS, PARTITIONS, job.wall)
    await job.shared(first, third)
    second.process.go_on()
    await job.shared(first, second, third)


@pytest.mark.parametrize("act", [a_third_comes_and_goes, a_third_comes_while_one_stands_still])
def test_what_stays_commits_on(act: Callable[[Job], Awaitable[None]]) -> None:
    loop = SimulatedLoop(random.Random(5))

    async def whole() -> None:
        job = Job(loop)
        writing = loop.create_task(job.write())
        await job.start()
        await job.start()
        await asyncio.sleep(2)
        job.stays = set(range(PARTITIONS))
        since = job.wall()
        await act(job)
        await asyncio.sleep(1)
        writing.cancel()
        stood = {number: job.standstill(number, since) for number in sorted(job.stays)}
        assert stood
        assert max(stood.values()) < MOST_SECONDS, stood

    try:
        loop.run(whole(), most_steps=2_000_000)
    finally:
        loop.bury()
