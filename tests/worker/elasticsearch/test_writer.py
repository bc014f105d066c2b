"""The document writer and its group: what is on its way when a rebalance begins is given up, and made again."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest
from aiokafka import TopicPartition

from app.core.rules import Rulebook
from app.core.stats import Stats
from app.core.wire.records import Record
from app.settings import load_settings
from app.worker.elasticsearch import writer as documents
from app.worker.elasticsearch.writer import DocumentWriter
from tests.builders import a_request, run

TP: Final = TopicPartition("inference-log", 0)
LOG: Final = [
    Record(offset, 0, key, value) for offset, (key, value) in enumerate(run([a_request()], [], logs=True).logged)
]


class Consumer:
    """A member of a group of one."""

    made: Final[list["Consumer"]] = []
    committed = 0

    def __init__(self, **_: Any) -> None:
        self.made.append(self)
        self._place = Consumer.committed
        self._coordinator = self
        self._client = self

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    def check_errors(self) -> None:
        pass

    def subscribe(self, _: Any, listener: DocumentWriter) -> None:
        listener.on_partitions_assigned([TP])

    def rejoined(self) -> None:
        """The partitions begin at their committed offsets."""
        self._place = Consumer.committed

    def assignment(self) -> set[TopicPartition]:
        return {TP}

    async def wait_for_records(self, _: Any, seconds: float) -> None:
        await asyncio.sleep(seconds / 10)

    def take(self, _: Any, most: int) -> list[Record]:
        some = LOG[self._place : self._place + most]
        self._place += len(some)
        return some

    def next_offset(self, _: Any) -> int:
        return self._place

    def end(self, _: Any) -> int:
        return len(LOG)

    async def commit(self, places: dict[TopicPartition, int]) -> None:
        Consumer.committed = places[TP]


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def test_a_rebalance_while_elasticsearch_is_away_does_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    Consumer.made.clear()
    Consumer.committed = 0
    monkeypatch.setattr(documents, "RecordConsumer", Consumer)
    away = asyncio.Event()
    asked = []

    async def test() -> None:
        writer = DocumentWriter(
            load_settings(elasticsearch_url="http://127.0.0.1:1", session_timeout=1.0), Rulebook(), Stats()
        )

        async def prepare(_: Any) -> None:
            asked.append(time.monotonic())
            await away.wait()

        async def write(batch: Any, _: Any) -> None:
            writer.results["written"] += len(batch.steps)

        instead: Callable[..., Awaitable[None]] = prepare
        monkeypatch.setattr(writer._elasticsearch, "prepare", instead)
        monkeypatch.setattr(writer._landing, "write", write)
        writer.start()
        await until(lambda: bool(asked))
        await writer.on_partitions_revoked([TP])
        Consumer.made[-1].rejoined()
        writer.on_partitions_assigned([TP])
        assert writer.backlog() == 1
        await until(lambda: len(asked) > 1)
        away.set()
        await until(lambda: Consumer.committed == len(LOG))
        await until(lambda: writer.backlog() == 0)
        assert writer.results == {"written": 1}
        assert len(Consumer.made) == 1
        await writer.stop()

    asyncio.run(test())
