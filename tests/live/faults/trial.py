"""One fault against a fleet: traffic that goes on meanwhile, how often it struck, and the proof that nothing shows."""

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tests.live.faults.ledger import Entry
from tests.live.faults.proof import Documents, differences, with_rules
from tests.live.seeds import seed
from tests.live.servers import Elasticsearch
from tests.live.story import NOW, Event, traffic
from tests.live.test_documents import Node, renamed
from tests.live.workers import Fleet, produce, topic_settings
from tests.patience import PATIENCE
from tests.soak import FAULT_SECONDS

EVENTS_PER_PUID: Final = 3.2  # about: requests, answers, labels, some of them twice
RATE: Final = 1_000

#: pytest's `record_property`.
Record = Callable[[str, object], None]


class Trial:
    """A fleet under traffic of `RATE` events a second, which lasts longer in a soak."""

    def __init__(self, fault: str, fleet: Fleet, events: list[Event], documents: Documents | None = None) -> None:
        self.fault = fault
        self.fleet = fleet
        self.events = events
        self._documents = documents
        self.rng = random.Random(seed(1))
        self.times = 0
        self.flowed = (0.0, 0.0)  # when the traffic began and ended, once it has
        self._thread: threading.Thread | None = None

    def start(self, workers: int = 1, **changes: str) -> None:
        """Start workers, and wait until all partitions are loaded and each has some."""
        started = [self.fleet.start(**changes) for _ in range(workers)]
        self.fleet.wait_for("workers have partitions", lambda: all(it.ready() and it.readiness()[1] for it in started))

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

    def prove(self, record: Record, seconds: float = PATIENCE) -> None:
        """Wait for the end of the traffic, and fail with what differs."""
        if self._thread is not None:
            self._thread.join()
        wrong = differences(self.fleet, self.events, seconds, now=self._now, documents=self._documents)
        record("fault", list(Entry(self.fault, len(self.events), self.times, len(wrong))))
        if wrong:
            shown = "\n".join(sorted(wrong)[:12])
            raise AssertionError(f"{self.fault}: {len(wrong)} figures differ, among them\n{shown}\n{self.fleet.logs()}")

    def _now(self) -> datetime:
        return NOW if "NOW" in self.fleet.settings else datetime.now(UTC)


@contextmanager
def trial(
    fault: str,
    bootstrap: str,
    folder: Path,
    *,
    seconds: float = 9.0,
    lasts: bool = True,
    metrics: bool = False,
    frozen: bool = True,
    elasticsearch: Elasticsearch | None = None,
    **more: str,
) -> Iterator[Trial]:
    """A trial with topics and rules of its own, and traffic of some seconds; what `lasts` has more of it in a soak.
    With `metrics` answers have custom ones; with an Elasticsearch there are documents. If it is not `frozen` workers
    have no other time than what clocks say, and the traffic is of the three hours before now.
    """
    if lasts and FAULT_SECONDS:
        seconds = FAULT_SECONDS
    until = NOW if frozen else datetime.now(UTC)
    puids = int(seconds * RATE / EVENTS_PER_PUID)
    events = traffic(puids, seed(sum(fault.encode())), metrics=metrics, until=until)
    name = f"fault-{uuid.uuid4().hex[:8]}"
    settings = topic_settings(bootstrap, name) | {
        "SESSION_TIMEOUT": "3s",
        "PARTITIONS": "4",
        "CONFIG": with_rules(folder),
    }
    if frozen:
        settings["NOW"] = NOW.strftime("%Y-%m-%dT%H:%M:%SZ")
    documents = None
    if elasticsearch is not None:
        events = renamed(events, name)
        settings |= {"ELASTICSEARCH_URL": elasticsearch.url, "LOG_TOPIC": f"{name}-log"}
        documents = Documents(Node(elasticsearch), name)
    try:
        with Fleet(folder, settings | more) as fleet:
            yield Trial(fault, fleet, events, documents)
    finally:
        if documents is not None:
            documents.remove()
