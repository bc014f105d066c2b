"""The time of a worker: the wall clock's, until the brokers' markers say otherwise."""

from typing import Final

import pytest

from app.worker.clock import Clock

NOW: Final = 1_795_000_000.0


class Times:
    """A wall clock and a steady one, to be moved by hand."""

    def __init__(self) -> None:
        self.steady = 1000.0
        self.wrong = 0.0
        self.clock = Clock(lambda: NOW + self.steady + self.wrong, lambda: self.steady)

    def settles(self) -> bool:
        return self.clock.settled

    @property
    def right(self) -> float:
        return NOW + self.steady


def test_the_wall_clock_is_believed_until_brokers_are_heard_and_nothing_final_is_done_by_it() -> None:
    times = Times()
    times.wrong = 8 * 86400.0
    assert times.clock.now() == times.right + times.wrong
    assert not times.settles()
    times.clock.hear(times.right - 0.1)
    assert times.settles()
    assert times.clock.now() == pytest.approx(times.right, abs=0.2)


def test_brokers_that_write_no_markers_are_not_waited_for_for_ever() -> None:
    times = Times()
    times.steady += 61
    assert times.settles()
    assert times.clock.now() == times.right


@pytest.mark.parametrize("wrong", [8 * 86400.0, 3.5 * 3600, 40.0, -3600.0])
def test_a_wall_clock_that_jumps_changes_no_time_and_is_told(wrong: float) -> None:
    times = Times()
    times.clock.hear(times.right)
    times.wrong = wrong
    for _ in range(5):
        times.steady += 100  # nothing is heard meanwhile
        assert times.clock.now() == pytest.approx(times.right)
        assert times.clock.offset == pytest.approx(wrong)
    side = "ahead of" if wrong > 0 else "behind"
    assert f"is {abs(wrong):.0f} s {side} the brokers': theirs is used" in (times.clock.trouble() or "")
    times.wrong = 0.0
    assert times.clock.trouble() is None


def test_a_small_difference_is_no_difference() -> None:
    times = Times()
    times.clock.hear(times.right)
    times.wrong = 20.0
    assert times.clock.now() == times.right + 20
    assert times.clock.trouble() is None


def test_of_what_is_heard_the_least_delayed_counts_and_after_two_minutes_no_more() -> None:
    times = Times()
    times.clock.hear(times.right)
    times.clock.hear(times.right - 50)
    assert times.clock.offset == pytest.approx(0)
    for _ in range(3):  # the brokers' clock is set back
        times.steady += 61
        times.clock.hear(times.right - 50)
    assert times.clock.offset == pytest.approx(50)


def test_an_old_marker_can_confirm_the_wall_clock_and_no_more() -> None:
    times = Times()
    times.clock.hear_old(times.right - 3 * 86400)
    assert not times.settles()
    times.clock.hear_old(times.right - 2)
    assert times.settles()
