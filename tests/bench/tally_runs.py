"""Tally's own figures: throughput, intake, recovery, memory and latency."""

import gc
import random
import statistics
import time
import tracemalloc
import uuid
from contextlib import ExitStack
from dataclasses import replace

from app.core.counts.panes import PaneClock
from app.core.join.shard import Shard
from app.core.limits import Limits
from app.core.rules import Rulebook
from app.core.stats import Stats
from app.core.wire.records import Record, pack_headers
from tests.bench import load
from tests.bench.load import Topics
from tests.bench.table import INTAKE, INTAKE_AND_JOIN, ONE, RATE, TWO, Row
from tests.bench.workers import SETTLE_SECONDS, STALL_SECONDS, Bench, exported, total, watch, watch_group, worker


class Tally:
    """The figures of the ordinary load: all runs read the same topics, each under an app id of its own."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self._topics: Topics | None = None
        self._filled: str | None = None

    @property
    def topics(self) -> Topics:
        """The three topics with all events in them, written on first use."""
        if self._topics is None:
            self._topics = load.fill(self.bench.empty("load"), self.bench.puids)
        return self._topics

    def one(self) -> list[Row]:
        app_id = f"{self.bench.prefix}-one-{uuid.uuid4().hex[:4]}"
        rows = self.throughput(ONE, app_id, workers=1)
        self._filled = app_id
        return rows

    def two(self) -> list[Row]:
        return self.throughput(TWO, f"{self.bench.prefix}-two", workers=2)

    def with_log(self) -> list[Row]:
        app_id = f"{self.bench.prefix}-log"
        return self.throughput(f"{ONE} with inference-log", app_id, workers=1, TALLY_LOG_TOPIC=f"{app_id}-topic")

    def intake(self) -> list[Row]:
        """Events of Seldon's executor into canonical topics: by an intake alone, then by a worker that joins them too.

        What a worker does besides its intake is done by its lane; the first figure is what the intake can do beside
        lanes of other workers, the second what a single worker makes of both.
        """
        source = load.create_source(self.bench.bootstrap, f"{self.bench.prefix}-source", self.bench.partitions)
        load.fill_source(self.bench.bootstrap, source, self.bench.puids)
        app_id = f"{self.bench.prefix}-intake"
        topics = load.create(self.bench.bootstrap, app_id, self.bench.partitions)
        command = ("tests.bench.intake_alone",)
        with worker(topics, app_id, self.bench.folder, command, TALLY_INTAKE_TOPICS=source) as alone:
            run = watch_group(alone, self.bench.bootstrap, f"{app_id}-intake", source, self.bench.partitions)
        stored = sum(load.ends(topics).values())
        first = run.first()
        rows = [
            Row(INTAKE, run.rate(first), RATE),
            Row(f"{INTAKE}: CPU", run.cpu_us(first), "µs/event"),
            Row(f"{INTAKE}: events in the canonical topics", stored, f"of {run.events:,}"),
        ]
        topics = replace(
            load.create(self.bench.bootstrap, f"{app_id}-join", self.bench.partitions), puids=self.bench.puids
        )
        return rows + self.throughput(
            INTAKE_AND_JOIN, f"{app_id}-join", workers=1, topics=topics, TALLY_INTAKE_TOPICS=source
        )

    def recovery(self) -> list[Row]:
        """A worker that starts again on the app id of one that has counted everything."""
        app_id = self.filled_app()
        start = time.monotonic()
        with worker(self.topics, app_id, self.bench.folder) as restarted:
            text = self.bench.ready(restarted)
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
        with worker(self.bench.empty("memory"), f"{self.bench.prefix}-memory", self.bench.folder) as idle:
            self.bench.ready(idle)
            time.sleep(SETTLE_SECONDS)
            idle_bytes = idle.rss_bytes()
        with worker(self.topics, self.filled_app(), self.bench.folder) as holding:
            self.bench.ready(holding)
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
        topics = self.bench.empty("latency")
        producer = load.open_producer(topics.bootstrap, linger_ms=0)
        delays: list[float] = []
        counted = dict.fromkeys(("request", "response"), 0)
        with worker(topics, f"{self.bench.prefix}-latency", self.bench.folder) as idle:
            self.bench.ready(idle)
            time.sleep(SETTLE_SECONDS)
            for number in range(self.bench.probes + 1):
                kind, write = chance.choice((("request", load.ORDINARY.request), ("response", load.ORDINARY.response)))
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

    def throughput(
        self, figure: str, app_id: str, workers: int, topics: Topics | None = None, **settings: str
    ) -> list[Row]:
        """Events a second of so many workers, and the CPU time that they take for one."""
        topics = topics or self.topics
        with ExitStack() as stack:
            started = [
                stack.enter_context(worker(topics, app_id, self.bench.folder, **settings)) for _number in range(workers)
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

    def filled_app(self) -> str:
        """The app id of a worker that has processed everything; runs one where none has."""
        if self._filled is None:
            self.one()
        assert self._filled is not None
        return self._filled


def bytes_per_exchange(exchanges: int = 100_000) -> float:
    """What Python allocates for an open exchange of a 36-byte puid, one leg and one row, labelled; by tracemalloc."""
    shard = Shard(0, 1, Rulebook(), PaneClock(by_labels=True), Limits(), Stats())
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
