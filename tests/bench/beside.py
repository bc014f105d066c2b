"""One puid with very much of something, beside ordinary events: how long it takes, and for how long the others wait."""

import random
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from app.core.wire.partitioning import partition_of
from tests.bench import load
from tests.bench.load import ORDINARY, Event, Topics
from tests.bench.table import Row
from tests.bench.tally_runs import Tally
from tests.bench.workers import LABEL, SETTLE_SECONDS, Worker, total, worker

PUID: Final = "burden"
#: The ordinary events of a run in full size come in this many seconds, evenly.
ORDINARY_EVENTS: Final = 50_000
ORDINARY_SECONDS: Final = 10.0
#: So many puids later a feedback comes than its request.
FEEDBACK_AFTER: Final = 100
#: The burden is written once the ordinary events have come for so long; the last of it is what it is compared with.
LEAD_SECONDS: Final = 3.0
BEFORE_SECONDS: Final = 2.0
POLL_SECONDS: Final = 0.05
STEP_SECONDS: Final = 0.01
SECONDS: Final = 600.0
#: The burden's event times begin so long before now, and are so far apart.
AGE_SECONDS: Final = 60.0
APART_SECONDS: Final = 0.0001


@dataclass(frozen=True, slots=True)
class Burden:
    """The events of one puid: how many of what, in full size, and how many rows are correct once all are counted."""

    figure: str
    events: Callable[[int, float], list[Event]]
    size: int
    correct: Callable[[int], int]
    in_proportion: bool = True  # to the size of the run


def labels(rows: int, begin: float) -> list[Event]:
    """An answer of so many rows, which are labelled one by one in random order, wrongly; and once more, rightly."""
    chance = random.Random(3)
    answers = [chance.randrange(3) for _ in range(rows)]
    asked = orjson.dumps({"data": {"ndarray": [[1.5, 2.5]] * rows}})
    events = [Event("request", PUID, begin, asked, PUID), Event("response", PUID, begin, _answer(answers), PUID)]
    for off in (1, 0):
        for row in chance.sample(range(rows), rows):
            label = _label((answers[row] + off) % 3)
            events.append(Event("feedback", PUID, begin + len(events) * APART_SECONDS, label, PUID, row=row))
    return events


def legs(count: int, begin: float) -> list[Event]:
    """A request and an answer of so many legs, and the label of all, in random order."""
    events = [Event("feedback", PUID, begin, _label(1), PUID, "leg-0")]
    for number in range(count):
        leg = PUID, f"leg-{number}"
        asked = ORDINARY.request(random.Random(number))
        events += [Event("request", PUID, begin, asked, *leg), Event("response", PUID, begin, _answer([1]), *leg)]
    random.Random(4).shuffle(events)
    return events


def repeats(count: int, begin: float) -> list[Event]:
    """So many requests, answers and labels of one puid, each later than the one before; the last ones agree."""
    chance = random.Random(5)
    events = []
    for number in range(count):
        last = number >= count - len(load.KINDS)
        kind, body = (
            ("request", ORDINARY.request(chance)),
            ("response", _answer([1 if last else 0])),
            ("feedback", _label(1 if last else 2)),
        )[number % len(load.KINDS)]
        events.append(Event(kind, PUID, begin + number * APART_SECONDS, body, PUID))
    return events


def _answer(classes: list[int]) -> bytes:
    return orjson.dumps({"data": {"ndarray": classes}})


def _label(number: int) -> bytes:
    return orjson.dumps({"truth": {"data": {"ndarray": [number]}}})


BURDENS: Final[Mapping[str, Burden]] = {
    "labels": Burden("{:,} rows of an answer, labelled one by one, twice", labels, 10_000, lambda rows: rows),
    "legs": Burden("{:,} legs of one puid", legs, 400, lambda count: count, in_proportion=False),
    "puid": Burden("{:,} events of one puid", repeats, 200_000, lambda _: 1),
}


def run(name: str, tally: Tally) -> list[Row]:
    """Seconds until the burden is counted right, and how long the ordinary events took meanwhile."""
    bench, burden = tally.bench, BURDENS[name]
    size = bench.part(burden.size) if burden.in_proportion else burden.size
    figure = burden.figure.format(size)
    topics = bench.empty(name)
    with worker(topics, f"{bench.prefix}-{name}", bench.folder) as loaded:
        bench.ready(loaded)
        _wait_for_export(loaded)
        time.sleep(SETTLE_SECONDS)
        seen = _watch(
            loaded,
            topics,
            bench.part(ORDINARY_EVENTS),
            burden.events(size, time.time() - AGE_SECONDS),
            burden.correct(size),
        )
    own = f"ordinary-{partition_of(PUID.encode(), topics.partitions)}"
    meanwhile = [it for it in seen.delays if seen.begun <= it.sent <= seen.right]
    before = [it for it in seen.delays if seen.begun - BEFORE_SECONDS <= it.sent < seen.begun]
    return [
        Row(f"{figure}: until all is counted", seen.right - seen.begun, "s"),
        Row(f"{figure}: until all is written", seen.written - seen.begun, "s"),
        _p99(f"{figure}: p99 of other events meanwhile", meanwhile),
        _p99(f"{figure}: p99 of those in its partition", [it for it in meanwhile if it.service == own]),
        _p99(f"{figure}: p99 of other events before", before),
    ]


