"""A consumer as `RecordConsumer` of `app.worker.kafka.consumer` is seen from outside.

Followed: `Fetcher` for what is fetched when, what a seek or a new assignment makes of it, and how an error reaches the
caller; `TopicPartitionState` for positions; `RecordConsumer` for `wait_for_records`, `take`, `next_offset` and `end`;
`GroupCoordinator` for joining, heartbeats and commits. Not followed: several nodes, `pause`, patterns, auto-commit, and
that `RecordConsumer` fetches a second list of a partition while the first is read.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    IllegalOperation,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from aiokafka.structs import OffsetAndMetadata, OffsetAndTimestamp
from msgspec.structs import astuple

from app.core.wire.records import Record
from app.worker.kafka.consumer import Stranger
from app.worker.kafka.metadata import TopicFacts
from tests.memory_kafka.broker import Broker, Fetched
from tests.memory_kafka.membership import Membership
from tests.memory_kafka.network import Client, Network

_RETRY_BACKOFF: Final = 0.1
_WHEN: Final = {"earliest": -2, "latest": -1}


class _State:
    """TopicPartitionState."""

    __slots__ = ("end", "place", "reset")

    def __init__(self) -> None:
        self.place: int | None = None
        self.end: int | None = None
        self.reset: str | None = None  # earliest or latest, where that is asked for


class _Fetch:
    """FetchResult: records that have been fetched and not been taken."""

    __slots__ = ("marked_at", "next", "records", "taken")

    def __init__(self, records: list[Record], after: int, marked_at: int) -> None:
        self.records = records
        self.next = after
        self.marked_at = marked_at
        self.taken = 0


class MemoryConsumer:
    """A consumer of committed records. It fetches by itself, as soon as it has partitions and places."""

    def __init__(
        self,
        network: Network,
        broker: Broker,
        client: Client,
        *,
        group_id: str | None = None,
        auto_offset_reset: str = "latest",
        fetch_max_wait_ms: int = 500,
        session_timeout_ms: int = 10_000,
        heartbeat_interval_ms: int = 3_000,
        rebalance_timeout_ms: int = 30_000,
        fetches: bool = True,
        changelogs: bool = False,
    ) -> None:
        self.marked_at = 0
        self._changelogs = changelogs
        self._network = network
        self._broker = broker
        self._client = client
        self._group_id = group_id
        self._reset = auto_offset_reset
        self._wait = fetch_max_wait_ms / 1000
        self._fetches = fetches
        self._states: dict[TopicPartition, _State] | None = None
        self._fetched: dict[TopicPartition, _Fetch | KafkaError] = {}
        self._waiters: list[asyncio.Future[None]] = []  # for records
        self._seekers: list[asyncio.Future[None]] = []  # for places
        self._version = 0  # counts assignments: an answer to a request of an older one is dropped
        self._asked: asyncio.Future[Any] | None = None  # the request on its way: one at a time
        self._looks = False  # whether it will be looked what to fetch
        self._by_user = False
        self._membership: Membership | None = None
        self._timeouts = (session_timeout_ms / 1000, rebalance_timeout_ms / 1000, heartbeat_interval_ms / 1000)

    # -- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect."""
        await self._call("metadata", lambda: None)

    async def stop(self) -> None:
        """Leave the group and disconnect."""
        if self._client.closed:
            return
        self._version += 1
        self._states = None
        if self._membership is not None:
            await self._membership.close()
        self._client.closed = True

    async def cut_off(self) -> None:
        """End without leaving the group, which hears no more heartbeats."""
        self._version += 1
        self._states = None
        if self._membership is not None:
            self._membership.cut_off()
        self._client.closed = True

    def check(self) -> None:
        """Raise what has ended the membership in the group, if anything has."""
        if self._membership is not None:
            self._membership.check()

    async def _call(self, request: str, handle: Callable[..., Any], *args: Any) -> Any:
        return await self._network.call(self._client, request, handle, *args)

    async def _persist(self, request: str, handle: Callable[..., Any], *args: Any) -> Any:
        """Ask until the broker answers (`_retrieve_offsets`, `fetch_committed_offsets`)."""
        while True:
            try:
                return await self._call(request, handle, *args)
            except KafkaError as error:
                if not error.retriable:
                    raise
                await asyncio.sleep(_RETRY_BACKOFF)

    # -- what is read -------------------------------------------------------------------------------------------------

    def assign(self, tps: Iterable[TopicPartition]) -> None:
        """Read these partitions and no others. Nothing that has been fetched before is given any more."""
        if self._membership is not None and self._membership.topics:
            raise IllegalStateError("Subscription to topics, partitions and pattern are mutually exclusive")
        self._by_user = True
        self._give(tps)

    def subscribe(self, topics: Collection[str], listener: Any = None) -> None:
        """Take part in the group's reading of these topics. The listener is told as a ConsumerRebalanceListener is."""
        if self._by_user:
            raise IllegalStateError("Subscription to topics, partitions and pattern are mutually exclusive")
        if self._group_id is None:
            raise IllegalStateError("a group is needed")
        self._states, self._version = None, self._version + 1
        if self._membership is None:
            group = self._broker.group(self._group_id)
            self._membership = Membership(self._network, group, self._client, self._timeouts, self._give)
        self._membership.subscribe(tuple(topics), listener)

    def unsubscribe(self) -> None:
        """Read nothing."""
        self._states = None
        self._fetched.clear()
        self._version += 1
        self._by_user = False
        if self._membership is not None:
            self._membership.unsubscribe()

    def rejoin(self) -> None:
        """Ask the group for a new assignment."""
        if self._membership is not None:
            self._membership.rejoin()

    def assignment(self) -> set[TopicPartition]:
        """What is read. During a rebalance that is still what was given before."""
        return set(self._states or ())

    def _give(self, tps: Iterable[TopicPartition]) -> None:
        self._states = {tp: _State() for tp in tps}
        self._fetched.clear()
        self._version += 1
        if self._asked is not None:
            self._asked.cancel()
            self._asked = None
        self._look_soon()

    def seek(self, tp: TopicPartition, offset: int) -> None:
        """Go on at an offset."""
        state = self._state(tp)
        state.place, state.reset = offset, None
        self._fetched.pop(tp, None)
        self._look_soon()

    async def seek_to_beginning(self, *tps: TopicPartition) -> None:
        """Go on at the first offset that there is."""
        for tp in tps:
            state = self._state(tp)
            state.place, state.reset = None, "earliest"
            self._fetched.pop(tp, None)
        self._look_soon()
        version = self._version
        while version == self._version and any(self._state(tp).place is None for tp in tps):
            seeker = asyncio.get_running_loop().create_future()
            self._seekers.append(seeker)
            await seeker

    def _state(self, tp: TopicPartition) -> _State:
        state = (self._states or {}).get(tp)
        if state is None:
            raise IllegalStateError(f"No current assignment for partition {tp}")
        return state

    # -- questions ----------------------------------------------------------------------------------------------------

    async def describe(self, names: Collection[str] | None) -> dict[str, TopicFacts]:
        """The partition counts of those of the topics that exist; with None, of all. This Kafka has no ids."""
        counts: dict[str, int] = await self._call(
            "metadata", lambda: {topic: len(logs) for topic, logs in self._broker.topics.items()}
        )
        return {topic: TopicFacts(count) for topic, count in counts.items() if names is None or topic in names}

    async def beginning_offsets(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The first offset of each."""
        return await self._persist("list offsets", self._broker.offsets, list(tps), -2)  # type: ignore[no-any-return]

    async def end_offsets(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The last stable offset of each: the request has the consumer's isolation level (`_proc_offset_request`)."""
        return await self._persist("list offsets", self._broker.offsets, list(tps), -1)  # type: ignore[no-any-return]

    async def offsets_for_times(
        self, times: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, OffsetAndTimestamp | None]:
        """The first offset of a time, in ms, or later."""
        found: dict[TopicPartition, OffsetAndTimestamp | None] = {}
        for tp, time in times.items():
            offset = (await self._persist("list offsets", self._broker.offsets, [tp], time))[tp]
            found[tp] = None if offset is None else OffsetAndTimestamp(offset, time)
        return found

    async def committed(self, tp: TopicPartition) -> int | None:
        """The group's offset."""
        if self._group_id is None:
            raise IllegalOperation("Requires group_id")
        found: dict[TopicPartition, int | None] = await self._persist(
            "committed", self._broker.committed, self._group_id, [tp]
        )
        return found[tp]

    async def commits(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, OffsetAndMetadata | None]:
        """What the group has committed, and what stands beside it."""
        if self._group_id is None:
            raise IllegalOperation("Requires group_id")
        return await self._persist(  # type: ignore[no-any-return]
            "committed", self._broker.commits, self._group_id, list(tps)
        )

    async def commit(self, offsets: Mapping[TopicPartition, int | tuple[int, str]]) -> None:
        """Commit offsets for the group; notes beside them are not kept.

        Raises CommitFailedError where its generation is over.
        """
        if self._group_id is None:
            raise IllegalOperation("Requires group_id")
        if self._states is None:
            raise IllegalStateError("No partitions assigned")
        for tp in offsets:
            if tp not in self._states:
                raise IllegalStateError(f"Partition {tp} is not assigned")
        member, generation = ("", -1) if self._membership is None else self._membership.names
        try:
            await self._persist(
                "commit offsets",
                self._broker.group(self._group_id).commit,
                member,
                generation,
                {tp: offset[0] if isinstance(offset, tuple) else offset for tp, offset in offsets.items()},
            )
        except (UnknownMemberIdError, IllegalGenerationError, RebalanceInProgressError) as error:
            if self._membership is not None:
                self._membership.refused(error)
            raise CommitFailedError from error

    # -- fetching -----------------------------------------------------------------------------------------------------

    def _look_soon(self) -> None:
        """Look what to fetch, after whoever has changed something is through (the fetcher is a task of its own)."""
        if not self._looks and self._fetches:
            self._looks = True
            asyncio.get_running_loop().call_soon(self._look, context=self._client.context)

    def _look(self) -> None:
        self._looks = False
        if self._states is None or self._asked is not None or self._client.closed:
            return
        unplaced = [tp for tp, state in self._states.items() if state.place is None and tp not in self._fetched]
        if unplaced:
            self._find_place(unplaced)
            return
        wanted = [
            (tp, state.place)
            for tp, state in self._states.items()
            if state.place is not None and tp not in self._fetched
        ]
        if wanted:
            most = self._network.weather.fetched()
            asked = dict(wanted)
            self._ask(
                "fetch", lambda answer: self._on_fetched(answer, asked), self._broker.fetch, wanted, most, self._wait
            )

    def _ask(self, request: str, then: Callable[[Any], None], handle: Callable[..., Any], *args: Any) -> None:
        """Ask the broker; its answer, or the error, goes to `then`, unless the assignment has changed by then."""
        asked: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def answered(done: asyncio.Future[Any]) -> None:
            if done.cancelled() or self._asked is not asked:
                if not done.cancelled():
                    done.exception()
                return
            self._asked = None
            error = done.exception()
            if isinstance(error, KafkaError):  # `_proc_fetch_request` waits and asks again
                asyncio.get_running_loop().call_later(_RETRY_BACKOFF, self._look_soon, context=self._client.context)
            else:
                then(done.result())

        self._asked = asked
        asked.add_done_callback(answered, context=self._client.context)
        self._network.post(self._client, request, asked, handle, *args)

    def _on_fetched(self, answer: dict[TopicPartition, Fetched], asked: dict[TopicPartition, int]) -> None:
        news = False
        for tp, (found, end) in answer.items():
            state = (self._states or {}).get(tp)
            if state is None or state.place != asked[tp]:
                continue  # it has been sought elsewhere meanwhile
            if isinstance(found, OffsetOutOfRangeError):
                news = True
                if self._reset == "none":
                    self._fetched[tp] = OffsetOutOfRangeError({tp: state.place})
                else:
                    state.place, state.reset = None, self._reset
            elif not isinstance(found, KafkaError):
                state.end = end
                if found.next > asked[tp]:
                    news = True
                    self._fetched[tp] = _Fetch(self._told_apart(tp, found.records), found.next, found.marked_at)
        if news:
            _wake(self._waiters)
        self._look_soon()

    def _told_apart(self, tp: TopicPartition, records: list[Record]) -> list[Record]:
        """The records; of changelogs those that no transaction has written are strangers (a batch says so itself)."""
        if not self._changelogs:
            return records
        log = self._broker.log_of(tp)
        return [Stranger(*astuple(one)) if log.is_strange(one.offset) else one for one in records]

    def _find_place(self, tps: list[TopicPartition]) -> None:
        """`_update_fetch_positions`: at the committed offset, else where the reset policy says."""
        assert self._states is not None
        states = self._states
        undecided = [tp for tp in tps if states[tp].reset is None]
        if undecided and self._group_id is not None:
            self._ask("committed", self._on_committed, self._broker.committed, self._group_id, undecided)
            return
        if undecided:
            self._on_committed(dict.fromkeys(undecided))
            return
        when = states[tps[0]].reset
        assert when is not None
        alike = [tp for tp in tps if states[tp].reset == when]
        self._ask("list offsets", self._on_place, self._broker.offsets, alike, _WHEN[when])

    def _on_committed(self, committed: dict[TopicPartition, int | None]) -> None:
        for tp, offset in committed.items():
            state = (self._states or {}).get(tp)
            if state is None or state.place is not None or state.reset is not None:
                continue
            if offset is not None:
                state.place = offset
            elif self._reset == "none":
                self._fetched[tp] = NoOffsetForPartitionError(tp)
            else:
                state.reset = self._reset
        _wake(self._waiters)
        _wake(self._seekers)
        self._look_soon()

    def _on_place(self, places: dict[TopicPartition, int]) -> None:
        for tp, offset in places.items():
            state = (self._states or {}).get(tp)
            if state is not None and state.reset is not None:
                state.place, state.reset = offset, None
        _wake(self._seekers)
        self._look_soon()

    # -- what the lane asks -------------------------------------------------------------------------------------------

    async def wait_for_records(self, tps: list[TopicPartition], seconds: float, *, more: bool = False) -> None:
        """Wait until something has been fetched of any of these; with `more`, until more has been fetched."""
        ready = False
        for tp in tps:
            fetched = self._fetched.get(tp)
            if isinstance(fetched, KafkaError):
                del self._fetched[tp]
                self._look_soon()
                raise fetched
            ready = ready or fetched is not None
        if more or not ready:
            loop = asyncio.get_running_loop()
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiters.append(waiter)
            timer = loop.call_later(seconds, _finish, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
                if waiter in self._waiters:
                    self._waiters.remove(waiter)

    def take(self, tp: TopicPartition, most: int) -> list[Record]:
        """Up to `most` of the records that have been fetched; the place moves on, behind the last over markers too."""
        fetched = self._fetched.get(tp)
        if not isinstance(fetched, _Fetch):
            return []
        records = fetched.records[fetched.taken : fetched.taken + most]
        fetched.taken += len(records)
        self.marked_at = max(self.marked_at, fetched.marked_at)
        state = self._state(tp)
        if records:
            state.place = records[-1].offset + 1
        if len(records) < most:  # only then it is known that no more follow
            state.place = fetched.next
            del self._fetched[tp]
            self._look_soon()
        return records

    def end(self, tp: TopicPartition) -> int | None:
        """The high watermark as the last fetch saw it."""
        state = (self._states or {}).get(tp)
        return state.end if state is not None else None

    def known_end(self, tp: TopicPartition, seconds: float) -> int | None:
        """The end of a partition: as if a fetch had just seen it."""
        end: int = self._broker.log_of(tp).stable
        return end

    def next_offset(self, tp: TopicPartition) -> int | None:
        """The offset after the last record taken and the markers behind it."""
        state = (self._states or {}).get(tp)
        return state.place if state is not None else None


def _wake(waiters: list[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        _finish(waiter)
    waiters.clear()


def _finish(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
