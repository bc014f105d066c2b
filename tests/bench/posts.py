"""Posts of large bodies, many at once: for how long they hold the worker's loop; and the rate of small ones."""

import socket
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import Final

import orjson

from tests.bench.probing import probing
from tests.bench.table import Row
from tests.bench.tally_runs import Tally
from tests.bench.workers import Worker, worker

POSTS: Final = "posts over HTTP"
AT_ONCE: Final = 64
LABELS: Final = (340_000, 250_000)  # more than an exchange holds; fewer
BATCH: Final = 1000
CONNECTIONS: Final = 32
SMALL: Final = 20_000
TIMEOUT_SECONDS: Final = 60.0

_RESPONSE: Final = (
    b"Ce-Specversion: 1.0\r\nCe-Type: io.seldon.serving.inference.response\r\nCe-Inferenceservicename: iris\r\n"
    b"Ce-Namespace: seldon\r\nCe-Endpoint: default\r\nCe-Modelid: classifier\r\nContent-Type: application/json\r\n"
)
_ANSWER: Final = b'{"data": {"ndarray": [[0.25, 0.75]]}}'


def run(tally: Tally) -> list[Row]:
    """Longest waits for /live while large bodies come, and how many small events a second are acknowledged."""
    bench = tally.bench
    topics = bench.empty("posts")
    with worker(topics, f"{bench.prefix}-posts", bench.folder, TALLY_MAX_BODY="2MiB") as loaded:
        bench.ready(loaded)
        time.sleep(2)
        events, used = bench.part(SMALL), loaded.cpu_seconds()
        rate = _small(loaded.port, events)
        used = loaded.cpu_seconds() - used
        before = loaded.rss_bytes()
        return [
            Row(f"small events over HTTP, {CONNECTIONS} connections", rate, "events/s"),
            Row(f"small events over HTTP, {CONNECTIONS} connections: CPU", used * 1e6 / events, "µs an event"),
            *(
                row
                for labels in LABELS
                for row in _held(loaded, f"{AT_ONCE} posts at once of {labels:,} labels", partial(_labels, labels))
            ),
            *_held(loaded, f"{AT_ONCE} posts at once of {BATCH:,} events", _batch),
            Row("memory of the worker: more after large posts", (loaded.rss_bytes() - before) / 1e6, "MB"),
        ]


def _held(loaded: Worker, figure: str, body: Callable[[int], bytes]) -> Iterator[Row]:
    requests = [body(number) for number in range(AT_ONCE)]
    with probing(loaded.port) as waits:
        begin = time.monotonic()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = Counter(pool.map(lambda request: _post(loaded.port, [request])[0], requests))
        seconds = time.monotonic() - begin
        time.sleep(3)  # the lane reads them meanwhile
    told = ", ".join(f"{count} of {status}" for status, count in sorted(answers.items()))
    percentiles = statistics.quantiles(waits, n=100, method="inclusive")
    yield Row(f"{figure}: answers", told)
    yield Row(f"{figure}: all answered after", seconds, "s")
    yield Row(f"{figure}: wait for /live, median", percentiles[49] * 1000, "ms")
    yield Row(f"{figure}: wait for /live, 99th percentile", percentiles[98] * 1000, "ms")
    yield Row(f"{figure}: longest wait for /live", max(waits) * 1000, "ms")


def _labels(labels: int, number: int) -> bytes:
    body = orjson.dumps({"puid": f"labels-{labels}-{number}", "label": [1] * labels}).replace(b"1,", b"1, ")
    return _request("/feedback", b"Content-Type: application/json\r\n", body)


def _batch(number: int) -> bytes:
    one = {
        "specversion": "1.0",
        "source": "bench",
        "type": "io.seldon.serving.inference.response",
        "inferenceservicename": "iris",
        "namespace": "seldon",
        "endpoint": "default",
        "modelid": "classifier",
        "datacontenttype": "application/json",
        "data": {"data": {"names": [f"column {column}" for column in range(40)], "ndarray": [[0.5] * 40]}},
    }
    events = [one | {"id": f"{number}-{event}", "requestid": f"batch-{number}-{event}"} for event in range(BATCH)]
    return _request("/", b"Content-Type: application/cloudevents-batch+json\r\n", orjson.dumps(events))


def _small(port: int, events: int) -> float:
    each = max(1, events // CONNECTIONS)
    lists = [
        [_request("/", _RESPONSE + b"Ce-Requestid: small-%d-%d\r\n" % (one, number), _ANSWER) for number in range(each)]
        for one in range(CONNECTIONS)
    ]
    begin = time.monotonic()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        answers = Counter(status for statuses in pool.map(lambda each: _post(port, each), lists) for status in statuses)
    if answers.keys() != {202}:
        raise RuntimeError(f"small events were answered with {dict(answers)}")
    return answers.total() / (time.monotonic() - begin)


def _request(path: str, headers: bytes, body: bytes) -> bytes:
    return b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%sContent-Length: %d\r\n\r\n%s" % (
        path.encode(),
        headers,
        len(body),
        body,
    )


def _post(port: int, requests: Sequence[bytes]) -> list[int]:
    """Send requests over one connection, each after the answer to the last; their statuses."""
    statuses = []
    with closing(socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS)) as connection:
        for request in requests:
            connection.sendall(request)
            head = b""
            while b"\r\n\r\n" not in head:
                piece = connection.recv(1 << 16)
                if not piece:
                    raise RuntimeError(f"the worker hung up after {head!r}")
                head += piece
            statuses.append(int(head[9:12]))
    return statuses
