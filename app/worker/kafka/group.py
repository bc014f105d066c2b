"""A group reader: a member of a consumer group, and what it hands out: lists of records, a partition at a time.

It reads in sessions. Whatever goes wrong ends one, and the next begins at the committed offsets; so whoever uses it
must take a record twice. A rebalance ends no session: reading stops, what has been read is flushed and committed, and
reading goes on at the committed offsets with the partitions that are given then.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final, NamedTuple

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
from app.worker.kafka.group_consumer import GroupConsumer
from app.worker.kafka.metadata import TopicFacts
from app.worker.kafka.progress import Progress
from app.worker.kafka.topic_ids import TopicIds

log = logging.getLogger(__name__)

#: Between sessions that go wrong: doubled from the first to the longest. A session that lasts longer has gone well.
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 30.0
#: How long leaving the group may take, before the connections are cut.
_LEAVE_SECONDS: Final = 5.0
_NEVER_MS: Final = 2**31 - 1
#: How often topics are looked at, as they may have been made again.
_LOOK_SECONDS: Final = 3.0


class _RemadeError(Exception):
    """A topic that is read has been deleted and made again."""


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

    A topic that is deleted and made again is another one: it is read from its beginning. That shows by its id, which is
    noted with each commit, and looked at every few seconds.

    A partition may also have lost its end (a broker that was behind has become its leader). Then what is not older than
    `again` seconds is read again: what was written in place of what was lost is among it.

    `lost` counts, by topic, the records that the brokers deleted before they were read.
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
        again: float,
        lost: Counter[str],
        **options: Any,
    ) -> None:
        self._settings = settings
        self._name = name
        self._open_consumer = open_consumer
        self._session = session
        self._flush = flush
        self._first_offset = first_offset
        self._again = again
        self._lost = lost
        self._progress = Progress(name, group_id)
        timeout_ms = int(settings.session_timeout * 1000)
        self._options = {
            "group_id": group_id,
            "auto_offset_reset": "none",
            "max_partition_fetch_bytes": 1 << 20,
            "fetch_max_wait_ms": 200,
            "metadata_max_age_ms": 30_000,
            "max_poll_interval_ms": _NEVER_MS,  # its records are taken, not polled
            "session_timeout_ms": timeout_ms,
            "heartbeat_interval_ms": int(settings.heartbeat_interval * 1000),
            "rebalance_timeout_ms": timeout_ms * 3,
            **options,
        }
        self._consumer: GroupConsumer | None = None
        self._topics: list[str] = []
        self._described_at = -math.inf  # when it was last answered which topics there are
        self._told: list[str] = []  # the topics that the log has
        self._held = True  # nothing is read while a rebalance goes on
        self._turn = 0  # counts rebalances: what was begun before one is not finished after it
        self._given = asyncio.Event()
        self._mine: list[TopicPartition] = []
        self._left: deque[TopicPartition] = deque()  # those of which nothing has been taken yet in this round
        self._found = False  # whether this round has found anything
        self._handed: dict[TopicPartition, int] = {}  # the `next_offset` that was handed out last
        self._open: set[TopicPartition] = set()  # of which not all that was handed out is committed
        self._ids = TopicIds(name)
        self._met = False  # whether the ids have been compared with those of the committed offsets
        self._look_at = 0.0
        self._well_at = 0.0  # when the session has lasted so long that it goes well
        self._unflushed: Exception | None = None
        self.task: asyncio.Task[None] | None = None

    # -- sessions -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin."""
        loop = asyncio.get_running_loop()
        self._progress.begin(loop.time())
        self.task = loop.create_task(self._run())

    async def stop(self) -> None:
        """Flush what has been read, and leave the group."""
        if self.task is None:
            return
        await self._hold_and_flush()
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE
        while True:
            began = loop.time()
            self._well_at = began + pause
            try:
                await self._run_session()
            except _RemadeError:
                continue
            except Exception as error:  # noqa: BLE001 - also a defect must not end the worker
                if loop.time() - began > _LONGEST_PAUSE:
                    pause = _FIRST_PAUSE
                self._progress.fail(loop.time(), error, self._topics)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _run_session(self) -> None:
        self._hold()
        self._unflushed = None
        consumer: GroupConsumer = await self._open_consumer(self._settings, **self._options)
        self._consumer, self._topics = consumer, []
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
        self._open.clear()
        self._found = self._met = False
        self._held = False
        self._given.set()

    # -- what a session does ------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise what ends the session, if anything does. `read` does so too: this is for who does not read for long."""
        if self._unflushed is not None:
            raise self._unflushed
        self._member().check()

    async def describe(self, names: Collection[str] | None) -> dict[str, TopicFacts]:
        """The partition counts and ids of those of the topics that exist; with None, of all. Creates none."""
        found = await self._member().describe(names)
        self._described_at = asyncio.get_running_loop().time()
        return found

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
            if wanted != self._told:
                log.info("%s reads topics=%s", self._name, wanted)
            consumer.subscribe(wanted, listener=self)
        else:
            consumer.unsubscribe()
        self._told = wanted

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
            if self.unread() == 0:
                self._move_on()  # there is no topic to read
            return None
        if not self._met:
            await self._meet(consumer)
        elif asyncio.get_running_loop().time() >= self._look_at:
            await self._look(consumer)
        if not self._met:  # a rebalance has begun meanwhile
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
                self._open.add(tp)
                self._found = True
                return Taken(tp, records, offset)
        if not self._open and self.unread() == 0:
            self._move_on()
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
            await self._look(consumer)
            await self._move_into_range(consumer, turn, error.args[0])
        self._found = False
        if turn == self._turn:
            self._left.extend(self._mine)

    async def _move_into_range(self, consumer: GroupConsumer, turn: int, offsets: dict[TopicPartition, int]) -> None:
        """The broker does not have the records that come next: go on with those that it has, and say what is lost."""
        goals = await consumer.beginning_offsets(list(offsets))
        lost = {tp: goals[tp] - offset for tp, offset in offsets.items() if offset < goals[tp]}
        cut = [tp for tp in offsets if tp not in lost]
        if cut and not math.isinf(self._again):
            ends = await consumer.end_offsets(cut)
            now = self._settings.now if self._settings.now is not None else time.time()
            found = await consumer.offsets_for_times(dict.fromkeys(cut, int((now - self._again) * 1000)))
            goals |= {tp: ends[tp] if found[tp] is None else found[tp].offset for tp in cut}
        if not self._move(turn, goals):
            return
        for tp, offset in offsets.items():
            if tp in lost:
                self._lost[tp.topic] += lost[tp]
                log.error(
                    "topic=%s partition=%d: %d records from offset %d on were deleted by its retention before %s read "
                    "them (tally_lost_events_total): it goes on at %d",
                    tp.topic, tp.partition, lost[tp], offset, self._name, goals[tp],
                )  # fmt: skip
            else:
                log.error(
                    "topic=%s partition=%d ends before offset %d, at which %s was: it has lost its end, and is read "
                    "again from offset %d on",
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

    # -- which topics these are ---------------------------------------------------------------------------------------

    async def _meet(self, consumer: GroupConsumer) -> None:
        """Partitions have been given: one whose offset is of a topic that is no more begins at its beginning."""
        turn = self._turn
        async with asyncio.timeout(self._settings.session_timeout):
            ids = {name: facts.id for name, facts in (await consumer.describe(self._topics)).items()}
            notes = await consumer.committed_notes(self._mine) if any(ids.values()) else {}
            remade = [
                tp for tp in self._mine if self._ids.is_of_another(tp.topic, notes.get(tp, ""), ids.get(tp.topic, ""))
            ]
            beginnings = await consumer.beginning_offsets(remade) if remade else {}
        if turn != self._turn:
            return
        self._ids.learn(ids)
        self._met = True
        self._look_at = asyncio.get_running_loop().time() + _LOOK_SECONDS
        if remade and self._move(turn, beginnings):
            self._ids.say_remade({tp.topic for tp in remade}, ids)

    async def _look(self, consumer: GroupConsumer) -> None:
        """See whether a topic has been made again. Then the session ends, and the next one begins with what is new."""
        self._look_at = asyncio.get_running_loop().time() + _LOOK_SECONDS
        try:
            found = await consumer.describe(self._topics)
        except KafkaError as error:  # its next reading will tell
            log.debug("%s could not look at its topics: %r", self._name, error)
            return
        ids = {name: facts.id for name, facts in found.items()}
        remade = self._ids.remade(ids)
        if remade:
            self._ids.say_remade(remade, ids)
            raise _RemadeError

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit where reading goes on. What others have been given is theirs: they go on at the last commit."""
        if self._unflushed is not None:  # what was read before a rebalance must not be committed after it
            raise self._unflushed
        noted = {tp: (offset, self._ids.note(tp.topic)) for tp, offset in offsets.items()}
        try:
            await self._member().commit(noted)
        except (CommitFailedError, IllegalStateError) as error:
            log.info("%s could not commit, its partitions are given anew: %r", self._name, error)
            return
        self._open -= {tp for tp, offset in offsets.items() if offset == self._handed.get(tp)}
        self._move_on()

    async def end_of(self, tp: TopicPartition) -> int:
        """Where a partition ends now."""
        return (await self._member().end_offsets([tp]))[tp]

    # -- what the rest of the worker asks -----------------------------------------------------------------------------

    def unread(self, seconds: float | None = None) -> float:
        """How many records of this member's partitions are still to be read; NaN where that is not known now.

        It is known where fetches have seen the ends within so many seconds; the session time-out if none are given.
        """
        consumer, most = self._consumer, self._settings.session_timeout
        if consumer is None:
            return math.nan
        if not self._topics:
            asked = asyncio.get_running_loop().time() - self._described_at
            return 0 if asked <= most + _LOOK_SECONDS else math.nan
        if self._held:
            return math.nan
        age = most if seconds is None else seconds
        offsets = [(consumer.known_end(tp, age), consumer.next_offset(tp)) for tp in self._mine]
        return sum(math.nan if end is None or at is None else max(0, end - at) for end, at in offsets)

    def stalled(self) -> float:
        """Seconds since it last committed anything, or had nothing to read and to commit."""
        return self._progress.age(asyncio.get_running_loop().time())

    def _move_on(self) -> None:
        now = asyncio.get_running_loop().time()
        self._progress.move(now, lasting=now >= self._well_at)


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
