"""One class has one text, whatever the form in which it was said."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.events import Reason, RefusedError
from app.core.payloads.marks import class_text, given_names, index_mark, mark_of

CATS = ("cat", "dog", "bird")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (4, "4"),
        (4.0, "4"),
        ("4", "4"),
        ("4.0", "4"),
        ("4.000", "4"),
        (True, "1"),
        (False, "0"),
        (0, "0"),
        (-0.0, "0"),
        (-7, "-7"),
        (-7.0, "-7"),
        ("-7.0", "-7"),
        (2**31, "2147483648"),
        (float(2**31), "2147483648"),
        ("2147483648", "2147483648"),
        (-(2**40), str(-(2**40))),
        (2**53 + 1, str(2**53 + 1)),
        (123456789012345678, "123456789012345678"),
        ("123456789012345678", "123456789012345678"),
        ("t:2", "2"),
        ("cat", "cat"),
        ("Größe", "Größe"),
        ("", "(empty)"),
        (" 4", "4"),
        ("04", "04"),
        ("+4", "+4"),
        ("4.", "4."),
        ("4.5", "4.5"),
        ("1e3", "1e3"),
        ("t:02", "t:02"),
        ("true", "1"),
        ("False", "0"),
        (" cat\n", "cat"),
        ("٤", "٤"),
    ],
)
def test_the_canonical_class_text(value: Any, text: str) -> None:
    mark = mark_of(value)
    assert isinstance(mark, (int, str))
    assert class_text(mark) == text


@pytest.mark.parametrize("value", [0.5, -2.5, 1e-9, 1.0000001])
def test_a_number_that_is_not_integral_is_no_class(value: float) -> None:
    assert mark_of(value) == value
    assert isinstance(mark_of(value), float)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Reason.BAD_PAYLOAD),
        ([1], Reason.BAD_PAYLOAD),
        ({"a": 1}, Reason.BAD_PAYLOAD),
        ("x" * 201, Reason.LABEL_TOO_LONG),
    ],
)
def test_what_can_be_no_class(value: Any, reason: Reason) -> None:
    with pytest.raises(RefusedError) as refused:
        mark_of(value)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("value", "names", "text"),
    [
        (1, CATS, "dog"),
        ("1", CATS, "dog"),
        ("1.0", CATS, "dog"),
        ("t:1", CATS, "dog"),
        ("dog", CATS, "dog"),
        ("fish", CATS, "fish"),
        (3, CATS, "3"),
        (-1, CATS, "-1"),
        (1, ("1", "0"), "1"),
        ("1", ("1", "0"), "1"),
        (2, ("1", "2", "3"), "2"),
        (0, ("1", "2", "3"), "1"),
        ("1.0", ("1.0", "2.0"), "1.0"),
        ("2.0", ("1.0", "2.0"), "2.0"),
        ("t:1", ("a", "t:1", "t:0"), "t:1"),
    ],
)
def test_where_there_are_names_a_label_is_a_name_or_its_index_an_exact_name_first(
    value: Any, names: tuple[str, ...], text: str
) -> None:
    mark = mark_of(value)
    assert isinstance(mark, (int, str))
    assert class_text(mark, names) == text


@pytest.mark.parametrize(
    ("names", "width", "given_to"),
    [
        (["cat", "dog"], 2, ("cat", "dog")),
        (["t:0", "t:1"], 2, ()),
        (["t:1", "t:0"], 2, ()),
        (["t:0", "dog"], 2, ("t:0", "dog")),
        (["cat"], 2, ()),
        ([], 0, ()),
        ([1, 2], 2, ()),
        ([["a"], "b"], 2, ()),
        ("ab", 2, ()),
        (None, 2, ()),
        (["a", "a"], 2, ("a", "a")),
    ],
)
def test_seldons_default_names_are_none(names: Any, width: int, given_to: tuple[str, ...]) -> None:
    assert given_names(names, width) == given_to


@given(st.integers(0, 2000), st.lists(st.text(max_size=3), max_size=4).map(tuple))
def test_a_position_is_its_name_else_its_number(index: int, names: tuple[str, ...]) -> None:
    assert class_text(index_mark(index), names) == (names[index] if index < len(names) else str(index))


@given(st.integers(-(10**12), 10**12))
def test_every_way_of_writing_a_whole_number_is_one_class(number: int) -> None:
    assert mark_of(number) == mark_of(float(number)) == mark_of(str(number)) == mark_of(f"{number}.0")
