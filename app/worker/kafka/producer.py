"""Producers: that of a partition, which is transactional, and those whose events may be written again."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder

from app.settings import Settings
from app.worker.kafka.client import client_options, ends_by_itself, prepare_client

log = logging.getLogger(__name__)

#: The most that a batch of several records has: below the broker's default `max.message.bytes`.
BATCH_BYTES: Final = 900_000

#: (settings, the partition whose transactional producer it is, or None for an idempotent one) → a started producer.
OpenProducer = Callable[[Settings, int | None], Awaitable[AIOKafkaProducer]]


class Producer(AIOKafkaProducer):  # type: ignore[misc]
    """A producer whose batches are each as large as their topic takes: aiokafka's own have one size for all topics."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        prepare_client(self.client)

    def create_batch(self, most_bytes: int = BATCH_BYTES) -> BatchBuilder:
        """An empty batch of at most so many bytes; the first record fits whatever its size."""
        transactional = self._txn_manager is not None and self._txn_manager.transactional_id is not None
        return BatchBuilder(most_bytes, 0, is_transactional=transactional)


async def open_producer(settings: Settings, partition: int | None = None) -> AIOKafkaProducer:
    """A started producer. That of a partition fences its last owner by starting, and aborts what that left open."""
    options = (
        {"acks": "all", "enable_idempotence": True, "retry_backoff_ms": 50}
        if partition is None
        else {
            "transactional_id": f"{settings.app_id}-{partition}",
            "transaction_timeout_ms": int(settings.session_timeout * 1000),
            "request_timeout_ms": int(settings.session_timeout * 1000),
            "retry_backoff_ms": 20,
        }
    )
    producer = Producer(**client_options(settings), max_batch_size=BATCH_BYTES, **options)
    try:
        async with asyncio.timeout(settings.session_timeout * 2):
            await producer.start()
    except BaseException:
        await close_producer(producer)
        raise
    return producer


async def close_producer(producer: AIOKafkaProducer) -> None:
    """Close a producer that may be stuck. Cancelled, it closes it at once, and is cancelled."""
    stopped = False
    try:
        async with asyncio.timeout(2):
            stopped = await ends_by_itself(producer.stop())
    except (TimeoutError, KafkaError, AssertionError, OSError) as error:
        log.debug("producer closed hard: %r", error)
    finally:
        task = producer._sender.sender_task
        if task is not None:
            task.cancel()  # what it could not send it must not send later
        if not stopped:
            await producer.client.close()
