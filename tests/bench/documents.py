"""Measures the document writer against a plain bulk of the documents that it made, on the same Elasticsearch."""

import asyncio
import random
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from confluent_kafka.admin import AdminClient
from elasticsearch import AsyncElasticsearch
from elasticsearch.helpers import async_scan, async_streaming_bulk

from tests.bench import load
from tests.bench.load import Topics
from tests.bench.table import Row
from tests.bench.tally_runs import Tally
from tests.bench.workers import Worker, total, worker
from tests.live.servers import elasticsearch

DOCUMENTS: Final = "documents"
PLAIN: Final = "documents: plain bulk of the same, ready-made"
RATE: Final = "documents/s"
MOST: Final = 50_000
#: What one after the other does in turn, so that both meet the machine's good and bad moments.
ROUNDS: Final = 2
BULK: Final = 1000
POLL_SECONDS: Final = 0.25
SECONDS: Final = 300.0

Document = tuple[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Stretch:
    """So many documents in so many seconds."""

    documents: float
    seconds: float
    cpu_seconds: float = 0.0


def run(tally: Tally) -> list[Row]:
    """The rate of a worker that finds all joined records in the log, of a plain bulk, and of late feedback."""
    puids, name = min(tally.bench.puids, MOST), f"{tally.bench.prefix}-documents"
    topics = replace(tally.bench.empty(DOCUMENTS), puids=puids)
    folder = tally.bench.folder / "elasticsearch"
    folder.mkdir()
    with elasticsearch(folder, lasting=True) as server:
        asyncio.run(_prepare(server.url, name))
        try:
            return _rows(topics, name, tally.bench.folder, server.url)
        finally:
            asyncio.run(_prepare(server.url, name))


def _rows(topics: Topics, name: str, folder: Path, url: str) -> list[Row]:
    index = _index(name)
    settings = {"TALLY_LOG_TOPIC": f"{name}-log"}
    _send(topics, name, _asked_and_answered(topics.puids))
    with worker(topics, name, folder, **settings) as joining:
        joining.wait_until("all is joined", lambda text: total(text, "tally_events_total") >= 2 * topics.puids)
        time.sleep(2)  # the last epoch
    settings["TALLY_ELASTICSEARCH_URL"] = url
    ours, plain = [], []
    documents: list[Document] = []
    for _ in range(1 + ROUNDS):
        with worker(topics, name, folder, **settings) as writing:
            ours.append(_watch(writing))
        documents = documents or asyncio.run(_documents(url, index))
        if len(documents) != topics.puids:
            raise RuntimeError(f"{len(documents)} documents of {topics.puids} request ids")
        asyncio.run(_prepare(url, name))
        plain.append(asyncio.run(_plain_bulk(url, index, documents)))
        asyncio.run(_prepare(url, name))
        _forget(topics.bootstrap, f"{name}-documents")
    # A node that has just been started takes three times as long for its first documents, whose ever they are.
    ours, plain = ours[1:], plain[1:]
    with worker(topics, name, folder, **settings) as writing:
        _watch(writing)
        _send(
            topics, name, (("feedback", number, load.ORDINARY.feedback) for number, _ in documents[: 5 * BULK * ROUNDS])
        )
        late = _watch(writing, total(writing.metrics(), "tally_documents_total"))
    rate, its = _rate(ours), _rate(plain)
    return [
        Row(DOCUMENTS, rate, RATE),
        Row(
            f"{DOCUMENTS}: CPU", 1e6 * sum(it.cpu_seconds for it in ours) / sum(it.documents for it in ours), "µs each"
        ),
        Row(PLAIN, its, RATE),
        Row(f"{DOCUMENTS} against a plain bulk", rate / its, "x"),
        Row(f"{DOCUMENTS}: late feedback, joined and written", _rate([late]), RATE),
    ]


def _index(name: str) -> str:
    return f"inference-log-seldon-{name}-sklearn-default"


def _rate(stretches: list[Stretch]) -> float:
    return sum(it.documents for it in stretches) / sum(it.seconds for it in stretches)


def _asked_and_answered(puids: int) -> Iterator[tuple[str, str, Any]]:
    chance = random.Random(5)
    for _ in range(puids):
        puid = str(uuid.UUID(int=chance.getrandbits(128), version=4))
        yield "request", puid, load.ORDINARY.request
        yield "response", puid, load.ORDINARY.response


def _send(topics: Topics, namespace: str, events: Iterator[tuple[str, str, Any]]) -> None:
    """Write events of a model in a namespace of its own, so that its index is no other's."""
    producer = load.open_producer(topics.bootstrap, linger_ms=20)
    chance = random.Random(6)
    for number, (kind, puid, body) in enumerate(events):
        seconds = time.time()
        headers = [
            ("ce_type", load.TYPES[kind]),
            ("ce_source", b"http://localhost:9000/"),
            ("ce_time", load.instant(seconds)),
            ("ce_requestid", puid.encode()),
            ("ce_namespace", namespace.encode()),
            ("ce_inferenceservicename", b"sklearn"),
            ("ce_endpoint", b"default"),
            ("ce_modelid", b"classifier"),
        ]
        event = load.Event(kind, puid, seconds, body(chance))
        load.produce(producer, topics.of(kind), event, puid.encode(), headers)
        if number % 5000 == 0:
            producer.poll(0)
    left = producer.flush(120)
    if left:
        raise RuntimeError(f"{left} events were never acknowledged")


def _watch(writing: Worker, done: float = 0.0) -> Stretch:
    """From the first documents to the last full bulk: a bulk that is not full waits for more. `done` are older."""
    samples: list[tuple[float, float, float]] = []
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        text = writing.metrics()
        samples.append((total(text, "tally_documents_total"), time.monotonic(), writing.cpu_seconds()))
        waiting = total(text, "tally_documents_backlog") + total(text, "tally_documents_oldest_seconds")
        if samples[-1][0] > done and not waiting:
            full = [it for it in samples if done < it[0] <= samples[-1][0] - BULK]
            if len(full) < 2:
                raise RuntimeError("all was written between two polls: ask for more --events")
            (first, begin, cpu), (last, end, cpu_end) = full[0], full[-1]
            return Stretch(last - first, end - begin, cpu_end - cpu)
        writing.check()
        time.sleep(POLL_SECONDS)
    raise TimeoutError(f"the documents were not written within {SECONDS:.0f} s")


async def _documents(url: str, index: str) -> list[Document]:
    client = AsyncElasticsearch(url, request_timeout=60)
    try:
        await client.indices.refresh(index=index)
        return [(hit["_id"], hit["_source"]) async for hit in async_scan(client, index=index, size=2000)]
    finally:
        await client.close()


async def _plain_bulk(url: str, index: str, documents: list[Document]) -> Stretch:
    client = AsyncElasticsearch(url, request_timeout=60)
    actions = ({"_index": index, "_id": number, "_source": body} for number, body in documents)
    written = 0
    try:
        begin = time.monotonic()
        async for fine, _ in async_streaming_bulk(client, actions, chunk_size=BULK):
            written += fine
        return Stretch(written, time.monotonic() - begin)
    finally:
        await client.close()


async def _prepare(url: str, name: str) -> None:
    """Remove the index, and let Elasticsearch come to rest."""
    client = AsyncElasticsearch(url, request_timeout=60)
    try:
        await client.options(ignore_status=404).indices.delete(index=_index(name))
        await asyncio.sleep(1)
    finally:
        await client.close()


def _forget(bootstrap: str, group: str) -> None:
    """Let a group begin anew."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for forgotten in admin.delete_consumer_groups([group]).values():
        forgotten.result(30)
