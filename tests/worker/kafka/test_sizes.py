"""Sizes: what batches and records may have, by what topics take, and what is learnt from refusals."""

import asyncio
from typing import Any

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    RecordListTooLargeError,
    RecordTooLargeError,
)
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import RecordMetadata
from hypothesis import given
from hypothesis import strategies as st

from app.settings import load_settings
from app.worker.kafka.metadata import LARGEST_BATCH, TopicFacts
from app.worker.kafka.producer import BATCH_BYTES
from app.worker.kafka.sizes import RefusedBatchError, Sending, Sizes, size_alone
from app.worker.kafka.topics import LEAST_BATCH

TOPIC = "inference-requests"
SETTINGS = load_settings(log_topic="inference-log")


def taking(**most: int | None) -> dict[str, TopicFacts]:
    """What brokers say of topics; None where they do not tell."""
    return {
        topic.replace("_", "-"): TopicFacts(1, "", {} if limit is None else {LARGEST_BATCH: str(limit)})
        for topic, limit in most.items()
    }


def of_all(limit: int) -> Sizes:
    return Sizes({topic: TopicFacts(1, "", {LARGEST_BATCH: str(limit)}) for topic in SETTINGS.own_topics})


@pytest.mark.parametrize(
    ("told", "batch", "alone"),
    [
        (60_000, 60_000, 60_000),
        (1_048_588, BATCH_BYTES, 1_048_588),
        (10 << 20, BATCH_BYTES, 10 << 20),
        (None, BATCH_BYTES, BATCH_BYTES),
    ],
)
def test_a_batch_has_what_its_topic_takes_and_a_record_alone_even_more(
    told: int | None, batch: int, alone: int
) -> None:
    sizes = Sizes(taking(inference_requests=told))
    assert (sizes.of(TOPIC), sizes.largest(TOPIC)) == (batch, alone)
    assert (Sizes().of(TOPIC), Sizes().largest(TOPIC)) == (BATCH_BYTES, BATCH_BYTES)


records = st.tuples(
    st.none() | st.binary(max_size=300),
    st.none() | st.binary(max_size=3000),
    st.lists(st.tuples(st.text(max_size=20), st.binary(max_size=200)), max_size=5),
)


@given(st.lists(records, min_size=1, max_size=20), st.integers(500, 5000))
def test_no_batch_is_larger_than_it_should_be_but_of_one_record_that_is_known_to_be(
    some: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]], most: int
) -> None:
    sizes = Sizes(taking(inference_requests=most))
    batch = BatchBuilder(sizes.of(TOPIC), 0)
    for key, value, headers in some:
        if batch.append(timestamp=1_795_244_400_000, key=key, value=value, headers=headers) is None:
            break
        if batch.record_count() > 1:
            assert batch.size() <= most
        else:
            assert batch.size() <= size_alone(key, value, headers) <= batch.size() + 30
            assert sizes.fits(TOPIC, key, value, headers) == (size_alone(key, value, headers) <= most)


def test_what_is_refused_is_learnt_from_until_brokers_say_something_else() -> None:
    facts = taking(inference_requests=1_000_000)
    sizes = Sizes(facts)
    sizes.refuse(TOPIC, 900_000, 30)
    assert (sizes.of(TOPIC), sizes.largest(TOPIC)) == (450_000, 1_000_000)
    sizes.refuse(TOPIC, 300_000, 1)
    assert (sizes.of(TOPIC), sizes.largest(TOPIC)) == (299_999, 299_999)
    sizes.refuse(TOPIC, 600_000, 1)  # which was on its way by then
    assert (sizes.of(TOPIC), sizes.largest(TOPIC)) == (299_999, 299_999)
    sizes.update(facts)
    assert sizes.largest(TOPIC) == 299_999
    sizes.update(taking(inference_requests=200_000))
    assert (sizes.of(TOPIC), sizes.largest(TOPIC)) == (200_000, 200_000)
    sizes.update(facts)
    assert (sizes.of(TOPIC), sizes.largest(TOPIC)) == (BATCH_BYTES, 1_000_000)


def test_nothing_is_learnt_from_the_refusal_of_what_every_topic_takes() -> None:
    sizes = Sizes(taking(inference_requests=60_000))
    sizes.refuse(TOPIC, 300, 1)
    sizes.refuse(TOPIC, LEAST_BATCH, 50)
    assert (sizes.of(TOPIC), sizes.largest(TOPIC)) == (60_000, 60_000)
    sizes.refuse(TOPIC, LEAST_BATCH + 100, 50)
    assert (sizes.of(TOPIC), sizes.largest(TOPIC)) == (LEAST_BATCH, 60_000)


