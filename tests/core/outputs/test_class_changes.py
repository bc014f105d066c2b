"""In which class a score fell: the recall of each class before and since."""

from hypothesis import given
from hypothesis import strategies as st

from app.core.outputs.class_changes import OfStretch, class_changes

CLASSES = st.sampled_from(["cat", "dog", "eel"])
STRETCHES = st.lists(
    st.builds(OfStretch, st.integers(0, 10), st.dictionaries(st.tuples(CLASSES, CLASSES), st.integers(1, 50)))
)


def test_the_class_that_lost_the_most_rows_comes_first() -> None:
    found = class_changes(
        [
            OfStretch(0, {("cat", "cat"): 9, ("cat", "dog"): 1, ("dog", "dog"): 10, ("eel", "eel"): 1}),
            OfStretch(60, {("cat", "cat"): 9, ("cat", "dog"): 1, ("dog", "dog"): 10, ("eel", "eel"): 1}),
            OfStretch(120, {("cat", "cat"): 10, ("cat", "dog"): 10, ("dog", "dog"): 15, ("dog", "cat"): 5}),
            OfStretch(180, {("fox", "cat"): 2, ("eel", "cat"): 1}),
        ],
        120,
    )
    assert found == [
        {"class": "cat", "before": 0.9, "since": 0.5, "labelled_before": 20, "labelled_since": 20},
        {"class": "dog", "before": 1.0, "since": 0.75, "labelled_before": 20, "labelled_since": 20},
        {"class": "eel", "before": 1.0, "since": 0.0, "labelled_before": 2, "labelled_since": 1},
        {"class": "fox", "before": None, "since": 0.0, "labelled_before": 0, "labelled_since": 2},
    ]


def test_without_anything_before_there_is_nothing_to_tell() -> None:
    assert class_changes([OfStretch(60, {("cat", "cat"): 3})], 60) == []
    assert class_changes([], 60) == []


@given(STRETCHES, st.integers(0, 11))
def test_every_labelled_row_is_before_or_since(stretches: list[OfStretch], fell_at: int) -> None:
    found = class_changes(stretches, fell_at)
    if any(one.start < fell_at and one.confusion for one in stretches):
        rows = sum(change["labelled_before"] + change["labelled_since"] for change in found)
        assert rows == sum(sum(one.confusion.values()) for one in stretches)
        assert len(found) == len({actual for one in stretches for actual, _ in one.confusion})
    else:
        assert found == []
