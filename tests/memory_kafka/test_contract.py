"""The Kafka in memory answers as a real one does (tests/live/test_memory_kafka.py asks that)."""

import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from aiokafka import TopicPartition

from app.settings import load_settings
from tests.memory_kafka import MemoryKafka, Weather
from tests.memory_kafka.contract import QUESTIONS, World
from tests.memory_kafka.network import Client, Fate
from tests.simulation.loop import run_virtually


class Breeze(Weather):
    """Everything takes its time, and another one each time."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)

    def fate(self, request: str, client: Client) -> Fate:
        return Fate(self._rng.random() * 0.02, self._rng.random() * 0.02)

    def inside(self, what: str) -> float:
        return self._rng.random() * 0.05


@pytest.mark.parametrize("seed", [None, 1, 2])
@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.__name__)
def test_the_kafka_in_memory(question: Callable[[World], Coroutine[Any, Any, None]], seed: int | None) -> None:
    kafka = MemoryKafka({"topic": 2}, Weather() if seed is None else Breeze(seed))

    async def delete_before(tp: TopicPartition, offset: int) -> None:
        kafka.broker.log_of(tp).delete_before(offset)

    settings = load_settings(app_id="app", session_timeout="3s")
    run_virtually(
        question(World(settings, "topic", kafka.open_consumer, kafka.open_producer, delete_before)), seed or 0
    )
