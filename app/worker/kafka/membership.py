"""What Faust does for the lane: group membership, assignment, heartbeats; and what of Faust is switched off for it.

Faust's consumer joins the group and never fetches; its tables are declared, so that `faust tables` lists them, and
never recovered by Faust: their reads, writes and recovery are the lane's.
"""

import contextlib
import logging
import time
from collections.abc import Iterable
from typing import Any

import aiokafka
from aiokafka.errors import KafkaError
from faust.assignor.client_assignment import ClientMetadata
from faust.assignor.partition_assignor import PartitionAssignor
from faust.tables.manager import TableManager
from faust.transport.drivers import aiokafka as driver

from app.worker.kafka.client import forbid_topic_creation
from app.worker.kafka.instance import Instance

#: Not of this module's name: what Faust says by that one is kept off the log.
log = logging.getLogger("app.worker.kafka")

_NEVER_MS = 2**31 - 1


class Member(aiokafka.AIOKafkaConsumer):  # type: ignore[misc]
    """A member of the group that fetches nothing, and knows when the broker last answered its heartbeat."""

    heartbeat_at = 0.0
    _instance: Instance | None = None  # where it is known by an id

    async def start(self) -> None:
        """Join; then end the fetcher, so that no record is fetched twice."""
        await super().start()
        self.heartbeat_at = time.monotonic()  # the brokers have answered just now
        await self._fetcher.close()
        if self._group_instance_id is not None:
            self._instance = Instance(self._coordinator, self._group_instance_id)
        beat = self._coordinator._do_heartbeat

        async def recorded_heartbeat() -> bool:
            fine: bool = await beat()
            if fine:
                self.heartbeat_at = time.monotonic()
            return fine

        self._coordinator._do_heartbeat = recorded_heartbeat

    def rejoin(self) -> None:
        """Ask for a new assignment."""
        self._coordinator.request_rejoin()

    @property
    def fenced(self) -> bool:
        """Whether another has joined by the same instance id."""
        return self._instance is not None and self._instance.fenced

    def refusal(self) -> Exception | None:
        """Why the group does not take this member, where it does not: a right that it lacks, or that is withdrawn."""
        # There is no coordinator yet while it starts.
        error: Exception | None = self._coordinator and self._coordinator._pending_exception
        return error

    def retry(self) -> None:
        """Let a member that was refused try again: by itself it never does."""
        with contextlib.suppress(KafkaError):
            self._coordinator.check_errors()
        self.rejoin()

    def failure(self) -> BaseException | None:
        """What has ended the membership for good, if anything has: a defect of the library."""
        task = self._coordinator and self._coordinator._coordination_task
        return task.exception() if task and task.done() and not task.cancelled() else None


class Assignor(PartitionAssignor):  # type: ignore[misc]
    """Faust's assignor, of a worker that may have another address when it comes back to its partitions."""

    def on_assignment(self, assignment: Any) -> None:
        """Take an assignment. Who comes back by its instance id is given that of before, with the address of before,
        and Faust asserts that it is the present one.
        """
        metadata = ClientMetadata.loads(self._decompress(assignment.user_data))
        metadata.url = str(self._url)
        assignment.user_data = self._compress(metadata.dumps())
        super().on_assignment(assignment)


class MemberThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Faust's consumer thread around a `Member`."""

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        conf = self.app.conf
        # Faust's own assignor keeps equal partitions of equally subscribed topics together; round robin would not.
        self._assignor = self.app.assignor
        member = Member(
            **self.app.client_options,
            group_id=conf.id,
            group_instance_id=self.app.settings.instance_id,
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_interval_ms=_NEVER_MS,  # it never polls
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
            request_timeout_ms=int(conf.broker_request_timeout * 1000),
        )
        forbid_topic_creation(member._client)
        return member

    async def on_start(self) -> None:
        """Begin. Errors of this thread's loop are told as those of the other one."""
        self.thread_loop.set_exception_handler(self.app.on_unhandled)
        await super().on_start()

    def on_crash(self, msg: str, *fmt: Any, **kwargs: Any) -> None:
        """Say nothing: the worker ends with a sentence."""

    def rejoin(self) -> None:
        """Ask for a new assignment, from any thread."""
        if self._consumer is not None:
            self.thread_loop.call_soon_threadsafe(self._consumer.rejoin)

    @property
    def fenced(self) -> bool:
        """Whether another worker has joined the group by the same instance id."""
        return self._consumer is not None and self._consumer.fenced

    def refusal(self) -> Exception | None:
        """Why the group does not take this worker, where it does not."""
        return self._consumer.refusal() if self._consumer is not None else None

    def retry(self) -> None:
        """Let a worker that was refused try again, from any thread."""
        if self._consumer is not None:
            self.thread_loop.call_soon_threadsafe(self._consumer.retry)

    def failure(self) -> BaseException | None:
        """What has ended the membership for good, if anything has."""
        return self._consumer.failure() if self._consumer is not None else None

    @property
    def heartbeat_age(self) -> float:
        """Seconds since the broker last answered a heartbeat."""
        return time.monotonic() - self._consumer.heartbeat_at if self._consumer is not None else float("inf")


class MembershipConsumer(driver.Consumer):  # type: ignore[misc]
    """Faust's consumer, which hands revocations to the lane first."""

    def _new_consumer_thread(self) -> MemberThread:
        return MemberThread(self, loop=self.loop, beacon=self.beacon)

    async def on_partitions_revoked(self, revoked: set[Any]) -> None:
        """A rebalance begins."""
        await self.app.lane.revoke()
        await super().on_partitions_revoked(revoked)

    def verify_event_path(self, now: float, tp: Any) -> None:
        """Faust's stall detector watches streams; there are none."""


class MembershipTransport(driver.Transport):  # type: ignore[misc]
    """Faust's transport with that consumer."""

    Consumer = MembershipConsumer


class DeclaredTables(TableManager):  # type: ignore[misc]
    """Tables that are listed, not recovered; an assignment goes to the lane."""

    def add(self, table: Any) -> Any:
        """Declare a table. Its changelog is not subscribed to."""
        self[table.name] = table
        return table

    async def on_start(self) -> None:
        """Nothing to recover: let the subscription begin."""
        self._tables_finalized.set()
        self._tables_registered.set()

    async def on_stop(self) -> None:
        """Nothing was started."""

    def on_partitions_revoked(self, revoked: set[Any]) -> None:
        """The lane has been told already."""

    async def wait_until_recovery_completed(self) -> bool:
        """Do not wait: `/ready` says when partitions are loaded."""
        return False

    async def on_rebalance(
        self, assigned: set[Any], revoked: set[Any], newly_assigned: set[Any], generation_id: int = 0
    ) -> None:
        """A rebalance is over."""
        topics = self.app.settings.topics
        standbys = self.app.assignor.assigned_standbys()
        await self.app.lane.assign(_whole_partitions(assigned, topics), _whole_partitions(standbys, topics))
        self.on_actives_ready()
        self.on_standbys_ready()
        self.app.on_rebalance_end()


def _whole_partitions(assigned: Iterable[Any], topics: tuple[str, ...]) -> set[int]:
    """The partitions of which all three topics are given to this worker."""
    by_topic: dict[str, set[int]] = {topic: set() for topic in topics}
    for tp in assigned:
        if tp.topic in by_topic:
            by_topic[tp.topic].add(tp.partition)
    whole = set.intersection(*by_topic.values())
    split = set.union(*by_topic.values()) - whole
    if split:
        log.error("partitions=%s were given for some of the topics only and stay unread", sorted(split))
    return whole
