"""Producers: that of a partition, which is transactional, and those whose events may be written again."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from app.settings import Settings
from app.worker.kafka.client import client_options, forbid_topic_creation

log = logging.getLogger(__name__)

#: Below the broker's default `max.message.bytes`, with room for the batch's own header.
BATCH_BYTES: Final = 900_000

#: (settings, the partition whose transactional producer it is, or None for an idempotent one) → a started producer.
OpenProducer = Callable[[Settings, int | None], Awaitable[AIOKafkaProducer]]


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
    producer = AIOKafkaProducer(**client_options(settings), max_batch_size=BATCH_BYTES, **options)
    forbid_topic_creation(producer.client)
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
            await producer.stop()
        stopped = True
    except (TimeoutError, KafkaError, AssertionError, OSError) as error:
        log.debug("producer closed hard: %r", error)
    finally:
        task = producer._sender.sender_task
        if task is not None:
            task.cancel()  # what it could not send it must not send later
        if not stopped:
            await producer.client.close()
