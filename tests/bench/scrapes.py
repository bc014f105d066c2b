"""Scrapes of many models: how long one takes, how large it is, and for how long it holds the worker's loop."""

import gzip
import http.client
import statistics
import time
from collections.abc import Iterable, Iterator
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
CORRECTED: Final = 2  # the reward of every model, once it is corrected; before it is 1


@dataclass(frozen=True, slots=True)
class Scraped:
    """One scrape, seen from outside: its text may be too large to be kept."""

    seconds: float
    size: int
    lines: int
    models: int
    changed: int  # models with the corrected reward


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
    """Seconds and size of scrapes as Prometheus makes them, with gzip, and the longest wait for /live meanwhile: when
    nothing has changed since the scrape before, and when every model has.
    """
    bench, scrape = tally.bench, SCRAPES[name]
    topics = _fill(bench.empty(name), scrape)
    app_id = f"{bench.prefix}-{name}"
    with worker(topics, app_id, bench.folder) as loaded:
        wait_for_commit(topics, app_id)
        time.sleep(SETTLE_SECONDS)
        with probing(loaded.port) as quiet:
            time.sleep(SCRAPES_EACH * PAUSE_SECONDS)
        with probing(loaded.port) as waits:
            first, *others = _scrapes(loaded.port, max(SCRAPES_AT_LEAST, bench.part(SCRAPES_EACH)))
            unpacked = min((_scrape(loaded.port, packed=False) for _ in range(2)), key=lambda it: it.seconds)
            _correct_rewards(topics, scrape)
            wait_for_commit(topics, app_id)
            begin = time.monotonic()
            changed = _scrape(loaded.port)
            models = changed.changed
            while models < scrape.models:
                if time.monotonic() - begin > TIMEOUT_SECONDS:
                    raise TimeoutError(f"of {models} of {scrape.models} models what has changed is exported")
                time.sleep(PAUSE_SECONDS)
                models = _scrape(loaded.port).changed
            seconds = time.monotonic() - begin
        memory = loaded.rss_bytes()
    for it in (first, others[-1], changed):
        if it.models != scrape.models:
            raise RuntimeError(f"{it.models} of {scrape.models} models are exported")
    return [
        Row(f"{scrape.figure}: first", first.seconds * 1000, "ms"),
        Row(f"{scrape.figure}: next", statistics.median(it.seconds for it in others) * 1000, "ms"),
        Row(f"{scrape.figure}: when all have changed", changed.seconds * 1000, "ms"),
        Row(f"{scrape.figure}: until all that has changed is there", seconds * 1000, "ms"),
        Row(f"{scrape.figure}: for who takes no gzip", unpacked.seconds * 1000, "ms"),
        Row(f"{scrape.figure}: size", first.size / 1e6, "MB"),
        Row(f"{scrape.figure}: lines", first.lines),
        Row(f"{scrape.figure}: memory of the worker", memory / 1e6, "MB"),
        Row(f"{scrape.figure}: longest wait for /live", max(waits) * 1000, "ms"),
        Row(f"{scrape.figure}: longest wait for /live without one", max(quiet) * 1000, "ms"),
    ]


def _fill(topics: Topics, scrape: Scrape) -> Topics:
    """One request id a model, with a row for each pair of predicted and actual class."""
    pairs = scrape.pairs()
    asked = orjson.dumps({"data": {"ndarray": [[1.5, 2.5]] * len(pairs)}})
    answered = orjson.dumps({"data": {"ndarray": [f"class {predicted}" for predicted, _ in pairs]}})
    told = orjson.dumps({"reward": 1, "truth": {"data": {"ndarray": [f"class {actual}" for _, actual in pairs]}}})
    _send(topics, scrape, zip(load.KINDS, (asked, answered, told), strict=True))
    return replace(topics, puids=scrape.models)


def _correct_rewards(topics: Topics, scrape: Scrape) -> None:
    """Change every model: the reward of each is another one."""
    _send(topics, scrape, [(load.KINDS[-1], orjson.dumps({"reward": CORRECTED}))])


def _send(topics: Topics, scrape: Scrape, bodies: Iterable[tuple[str, bytes]]) -> None:
    """Events of each kind, one of each model."""
    producer = load.open_producer(topics.bootstrap, linger_ms=20)
    now = time.time()
    for kind, body in bodies:
        for number in range(scrape.models):
            load.send(producer, topics, Event(kind, f"scrape-{number}", now, body, f"model-{number}"))
    left = producer.flush(60)
    if left:
        raise RuntimeError(f"{left} events were never acknowledged")


def _scrapes(port: int, times: int) -> Iterator[Scraped]:
    for _ in range(times):
        yield _scrape(port)
        time.sleep(PAUSE_SECONDS)


def _scrape(port: int, *, packed: bool = True) -> Scraped:
    """One scrape. What Prometheus does with the answer is not its part."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)) as connection:
        begin = time.monotonic()
        body = get(connection, "/metrics", {"Accept-Encoding": "gzip"} if packed else None)
        seconds = time.monotonic() - begin
    text = gzip.decompress(body) if packed else body
    models = _samples(text, "tally_model_info")
    changed = _samples(text, "tally_reward_points", f" {CORRECTED:.1f}")
    return Scraped(seconds, len(text), text.count(b"\n"), models, changed)


def _samples(text: bytes, series: str, value: str = "") -> int:
    """How many samples a series has, or has of that value."""
    begin = text.find(f"# TYPE {series} gauge\n".encode())
    end = text.find(b"# HELP ", begin)
    lines = text[text.find(b"\n", begin) + 1 : end]
    return lines.count(f"{value}\n".encode()) if begin >= 0 else 0
