"""What a fetched list gives, bytes as a broker sends them: records, and the offset where the next fetch begins.

And how a consumer asks for topics, and ends where nobody answers.
"""

import asyncio
from collections.abc import Iterable
from struct import pack, pack_into
from types import SimpleNamespace
from typing import Any, Final

import aiokafka.codec
import pytest
from aiokafka import TopicPartition
from aiokafka.cluster import ClusterMetadata
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED, Fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from hypothesis import given
from hypothesis import strategies as st

from app.core.wire.records import Record
from app.worker.kafka.batches import Batches
from app.worker.kafka.consumer import (
    ChangelogFetcher,
    ChangelogRecords,
    ParsedFetcher,
    ParsedRecords,
    RecordConsumer,
    Stranger,
)
from app.worker.kafka.metadata import TopicFacts

TIME: Final = 1_795_244_400_000
ABORT, COMMIT = pack(">HH", 0, 0), pack(">HH", 0, 1)
CODECS: Final = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
#: Bits of a batch's attributes.
LOG_TIME: Final = 0x08
CONTROL: Final = 0x20


def a_batch(
    *offsets: int, next_offset: int | None = None, codec: int = 0, producer: int = -1, key: bytes = b"k", bits: int = 0,
    length: int = 0,
) -> bytes:  # fmt: skip
    """A batch with a record at each of these offsets; `next_offset` is where the next one began before compaction."""
    builder = DefaultRecordBatchBuilder(2, codec, producer >= 0, producer, 0, 0, 1 << 30)
    for offset in offsets:
        headers = [("ce_id", b"%d" % offset), ("zz", None)]
        builder.append(offset - offsets[0], TIME + offset, key, b"value of %d" % offset + b" " * length, headers)
    batch = bytearray(builder.build())
    batch[22] |= bits
    pack_into(">q", batch, 0, offsets[0])
    if next_offset is not None:
        pack_into(">i", batch, 23, next_offset - offsets[0] - 1)
    return with_checksum(bytes(batch))


def a_marker(offset: int, producer: int, key: bytes) -> bytes:
    """The end of a transaction."""
    return a_batch(offset, producer=producer, key=key, bits=CONTROL)


def with_checksum(batch: bytes) -> bytes:
    return batch[:17] + pack(">I", calc_crc32c(batch[21:])) + batch[21:]


def fetched(
    *batches: bytes,
    start: int = 0,
    aborted: Iterable[tuple[int, int]] = (),
    check: bool = True,
    isolation: Any = READ_COMMITTED,
) -> ParsedRecords:
    data = Batches(b"".join(batches))
    return ParsedRecords(TopicPartition("t", 0), data, list(aborted), start, None, None, check, isolation)


def offsets_of(records: list[Record]) -> list[int]:
    return [record.offset for record in records]


@st.composite
def logs(draw: st.DrawFn) -> list[tuple[list[int], int]]:
    """Of each batch of a list: the offsets of its records, and where the next batch begins."""
    log = []
    place = draw(st.integers(0, 3))
    for _ in range(draw(st.integers(1, 4))):
        offsets = [place]
        for gap in draw(st.lists(st.integers(1, 3), max_size=3)):
            offsets.append(offsets[-1] + gap)
        place = offsets[-1] + 1 + draw(st.integers(0, 2))
        log.append((offsets, place))
    return log


@given(logs(), st.lists(st.integers(1, 5), max_size=20), st.data())
def test_a_fetch_gives_each_record_from_its_offset_on_once_and_its_position_follows(
    log: list[tuple[list[int], int]], sizes: list[int], data: st.DataObject
) -> None:
    """The offset may lie in the middle of the first batch, or behind its records where compaction took the last."""
    start = data.draw(st.integers(log[0][0][0], log[0][1] - 1))
    left = [offset for offsets, _ in log for offset in offsets if offset >= start]
    batches = [a_batch(*offsets, next_offset=after) for offsets, after in log]
    records = fetched(*batches, start=start)
    for most in [*sizes, 100]:
        taken, last = records.take(most)
        assert offsets_of(taken) == left[:most]
        assert [record.value for record in taken] == [b"value of %d" % offset for offset in left[:most]]
        left = left[most:]
        assert last == (len(taken) < most)
        assert records.next_fetch_offset == (log[-1][1] if last else taken[-1].offset + 1)
    assert last
    assert not left


def test_a_large_record_ends_its_list() -> None:
    """What it costs to join some of them in one go would keep the loop from all else."""
    records = fetched(a_batch(0), *(a_batch(offset, length=100_000) for offset in (1, 2)), a_batch(3))
    found = [records.take(100) for _ in range(4)]
    assert [(offsets_of(some), last) for some, last in found] == [
        ([0, 1], False),
        ([2], False),
        ([3], True),
        ([], True),
    ]


