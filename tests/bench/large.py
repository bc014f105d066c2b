"""Very many open exchanges on disk: what a worker takes of memory and time with them, and how it starts again.

So many requests are written, without answers and labels, and counted by a worker; then the ordinary load on top.
"""

import random
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from tests.bench import load
from tests.bench.growth import SESSION_SECONDS
from tests.bench.load import ORDINARY, Event, Topics
from tests.bench.store import on_disk, restart
from tests.bench.table import RATE, Row
from tests.bench.tally_runs import Tally
from tests.bench.workers import Worker, total, wait_for_commit, worker

LARGE: Final = "open exchanges on disk"
#: For how long a worker may fill its store.
_SECONDS: Final = 3_600.0


def run(tally: Tally) -> list[Row]:
    """The rate of filling, then that of the ordinary load on top, its memory, and a restart with and without folder."""
    bench = tally.bench
    exchanges = bench.exchanges
    figure = f"{exchanges:,} {LARGE}"
    app_id = f"{bench.prefix}-large"
    volume = bench.folder / f"{app_id}-volume"
    topics = bench.empty("large")
    settings = on_disk(volume) | {"TALLY_SESSION_TIMEOUT": f"{SESSION_SECONDS}s"}
    with worker(topics, app_id, bench.folder, **settings) as started:
        bench.ready(started)
        _write(topics, _requests(exchanges))
        begun, done = time.monotonic(), total(started.metrics(), "tally_open_exchanges")
        started.wait_until(
            "all requests are counted", lambda text: total(text, "tally_open_exchanges") == exchanges, _SECONDS
        )
        filling = (exchanges - done) / (time.monotonic() - begun)
        rows = [
            Row(f"{figure}: rate of the last {exchanges - done:,.0f} requests", filling, RATE),
            *_sizes(figure, started),
        ]
        with started.held():
            _write(topics, load.events(bench.puids, time.time()))
        begun, cpu = time.monotonic(), started.cpu_seconds()
        wait_for_commit(topics, app_id, _SECONDS)
        events = len(load.KINDS) * bench.puids
        rows += [
            Row(f"{figure}: rate of the ordinary load on top", events / (time.monotonic() - begun), RATE),
            Row(f"{figure}: CPU of it", (started.cpu_seconds() - cpu) * 1e6 / events, "µs/event"),
            *_sizes(f"{figure}, and the load", started),
        ]
    of_all = replace(topics, puids=bench.puids)
    rows += restart(bench, of_all, app_id, f"{figure}: restart with its folder", volume)
    shutil.rmtree(volume)
    return rows + restart(bench, of_all, app_id, f"{figure}: restart without a folder", volume)


def _requests(requests: int) -> Iterator[Event]:
    """So many requests, an hour old and younger."""
    chance = random.Random(8)
    bodies = [ORDINARY.request(chance) for _ in range(100)]
    start = time.time() - 3600
    for number in range(requests):
        puid = str(uuid.UUID(int=chance.getrandbits(128), version=4))
        yield Event("request", puid, start + number * 3300 / requests, bodies[number % 100])


def _write(topics: Topics, events: Iterable[Event]) -> None:
    producer = load.open_producer(topics.bootstrap, linger_ms=20)
    for number, event in enumerate(events):
        load.send(producer, topics, event)
        if number % 5000 == 0:
            producer.poll(0)
    producer.flush(120)


def _sizes(figure: str, started: Worker) -> list[Row]:
    text = started.metrics()
    return [
        Row(f"{figure}: memory of the process", started.rss_bytes() / 1e6, "MB"),
        Row(f"{figure}: tally_store_bytes in memory", total(text, "tally_store_bytes", where="memory") / 1e6, "MB"),
        Row(f"{figure}: tally_store_bytes on disk", total(text, "tally_store_bytes", where="disk") / 1e6, "MB"),
    ]