def test_the_sentence_names_the_topic_and_its_limit_and_what_to_do() -> None:
    sizes = Sizes(taking(inference_requests=60_000, inference_log=None))
    assert sizes.sentence(TOPIC) == f"{TOPIC} takes 60000 bytes at once: raise its max.message.bytes"
    assert "inference-log is taken to take 900000 bytes" in sizes.sentence("inference-log")
    assert "allow DescribeConfigs" in sizes.sentence("inference-log")
    sizes.refuse(TOPIC, 50_000, 1)
    assert (
        sizes.sentence(TOPIC) == f"{TOPIC} takes less than 50000 bytes at once, though its max.message.bytes is 60000"
    )


@pytest.mark.parametrize("limit", [LEAST_BATCH, 60_000, 400_000, 1_048_588, 8 << 20])
def test_what_a_partition_keeps_and_writes_fits_the_topics(limit: int) -> None:
    limits = of_all(limit).limits(SETTINGS)
    exchange = size_alone(b"p" * limits.puid_bytes, b"v" * (limits.exchange_bytes + limits.held_bytes), [])
    assert exchange <= limit
    assert limits.exchange_bytes <= 256_000
    assert size_alone(b"", b"v" * limits.row_bytes, []) <= limit
    assert size_alone(b"", b"v" * limits.joined_bytes, []) <= limit
    mark = [("tally-rekeyed", b"1")]
    assert size_alone(b"", b"v" * limits.moved_bytes, mark) <= min(limit, BATCH_BYTES)


def test_a_usual_topic_bounds_nothing_more_than_the_settings_do() -> None:
    assert of_all(1_048_588).limits(SETTINGS).exchange_bytes == SETTINGS.limits.exchange_bytes == 256_000
    assert Sizes().limits(load_settings()).exchange_bytes == 256_000


class Producer:
    """One whose brokers answer as it is told: with an offset, None or an error."""

    def __init__(self, *answers: Exception | int | None) -> None:
        self.answers = list(answers)
        self.broken: Exception | None = None

    async def send_batch(self, batch: BatchBuilder, topic: str, *, partition: int) -> "asyncio.Future[object]":
        if self.broken is not None:
            raise self.broken
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(None if answer is None else RecordMetadata(topic, 0, None, answer, -1, 0, 0))
        return future


def a_batch(records: int) -> BatchBuilder:
    batch = BatchBuilder(BATCH_BYTES, 0)
    for _ in range(records):
        batch.append(timestamp=0, key=b"k", value=bytes(20_000), headers=[])
    return batch


@pytest.mark.parametrize("error", [MessageSizeTooLargeError, RecordListTooLargeError, RecordTooLargeError])
def test_of_batches_that_are_refused_for_their_size_all_are_learnt_from(error: type[KafkaError]) -> None:
    sizes = Sizes()

    async def send(*answers: Exception | None) -> None:
        producer: Any = Producer(*answers)
        sending = Sending(producer, sizes)
        for number in range(len(answers)):
            await sending.send(a_batch(1 + number % 2), f"t{number}", 0)
        await sending.settle()

    asyncio.run(send(None, None))
    with pytest.raises(KafkaConnectionError):
        asyncio.run(send(None, KafkaConnectionError()))
    assert sizes.of("t1") == BATCH_BYTES
    with pytest.raises(RefusedBatchError, match=r"t1 of 40\d{3} bytes and 2 records"):
        asyncio.run(send(KafkaConnectionError(), error(), error(), None))
    assert 20_000 < sizes.of("t1") < 20_100
    assert sizes.largest("t1") == BATCH_BYTES
    assert 20_000 < sizes.of("t2") == sizes.largest("t2") < 20_100
    assert sizes.of("t3") == BATCH_BYTES


def test_the_offset_behind_what_was_sent_is_known_where_the_broker_told_it() -> None:
    async def send() -> None:
        producer: Any = Producer(7, 10, 3, 20, -1)
        sending = Sending(producer, Sizes())
        for topic, records in (("a", 3), ("a", 2), ("b", 1), ("c", 4), ("c", 4)):
            await sending.send(a_batch(records), topic, 0)
        await sending.settle()
        assert [sending.end(topic) for topic in "abcd"] == [12, 4, -1, -1]

    asyncio.run(send())


def test_a_refused_batch_is_learnt_from_also_where_the_producer_breaks_by_it() -> None:
    sizes = Sizes()

    async def send() -> None:
        fake = Producer(None, MessageSizeTooLargeError())
        producer: Any = fake
        sending = Sending(producer, sizes)
        for _ in range(2):
            await sending.send(a_batch(2), TOPIC, 0)
        fake.broken = OutOfOrderSequenceNumber()
        await sending.send(a_batch(2), TOPIC, 0)

    with pytest.raises(RefusedBatchError, match=TOPIC):
        asyncio.run(send())
    assert sizes.of(TOPIC) < 20_100
