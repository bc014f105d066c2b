"""What users of other systems have reported, through a worker: answers, labels and events of unusual forms."""

import gzip
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from confluent_kafka import Producer

from tests.cases import FOLDER, demand
from tests.live.servers import Kafka
from tests.live.test_cli import Tally as Commands
from tests.live.test_http import SELDON_RESPONSE, ask, post
from tests.live.test_intake import create, read
from tests.live.workers import Fleet, Worker, topic_settings, wait_for

RESPONSE: Final = "io.seldon.serving.inference.response"
FIELD: Final = FOLDER / "field"
RULES: Final = """
models:
  - {match: "prod/declared/*", task: binary, positive: "1"}
  - {match: "prod/named/*", classes: [calm, storm], positive: storm}
"""


class Tally(NamedTuple):
    """A worker that reads its canonical topics and one source, and the broker that they are on."""

    worker: Worker
    settings: dict[str, str]

    @property
    def bootstrap(self) -> str:
        return self.settings["KAFKA_BOOTSTRAP_SERVERS"]

    @property
    def source(self) -> str:
        return self.settings["INTAKE_TOPICS"]

    def send(self, topic: str, *values: bytes, headers: dict[str, str] | None = None, key: str | None = None) -> None:
        producer = Producer({"bootstrap.servers": self.bootstrap})
        for value in values:
            producer.produce(topic, value, key, headers=list((headers or {}).items()))
        assert producer.flush(30) == 0

    def answer(self, service: str, puid: str, body: Any, kind: str = "response", **headers: str) -> None:
        """An event of a model of this service, as its logger would post it."""
        own = {
            "Ce-Type": f"io.seldon.serving.inference.{kind}",
            "Ce-Requestid": puid,
            "Ce-Namespace": "prod",
            "Ce-Inferenceservicename": service,
        }
        post(self.worker, "/", body, SELDON_RESPONSE | own | headers)

    def label(self, service: str, puid: str, label: Any) -> None:
        post(self.worker, "/feedback", {"puid": puid, "label": label, "namespace": "prod", "service": service})

    def model(self, service: str) -> dict[str, Any]:
        """What `/api/models` says of the one model of a service; nothing while there is none."""
        _, content, _ = ask(self.worker, "GET", "/api/models")
        found = [model for model in content["models"] if model["model_service"] == service]
        return found[0] if found else {}

    def comes_to(self, service: str, **wanted: Any) -> None:
        """Wait until the totals of a service's model say this."""
        told: dict[str, Any] = {}

        def is_so() -> bool:
            model = self.model(service)
            told.update(model["windows"]["total"] | {"task": model["task"]} if model else {})
            return all(told.get(name) == value for name, value in wanted.items())

        try:
            wait_for(f"{service} comes to {wanted}", is_so)
        except AssertionError as error:
            raise AssertionError(f"{error}; it has {told}") from None

    def letters(self, wanted: dict[str, str]) -> None:
        """Wait until dead letters have these beginnings of values, each with such a reason and detail."""

        found: dict[str, str] = {}

        def are_there() -> bool:
            for letter in read(self.bootstrap, f"{self.settings['APP_ID']}-dead-letters"):
                headers = dict(letter.headers())
                found[(letter.value() or b"").decode(errors="replace")] = (
                    f"{headers['reason'].decode()}: {headers['detail'].decode()}"
                )
            return all(
                any(value.startswith(begin) and why.startswith(reason) for value, why in found.items())
                for begin, reason in wanted.items()
            )

        try:
            wait_for(f"dead letters {wanted}", are_there)
        except AssertionError as error:
            raise AssertionError(f"{error}; there are {found}") from None


@pytest.fixture(scope="module")
def tally(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tally]:
    name = f"field-{uuid.uuid4().hex[:8]}"
    folder = tmp_path_factory.mktemp("field")
    (folder / "models.yaml").write_text(RULES)
    settings = topic_settings(kafka.bootstrap, name)
    settings |= {"PARTITIONS": "4", "INTAKE_TOPICS": f"{name}-events", "CONFIG": str(folder / "models.yaml")}
    settings |= {"MAX_CLASSES": "3"}
    create(kafka.bootstrap, f"{name}-events", 2)
    with Fleet(folder, settings) as fleet:
        worker = fleet.start()
        wait_for("the worker is ready", worker.ready)
        yield Tally(worker, settings)


