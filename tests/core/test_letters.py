"""Dead letters: whole while they fit, and never larger than the topic takes."""

from typing import Final

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from app.core.events import Reason
from app.core.letters import MOST_LETTER, DeadLetter, letter_record
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
