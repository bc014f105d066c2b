"""Workers whose clocks are wrong, for some seconds or for good, and events whose times are: nothing of that shows."""

import json
import re
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.live.clocks import Clock
from tests.live.faults.trial import Record, trial
from tests.live.seeds import seed
from tests.live.servers import Kafka
from tests.live.standing import Settings, changelog, create, said, set_config, settings_for, value_of
from tests.live.story import Event, an_event, expected, moved, traffic
from tests.live.workers import Fleet, Worker, produce
from tests.patience import PATIENCE
from tests.soak import SOAK

JUMP_SECONDS = 5.0
INPUTS = ("REQUEST_TOPIC", "RESPONSE_TOPIC", "FEEDBACK_TOPIC")
LEG = ("demo", "iris", "default", "forest")


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clock:
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


def assert_counts_now(fleet: Fleet, events: list[Event], seconds: float = PATIENCE) -> None:
    """Wait until the counts are those of these events at this moment: windows move while one looks."""

    def differences() -> set[object]:
        now = datetime.now(UTC)
        return set(fleet.counts().items()) ^ set(expected(events, now=now).items())

    end = time.monotonic() + seconds
    while wrong := differences():
        assert time.monotonic() < end, (len(wrong), sorted(map(str, wrong))[:12], fleet.logs())
        time.sleep(0.5)


def jump(clock: Clock, fleet: Fleet, seconds: float, trickle: list[Event]) -> None:
    """Let the clock of a worker go ahead for a while in which few events come; both ends of it are said."""
    (worker,) = fleet.workers
    clock.set(seconds)
    end = time.monotonic() + JUMP_SECONDS
    for event in trickle[:8]:
        produce(fleet.settings, [event])
        time.sleep(0.5)
    time.sleep(max(0.0, end - time.monotonic()))
    fleet.wait_for(
        "the series says how far ahead it is",
        lambda: abs((value_of(worker, "tally_clock_offset_seconds") or 0) - seconds) < 60,
    )
    clock.set(0)
    fleet.wait_for(
        "the series says that it is right", lambda: (value_of(worker, "tally_clock_offset_seconds") or 0) < 60
    )
    (begins,) = said(worker, "WARNING", "ahead")
    (ahead,) = (float(found) for found in re.findall(r"(\d+) (?:s|seconds) ahead", begins))
    assert abs(ahead - seconds) < 60
    fleet.wait_for("the log says that it is right", lambda: len(said(worker, "INFO", "clock")) == 1)


def test_a_clock_that_was_days_ahead_has_expired_nothing(clock: Clock, settings: Settings, tmp_path: Path) -> None:
    """Labels that come afterwards join their predictions."""
    now = datetime.now(UTC)
    events = traffic(200, seed=51, broken=0, until=now)
    predictions = [event for event in events if event.kind != "feedback"]
    labels = [event for event in events if event.kind == "feedback"]
    more = traffic(50, seed=52, broken=0, until=now)
    with Fleet(tmp_path, settings) as fleet:
        worker = fleet.start()
        fleet.wait_for("the worker is ready", worker.ready)
        let_times_be_any(settings)
        produce(settings, predictions)
        assert_counts_now(fleet, predictions)
        jump(clock, fleet, 8 * 86400, [])
        produce(settings, labels + more)
        assert_counts_now(fleet, events + more)
        fleet.stop()
        fleet.start()
        assert_counts_now(fleet, events + more)


@pytest.mark.parametrize("brokers", ["take any time", "refuse times ahead"])
def test_windows_are_right_once_a_clock_is(clock: Clock, settings: Settings, tmp_path: Path, brokers: str) -> None:
    """The panes of the last hours are there, also after a restart."""
    now = datetime.now(UTC)
    events = traffic(200, seed=53, broken=0, until=now)
    more = traffic(50, seed=54, broken=0, until=now)
    with Fleet(tmp_path, settings) as fleet:
        worker = fleet.start()
        fleet.wait_for("the worker is ready", worker.ready)
        if brokers == "take any time":
            let_times_be_any(settings)
        produce(settings, events)
        assert_counts_now(fleet, events)
        jump(clock, fleet, 3.5 * 3600, more)
        produce(settings, more)
        assert_counts_now(fleet, events + more)
        fleet.stop()
        fleet.start()
        assert_counts_now(fleet, events + more)


