"""Records and headers as their bytes say. The judge is aiokafka's reader, over batches of aiokafka's builder."""

from collections.abc import Iterator
from itertools import islice
from struct import pack_into, unpack_from
from typing import Any, Final, NamedTuple

import pytest
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from app.core.wire.records import BrokenRecordError, Record, header_spans, pack_headers, read_records

Headers = list[tuple[str, bytes | None]]

#: Where a batch has its first time, the number of its records, and the records.
TIME_AT: Final = 27
COUNT_AT: Final = 57
RECORDS_AT: Final = 61
#: Lengths and numbers of one, two, three and more varint bytes, on both sides of each border.
LENGTHS: Final = (0, 1, 63, 64, 8191, 8192, 20_000)
STEPS: Final = (0, 1, -1, 63, -64, 64, -65, 8191, -8192, 8192, -8193, 1 << 20, -(1 << 20) - 1, 1 << 40, -(1 << 40))

contents = st.none() | st.binary(max_size=4) | st.builds(bytes.__mul__, st.binary(max_size=1), st.sampled_from(LENGTHS))
names = st.text(max_size=4) | st.sampled_from(["ce_id", "n" * 63, "n" * 64, "ü" * 40])
header_lists = st.lists(st.tuples(names, contents), max_size=4)


class Told(NamedTuple):
    """What a record says."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


def told(record: Any) -> Told:
    return Told(record.offset, record.timestamp, record.key, record.value, list(record.headers))


class Batch(NamedTuple):
    """A batch as bytes, and where each of its records ends."""

    raw: bytes
    ends: list[int]


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """A batch of one record or more, with gaps between their offsets and times that go back and forth."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 30)
    first = draw(st.integers(1 << 41, 1 << 42))
    offset = draw(st.sampled_from([0, 0, 3]))
    ends = []
    for _ in range(draw(st.integers(1, 5))):
        time = first + draw(st.sampled_from(STEPS) | st.integers(-(1 << 40), 1 << 40))
        builder.append(offset, time, draw(contents), draw(contents), draw(header_lists))
        offset += draw(st.sampled_from([1, 1, 2, 100, 10_000, 3_000_000]))
        ends.append(builder.size())
    raw = builder.build()
    pack_into(">q", raw, 0, draw(st.integers(0, 1 << 50)))
    return Batch(bytes(raw), ends)


def read(raw: bytes, log_time: int | None = None) -> Iterator[Record]:
    """The records of a batch, whole or cut off."""
    (base,), (time,), (count,) = (
        unpack_from(">q", raw),
        unpack_from(">q", raw, TIME_AT),
        unpack_from(">i", raw, COUNT_AT),
    )
    return read_records(raw, RECORDS_AT, len(raw), count, base, time, log_time)


def with_block(block: bytes) -> Record:
    return Record(0, 0, None, None, block)


@given(batches())
def test_records_are_read_as_aiokafka_reads_them(batch: Batch) -> None:
    judged = [told(record) for record in DefaultRecordBatch(batch.raw)]
    found = list(read(batch.raw))
    assert [told(record) for record in found] == judged
    assert [record.header_block for record in found] == [pack_headers(record.headers) for record in judged]


@given(batches(), st.data())
def test_a_batch_that_is_cut_off_is_refused_after_the_records_that_are_whole(batch: Batch, data: st.DataObject) -> None:
    size = len(batch.raw)
    cut = data.draw(st.integers(RECORDS_AT, size - 1) | st.sampled_from(batch.ends).map(lambda end: end - 1))
    records = read(batch.raw[:cut])
    whole = sum(end <= cut for end in batch.ends)
    assert list(islice(records, whole)) == list(read(batch.raw))[:whole]
    with pytest.raises(BrokenRecordError):
        next(records)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"\x0a\0\0\0\x01\x01", id="no headers, not even their number"),
        pytest.param(b"\x0c\0\0\0\x08\x01\0", id="a key longer than its record"),
        pytest.param(b"\x0b\0\0\0\x01\x01\0", id="a negative length"),
        pytest.param(b"\xff" * 8, id="a length beyond all there is"),
    ],
)
def test_what_is_no_record_is_refused_whatever_follows(raw: bytes) -> None:
    good = b"\x0c\0\0\0\x01\x01\0"
    assert list(read_records(good, 0, len(good), 1, 5, 7, None)) == [Record(5, 7, None, None)]
    with pytest.raises(BrokenRecordError):
        list(read_records(raw + good * 2, 0, len(raw + good * 2), 1, 0, 0, None))


@given(batches(), st.integers(0, 1 << 50))
def test_the_time_of_the_log_is_the_time_of_every_record(batch: Batch, log_time: int) -> None:
    expected = [told(record)._replace(timestamp=log_time) for record in read(batch.raw)]
    assert [told(record) for record in read(batch.raw, log_time)] == expected


@given(header_lists)
def test_headers_that_are_packed_are_read_back(headers: Headers) -> None:
    assert with_block(pack_headers(headers)).headers == headers


@given(header_lists.filter(bool), st.data())
def test_of_headers_that_are_cut_off_those_that_are_whole_are_shown(headers: Headers, data: st.DataObject) -> None:
    block = pack_headers(headers)
    block = block[: data.draw(st.integers(0, len(block) - 1))]
    shown = with_block(block).headers
    assert shown == headers[: len(shown)]
    with pytest.raises(BrokenRecordError):
        list(header_spans(block))


def test_a_header_name_that_is_not_utf8_is_shown_as_far_as_it_can_be() -> None:
    assert with_block(b"\x04\x06a\xffb\x02v\x02c\x01").headers == [("a\ufffdb", b"v"), ("c", None)]


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"\x80",
        pytest.param(b"\x01", id="a negative number of headers"),
        pytest.param(b"\x02\x01\x01", id="a name of negative length"),
        pytest.param(b"\x80\x80\x80\x80\x80\x80\x80\x80\x01\x03", id="2^55 of them in one place"),
    ],
)
def test_what_is_no_header_block_is_refused(block: bytes) -> None:
    with pytest.raises(BrokenRecordError):
        list(islice(header_spans(block), 100))
