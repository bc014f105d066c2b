"""A worker's port attacked: it answers with a sentence, logs nothing, holds little memory, and goes on meanwhile."""

import contextlib
import gzip
import json
import random
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psutil
import pytest

from app.worker.http.requests import KNOWN
from tests.live.servers import Kafka
from tests.live.test_http import ANSWER, SELDON_RESPONSE, ask
from tests.live.workers import Fleet, Worker, topic_settings, wait_for
from tests.patience import PATIENCE

HOST = b"Host: 127.0.0.1\r\n"
LIVE = b"GET /live HTTP/1.1\r\n" + HOST + b"\r\n"
DEEP = 100_000
#: Beyond what the worker has when it starts.
MOST_MEGABYTES = 250
_REQUESTS = "tally_http_requests_total"


@pytest.fixture(scope="module")
def worker(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """One worker for all attacks; whatever they do, in the end it is as it was."""
    settings = topic_settings(kafka.bootstrap, f"attacks-{uuid.uuid4().hex[:8]}") | {"PARTITIONS": "2"}
    with Fleet(tmp_path_factory.mktemp("attacks"), settings) as fleet:
        attacked = fleet.start()
        wait_for("the worker is ready", attacked.ready)
        process = psutil.Process(attacked.process.pid)
        before = process.memory_info().rss
        yield attacked
        wait_for("all connections are gone", lambda: process.num_fds() < 100)
        wait_for("it is ready as it was", attacked.ready)
        assert (process.memory_info().rss - before) / 1e6 < MOST_MEGABYTES
        log = attacked.log.read_text()
        assert "Traceback" not in log
        assert " ERROR " not in log
        assert len(log.splitlines()) < 20, log


def connect(worker: Worker) -> socket.socket:
    return socket.create_connection(("127.0.0.1", worker.port), 40)


def raw(worker: Worker, sent: bytes) -> tuple[int, bytes]:
    """The status and the content of the answer to these bytes, read until the worker hangs up."""
    text = b""
    with closing(connect(worker)) as connection:
        with contextlib.suppress(ConnectionError):  # it may hang up before it has got all of them
            connection.sendall(sent)
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(1 << 16):
                text += piece
    head, _, content = text.partition(b"\r\n\r\n")
    return int(head.split()[1]), content


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n" * 10_000 + b"\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        *(random.Random(seed).randbytes(2000) + b"\r\n\r\n" for seed in range(10)),
    ],
    ids=lambda sent: repr(sent[:12]),
)
def test_what_is_no_http(worker: Worker, sent: bytes) -> None:
    status, content = raw(worker, sent)
    assert status == 400
    assert json.loads(content)["error"].startswith("This is not HTTP as it must be: ")


@pytest.mark.parametrize("deep", [b"[" * DEEP, b'{"a":' * DEEP + b"1" + b"}" * DEEP], ids=["lists", "objects"])
@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/", b"%s", SELDON_RESPONSE | {"Ce-Requestid": "deep"}),
        ("/", b"%s", {"Content-Type": "application/json"}),
        (
            "/",
            b'{"specversion": "1.0", "type": "x.request", "data": %s}',
            {"Content-Type": "application/cloudevents+json"},
        ),
        ("/", b"[%s]", {"Content-Type": "application/cloudevents-batch+json"}),
        ("/feedback", b'{"puid": "deep", "label": %s}', {}),
        ("/feedback", b'{"truth": %s}', {"Seldon-Puid": "deep"}),
    ],
    ids=["binary", "json", "structured", "batch", "feedback", "seldon"],
)
def test_what_is_nested_without_end(
    worker: Worker, path: str, body: bytes, headers: dict[str, str], deep: bytes
) -> None:
    status, content, _ = ask(worker, "POST", path, body % deep, headers)
    assert (status, content.keys()) == (400, {"error", "reason"})


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (gzip.compress(ANSWER), "gzip", 202),
        (gzip.compress(ANSWER)[:-9], "gzip", 400),
        (gzip.compress(ANSWER) + b"garbage", "gzip", 400),
        (gzip.compress(b"0" * (200 << 20)), "gzip", 413),
        (gzip.compress(b"") * 5000, "gzip", 400),
        (ANSWER, "gzip", 400),
        (ANSWER, "br", 400),
    ],
    ids=["fine", "cut", "garbage", "bomb", "members", "bare", "unknown"],
)
def test_packed_bodies(worker: Worker, body: bytes, encoding: str, status: int) -> None:
    headers = SELDON_RESPONSE | {"Ce-Requestid": uuid.uuid4().hex, "Content-Encoding": encoding}
    assert ask(worker, "POST", "/", body, headers)[0] == status


