"""A worker whose clock is wrong for some seconds: nothing of that stays."""

import os
import re
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.live import story
from tests.live.servers import Kafka
from tests.live.standing import Settings, changelog, said, set_config, settings_for, value_of
from tests.live.story import Event, expected, traffic
from tests.live.workers import Fleet, produce

#: What Python runs before all else in the worker: its clock goes ahead by the seconds that a file holds.
AHEAD = """
import os, time

def ahead(clock=time.time):
    with open(os.environ["SECONDS_AHEAD"]) as file:
        return clock() + float(file.read() or 0)

time.time = ahead
time.time_ns = lambda: int(ahead() * 1e9)
"""
JUMP_SECONDS = 5.0


class Clock:
    """The clock of the workers that are started from now on."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._file = folder / "seconds-ahead"
        self.goes_ahead(0)
        (folder / "sitecustomize.py").write_text(AHEAD)
        path = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
        monkeypatch.setenv("SECONDS_AHEAD", str(self._file))

    def goes_ahead(self, seconds: float) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self._file)


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(story, "NOW", datetime.now(UTC))
    return Clock(tmp_path, monkeypatch)


@pytest.fixture
def settings(kafka: Kafka) -> Settings:
    """Nothing but the clock says what time it is."""
    settings = settings_for(kafka)
    del settings["NOW"]
    return settings


def let_times_be_any(settings: Settings) -> None:
    """Let the topics of the state take records whose time is far ahead, as all brokers before Kafka 3.6 do."""
    for name in ("exchanges", "panes", "dead-letters"):
        set_config(settings, changelog(settings, name), "message.timestamp.after.max.ms", str(2**63 - 1))


def assert_counts_now(fleet: Fleet, events: list[Event], monkeypatch: pytest.MonkeyPatch, seconds: float = 60) -> None:
    """Wait until the counts are those of these events at this moment: windows move while one looks."""

    def differences() -> set[object]:
        monkeypatch.setattr(story, "NOW", datetime.now(UTC))
        return set(fleet.counts().items()) ^ set(expected(events).items())

    end = time.monotonic() + seconds
    while wrong := differences():
        assert time.monotonic() < end, (len(wrong), sorted(map(str, wrong))[:12], fleet.logs())
        time.sleep(0.5)


def jump(clock: Clock, fleet: Fleet, seconds: float, trickle: list[Event]) -> None:
    """Let the clock of a worker go ahead for a while in which few events come; both ends of it are said."""
    (worker,) = fleet.workers
    clock.goes_ahead(seconds)
    end = time.monotonic() + JUMP_SECONDS
    for event in trickle[:8]:
        produce(fleet.settings, [event])
        time.sleep(0.5)
    time.sleep(max(0.0, end - time.monotonic()))
    fleet.wait_for(
        "the series says how far ahead it is",
        lambda: abs((value_of(worker, "tally_clock_offset_seconds") or 0) - seconds) < 60,
        20,
    )
    clock.goes_ahead(0)
    fleet.wait_for(
        "the series says that it is right", lambda: (value_of(worker, "tally_clock_offset_seconds") or 0) < 60, 20
    )
    (begins,) = said(worker, "WARNING", "ahead")
    (ahead,) = (float(found) for found in re.findall(r"(\d+) (?:s|seconds) ahead", begins))
    assert abs(ahead - seconds) < 60
    fleet.wait_for("the log says that it is right", lambda: len(said(worker, "INFO", "clock")) == 1, 20)


def test_a_clock_that_was_days_ahead_has_expired_nothing(
    clock: Clock, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels that come afterwards join their predictions."""
    events = traffic(200, seed=51, broken=0)
    predictions = [event for event in events if event.kind != "feedback"]
    labels = [event for event in events if event.kind == "feedback"]
    more = traffic(50, seed=52, broken=0)
    with Fleet(tmp_path, settings) as fleet:
        worker = fleet.start()
        fleet.wait_for("the worker is ready", worker.ready)
        let_times_be_any(settings)
        produce(settings, predictions)
        assert_counts_now(fleet, predictions, monkeypatch)
        jump(clock, fleet, 8 * 86400, [])
        produce(settings, labels + more)
        assert_counts_now(fleet, events + more, monkeypatch)
        fleet.stop()
        fleet.start()
        assert_counts_now(fleet, events + more, monkeypatch)


@pytest.mark.parametrize("brokers", ["take any time", "refuse times ahead"])
def test_windows_are_right_once_a_clock_is(
    clock: Clock, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, brokers: str
) -> None:
    """The panes of the last hours are there, also after a restart."""
    events = traffic(200, seed=53, broken=0)
    more = traffic(50, seed=54, broken=0)
    with Fleet(tmp_path, settings) as fleet:
        worker = fleet.start()
        fleet.wait_for("the worker is ready", worker.ready)
        if brokers == "take any time":
            let_times_be_any(settings)
        produce(settings, events)
        assert_counts_now(fleet, events, monkeypatch)
        jump(clock, fleet, 3.5 * 3600, more)
        produce(settings, more)
        assert_counts_now(fleet, events + more, monkeypatch)
        fleet.stop()
        fleet.start()
        assert_counts_now(fleet, events + more, monkeypatch)
