"""Measures Tally from outside: its own processes, read through /metrics and the operating system."""

import gc
import http.client
import os
import random
import re
import statistics
import subprocess
import sys
import time
import tracemalloc
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import psutil
from confluent_kafka import Consumer, TopicPartition

from app.core.counts.panes import PaneClock
from app.core.join.shard import Shard
from app.core.limits import Limits
from app.core.rules import Rulebook
from app.core.stats import Stats
from app.core.wire.records import Record, pack_headers
from tests.bench import load
from tests.bench.load import Topics
from tests.bench.table import INTAKE, INTAKE_AND_JOIN, ONE, RATE, TWO, Row
from tests.live.servers import free_port

ROOT: Final = Path(__file__).resolve().parents[2]
POLL_SECONDS: Final = 0.2
FIRST_POLL_SECONDS: Final = 0.05  # until the first event is seen, when a poll takes nothing from the figure
STALL_SECONDS: Final = 60.0
START_SECONDS: Final = 120.0
SETTLE_SECONDS: Final = 3.0
LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Worker:
    """One `tally worker` process and its /metrics."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self._process = process
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self._log = log
        self._system = psutil.Process(process.pid)

    def metrics(self) -> str:
        """The text of /metrics; empty while the web server does not answer. Raises once the process has ended."""
        try:
            self._connection.request("GET", "/metrics")
            reply = self._connection.getresponse()
            text = reply.read().decode()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            self.check()
            return ""
        return text if reply.status == http.HTTPStatus.OK else ""

    def check(self) -> None:
        """Raise where the process has ended."""
        if self._process.poll() is not None:
            said = self._log.read_text(errors="replace").strip().splitlines() or ["nothing"]
            raise RuntimeError(
                f"the worker ended with exit code {self._process.returncode} and said: {said[-1]}"
            ) from None

    def cpu_seconds(self) -> float:
        times = self._system.cpu_times()
        return float(times.user + times.system)

    def rss_bytes(self) -> int:
        return int(self._system.memory_info().rss)

    def wait_until(self, what: str, holds: Callable[[str], bool], seconds: float = START_SECONDS) -> str:
        """Poll /metrics until its text is as wanted, and return that text."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            text = self.metrics()
            if holds(text):
                return text
            time.sleep(POLL_SECONDS)
        raise TimeoutError(f"{what}: not within {seconds:.0f} s")