#: What the times of an event and of its record are off by, in hours; most are right.
OFF = [(0, 0)] * 16 + [(3, 0), (-3, 0), (3, 3), (-3, -3), (0, -3), (5.5, 2), (-2, -5.5)]


def test_events_whose_times_are_hours_off(kafka: Kafka, tmp_path: Path, record_property: Record) -> None:
    """An event is of the time that it says, unless its record was written long before that."""
    with trial("events of hours ahead and behind", kafka.bootstrap, tmp_path, seconds=1, lasts=False) as it:
        events = traffic(50_000 if SOAK else 1_500, seed(65), broken=0)
        choices = it.rng.choices(OFF, k=len(events))
        it.events = [
            moved(event, *(timedelta(hours=hours) for hours in off)) if any(off) else event
            for event, off in zip(events, choices, strict=True)
        ]
        it.times = sum(map(any, choices))
        it.start(2)
        it.begin()
        it.prove(record_property)


def test_workers_whose_clocks_are_hours_apart(
    kafka: Kafka, tmp_path: Path, record_property: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The brokers' time is theirs, from the start on: no label expires, no window is off, and what the intake and HTTP
    take is of its time.
    """
    with trial(
        "clocks hours ahead and behind",
        kafka.bootstrap,
        tmp_path,
        frozen=False,
        EXCHANGE_RETENTION="5h",
        SESSION_TIMEOUT="10s",
    ) as it:
        source = it.fleet.settings["INTAKE_TOPICS"] = f"{it.fleet.settings['APP_ID']}-source"
        create(it.fleet.settings, source)
        clocks = []
        for name, hours in (("ahead", 7), ("behind", -7)):
            clocks.append(Clock(tmp_path / name, monkeypatch, seconds=hours * 3600))
            it.start()
        taken_in = traffic(600, it.rng.randrange(1000), broken=0, until=datetime.now(UTC))
        it.begin()
        produce(it.fleet.settings | dict.fromkeys(INPUTS, source), taken_in)
        it.events = it.events + taken_in
        for number in it.strikes(1.0, 2.0):
            for worker, clock in zip(it.fleet.running(), clocks, strict=True):
                it.events = it.events + told_over_http(worker, f"told-{number}-{worker.port}", it.fleet.settings)
                clock.set(it.rng.uniform(-7, 7) * 3600)
        it.prove(record_property)


def told_over_http(worker: Worker, puid: str, settings: Settings) -> list[Event]:
    """Let a prediction be made, and its label be told by `POST /feedback` without a time: what is to be counted."""
    now = int(time.time() * 1_000_000)
    features = {"names": ["age", "b", "c", "d"], "ndarray": [[10.0, 20.0, 30.0, 40.0]]}
    meta = {"requestPath": {"forest": "registry/forest:1.0"}, "tags": {"country": "DE"}}
    answer = {"data": {"ndarray": [[0.1, 0.8, 0.1]]}, "meta": meta}
    events = [
        an_event("request", puid, LEG, now - 2_000_000, {"data": features}),
        an_event("response", puid, LEG, now - 1_000_000, answer),
    ]
    produce(settings, events)
    body = json.dumps({"puid": puid, "label": 1, "reward": 1}).encode()
    call = urllib.request.Request(f"{worker.url}/feedback", body, {"Content-Type": "application/json"})  # noqa: S310 - http
    with urllib.request.urlopen(call, timeout=PATIENCE) as reply:  # noqa: S310 - the same
        assert reply.status == 202
    truth = {"reward": 1, "truth": {"data": {"ndarray": [[0, 1, 0]]}}}
    return [*events, an_event("feedback", puid, LEG, int(time.time() * 1_000_000), truth)]
