"""Loading partitions: fence the last owner, read both changelogs to their end, find where the inputs go on.

The order is what makes a state exact: the producer first (its start fences, and aborts what was left open), then the
ends of the changelogs, then a read_committed read up to them. What a store on disk holds already is not read again.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from app.core.join.position import COMMITTED_BY_TALLY, POSITION_KEY, DamagedError, Position, StateError, is_position
from app.core.join.shard import Shard
from app.core.join.store import LoadedStore, take_changes
from app.core.stats import Stats
from app.core.wire.records import Record
from app.settings import Settings
from app.worker.kafka.client import SetupError
from app.worker.kafka.consumer import OpenConsumer, RecordConsumer, Stranger
from app.worker.kafka.producer import OpenProducer, close_producer
from app.worker.kafka.sizes import Sizes
from app.worker.lane.partition import Partition
from app.worker.store.stores import Stores

log = logging.getLogger(__name__)

#: So many strangers' records of a topic are named in the log; all are counted.
_MOST_NAMED: Final = 20
#: By partition what the changelog of the counts holds, by key.
Counts = dict[int, dict[bytes, bytes]]
#: What a group has committed, and what stands beside it.
Commits = Mapping[TopicPartition, OffsetAndMetadata | None]
#: Gives the ids of topics by name, as far as brokers know them.
AskIds = Callable[[], Awaitable[Mapping[str, str]]]


class Recovery:
    """What the last loading read, for the metrics."""

    records = 0
    seconds = 0.0


class Loaded(NamedTuple):
    """Partitions that can go on, and of each that cannot a sentence that says why."""

    partitions: list[Partition]
    damaged: dict[int, str]


class Loader:
    """Loads partitions that this worker has been assigned. `wall` is the clock that their records are stamped by."""

    def __init__(
        self,
        settings: Settings,
        partitions: int,
        new_shard: Callable[[int], Shard],
        stats: Stats,
        *,
        ask_ids: AskIds,
        open_consumer: OpenConsumer,
        open_producer: OpenProducer,
        sizes: Sizes,
        wall: Callable[[], float],
        stores: Stores,
    ) -> None:
        self.recovery = Recovery()
        self._settings = settings
        self._partitions = partitions
        self._new_shard = new_shard
        self._stats = stats
        self._ask_ids = ask_ids
        self._open_consumer = open_consumer
        self._open_producer = open_producer
        self._sizes = sizes
        self._wall = wall
        self._stores = stores

    async def load(self, numbers: list[int]) -> Loaded:
        """Load partitions. On an error, and when it is cancelled, none: all producers are closed.

        Raises SetupError where no partition of this app can be loaded, and StoreError.
        """
        producers: dict[int, AIOKafkaProducer] = {}
        stores: dict[int, LoadedStore] = {}

        async def fence(number: int) -> None:
            producers[number] = await self._open_producer(self._settings, number)

        try:
            for outcome in await asyncio.gather(*map(fence, numbers), return_exceptions=True):
                if isinstance(outcome, BaseException):
                    raise outcome
            commits = await self._read_commits(numbers)
            loaded = await self._recover(producers, stores)
            await self._find_starts(loaded.partitions, commits)
        except BaseException:
            for store in stores.values():
                store.close()
            await asyncio.gather(*map(close_producer, producers.values()), return_exceptions=True)
            raise
        for number in loaded.damaged:
            stores[number].close()
        await asyncio.gather(*(close_producer(producers[number]) for number in loaded.damaged))
        return loaded

    async def _recover(self, producers: dict[int, AIOKafkaProducer], stores: dict[int, LoadedStore]) -> Loaded:
        """Partitions as their changelogs say, which nobody else can write now; `stores` are those that are open."""
        settings = self._settings
        loop = asyncio.get_running_loop()
        began = loop.time()
        ids = await self._ask_ids()
        for number in sorted(producers):
            stores[number] = self._stores.open(number, ids.get(settings.exchanges_topic))
            await asyncio.sleep(0)
        panes, records = await self._read_changelogs(stores, ids)
        loaded = Loaded([], {})
        anew: defaultdict[str, list[int]] = defaultdict(list)
        for number, producer in sorted(producers.items()):
            try:
                try:
                    shard, position = self._recovered(number, stores[number], panes[number], ids)
                except StateError as error:
                    if not stores[number].was_kept:
                        raise
                    # What is on disk may be older than what the changelog remembers of what was taken out.
                    self._begin_anew(number, stores, ids, str(error))
                    panes_again, more = await self._read_changelogs({number: stores[number]}, ids)
                    records += more
                    shard, position = self._recovered(number, stores[number], panes_again[number], ids)
            except DamagedError as error:
                loaded.damaged[number] = (
                    f"Partition {number} is not counted, its state in {settings.exchanges_topic} and "
                    f"{settings.panes_topic} is damaged: {error}."
                )
                continue
            except StateError as error:
                raise SetupError(
                    f"Partition {number} of {settings.app_id} ({settings.exchanges_topic}, {settings.panes_topic}): "
                    f"{error}."
                ) from None
            if position is not None:
                self._check_position(position)
                for topic in _made_anew(position, ids):
                    shard.begin_anew(topic)
                    anew[topic].append(number)
            shard.topic_ids = {topic: ids[topic] for topic in settings.topics if topic in ids}
            loaded.partitions.append(Partition(number, shard, producer, settings, self._sizes, self._wall, self._stats))
            await asyncio.sleep(0)
        for topic, parts in sorted(anew.items()):
            log.warning("topic=%s partitions=%s has been made anew: it is read from its beginning", topic, parts)
        recovery = self.recovery
        recovery.records, recovery.seconds = records, loop.time() - began
        log.info(
            "loaded partitions=%s records=%d seconds=%.2f",
            [part.number for part in loaded.partitions], recovery.records, recovery.seconds,
        )  # fmt: skip
        return loaded

    def _recovered(
        self, number: int, store: LoadedStore, panes: dict[bytes, bytes], ids: Mapping[str, str]
    ) -> tuple[Shard, Position | None]:
        """A shard with the state that has been read, and where it stands. Raises StateError."""
        changelogs = (self._settings.exchanges_topic, self._settings.panes_topic)
        shard = self._new_shard(number)
        shard.changelog_ids = {topic: ids[topic] for topic in changelogs if topic in ids}
        return shard, shard.recover(store, panes)

    def _begin_anew(self, number: int, stores: dict[int, LoadedStore], ids: Mapping[str, str], why: str) -> None:
        """Put an empty store in the place of one that does not fit its changelog."""
        topic_id = ids.get(self._settings.exchanges_topic)
        stores[number] = self._stores.open_anew(number, topic_id, stores[number], why)

    def _check_position(self, position: Position) -> None:
        """Whether the state is of these topics. Raises SetupError."""
        settings = self._settings
        if position.partitions != self._partitions:
            raise SetupError(
                f"The state of {settings.app_id} was written with {position.partitions} partitions and the topics "
                f"have {self._partitions}: give the topics their old count, or start afresh with another "
                "TALLY_APP_ID."
            )
        if not position.offsets.keys() <= set(settings.topics):
            raise SetupError(
                f"The state of {settings.app_id} was written for topics {', '.join(sorted(position.offsets))}, and "
                f"this worker reads {', '.join(sorted(settings.topics))}: give it those topics, or another "
                "TALLY_APP_ID."
            )

    async def _read_changelogs(self, stores: dict[int, LoadedStore], ids: Mapping[str, str]) -> tuple[Counts, int]:
        """Read what stores lack of their changelog into them. Returns what the changelog of the counts holds, and how
        many records were kept. Records that no worker has written are left out.
        """
        settings = self._settings
        consumer = await self._open_consumer(
            settings,
            changelogs=True,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=4 << 20,
            fetch_max_wait_ms=100,
        )
        try:
            tps = [
                TopicPartition(topic, n) for topic in (settings.exchanges_topic, settings.panes_topic) for n in stores
            ]
            consumer.assign(tps)
            await consumer.seek_to_beginning(*tps)
            ends = await consumer.end_offsets(tps)
            await self._skip_kept(consumer, stores, ends, ids)
            panes: Counts = {number: {} for number in stores}
            kept = 0
            copied: set[TopicPartition] = set()  # where somebody else has written a mark
            left = tps
            while left := [tp for tp in left if (consumer.next_offset(tp) or 0) < ends[tp]]:
                await consumer.wait_for_records(left, 0.2)
                for tp in left:
                    changes: dict[bytes, bytes | None] = {}
                    # In short lists, so that the records' own objects take up little memory at any time.
                    while records := consumer.take(tp, 500):
                        for record in records:
                            key, value = record.key, record.value
                            if type(record) is Stranger:
                                if tp.topic == settings.exchanges_topic:  # those of the counts are told by the feed
                                    report_stranger(self._stats, tp, record)
                                    copied |= {tp} if key == POSITION_KEY and is_position(value or b"") else set()
                            elif key:
                                changes[key] = value
                    kept += len(changes)
                    if tp.topic == settings.panes_topic:
                        take_changes(panes[tp.partition], changes)
                    elif changes:
                        await stores[tp.partition].load(changes, consumer.next_offset(tp) or 0)
                    await asyncio.sleep(0)
            for store in stores.values():
                await store.loaded()
        finally:
            await consumer.stop()
        for tp in copied:
            if not stores[tp.partition] and not stores[tp.partition].place:
                raise SetupError(
                    f"Topic {tp.topic} has been copied from elsewhere: its records are not of workers' transactions, "
                    "and do not say whether they are whole. Start afresh with another TALLY_APP_ID."
                )
        return panes, kept

    async def _skip_kept(
        self,
        consumer: RecordConsumer,
        stores: dict[int, LoadedStore],
        ends: Mapping[TopicPartition, int],
        ids: Mapping[str, str],
    ) -> None:
        """Read on from where stores stand. One that stands where its changelog has nothing is begun anew."""
        topic = self._settings.exchanges_topic
        kept = {TopicPartition(topic, number): store for number, store in stores.items() if store.place}
        begins = await consumer.beginning_offsets(list(kept)) if kept else {}
        for tp, store in kept.items():
            if begins[tp] <= store.place <= ends[tp]:
                consumer.seek(tp, store.place)
            else:
                why = f"it stands at offset {store.place}, and {topic} goes from {begins[tp]} to {ends[tp]}"
                self._begin_anew(tp.partition, stores, ids, why)

    async def _read_commits(self, numbers: list[int]) -> Commits:
        """The group's offsets. Before the changelogs are read: what has been committed by now these hold as well."""
        settings = self._settings
        consumer = await self._open_consumer(settings, group_id=settings.app_id)
        try:
            return await consumer.commits([TopicPartition(topic, n) for topic in settings.topics for n in numbers])
        finally:
            await consumer.stop()

    async def _find_starts(self, loaded: list[Partition], commits: Commits) -> None:
        """Where partitions without a position begin: at the group's offset, else where `TALLY_START` says."""
        settings = self._settings
        shards = {
            TopicPartition(topic, part.number): part.shard
            for part in loaded
            for topic in settings.topics
            if topic not in part.shard.offsets
        }
        if not shards:
            return
        empty = {tp for tp, shard in shards.items() if not shard.offsets}
        starts: dict[TopicPartition, int] = {}
        for tp in shards:
            commit = commits[tp]
            if commit is not None and commit.metadata == COMMITTED_BY_TALLY and tp in empty:
                raise SetupError(
                    f"The state of {settings.app_id} is gone: its group has read {tp.topic} to {commit.offset} in "
                    f"partition {tp.partition}, and {settings.exchanges_topic} has nothing of it. Start afresh with "
                    f"another TALLY_APP_ID; or delete the group {settings.app_id}, and all is counted anew."
                )
            if commit is not None:
                starts[tp] = commit.offset
        starts |= await self._first_starts([tp for tp in shards if tp not in starts])
        for tp, start in starts.items():
            shards[tp].offsets[tp.topic] = start

    async def _first_starts(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        """Where `TALLY_START` says that partitions begin."""
        start = self._settings.start
        if not tps:
            return {}
        consumer = await self._open_consumer(self._settings)
        try:
            consumer.assign(tps)
            if start == "earliest":
                return dict(await consumer.beginning_offsets(tps))
            ends: dict[TopicPartition, int] = await consumer.end_offsets(tps)
            if isinstance(start, float):
                found = await consumer.offsets_for_times({tp: int(start * 1000) for tp in tps})
                ends |= {tp: first.offset for tp, first in found.items() if first is not None}
            return ends
        finally:
            await consumer.stop()


def _made_anew(position: Position, ids: Mapping[str, str]) -> list[str]:
    """The topics that have been made anew since: what the join has already is a duplicate there, and no more."""
    return [topic for topic, known in position.topics.items() if ids.get(topic, known) != known]


def report_stranger(stats: Stats, tp: TopicPartition, record: Record) -> None:
    """Count and name a record of a changelog that no worker of this app has written."""
    stats.unreadable[tp.topic] += 1
    if stats.unreadable[tp.topic] <= _MOST_NAMED:
        log.warning(
            "topic=%s partition=%d offset=%d key=%r was not written by a worker of this app and is left out: find out "
            "who writes there",
            tp.topic, tp.partition, record.offset, (record.key or b"")[:100],
        )  # fmt: skip