@contextmanager
def worker(
    topics: Topics, app_id: str, folder: Path, command: Sequence[str] = ("app", "worker"), **settings: str
) -> Iterator[Worker]:
    """A worker on these topics with the default settings, whatever the environment says; leaving the block ends it."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")}
    environment |= {
        "TALLY_KAFKA_BOOTSTRAP_SERVERS": topics.bootstrap,
        "TALLY_APP_ID": app_id,
        "TALLY_REQUEST_TOPIC": topics.request,
        "TALLY_RESPONSE_TOPIC": topics.response,
        "TALLY_FEEDBACK_TOPIC": topics.feedback,
        "TALLY_PARTITIONS": str(topics.partitions),
        "TALLY_WEB_PORT": str(port),
        "TALLY_DATA_DIR": str(folder / f"{app_id}-{port}"),
        **settings,
    }
    log = folder / f"{app_id}-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=ROOT, env=environment, stdout=output, stderr=output
        )
    try:
        yield Worker(process, port, log)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(frozen=True, slots=True)
class Sample:
    """What all workers had done at one moment: events by worker, CPU seconds of all."""

    at: float
    events: tuple[float, ...]
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Run:
    """The samples of one run over full topics; the last one is of the moment when every event was committed."""

    events: int
    samples: tuple[Sample, ...]

    def first(self) -> Sample:
        """The first sample with an event in it."""
        return next(sample for sample in self.samples if any(sample.events))

    def first_of_all(self) -> Sample | None:
        """The first sample with events of every worker; None where one had nothing to do."""
        return next((sample for sample in self.samples if all(sample.events)), None)

    def rate(self, since: Sample) -> float:
        return (self.events - sum(since.events)) / (self.samples[-1].at - since.at)

    def cpu_us(self, since: Sample) -> float:
        return (self.samples[-1].cpu_seconds - since.cpu_seconds) * 1e6 / (self.events - sum(since.events))


class Tally:
    """Every figure of Tally's own. All runs read the same topics from their beginning, each under an app id of its own.

    `prefix` begins the name of every topic and app id, so that all can be removed; `puids` is the size of the load.
    """

    def __init__(self, bootstrap: str, prefix: str, folder: Path, *, partitions: int, puids: int, probes: int) -> None:
        self._bootstrap = bootstrap
        self._prefix = prefix
        self._folder = folder
        self._partitions = partitions
        self._puids = puids
        self._probes = probes
        self._topics: Topics | None = None
        self._filled: str | None = None

    @property
    def topics(self) -> Topics:
        """The three topics with all events in them, written on first use."""
        if self._topics is None:
            self._topics = load.fill(load.create(self._bootstrap, self._prefix, self._partitions), self._puids)
        return self._topics

    def one(self) -> list[Row]:
        app_id = f"{self._prefix}-one-{uuid.uuid4().hex[:4]}"
        rows = self._throughput(ONE, app_id, workers=1)
        self._filled = app_id
        return rows

    def two(self) -> list[Row]:
        return self._throughput(TWO, f"{self._prefix}-two", workers=2)

    def with_log(self) -> list[Row]:
        app_id = f"{self._prefix}-log"
        return self._throughput(f"{ONE} with inference-log", app_id, workers=1, TALLY_LOG_TOPIC=f"{app_id}-topic")

    def intake(self) -> list[Row]:
        """Events of Seldon's executor into canonical topics: by an intake alone, then by a worker that joins them too.

        What a worker does besides its intake is done by its lane; the first figure is what the intake can do beside
        lanes of other workers, the second what a single worker makes of both.
        """
        source = load.create_source(self._bootstrap, f"{self._prefix}-source", self._partitions)
        load.fill_source(self._bootstrap, source, self._puids)
        app_id = f"{self._prefix}-intake"
        topics = load.create(self._bootstrap, app_id, self._partitions)
        command = ("tests.bench.intake_alone",)
        with worker(topics, app_id, self._folder, command, TALLY_INTAKE_TOPICS=source) as alone:
            run = watch_group(alone, self._bootstrap, f"{app_id}-intake", source, self._partitions)
        stored = sum(load.ends(topics).values())
        first = run.first()
        rows = [
            Row(INTAKE, run.rate(first), RATE),
            Row(f"{INTAKE}: CPU", run.cpu_us(first), "µs/event"),
            Row(f"{INTAKE}: events in the canonical topics", stored, f"of {run.events:,}"),
        ]
        topics = replace(load.create(self._bootstrap, f"{app_id}-join", self._partitions), puids=self._puids)
        return rows + self._throughput(
            INTAKE_AND_JOIN, f"{app_id}-join", workers=1, topics=topics, TALLY_INTAKE_TOPICS=source
        )

    def recovery(self) -> list[Row]:
        """A worker that starts again on the app id of one that has counted everything."""
        app_id = self._filled_app()
        start = time.monotonic()
        with worker(self.topics, app_id, self._folder) as restarted:
            text = self._ready(restarted)
            seconds = time.monotonic() - start
        records, recovery = total(text, "tally_recovered_records"), total(text, "tally_recovery_seconds")
        if not recovery:
            raise RuntimeError("the worker exports no tally_recovery_seconds")
        return [
            Row("recovery", records / recovery, "records/s"),
            Row("recovery: records read", records),
            Row("recovery: start of the process to ready", seconds, "s"),
        ]

    def memory(self) -> list[Row]:
        """Resident memory that a restarted worker with every exchange has over one with none."""
        with worker(self._empty("memory"), f"{self._prefix}-memory", self._folder) as idle:
            self._ready(idle)
            time.sleep(SETTLE_SECONDS)
            idle_bytes = idle.rss_bytes()
        with worker(self.topics, self._filled_app(), self._folder) as holding:
            self._ready(holding)
            time.sleep(SETTLE_SECONDS)
            exchanges = total(holding.metrics(), "tally_open_exchanges")
            held_bytes = holding.rss_bytes() - idle_bytes
        if not exchanges:
            raise RuntimeError("the worker says that it holds no exchange")
        figure = "memory of an open exchange"
        store_bytes = bytes_per_exchange()
        return [
            Row(f"{figure}: open exchanges", exchanges),
            Row(f"{figure}: RSS", held_bytes / exchanges, "B"),
            Row(f"{figure}: allocated by Python", store_bytes, "B"),
            Row("memory of an idle worker", idle_bytes / 1e6, "MB"),
        ]

    def latency(self) -> list[Row]:
        """Single events at random moments: from before the send to the first /metrics that counts it."""
        chance = random.Random(2)
        topics = self._empty("latency")
        producer = load.open_producer(topics.bootstrap, linger_ms=0)
        delays: list[float] = []
        counted = dict.fromkeys(("request", "response"), 0)
        with worker(topics, f"{self._prefix}-latency", self._folder) as idle:
            self._ready(idle)
            time.sleep(SETTLE_SECONDS)
            for number in range(self._probes + 1):
                kind, write = chance.choice((("request", load.request), ("response", load.response)))
                time.sleep(chance.uniform(0.0, 0.6))
                counted[kind] += 1
                event = load.Event(kind, f"probe-{number}", time.time(), write(chance))
                start = time.monotonic()
                load.send(producer, topics, event)
                producer.flush(10)
                while total(idle.metrics(), "tally_exchanges", part=kind) < counted[kind]:
                    if time.monotonic() - start > STALL_SECONDS:
                        raise TimeoutError(f"event {number} was not counted within {STALL_SECONDS:.0f} s")
                    time.sleep(0.02)
                delays.append((time.monotonic() - start) * 1000)
        percentiles = statistics.quantiles(delays[1:], n=100, method="inclusive")  # the first one warms up
        return [
            Row("event to /metrics, idle: median", percentiles[49], "ms"),
            Row("event to /metrics, idle: 99th percentile", percentiles[98], "ms"),
        ]

    def _throughput(
        self, figure: str, app_id: str, workers: int, topics: Topics | None = None, **settings: str
    ) -> list[Row]:
        topics = topics or self.topics
        with ExitStack() as stack:
            started = [
                stack.enter_context(worker(topics, app_id, self._folder, **settings)) for _number in range(workers)
            ]
            run = watch(started, topics, app_id)
            exchanges = exported(started, topics.events)
        first, busy = run.first(), run.first_of_all()
        if sum(first.events) >= topics.events:
            raise RuntimeError("every event was processed before the first poll: ask for more --events")
        rows = [Row(figure, run.rate(first), RATE), Row(f"{figure}: CPU", run.cpu_us(first), "µs/event")]
        if workers > 1 and busy:
            rows.append(Row(f"{figure}, while all are busy", run.rate(busy), RATE))
        return [*rows, Row(f"{figure}: events in the exported counts", exchanges, f"of {topics.events:,}")]

    def _filled_app(self) -> str:
        """The app id of a worker that has processed everything; runs one where none has."""
        if self._filled is None:
            self.one()
        assert self._filled is not None
        return self._filled

    def _empty(self, name: str) -> Topics:
        return load.create(self._bootstrap, f"{self._prefix}-{name}", self._partitions)

    def _ready(self, started: Worker) -> str:
        return started.wait_until(
            f"{self._partitions} partitions ready",
            lambda text: total(text, "tally_partitions", state="ready") == self._partitions,
        )


def watch(workers: Sequence[Worker], topics: Topics, app_id: str) -> Run:
    """Poll until every event is processed and its offset committed."""
    begun = moved = time.monotonic()
    samples: list[Sample] = []
    events = (0.0,) * len(workers)
    while sum(events) < topics.events:
        polled = time.monotonic()
        texts = [started.metrics() for started in workers]
        latest = tuple(
            processed(text) if text else before for text, before in zip(texts, events, strict=True)
        )  # a worker that does not answer in time has what it had
        if latest != events:
            moved = time.monotonic()
        events = latest
        samples.append(Sample(time.monotonic(), events, sum(started.cpu_seconds() for started in workers)))
        if time.monotonic() - moved > (STALL_SECONDS if any(events) else START_SECONDS):
            raise TimeoutError(f"{sum(events):.0f} of {topics.events} events in {polled - begun:.0f} s, then no more")
        time.sleep(max(0.0, polled + (POLL_SECONDS if any(events) else FIRST_POLL_SECONDS) - time.monotonic()))
    wait_for_commit(topics, app_id)
    samples.append(Sample(time.monotonic(), events, sum(started.cpu_seconds() for started in workers)))
    return Run(topics.events, tuple(samples))


def watch_group(reader: Worker, bootstrap: str, group: str, topic: str, partitions: int) -> Run:
    """Poll until a group has committed all of a topic; what it has committed counts as done."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False})
    places = [TopicPartition(topic, number) for number in range(partitions)]
    try:
        events = sum(consumer.get_watermark_offsets(place, timeout=30)[1] for place in places)
        moved = time.monotonic()
        samples: list[Sample] = []
        done = 0
        while done < events:
            reader.check()
            now = sum(max(0, place.offset) for place in consumer.committed(places, timeout=30))
            if now != done:
                moved = time.monotonic()
            done = now
            samples.append(Sample(time.monotonic(), (done,), reader.cpu_seconds()))
            if time.monotonic() - moved > (STALL_SECONDS if done else START_SECONDS):
                raise TimeoutError(f"{done} of {events} events, then no more")
            time.sleep(FIRST_POLL_SECONDS)
    finally:
        consumer.close()
    return Run(events, tuple(samples))


