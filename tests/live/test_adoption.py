"""The ways in which others' systems come to Tally, each as its users would take it."""

import json
import re
import subprocess
import sys
import threading
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from confluent_kafka.admin import AdminClient, NewTopic

from tests.live.servers import Kafka, free_port
from tests.live.workers import Fleet, Worker, topic_settings, wait_for
from tests.patience import PATIENCE
from tests.readme import README

ROOT = README.parent

# The seed's notebook: predictions from Seldon, feedback to Tally

TOTAL_REQS, MAX_FEEDBACK, MAX_CORRECT = 100, 63, 46
PREDICTION = {"data": {"names": ["t:0", "t:1", "t:2"], "ndarray": [[0.0007, 0.0037, 0.9956]]}, "meta": {}}


@contextmanager
def seldon(logger_url: str) -> Iterator[int]:
    """A model behind Seldon: answers, names the prediction, and logs as the executor does. Gives its port."""

    class Executor(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers["Content-Length"]))
            _, _, namespace, service, *_ = self.path.split("/")
            puid = self.headers.get("Seldon-Puid") or str(uuid.uuid4())
            answer = json.dumps(PREDICTION).encode() + b"\n"
            for kind, body in (("request", asked), ("response", answer)):
                headers = {
                    "ce-specversion": "1.0", "ce-id": str(uuid.uuid4()), "ce-source": "http://:8000/",
                    "ce-type": f"io.seldon.serving.inference.{kind}",
                    "ce-time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "123Z",
                    "ce-requestid": puid, "ce-modelid": "irisclassifier-default", "ce-inferenceservicename": service,
                    "ce-namespace": namespace, "ce-endpoint": "default", "ce-protocol": "seldon",
                    "ce-traceparent": f"00-{uuid.uuid4().hex}-a7e8a2a38709bbc9-00", "content-type": "application/json",
                }  # fmt: skip
                assert post(logger_url, body, headers)[0] == 202
            self.send_response(200)
            self.send_header("Seldon-Puid", puid)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Executor) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def post(url: str, body: Any, headers: dict[str, str]) -> tuple[int, Any, Any]:
    """The status, the headers and the content of the answer."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, raw, {"Content-Type": "application/json"} | headers)  # noqa: S310 - http
    with urllib.request.urlopen(request, timeout=30) as reply:  # noqa: S310
        return reply.status, reply.headers, reply.read()


@contextmanager
def a_worker(kafka: Kafka, folder: Path, **more: str) -> Iterator[Worker]:
    settings = topic_settings(kafka.bootstrap, f"adopt-{uuid.uuid4().hex[:8]}") | {"PARTITIONS": "2"} | more
    with Fleet(folder, settings) as fleet:
        worker = fleet.start()
        wait_for("the worker is ready", worker.ready)
        yield worker


def test_the_notebooks_feedback(kafka: Kafka, tmp_path: Path) -> None:
    """Only host and port of its calls are changed: 46 of 63."""
    with a_worker(kafka, tmp_path) as worker, seldon(worker.url) as port:
        predictions = f"http://127.0.0.1:{port}/seldon/seldon/sklearn/api/v1.0/predictions"
        feedbacks = f"{worker.url}/seldon/seldon/sklearn/api/v1.0/feedback"
        ids = [
            post(predictions, {"data": {"ndarray": [[1, 2, 3, 4]]}}, {})[1]["seldon-puid"] for _ in range(TOTAL_REQS)
        ]
        for index, puid in enumerate(ids[:MAX_FEEDBACK]):
            truth: dict[str, Any] = {"meta": {"tags": {"user": "Seldon Admin", "date": "11/07/2020"}}}
            if index >= MAX_CORRECT:
                truth["data"] = {"names": ["t:0", "t:1", "t:2"], "ndarray": [[0, 0, 1]]}
            feedback = {"reward": index < MAX_CORRECT, "truth": truth}
            assert post(feedbacks, feedback, {"seldon-puid": puid})[0] == 202
        model = {"model_namespace": "seldon", "model_service": "sklearn", "predictor": "default"}
        model |= {"model": "irisclassifier-default", "model_version": ""}
        app = {"app": "sklearn-default-0-irisclassifier-default"}
        wanted = {
            ("tally_exchanges", ("part", "request")): TOTAL_REQS,
            ("tally_exchanges", ("part", "response")): TOTAL_REQS,
            ("tally_exchanges", ("part", "feedback")): MAX_FEEDBACK,
            ("tally_rewards", None): MAX_FEEDBACK,
            ("tally_reward_points", None): MAX_CORRECT,
            ("correct_total", ("app", app["app"])): MAX_CORRECT,
            ("total_total", ("app", app["app"])): MAX_FEEDBACK,
            ("tally_rows", ("verdict", "correct")): MAX_FEEDBACK - MAX_CORRECT,
            ("tally_rows", ("verdict", "unlabelled")): TOTAL_REQS - (MAX_FEEDBACK - MAX_CORRECT),
        }

        def found() -> dict[Any, float]:
            series = worker.series()
            return {
                (name, label): series.get((name, tuple(sorted([*model.items(), *([label] if label else [])]))), 0)
                for name, label in wanted
            }

        wait_for("46 of 63 are right", lambda: found() == wanted)
        rewards = {*worker.series("tally_rewards")}
        assert len(rewards) == 1, "no reward went to another model"


# A server of one's own


def flask_server() -> str:
    """The README's."""
    (text,) = [block for block in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL) if "flask" in block]
    return str(text)


