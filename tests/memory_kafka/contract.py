"""What the lane, the intake and the document writer count on in Kafka, as questions to one.

`test_contract.py` asks the Kafka in memory, `tests/live/test_memory_kafka.py` a real one, with the real clients: so the
one in memory is held to the same answers. Each question has topics, groups and transactional ids of its own.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

import pytest
from aiokafka import TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import (
    IllegalOperation,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    ProducerFenced,
)

from app.settings import Settings
from app.worker.kafka.consumer import OpenConsumer
from app.worker.kafka.producer import OpenProducer, close_producer
from tests.patience import PATIENCE

#: Of the first record, in ms: a broker deletes what is older than its retention.
TIME: Final = int(time.time() * 1000)


@dataclass(frozen=True)
class World:
    """A Kafka, and names for one question. `topic` has two partitions."""

    settings: Settings
    topic: str
    open_consumer: OpenConsumer
    open_producer: OpenProducer
    delete_before: Callable[[TopicPartition, int], Coroutine[Any, Any, None]]

    @property
    def tp(self) -> TopicPartition:
        """The partition that most questions are about."""
        return TopicPartition(self.topic, 0)

    @contextlib.asynccontextmanager
    async def producer(self, partition: int | None = 0) -> AsyncIterator[Any]:
        """A producer, closed at the end."""
        producer = await self.open_producer(self.settings, partition)
        try:
            yield producer
        finally:
            await close_producer(producer)

    @contextlib.asynccontextmanager
    async def consumer(self, *, at: int | None = 0, **options: Any) -> AsyncIterator[Any]:
        """A consumer of the partition, at an offset."""
        consumer = await self.open_consumer(self.settings, auto_offset_reset="none", fetch_max_wait_ms=50, **options)
        try:
            consumer.assign([self.tp])
            if at is not None:
                consumer.seek(self.tp, at)
            yield consumer
        finally:
            await consumer.stop()

    async def put(self, producer: Any, *values: bytes, topic: str = "", partition: int = 0) -> None:
        """Write a batch, and wait until it is there."""
        batch = producer.create_batch()
        for number, value in enumerate(values):
            assert batch.append(timestamp=TIME + number, key=b"k", value=value, headers=[]) is not None
        await (await producer.send_batch(batch, topic or self.topic, partition=partition))

    async def transaction(self, producer: Any, *values: bytes) -> None:
        """Write a batch in a transaction of its own."""
        await producer.begin_transaction()
        await self.put(producer, *values)
        await producer.commit_transaction()

    async def end(self) -> int:
        """Where readers of committed records would end now."""
        async with self.consumer() as consumer:
            ends: dict[TopicPartition, int] = await consumer.end_offsets([self.tp])
            return ends[self.tp]


async def read(world: World, consumer: Any, count: int, seconds: float = PATIENCE) -> list[bytes]:
    """So many records, and those that came with them."""
    found: list[bytes] = []
    async with asyncio.timeout(seconds):
        while len(found) < count:
            await consumer.wait_for_records([world.tp], 0.1)
            found += [record.value for record in consumer.take(world.tp, 100)]
    return found


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = PATIENCE) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(seconds):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.03)


async def settled(world: World, end: int) -> None:
    """Wait until the markers of what has been committed are written."""

    async def ends_there() -> bool:
        return await world.end() == end

    await until(ends_there)


# -- transactions -----------------------------------------------------------------------------------------------------


async def an_open_transaction_holds_readers_back(world: World) -> None:
    async with world.producer() as producer, world.producer(None) as other, world.consumer() as consumer:
        await world.put(other, b"before")
        await producer.begin_transaction()
        await world.put(producer, b"within")
        await world.put(other, b"behind")
        assert await world.end() == 1
        assert await read(world, consumer, 1) == [b"before"]

        async def knows_the_end() -> bool:  # by a fetch that began after the last record had come
            await consumer.wait_for_records([world.tp], 0.3)
            assert consumer.take(world.tp, 100) == []
            return (consumer.next_offset(world.tp), consumer.end(world.tp)) == (1, 3)

        await until(knows_the_end)
        await producer.commit_transaction()
        assert await read(world, consumer, 2) == [b"within", b"behind"]
        await settled(world, 4)


async def an_aborted_transaction_is_passed_over(world: World) -> None:
    async with world.producer() as producer, world.consumer() as consumer:
        await producer.begin_transaction()
        await world.put(producer, b"a", b"b")
        await producer.abort_transaction()
        await world.transaction(producer, b"c")
        assert await read(world, consumer, 1) == [b"c"]
        await settled(world, 5)


async def a_place_moves_over_markers_when_no_record_is_left(world: World) -> None:
    async with world.producer() as producer, world.consumer() as consumer:
        await world.transaction(producer, b"a", b"b")
        await settled(world, 3)
        await consumer.wait_for_records([world.tp], PATIENCE)
        assert [record.offset for record in consumer.take(world.tp, 1)] == [0]
        assert consumer.next_offset(world.tp) == 1
        assert [record.offset for record in consumer.take(world.tp, 1)] == [1]
        assert consumer.next_offset(world.tp) == 2

        async def is_behind_the_marker() -> bool:  # a broker may answer with the records before the marker is readable
            assert consumer.take(world.tp, 1) == []
            return bool(consumer.next_offset(world.tp) == 3)

        await until(is_behind_the_marker)


async def a_new_producer_fences_the_old_one(world: World) -> None:
    async with world.producer() as old:
        await world.transaction(old, b"a")
        await settled(world, 2)
        await old.begin_transaction()
        await world.put(old, b"b")
        async with world.producer() as new:
            assert await world.end() == 4  # what was left open is decided before the new one may write
            with pytest.raises(ProducerFenced):
                await old.commit_transaction()
            await world.transaction(new, b"c")
            async with world.consumer() as consumer:
                assert await read(world, consumer, 2) == [b"a", b"c"]


async def a_fenced_producer_writes_nothing(world: World) -> None:
    async with world.producer() as old, world.producer():
        await old.begin_transaction()
        with pytest.raises((ProducerFenced, KafkaError)):
            await world.put(old, b"a")
        with pytest.raises((ProducerFenced, AssertionError)):
            await old.commit_transaction()
        with pytest.raises((ProducerFenced, AssertionError)):
            await old.begin_transaction()
        assert await world.end() == 0


async def a_transaction_that_nobody_ends_is_aborted(world: World) -> None:
    async with world.producer() as producer, world.consumer() as consumer:
        await producer.begin_transaction()
        await world.put(producer, b"a")

        async def is_ended() -> bool:
            return await world.end() == 2

        await until(is_ended)  # brokers look for such ones every now and then
        with pytest.raises(ProducerFenced):
            await producer.commit_transaction()
        async with world.producer() as again:
            await world.transaction(again, b"b")
            assert await read(world, consumer, 1) == [b"b"]


async def transactions_of_different_ids_do_not_fence_each_other(world: World) -> None:
    async with world.producer(0) as one, world.producer(1) as two, world.consumer() as consumer:
        await one.begin_transaction()
        await world.put(one, b"a")
        await world.transaction(two, b"b")
        await one.commit_transaction()
        assert sorted(await read(world, consumer, 2)) == [b"a", b"b"]


async def what_is_called_in_the_wrong_state_says_so(world: World) -> None:
    async with world.producer() as producer:
        with pytest.raises(IllegalOperation):
            await world.put(producer, b"a")
        with pytest.raises(IllegalOperation):
            await producer.send_offsets_to_transaction({world.tp: 1}, "group")
        with pytest.raises(AssertionError):
            await producer.commit_transaction()
        await producer.begin_transaction()
        with pytest.raises(AssertionError):
            await producer.begin_transaction()
        await producer.commit_transaction()  # of nothing


async def offsets_hold_when_their_transaction_is_committed(world: World) -> None:
    group = world.topic
    async with world.producer() as producer, world.consumer(group_id=group) as consumer:
        assert await consumer.committed(world.tp) is None
        await producer.begin_transaction()
        await world.put(producer, b"a")
        await producer.send_offsets_to_transaction({world.tp: 5}, group)
        await producer.abort_transaction()
        await producer.begin_transaction()
        await world.put(producer, b"a")
        await producer.send_offsets_to_transaction({world.tp: 7}, group)
        assert await consumer.committed(world.tp) is None
        await producer.commit_transaction()

        async def holds() -> bool:
            return bool(await consumer.committed(world.tp) == 7)

        await until(holds)


# -- consumers --------------------------------------------------------------------------------------------------------


async def a_seek_drops_what_has_been_fetched(world: World) -> None:
    async with world.producer(None) as producer, world.consumer() as consumer:
        await world.put(producer, b"a", b"b", b"c")
        await consumer.wait_for_records([world.tp], PATIENCE)
        consumer.seek(world.tp, 2)
        assert consumer.take(world.tp, 100) == []
        assert await read(world, consumer, 1) == [b"c"]
        consumer.seek(world.tp, 1)
        assert await read(world, consumer, 2) == [b"b", b"c"]


async def an_assignment_drops_what_has_been_fetched(world: World) -> None:
    async with world.producer(None) as producer, world.consumer() as consumer:
        await world.put(producer, b"a", b"b")
        await consumer.wait_for_records([world.tp], PATIENCE)
        consumer.assign([world.tp, TopicPartition(world.topic, 1)])
        assert consumer.take(world.tp, 100) == []
        consumer.seek(TopicPartition(world.topic, 1), 0)
        consumer.seek(world.tp, 1)
        assert await read(world, consumer, 1) == [b"b"]


async def a_record_that_is_gone_is_told_once(world: World) -> None:
    async with world.producer(None) as producer:
        await world.put(producer, b"a")
        await world.put(producer, b"b")
    await world.delete_before(world.tp, 1)
    async with world.consumer() as consumer:
        with pytest.raises(OffsetOutOfRangeError) as told:
            await read(world, consumer, 1)
        assert told.value.args == ({world.tp: 0},)
        assert await consumer.beginning_offsets([world.tp]) == {world.tp: 1}
        consumer.seek(world.tp, 1)
        assert await read(world, consumer, 1) == [b"b"]


async def without_a_place_there_is_none_to_begin_at(world: World) -> None:
    async with world.consumer(at=None, group_id=world.topic) as consumer:
        with pytest.raises(NoOffsetForPartitionError) as told:
            await read(world, consumer, 1)
        assert told.value.args == (world.tp,)


async def the_beginning_is_found(world: World) -> None:
    async with world.producer(None) as producer, world.consumer(at=None) as consumer:
        await world.put(producer, b"a")
        await world.put(producer, b"b")
        await world.delete_before(world.tp, 1)
        await consumer.seek_to_beginning(world.tp)
        assert consumer.next_offset(world.tp) == 1
        assert await read(world, consumer, 1) == [b"b"]
        found = await consumer.offsets_for_times({world.tp: TIME - 1})
        assert found[world.tp].offset == 1
        assert (await consumer.offsets_for_times({world.tp: TIME + 100}))[world.tp] is None


# -- groups -----------------------------------------------------------------------------------------------------------


class Told(ConsumerRebalanceListener):  # type: ignore[misc]
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, list[int]]] = []

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        self.events.append(("revoked", sorted(tp.partition for tp in revoked)))

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self.events.append(("assigned", sorted(tp.partition for tp in assigned)))

    async def wait(self, count: int) -> None:
        """Wait until so much has been told."""

        async def is_told() -> bool:
            return len(self.events) >= count

        await until(is_told)


@contextlib.asynccontextmanager
async def a_member(world: World, told: Told) -> AsyncIterator[Any]:
    session = int(world.settings.session_timeout * 1000)
    consumer = await world.open_consumer(
        world.settings,
        group_id=world.topic,
        auto_offset_reset="none",
        fetch_max_wait_ms=50,
        session_timeout_ms=session,
        heartbeat_interval_ms=session // 10,
        rebalance_timeout_ms=session * 3,
    )
    try:
        consumer.subscribe([world.topic], listener=told)
        yield consumer
    finally:
        await consumer.stop()


async def members_share_and_are_told_before_and_after(world: World) -> None:
    one, two = Told(), Told()
    async with a_member(world, one) as first:
        await one.wait(2)
        assert one.events == [("revoked", []), ("assigned", [0, 1])]
        assert first.assignment() == {world.tp, TopicPartition(world.topic, 1)}
        async with a_member(world, two) as second:
            await two.wait(2)
            await one.wait(4)
            assert one.events[2] == ("revoked", [0, 1])
            assert sorted(one.events[3][1] + two.events[1][1]) == [0, 1]
            assert len(second.assignment()) == 1
        await one.wait(6)
        assert one.events[5] == ("assigned", [0, 1])


async def a_commit_of_what_is_given_to_others_is_refused(world: World) -> None:
    one, two = Told(), Told()
    async with a_member(world, one) as first:
        await one.wait(2)
        await first.commit({world.tp: 3})
        assert await first.committed(world.tp) == 3
        async with a_member(world, two) as second:
            await two.wait(2)
            await one.wait(4)
            (theirs,) = second.assignment()
            with pytest.raises(IllegalStateError):
                await first.commit({theirs: 4})
            await second.commit({theirs: 5})
            assert await first.committed(theirs) == 5


async def a_member_begins_at_what_was_committed(world: World) -> None:
    told = Told()
    async with world.producer(None) as producer:
        await world.put(producer, b"a", b"b", b"c")
    async with a_member(world, told) as member:
        await told.wait(2)
        await member.commit({world.tp: 1, TopicPartition(world.topic, 1): 0})
    again = Told()
    async with a_member(world, again) as member:
        await again.wait(2)
        assert await read(world, member, 2) == [b"b", b"c"]


async def a_member_that_is_cut_off_is_given_up_when_its_session_ends(world: World) -> None:
    one, two = Told(), Told()
    async with a_member(world, one) as first, a_member(world, two):
        await two.wait(2)
        await first.cut_off()

        async def has_both() -> bool:
            return two.events[-1] == ("assigned", [0, 1])

        await until(has_both)


async def topics_are_counted_and_none_is_made(world: World) -> None:
    async with world.consumer() as consumer:
        found = await consumer.describe([world.topic, "nothing"])
        assert {topic: facts.partitions for topic, facts in found.items()} == {world.topic: 2}
        everything = await consumer.describe(None)
        assert everything[world.topic].partitions == 2
        assert "nothing" not in everything


QUESTIONS: Final = (
    an_open_transaction_holds_readers_back,
    an_aborted_transaction_is_passed_over,
    a_place_moves_over_markers_when_no_record_is_left,
    a_new_producer_fences_the_old_one,
    a_fenced_producer_writes_nothing,
    a_transaction_that_nobody_ends_is_aborted,
    transactions_of_different_ids_do_not_fence_each_other,
    what_is_called_in_the_wrong_state_says_so,
    offsets_hold_when_their_transaction_is_committed,
    a_seek_drops_what_has_been_fetched,
    an_assignment_drops_what_has_been_fetched,
    a_record_that_is_gone_is_told_once,
    without_a_place_there_is_none_to_begin_at,
    the_beginning_is_found,
    members_share_and_are_told_before_and_after,
    a_commit_of_what_is_given_to_others_is_refused,
    a_member_begins_at_what_was_committed,
    a_member_that_is_cut_off_is_given_up_when_its_session_ends,
    topics_are_counted_and_none_is_made,
)
