"""Events posted to the worker's port. Kafka is a stand-in, which keeps what it is sent and acknowledges as told."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from aiokafka.errors import KafkaConnectionError
from aiokafka.producer.message_accumulator import BatchBuilder

from app.core.dialects.keeping import NO_SEGMENTS
from app.core.stats import Stats
from app.settings import load_settings
from app.worker.http import api as http
from app.worker.http import publisher
from app.worker.http.publisher import Publisher
from app.worker.kafka.metadata import LARGEST_BATCH, TopicFacts
from app.worker.kafka.producer import BATCH_BYTES
from app.worker.kafka.sizes import Sizes
from tests.patience import PATIENCE
from tests.worker.http.serving import OnPort
from tests.worker.kafka.scripted import until

NOW = "2026-11-21T07:00:00.250Z"
NOW_MS = 1_795_244_400_250
EVENT = {
    "Ce-Specversion": "1.0",
    "Ce-Id": "1",
    "Ce-Source": "http://:8000/",
    "Ce-Type": "io.seldon.serving.inference.response",
    "Ce-Time": "2026-11-21T07:00:00.123456Z",
    "Ce-Requestid": "p-1",
    "Ce-Inferenceservicename": "iris",
    "Ce-Namespace": "seldon",
    "Ce-Endpoint": "default",
    "Ce-Modelid": "classifier",
    "Content-Type": "application/json",
}
BODY = b'{"data": {"ndarray": [[0.1, 0.9]]}}\n'
SELDON_FEEDBACK = "/seldon/models/iris/api/v1.0/feedback"
PUID = {"Seldon-Puid": "p-1"}
BATCH = {"Content-Type": "application/cloudevents-batch+json"}


class FakeProducer:
    """What is sent is kept, and acknowledged as the test says."""

    def __init__(self, kafka: "FakeKafka") -> None:
        self.kafka = kafka
        self.is_open = False
        self.client = SimpleNamespace(close=self.stop)

    async def start(self) -> None:
        if self.kafka.is_away:
            raise KafkaConnectionError
        self.is_open = True

    async def stop(self) -> None:
        self.is_open = False

    async def send(self, topic: str, **record: Any) -> "asyncio.Future[None]":
        self.kafka.sent.append({"topic": topic} | record | {"headers": dict(record["headers"])})
        self.kafka.arrived.release()
        return asyncio.ensure_future(self.kafka.respond())

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(BATCH_BYTES, 0)

    async def partitions_for(self, topic: str) -> set[int]:
        return {0, 1}

    async def send_batch(self, batch: BatchBuilder, topic: str, *, partition: int) -> "asyncio.Future[None]":
        self.kafka.alone.append((topic, partition, batch.record_count()))
        return asyncio.ensure_future(self.kafka.respond_to_one())


class FakeKafka:
    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.alone: list[tuple[str, int, int]] = []  # batches: topic, partition, records
        self.producers: list[FakeProducer] = []
        self.arrived = asyncio.Semaphore(0)
        self.is_away = False
        self.respond: Callable[[], Awaitable[None]] = acknowledge
        self.respond_to_one: Callable[[], Awaitable[None]] = acknowledge

    def connect(self) -> FakeProducer:
        self.producers.append(FakeProducer(self))
        return self.producers[-1]

    def keys(self) -> list[bytes]:
        return [record["key"] for record in self.sent]


async def acknowledge() -> None:
    pass


async def never() -> None:
    await asyncio.Event().wait()


def fail(error: Exception) -> Callable[[], Awaitable[None]]:
    async def respond() -> None:
        raise error

    return respond


class Tally:
    """The worker's HTTP interface on a port of its own."""

    def __init__(
        self, client: "TestClient[web.Request, web.Application]", kafka: FakeKafka, worker: Any, publisher: Publisher
    ) -> None:
        self.kafka = kafka
        self.worker = worker
        self.publisher = publisher
        self._client = client

    async def post(self, path: str, body: Any, headers: dict[str, str]) -> tuple[int, Any, Any]:
        """The answer's status, its content, and its headers."""
        async with self._client.post(path, data=body, headers=headers) as reply:
            text = await reply.read()
            return reply.status, json.loads(text) if text else None, reply.headers

    async def raw(self, request: bytes) -> bytes:
        """What is answered to these bytes."""
        reader, writer = await asyncio.open_connection(self._client.host, self._client.port)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        return answer

    async def event(self, puid: str = "p-1", body: Any = BODY, **changes: str) -> tuple[int, Any, Any]:
        return await self.post("/", body, EVENT | {"Ce-Requestid": puid} | changes)

    async def sent(self, records: int) -> None:
        """Wait until so many records are on their way."""
        for _ in range(records):
            await self.kafka.arrived.acquire()

    async def held(self, size: int) -> None:
        """Wait until what has come, or comes, holds so many bytes."""
        await until(lambda: self.publisher._held == size)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run a story against the interface: `run(story, setting=value)`; `ack_seconds` and `most_bytes` bound it.

    `takes` says what topics take, `segments` whose headers are kept.
    """

    def run_story(story: Callable[[Tally], Awaitable[None]], **changes: Any) -> None:
        bounds = {name: changes.pop(name) for name in ("ack_seconds", "most_bytes") if name in changes}
        facts = {
            topic: TopicFacts(2, "", {LARGEST_BATCH: str(most)}) for topic, most in changes.pop("takes", {}).items()
        }
        kafka = FakeKafka()
        monkeypatch.setattr(http, "Publisher", lambda _, sizes: Publisher(kafka.connect, sizes, **bounds))
        monkeypatch.setattr(publisher, "_PAUSE_SECONDS", 0)
        segments = changes.pop("segments", NO_SEGMENTS)
        settings = load_settings(**{"now": NOW} | changes)
        lane = SimpleNamespace(stats=Stats(), now=lambda: settings.now or time.time())
        worker: Any = SimpleNamespace(running=SimpleNamespace(lane=lane))

        async def serve() -> None:
            api = http.Api(settings, lambda: worker.running, Sizes(facts), segments)
            async with asyncio.timeout(PATIENCE), TestClient(OnPort(api)) as client:
                await story(Tally(client, kafka, worker, api._publisher))
                await api.close()
            assert not any(producer.is_open for producer in kafka.producers)

        asyncio.run(serve())

    return run_story
