"""`tally plan` beside two runs: what it says of their loads, and what they took.

One is a backlog that a worker counts as fast as it can: how fast, and how much memory its exchanges take, in memory and
on disk. The other comes evenly, as it would live, and has documents: what lies on the broker's disk, also once it is
compacted, and in Elasticsearch. Both servers are of this run alone, so that nothing else is on their disks. Rates are
planned for cores as fast as a plain loop shows them before and after each run (`--core-speed`).
"""

import heapq
import json
import random
import time
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Final

from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from app.cli.plan import (
    BYTES_ON_DISK,
    LOGGED_AN_EXCHANGE,
    Load,
    Plan,
    bytes_of_a_worker,
    bytes_of_exchanges,
    epoch_seconds,
    events_a_core,
    loaded_a_second,
    plan,
)
from tests.bench import load
from tests.bench.load import KINDS, ORDINARY, Event, Topics
from tests.bench.machine import core_speed
from tests.bench.peer_runs import NotInstalled
from tests.bench.store import on_disk as on_disk_settings
from tests.bench.table import RATE, Row
from tests.bench.tally_runs import Tally
from tests.bench.workers import SETTLE_SECONDS, Bench, Worker, total, watch, worker
from tests.live.changelogs import read_topic
from tests.live.servers import elasticsearch, kafka

PLAN: Final = "tally plan"
#: The load that comes evenly, in full size; labels come so long after their answers.
PUIDS: Final = 60_000
EVENTS_A_SECOND: Final = 3_000
LABEL_SECONDS: Final = 10.0
SECONDS: Final = 300.0
#: For so long Elasticsearch may give the size that an index had before (index.store.stats_refresh_interval).
STATISTICS_SECONDS: Final = 12.0
#: A cleaner that looks often, so that a run need not wait for it.
EAGER: Final = {"log.cleaner.backoff.ms": "500"}


@dataclass(frozen=True, slots=True)
class Place:
    """The servers of the run, and where their files are."""

    bench: Bench
    bootstrap: str
    disk: Path
    elasticsearch: str

    def bytes_of(self, topic: str) -> int:
        """What the records of a topic take on the broker's disk."""
        return sum(log.stat().st_size for log in self.disk.glob(f"{topic}-*/*.log"))


def run(tally: Tally) -> list[Row]:
    """Each quantity as it was measured, and how many times what was planned that is."""
    folder = tally.bench.folder / "plan"
    folder.mkdir()
    with kafka(folder, overrides=EAGER, lasting=True) as broker, elasticsearch(folder, own=True, lasting=True) as node:
        place = Place(tally.bench, broker.bootstrap, folder / "kafka-data", node.url)
        if not place.disk.is_dir():
            raise NotInstalled("the broker's disk is in a container: Maven and Java 17 run one that is not")
        return [*_backlog(place), *_even(place)]


def _compared(what: str, measured: float, planned: float, unit: str = "MB") -> list[Row]:
    """One quantity as it was measured, in bytes or as a rate, and how many times what was planned that is."""
    figure = f"{PLAN}: {what}"
    return [
        Row(figure, measured / 1e6 if unit == "MB" else measured, unit),
        Row(f"{figure}, against the plan", measured / planned, "x (0.8 to 1.25)"),
    ]


# As fast as it can


def _backlog(place: Place) -> list[Row]:
    bench = place.bench
    name = f"{bench.prefix}-plan-backlog"
    topics = load.fill(load.create(place.bootstrap, name, bench.partitions), bench.puids)
    in_memory, on_disk = Load(1.0, 1.0), Load(1.0, 1.0, on_disk=True)
    rows, before = _counted(place, topics, f"{name}-memory", in_memory), core_speed()
    with worker(topics, f"{name}-memory", bench.folder) as again:
        text = bench.ready(again)
    loaded = bench.puids / total(text, "tally_recovery_seconds")
    planned = loaded_a_second(_as_fast(in_memory, before))
    return [
        *rows,
        *_compared("loading, exchanges in memory", loaded, planned, "exchanges/s"),
        *_counted(place, topics, f"{name}-disk", on_disk, **on_disk_settings(bench.folder / f"{name}-volume")),
    ]


