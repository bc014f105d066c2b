"""Scrapes of many models: how long one takes, how large it is, and for how long it holds the worker's loop."""

import http.client
import statistics
import time
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Final

import orjson

from tests.bench import load
from tests.bench.load import Event, Topics
from tests.bench.probing import TIMEOUT_SECONDS, get, probing
from tests.bench.table import Row
from tests.bench.tally_runs import Tally
from tests.bench.workers import SETTLE_SECONDS, wait_for_commit, worker

#: Of more classes than this only three cells each are counted.
MOST_CELLED: Final = 20
SCRAPES_EACH: Final = 10
SCRAPES_AT_LEAST: Final = 3
PAUSE_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Scraped:
    """One scrape, seen from outside."""

    seconds: float
    megabytes: float
    lines: int
    models: int


@dataclass(frozen=True, slots=True)
class Scrape:
    """So many models of so many classes, counted in the total and three windows: every cell of their confusions where
    the classes are few.
    """

    models: int
    classes: int = 10

    @property
    def figure(self) -> str:
        return f"scrape of {self.models:,} models of {self.classes} classes"

    def pairs(self) -> list[tuple[int, int]]:
        """The predicted and the actual class of each row."""
        classes = range(self.classes)
        if self.classes <= MOST_CELLED:
            return [(predicted, actual) for predicted in classes for actual in classes]
        return [(predicted, (predicted + far) % self.classes) for predicted in classes for far in (0, 1, 7)]


SCRAPES: Final = {"scrape": Scrape(20), "scrapes": Scrape(1000), "scrape-classes": Scrape(300, 200)}


def run(name: str, tally: Tally) -> list[Row]:
    """Seconds and size of a scrape, and the longest wait for /live, with scrapes and without."""
    bench, scrape = tally.bench, SCRAPES[name]
    topics = _fill(bench.empty(name), scrape)
    app_id = f"{bench.prefix}-{name}"
    with worker(topics, app_id, bench.folder) as loaded:
        wait_for_commit(topics, app_id)
        time.sleep(SETTLE_SECONDS)
        with probing(loaded.port) as quiet:
            time.sleep(SCRAPES_EACH * PAUSE_SECONDS)
        scrapes = []
        with probing(loaded.port) as waits:
            for _ in range(max(SCRAPES_AT_LEAST, bench.part(SCRAPES_EACH))):
                scrapes.append(_scrape(loaded.port))
                time.sleep(PAUSE_SECONDS)
            packed = min(_scrape_packed(loaded.port) for _ in range(SCRAPES_AT_LEAST))
            memory = _memory(loaded.port)
    whole = [it for it in scrapes if it.models == scrape.models]
    if not whole:
        raise RuntimeError(f"{max(it.models for it in scrapes)} of {scrape.models} models are exported")
    return [
        Row(f"{scrape.figure}: median", statistics.median(it.seconds for it in whole) * 1000, "ms"),
        Row(f"{scrape.figure}: first", whole[0].seconds * 1000, "ms"),
        Row(f"{scrape.figure}: with all models", len(whole), f"of {len(scrapes)}"),
        Row(f"{scrape.figure}: size", whole[-1].megabytes, "MB"),
        Row(f"{scrape.figure}: lines", whole[-1].lines),
        Row(f"{scrape.figure}: the same for who takes gzip", packed * 1000, "ms"),
        Row(f"{scrape.figure}: memory of the worker", memory, "MB"),
        Row(f"{scrape.figure}: longest wait for /live", max(waits) * 1000, "ms"),
        Row(f"{scrape.figure}: longest wait for /live without one", max(quiet) * 1000, "ms"),
    ]


def _fill(topics: Topics, scrape: Scrape) -> Topics:
    """One request id a model, with a row for each pair of predicted and actual class."""
    producer = load.open_producer(topics.bootstrap, linger_ms=20)
    pairs = scrape.pairs()
    asked = orjson.dumps({"data": {"ndarray": [[1.5, 2.5]] * len(pairs)}})
    answered = orjson.dumps({"data": {"ndarray": [f"class {predicted}" for predicted, _ in pairs]}})
    told = orjson.dumps({"reward": 1, "truth": {"data": {"ndarray": [f"class {actual}" for _, actual in pairs]}}})
    now = time.time()
    for number in range(scrape.models):
        for kind, body in zip(load.KINDS, (asked, answered, told), strict=True):
            load.send(producer, topics, Event(kind, f"scrape-{number}", now, body, f"model-{number}"))
    left = producer.flush(60)
    if left:
        raise RuntimeError(f"{left} events were never acknowledged")
    return replace(topics, puids=scrape.models)


def _scrape(port: int) -> Scraped:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)) as connection:
        begin = time.monotonic()
        text = get(connection, "/metrics")
        seconds = time.monotonic() - begin
    return Scraped(seconds, len(text) / 1e6, text.count(b"\n"), text.count(b"\ntally_model_info{"))


def _scrape_packed(port: int) -> float:
    """Seconds of a scrape as Prometheus asks for it; what it does with the answer is not its part."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)) as connection:
        begin = time.monotonic()
        get(connection, "/metrics", {"Accept-Encoding": "gzip"})
        return time.monotonic() - begin


def _memory(port: int) -> float:
    """Resident memory of the worker, in MB."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)) as connection:
        text = get(connection, "/metrics")
    line = next(line for line in text.splitlines() if line.startswith(b"process_resident_memory_bytes "))
    return float(line.split()[1]) / 1e6