def wait_for_commit(topics: Topics, group: str) -> None:
    """Return once the group's offsets are the topics' ends: they are committed in the transaction of their counts."""
    ends = load.ends(topics)
    deadline = time.monotonic() + STALL_SECONDS
    consumer = Consumer({"bootstrap.servers": topics.bootstrap, "group.id": group, "enable.auto.commit": False})
    try:
        while time.monotonic() < deadline:
            committed = consumer.committed([TopicPartition(*place) for place in ends], timeout=30)
            if all(place.offset >= ends[place.topic, place.partition] for place in committed):
                return
            time.sleep(0.02)
    finally:
        consumer.close()
    raise TimeoutError(f"the offsets of the last events were not committed within {STALL_SECONDS:.0f} s")


def exported(workers: Sequence[Worker], expected: int, seconds: float = 15.0) -> float:
    """How many events the exported counts hold: `expected`, or what they hold when the time is up."""
    deadline = time.monotonic() + seconds
    while True:
        counted = sum(total(started.metrics(), "tally_exchanges") for started in workers)
        if counted == expected or time.monotonic() > deadline:
            return counted
        time.sleep(POLL_SECONDS)


def processed(text: str) -> float:
    """The canonical events that a worker has processed since its start."""
    return sum(total(text, "tally_events_total", kind=kind) for kind in load.KINDS)