def test_pages_of_other_sites(worker: Worker) -> None:
    """What a browser sends when a page of another site posts a form or calls fetch, which needs nobody's leave."""
    body = b'{"puid": "p", "label": 1}'
    for headers in (
        {"Origin": "https://evil.example", "Content-Type": "text/plain"},
        {"Sec-Fetch-Site": "cross-site", "Content-Type": "text/plain"},
        {"Origin": "null"},
    ):
        status, content, _ = ask(worker, "POST", "/feedback", body, headers)
        assert (status, content.keys()) == (403, {"error"})
    rebound = b"GET /api/models HTTP/1.1\r\nHost: evil.example:%d\r\nConnection: close\r\n\r\n" % worker.port
    assert raw(worker, rebound)[0] == 403
    same = b"POST /feedback HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nOrigin: http://127.0.0.1:%d\r\n" % (
        worker.port,
        worker.port,
    )
    assert raw(worker, same + b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))[0] == 202


def test_half_sent_requests_end(worker: Worker) -> None:
    """Also those to which something is added all the time."""

    def seconds_to_the_answer(begin: bytes, more: bytes) -> tuple[float, int]:
        begun = time.monotonic()
        with closing(connect(worker)) as connection:
            connection.sendall(begin)
            connection.settimeout(0.5)
            while time.monotonic() - begun < PATIENCE:
                try:
                    text = connection.recv(1 << 16)
                except TimeoutError:
                    if more:
                        connection.sendall(more)
                else:
                    return time.monotonic() - begun, int(text.split()[1])
        return PATIENCE, 0

    body = b"POST /feedback HTTP/1.1\r\n" + HOST + b"Content-Length: 1000\r\n\r\n{"
    halves = [(LIVE[:20], b""), (LIVE[:-2], b"X: y\r\n"), (body, b""), (body, b" ")]
    with ThreadPoolExecutor(len(halves)) as pool:
        ended = list(pool.map(lambda half: seconds_to_the_answer(*half), halves))
    assert [status for _, status in ended] == [408] * 4
    assert all(14 < seconds < 60 for seconds, _ in ended), ended  # after 15, and what a busy machine takes besides


def test_thousands_of_connections(worker: Worker) -> None:
    """Idle ones, and such as announce a body and send none: others are answered all the while."""
    begins = [b"", LIVE, b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000\r\n\r\n{"]
    connections = []
    try:
        for number in range(1500):
            connections.append(connect(worker))
            connections[-1].sendall(begins[number % len(begins)])
        assert ask(worker, "GET", "/live")[0] == 200
        headers = SELDON_RESPONSE | {"Ce-Requestid": uuid.uuid4().hex}
        assert ask(worker, "POST", "/", ANSWER, headers)[0] == 202
        wait_for("the worker is ready", worker.ready)
    finally:
        for connection in connections:
            connection.close()


def test_large_bodies_do_not_hold_up_the_others(worker: Worker) -> None:
    """Each is answered in the end, and /live meanwhile: how soon is for `make bench` to say."""
    label = json.dumps({"puid": "many", "label": [1] * 200_000}).encode()
    longer = json.dumps({"puid": "many", "label": [1] * 300_000}).encode()
    told = threading.Event()
    answered: list[int] = []

    def probe() -> None:
        while not told.is_set():
            answered.append(ask(worker, "GET", "/live")[0])
            time.sleep(0.02)

    probing = threading.Thread(target=probe)
    probing.start()
    try:
        with ThreadPoolExecutor(24) as pool:
            answers = Counter(pool.map(lambda body: ask(worker, "POST", "/feedback", body)[0], [label, longer] * 12))
    finally:
        told.set()
        probing.join()
    assert answers == {202: 12, 400: 12}
    assert len(answered) > 5
    assert set(answered) == {200}


def test_every_answer_is_counted(worker: Worker) -> None:
    def counted() -> Counter[tuple[str, str]]:
        series = ((dict(labels), value) for (_, labels), value in worker.series(_REQUESTS).items())
        return Counter({(labels["route"], labels["code"]): int(value) for labels, value in series})

    before = counted()
    for method, path, body in (("GET", "/nowhere", b""), ("GET", "/live", b""), ("POST", "/feedback", b"no JSON")):
        ask(worker, method, path, body or None)
    after = counted()
    assert after - before == {("other", "404"): 1, ("/live", "200"): 1, ("/feedback", "400"): 1, ("/metrics", "200"): 1}
    assert after["/seldon/{namespace}/{service}/api/v1.0/feedback", "202"] == 0
    assert {route for route, _ in after} == {*KNOWN}, "all of them from the start"
