"""Events over the worker's real port, to a real broker: every dialect, real load with a kill in it, a broker away."""

import asyncio
import json
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, NodeNotReadyError
from confluent_kafka.admin import AdminClient, NewTopic

from app.core.dialects.plain import Event as CanonicalEvent
from app.settings import load_settings
from app.worker.http.publisher import ACK_SECONDS, Publisher, UnavailableError, make_producer
from app.worker.kafka.sizes import Sizes
from tests.cases import cases
from tests.live.servers import Kafka
from tests.live.story import Event, expected, traffic
from tests.live.test_exactness import COMMON
from tests.live.workers import Fleet, Worker, assert_counts, topic_settings, wait_for
from tests.patience import PATIENCE

TOKEN = "s3cret"  # noqa: S105 - of a worker that lives for one test
SELDON_RESPONSE = {
    "Ce-Specversion": "1.0",
    "Ce-Type": "io.seldon.serving.inference.response",
    "Ce-Namespace": "seldon",
    "Ce-Inferenceservicename": "iris",
    "Ce-Endpoint": "default",
    "Ce-Modelid": "classifier",
    "Content-Type": "application/json",
}
ANSWER = b'{"data": {"ndarray": [[0.25, 0.75]]}}'


@pytest.fixture(scope="module")
def tally(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """One worker for all short tests; each has puids of its own."""
    settings = topic_settings(kafka.bootstrap, f"http-{uuid.uuid4().hex[:8]}")
    settings |= {"PARTITIONS": "2", "HTTP_TOKEN": TOKEN, "MAX_BODY": "64KiB"}
    with Fleet(tmp_path_factory.mktemp("http"), settings) as fleet:
        worker = fleet.start()
        wait_for("the worker is ready", worker.ready)
        yield worker


def ask(
    worker: Worker, method: str, path: str, body: bytes | None = None, headers: Any = (), token: str = TOKEN
) -> tuple[int, Any, dict[str, str]]:
    """One request on a connection of its own; the headers as pairs or a dict. Its status, content and headers."""
    connection = HTTPConnection("127.0.0.1", worker.port, timeout=30)
    try:
        connection.putrequest(method, path)
        pairs = list(headers.items()) if isinstance(headers, dict) else list(headers)
        for name, value in [*pairs, ("Authorization", f"Bearer {token}"), ("Content-Length", len(body or b""))]:
            connection.putheader(name, value)
        connection.endheaders(body)
        reply = connection.getresponse()
        content = reply.read()
        return reply.status, json.loads(content) if content else None, dict(reply.getheaders())
    finally:
        connection.close()


def post(worker: Worker, path: str, body: Any, headers: Any = ()) -> None:
    """Send what must be accepted."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    status, content, _ = ask(worker, "POST", path, raw, headers)
    assert (status, content) == (202, None)


def exchange(worker: Worker, puid: str, parts: int) -> dict[str, Any]:
    """What is known of a puid once so many events of it are."""
    known: dict[str, Any] = {}

    def complete() -> bool:
        status, content, _ = ask(worker, "GET", f"/api/exchanges/{puid}")
        known.update(content if status == 200 else {"legs": []})
        times = [leg[time] for leg in known["legs"] for time in ("request_time", "response_time")]
        return sum(time is not None for time in [*times, known.get("feedback_time")]) == parts

    wait_for(f"{parts} events of {puid} are joined", complete)
    return known


def leg(service: str, namespace: str, predictor: str, model: str, **known: Any) -> dict[str, Any]:
    names = {"model_namespace": namespace, "model_service": service, "predictor": predictor, "model": model}
    return names | {"model_version": "", "request_time": None, "response_time": None, "rows": []} | known


# Recorded events: the cases are read where they are and say themselves what must come out


def test_seldons_executor(tally: Worker) -> None:
    request, response = cases("01")["cases"]
    for case in (request, response):
        own = {"host", "content-length", "accept-encoding"}
        post(tally, "/", case["body"].encode(), {k: v for k, v in case["headers"].items() if k not in own})
    wanted = request["expect"]
    found = exchange(tally, wanted["request_id"], 2)
    (score,) = response["expect"]["rows"][0]
    assert found["legs"] == [
        leg(
            wanted["service"], wanted["namespace"], wanted["endpoint"], wanted["model_id"],
            request_time=wanted["time"], response_time=response["expect"]["time"],
            rows=[{"predicted": "0", "score": pytest.approx(score)}],
        )
    ]  # fmt: skip


@pytest.mark.parametrize("mode", ["binary", "structured", "batch"])
@pytest.mark.parametrize("way", ["basic", "knative"])
def test_kserves_logger(tally: Worker, way: str, mode: str) -> None:
    pair = [case for case in cases("03")["cases"] if case["id"].startswith(way)]
    puid = f"{pair[0]['expect']['request_id']}-{mode}"
    events = [case["attributes"] | {"id": puid, "data": case["data"]} for case in pair]
    if mode == "batch":
        post(tally, "/", events, {"Content-Type": "application/cloudevents-batch+json"})
    for event in events if mode != "batch" else ():
        if mode == "structured":
            post(tally, "/", event, {"Content-Type": "application/cloudevents+json; charset=utf-8"})
            continue
        headers = {f"ce-{name}": value for name, value in event.items() if name not in ("data", "datacontenttype")}
        post(tally, "/", event["data"], headers | {"Content-Type": event["datacontenttype"]})
    found = exchange(tally, puid, 2)
    names = pair[0]["expect"] | {"service": "sklearn-iris", "namespace": "default", "endpoint": ""}
    times = [case["attributes"]["time"][:26] + "Z" for case in pair]
    assert found["legs"] == [
        leg(
            names["service"], names["namespace"], names["endpoint"], "",
            request_time=times[0], response_time=times[1],
            rows=[{"predicted": str(row)} for row in pair[1]["expect"]["rows"]],
        )
    ]  # fmt: skip


def test_kserves_old_logger(tally: Worker) -> None:
    """Its names stood in quotes, and the response came first."""
    response, request = cases("04")["cases"]
    for case in (response, request):
        own = {"host", "content-length", "accept-encoding"}
        post(tally, "/", case["body"].encode(), {k: v for k, v in case["headers"].items() if k not in own})
    wanted = response["expect"]
    found = exchange(tally, wanted["request_id"], 2)
    times = [case["headers"]["ce-time"][:26] + "Z" for case in (request, response)]
    assert found["legs"] == [
        leg(
            wanted["service"], wanted["namespace"], wanted["endpoint"], "",
            request_time=times[0], response_time=times[1],
            rows=[{"predicted": str(row)} for row in wanted["rows"]],
        )
    ]  # fmt: skip


def test_kserves_own_tests(tally: Worker) -> None:
    given = {case["id"]: case for case in cases("05")["cases"]}
    run = uuid.uuid4().hex

    def send(puid: str, kind: str, body: str, **more: str) -> None:
        headers = {"Ce-Id": f"{run}-{puid}", "Ce-Type": f"org.kubeflow.serving.inference.{kind}", **more}
        post(tally, "/", body.encode(), headers | {"Ce-Inferenceservicename": "iris", "Content-Type": "text/plain"})

    both = given["all-mode-two-events"]
    send("both", "request", both["request_body"])
    send("both", "response", both["response_body"])
    (found,) = exchange(tally, f"{run}-both", 2)["legs"]
    assert [row["predicted"] for row in found["rows"]] == ["2"], "a response may call its rows instances"
    for case in ("metadata-extension", "annotations-extension"):
        extension = {name: value for name, value in given[case]["headers"].items() if name != "Ce-Type"}
        send(case, "request", both["request_body"], **extension)
        assert exchange(tally, f"{run}-{case}", 1)["legs"][0]["response_time"] is None
    assert given["non-200-response"]["expect"]["orphan_request"]
    times = {"Ce-Time": "2026-02-01T10:00:00.000001Z", "Ce-Recordedtime": "2026-02-01T10:00:09Z"}
    assert times.keys() == given["times"]["headers"].keys()
    send("times", "request", both["request_body"], **times)
    assert exchange(tally, f"{run}-times", 1)["legs"][0]["request_time"] == times["Ce-Time"]


def test_the_executors_graphs(tally: Worker) -> None:
    """Each event of a graph that is logged once or several times is there once, under its model."""
    graphs = cases("28")["graphs"]
    run = uuid.uuid4().hex
    for number, graph in enumerate(graphs):
        combiner = "COMBINER" in graph["graph"]
        chain = [("in", kind) for kind in ("request", "response")] + [("out", kind) for kind in ("request", "response")]
        pair = [("a", "request"), ("a", "response")]
        if isinstance(graph["events"], list):
            events = [(event["modelid"], event["type"].rpartition(".")[2]) for event in graph["events"]]
        else:
            events = pair * 2 if combiner else chain
        for model, kind in events:
            headers = {
                "Ce-Type": f"io.seldon.serving.inference.{kind}",
                "Ce-Modelid": model,
                "Ce-Requestid": f"{run}-{number}",
            }
            post(tally, "/", ANSWER, SELDON_RESPONSE | headers)
        if events:
            found = exchange(tally, f"{run}-{number}", len(set(events)))
            assert {each["model"] for each in found["legs"]} == {model for model, _ in events}


def test_what_skips_logging(tally: Worker) -> None:
    """Each value as the executor reads it, and several of one name."""
    run = uuid.uuid4().hex
    for number, (values, skips) in enumerate(cases("28")["skip_header_truthy"]):
        headers = SELDON_RESPONSE | {"Ce-Requestid": f"{run}-{number}"}
        post(tally, "/", ANSWER, [*headers.items(), *(("Seldon-Skip-Logging", value) for value in values)])
        if not skips:
            exchange(tally, f"{run}-{number}", 1)
    exchanges = [ask(tally, "GET", f"/api/exchanges/{run}-{number}")[0] for number in range(number + 1)]
    assert exchanges == [404 if skips else 200 for _, skips in cases("28")["skip_header_truthy"]]


# What is refused


def test_refusals(tally: Worker) -> None:
    ready = {"Ce-Requestid": uuid.uuid4().hex}

    def answer(path: str, body: bytes, headers: Any = (), token: str = TOKEN) -> tuple[int, str]:
        status, content, _ = ask(tally, "POST", path, body, headers, token)
        assert content.keys() <= {"error", "reason"}
        assert len(content["error"]) > 10
        return status, content.get("reason", "")

    before = rejected(tally)
    assert answer("/", ANSWER, SELDON_RESPONSE | ready, "wrong") == (401, "")
    assert answer("/feedback", b"{}", (), "wrong") == (401, "")
    assert answer("/", ANSWER, SELDON_RESPONSE) == (400, "no-puid")
    assert answer("/", ANSWER, SELDON_RESPONSE | ready | {"Ce-Type": "nothing"}) == (400, "unknown-type")
    assert answer("/", b"{not json}", {"Content-Type": "application/json"}) == (400, "bad-json")
    assert answer("/seldon/n/s/api/v1.0/feedback", b'{"reward": 1}') == (400, "no-puid")
    assert answer("/feedback", b'{"puid": "x", "reward": "good"}') == (400, "bad-reward")
    assert answer("/", b"<p>", {"Content-Type": "text/html"}) == (415, "unknown-type")
    assert answer("/", b" " * (65 << 10), SELDON_RESPONSE | ready) == (413, "too-large")
    assert answer("/nothing", ANSWER) == (404, "")
    counted = {"no-puid": 2, "unknown-type": 2, "bad-json": 1, "bad-reward": 1, "too-large": 1}
    assert rejected(tally) - before == counted
    assert ask(tally, "GET", f"/api/exchanges/{ready['Ce-Requestid']}")[0] == 404
    assert tally.ready(), "health needs no token"


def rejected(worker: Worker) -> Counter[str]:
    return Counter({labels[0][1]: int(value) for (_, labels), value in worker.series("tally_rejected_total").items()})


# Load


class Load:
    """Connections that post events to any of the workers until each is acknowledged."""

    def __init__(self, fleet: Fleet, connections: int = 8) -> None:
        self.answers: Counter[int] = Counter()
        self.acknowledged = 0
        self._fleet = fleet
        self._connections = connections

    def post(self, events: list[Event]) -> None:
        asyncio.run(self._post_all(events))

    async def _post_all(self, events: list[Event]) -> None:
        waiting = iter(events)
        timeout = aiohttp.ClientTimeout(total=20)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as group:
            for _ in range(self._connections):
                group.create_task(self._post_each(session, waiting))

    async def _post_each(self, session: aiohttp.ClientSession, waiting: Iterator[Event]) -> None:
        rng = random.Random(5)
        for event in waiting:
            headers = {name.replace("ce_", "ce-"): value.decode() for name, value in event.headers}
            while True:
                worker = rng.choice(self._fleet.running())
                try:
                    async with session.post(worker.url, data=event.value, headers=headers) as reply:
                        self.answers[reply.status] += 1
                        if reply.status == 202:
                            break
                        assert reply.status == 503, await reply.text()
                        await asyncio.sleep(float(reply.headers["Retry-After"]))
                except (aiohttp.ClientError, TimeoutError):
                    await asyncio.sleep(0.05)
            self.acknowledged += 1


def test_load_with_a_kill(kafka: Kafka, tmp_path: Path) -> None:
    """10,000 events through 8 connections, a worker killed in between: all are joined, and counted once."""
    events = traffic(3_450, seed=31, broken=0)
    assert len(events) > 10_000
    settings = topic_settings(kafka.bootstrap, f"load-{uuid.uuid4().hex[:8]}") | COMMON | {"PARTITIONS": "4"}
    with Fleet(tmp_path, settings) as fleet:
        killed = fleet.start()
        wait_for("the first worker is ready", killed.ready)
        survivor = fleet.start()
        wait_for("both are ready", lambda: killed.ready() and survivor.ready())
        load = Load(fleet)
        posting = threading.Thread(target=load.post, args=(events,))
        posting.start()
        wait_for("a third is acknowledged", lambda: load.acknowledged > len(events) // 3)
        killed.kill()
        posting.join(PATIENCE)
        assert load.answers[202] >= load.acknowledged == len(events)
        assert_counts(fleet, expected(events))


# A broker away


@pytest.mark.parametrize("error", [KafkaError, NodeNotReadyError], ids=["for good", "to be tried again"])
def test_a_stuck_producer_leaves_nothing(kafka: Kafka, error: type[Exception]) -> None:
    """One whose broker is silent is ended, with all that it does."""
    topic = f"stuck-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.create_topics([NewTopic(topic, 1)])[topic].result(10)

    def connect() -> AIOKafkaProducer:
        producer = make_producer(load_settings(kafka_bootstrap_servers=kafka.bootstrap), Sizes())
        hang_up, hung_up = producer.client.close, asyncio.Event()

        async def send(*_: Any) -> None:
            await hung_up.wait()
            raise error

        async def close() -> None:
            hung_up.set()
            await hang_up()

        producer.client.send, producer.client.close = send, close
        return producer

    async def story() -> None:
        writer = Publisher(connect, Sizes(), ack_seconds=0.5)
        with pytest.raises(UnavailableError, match="TimeoutError"):
            await writer.publish([(topic, CanonicalEvent(b"p", b"{}", ()))], 1_795_244_400_000)
        await writer.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        if others:  # they have been told to end
            await asyncio.wait(others, timeout=PATIENCE)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(story())


def test_a_broker_away(own_kafka: Callable[..., Kafka], tmp_path: Path) -> None:
    """Senders are told to come again, at once where too much waits already; nothing needs a restart afterwards."""
    broker = own_kafka()
    settings = topic_settings(broker.bootstrap, "away") | {"PARTITIONS": "1"}
    with Fleet(tmp_path, settings) as fleet:
        worker = fleet.start()
        wait_for("the worker is ready", worker.ready)
        large = ANSWER + b" " * (1_000_000 - len(ANSWER))

        def send(number: int) -> tuple[int, str, float]:
            begun = time.monotonic()
            headers = SELDON_RESPONSE | {"Ce-Requestid": f"p-{number}", "Ce-Time": "2026-11-21T07:00:00Z"}
            status, _, answered = ask(worker, "POST", "/", large, headers)
            return status, answered.get("Retry-After", ""), time.monotonic() - begun

        assert send(0)[:2] == (202, "")
        broker.kill()
        with ThreadPoolExecutor(80) as pool:
            answers = list(pool.map(send, range(1, 81)))
        assert {(status, again) for status, again, _ in answers} == {(503, "1"), (503, "5")}
        slowest = {again: max(seconds for _, told, seconds in answers if told == again) for again in ("1", "5")}
        assert slowest["1"] < ACK_SECONDS  # 80 MB take their time to come
        assert slowest["5"] < 2 * ACK_SECONDS
        broker.start()
        wait_for("events are taken again", lambda: send(81)[0] == 202)
        with ThreadPoolExecutor(8) as pool:
            assert {status for status, _, _ in pool.map(send, range(1, 81))} == {202}
        wait_for("each is counted once", lambda: responses(fleet) == 82)
        assert fleet.running() == [worker]


def responses(fleet: Fleet) -> float:
    return sum(
        value for at, value in fleet.counts().items() if at[0] == "tally_exchanges" and ("part", "response") in at[1]
    )
