"""Times on the wire."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.clock import format_time, parse_time

SEVEN = 1_795_244_400_000_000  # 2026-11-21T07:00:00Z


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("2026-11-21T07:00:00Z", SEVEN),
        ("2026-11-21T07:00:00.5Z", SEVEN + 500_000),
        ("2026-11-21T07:00:00.123Z", SEVEN + 123_000),
        ("2026-11-21T07:00:00.123456Z", SEVEN + 123_456),
        ("2026-11-21T07:00:00.123456789Z", SEVEN + 123_456),
        ("2026-11-21T07:00:00.000000Z", SEVEN),
        ("2026-11-21T08:00:00+01:00", SEVEN),
        ("2026-11-21T08:00:00.123456+01:00", SEVEN + 123_456),
        ("2026-11-21T01:30:00.25-05:30", SEVEN + 250_000),
        ("2026-11-21T07:00:00.123456", SEVEN + 123_456),
        ("2026-11-21 07:00:00Z", SEVEN),
        ("1970-01-01T00:00:01Z", 1_000_000),
    ],
)
def test_the_microseconds_of_a_time(text: str, micros: int) -> None:
    assert parse_time(text.encode()) == micros
    assert parse_time(text.encode()) == micros  # from the cache, too


@pytest.mark.parametrize(
    "raw", [b"", b"now", b"1795244400", b"2026-13-21T07:00:00Z", b"2026-11-21T25:00:00Z", b"\xff\xfe"]
)
def test_what_is_no_time(raw: bytes) -> None:
    assert parse_time(raw) is None


@pytest.mark.parametrize(
    "tail", [b".abcdefZ", b".+12345Z", b". 12345Z", b".12_345Z", b".123456+1Z", b".12345\xc2\xb2Z"]
)
def test_a_broken_time_is_none_whether_or_not_its_second_has_been_read_before(tail: bytes) -> None:
    """What a time says must not depend on the times that were read before it."""
    assert parse_time(b"2026-11-21T06:00:00" + tail) is None
    assert parse_time(b"2026-11-21T05:00:00.000000Z") is not None
    assert parse_time(b"2026-11-21T05:00:00" + tail) is None


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "1969-12-31T23:59:59.5Z", "9999-12-31T23:59:59-23:59"]
)
def test_a_time_that_no_event_can_have_is_none(text: str) -> None:
    """Go writes a time that was never set as the year 1."""
    assert parse_time(text.encode()) is None


@given(
    st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)),  # noqa: DTZ001 - a zone is added
    st.integers(-14 * 60, 14 * 60),
    st.integers(0, 9),
)
def test_any_zone_and_any_number_of_digits(moment: datetime, minutes: int, digits: int) -> None:
    moment = moment.replace(tzinfo=UTC)
    kept = moment.replace(microsecond=int(f"{moment.microsecond:06}"[:digits].ljust(6, "0")))
    micros = (kept - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    local = moment + timedelta(minutes=minutes)
    fraction = "." + f"{moment.microsecond:06}000"[:digits] if digits else ""
    zone = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
    text = f"{local:%Y-%m-%dT%H:%M:%S}{fraction}"
    assert parse_time(f"{text}{zone}".encode()) == micros
    if minutes == 0:
        assert parse_time(f"{text}Z".encode()) == micros
    assert parse_time(format_time(micros).encode()) == micros


def test_times_are_shown_in_utc() -> None:
    assert format_time(SEVEN) == "2026-11-21T07:00:00.000000Z"
    assert format_time(SEVEN + 1) == "2026-11-21T07:00:00.000001Z"
