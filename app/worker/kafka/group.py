"""A group reader: a member of a consumer group, and what it hands out: lists of records, a partition at a time.

It reads in sessions. Whatever goes wrong ends one, and the next begins at the committed offsets; so whoever uses it
must take a record twice. A rebalance ends no session: reading stops, what has been read is flushed and committed, and
reading goes on at the committed offsets with the partitions that are given then.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from aiokafka import TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

from app.core.wire.records import Record
from app.settings import Settings
from app.worker.kafka.consumer import OpenConsumer

log = logging.getLogger(__name__)

#: Between sessions that go wrong: doubled from the first to the longest. A session that lasts longer has gone well.
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 30.0
#: How long leaving the group may take, before the connections are cut.
_LEAVE_SECONDS: Final = 5.0
_NEVER_MS: Final = 2**31 - 1


class GroupConsumer(Protocol):
    """What a group reader asks of its consumer; `RecordConsumer` of `app.worker.kafka.consumer` is one."""

    def subscribe(self, topics: Sequence[str], *, listener: ConsumerRebalanceListener) -> None:
        """Join the group for these topics; the listener hears of each rebalance."""

    def unsubscribe(self) -> None:
        """Leave the group."""

    def assignment(self) -> set[TopicPartition]:
        """The partitions that the group has given to this member."""

    def check(self) -> None:
        """Raise what has ended the membership, if anything has."""

    async def partition_counts(self, names: Collection[str] | None) -> dict[str, int]:
        """The partition counts of those of the topics that exist; with None, of all. Creates none."""

    async def wait_for_records(self, tps: list[TopicPartition], seconds: float) -> None:
        """Wait until something has been fetched of any of these partitions, or for so long.

        Raises NoOffsetForPartitionError(partition) where the group has no offset, OffsetOutOfRangeError({partition:
        offset}) where the broker no longer has the records, and what else a fetch raises.
        """

    def take(self, tp: TopicPartition, most: int) -> list[Record]:
        """Up to so many of the records that have been fetched."""

    def next_offset(self, tp: TopicPartition) -> int | None:
        """The offset behind the last record taken, and behind what is no record after it; None if not known yet."""

    def end(self, tp: TopicPartition) -> int | None:
        """The end of a partition as the last fetch saw it; None if not known yet."""

    def seek(self, tp: TopicPartition, offset: int) -> None:
        """Read on from another offset."""

    async def beginning_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        """The offsets of the oldest records."""

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        """The offsets behind the newest records."""

    async def offsets_for_times(self, times: dict[TopicPartition, int]) -> dict[TopicPartition, Any]:
        """By time in ms, the first record (its `offset`) that is not older; None where there is none."""

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        """Commit. Raises CommitFailedError or IllegalStateError where others have been given the partitions."""

    async def stop(self) -> None:
        """Leave the group and end."""

    async def cut_off(self) -> None:
        """End without leaving the group."""


class Taken(NamedTuple):
    """What has been taken of a partition, and where its reading goes on.

    There may be no records: the partition begins at this offset, or only markers of transactions lay before it.
    """

    tp: TopicPartition
    records: list[Record]
    next_offset: int


class GroupReader(ConsumerRebalanceListener):  # type: ignore[misc]
    """A member of a group. `name` stands for who uses it in the log, `options` are the consumer's.

    `session` is called anew for each session. It subscribes, then reads and commits until something raises.

    `flush` is called when partitions are about to be taken, while nothing is read. When it returns, all that has been
    read is committed, or given up. Where it raises, or takes longer than `TALLY_SESSION_TIMEOUT`, the session ends, and
    commits nothing more.

    `first_offset` says where a partition begins of which the group has no offset.

    A partition may end before the group's offset, if it was cut or made anew. With `rereads` it is then read from its
    beginning, else from its end.
    """

    def __init__(
        self,
        settings: Settings,
        group_id: str,
        name: str,
        open_consumer: OpenConsumer,
        *,
        session: Callable[[], Awaitable[None]],
        flush: Callable[[], Awaitable[None]],
        first_offset: Callable[[GroupConsumer, TopicPartition], Awaitable[int]],
        rereads: bool,
        **options: Any,
    ) -> None:
        self._settings = settings
        self._name = name
        self._open_consumer = open_consumer
        self._session = session
        self._flush = flush
        self._first_offset = first_offset
        self._rereads = rereads
        timeout_ms = int(settings.session_timeout * 1000)
        self._options = {
            "group_id": group_id,
            "auto_offset_reset": "none",
            "max_partition_fetch_bytes": 1 << 20,
            "fetch_max_wait_ms": 200,
            "metadata_max_age_ms": 30_000,
            "max_poll_interval_ms": _NEVER_MS,  # its records are taken, not polled
            "session_timeout_ms": timeout_ms,
            "heartbeat_interval_ms": timeout_ms // 10,
            "rebalance_timeout_ms": timeout_ms * 3,
            **options,
        }
        self._consumer: GroupConsumer | None = None
        self._topics: list[str] = []
        self._held = True  # nothing is read while a rebalance goes on
        self._turn = 0  # counts rebalances: what was begun before one is not finished after it
        self._given = asyncio.Event()
        self._mine: list[TopicPartition] = []
        self._left: deque[TopicPartition] = deque()  # those of which nothing has been taken yet in this round
        self._found = False  # whether this round has found anything
        self._handed: dict[TopicPartition, int] = {}  # the `next_offset` that was handed out last
        self._unflushed: Exception | None = None
        self._task: asyncio.Task[None] | None = None

    # -- sessions -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Flush what has been read, and leave the group."""
        if self._task is None:
            return
        await self._hold_and_flush()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        pause, before = _FIRST_PAUSE, ""
        while True:
            began = loop.time()
            try:
                await self._run_session()
            except Exception as error:
                if loop.time() - began > _LONGEST_PAUSE:
                    pause, before = _FIRST_PAUSE, ""
                if not isinstance(error, (KafkaError, OSError, TimeoutError)):  # a defect must not end the worker
                    log.exception("unexpected error in %s, which begins again at its committed offsets", self._name)
                elif repr(error) != before:  # the same again and again is logged once
                    log.warning("%s begins again at its committed offsets: %r", self._name, error)
                before = repr(error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _run_session(self) -> None:
        self._hold()
        self._topics, self._unflushed = [], None
        consumer: GroupConsumer = await self._open_consumer(self._settings, **self._options)
        self._consumer = consumer
        try:
            await self._session()
        finally:
            self._consumer = None
            self._hold()
            await _close(consumer)

    def _member(self) -> GroupConsumer:
        if self._consumer is None:
            raise KafkaError(f"{self._name} is not in its group")
        return self._consumer

    # -- rebalances ---------------------------------------------------------------------------------------------------

    def _hold(self) -> None:
        self._held = True
        self._turn += 1
        self._given.clear()
        self._left.clear()

    async def _hold_and_flush(self) -> None:
        self._hold()
        try:
            async with asyncio.timeout(self._settings.session_timeout):
                await self._flush()
        except Exception as error:  # noqa: BLE001 - whatever it is, the session raises it
            self._unflushed = error

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """A rebalance begins: nothing more is read, and what has been read is flushed, so that others go on behind."""
        await self._hold_and_flush()

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """A rebalance is over: every partition goes on at its committed offset."""
        self._mine = sorted(assigned)
        self._handed.clear()
        self._found = False
        self._held = False
        self._given.set()

    # -- what a session does ------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise what ends the session, if anything does. `read` does so too: this is for who does not read for long."""
        if self._unflushed is not None:
            raise self._unflushed
        self._member().check()

    async def partition_counts(self, names: Collection[str] | None) -> dict[str, int]:
        """The partition counts of those of the topics that exist; with None, of all. Creates none."""
        return await self._member().partition_counts(names)

    async def subscribe(self, topics: Collection[str]) -> None:
        """Read these topics from now on, and no others; what has been read before is flushed first."""
        consumer = self._member()
        wanted = sorted(topics)
        if wanted == self._topics:
            return
        await self._hold_and_flush()
        self.check()
        self._topics = wanted
        if wanted:
            log.info("%s reads topics=%s", self._name, wanted)
            consumer.subscribe(wanted, listener=self)
        else:
            consumer.unsubscribe()

    async def read(self, most: int, seconds: float) -> Taken | None:
        """Take up to `most` records of the partition whose turn it is.

        None where there is nothing: at once when all that was fetched has just been taken, else after `seconds`. None
        also while a rebalance goes on.

        Other tasks run before the records are taken, and none from there to the caller's next `await`. So `flush` finds
        what the caller has put away until then.
        """
        await asyncio.sleep(0)
        self.check()
        consumer = self._member()
        if self._held:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):  # `wait_for` may miss that it is cancelled
                    await self._given.wait()
            return None
        if not self._left:
            await self._wait_for_records(consumer, 0 if self._found else seconds)
        while self._left:
            tp = self._left.popleft()
            records = consumer.take(tp, most)
            offset = consumer.next_offset(tp)
            if offset is None:
                continue  # where it goes on is not known yet
            if records or offset != self._handed.setdefault(tp, offset):
                self._handed[tp] = offset
                self._found = True
                return Taken(tp, records, offset)
        return None

    async def _wait_for_records(self, consumer: GroupConsumer, seconds: float) -> None:
        """Begin a round over the partitions, once something has been fetched of any."""
        turn = self._turn
        try:
            await consumer.wait_for_records(self._mine, seconds)
        except NoOffsetForPartitionError as error:
            tp = error.args[0]
            self._move(turn, {tp: await self._first_offset(consumer, tp)})
        except OffsetOutOfRangeError as error:
            await self._move_into_range(consumer, turn, error.args[0])
        self._found = False
        if turn == self._turn:
            self._left.extend(self._mine)

    async def _move_into_range(self, consumer: GroupConsumer, turn: int, offsets: dict[TopicPartition, int]) -> None:
        """The broker no longer has the records that come next: go on with the oldest, and say what is lost."""
        beginnings = await consumer.beginning_offsets(list(offsets))
        ends = await consumer.end_offsets(list(offsets))
        goals = {
            tp: beginnings[tp] if self._rereads or offset < beginnings[tp] else ends[tp]
            for tp, offset in offsets.items()
        }
        if self._move(turn, goals):
            for tp, offset in offsets.items():
                log.error(
                    "topic=%s partition=%d offset=%d is no longer there: %s goes on at %d; what lay between is lost",
                    tp.topic, tp.partition, offset, self._name, goals[tp],
                )  # fmt: skip

    def _move(self, turn: int, offsets: Mapping[TopicPartition, int]) -> bool:
        """Read on from other offsets, which are handed out. Not if the partitions have been given anew meanwhile."""
        if turn != self._turn or self._consumer is None:
            return False
        for tp, offset in offsets.items():
            self._consumer.seek(tp, offset)
            self._handed[tp] = -1  # so that `read` hands out this one
        return True

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit where reading goes on. What others have been given is theirs: they go on at the last commit."""
        if self._unflushed is not None:  # what was read before a rebalance must not be committed after it
            raise self._unflushed
        try:
            await self._member().commit(dict(offsets))
        except (CommitFailedError, IllegalStateError) as error:
            log.info("%s could not commit, its partitions are given anew: %r", self._name, error)

    async def end_of(self, tp: TopicPartition) -> int:
        """Where a partition ends now."""
        return (await self._member().end_offsets([tp]))[tp]

    # -- what the rest of the worker asks -----------------------------------------------------------------------------

    def unread(self) -> int:
        """How many records of this member's partitions are still to be read, as far as is known."""
        consumer = self._consumer
        if consumer is None:
            return 0
        offsets = [(consumer.end(tp), consumer.next_offset(tp)) for tp in consumer.assignment()]
        return sum(max(0, end - at) for end, at in offsets if end is not None and at is not None)


async def _close(consumer: GroupConsumer) -> None:
    """Leave the group; where the brokers do not answer in time, without a word. Cancelled, it does so at once."""
    stopped = False
    try:
        async with asyncio.timeout(_LEAVE_SECONDS):
            await consumer.stop()
        stopped = True
    except (TimeoutError, KafkaError, OSError) as error:
        log.debug("consumer closed hard: %r", error)
    finally:
        if not stopped:
            await consumer.cut_off()
