"""Monitors in a history: beside each worker the real runner, in a process of its own, begun again where it dies.

In the place of the user's code is a function of the row (`said_of`).
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from aiokafka import TopicPartition

from app.core.monitors import Code
from app.core.rules import Rulebook
from app.worker.monitors.runner import Runner
from app.worker.monitors.scorer import Asked, Value
from tests.simulation.loop import KILLED, Process
from tests.simulation.story import MONITOR, RULES, said_of

if TYPE_CHECKING:
    from tests.simulation.history import History
    from tests.simulation.worker import Worker

log = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 0.2


class Scoring:
    """What stands for `MonitorProcess`: it takes a moment, in which its runner can die."""

    def __init__(self, name: str, code: Code) -> None:
        pass

    async def score(self, asked: Sequence[Asked]) -> list[list[Value]]:
        """What is said of the rows of each answer."""
        await asyncio.sleep(0.01)
        return [
            [said_of(row, answer[0]) for row, answer in zip(inputs.rows, outputs.rows, strict=True)]
            for inputs, outputs in asked
        ]

    def close(self) -> None:
        """There is nothing to end."""


class Monitors:
    """The runners of a history, one for each worker that lives."""

    def __init__(self, history: "History") -> None:
        self._history = history
        self._processes: dict[Worker, Process] = {}

    async def keep_running(self) -> None:
        """Start a runner where a worker has none, and end it where its worker has ended."""
        history = self._history
        while True:
            for worker in history.workers:
                process = self._processes.get(worker)
                if worker.lives and (process is None or process.state is KILLED):
                    process = self._processes[worker] = history.loop.process(f"monitors of {worker.process}")
                    process.spawn(self._run())
                elif not worker.lives and process is not None and process.state is not KILLED:
                    process.kill()
            await asyncio.sleep(_LOOK_SECONDS)

    async def _run(self) -> None:
        history = self._history
        kafka, settings = history.kafka, history.settings
        runner = Runner(
            settings,
            Rulebook(RULES),
            MONITOR,
            open_consumer=kafka.open_consumer,
            open_producer=kafka.open_producer,
            wall=history.wall,
        )
        runner.start()
        assert runner.task is not None
        await runner.task

    def living(self) -> list[Process]:
        """The processes of runners that have not ended."""
        return [process for process in self._processes.values() if process.state is not KILLED]

    def unrest(self) -> str:
        """What they have still to read, of the log of joined records."""
        history = self._history
        topic = history.settings.log_topic
        assert topic is not None
        offsets = history.broker.group(history.settings.monitors_group(MONITOR)).offsets
        for number, partition in enumerate(history.broker.topics[topic]):
            if (place := offsets.get(TopicPartition(topic, number), 0)) < partition.end:
                return f"monitors have scored {topic}-{number} to {place} of {partition.end}"
        return ""
