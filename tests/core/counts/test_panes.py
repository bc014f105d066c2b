"""Which panes a window is made of, and for how long these are kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.counts.panes import COARSE, DAY, FINE, LEVELS, TOTAL, PaneClock, Window

MINUTE, HOUR, A_DAY = 60, 3600, 86400


def a_clock(*hours: float, retention: int = 31 * A_DAY, pane_seconds: int = 60) -> PaneClock:
    windows = [Window(f"{length}h", int(length * HOUR)) for length in hours]
    return PaneClock.for_windows(windows, pane_seconds, retention, by_labels=True)


@pytest.mark.parametrize(
    ("hours", "days_after"),
    [
        ((), 0),
        ((1 / 12, 1, 24), 0),
        ((24, 48, 144), 0),  # six days are of coarse panes
        ((169,), 0),  # no whole days
        ((168,), 25 * HOUR),
        ((1 / 12, 1, 24, 168, 720), 25 * HOUR),
        ((24, 48, 168), 49 * HOUR),
        ((169, 168), 170 * HOUR),
    ],
)
def test_days_are_counted_only_where_a_window_is_made_of_them(hours: tuple[float, ...], days_after: int) -> None:
    """Coarse panes are then kept for 25 hours, or an hour longer than the longest window of them."""
    clock = a_clock(*hours)
    assert clock.days_after == days_after
    assert clock.kept(COARSE) == (days_after or 31 * A_DAY)
    assert (clock.by_labels, clock.retention_seconds) == (True, 31 * A_DAY)


def test_coarse_panes_are_never_kept_longer_than_days() -> None:
    assert a_clock(144, 168, retention=7 * A_DAY).days_after == 145 * HOUR
    assert a_clock(167.5, 168, retention=7 * A_DAY).days_after == 168 * HOUR


@pytest.mark.parametrize("pane_seconds", [7, 50, 300, 3600])
def test_where_coarse_panes_do_not_fill_a_day_there_are_no_days(pane_seconds: int) -> None:
    clock = a_clock(168, pane_seconds=pane_seconds)
    assert clock == PaneClock(pane_seconds, 31 * A_DAY, by_labels=True)
    assert clock.level(Window("7d", 7 * A_DAY)) == COARSE


def test_by_default_there_are_none() -> None:
    assert a_clock(1 / 12, 1, 24, retention=25 * HOUR) == PaneClock(by_labels=True)


@pytest.mark.parametrize(
    ("seconds", "span"),
    [
        (5 * MINUTE, (FINE, 20 * 1440 + 450 - 5, 20 * 1440 + 451)),
        (2 * HOUR, (FINE, 20 * 1440 + 450 - 120, 20 * 1440 + 451)),
        (3 * HOUR, (COARSE, 20 * 144 + 45 - 18, 20 * 144 + 46)),
        (A_DAY, (COARSE, 20 * 144 + 45 - 144, 20 * 144 + 46)),
        (6 * A_DAY, (COARSE, 20 * 144 + 45 - 6 * 144, 20 * 144 + 46)),
        (7 * A_DAY, (DAY, 13, 21)),
        (14 * A_DAY, (DAY, 6, 21)),
    ],
)
def test_a_window_is_the_full_panes_of_its_length_and_the_open_one(seconds: int, span: tuple[str, int, int]) -> None:
    """At 07:30:20 of the 20th day."""
    now = 20 * A_DAY + 7 * HOUR + 30 * MINUTE + 20.0
    assert a_clock(168).span(Window("w", seconds), now) == span


@given(
    st.sampled_from(LEVELS),
    st.integers(0, 10**7),
    st.sampled_from([(), (24,), (168,), (48, 720)]),
    st.sampled_from([1, 30, 60, 120, 7]),
)
def test_a_pane_lies_in_what_holds_it_and_goes_no_later(
    level: str, pane: int, hours: tuple[float, ...], pane_seconds: int
) -> None:
    clock = a_clock(*hours, pane_seconds=pane_seconds)
    if level == DAY and not clock.days_after:
        assert clock.retired(level, pane, 0.0)
        assert clock.holder(level, pane) == (TOTAL, 0)
        return
    end = (pane + 1) * clock.length(level)
    assert not clock.retired(level, pane, end + clock.kept(level) - 1)
    assert clock.retired(level, pane, end + clock.kept(level))
    above, number = clock.holder(level, pane)
    if above == TOTAL:
        assert (level, number) == (DAY if clock.days_after else COARSE, 0)
        assert not clock.retired(above, number, 1e18)
    else:
        length = clock.length(above)
        assert number * length <= pane * clock.length(level)
        assert end <= (number + 1) * length
        assert clock.kept(level) <= clock.kept(above)


@given(st.sampled_from([300, 3600, A_DAY, 7 * A_DAY, 30 * A_DAY]), st.floats(0, 1e9))
def test_all_panes_of_a_window_are_kept(seconds: int, now: float) -> None:
    clock = a_clock(1 / 12, 1, 24, 168, 720, retention=30 * A_DAY)
    level, first, _ = clock.span(Window("w", seconds), now)
    assert not clock.retired(level, first, now)
