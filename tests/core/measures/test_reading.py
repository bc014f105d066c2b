"""What is read out of counts: the task, the classes, one class against the rest."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.counts.book import Cells
from app.core.measures.confusion import known_classes, one_against_rest, task_of
from app.core.measures.reading import class_order
from app.core.rules import Rules
from tests.builders import Read, Tally, a_reading, a_tally

CLASSES = ("0", "1", "2", "3")
confusions = st.dictionaries(
    st.tuples(st.sampled_from(CLASSES), st.sampled_from(CLASSES)), st.integers(1, 9), min_size=1
)


def tally_of(confusion: dict[tuple[str, str], int]) -> Tally:
    return {(f"confusion={actual}", predicted): rows for (actual, predicted), rows in confusion.items()}


def reading_of(tally: Tally, rules: Rules | None = None, most_classes: int = 200) -> Read:
    return Read(a_reading(tally, rules, most_classes))


def cells_of(tally: Tally) -> Cells:
    return a_tally(tally).get("confusion", {})


@given(confusions)
def test_one_class_against_the_rest(confusion: dict[tuple[str, str], int]) -> None:
    """A row counts once for every class; as a true negative of every class that is neither its label nor predicted."""
    for name, one in one_against_rest(confusion, list(CLASSES)).items():
        expected = {"tp": 0, "fp": 0, "fn": 0, "tn": 0}
        for (actual, predicted), rows in confusion.items():
            positive, said = actual == name, predicted == name
            expected["tp" if positive and said else "fp" if said else "fn" if positive else "tn"] += rows
        assert tuple(one) == tuple(expected.values())


@pytest.mark.parametrize(
    ("tally", "classes"),
    [
        ({}, []),
        ({("confusion=2", "10"): 1, ("confusion=9", "2"): 1}, ["2", "9", "10"]),
        ({("confusion=b", "a"): 1, ("confusion/unlabelled", "7"): 1}, ["7", "a", "b"]),
        ({("confusion/classes", '["cat","dog"]'): 1}, ["cat", "dog"]),
        ({("confusion/classes", '["cat","dog"]'): 0, ("confusion=1", "1"): 0, ("confusion/unlabelled", "2"): 0}, []),
        ({("confusion", "failed"): 4, ("exchanges", "request"): 4}, []),
    ],
)
def test_the_known_classes_in_their_order(tally: Tally, classes: list[str]) -> None:
    assert sorted(known_classes(cells_of(tally), Rules()), key=class_order) == classes
    assert known_classes(cells_of(tally), Rules(classes=("x",))) == {*classes, "x"}


def test_numbers_come_in_order_of_value_before_texts() -> None:
    assert sorted(["b", "10", "-1", "2", "a", "1.5", ""], key=class_order) == ["-1", "1.5", "2", "10", "", "a", "b"]


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "NaN", "1e999"])
def test_texts_that_python_takes_for_numbers_have_one_place_in_the_order(text: str) -> None:
    """Else which classes are exported would depend on the order in which they came."""
    names = ["b", "1", text, "a", "2"]
    backwards = names[::-1]
    assert sorted(names, key=class_order) == sorted(backwards, key=class_order)


@pytest.mark.parametrize(
    ("tally", "rules", "task"),
    [
        ({}, Rules(), "unknown"),
        ({}, Rules(task="binary"), "binary"),
        ({}, Rules(positive="yes"), "binary"),
        ({("confusion/unlabelled", "1"): 1}, Rules(), "binary"),
        ({("confusion/unlabelled", "1"): 1, ("confusion=2", "2"): 1}, Rules(), "multiclass"),
        ({("confusion/unlabelled", "1"): 1, ("confusion=2", "2"): 0}, Rules(), "binary"),
        ({("confusion/classes", '["0","1"]'): 1}, Rules(), "binary"),
        ({("confusion/classes", '["0","1","2"]'): 1}, Rules(), "multiclass"),
        ({("confusion/unlabelled", "1"): 1}, Rules(classes=("no", "yes")), "multiclass"),
        ({("confusion", "measured"): 1, ("confusion=1", "1"): 99}, Rules(), "binary"),
        ({("confusion", "measured"): 99, ("confusion=1", "1"): 99}, Rules(), "binary"),
        ({("confusion", "measured"): 100, ("confusion=1", "1"): 99}, Rules(), "regression"),
        ({("confusion", "unmeasured"): 2, ("confusion/unlabelled", "1"): 1}, Rules(), "regression"),
        ({("confusion", "unmeasured"): 1}, Rules(), "regression"),
        ({("confusion", "measured"): 0, ("confusion=1", "1"): 99}, Rules(), "binary"),
        ({("confusion", "measured"): 1}, Rules(task="multiclass"), "multiclass"),
    ],
)
def test_the_task(tally: Tally, rules: Rules, task: str) -> None:
    assert task_of(cells_of(tally), rules) == task


def test_a_binary_model_has_the_positive_class_only() -> None:
    confusion = {("1", "1"): 1, ("0", "1"): 2, ("1", "0"): 3, ("0", "0"): 4}
    assert {name: tuple(one) for name, one in reading_of(tally_of(confusion)).outcomes.items()} == {"": (1, 2, 3, 4)}
    flipped = reading_of(tally_of(confusion), Rules(positive="0"))
    assert {name: tuple(one) for name, one in flipped.outcomes.items()} == {"": (4, 3, 2, 1)}


def test_classes_beyond_the_limit_are_other() -> None:
    confusion = {(str(actual), str(predicted)): 1 for actual in range(4) for predicted in range(4)}
    reading = reading_of(tally_of(confusion), most_classes=2)
    assert reading.classes == ["0", "1", "other"]
    assert reading.dropped_classes == 2
    assert reading.confusion == {
        ("0", "0"): 1, ("0", "1"): 1, ("0", "other"): 2,
        ("1", "0"): 1, ("1", "1"): 1, ("1", "other"): 2,
        ("other", "0"): 2, ("other", "1"): 2, ("other", "other"): 2, ("other", "another"): 2,
    }  # fmt: skip
    assert reading.rows == {"correct": 4, "incorrect": 12, "measured": 0, "unlabelled": 0, "failed": 0}
    assert tuple(reading.outcomes["0"]) == (1, 3, 3, 9)


@given(confusions, st.integers(1, 5))
def test_folding_loses_no_row_and_changes_no_class_that_is_kept(
    confusion: dict[tuple[str, str], int], most_classes: int
) -> None:
    whole = reading_of(tally_of(confusion), Rules(task="multiclass"))
    folded = reading_of(tally_of(confusion), Rules(task="multiclass"), most_classes)
    assert len(folded.classes) <= most_classes + 1
    assert sum(folded.confusion.values()) == sum(confusion.values()) == folded.judged
    assert folded.rows == whole.rows
    for name in folded.classes:
        if name != "other":
            assert folded.outcomes[name] == whole.outcomes[name]


def test_which_classes_are_kept_does_not_depend_on_the_order_of_counting() -> None:
    cells = [(f"confusion={number}", str(number)) for number in range(30)]
    one = reading_of(dict.fromkeys(cells, 1), most_classes=5)
    other = reading_of(dict.fromkeys(cells[::-1], 1), most_classes=5)
    assert one.classes == other.classes == ["0", "1", "2", "3", "4", "other"]


@pytest.mark.parametrize(
    ("tally", "field", "value"),
    [
        (
            {("exchanges", "request"): 3, ("exchanges", "response"): 2},
            "parts",
            {"request": 3, "response": 2, "feedback": 0},
        ),
        ({("rewards", "count"): 3, ("rewards", "points"): -1_500_000_000}, "reward_points", -1.5),
        ({("mismatches", "answers"): 3}, "mismatched", 3),
        ({("delay", "0"): 3, ("delay", "11"): 1}, "delays", [3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        ({("delay", "us"): 1_500_000}, "delay_seconds", 1.5),
        (
            {("confusion", "failed"): 2},
            "rows",
            {"correct": 0, "incorrect": 0, "measured": 0, "unlabelled": 0, "failed": 2},
        ),
    ],
)
def test_the_counters(tally: Tally, field: str, value: Any) -> None:
    assert getattr(reading_of(tally), field) == value