def test_records_of_aborted_transactions_are_passed_over_and_markers_always() -> None:
    batches = [
        a_batch(0, 1, producer=7),
        a_batch(2, 3, producer=8),
        a_batch(4),
        a_marker(5, 7, ABORT),
        a_batch(6, producer=7),
        a_marker(7, 8, COMMIT),
        a_marker(8, 7, COMMIT),
        a_batch(9, producer=8),
        a_marker(10, 8, ABORT),
    ]
    aborted = [(8, 9), (7, 0)]  # producer, first offset
    committed = fetched(*batches, aborted=aborted)
    assert offsets_of(committed.take(100)[0]) == [2, 3, 4, 6]
    assert committed.next_fetch_offset == 11
    everything = fetched(*batches, aborted=aborted, isolation=READ_UNCOMMITTED)
    assert offsets_of(everything.take(100)[0]) == [0, 1, 2, 3, 4, 6, 9]
    assert everything.next_fetch_offset == 11


@pytest.mark.parametrize("codec", CODECS)
def test_records_of_a_compressed_batch_are_the_same(codec: str) -> None:
    if not getattr(aiokafka.codec, f"has_{codec}")():
        pytest.skip(f"no {codec} here")
    plain = [a_batch(*range(100)), a_batch(*range(100, 200))]
    packed = [a_batch(*range(100), codec=CODECS[codec]), a_batch(*range(100, 200), codec=CODECS[codec])]
    assert [batch[22] for batch in packed] == [CODECS[codec]] * 2  # the builder leaves what does not become smaller
    records = fetched(*plain, start=50).take(1000)[0]
    assert len(records) == 150
    assert fetched(*packed, start=50).take(1000)[0] == records
    assert fetched(packed[0], plain[1], start=50).take(1000)[0] == records


def test_where_the_broker_sets_the_time_all_records_of_a_batch_have_it() -> None:
    records, _ = fetched(a_batch(0, 1, 5, bits=LOG_TIME), a_batch(6)).take(100)
    assert [record.timestamp for record in records] == [TIME + 5, TIME + 5, TIME + 5, TIME + 6]


def test_a_header_name_that_is_not_utf8_stops_no_record() -> None:
    batch = a_batch(0, 1, 2)
    assert batch.count(b"zz") == 3
    records, _ = fetched(with_checksum(batch.replace(b"zz", b"\xff\xfe", 1)), a_batch(3)).take(100)
    assert [record.headers[0] for record in records] == [("ce_id", b"%d" % offset) for offset in range(4)]
    assert [record.headers[1][0] for record in records] == ["\ufffd\ufffd", "zz", "zz", "zz"]


def flipped(batch: bytes) -> bytes:
    return batch[:-1] + bytes([batch[-1] ^ 1])


def short_of_a_record(batch: bytes) -> bytes:
    """With the checksum of a batch that counts more records than it has."""
    return with_checksum(batch[:57] + pack(">i", 3) + batch[61:])


@pytest.mark.parametrize(("broken", "check"), [(flipped, True), (short_of_a_record, True), (short_of_a_record, False)])
def test_a_take_that_meets_a_corrupt_batch_hands_over_nothing_and_leaves_the_position(broken: Any, check: bool) -> None:
    records = fetched(a_batch(0, 1, 2), broken(a_batch(3, 4)), a_batch(5), check=check)
    assert offsets_of(records.take(1)[0]) == [0]
    with pytest.raises(CorruptRecordException):
        records.take(100)
    assert records.next_fetch_offset == 1
    assert records.take(100) == ([], True)  # the list is at its end: a fetch begins anew
    assert records.next_fetch_offset == 1


def test_a_record_that_reaches_into_the_next_batch_is_corrupt() -> None:
    batch = a_batch(0)
    longer = with_checksum(batch[:61] + bytes([batch[61] + 2]) + batch[62:])
    with pytest.raises(CorruptRecordException):
        fetched(longer).take(100)
    with pytest.raises(CorruptRecordException):
        fetched(longer, a_batch(1)).take(100)


def test_records_of_the_format_before_are_read() -> None:
    builder = LegacyRecordBatchBuilder(1, 0, 1 << 20)
    for offset in range(3):
        builder.append(offset, TIME + offset, b"k", b"v")
    records = fetched(bytes(builder.build()), start=1)
    assert records.take(100)[0] == [Record(1, TIME + 1, b"k", b"v"), Record(2, TIME + 2, b"k", b"v")]
    assert records.next_fetch_offset == 3