def v2(*data: Any, datatype: str = "BYTES", shape: list[int] | None = None, **parameters: Any) -> dict[str, Any]:
    tensor = {"name": "output", "datatype": datatype, "shape": shape or [len(data), 1], "data": list(data)}
    return {"outputs": [tensor | ({"parameters": parameters} if parameters else {})]}


#: service → answers, each with its label; and the confusion that comes of them.
ANSWERS: Final[dict[str, tuple[list[tuple[Any, Any]], list[list[Any]]]]] = {
    "mood": (
        [
            (v2('{"label": "joy", "score": 0.8}', content_type="hg_jsonlist"), "joy"),
            (v2('{"label": "joy", "score": 0.6}', content_type="hg_jsonlist"), "grief"),
        ],
        [["grief", "joy", 1], ["joy", "joy", 1]],
    ),
    "pictures": (
        [(v2('[{"label": "bus", "score": 0.2}, {"label": "tram", "score": 0.7}]', content_type="hg_json"), "tram")],
        [["tram", "tram", 1]],
    ),
    "triton": ([(v2("0.2:0:bus", "0.8:1:tram", shape=[1, 2]), "tram")], [["tram", "tram", 1]]),
    "pump": (
        [({"predictions": [[score]]}, label) for score, label in ((0.4, 0), (1.0000002, 1), (-3e-8, 0), (1.0, 1))],
        [["0", "0", 2], ["1", "1", 2]],
    ),
    "declared": (
        [({"predictions": [[score]]}, label) for score, label in ((1.0000005, 1), (-2e-9, 0), (0.7, 0))],
        [["0", "0", 1], ["0", "1", 1], ["1", "1", 1]],
    ),
    "named": ([({"data": {"names": ["t:0", "t:1"], "ndarray": [[0.1, 0.9]]}}, "storm")], [["storm", "storm", 1]]),
    "flower": (
        [({"predictions": [{"Kind": "rose", "Probability_rose": 0.6, "Probability_iris": 0.4}]}, "rose")],
        [["rose", "rose", 1]],
    ),
    "columns": ([({"predictions": [{"prob_bus": 0.1, "prob_tram": 0.9}]}, "tram")], [["tram", "tram", 1]]),
    "labelled": (
        [({"predictions": [{"displayNames": ["bus", "tram"], "confidences": [0.3, 0.7], "ids": ["5", "6"]}]}, "tram")],
        [["tram", "tram", 1]],
    ),
    "frame": ([({"predictions": [{"0": 0.2, "1": 0.8}]}, 1)], [["1", "1", 1]]),
    "handler": ([({"predictions": [{"night_tram": 0.5, "tram": 0.4, "bus": 0.1}]}, "night_tram")],
                [["night_tram", "night_tram", 1]]),
    "regressed": ([({"results": [[["bus", 0.2], ["tram", 0.8]]]}, "tram")], [["tram", "tram", 1]]),
    "list": ([([1], 1)], [["1", "1", 1]]),
    "top": ([([{"label": "tram", "score": 0.9}, {"label": "bus", "score": 0.1}], "tram")], [["tram", "tram", 1]]),
    "words": ([({"predictions": [True]}, "true"), ({"predictions": [" False "]}, False)],
              [["0", "0", 1], ["1", "1", 1]]),
}  # fmt: skip


def test_answers_of_other_servers_are_read(tally: Tally) -> None:
    for service, (answers, _) in ANSWERS.items():
        for number, (body, label) in enumerate(answers):
            tally.answer(service, f"{service}-{number}", body)
            tally.label(service, f"{service}-{number}", label)
    for service, (_, confusion) in ANSWERS.items():
        tally.comes_to(service, confusion=confusion)


