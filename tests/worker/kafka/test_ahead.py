"""What a consumer fetches ahead: the next request goes out while a list is read, within a bound, and seeks drop it."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import FetchError, FetchResult
from aiokafka.errors import OffsetOutOfRangeError

from app.worker.kafka.batches import Batches
from app.worker.kafka.consumer import ParsedFetcher, RecordConsumer
from tests.worker.kafka.test_consumer import a_batch, fetched

TP, OTHER = TopicPartition("responses", 0), TopicPartition("responses", 1)


class State:
    """The position of a partition, as aiokafka keeps it."""

    has_valid_position = True
    paused = False
    highwater = 100

    def __init__(self) -> None:
        self.position = 0

    def consumed_to(self, position: int) -> None:
        self.position = position


class Assignment:
    """Partitions that are read."""

    active = True

    def __init__(self) -> None:
        self.states = {TP: State(), OTHER: State()}

    def state_value(self, tp: TopicPartition) -> State:
        return self.states[tp]


def a_consumer(assignment: Assignment) -> Any:
    """A consumer whose fetcher fetches nothing: tests say what has come."""
    fetcher = ParsedFetcher.__new__(ParsedFetcher)
    fetcher._wait_consume_future = None
    fetcher._fetch_waiters = set()
    fetcher.reset()
    consumer = RecordConsumer.__new__(RecordConsumer)
    consumer._fetcher = fetcher
    consumer._subscription = SimpleNamespace(subscription=SimpleNamespace(assignment=assignment))
    consumer._closed = True
    consumer.marked_at = 0
    return consumer


def arrive(consumer: Any, assignment: Assignment, data: bytes, tp: TopicPartition = TP) -> None:
    """A list comes, as aiokafka puts it down."""
    begin = assignment.states[tp].position
    result = FetchResult(tp, assignment=assignment, partition_records=fetched(data, start=begin), backoff=0.1)
    consumer._fetcher._records[tp] = result


def offsets(records: Any) -> list[int]:
    return [record.offset for record in records]


def test_the_position_moves_behind_a_list_before_it_is_read() -> None:
    assignment = Assignment()
    consumer = a_consumer(assignment)
    arrive(consumer, assignment, a_batch(0, 1, 2) + a_batch(3, next_offset=6))
    assert assignment.states[TP].position == 6
    assert TP not in consumer._fetcher._records  # so that aiokafka asks for what follows
    arrive(consumer, assignment, a_batch(6, 7))
    assert consumer.next_offset(TP) == 0
    assert offsets(consumer.take(TP, 2)) == [0, 1]
    assert consumer.next_offset(TP) == 2
    assert offsets(consumer.take(TP, 10)) == [2, 3]
    assert consumer.next_offset(TP) == 6
    assert offsets(consumer.take(TP, 10)) == [6, 7]
    assert (consumer.take(TP, 10), consumer.next_offset(TP)) == ([], 8)


def test_a_batch_that_is_cut_off_is_asked_for_again() -> None:
    assignment = Assignment()
    consumer = a_consumer(assignment)
    arrive(consumer, assignment, a_batch(0, 1) + a_batch(2, 3)[:-5])
    assert assignment.states[TP].position == 2
    assert offsets(consumer.take(TP, 10)) == [0, 1]


def test_a_seek_drops_what_is_aside_of_that_partition_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assignment = Assignment()
    consumer = a_consumer(assignment)
    monkeypatch.setattr(AIOKafkaConsumer, "seek", lambda _self, tp, offset: assignment.states[tp].consumed_to(offset))
    arrive(consumer, assignment, a_batch(0, 1))
    arrive(consumer, assignment, a_batch(0, 1), OTHER)
    consumer.seek(TP, 7)
    assert (consumer.take(TP, 10), consumer.next_offset(TP)) == ([], 7)
    assert offsets(consumer.take(OTHER, 10)) == [0, 1]
    assert consumer._fetcher._aside_bytes == 0


def test_nothing_is_read_that_was_fetched_before_a_rebalance() -> None:
    before = Assignment()
    consumer = a_consumer(before)
    arrive(consumer, before, a_batch(0, 1))
    before.active = False
    assert consumer.take(TP, 10) == []
    assert consumer._fetcher._aside_bytes == 0
    after = Assignment()
    consumer._subscription.subscription.assignment = after
    arrive(consumer, after, a_batch(0, 1))
    consumer._fetcher._records.clear()  # as aiokafka does where the assignment has changed
    assert consumer.take(TP, 10) == []


def test_beyond_the_bound_a_list_waits_where_aiokafka_puts_it() -> None:
    assignment = Assignment()
    consumer = a_consumer(assignment)
    consumer.keep_aside(1)
    arrive(consumer, assignment, a_batch(0, 1))
    arrive(consumer, assignment, a_batch(2, 3))
    assert assignment.states[TP].position == 2
    arrive(consumer, assignment, a_batch(0), OTHER)  # each partition can go on
    assert TP in consumer._fetcher._records
    assert [offsets(consumer.take(TP, 10)) for _ in range(2)] == [[0, 1], [2, 3]]
    assert offsets(consumer.take(OTHER, 10)) == [0]
    assert not consumer._fetcher._aside_bytes


def test_an_error_is_raised_after_what_came_before_it() -> None:
    assignment = Assignment()
    consumer = a_consumer(assignment)
    arrive(consumer, assignment, a_batch(0))
    consumer._fetcher._records[TP] = FetchError(error=OffsetOutOfRangeError({TP: 1}), backoff=0.1)

    async def wait() -> None:
        await consumer.wait_for_records([TP], 0)

    asyncio.run(wait())
    assert offsets(consumer.take(TP, 10)) == [0]
    with pytest.raises(OffsetOutOfRangeError):
        asyncio.run(wait())


def test_batches_of_the_oldest_format_do_not_say_where_the_next_list_begins() -> None:
    assert Batches(b"\0" * 100).next_offset() is None
    assert Batches(b"").next_offset() is None
