"""The broker: topics, what producers append, what consumers fetch. One node, one replica."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, UnknownTopicOrPartitionError
from aiokafka.structs import OffsetAndMetadata

from app.core.wire.records import Record
from tests.memory_kafka.groups import Assignor, Group, in_turn
from tests.memory_kafka.log import Log, ProducerSequence, Slice
from tests.memory_kafka.network import BROKER, Network
from tests.memory_kafka.transactions import Transactions

#: The bytes of a batch without records.
BATCH_HEADER: Final = 61


class Fetched(NamedTuple):
    """The answer to a fetch for one partition: records or an error, and the high watermark."""

    found: Slice | KafkaError
    end: int


class _Parked:
    """A fetch that waits until there is something to give, or its time is up."""

    def __init__(self, wanted: list[tuple[TopicPartition, int]], most: int, reply: asyncio.Future[Any]) -> None:
        self.wanted = wanted
        self.most = most
        self.reply = reply
        self.timer: asyncio.TimerHandle | None = None


class Broker:
    """All topics, transactions and groups."""

    def __init__(self, network: Network, assign: Assignor = in_turn) -> None:
        self.topics: dict[str, list[Log]] = {}
        self.ids: dict[str, str] = {}
        self._created = 0
        #: `max.message.bytes` of those topics that take less than any batch.
        self.largest: dict[str, int] = {}
        self._network = network
        self.transactions = Transactions(network, self.log_of, self.moved, self._commit_offsets)
        self.groups: dict[str, Group] = {}
        self._assign = assign
        self._parked: defaultdict[TopicPartition, dict[_Parked, None]] = defaultdict(dict)

    def create(self, topic: str, partitions: int) -> None:
        """Add a topic, or partitions to one."""
        if topic not in self.topics:
            self._created += 1
            self.ids[topic] = f"id-{self._created}"
        logs = self.topics.setdefault(topic, [])
        logs += [Log() for _ in range(partitions - len(logs))]

    def delete(self, topic: str) -> None:
        """Delete a topic, and with it what groups have committed of it (GroupCoordinator.onPartitionsDeleted)."""
        del self.topics[topic], self.ids[topic]
        for group in self.groups.values():
            for tp in [tp for tp in group.offsets if tp.topic == topic]:
                del group.offsets[tp], group.metadata[tp]

    def log_of(self, tp: TopicPartition) -> Log:
        """The log of a partition."""
        logs: list[Log] = self.topics.get(tp.topic, [])
        if not 0 <= tp.partition < len(logs):
            raise UnknownTopicOrPartitionError
        log: Log = logs[tp.partition]
        return log

    def group(self, name: str) -> Group:
        """A group, made when it is first asked for."""
        if name not in self.groups:
            self.groups[name] = Group(name, lambda topic: len(self.topics.get(topic, ())), self._assign)
        return self.groups[name]

    # -- producing ----------------------------------------------------------------------------------------------------

    def append(self, tp: TopicPartition, records: list[Record]) -> int:
        """Append records of nobody in particular: a test's own."""
        base = self.log_of(tp).append(records)
        self.moved(tp)
        return base

    def produce(
        self, name: str | None, batches: Mapping[TopicPartition, tuple[list[Record], ProducerSequence]]
    ) -> dict[TopicPartition, int | KafkaError]:
        """Append a batch to each of some partitions: its offset, or why not."""
        outcome: dict[TopicPartition, int | KafkaError] = {}
        for tp, (records, origin) in batches.items():
            try:
                log = self.log_of(tp)
                if size_of(records) > self.largest.get(tp.topic, 1 << 62):
                    raise MessageSizeTooLargeError
                if name is not None:
                    self.transactions.check_write(name, origin.producer, origin.epoch, tp)
                outcome[tp] = log.append(records, origin, transactional=name is not None)
                self.moved(tp)
            except KafkaError as error:
                outcome[tp] = error
        return outcome

    def _commit_offsets(self, group: str, offsets: Mapping[TopicPartition, int]) -> None:
        self.group(group).keep(offsets)

    # -- consuming ----------------------------------------------------------------------------------------------------

    def offsets(self, tps: list[TopicPartition], when: int) -> dict[TopicPartition, int | None]:
        """ListOffsets for readers of committed records: of a time in ms, -2 for the first, -1 for the last stable."""
        found: dict[TopicPartition, int | None] = {}
        for tp in tps:
            log = self.log_of(tp)
            found[tp] = log.start if when == -2 else log.stable if when == -1 else log.at_time(when)
        return found

    def committed(self, group: str, tps: list[TopicPartition]) -> dict[TopicPartition, int | None]:
        """The offsets that a group has committed. What an open transaction holds is none yet."""
        return {tp: self.group(group).offsets.get(tp) for tp in tps}

    def commits(self, group: str, tps: list[TopicPartition]) -> dict[TopicPartition, OffsetAndMetadata | None]:
        """The same with what stands beside the offsets."""
        kept = self.group(group)
        return {
            tp: OffsetAndMetadata(kept.offsets[tp], kept.metadata[tp]) if tp in kept.offsets else None for tp in tps
        }

    def fetch(
        self, wanted: list[tuple[TopicPartition, int]], most: int, wait: float
    ) -> "dict[TopicPartition, Fetched] | asyncio.Future[dict[TopicPartition, Fetched]]":
        """What lies at some places; where nothing does, what comes within the time to wait.

        Readers of committed records wait for the last stable offset to move: a marker alone wakes them, what an open
        transaction appends does not (the broker's DelayedFetch).
        """
        found = self._look(wanted, most)
        if any(
            isinstance(it.found, KafkaError) or it.found.next > place
            for it, (_, place) in zip(found.values(), wanted, strict=True)
        ):
            return found
        loop = asyncio.get_running_loop()
        parked = _Parked(wanted, most, loop.create_future())
        for tp, _ in wanted:
            self._parked[tp][parked] = None
        parked.timer = loop.call_later(wait, self._serve, parked, context=BROKER)
        return parked.reply

    def _look(self, wanted: list[tuple[TopicPartition, int]], most: int) -> dict[TopicPartition, Fetched]:
        found: dict[TopicPartition, Fetched] = {}
        for tp, place in wanted:
            try:
                log = self.log_of(tp)
                found[tp] = Fetched(log.read(place, most), log.end)
            except KafkaError as error:
                found[tp] = Fetched(error, -1)
        return found

    def _serve(self, parked: _Parked) -> None:
        if parked.timer is not None:
            parked.timer.cancel()
        for tp, _ in parked.wanted:
            self._parked[tp].pop(parked, None)
        if not parked.reply.done():
            parked.reply.set_result(self._look(parked.wanted, parked.most))

    def moved(self, tp: TopicPartition) -> None:
        """Something was appended, or a transaction ended: whoever waits for it gets it."""
        waiting = self._parked.get(tp)
        if not waiting:
            return
        log = self.log_of(tp)
        for parked in list(waiting):
            if any(place < log.stable for it, place in parked.wanted if it == tp):
                self._serve(parked)


def size_of(records: list[Record]) -> int:
    """The bytes of a batch, nearly."""
    return BATCH_HEADER + sum(map(record_size, records))


def record_size(record: Record) -> int:
    """The bytes of a record in a batch, nearly."""
    return len(record.key or b"") + len(record.value or b"") + len(record.header_block) + 12
