"""Cells: sums of any size, and the latest of several values."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.counts.cells import Cell, Latest, later
from app.core.counts.rows import parse_rows, row_value

latest = st.builds(
    Latest, st.integers(0, 2**60), st.integers(0, 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False)
)
cells = st.integers() | latest


@given(st.dictionaries(st.text(max_size=5), cells, max_size=5))
def test_a_row_is_read_as_it_was_written(row: dict[str, Cell]) -> None:
    assert parse_rows("r", row_value(row)) == {"r": row}


@pytest.mark.parametrize("amount", [2**63 - 1, 2**63, 2**64, -(2**63), -(2**63) - 1, 10**40])
def test_a_sum_has_no_largest_value(amount: int) -> None:
    assert parse_rows("r", row_value({"points": amount})) == {"r": {"points": amount}}


@given(latest, latest, latest)
def test_the_latest_does_not_depend_on_order_or_repetition(one: Latest, two: Latest, three: Latest) -> None:
    assert later(one, two) == later(two, one)
    assert later(later(one, two), three) == later(one, later(two, three))
    assert later(one, one) == one
    assert later(None, one) == later(one, None) == one
    assert later(None, None) is None


def test_of_two_values_of_one_time_the_digest_decides() -> None:
    assert later(Latest(5, 2, 0.1), Latest(5, 1, 0.9)) == Latest(5, 2, 0.1)
    assert later(Latest(5, 2, 0.1), Latest(6, 1, 0.9)) == Latest(6, 1, 0.9)


def test_what_is_packed_takes_no_more_memory_than_it_is_long() -> None:
    """Very many rows wait for the end of their epoch."""
    tracemalloc.start()
    try:
        packed = [row_value({"request": number}) for number in range(1000)]
        each = tracemalloc.get_traced_memory()[0] / len(packed)
    finally:
        tracemalloc.stop()
    assert each < 150
