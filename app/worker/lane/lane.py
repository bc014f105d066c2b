"""The fast lane: whole record lists from the canonical topics into shards, epochs out, by whoever Faust says owns them.

Faust tells it what is given and taken (`assign`, `revoke`); the lane reads with a consumer of its own, which belongs to
no group, starts at the positions of its partitions, and is handed lists of records a partition at a time.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Collection, Iterator

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from app.core.join.shard import Shard
from app.core.join.store import StoreError
from app.core.rules import Rulebook
from app.core.stats import Stats
from app.core.wire.partitioning import partition_of
from app.settings import Settings
from app.worker.clock import Clock
from app.worker.ending import named
from app.worker.kafka.client import SetupError
from app.worker.kafka.consumer import OpenConsumer, open_consumer
from app.worker.kafka.producer import OpenProducer, open_producer
from app.worker.kafka.sizes import Sizes
from app.worker.lane.garbage import Garbage
from app.worker.lane.inputs import Inputs
from app.worker.lane.loading import AskIds, Loader
from app.worker.lane.partition import Partition
from app.worker.lane.standbys import Standbys
from app.worker.lane.upkeep import Upkeep, pauses
from app.worker.store.stores import MemoryStores, Stores
from app.worker.troubles import Troubles

log = logging.getLogger(__name__)

_TICK_SECONDS = 0.02
_TICKS_A_SECOND = 50
#: Exchanges settled at once: so many that most have all their parts by then, few enough to be in the cache still.
_SETTLED_TOGETHER = 800
#: After so long the others on the loop have their turn, whatever is left to fold.
_TURN_SECONDS = 0.01
#: After so long without one the rest is one of several turns: such lists have records of hundreds of kB.
_LONG_SECONDS = 0.05
_REST_SECONDS = 0.005
_WAIT_SECONDS = 0.1
_CHANGES_PER_EPOCH = 10_000
#: With so many events of a partition unread its epochs are longer: fewer transactions, and exchanges that are written
#: once instead of twice. What an epoch delays is seconds old by then.
_FAR_BEHIND = 5_000
_LONGER = 5
#: What a changed pane costs the worker that writes it and those that read it is a tenth of a millisecond: they take no
#: more than a fifth of the time, however many models there are, and a tenth where much is unread. But an epoch is never
#: longer than so because of them, and than so where much is unread.
_SECONDS_A_PANE = 0.0005
_LONGEST_SECONDS = 2.0
_SECONDS_A_PANE_FAR_BEHIND = 0.001
_LONGEST_FAR_BEHIND_SECONDS = 10.0

#: So long the end of a rebalance waits for the last epochs of partitions that are another's now.
_HAND_OVER_SECONDS = 1.0

_READING = "Reading"
_RETRY_SECONDS = 0.5

#: Its loops turn many times a second; where one waits for Kafka, for some session time-outs at most, it gives up
#: before this.
_STANDSTILL_SECONDS = 120.0
_STANDSTILL_SESSIONS = 5
_AT_READING, _AT_COMMITTING = "reading", "committing"


class Lane:
    """All partitions of this worker.

    `rejoin` asks the group for a new assignment, `fail` ends the worker with a sentence, `ask_ids` gives the ids of
    topics.
    """

    def __init__(
        self,
        settings: Settings,
        rulebook: Rulebook,
        partitions: int,
        *,
        rejoin: Callable[[], None],
        fail: Callable[[SetupError], None],
        ask_ids: AskIds,
        open_consumer: OpenConsumer = open_consumer,
        open_producer: OpenProducer = open_producer,
        sizes: Sizes | None = None,
        clock: Clock | None = None,
        stores: Stores | None = None,
    ) -> None:
        self.settings = settings
        self.partitions = partitions
        self.stats = Stats()
        self.running: dict[int, Partition] = {}
        self.assigned: set[int] | None = None  # None until the group has answered
        self._rulebook = rulebook
        self._rejoin = rejoin
        self._ask_ids = ask_ids
        self._open_consumer = open_consumer
        self._sizes = Sizes() if sizes is None else sizes
        self.clock = clock if clock is not None else Clock()
        self.troubles = Troubles()
        self._stores = MemoryStores() if stores is None else stores
        self._loader = Loader(
            settings,
            partitions,
            self._new_shard,
            self.stats,
            ask_ids=ask_ids,
            open_consumer=open_consumer,
            open_producer=open_producer,
            sizes=self._sizes,
            wall=self.clock.now,
            stores=self._stores,
        )
        self.standbys = Standbys(settings, self._stores, ask_ids=ask_ids, open_consumer=open_consumer, now=self.now)
        self.upkeep = Upkeep(self._loader.load, self._take_loaded, fail, self.troubles)
        self.recovery = self._loader.recovery
        self._inputs: Inputs | None = None  # None before the start
        self._tasks: list[asyncio.Task[None]] = []
        self._wake = asyncio.Event()
        self._reading = asyncio.Lock()
        self._rebalancing = False
        self._turn = 0  # counts changes of what is read, so that lists fetched before one are dropped
        self._garbage = Garbage()
        self._turned: dict[str, float] = {}  # when each of its loops has begun another turn

    # -- what the rest of the worker asks -----------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether all that the group has given is loaded, and has shown that its epochs commit."""
        return (
            self.assigned is not None
            and self.assigned == set(self.running)
            and self.upkeep.all_well
            and all(part.committed is not None for part in self.running.values())
        )

    def standstill(self) -> str | None:
        """A sentence where one of its loops does not turn any more, which it does also while Kafka is away."""
        now = asyncio.get_running_loop().time()
        most = max(_STANDSTILL_SECONDS, _STANDSTILL_SESSIONS * self.settings.session_timeout)
        for what, since in self._turned.items():
            if now - since > most:
                return f"The worker has stood still for {now - since:.0f} seconds while {what}: start it again."
        return None

    def problems(self) -> Iterator[str]:
        """What is wrong now, a sentence each."""
        yield from self.upkeep.damaged.values()
        yield from self.troubles

    def now(self) -> float:
        """The clock's time, or the frozen one."""
        return self.settings.now if self.settings.now is not None else self.clock.now()

    def partition_of(self, puid: bytes) -> int:
        """The partition that a puid belongs to."""
        return partition_of(puid, self.partitions)

    def lag(self) -> tuple[dict[str, float], float]:
        """How many events each topic is behind, and by how many seconds the slowest partition is.

        NaN where that is not known: while a partition is not loaded, and where the broker has not answered a fetch of
        it within a session's time.
        """
        events: dict[str, float] = dict.fromkeys(self.settings.topics, 0.0)
        seconds = 0.0
        if self._inputs is None or self.assigned is None or self.assigned != set(self.running):
            return dict.fromkeys(events, math.nan), math.nan
        for part in self.running.values():
            for topic in self.settings.topics:
                events[topic] += self._inputs.known_unread(part, topic)
            clock = self._clock(part)
            if clock is not None:
                seconds = max(seconds, self.now() - clock)
        return events, math.nan if any(map(math.isnan, events.values())) else seconds

    def lags(self) -> dict[int, float]:
        """How many events each partition that is loaded here is behind; NaN where that is not known."""
        inputs, topics = self._inputs, self.settings.topics
        return {
            number: math.nan if inputs is None else sum(inputs.known_unread(part, topic) for topic in topics)
            for number, part in self.running.items()
        }

    def fetch_age(self) -> float:
        """Seconds since a broker last answered a fetch; NaN while nothing is fetched."""
        return self._inputs.consumer.fetch_age() if self._inputs is not None and self.running else math.nan

    def unanswered(self, seconds: float) -> list[str]:
        """The topics of which a partition has been asked for so long in vain."""
        return self._inputs.consumer.unanswered(seconds) if self._inputs is not None else []

    def store_bytes(self) -> dict[str, int]:
        """How many bytes the stores on disk have, by where: memory, disk."""
        return self._stores.sizes()

    def longest_epoch(self) -> float:
        """For how many seconds the oldest epoch on its way has been waiting."""
        now = asyncio.get_running_loop().time()
        begun = [since for part in self.running.values() if (since := part.waiting_since()) is not None]
        return now - min(begun) if begun else 0.0

    # -- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect and begin; nothing is read before the first `assign`."""
        consumer = await self._open_consumer(
            self.settings, auto_offset_reset="none", max_partition_fetch_bytes=1 << 20, fetch_max_wait_ms=100
        )
        self._inputs = Inputs(self.settings, self.partitions, consumer)
        loop = asyncio.get_running_loop()
        self._garbage.begin()
        self._tasks = [loop.create_task(self._read()), loop.create_task(self._commit_epochs())]

    async def stop(self) -> None:
        """Commit what is known and give everything up."""
        await self.upkeep.stop()
        parts = await self._let_go([*self.running.values()])
        await asyncio.gather(*(part.flush(clock) for part, clock in parts.items()))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.standbys.keep(set())
        await asyncio.gather(*(part.close() for part in parts))
        if self._inputs is not None:
            await self._inputs.consumer.stop()

    def failure(self) -> BaseException | None:
        """What ended one of the lane's tasks, if anything did."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and task.exception() is not None:
                return task.exception()
        return self.upkeep.failure() or self.standbys.failure()

    # -- ownership ----------------------------------------------------------------------------------------------------

    async def revoke(self) -> None:
        """A rebalance begins, and all goes on until it is over: most partitions stay, and who else waits for a member
        that is slow need not wait here. Whoever is given one of ours fences our producer before it reads its state, so
        an epoch of ours that comes too late does not count.
        """
        self._rebalancing = True
        self.upkeep.hold()

    async def assign(self, numbers: set[int], standbys: Collection[int] = ()) -> None:
        """A rebalance is over: go on with what is still ours, hand over what is not, load what is new; stand by."""
        for number in range(self.partitions):
            if number not in numbers:
                self.upkeep.disown(number)
        self.assigned = numbers
        await self.upkeep.keep(numbers)
        await self._hand_over([part for number, part in self.running.items() if number not in numbers])
        lost = [part for part in self.running.values() if part.lost is not None]
        for part in lost:
            self.upkeep.note_loss(part)
        await self._drop(lost)
        await self.standbys.keep({*standbys} - numbers)
        self._rebalancing = False
        self.upkeep.begin(numbers - set(self.running))

    def begin_anew(self, topic: str, identity: str) -> None:
        """Read a topic from its beginning if it has been made anew, with this id; empty where brokers have none."""
        parts = [part for part in self.running.values() if part.shard.topic_ids.get(topic, identity) != identity]
        if not (parts and identity):
            return
        log.warning("topic=%s has been made anew: it is read from its beginning", topic)
        for part in parts:
            part.shard.begin_anew(topic)
            part.shard.topic_ids[topic] = identity
        self._point()

    def _take_loaded(self, parts: list[Partition]) -> None:
        self.running.update((part.number, part) for part in parts)
        self._point()

    def _new_shard(self, number: int) -> Shard:
        settings = self.settings
        return Shard(
            number,
            self.partitions,
            self._rulebook,
            settings.clock,
            self._sizes.limits(settings),
            Stats(),
            logs=settings.log_topic is not None,
        )

    async def _hand_over(self, parts: list[Partition]) -> None:
        """Give partitions up that are another's now. What is known of them is made durable where that is a matter of a
        moment: no heartbeat is sent meanwhile, and what is not durable their next owner reads again.
        """
        let_go = await self._let_go(parts)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_HAND_OVER_SECONDS):
                await asyncio.gather(*(part.flush(clock) for part, clock in let_go.items()))
        await asyncio.gather(*(part.close() for part in let_go))

    async def _let_go(self, parts: list[Partition]) -> dict[Partition, float | None]:
        """Read these partitions no more. Returns those that were read till now, with the clock of each."""
        async with self._reading:
            clocks = {part: self._settled_clock(part) for part in parts if self.running.get(part.number) is part}
            for part in clocks:
                del self.running[part.number]
            if clocks:
                self._garbage.much = True
                self._point()
        return clocks

    async def _drop(self, parts: list[Partition]) -> None:
        """Give partitions up that are not given up yet. All at once: a stuck producer takes its time to close."""
        await asyncio.gather(*(part.close() for part in await self._let_go(parts)))

    def _point(self) -> None:
        """Read the running partitions, each on from where its shard stands."""
        if self._inputs is not None:
            self._turn += 1
            self._inputs.point(self.running.values())
            self._wake.set()

    # -- reading ------------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        assert self._inputs is not None
        consumer = self._inputs.consumer
        stuck = False  # whether all that is fetched waits for what is not
        while True:
            now = self._turned[_AT_READING] = asyncio.get_running_loop().time()
            open_parts = [
                part
                for part in self.running.values()
                if not part.saturated and part.lost is None and part.rests_until <= now
            ]
            if not open_parts:
                self._wake.clear()
                # Not wait_for: up to Python 3.11 it forgets that it is cancelled when what it waits for has come.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.05 if self.running else 5):
                        await self._wake.wait()
                continue
            turn = self._turn
            tps = [TopicPartition(topic, part.number) for part in open_parts for topic in self.settings.topics]
            try:
                # Nothing is taken by this call: it waits until something has been fetched.
                await consumer.wait_for_records(tps, _WAIT_SECONDS, more=stuck)
                self.troubles.end(_READING)
            except OffsetOutOfRangeError as error:
                await self._move_into_range(error.args[0])
            except KafkaError as error:
                self.troubles.begin(_READING, f"Events could not be read; it is tried again ({named(error)}).")
                await asyncio.sleep(_RETRY_SECONDS)
            stuck = True
            for part in open_parts:
                if turn == self._turn and part.lost is None:
                    stuck = not await self._read_or_rest(part) and stuck

    async def _read_or_rest(self, part: Partition) -> bool:
        """The same for a partition that may hold what cannot be read: then it rests, and the others go on."""
        name = f"Reading partition {part.number}"
        try:
            moved = await self._read_partition(part)
        except StoreError as error:
            part.lose(error)
            return False
        except KafkaError as error:
            places = ", ".join(f"{topic} at {part.shard.offsets.get(topic, 0)}" for topic in self.settings.topics)
            self.troubles.begin(name, f"Partition {part.number} cannot be read on ({places}): {named(error)}.")
            part.rest(next(pauses(part.rests + 1)))
            return False
        if moved and part.rests:
            part.rests = 0
            self.troubles.end(name)
        return moved

    async def _read_partition(self, part: Partition) -> bool:
        """Fold what has been fetched of one partition, always on from the topic that is furthest back in time.

        So the parts of a puid meet: what is settled and written once need not be read and written again.
        Returns whether there was anything to fold.
        """
        inputs = self._inputs
        assert inputs is not None
        turn = self._turn
        shard = part.shard
        before = dict(shard.offsets)
        loop = asyncio.get_running_loop()
        while turn == self._turn and part.lost is None and not part.saturated:
            begun = self._turned[_AT_READING] = loop.time()
            more = False
            for _ in self.settings.topics:
                async with self._reading:
                    if turn != self._turn or part.lost is not None:
                        break
                    more = inputs.fold_next(part)
                if not more or loop.time() - begun > _TURN_SECONDS:
                    break
            if not more or shard.unsettled >= _SETTLED_TOGETHER:
                await self._settle(part)
            await asyncio.sleep(_REST_SECONDS if loop.time() - begun > _LONG_SECONDS else 0)
            if shard.waiting >= _CHANGES_PER_EPOCH and turn == self._turn:
                await self._cut_if_due(part)
            if not more:
                break
        if turn == self._turn:
            await self._cut_if_due(part)
        return shard.offsets != before

    async def _move_into_range(self, places: dict[TopicPartition, int]) -> None:
        """The broker no longer has the records that come next: go on with the oldest, and say what is lost.

        Where the topic ends before them it has been made anew, or cut: what the join has already is a duplicate.
        """
        assert self._inputs is not None
        consumer = self._inputs.consumer
        turn = self._turn
        try:
            beginnings = await consumer.beginning_offsets(list(places))
            ids = await self._ask_ids()
        except (KafkaError, SetupError) as error:
            log.debug("the beginnings of topics could not be read; the next fetch says it again: %r", error)
            return
        if turn != self._turn:
            return  # a fetch of what is read now will say it again, if it is still so
        for topic in {tp.topic for tp in places}:
            self.begin_anew(topic, ids.get(topic, ""))
        for tp, place in places.items():
            part = self.running.get(tp.partition)
            if part is None or part.shard.offsets.get(tp.topic) != place:
                continue
            goal = beginnings[tp]
            lost = max(0, goal - place)
            self.stats.lost[tp.topic] += lost
            log.error(
                "topic=%s partition=%d offset=%d is no longer there: going on at its beginning, %d; %s",
                tp.topic, tp.partition, place, goal,
                f"{lost} events were deleted before they were read" if lost else "it has been made anew, or cut",
            )  # fmt: skip
            part.shard.offsets[tp.topic] = goal
            consumer.seek(tp, goal)

    # -- epochs -------------------------------------------------------------------------------------------------------

    async def _commit_epochs(self) -> None:
        ticks = 0
        while True:
            self._turned[_AT_COMMITTING] = asyncio.get_running_loop().time()
            await asyncio.sleep(_TICK_SECONDS)
            ticks += 1
            if ticks % _TICKS_A_SECOND == 0:
                self._garbage.collect()
            lost = [part for part in self.running.values() if part.lost is not None]
            if lost and not self._rebalancing:
                for part in lost:
                    self.upkeep.note_loss(part)
                await self._drop(lost)
                if all(part.lost is not None and part.lost.refused for part in lost):
                    self.upkeep.begin({part.number for part in lost})  # nobody else has them: no rebalance
                else:
                    self._rejoin()
                continue
            turn = self._turn
            for part in list(self.running.values()):
                clock = self._settled_clock(part)
                shard, inputs = part.shard, self._inputs
                if clock is not None and shard.awaits_clock() and inputs is not None and inputs.knows_ends(part):
                    shard.hear_clock(clock)
                if clock is not None and part.swept != int(clock // self.settings.pane_seconds):
                    part.swept = int(clock // self.settings.pane_seconds)
                    await self._prepare(part)
                    if turn == self._turn:
                        part.expire(clock)
                if turn == self._turn:
                    await self._cut_if_due(part)
                if turn != self._turn:
                    break
                self.upkeep.look(part)

    async def _cut_if_due(self, part: Partition) -> None:
        """Begin the partition's next epoch, if it is time for it."""
        if self._due(part):
            turn = self._turn
            await self._prepare(part)
            if turn == self._turn and self._due(part):
                part.start_epoch(self._settled_clock(part))

    async def _settle(self, part: Partition) -> None:
        """Settle what a partition has absorbed, with turns for others in between."""
        await self._step(part, part.shard.settle_some, part.shard.unsettled)

    async def _prepare(self, part: Partition) -> None:
        """Do in steps, with turns for others in between, what the partition's next cut would do in one.

        Nothing is folded meanwhile: what is counted then would be written once more.
        """
        async with self._reading:
            await self._step(part, part.shard.prepare_some, 3 * part.shard.unprepared)  # settled, counted, written

    async def _step(self, part: Partition, step: Callable[[], bool], most: int) -> None:
        """Take steps until one says that nothing is left; at most so many, since more may come meanwhile."""
        turn = self._turn
        try:
            for _ in range(most):
                if turn != self._turn or part.lost is not None or step():
                    break
                await asyncio.sleep(0)
        except StoreError as error:
            part.lose(error)

    def _due(self, part: Partition) -> bool:
        """Whether it is time for the partition's next epoch, and there is something in it."""
        length = max(self.settings.epoch_ms / 1000, len(self.running) * 0.025)
        a_pane, longest = _SECONDS_A_PANE, _LONGEST_SECONDS
        if self._inputs is not None and self._inputs.unread_in_all(part) > _FAR_BEHIND:
            length *= _LONGER
            a_pane, longest = _SECONDS_A_PANE_FAR_BEHIND, _LONGEST_FAR_BEHIND_SECONDS
        panes = part.shard.changed_panes * self.partitions  # of all partitions, if theirs change as many
        length = max(length, min(panes * a_pane, longest))
        waited = asyncio.get_running_loop().time() - part.cut_at
        early = waited < length and part.shard.waiting < _CHANGES_PER_EPOCH
        return not (early or part.committing or part.lost is not None) and part.has_news

    def _clock(self, part: Partition) -> float | None:
        ended = self._inputs.ended(part) if self._inputs is not None else []
        return part.shard.clock(self.now(), ended, self.settings.topics)

    def _settled_clock(self, part: Partition) -> float | None:
        """The same for what cannot be taken back; None while nobody knows whether the clock is right."""
        if self.settings.now is None and not self.clock.settled:
            return None
        # What a clock that was wrong has left behind is not for ever.
        part.shard.counts.latest = min(part.shard.counts.latest, self.now())
        return self._clock(part)
