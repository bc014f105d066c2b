"""A consumer's membership in its group: what aiokafka's `GroupCoordinator` does, in the order in which it does it."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import IllegalGenerationError, KafkaError, RebalanceInProgressError, UnknownMemberIdError

from tests.memory_kafka.groups import Group
from tests.memory_kafka.network import Client, Network

_RETRY_BACKOFF: Final = 0.1


class Membership:
    """Joins, beats, and tells the listener. `give` takes what has been assigned, before the listener is told."""

    def __init__(
        self,
        network: Network,
        group: Group,
        client: Client,
        timeouts: tuple[float, float, float],
        give: Callable[[list[TopicPartition]], None],
    ) -> None:
        self.topics: tuple[str, ...] = ()
        self._give = give
        self._network = network
        self._group = group
        self._client = client
        self._session, self._patience, self._interval = timeouts
        self._listener: Any = None
        self._member = ""
        self._generation = -1
        self._given: list[TopicPartition] | None = None
        self._needs_join = asyncio.Event()
        self._prepared = False  # whether the listener knows that what it had is revoked
        self._beating: asyncio.Task[None] | None = None
        self._closing = False
        self._task = asyncio.get_running_loop().create_task(self._coordinate())

    @property
    def names(self) -> tuple[str, int]:
        """The member's name and its generation."""
        return self._member, self._generation

    def subscribe(self, topics: tuple[str, ...], listener: Any) -> None:
        """Join, for these topics."""
        self.topics, self._listener = topics, listener
        self.rejoin()

    def unsubscribe(self) -> None:
        """Take nothing any more. The membership ends with its session, or when the consumer stops."""
        self.topics = ()

    def rejoin(self) -> None:
        """Join again."""
        self._needs_join.set()

    def refused(self, error: KafkaError) -> None:
        """The coordinator does not know this member, or its generation, any more."""
        if not isinstance(error, RebalanceInProgressError):
            self._member, self._generation = "", -1
        self.rejoin()

    async def close(self) -> None:
        """Leave. What is being done is done first: a listener that is being told, a join that is waited for."""
        self._closing = True
        self._needs_join.set()
        await asyncio.wait([self._task])
        await self._stop_beating()
        if self._generation > 0:
            with contextlib.suppress(KafkaError):  # `_maybe_leave_group` does not try again
                await self._network.call(self._client, "leave", self._group.leave, self._member)

    def cut_off(self) -> None:
        """End without a word."""
        self._task.cancel()
        if self._beating is not None:
            self._beating.cancel()

    def check(self) -> None:
        """Raise what has ended the membership, if anything has: the listener's own errors end none."""
        if self._task.done() and not self._task.cancelled():
            self._task.result()

    async def _coordinate(self) -> None:
        while not self._closing:
            await self._needs_join.wait()
            if self._closing or not self.topics:
                self._needs_join.clear()
                continue
            if not self._prepared:
                # Heartbeats go on meanwhile: what the listener does may take longer than a session.
                await _tell(self._listener.on_partitions_revoked, set(self._given or ()))
                self._prepared = True
            await self._stop_beating()
            if not await self._join():
                await asyncio.sleep(_RETRY_BACKOFF)

    async def _join(self) -> bool:
        topics = self.topics
        try:
            joined = await self._network.call(
                self._client, "join", self._group.join, self._member, topics, self._session, self._patience
            )
        except KafkaError as error:
            if isinstance(error, UnknownMemberIdError | IllegalGenerationError):
                self._member, self._generation = "", -1
            return False
        self._member, self._generation = joined.member, joined.generation
        self._needs_join.clear()  # what asks for a join from now on means another one
        if topics != self.topics:
            self._needs_join.set()
            return False
        self._given = joined.partitions
        self._give(joined.partitions)
        await _tell(self._listener.on_partitions_assigned, set(joined.partitions))
        self._prepared = False
        self._beating = asyncio.get_running_loop().create_task(self._beat())
        return True

    async def _beat(self) -> None:
        while self._member:
            await asyncio.sleep(self._interval)
            try:
                await self._network.call(
                    self._client, "heartbeat", self._group.heartbeat, self._member, self._generation
                )
            except (RebalanceInProgressError, UnknownMemberIdError, IllegalGenerationError) as error:
                self.refused(error)
            except KafkaError:
                pass  # tried again

    async def _stop_beating(self) -> None:
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.wait([self._beating])
            self._beating = None


async def _tell(told: Callable[[set[TopicPartition]], Any], tps: set[TopicPartition]) -> None:
    answer = told(tps)
    if asyncio.iscoroutine(answer):
        await answer