def total(text: str, name: str, **labels: str) -> float:
    """The sum over the series of that name that carry these labels."""
    found = 0.0
    for line in text.splitlines():
        if line.startswith((f"{name}{{", f"{name} ")) and labels.items() <= dict(LABEL.findall(line)).items():
            found += float(line.rpartition("}")[2].split()[0 if "}" in line else 1])
    return found


def bytes_per_exchange(exchanges: int = 100_000) -> float:
    """What Python allocates for an open exchange of a 36-byte puid, one leg and one row, labelled; by tracemalloc."""
    shard = Shard(0, 1, Rulebook(), PaneClock(), Limits(), Stats())
    leg = [("ce_namespace", b"n"), ("ce_inferenceservicename", b"s"), ("ce_endpoint", b"p"), ("ce_modelid", b"m")]
    response = b'{"data": {"ndarray": [[0.1, 0.7, 0.2]]}}'
    feedback = b'{"reward": 1, "truth": {"data": {"ndarray": [[0, 1, 0]]}}}'
    bodies = (("inference.request", response), ("inference.response", response), ("feedback", feedback))
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(exchanges):
        puid = str(uuid.UUID(int=number << 64)).encode()
        for offset, (kind, value) in enumerate(bodies):
            headers = pack_headers([("ce_type", f"io.seldon.serving.{kind}".encode()), *leg])
            shard.absorb("t", [Record(3 * number + offset, 1_800_000_000_000 + number, puid, value, headers)])
        shard.settle()
        if number % 10_000 == 9_999:
            shard.cut(None)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) / exchanges