def _counted(place: Place, topics: Topics, app_id: str, of: Load, **settings: str) -> list[Row]:
    where, before = "on disk" if of.on_disk else "in memory", core_speed()
    with worker(topics, app_id, place.bench.folder, **settings) as started:
        seen = watch([started], topics, app_id)
        time.sleep(SETTLE_SECONDS)
        rss, disk = started.rss_bytes(), total(started.metrics(), "tally_store_bytes", where="disk")
    first, of = seen.first(), _as_fast(of, before)
    rows = [
        Row(f"{PLAN}: speed of a core, exchanges {where}", of.core_speed, "x"),
        *_compared(f"a core, exchanges {where}", 1e6 / seen.cpu_us(first), events_a_core(of), RATE),
        *_compared(f"memory of a worker, exchanges {where}", rss, _held(of, topics.puids)),
    ]
    return [*rows, *_compared("disk of the store", disk, topics.puids * BYTES_ON_DISK)] if of.on_disk else rows


def _as_fast(of: Load, before: float) -> Load:
    """The same load for cores that were so fast before it, and are as fast as they are now behind it."""
    return replace(of, core_speed=(before + core_speed()) / 2)


def _held(of: Load, exchanges: int) -> int:
    """What the plan says of the memory of one worker with so many exchanges."""
    return bytes_of_a_worker(of) + bytes_of_exchanges(of, exchanges)


# Evenly


def _even(place: Place) -> list[Row]:
    bench = place.bench
    puids = bench.part(PUIDS)
    app_id = f"{bench.prefix}-plan-even"
    topics = load.create(place.bootstrap, app_id, bench.partitions)
    logged = f"{app_id}-log"
    settings = {"TALLY_ELASTICSEARCH_URL": place.elasticsearch, "TALLY_LOG_TOPIC": logged}
    before = core_speed()
    with worker(topics, app_id, bench.folder, **settings) as started:
        bench.ready(started)
        begun, cpu = time.monotonic(), started.cpu_seconds()
        payload = _write(topics, puids)
        lasted = time.monotonic() - begun
        _wait_for_documents(started, puids)
        cpu_seconds = started.cpu_seconds() - cpu
        rss = started.rss_bytes()
        events = puids * len(KINDS)
        gathered = lasted * topics.partitions / _epochs(place, f"{app_id}-panes")
        of = Load(
            events / lasted,
            lasted,
            event_bytes=round(payload / events),
            replication=1,
            documents=True,
            label_seconds=LABEL_SECONDS,
            lasts=lasted,
        )
        shortest = epoch_seconds(of, topics.partitions, 1)
        # Brokers and cores that are busy make epochs longer, so that less is written.
        of = _as_fast(replace(of, epoch_seconds=gathered), before)
        said = plan(of)
        changelog = f"{app_id}-exchanges"
        rows = [
            _compared("a core, with documents", events / cpu_seconds, events_a_core(of), RATE),
            _compared("memory of a worker, with documents", rss, _held(of, puids)),
            _compared("events", sum(map(place.bytes_of, topics.names)), said.events_disk),
            _compared("changelog of exchanges", place.bytes_of(changelog), said.exchanges_disk),
            _compared("seconds of an epoch", gathered, shortest, "s"),
            _compared("changelog of panes, with such epochs", place.bytes_of(f"{app_id}-panes"), said.panes_disk),
            _compared("inference-log", place.bytes_of(logged), said.log_disk),
            _compared("documents, merged", _bytes_of_documents(place.elasticsearch), _of_documents(said, puids)),
        ]
        exchanges = puids + _compact(place, topics, changelog)
        rows.append(
            _compared("changelog of exchanges, compacted", place.bytes_of(changelog), exchanges * LOGGED_AN_EXCHANGE)
        )
    return list(chain.from_iterable(rows))


