"""Worker processes seen from outside: through /metrics, the operating system and the broker."""

import http.client
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from tests.bench import load
from tests.bench.load import Topics
from tests.live.servers import free_port

ROOT: Final = Path(__file__).resolve().parents[2]
POLL_SECONDS: Final = 0.2
FIRST_POLL_SECONDS: Final = 0.05  # until the first event is seen, when a poll takes nothing from the figure
STALL_SECONDS: Final = 60.0
START_SECONDS: Final = 120.0
SETTLE_SECONDS: Final = 3.0
#: What brokers answer to who asks for the offsets of a group that is being given to another one of them.
_COORDINATOR_MOVES: Final = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)
LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Worker:
    """One `tally worker` process and its /metrics."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.port = port
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

    def core_wait_seconds(self) -> float | None:
        """For how long its main thread was ready to run and had no core; None where the system does not say."""
        try:
            return int(Path(f"/proc/{self._process.pid}/schedstat").read_text().split()[1]) / 1e9
        except (OSError, IndexError):
            return None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside the block the process stands still."""
        self._system.suspend()
        try:
            yield
        finally:
            self._system.resume()

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
class Bench:
    """Where the runs happen, and how large they are.

    `prefix` begins the name of every topic and app id, so that all can be removed. `puids` is the size of the ordinary
    load, `probes` how often what is measured one by one is repeated, `exchanges` how many are open on disk at a time.
    """

    bootstrap: str
    prefix: str
    folder: Path
    partitions: int
    puids: int
    probes: int
    exchanges: int

    def part(self, of: int) -> int:
        """So many where the ordinary load has its usual size; in proportion to it where it is smaller."""
        return max(1, of * min(self.puids, load.PUIDS) // load.PUIDS)

    def empty(self, name: str, partitions: int | None = None) -> Topics:
        """The three topics, without events."""
        return load.create(self.bootstrap, f"{self.prefix}-{name}", partitions or self.partitions)

    def ready(self, started: Worker, partitions: int | None = None) -> str:
        """Wait until a worker has all partitions; the text of its /metrics."""
        wanted = partitions or self.partitions
        return started.wait_until(
            f"{wanted} partitions ready", lambda text: total(text, "tally_partitions", state="ready") == wanted
        )


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


def watch(workers: Sequence[Worker], topics: Topics, app_id: str, poll_seconds: float = POLL_SECONDS) -> Run:
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
        time.sleep(max(0.0, polled + (poll_seconds if any(events) else FIRST_POLL_SECONDS) - time.monotonic()))
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


def wait_for_commit(topics: Topics, group: str, seconds: float = STALL_SECONDS) -> None:
    """Return once the group's offsets are the topics' ends: they are committed in the transaction of their counts."""
    ends = {place: end for place, end in load.ends(topics).items() if end}
    deadline = time.monotonic() + seconds
    consumer = Consumer({"bootstrap.servers": topics.bootstrap, "group.id": group, "enable.auto.commit": False})
    try:
        while time.monotonic() < deadline:
            try:
                committed = consumer.committed([TopicPartition(*place) for place in ends], timeout=30)
            except KafkaException as error:
                if error.args[0].code() not in _COORDINATOR_MOVES:
                    raise
                time.sleep(0.02)
                continue
            if all(place.offset >= ends[place.topic, place.partition] for place in committed):
                return
            time.sleep(0.02)
    finally:
        consumer.close()
    raise TimeoutError(f"the offsets of the last events were not committed within {seconds:.0f} s")


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