def _wait_for_export(loaded: Worker) -> None:
    """Wait until the worker exports models: once its first heartbeat has been answered, and a scrape interval later."""
    end = time.monotonic() + SECONDS
    while "tally_exchanges" not in loaded.metrics():
        if time.monotonic() > end:
            raise TimeoutError(f"no models were exported within {SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)


@dataclass(frozen=True, slots=True)
class Delay:
    """How long an ordinary event took from before its send to the first /metrics that counts it, in seconds."""

    service: str
    sent: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Seen:
    """The delays of ordinary events; when the burden was begun, when all of it was written, and counted."""

    delays: list[Delay]
    begun: float
    written: float
    right: float


def _p99(figure: str, delays: list[Delay]) -> Row:
    """The 99th percentile from event to /metrics."""
    if len(delays) < 2:
        return Row(figure, "not measured: it took so short that no other event came")
    percentile = statistics.quantiles([it.seconds * 1000 for it in delays], n=100, method="inclusive")[98]
    return Row(figure, percentile, "ms")


class _Ordinary:
    """Ordinary events at an even pace, in a thread.

    Their service is named by their partition: what it counts of a kind are its first events of that kind, in order.
    """

    def __init__(self, topics: Topics, events: int) -> None:
        #: By service and kind, when each event was sent.
        self.sent: dict[tuple[str, str], list[float]] = defaultdict(list)
        self._topics = topics
        self._puids = events // len(load.KINDS)
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def _write(self) -> None:
        chance = random.Random(6)
        # With less linger each event is a request of its own, and a broker that has just started takes 300 a second.
        producer = load.open_producer(self._topics.bootstrap, linger_ms=50)
        start = time.monotonic()
        for number in range(self._puids + FEEDBACK_AFTER):
            time.sleep(max(0.0, start + number * ORDINARY_SECONDS / self._puids - time.monotonic()))
            if number < self._puids:
                self._send(producer, "request", number, ORDINARY.request(chance))
                self._send(producer, "response", number, ORDINARY.response(chance))
            if number >= FEEDBACK_AFTER:
                self._send(producer, "feedback", number - FEEDBACK_AFTER, ORDINARY.feedback(chance))
            producer.poll(0)
        producer.flush(60)

    def _send(self, producer: Any, kind: str, number: int, payload: bytes) -> None:
        puid = f"ordinary-{number}"
        service = f"ordinary-{partition_of(puid.encode(), self._topics.partitions)}"
        if kind != "feedback":  # is counted, but not shown, while it is alone
            self.sent[service, kind].append(time.monotonic())
        load.send(producer, self._topics, Event(kind, puid, time.time(), payload, service))


def _watch(loaded: Worker, topics: Topics, ordinary_events: int, burden: Sequence[Event], correct: int) -> Seen:
    """Write both loads and poll until all of both is counted."""
    ordinary = _Ordinary(topics, ordinary_events)
    start = time.monotonic()
    begun = written = right = 0.0
    writer: threading.Thread | None = None
    done: dict[tuple[str, str], int] = defaultdict(int)
    delays: list[Delay] = []
    while not (
        right and written and ordinary.ended and all(done[place] == len(sent) for place, sent in ordinary.sent.items())
    ):
        polled = time.monotonic()
        if polled > start + SECONDS:
            raise TimeoutError(f"not all was counted within {SECONDS:.0f} s")
        if writer is None and polled > start + LEAD_SECONDS:
            begun = polled
            writer = threading.Thread(target=_write, args=(topics, burden))
            writer.start()
        text = loaded.metrics()
        now = time.monotonic()
        for place, count in _counted(text).items():
            sent = ordinary.sent.get(place, [])
            delays += [Delay(place[0], at, now - at) for at in sent[done[place] : count]]
            done[place] = max(done[place], count)
        if writer is not None and not written and not writer.is_alive():
            written = now
        if writer is not None and not right:
            right = now if total(text, "tally_rows", model_service=PUID, verdict="correct") == correct else 0.0
        time.sleep(max(0.0, polled + POLL_SECONDS - time.monotonic()))
    return Seen(delays, begun, written, right)


def _write(topics: Topics, burden: Sequence[Event]) -> None:
    producer = load.open_producer(topics.bootstrap, linger_ms=20)
    for number, event in enumerate(burden):
        load.send(producer, topics, event)
        if number % 1000 == 0:
            producer.poll(0)
    producer.flush(60)


def _counted(text: str) -> dict[tuple[str, str], int]:
    """How many exchanges have a request and a response, by service and part."""
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for line in text.splitlines():
        if line.startswith("tally_exchanges{"):
            labels = dict(LABEL.findall(line))
            counts[labels["model_service"], labels["part"]] += int(line.rpartition(" ")[2])
    return counts