def test_no_question_about_topics_creates_one() -> None:
    asked: list[Any] = []

    async def send(*arguments: Any, **_: Any) -> Any:
        asked.append(arguments[-1])
        there = {"topic": "there", "error_code": 0, "topic_id": bytes(range(16)), "partitions": [1, 2, 3]}
        absent = {"topic": "absent", "error_code": 3, "topic_id": bytes(16), "partitions": []}
        return SimpleNamespace(to_object=lambda: {"topics": [there, absent]}, brokers=[])

    async def connection(_: Any) -> Any:
        return SimpleNamespace(send=send)

    async def test() -> None:
        consumer = RecordConsumer(bootstrap_servers="127.0.0.1:1")
        consumer._client.send = send
        consumer._client.get_random_node = lambda: 0
        consumer._client._get_conn = connection
        there = {"there": TopicFacts(3, bytes(range(16)).hex())}
        assert await consumer.describe({"there", "absent"}) == there
        assert await consumer.describe(None) == there
        nodes: Any = SimpleNamespace(brokers=lambda: [SimpleNamespace(nodeId=0)])
        consumer._client.cluster = nodes
        await consumer._client._metadata_update(ClusterMetadata(), ["absent"])
        await consumer._client.close()

    asyncio.run(test())
    *questions, update = asked
    built = [question.prepare({3: (0, 13)}) for question in questions]
    assert [question.get_item("allow_auto_topic_creation") for question in built] == [False, False]
    assert (update._topics, update._allow_auto_topic_creation) == (["absent"], False)


@pytest.mark.parametrize("joined", [True, False])
def test_a_consumer_that_is_cut_off_beats_and_joins_no_more(joined: bool) -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        consumer = RecordConsumer(bootstrap_servers="127.0.0.1:1")
        close, closed = consumer._client.close, []

        async def recorded_close() -> None:
            closed.append(consumer)
            await close()

        consumer._client.close = recorded_close
        tasks = [loop.create_task(asyncio.sleep(1000)) for _ in range(2)]
        if joined:
            heartbeat, coordination = tasks
            consumer._coordinator = SimpleNamespace(_heartbeat_task=heartbeat, _coordination_task=coordination)
        await consumer.cut_off()
        await asyncio.sleep(0)
        assert [task.cancelled() for task in tasks] == [joined, joined]
        assert closed == [consumer]
        consumer._closed = True

    asyncio.run(test())


@pytest.mark.parametrize("begun", [True, False], ids=["waits to try again", "not begun"])
def test_a_fetch_that_is_cancelled_does_not_cancel_who_stops_the_consumer(begun: bool) -> None:
    """As when a broker has just gone away: aiokafka cancels the fetch, and awaits it."""

    async def test() -> None:
        loop = asyncio.get_running_loop()
        consumer = RecordConsumer(bootstrap_servers="127.0.0.1:1")
        fetcher = consumer._fetcher = ParsedFetcher(
            consumer._client, consumer._subscription, key_deserializer=None, value_deserializer=None
        )
        await asyncio.sleep(0)  # it waits for partitions to fetch
        fetches = fetcher._pending_tasks = {loop.create_task(asyncio.sleep(1000)) for _ in range(2)}
        if begun:
            await asyncio.sleep(0)
        await consumer.stop()
        await asyncio.sleep(0)
        assert [fetch.cancelled() for fetch in fetches] == [True, True]
        assert fetcher._fetch_task.done()

    asyncio.run(test())


def test_a_consumer_whose_stop_is_cancelled_says_so() -> None:
    async def test() -> None:
        consumer = RecordConsumer(bootstrap_servers="127.0.0.1:1")
        consumer._coordinator = SimpleNamespace(
            close=lambda: asyncio.sleep(1000), _heartbeat_task=None, _coordination_task=None
        )
        stopping = asyncio.create_task(consumer.stop())
        await asyncio.sleep(0.01)
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping

    asyncio.run(test())


def test_a_consumer_knows_no_offset_before_it_has_partitions() -> None:
    async def test() -> None:
        consumer = RecordConsumer(bootstrap_servers="127.0.0.1:1", group_id="g")
        tp = TopicPartition("t", 0)
        assert (consumer.next_offset(tp), consumer.end(tp)) == (None, None)
        consumer._subscription.subscribe({"t"})
        assert (consumer.next_offset(tp), consumer.end(tp)) == (None, None)
        await consumer.stop()

    asyncio.run(test())


# -- changelogs -------------------------------------------------------------------------------------------------------


def test_of_a_changelog_what_no_transaction_has_written_is_a_strangers() -> None:
    data = Batches(a_batch(0, 1, producer=7) + a_marker(2, 7, COMMIT) + a_batch(3, 4))
    lists = ChangelogRecords(TopicPartition("t", 0), data, [], 0, None, None, True, READ_COMMITTED)
    records, _ = lists.take(10)
    assert [(record.offset, type(record)) for record in records] == [
        (0, Record), (1, Record), (3, Stranger), (4, Stranger),
    ]  # fmt: skip
    assert [record.value for record in records] == [b"value of %d" % offset for offset in (0, 1, 3, 4)]


@pytest.mark.parametrize(("fetcher", "lists"), [(ParsedFetcher, ParsedRecords), (ChangelogFetcher, ChangelogRecords)])
def test_strangers_are_told_of_changelogs_alone(
    fetcher: type[ParsedFetcher], lists: type[ParsedRecords], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Fetcher, "__init__", lambda *_: None)
    assert fetcher()._proc_fetch_request.__func__.__globals__["PartitionRecords"] is lists
