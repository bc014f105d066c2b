"""A real Kafka, with the real clients, answers what the tests' Kafka in memory is held to."""

import asyncio
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewTopic, RecordsToDelete

from app.settings import load_settings
from app.worker.kafka.consumer import open_consumer
from app.worker.kafka.producer import open_producer
from app.worker.kafka.topics import admin_client
from tests.live.servers import Kafka
from tests.memory_kafka.contract import QUESTIONS, World


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.__name__)
def test_a_real_kafka(kafka: Kafka, question: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    name = f"contract-{uuid.uuid4().hex[:8]}"
    settings = load_settings(kafka_bootstrap_servers=kafka.bootstrap, app_id=name, session_timeout="3s")

    async def delete_before(tp: TopicPartition, offset: int) -> None:
        async with admin_client(settings) as admin:
            await admin.delete_records({tp: RecordsToDelete(before_offset=offset)})

    async def ask() -> None:
        async with admin_client(settings) as admin:
            await admin.create_topics([NewTopic(name, 2, 1)])
            while not _is_led(*await admin.describe_topics([name])):  # noqa: ASYNC110 - a broker tells nobody
                await asyncio.sleep(0.1)
        await question(World(settings, name, open_consumer, open_producer, delete_before))

    asyncio.run(ask())


def _is_led(topic: dict[str, Any]) -> bool:
    leaders = [partition["leader"] for partition in topic["partitions"]]
    return topic["error_code"] == 0 and len(leaders) == 2 and min(leaders) >= 0
