"""What the page asks of a worker, with real brokers and a real Elasticsearch behind it."""

import json
import time
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from tests.live import servers
from tests.live.story import TYPES, Event
from tests.live.test_documents import Node
from tests.live.workers import Fleet, Worker, produce, topic_settings, wait_for

ROWS = 40
WEEK = 7 * 86400


class Asked:
    """A worker, and what is asked of it."""

    def __init__(self, worker: Worker, node: Node, name: str) -> None:
        self.worker = worker
        self.node = node
        self.name = name  # of the namespace, which is this test's alone
        self.key, self.shadow = (f"{name}/svc/{predictor}/m" for predictor in ("default", "shadow"))
        self.pair = f"current={self.key}&shadow={self.shadow}"

    def post(self, path: str, content: Any) -> Any:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.worker.url + path, json.dumps(content).encode(), headers)  # noqa: S310 - http
        with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310 - the same
            return json.loads(reply.read() or b"null")

    def get(self, path: str) -> Any:
        return json.loads(self.worker.get(path, 60))

    def labelled(self) -> list[int]:
        return [model["labelled"] for model in self.get("/api/overview")["models"]]


@pytest.fixture(scope="module")
def asked(
    kafka: servers.Kafka, elasticsearch: servers.Elasticsearch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Asked]:
    name = f"api-{uuid.uuid4().hex[:8]}"
    settings = topic_settings(kafka.bootstrap, name) | {
        "PARTITIONS": "2",
        "ELASTICSEARCH_URL": elasticsearch.url,
        "LOG_TOPIC": f"{name}-log",
        "MAX_LABEL_LENGTH": "20",
    }
    node = Node(elasticsearch)
    with Fleet(tmp_path_factory.mktemp("api"), settings) as fleet:
        worker = fleet.start()
        wait_for("the worker is ready", worker.ready)
        asked = Asked(worker, node, name)
        for row in range(ROWS):
            for predictor, every in (("default", 4), ("shadow", 5)):
                names = {"namespace": name, "service": "svc", "endpoint": predictor, "model": "m"}
                answer = {"puid": f"{name}-{row}", "features": [[row]], "output": [int(row % every != 0)]}
                asked.post("/events", names | answer)
        asked.post("/feedback", [{"puid": f"{name}-{row}", "label": 1} for row in range(ROWS)])
        headers = [("ce_type", TYPES["feedback"].encode()), ("ce_requestid", b"x")]
        long = json.dumps({"truth": {"data": {"ndarray": ["a" * 21]}}}).encode()
        produce(settings, [Event("feedback", b"x", long, headers, int(time.time() * 1000))])
        wait_for("all labels are counted", lambda: asked.labelled() == [ROWS, ROWS])
        yield asked
    node.remove(f"inference-log-*-{name}-*")


def test_answers_are_as_they_are_described(asked: Asked) -> None:
    description = asked.get("/api/openapi.json")
    for path, template in (
        ("/api/overview", "/api/overview"),
        ("/api/models", "/api/models"),
        (f"/api/models/{asked.key}", "/api/models/{key}"),
        (f"/api/models/{asked.key}/history", "/api/models/{key}/history"),
        (f"/api/comparisons/history?{asked.pair}", "/api/comparisons/history"),
        (f"/api/exchanges/{asked.name}-3", "/api/exchanges/{puid}"),
        (f"/api/exchanges/{asked.name}-3/documents", "/api/exchanges/{puid}/documents"),
        ("/api/letters", "/api/letters"),
        ("/api/worker", "/api/worker"),
        ("/api/worker/check", "/api/worker/check"),
    ):
        said = description["paths"][template]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        content = asked.get(path)
        jsonschema.Draft202012Validator({**said, "components": description["components"]}).validate(content)


