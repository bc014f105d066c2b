"""A score over time, from the panes that are kept."""

import pytest

from app.core.counts.panes import PaneClock, Window
from app.core.events import Identity
from app.core.outputs.trends import Asked, Point, grid_of, level_for, point_of, step_for, stretches
from app.core.scores.catalogue import score_of
from tests.builders import START, Ledger, a_feedback, a_response

M = Identity("ns", "svc", "default", "m", "")
DAY = 86400
PLAIN = PaneClock()
LABELS = PaneClock(by_labels=True)
WEEKS = PaneClock.for_windows([Window("1h", 3600), Window("7d", 7 * DAY)], 60, 8 * DAY, by_labels=False)


@pytest.mark.parametrize(
    ("clock", "seconds", "most", "step"),
    [
        (PLAIN, 300, 60, 60),
        (PLAIN, 3600, 60, 60),
        (PLAIN, 7200, 60, 120),
        (PLAIN, DAY, 60, 1800),
        (PLAIN, 90_000, 60, 1800),
        (PLAIN, 900 * DAY, 60, 1800),  # as far as anything is kept
        (PLAIN, 0, 60, 60),
        (PaneClock(pane_seconds=1), 60, 60, 1),
        (WEEKS, DAY, 60, 1800),
        (WEEKS, 8 * DAY, 60, DAY),
    ],
)
def test_stretches_are_as_short_as_their_number_allows(clock: PaneClock, seconds: float, most: int, step: int) -> None:
    assert step_for(clock, seconds, most) == step


@pytest.mark.parametrize(
    ("clock", "step", "level"),
    [
        (PLAIN, 60, "fine"),
        (PLAIN, 300, "fine"),
        (PLAIN, 600, "coarse"),
        (PLAIN, DAY, "coarse"),
        (WEEKS, DAY, "day"),
        (PLAIN, 90, None),
    ],
)
def test_stretches_are_made_of_the_panes_that_are_kept_longest(clock: PaneClock, step: int, level: str | None) -> None:
    assert level_for(clock, step) == level


def test_only_stretches_of_which_all_panes_are_kept_are_read() -> None:
    now = START + 90_000.0
    grid = grid_of(PLAIN, 1800, 0, now, now)
    assert grid is not None
    assert grid.numbers[0] * 1800 == START
    assert grid.numbers[-1] * 1800 <= now < (grid.numbers[-1] + 1) * 1800
    assert grid_of(PLAIN, 90, 0, now, now) is None
    future = grid_of(PLAIN, 600, now + 9000, now + 9999, now)
    assert future is not None
    assert not future.numbers


def points(ledger: Ledger, clock: PaneClock, step: int, asked: Asked, now: float = 3600.0) -> list[Point]:
    readings = ledger.readings()
    nature, grid = readings.nature(M), grid_of(clock, step, 0, START + now, START + now)
    assert nature is not None
    assert grid is not None
    found = stretches(readings, M, nature, grid, by_labels=asked.by_labels)
    return [point_of(stretch, asked) for stretch in found]


def test_each_stretch_says_what_a_window_of_it_would() -> None:
    ledger = Ledger()
    for at, right in [(0, 1), (10, 0), (70, 1), (200, 1)]:
        ledger.absorb(a_response(1, puid=str(at), at=at), a_feedback(right, puid=str(at), at=at + 1))
    ledger.absorb(a_response(1, puid="open", at=201)).cut()
    found = points(ledger, PLAIN, 60, Asked("accuracy"))
    assert [(p.start - START, p.value, p.samples, p.labelled, p.predictions) for p in found] == [
        (0, 0.5, 2, 2, 2),
        (60, 1.0, 1, 1, 1),
        (180, 1.0, 1, 1, 2),
    ]
    assert found[0].low is not None
    assert found[0].low < 0.5
    (whole,) = points(ledger, PLAIN, 600, Asked("accuracy"))
    (read,) = ledger.models().values()
    score = score_of(read.reading, "accuracy")
    assert score is not None
    assert (whole.value, whole.samples) == (score.value, score.samples)


def test_by_the_clock_of_labels_rows_count_when_their_label_came() -> None:
    ledger = Ledger(clock=LABELS)
    ledger.absorb(a_response(1, puid="p", at=0), a_feedback(1, puid="p", at=130)).cut()
    found = points(ledger, LABELS, 60, Asked("accuracy", by_labels=True))
    assert [(p.start - START, p.value, p.labelled, p.predictions) for p in found] == [(0, None, 0, 1), (120, 1.0, 1, 0)]


def test_a_score_that_a_model_has_not_has_points_without_a_value() -> None:
    ledger = Ledger().absorb(a_response(1), a_feedback(1)).cut()
    (point,) = points(ledger, PLAIN, 60, Asked("recall", "cow"))
    assert (point.value, point.samples, point.labelled) == (None, 0, 1)


def test_each_class_has_its_own_points() -> None:
    ledger = Ledger()
    for at, (said, right) in enumerate([("cat", "cat"), ("dog", "cat"), ("eel", "eel")]):
        ledger.absorb(a_response(said, puid=str(at)), a_feedback(right, puid=str(at)))
    (point,) = points(ledger.cut(), PLAIN, 60, Asked("recall", "cat"))
    assert (point.value, point.samples, point.labelled) == (0.5, 2, 3)