def test_the_flask_server_is_short() -> None:
    assert len([line for line in flask_server().splitlines() if line]) <= 15


def test_the_flask_server(kafka: Kafka, tmp_path: Path) -> None:
    """Its predictions are joined, with the label that comes later."""
    topic = f"model-events-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.create_topics([NewTopic(topic, 3)])[topic].result(10)
    text = flask_server().replace("kafka:9092", kafka.bootstrap).replace("model-events", topic)
    (tmp_path / "server.py").write_text(text)
    (tmp_path / "my_model.py").write_text("def predict(rows): return [[1 - row[0], row[0]] for row in rows]\n")
    port = free_port()
    command = [sys.executable, "-m", "flask", "--app", "server", "run", "--port", str(port)]
    with (tmp_path / "flask.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
    try:
        with a_worker(kafka, tmp_path, INTAKE_TOPICS=topic) as worker:
            wait_for("Flask listens", lambda: "Running on" in (tmp_path / "flask.log").read_text())
            url = f"http://127.0.0.1:{port}/predict"
            answers = [json.loads(post(url, [[0.25], [number / 10]], {})[2]) for number in range(10)]
            assert answers[9]["output"] == [[0.75, 0.25], [pytest.approx(0.1), 0.9]]
            for answer in answers:
                label = {"puid": answer["puid"], "service": "churn", "label": [0, 1]}
                assert post(f"{worker.url}/feedback", label, {})[0] == 202
            cells = {("0", "0"): 10.0, ("1", "0"): 6.0, ("1", "1"): 4.0}
            wait_for("all are judged", lambda: confusion(worker) == cells)
    finally:
        server.terminate()
        server.wait(PATIENCE)


def confusion(worker: Worker) -> dict[tuple[str, str], float]:
    """Rows by actual and predicted class."""
    series = ((dict(labels), value) for (_, labels), value in worker.series("tally_confusion").items())
    return {(labels["actual"], labels["predicted"]): value for labels, value in series}


# Kubernetes


@pytest.mark.parametrize("file", sorted((ROOT / "k8s/examples").glob("*.yaml")), ids=lambda file: file.stem)
def test_the_examples_send_to_tallys_service(file: Path) -> None:
    """To the root of the port that the Service has, where events are taken."""
    (example,) = yaml.safe_load_all(file.read_text())
    (url,) = [urlsplit(url) for url in urls(example)]
    services = [
        each for each in yaml.safe_load_all((ROOT / "k8s/base/worker.yaml").read_text()) if each["kind"] == "Service"
    ]
    ports = {each["metadata"]["name"]: [port["port"] for port in each["spec"]["ports"]] for each in services}
    assert (url.scheme, url.path) == ("http", "/")
    assert url.port in ports[(url.hostname or "").partition(".")[0]]


def urls(part: Any) -> list[str]:
    """What stands under `url` or `uri`, at any depth."""
    if isinstance(part, list):
        return [found for each in part for found in urls(each)]
    if not isinstance(part, dict):
        return []
    return [value for name, value in part.items() if name in ("url", "uri")] + urls(list(part.values()))
