"""The whole: a broker, a network, and the two functions that open clients."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from app.settings import Settings
from app.worker.kafka.client import BrokersError
from app.worker.kafka.consumer import RecordConsumer
from app.worker.kafka.producer import BATCH_BYTES, close_producer
from tests.memory_kafka.broker import Broker
from tests.memory_kafka.consumer import MemoryConsumer
from tests.memory_kafka.groups import Assignor, in_turn
from tests.memory_kafka.network import Client, Network, Weather
from tests.memory_kafka.producer import MemoryProducer

#: What a consumer can be told that makes no difference here.
_IGNORED = ("max_partition_fetch_bytes", "check_crcs", "metadata_max_age_ms", "max_poll_interval_ms")


Answer = TypeVar("Answer")


class MemoryKafka:
    """A Kafka with some topics, given with their partition counts. Use it in one event loop."""

    def __init__(
        self, topics: Mapping[str, int] | None = None, weather: Weather | None = None, assign: Assignor = in_turn
    ) -> None:
        self.weather = weather or Weather()
        self.network = Network(self.weather)
        self.broker = Broker(self.network, assign)
        self.clients: list[Client] = []
        for topic, partitions in (topics or {}).items():
            self.broker.create(topic, partitions)

    def client(self, name: str, request_timeout: float) -> Client:
        """A new connection."""
        client = Client(name, len(self.clients), request_timeout)
        self.clients.append(client)
        return client

    async def ask(self, look: Callable[[], Answer]) -> Answer:
        """What an admin client sees of the broker. Raises `BrokersError` where it hears nothing, as Tally's does."""
        client = self.client("admin", 40.0)
        try:
            answer: Answer = await self.network.call(client, "metadata", look)
        except (KafkaError, OSError, TimeoutError) as error:
            raise BrokersError(f"Nobody answers: {error!r}.") from None
        finally:
            client.closed = True
        return answer

    async def ask_ids(self) -> Mapping[str, str]:
        """The ids of all topics."""
        return await self.ask(lambda: dict(self.broker.ids))

    async def open_consumer(self, settings: Settings, **options: Any) -> RecordConsumer:
        """As `open_consumer` of `app.worker.kafka.consumer`."""
        kept = {name: value for name, value in options.items() if name not in _IGNORED}
        # aiokafka's consumers wait 40 s for an answer, which none but a lost request takes.
        client = self.client("consumer", kept.pop("request_timeout_ms", 40_000) / 1000)
        consumer = MemoryConsumer(self.network, self.broker, client, **kept)
        try:
            await consumer.start()
        except BaseException:
            await consumer.stop()
            raise
        return cast("RecordConsumer", consumer)

    async def open_producer(self, settings: Settings, partition: int | None = None) -> AIOKafkaProducer:
        """As `open_producer` of `app.worker.kafka.producer`."""
        return cast("AIOKafkaProducer", await self.memory_producer(settings, partition))

    async def memory_producer(self, settings: Settings, partition: int | None = None) -> MemoryProducer:
        """The same, as what it is."""
        transactional = partition is not None
        producer = MemoryProducer(
            self.network,
            self.broker,
            self.client("producer", settings.session_timeout if transactional else 40.0),
            transactional_id=f"{settings.app_id}-{partition}" if transactional else None,
            transaction_timeout=settings.session_timeout,
            retry_backoff=0.02 if transactional else 0.05,
            batch_bytes=BATCH_BYTES,
        )
        try:
            async with asyncio.timeout(settings.session_timeout * 2):
                await producer.start()
        except BaseException:
            await close_producer(cast("AIOKafkaProducer", producer))
            raise
        return producer