def test_an_answer_without_a_class_says_so(tally: Tally) -> None:
    tally.answer("mask", "mask", {"predictions": [{"labels": [1], "scores": [0.9], "boxes": [[0, 0]]}]})
    tally.label("mask", "mask", 1)
    tally.comes_to(
        "mask", confusion=[], rows={"correct": 0, "incorrect": 0, "measured": 0, "unlabelled": 0, "failed": 0}
    )


REQUESTS: Final = {
    "split": {"dataframe_split": {"columns": ["a", "b"], "index": [0], "data": [[1, None]]}},
    "records": {"dataframe_records": [{"a": 1, "b": 2}]},
    "examples": {"examples": [{"a": 1}]},
    "bare": [[1, 2]],
    "missing": b'{"instances": [[1.0, NaN]]}',
    "tensors": b'{"inputs": [{"name": "a", "datatype": "FP32", "shape": [1, 1], "data": [Infinity]}]}',
}


def test_requests_of_other_servers_count(tally: Tally) -> None:
    for name, body in REQUESTS.items():
        tally.answer("asked", f"asked-{name}", body, "request")
    wait_for(
        "all requests are counted",
        lambda: (
            tally.worker.series("tally_exchanges").get(("tally_exchanges", series_of("asked", part="request")))
            == len(REQUESTS)
        ),
    )


def series_of(service: str, **labels: str) -> tuple[tuple[str, str], ...]:
    identity = {"model_namespace": "prod", "model_service": service, "predictor": "default", "model": "classifier"}
    return tuple(sorted((identity | {"model_version": ""} | labels).items()))


def test_labels_of_some_rows(tally: Tally) -> None:
    tally.answer("batch", "batch", {"predictions": ["bus", "tram", "tram"]})
    tally.label("batch", "batch", ["bus", None, "tram"])
    tally.comes_to("batch", confusion=[["bus", "bus", 1], ["tram", "tram", 1]])
    tally.label("batch", "batch-item-1", "bus")
    tally.comes_to("batch", confusion=[["bus", "bus", 1], ["bus", "tram", 1], ["tram", "tram", 1]])
    status, known, _ = ask(tally.worker, "GET", "/api/exchanges/batch-item-1")
    assert (status, known["puid"], known["row"], len(known["legs"][0]["rows"])) == (200, "batch", 1, 3)


def test_request_ids_that_end_like_rows(tally: Tally) -> None:
    """Over HTTP with feedback of its own, and through the source, where the truth comes with the answer."""
    for number in range(3):
        puid = f"basket-item-{number}"
        tally.answer("shop", puid, {"instances": [[1]]}, "request")
        tally.answer("shop", puid, {"predictions": [number]})
        tally.label("shop", puid, number)
        pair: dict[str, Any] = {
            "puid": f"crate-item-{number}",
            "namespace": "prod",
            "service": "shop",
            "endpoint": "default",
        }
        pair |= {"model": "classifier", "features": [1], "output": number, "label": 0}
        tally.send(tally.source, json.dumps(pair).encode())
    tally.comes_to("shop", confusion=[["0", "0", 2], ["0", "1", 1], ["0", "2", 1], ["1", "1", 1], ["2", "2", 1]])
    status, known, _ = ask(tally.worker, "GET", "/api/exchanges/basket-item-2")
    assert (status, known["puid"], known["legs"][0]["rows"]) == (
        200, "basket-item-2", [{"predicted": "2", "label": "2", "correct": True}],
    )  # fmt: skip
    assert ask(tally.worker, "GET", "/api/exchanges/nobody-item-2")[0] == 404


def test_what_cannot_be_used_says_what_is_wrong_with_it(tally: Tally) -> None:
    wanted = {
        b'{"puid": 7, "service": "s", "features": [1], "output": 1}': 'no-puid: "puid" must be a text',
        b'[{"puid": "x8", "service": "s", "features": [1], "output": 1}]': "not-an-object: the body is a JSON list",
    }
    tally.send(tally.source, *wanted, b'{"puid": "x7", "service": "s", "features": [NaN], "output": NaN}')
    wanted[b'{"data":{"ndarray":[NaN]}}'] = "not-finite: row 0 of the response has nan in the place of a class"
    tally.letters({value.decode(): reason for value, reason in wanted.items()})


