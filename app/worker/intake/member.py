"""The intake's membership in a group of its own, and its questions about topics."""

import asyncio
import logging
from collections.abc import Collection
from functools import partial
from types import MethodType
from typing import Final

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from app.settings import Settings
from app.worker.kafka.client import client_options
from app.worker.kafka.consumer import RecordConsumer, with_globals

log = logging.getLogger(__name__)

_NEVER_MS: Final = 2**31 - 1


class Member(RecordConsumer):
    """A member of the intake's group. Neither its subscription nor its questions create a topic."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(
            **client_options(settings),
            group_id=settings.intake_group,
            isolation_level="read_committed",
            auto_offset_reset="none",
            enable_auto_commit=False,
            check_crcs=False,
            max_partition_fetch_bytes=1 << 20,
            fetch_max_wait_ms=200,
            metadata_max_age_ms=30_000,
            max_poll_interval_ms=_NEVER_MS,  # its records are taken, not polled
            session_timeout_ms=int(settings.session_timeout * 1000),
            heartbeat_interval_ms=int(settings.session_timeout * 100),
            rebalance_timeout_ms=int(settings.session_timeout * 3000),
        )
        # aiokafka asks for the topics that it reads in a way that creates them again after somebody has deleted them.
        ask = partial(MetadataRequest, allow_auto_topic_creation=False)
        update = with_globals(AIOKafkaClient._metadata_update, MetadataRequest=ask)
        self._client._metadata_update = MethodType(update, self._client)

    def check(self) -> None:
        """Raise what has ended the membership, if anything has."""
        self._coordinator.check_errors()

    async def close(self, seconds: float) -> None:
        """Leave the group; where the brokers do not answer in time, without a word."""
        try:
            async with asyncio.timeout(seconds):
                await self.stop()
        except (TimeoutError, KafkaError, OSError) as error:
            log.debug("intake's consumer closed hard: %r", error)
            if self._coordinator is not None:  # else it would join again by itself, and hold partitions unread
                for task in (self._coordinator._heartbeat_task, self._coordinator._coordination_task):
                    if task is not None:
                        task.cancel()
            await self._client.close()

    async def existing(self, names: Collection[str] | None) -> dict[str, int]:
        """The partition counts of those of the topics that exist; with None, of all."""
        request = MetadataRequest(None if names is None else sorted(names), allow_auto_topic_creation=False)
        reply = await self._client.send(self._client.get_random_node(), request)
        return {topic: len(partitions) for error, topic, _, partitions in reply.topics if not error}
