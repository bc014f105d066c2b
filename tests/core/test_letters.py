"""Dead letters: whole while they fit, and never larger than the topic takes."""

from typing import Final

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from app.core.events import Reason
from app.core.letters import (
    DROPPED,
    MOST_DONE,
    MOST_LETTER,
    RESENT,
    RESENT_BACK,
    DeadLetter,
    OutRecord,
    done_record,
    is_original,
    letter_record,
    read_done,
    read_letter,
    sent_back,
)
from app.core.wire.records import Record, pack_headers

LEAST: Final = 16 << 10


def size_of(letter: DeadLetter, most: int) -> int:
    key, value, *headers = letter_record(letter, most)
    size: int = DefaultRecordBatchBuilder.estimate_size_in_bytes(key, value, headers[0] if headers else [])
    return size


def a_letter(key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]], detail: str) -> DeadLetter:
    record = Record(1 << 40, 0, key, value, pack_headers(headers))
    return DeadLetter("t" * 249, 9999, record, Reason.EXCHANGE_TOO_LARGE, detail)


lengths = st.sampled_from([0, 1, 10, 500, 5_000, 15_000, 16_300, 70_000, 899_000, 3_000_000])


@given(
    st.none() | lengths.map(bytes),
    st.none() | lengths.map(bytes),
    st.lists(st.tuples(st.sampled_from(["n", "é" * 900, "n" * 70_000]), lengths.map(bytes)), max_size=4)
    | st.just([("n" * 300, bytes(300))] * 400),
    st.sampled_from(["", "short", "é" * 3000]),
    st.sampled_from([LEAST, 60_000, MOST_LETTER, 8 << 20]),
)
def test_a_dead_letter_fits(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]], detail: str, most: int
) -> None:
    assert size_of(a_letter(key, value, headers, detail), most) <= min(most, MOST_LETTER)


@pytest.mark.parametrize("most", [LEAST, 60_000, MOST_LETTER])
def test_what_fits_is_whole_and_of_the_rest_it_is_said_what_it_was(most: int) -> None:
    whole = a_letter(b"p", bytes(most - 1_000), [("ce_type", b"x")], "why")
    key, value, *headers = letter_record(whole, most)
    assert (key, value) == (b"p", bytes(most - 1_000))
    assert headers[0][0] == ("ce_type", b"x")
    assert "truncated" not in dict(headers[0])
    key, value, *headers = letter_record(a_letter(b"p", b"v" * most, [("ce_type", b"x")], "why"), most)
    said = dict(headers[0])
    assert (key, value) == (b"p", b"v" * min(64_000, most // 4))
    assert said["ce_type"] == b"x"
    assert (said["truncated"], said["original-length"]) == (b"true", str(most).encode())


# -- read again -------------------------------------------------------------------------------------------------------


def as_record(out: OutRecord, offset: int = 7, timestamp: int = 9_000) -> Record:
    key, value, *headers = out
    return Record(offset, timestamp, key, value, pack_headers(headers[0] if headers else []))


@given(
    st.none() | st.binary(max_size=20),
    st.none() | st.binary(max_size=20),
    st.lists(
        st.tuples(st.sampled_from(["ce_type", "reason", "detail", "truncated"]), st.binary(max_size=9)), max_size=4
    ),
    st.integers(0, 1 << 45),
)
def test_a_letter_gives_back_what_it_was_made_of(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]], timestamp: int
) -> None:
    record = Record(12, timestamp, key, value, pack_headers(headers))
    letter = read_letter(3, as_record(letter_record(DeadLetter("in", 5, record, Reason.RAGGED, "why"))))
    assert letter is not None
    assert (letter.id, letter.timestamp, letter.reason, letter.detail) == ("3-7", 9_000, "ragged", "why")
    assert (letter.topic, letter.origin_partition, letter.origin_offset) == ("in", 5, 12)
    assert (letter.key, letter.value, letter.headers, letter.origin_timestamp) == (key, value, headers, timestamp)
    assert letter.original_length is None
    assert read_done(as_record(letter_record(DeadLetter("in", 5, record, Reason.RAGGED, "why")))) is None


def test_a_letter_that_is_cut_short_says_how_long_its_value_was() -> None:
    letter = read_letter(0, as_record(letter_record(a_letter(b"p", bytes(40_000), [], "why"), LEAST)))
    assert letter is not None
    assert (letter.original_length, len(letter.value or b"")) == (40_000, LEAST // 4)
    at = letter.origin_offset
    assert is_original(letter, Record(at, 0, b"p", bytes(40_000)))
    for offset, value in ((at + 1, bytes(40_000)), (at, bytes(39_999)), (at, b"x" + bytes(39_999)), (at, None)):
        assert not is_original(letter, Record(offset, 0, b"p", value))


@pytest.mark.parametrize("headers", [[], [("origin-topic", b"in")]])
def test_a_record_without_a_reason_is_no_letter(headers: list[tuple[str, bytes]]) -> None:
    assert read_letter(0, as_record((b"k", b"v", headers))) is None


def test_a_letter_of_another_version_says_less_of_its_origin() -> None:
    letter = read_letter(0, as_record((b"k", b"v", [("reason", b"ragged"), ("origin-offset", b"-1")])))
    assert letter is not None
    assert (letter.topic, letter.origin_partition, letter.origin_offset) == ("", -1, -1)
    assert (letter.detail, letter.origin_timestamp, letter.resent_from) == ("", None, "")


def test_an_event_that_was_sent_back_says_so_once_and_so_does_its_next_letter() -> None:
    record = Record(12, 0, b"p", b"{", pack_headers([("ce_type", b"x")]))
    first = read_letter(3, as_record(letter_record(DeadLetter("in", 5, record, Reason.BAD_JSON, "why"))))
    assert first is not None
    assert first.resent_from == ""
    assert sent_back(first) == [("ce_type", b"x"), (RESENT, b"3-7")]
    again = record = Record(13, 0, b"p", b"{", pack_headers(sent_back(first)))
    second = read_letter(3, as_record(letter_record(DeadLetter("in", 5, again, Reason.BAD_JSON, "why")), offset=8))
    assert second is not None
    assert second.resent_from == "3-7"
    assert sent_back(second) == [("ce_type", b"x"), (RESENT, b"3-8")]


@pytest.mark.parametrize("what", [RESENT_BACK, DROPPED])
def test_what_was_done_with_letters_is_no_letter_and_fits_any_topic(what: str) -> None:
    offsets = range(1 << 44, (1 << 44) + MOST_DONE)
    key, value, *headers = done_record(what, offsets)
    record = as_record((key, value, headers[0]))
    assert read_done(record) == (what, [*offsets], 9_000)
    assert read_letter(0, record) is None
    assert DefaultRecordBatchBuilder.estimate_size_in_bytes(key, value, headers[0]) < LEAST


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (b"[1]", []),
        (b"[1]", [("tally-letter-done", b"burnt")]),
        (b"", [("tally-letter-done", b"dropped")]),
        (b'["1"]', [("tally-letter-done", b"dropped")]),
        (b"{", [("tally-letter-done", b"dropped")]),
    ],
)
def test_what_a_stranger_wrote_says_nothing_of_letters(value: bytes, headers: list[tuple[str, bytes]]) -> None:
    assert read_done(as_record((None, value, headers))) is None