def _epochs(place: Place, changelog: str) -> int:
    """How many epochs all partitions together have written: the last record of each has its number."""
    records = chain.from_iterable(read_topic(place.bootstrap, changelog).values())
    epochs = {record.key(): int(record.value()) for record in records if record.key().startswith(b'["end",')}
    return sum(epochs.values())


def _of_documents(said: Plan, documents: int) -> float:
    """What the plan says of the size of so many."""
    return said.documents_disk_a_day / said.documents_a_day * documents


def _write(topics: Topics, puids: int) -> int:
    """Write what comes evenly, when it is due; the bytes of all payloads."""
    producer = load.open_producer(topics.bootstrap, linger_ms=20)
    begun, size = time.time(), 0
    for event in _events(puids, begun):
        while (early := event.seconds - time.time()) > 0:
            producer.poll(0)
            time.sleep(min(early, 0.02))
        load.send(producer, topics, event)
        size += len(event.payload)
    if left := producer.flush(120):
        raise RuntimeError(f"{left} events were never acknowledged")
    return size


def _events(puids: int, begun: float) -> Iterator[Event]:
    """The three events of each puid, in the order in which they are due."""
    chance = random.Random(9)
    labels: list[tuple[float, str]] = []
    for number in range(puids):
        asked = begun + number * len(KINDS) / EVENTS_A_SECOND
        while labels and labels[0][0] <= asked:
            due, puid = heapq.heappop(labels)
            yield Event("feedback", puid, due, ORDINARY.feedback(chance))
        puid = str(uuid.UUID(int=chance.getrandbits(128), version=4))
        yield Event("request", puid, asked, ORDINARY.request(chance))
        yield Event("response", puid, asked, ORDINARY.response(chance))
        heapq.heappush(labels, (asked + chance.uniform(0, 2 * LABEL_SECONDS), puid))
    while labels:
        due, puid = heapq.heappop(labels)
        yield Event("feedback", puid, due, ORDINARY.feedback(chance))


def _wait_for_documents(started: Worker, puids: int) -> None:
    def are_written(text: str) -> bool:
        counted = total(text, "tally_exchanges", part="feedback") == puids
        return counted and total(text, "tally_documents_backlog") == 0

    started.wait_until("all documents are written", are_written, SECONDS)


def _bytes_of_documents(url: str) -> float:
    """What the documents of predictions take once those are merged away that their labels have replaced."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for action in ("_flush", "_forcemerge?only_expunge_deletes=true", "_flush"):
        asked = urllib.request.Request(f"{url}/inference-log-*/{action}", method="POST")  # noqa: S310 - http, as started
        direct.open(asked, timeout=SECONDS).close()
    time.sleep(STATISTICS_SECONDS)
    with direct.open(f"{url}/inference-log-*/_stats/store", timeout=60) as reply:
        return float(json.load(reply)["_all"]["primaries"]["store"]["size_in_bytes"])


def _compact(place: Place, topics: Topics, changelog: str) -> int:
    """Let the broker compact a changelog until that takes no more off it; how many exchanges came on top."""
    admin = AdminClient({"bootstrap.servers": place.bootstrap})
    short = {"segment.ms": "500", "min.cleanable.dirty.ratio": "0.01"}
    entries = [ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in short.items()]
    resource = ConfigResource("topic", changelog, incremental_configs=entries)
    admin.incremental_alter_configs([resource])[resource].result(30)
    # A segment is closed when something is written after it, so each partition is given a little, twice.
    little = 40 * topics.partitions
    for _ in range(2):
        time.sleep(2)
        _write(topics, little)
    until, before = time.monotonic() + SECONDS, -1
    while (size := place.bytes_of(changelog)) != before and time.monotonic() < until:
        before = size
        time.sleep(5)
    return 2 * little
