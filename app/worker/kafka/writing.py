"""A producer for one piece of work: of a command, or of a request."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import ClusterAuthorizationFailedError, KafkaError

from app.settings import Settings
from app.worker.kafka.client import ACLS_HINT, SetupError, client_options, prepare_client, unreachable
from app.worker.kafka.producer import close_producer


@contextlib.asynccontextmanager
async def open_producer(settings: Settings, **options: Any) -> AsyncIterator[AIOKafkaProducer]:
    """An idempotent producer that waits for all replicas."""
    producer = AIOKafkaProducer(
        **client_options(settings), acks="all", enable_idempotence=True, request_timeout_ms=30_000, **options
    )
    prepare_client(producer.client)
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
