"""How the commands reach Kafka: quietly, for a bounded time, and with a sentence where it does not work."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

from app.settings import Settings
from app.worker.kafka.client import SetupError
from app.worker.kafka.metadata import TopicFacts
from app.worker.kafka.topics import admin_client, describe_cluster

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work. What aiokafka logs on the way is said by the command's own sentence.

    In uvloop, which a signal always wakes. In asyncio's own loop one that comes just before it begins to wait is heard
    when something else happens: for Ctrl-C that may be never.
    """
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


async def require_topic(settings: Settings, name: str) -> TopicFacts:
    """What the brokers say of a topic. Raises `SetupError` where it does not exist."""
    async with admin_client(settings) as admin:
        facts = (await describe_cluster(admin, [name])).topics.get(name)
    if facts is None:
        hint = "run `tally topics --create`" if name in settings.topics else "create it first"
        raise SetupError(f"Topic {name} does not exist: {hint}.")
    return facts
