"""One fault against a fleet: traffic that goes on meanwhile, how often it struck, and the proof that nothing shows."""

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.live.faults.ledger import Entry
from tests.live.faults.proof import differences, with_rules
from tests.live.seeds import seed
from tests.live.story import NOW, Event, traffic
from tests.live.workers import Fleet, produce, topic_settings, wait_for
from tests.soak import FAULT_SECONDS

#: For so long workers may take after the last fault until all is counted.
SETTLE_SECONDS: Final = 180.0
EVENTS_PER_PUID: Final = 3.2  # about: requests, answers, labels, some of them twice
RATE: Final = 1_000

#: pytest's `record_property`.
Record = Callable[[str, object], None]


class Trial:
    """A fleet under traffic of `RATE` events a second, which lasts longer in a soak."""

    def __init__(self, fault: str, fleet: Fleet, events: list[Event]) -> None:
        self.fault = fault
        self.fleet = fleet
        self.events = events
        self.rng = random.Random(seed(1))
        self.times = 0
        self.flowed = (0.0, 0.0)  # when the traffic began and ended, once it has
        self._thread: threading.Thread | None = None

    def start(self, workers: int = 1, **changes: str) -> None:
        """Start workers, and wait until all partitions are loaded and each has some."""
        started = [self.fleet.start(**changes) for _ in range(workers)]
        wait_for("workers have partitions", lambda: all(it.ready() and it.readiness()[1] for it in started))

    def begin(self, rate: int = RATE) -> None:
        """Let the traffic flow, at so many events a second."""
        self._thread = threading.Thread(target=self._flow, args=(rate,))
        self._thread.start()

    def _flow(self, rate: int) -> None:
        begun = time.time()
        produce(self.fleet.settings, self.events, rate)
        self.flowed = begun, time.time()

    @property
    def flows(self) -> bool:
        """Whether there is more of it to come."""
        return self._thread is not None and self._thread.is_alive()

    def strikes(self, least: float, most: float) -> Iterator[int]:
        """The numbers of the strikes, each after a pause of some seconds, as long as the traffic flows."""
        while True:
            time.sleep(self.rng.uniform(least, most))
            if not self.flows and self.times:
                return
            self.times += 1
            yield self.times

    def prove(self, record: Record, seconds: float = SETTLE_SECONDS) -> None:
        """Wait for the end of the traffic, and fail with what differs."""
        if self._thread is not None:
            self._thread.join()
        wrong = differences(self.fleet, self.events, seconds)
        record("fault", list(Entry(self.fault, len(self.events), self.times, len(wrong))))
        if wrong:
            shown = "\n".join(sorted(wrong)[:12])
            raise AssertionError(f"{self.fault}: {len(wrong)} figures differ, among them\n{shown}\n{self.fleet.logs()}")


@contextmanager
def trial(
    fault: str,
    bootstrap: str,
    folder: Path,
    *,
    seconds: float = 9.0,
    lasts: bool = True,
    metrics: bool = False,
    **more: str,
) -> Iterator[Trial]:
    """A trial with topics and rules of its own, and traffic of some seconds; what `lasts` has more of it in a soak.
    With `metrics` answers have custom ones.
    """
    if lasts and FAULT_SECONDS:
        seconds = FAULT_SECONDS
    events = traffic(int(seconds * RATE / EVENTS_PER_PUID), seed(sum(fault.encode())), metrics=metrics)
    settings = topic_settings(bootstrap, f"fault-{uuid.uuid4().hex[:8]}") | {
        "NOW": NOW.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "SESSION_TIMEOUT": "3s",
        "PARTITIONS": "4",
        "CONFIG": with_rules(folder),
    }
    with Fleet(folder, settings | more) as fleet:
        yield Trial(fault, fleet, events)
