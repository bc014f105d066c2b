"""Bins of values: every value that JSON has is in exactly one."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.drift.distribution import BELOW, FIRST, MISSING, REST, UNSEEN, Distribution, binning, category_of
from app.core.drift.reference import Reference

NUMBERS = Distribution("age", "continuous", (18.0, 30.0, 65.0), (), (1, 50, 49), 3)
CLASSES = Distribution("country", "categorical", (), ("DE", "1", "2.5"), (60, 30, 10))


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (17.999, BELOW),
        (-5, BELOW),
        (18, FIRST),
        (18.0, FIRST),
        (18.001, FIRST + 1),
        (30, FIRST + 1),
        ("30", FIRST + 1),
        (" 31e0 ", FIRST + 2),
        (65, FIRST + 2),
        (65.5, FIRST + 3),
        (10**400, MISSING),
        (-(10**400), MISSING),
        (True, BELOW),
        (None, MISSING),
        (math.nan, MISSING),
        (math.inf, MISSING),
        (-math.inf, MISSING),
        ("nan", MISSING),
        ("Infinity", MISSING),
        ("", MISSING),
        ("x", MISSING),
        ("1_000", MISSING),
        ([30], MISSING),
        ({"a": 30}, MISSING),
    ],
)
def test_a_number_is_in_the_bin_up_to_whose_edge_it_comes(value: Any, number: int) -> None:
    assert binning(NUMBERS)(value) == number


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("DE", FIRST),
        (" DE ", FIRST),
        ("de", UNSEEN),
        (1, FIRST + 1),
        (1.0, FIRST + 1),
        (True, FIRST + 1),
        ("True", FIRST + 1),
        ("false", UNSEEN),
        ("1.0", FIRST + 1),
        ("2.50", FIRST + 2),
        (2.5, FIRST + 2),
        (3, UNSEEN),
        ("FR", UNSEEN),
        ([1], UNSEEN),
        ({}, UNSEEN),
        (10**400, MISSING),
        (None, MISSING),
        (math.nan, MISSING),
        (math.inf, MISSING),
        ("NaN", MISSING),
        ("", MISSING),
        ("  ", MISSING),
    ],
)
def test_a_category_is_known_by_its_canonical_text(value: Any, number: int) -> None:
    assert binning(CLASSES)(value) == number


def test_what_a_reference_does_not_name_is_its_rest_where_it_has_one() -> None:
    folded = Distribution("city", "categorical", (), ("Rome", REST), (9, 1))
    assert [binning(folded)(value) for value in ("Rome", "Oslo", None)] == [FIRST, FIRST + 1, MISSING]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=130),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=3), below, max_size=3),
)


@given(json_values)
def test_any_value_is_in_a_bin(value: Any) -> None:
    for one in (
        NUMBERS,
        CLASSES,
        Distribution("", "continuous", (), (), ()),
        Distribution("", "categorical", (), (), ()),
    ):
        assert 0 <= binning(one)(value) < one.size == len(one.by_bin()) == len(one.names_of_bins())


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_and_its_text_are_one_category(value: float) -> None:
    assert category_of(value) == category_of(repr(value)) == category_of(f"{value!r} ")


def test_any_other_bins_or_counts_have_another_digest() -> None:
    same, other = Reference((NUMBERS, CLASSES)), Reference((NUMBERS, CLASSES._replace(counts=(60, 31, 10))))
    assert same.digest == Reference((NUMBERS, CLASSES)).digest != other.digest
    assert same.digest != Reference((NUMBERS,), prediction=CLASSES).digest
    assert Reference((), prediction=CLASSES).digest != Reference((), label=CLASSES).digest
