"""Since when a score is worse: falls are found where they are, and chance is none."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.outputs.falls import fall_of
from app.core.scores.intervals import Moments

Panes = list[tuple[int, Moments]]


def shares(*panes: tuple[int, int]) -> Panes:
    """Panes of (right, rows)."""
    return [(60 * at, Moments(rows, right, right, is_share=True)) for at, (right, rows) in enumerate(panes)]


def errors(means: list[float], rows: int = 50, variance: float = 0.01) -> Panes:
    """Panes of errors with these means."""
    return [
        (60 * at, Moments(rows, mean * rows, (mean**2 + variance) * rows, is_share=False))
        for at, mean in enumerate(means)
    ]


@pytest.mark.parametrize(
    ("panes", "at"),
    [
        ([(95, 100)] * 10 + [(70, 100)] * 5, 10),
        ([(95, 100)] * 10 + [(60, 100)], 10),  # at once, in the pane that is open
        ([(95, 100)] * 10 + [(60, 100)] * 3 + [(95, 100)] * 6, None),  # it is over
        ([(60, 100)] * 5 + [(95, 100)] * 10 + [(75, 100)] * 6, 15),  # it was as low before
        ([(95, 100)] * 10 + [(60, 100)] * 3 + [(80, 100)] * 9, 10),  # only partly over
        ([(95, 100)] * 10 + [(90, 100)] * 20 + [(50, 100)] * 10, 30),  # the larger of two
        ([(70, 100)] * 10 + [(95, 100)] * 5, None),  # it rose
        ([(9, 10)] * 3 + [(7, 10)], None),  # too few rows to say
        ([(9990, 10000), (29, 30)], None),
        ([(1000, 1000)] * 5 + [(0, 1)], None),
        ([(952_000, 1_000_000), (950_000, 1_000_000)], None),  # significant, and nothing to act on
        ([], None),
        ([(5, 10)], None),
    ],
)
def test_the_pane_in_which_a_share_fell(panes: list[tuple[int, int]], at: int | None) -> None:
    fall = fall_of(shares(*panes), upwards=False)
    assert (None if fall is None else fall.at) == (None if at is None else 60 * at)


def test_a_fall_says_what_was_before_and_since() -> None:
    fall = fall_of(shares(*[(95, 100)] * 10, *[(70, 100)] * 5), upwards=False)
    assert fall is not None
    assert (fall.before.mean, fall.before.rows, fall.since.mean, fall.since.rows) == (0.95, 1000, 0.7, 500)


@pytest.mark.parametrize(
    ("means", "at"),
    [
        ([1.0] * 10 + [1.5] * 5, 10),
        ([1.5] * 10 + [1.0] * 5, None),
        ([1.0] * 10 + [1.005] * 5, None),
        ([0.0] * 10 + [2.0] * 5, 10),
    ],
)
def test_an_error_falls_upwards(means: list[float], at: int | None) -> None:
    fall = fall_of(errors(means), upwards=True)
    assert (None if fall is None else fall.at) == (None if at is None else 60 * at)


def test_errors_without_any_spread_are_told_apart() -> None:
    assert fall_of(errors([1.0] * 5, variance=0.0), upwards=True) is None
    fall = fall_of(errors([1.0] * 5 + [3.0] * 5, variance=0.0), upwards=True)
    assert fall is not None
    assert fall.at == 300


def test_chance_is_no_fall() -> None:
    """At 1 % over all places of one series, few of many series that stay as they are show one."""
    chance = random.Random(7)
    found = 0
    for _ in range(300):
        panes = [(sum(chance.random() < 0.9 for _ in range(30)), 30) for _ in range(40)]
        found += fall_of(shares(*panes), upwards=False) is not None
    assert found <= 3


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)).map(lambda it: (min(it), it[1])), max_size=40))
def test_a_fall_is_below_what_was_before_and_a_rise_of_the_mirrored_share(panes: list[tuple[int, int]]) -> None:
    fall = fall_of(shares(*panes), upwards=False)
    mirrored = fall_of(shares(*[(rows - right, rows) for right, rows in panes]), upwards=True)
    assert (fall is None) == (mirrored is None)
    if fall is not None and mirrored is not None:
        assert fall.at == mirrored.at
        assert fall.since.mean < fall.before.mean
        assert fall.at in [start for start, _ in shares(*panes)][1:]