def test_examples_are_found_in_the_documents(asked: Asked) -> None:
    path = f"/api/models/{asked.key}/examples?actual=1&predicted=0"
    wait_for("they can be searched", lambda: len(asked.get(path)["examples"]) == 10)
    found = asked.get(path)
    assert (found["source"], found["note"]) == ("elasticsearch", None)
    assert puids(found) == {f"{asked.name}-{row}" for row in range(0, ROWS, 4)}
    assert asked.get(f"/api/models/{asked.key}/examples?limit=500")["examples"] == found["examples"]
    for right, rows in (("current", range(0, ROWS, 5)), ("shadow", range(0, ROWS, 4))):
        path = f"/api/comparisons/examples?{asked.pair}&right={right}&limit=500"
        alone = {f"{asked.name}-{row}" for row in rows if row % 20}
        wait_for("they can be searched", lambda path=path, alone=alone: puids(asked.get(path)) == alone)  # type: ignore[misc]
        assert asked.get(path)["source"] == "elasticsearch"


def puids(answer: Any) -> set[str]:
    return {one["puid"] for one in answer["examples"]}


def of_a_week_ago(asked: Asked, index: str, field: str, path: str) -> tuple[Any, Any]:
    """A document of a week ago, which is one of today, moved; and the first point of the history that goes on there."""
    query = {"bool": {"filter": [{"term": {field: asked.key}}, {"term": {"window": "5m"}}]}}
    wait_for("a window is written", lambda: bool(asked.node.search(index, query=query)["hits"]["hits"]))
    body = asked.node.search(index, query=query)["hits"]["hits"][0]["_source"]
    start = int(time.time()) // 300 * 300 - WEEK
    moved = body | {"start": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(start))}
    asked.node.ask("PUT", f"/{index}/_doc/{asked.name}", moved)
    path += f"step=5m&from={start - 300}"
    wait_for("it can be searched", lambda: asked.get(path)["source"] == "both")
    found = asked.get(path)
    assert (found["step"], found["note"], found["points"][0]["start"]) == (300, None, start)
    asked.node.ask("DELETE", f"/{index}/_doc/{asked.name}")
    return body, found["points"][0]


def test_history_goes_on_in_the_documents_of_windows(asked: Asked) -> None:
    body, point = of_a_week_ago(asked, "tally-windows", "identity", f"/api/models/{asked.key}/history?")
    said = body["scores"]["accuracy"], body["score_samples"]["accuracy"]
    assert (point["value"], point["samples"]) == said


def test_a_difference_goes_on_in_the_documents_of_comparisons(asked: Asked) -> None:
    path = f"/api/comparisons/history?{asked.pair}&"
    body, point = of_a_week_ago(asked, "tally-comparisons", "current.identity", path)
    names = {"difference": "accuracy_difference", "low": "accuracy_difference_low", "high": "accuracy_difference_high"}
    assert {name: point[name] for name in names} == {name: body[field] for name, field in names.items()}
    assert (point["samples"], point["agreement"]) == (body["samples"], body["agreement"])


def test_a_letter_goes_back_and_is_refused_again(asked: Asked) -> None:
    wait_for("it is a letter", lambda: bool(asked.get("/api/letters")["letters"]))
    (letter,) = asked.get("/api/letters")["letters"]
    assert (letter["reason"], letter["kind"], letter["topic"]) == (
        "label-too-long",
        "feedback",
        f"{asked.name}-feedback",
    )
    assert asked.post("/api/letters/resend", {"ids": [letter["id"]]}) == {"sent": 1, "refused": []}
    (refused,) = asked.post("/api/letters/resend", {"ids": [letter["id"]]})["refused"]
    assert refused == {"id": letter["id"], "why": "It was sent back, or dropped, before."}

    def again() -> bool:
        waiting = asked.get("/api/letters")["letters"]
        return bool(waiting) and all(one["id"] != letter["id"] for one in waiting)

    wait_for("it is refused again", again)


def test_a_worker_checks_what_is_around_it(asked: Asked) -> None:
    found = asked.get("/api/worker/check")
    assert (found["fine"], found["problems"]) == (True, []), found
    assert found["lines"][-1] == "Fine: a worker finds all that it needs."
    worker = asked.get("/api/worker")
    assert worker["workers"] == [asked.worker.url]

    def partitions() -> list[tuple[bool, float]]:
        return [(one["ready"], one["lag"]) for one in asked.get("/api/worker")["partitions"]]

    wait_for("all is read", lambda: partitions() == [(True, 0.0), (True, 0.0)])
