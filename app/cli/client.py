"""How the commands reach Kafka: quietly, for a bounded time, and with a sentence where it does not work."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.errors import ClusterAuthorizationFailedError, KafkaError

from app.settings import Settings
from app.worker.kafka.client import SetupError, client_options, forbid_topic_creation, unreachable
from app.worker.kafka.metadata import TopicFacts
from app.worker.kafka.producer import close_producer
from app.worker.kafka.topics import admin_client, describe_cluster

ACLS_HINT = "`tally topics` lists the ACLs that are needed"

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work. What aiokafka logs on the way is said by the command's own sentence."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    return asyncio.run(work)


@contextlib.asynccontextmanager
async def open_producer(settings: Settings, **options: Any) -> AsyncIterator[AIOKafkaProducer]:
    """An idempotent producer that waits for all replicas."""
    producer = AIOKafkaProducer(
        **client_options(settings), acks="all", enable_idempotence=True, request_timeout_ms=30_000, **options
    )
    forbid_topic_creation(producer.client)
    try:
        try:
            async with asyncio.timeout(30):
                await producer.start()
        except ClusterAuthorizationFailedError:  # so the brokers answer whoever may write to no topic at all
            where = settings.kafka_bootstrap_servers
            raise SetupError(f"This user of {where} may write nothing there: {ACLS_HINT}.") from None
        except (KafkaError, OSError, TimeoutError) as error:
            raise unreachable(settings, error) from None
        yield producer
    finally:
        await close_producer(producer)


async def require_topic(settings: Settings, name: str) -> TopicFacts:
    """What the brokers say of a topic. Raises `SetupError` where it does not exist."""
    async with admin_client(settings) as admin:
        facts = (await describe_cluster(admin, [name])).topics.get(name)
    if facts is None:
        hint = "run `tally topics --create`" if name in settings.topics else "create it first"
        raise SetupError(f"Topic {name} does not exist: {hint}.")
    return facts