def test_events_in_batches_and_bytes_around_events_are_taken_off(tally: Tally) -> None:
    event = {"specversion": "1.0", "id": "1", "source": "x", "type": RESPONSE, "requestid": "cover-0"}
    event |= {"namespace": "prod", "inferenceservicename": "cover", "endpoint": "default", "modelid": "classifier"}
    batch = json.dumps([event | {"data": {"predictions": [0]}}]).encode()
    tally.send(tally.source, batch, headers={"content-type": "application/cloudevents-batch+json"})
    body = b'{"predictions": [0]}'
    header = json.dumps(v2(datatype="INT32", shape=[1], binary_data_size=4) | {"model_name": "classifier"})
    header = header.replace('"data": [], ', "")
    values = {
        "cover-1": gzip.compress(body),
        "cover-2": b"\xef\xbb\xbf" + body,
        "cover-3": b"\0\0\0\0\7" + body,
        "cover-4": header.encode() + b"\0\0\0\0",
    }
    names = {f"ce_{name}": value for name, value in event.items() if name not in ("id", "requestid")}
    for where, topic in (("join", tally.settings["RESPONSE_TOPIC"]), ("intake", tally.source)):
        for puid, value in values.items():
            own = {"ce_requestid": f"{puid}-{where}", "inference-header-content-length": str(len(header))}
            tally.send(topic, value, headers=names | own, key=own["ce_requestid"])
    tally.comes_to("cover", rows={"correct": 0, "incorrect": 0, "measured": 0, "unlabelled": 9, "failed": 0})


def test_classes_beyond_the_limit_are_counted(tally: Tally) -> None:
    before = tally.worker.total("tally_dropped_total", what="classes")
    for number in range(7):
        tally.answer("many", f"many-{number}", {"predictions": [f"class {number}"]})
    wait_for(
        "all are there",
        lambda: tally.model("many").get("windows", {}).get("total", {}).get("rows", {}).get("unlabelled") == 7,
    )
    assert tally.model("many")["classes"] == ["class 0", "class 1", "class 2", "other"]
    wait_for("the rest is exported", lambda: tally.worker.total("tally_dropped_total", what="classes") - before == 4)


#: What comes of the recorded files: by service the confusion, and the reasons of dead letters.
RECORDED: Final[dict[str, dict[str, list[list[Any]]]]] = {
    "01": {
        "hf": [["NEGATIVE", "POSITIVE", 1], ["POSITIVE", "POSITIVE", 1]],
        "hf-image": [["tabby", "tabby", 1]],
    },
    "03": {"sig": [["0", "0", 2], ["1", "1", 2]]},
    "04": {
        "pmml": [["setosa", "setosa", 1], ["virginica", "virginica", 1]],
        "probcols": [["cat", "cat", 1], ["dog", "dog", 1]],
    },
    "05": {"partial": [["0", "0", 1], ["1", "1", 1]]},
    "06": {"plain": [["1", "1", 1], ["2", "2", 1], ["3", "3", 1]]},
    "07": {"mlflow": [["1", "1", 2]], "bare-list": [["1", "1", 1]]},
}


@pytest.mark.parametrize("number", sorted(RECORDED))
def test_recorded_events(tally: Tally, number: str, tmp_path: Path) -> None:
    demand(FIELD)
    (file,) = FIELD.glob(f"{number}-*.jsonl")
    names = {"inference-requests": "REQUEST_TOPIC", "inference-responses": "RESPONSE_TOPIC",
             "inference-feedback": "FEEDBACK_TOPIC", "model-events": "INTAKE_TOPICS"}  # fmt: skip
    events = [json.loads(line) for line in file.read_text().splitlines() if line.strip()]
    own = tmp_path / "events.jsonl"
    lines = [json.dumps(event | {"topic": tally.settings[names[event["topic"]]]}) for event in events]
    own.write_text("\n".join(lines) + "\n")
    Commands(tally.bootstrap).says("send", own)
    for service, confusion in RECORDED[number].items():
        tally.comes_to(service, confusion=confusion)
