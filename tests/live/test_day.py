"""A day in fast motion, or half of one: nothing of a worker grows, neither memory nor files nor its changelogs.

An hour passes as soon as its events are counted. Exchanges are kept for one hour after their newest part.
"""

import heapq
import random
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import psutil
import pytest

from tests.live.changelogs import committed, sizes_on_disk
from tests.live.clocks import TOLD, Clock
from tests.live.faults.ledger import Held
from tests.live.faults.trial import Record
from tests.live.seeds import seed
from tests.live.servers import Kafka
from tests.live.standing import Settings, canonical, changelog, create, set_config
from tests.live.story import Event, an_event, expected
from tests.live.workers import Fleet, Series, assert_counts, produce, topic_settings
from tests.soak import SOAK

HOURS: Final = 24 if SOAK else 12
PER_HOUR: Final = 5_000 if SOAK else 200
#: From then on all that is kept for some hours is full.
FULL_AFTER: Final = 4
HOUR: Final = 3600
LEG: Final = ("demo", "iris", "default", "forest")
WINDOWS: Final = ("5m", "1h")
#: How much more there may be at the end of the day than at its beginning. Changelogs and the store on disk grow until
#: they are compacted.
MOST_MORE: Final = {
    "memory": 1.05,
    "open_exchanges": 1.2,
    "files": 1.2,
    "changelog_of_exchanges": 1.6,
    "changelog_of_counts": 1.6,
    "store_on_disk": 1.6,
}
#: What a broker does after an hour or a day, which it measures by its own clock, it does within a second.
SOON: Final = {"message.timestamp.type": "LogAppendTime", "segment.ms": "1000", "delete.retention.ms": "1000"}
#: The time at which the day begins, so that its end is not in the future, where brokers would refuse what is written.
BEGIN: Final = int((datetime.now(UTC) - timedelta(hours=HOURS + 2)).timestamp()) // HOUR * HOUR


class Day:
    """The events of each hour, and what is to be counted of them: all have their label within the retention."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._later: list[tuple[int, int, Event]] = []
        self.events = 0  # of all hours so far
        self._made = 0
        self._totals: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()
        self._last: list[list[Event]] = []

    def hour(self, number: int, puids: int) -> list[Event]:
        """The events of an hour, in the order of their times: those of new request ids, and labels of earlier ones."""
        new = [event for _ in range(puids) for event in self._exchange(BEGIN + number * HOUR)]
        self._totals.update({at: n for at, n in expected(new).items() if "window" not in dict(at[1])})
        self._last = [*self._last[-2:], new]
        for event in new:
            self._made += 1
            heapq.heappush(self._later, (event.timestamp, self._made, event))
        end, found = (BEGIN + (number + 1) * HOUR) * 1000, list[Event]()
        while self._later and self._later[0][0] < end:
            found.append(heapq.heappop(self._later)[2])
        self.events += len(found)
        return found

    def counted(self, now: int) -> Series:
        """All totals, and the short windows at the end of an hour."""
        last = [event for hour in self._last for event in hour]
        windows = expected(last, now=datetime.fromtimestamp(now, UTC))
        return dict(self._totals) | {
            at: n for at, n in windows.items() if dict(at[1]).get("window", "").removeprefix("labels_") in WINDOWS
        }

    def _exchange(self, begin: int) -> Iterator[Event]:
        rng, puid = self._rng, f"{self._rng.getrandbits(128):032x}"
        asked = (begin * 1_000_000) + rng.randrange(HOUR * 1_000_000)
        answered = asked + rng.randrange(1_000, 50_000)
        features = {"names": ["age", "b", "c", "d"], "ndarray": [[100 * rng.random() for _ in range(4)]]}
        meta = {"requestPath": {"forest": "registry/forest:1.0"}, "tags": {"country": "DE"}}
        answer = {"data": {"ndarray": [[rng.random() for _ in range(3)]]}, "meta": meta}
        yield an_event("request", puid, LEG, asked, {"data": features})
        yield an_event("response", puid, LEG, answered, answer)
        if rng.random() < 0.95:
            label = rng.randrange(3)
            body = {"reward": rng.randrange(2), "truth": {"data": {"ndarray": [[int(label == it) for it in range(3)]]}}}
            yield an_event("feedback", puid, LEG, answered + rng.randrange(HOUR * 900_000), body)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("store", ["memory", "rocksdb"] if SOAK else ["memory"])
def test_a_day_leaves_nothing_behind(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Record, store: str
) -> None:
    settings = topic_settings(kafka.bootstrap, f"day-{uuid.uuid4().hex[:8]}") | {
        "PARTITIONS": "2",
        "SESSION_TIMEOUT": "30s",
        "EXCHANGE_RETENTION": "1h",
        "WINDOWS": ",".join(WINDOWS),
        "WINDOW_RETENTION": "2h",
        "STORE": store,
        "STORE_MEMORY": "16MiB",
        "DATA_DIR": str(tmp_path / "data"),
    }
    create(settings, *canonical(settings))  # they keep what is a day old
    clock = Clock(tmp_path / "clock", monkeypatch, TOLD, BEGIN)
    day = Day(random.Random(seed(71)))
    held: list[Held] = []
    try:
        with Fleet(tmp_path, settings) as fleet:
            worker = fleet.start()
            fleet.wait_for("the worker is ready", worker.ready)
            for topic in changelogs(settings):
                for name, value in SOON.items():
                    set_config(settings, topic, name, value)
            for hour in range(HOURS + 1):
                clock.set(let_pass(fleet, day, hour))
                held.append(held_by(fleet, hour + 1, day.events))
            assert_counts(fleet, day.counted(BEGIN + (HOURS + 1) * HOUR))
    finally:
        record_property("day", [list(hour) for hour in held])
    assert_level(held[FULL_AFTER:HOURS])


def changelogs(settings: Settings) -> list[str]:
    return [changelog(settings, name) for name in ("exchanges", "panes")]


def let_pass(fleet: Fleet, day: Day, hour: int) -> int:
    """Let the events of an hour be counted. Returns when it ends."""
    produce(fleet.settings, day.hour(hour, PER_HOUR if hour < HOURS else 0))
    inputs = canonical(fleet.settings)
    fleet.wait_for("the hour is counted", lambda: committed(fleet.settings, inputs) >= day.events)
    return BEGIN + (hour + 1) * HOUR


def held_by(fleet: Fleet, hour: int, events: int) -> Held:
    """What the worker holds, once it has forgotten what is old."""
    # It looks at hours as a whole: there is that of which something came in the last two.
    fleet.wait_for("the old ones are gone", lambda: fleet.total("tally_open_exchanges") <= 3 * PER_HOUR)
    (worker,) = fleet.workers
    process = psutil.Process(worker.process.pid)
    exchanges, counts = sizes_on_disk(fleet.settings["KAFKA_BOOTSTRAP_SERVERS"], changelogs(fleet.settings)).values()
    return Held(
        hour,
        events,
        process.memory_info().rss // 1000,
        int(fleet.total("tally_open_exchanges")),
        process.num_fds(),
        exchanges // 1000,
        counts // 1000,
        sum(file.stat().st_size for file in fleet.folder.glob("data/**/*") if file.is_file()) // 1000,
    )


def assert_level(held: list[Held]) -> None:
    """That the last third of these hours has no more than the first one: what grew all day would be twice as much."""
    third = len(held) // 3

    def mean(name: str, hours: list[Held]) -> float:
        return sum(int(getattr(hour, name)) for hour in hours) / len(hours)

    for name, more in MOST_MORE.items():
        assert mean(name, held[-third:]) <= more * mean(name, held[:third]), (name, held)
