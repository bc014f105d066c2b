"""The dialects: what an event in each of them means, what is tolerated, what is refused and in which words."""

import gzip
import json
import struct
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import orjson
import pytest
from cloudevents.core.bindings import http as http_binding
from cloudevents.core.bindings import kafka as kafka_binding
from cloudevents.core.v1.event import CloudEvent
from cloudevents.v1 import kafka as old_kafka_binding
from cloudevents.v1.http import CloudEvent as OldCloudEvent
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.clock import parse_time
from app.core.dialects.origins import Dialect
from app.core.dialects.plain import base_puid
from app.core.dialects.understand import Arrival, Understood, understand
from app.core.events import TYPE_OF, TYPES, Kind, Reason, RefusedError
from app.core.payloads.messages import message_class
from tests.builders import START, Ledger, Record, time_text
from tests.soak import SOAK

Headers = list[tuple[str, bytes | None]]

STAMP: Final = START * 1000 + 250
STAMP_TEXT: Final = "2026-11-21T07:00:00.250000Z"
BODY: Final = b'{"data": {"ndarray": [[1.0, 2.0]]}}'
REQUEST: Final = TYPE_OF[Kind.REQUEST]
RESPONSE: Final = TYPE_OF[Kind.RESPONSE]


def arrival(
    headers: dict[str, Any] | Headers | None = None, value: bytes | None = BODY, *, topic: str | None = "seldon",
    key: bytes | None = None, timestamp: int = STAMP,
) -> Arrival:  # fmt: skip
    """A record; in a dict of headers, values may be texts."""
    if isinstance(headers, dict):
        headers = [(name, said.encode() if isinstance(said, str) else said) for name, said in headers.items()]
    return Arrival(topic, headers or [], key, value, timestamp)


def one(arrived: Arrival) -> Understood:
    (understood,) = understand(arrived)
    return understood


def headers_of(arrived: Arrival) -> dict[str, str]:
    """The headers of the one event that an arrival means, without those that all have."""
    headers = {name: value.decode() for name, value in one(arrived).event.headers}
    assert len(headers) == len(one(arrived).event.headers)
    assert (headers.pop("ce_specversion"), headers.pop("content-type")) == ("1.0", "application/json")
    return headers


def refusal(arrived: Arrival) -> tuple[Reason, str]:
    with pytest.raises(RefusedError) as refused:
        understand(arrived)
    return refused.value.reason, refused.value.detail


# -- one event of each source, as its writer writes it ----------------------------------------------------------------

ID: Final = "4b1d2c1e-0d5c-4b62-8f7e-6b1a6a5d0f11"
PUID: Final = "9d0f5c5e-7f0a-4f57-9a55-0f6f1a0e2b22"
TIME: Final = "2026-11-21T06:59:58.123456789Z"

SELDON: Final = {
    "type": REQUEST,
    "content-type": "application/json",
    "modelid": "classifier",
    "requestid": PUID,
    "inferenceservicename": "fraud",
    "namespace": "bank",
    "endpoint": "default",
    "protocol": "seldon",
}
BINARY: Final = {
    "ce_specversion": "1.0",
    "ce_id": ID,
    "ce_source": "http://:8000/",
    "ce_type": RESPONSE,
    "ce_time": TIME,
    "ce_requestid": PUID,
    "ce_inferenceservicename": "fraud",
    "ce_namespace": "bank",
    "ce_endpoint": "canary",
    "ce_modelid": "classifier",
    "ce_traceparent": "00-5f3a-77-00",
    "content-type": "application/json",
}
KSERVE: Final = {
    "ce-specversion": "1.0",
    "ce-id": ID,
    "ce-source": "http://localhost:9081/",
    "ce-type": "org.kubeflow.serving.inference.response",
    "ce-time": TIME,
    "ce-inferenceservicename": "iris",
    "ce-namespace": "default",
    "ce-endpoint": "",
    "ce-component": "predictor",
    "ce-metadata": '{"Foo":["bar"]}',
    "content-type": "application/json",
}
MLSERVER: Final = {
    "Ce-Specversion": "0.3",
    "Ce-Source": "io.seldon.serving.deployment.mlserver.models",
    "Ce-Type": RESPONSE,
    "Ce-Modelid": "sum",
    "Ce-Inferenceservicename": "mlserver",
    "Ce-Endpoint": "sum",
    "Ce-Id": PUID,
    "Ce-Requestid": PUID,
    "Ce-Namespace": "models",
}
FRAUD: Final = {"ce_inferenceservicename": "fraud", "ce_namespace": "bank", "ce_modelid": "classifier"}


@pytest.mark.parametrize(
    ("arrived", "dialect", "kind", "headers"),
    [
        pytest.param(
            arrival(SELDON),
            Dialect.SELDON,
            Kind.REQUEST,
            FRAUD | {"ce_requestid": PUID, "ce_endpoint": "default", "ce_time": STAMP_TEXT},
            id="Seldon's executor on Kafka",
        ),
        pytest.param(
            arrival(BINARY),
            Dialect.CANONICAL,
            Kind.RESPONSE,
            FRAUD
            | {
                "ce_requestid": PUID,
                "ce_endpoint": "canary",
                "ce_time": TIME,
                "ce_id": ID,
                "ce_source": "http://:8000/",
            },
            id="CloudEvents, binary mode",
        ),
        pytest.param(
            arrival({name.replace("_", "-").title(): value for name, value in BINARY.items()}, topic=None),
            Dialect.HTTP,
            Kind.RESPONSE,
            FRAUD
            | {
                "ce_requestid": PUID,
                "ce_endpoint": "canary",
                "ce_time": TIME,
                "ce_id": ID,
                "ce_source": "http://:8000/",
            },
            id="CloudEvents, binary mode over HTTP",
        ),
        pytest.param(
            arrival(KSERVE, topic=None),
            Dialect.HTTP,
            Kind.RESPONSE,
            {
                "ce_requestid": ID,
                "ce_id": ID,
                "ce_time": TIME,
                "ce_source": "http://localhost:9081/",
                "ce_inferenceservicename": "iris",
                "ce_namespace": "default",
                "ce_modelid": "predictor",
                "ce_servingengine": "inferenceservice",
            },
            id="KServe's logger",
        ),
        pytest.param(
            arrival({"mlserver-model": "sum", "mlserver-version": "v3"}, topic="mlserver-input", key=PUID.encode()),
            Dialect.MLSERVER,
            Kind.REQUEST,
            {
                "ce_requestid": PUID,
                "ce_time": STAMP_TEXT,
                "ce_inferenceservicename": "mlserver",
                "ce_endpoint": "sum",
                "ce_modelid": "sum",
                "ce_modelversion": "v3",
            },
            id="MLServer's input",
        ),
        pytest.param(
            arrival(MLSERVER, topic="mlserver-output", key=PUID.encode()),
            Dialect.MLSERVER,
            Kind.RESPONSE,
            {
                "ce_requestid": PUID,
                "ce_id": PUID,
                "ce_time": STAMP_TEXT,
                "ce_source": "io.seldon.serving.deployment.mlserver.models",
                "ce_inferenceservicename": "mlserver",
                "ce_namespace": "models",
                "ce_endpoint": "sum",
                "ce_modelid": "sum",
            },
            id="MLServer's output",
        ),
        pytest.param(
            arrival({"pipeline": "flow", "x-request-id": "cie2"}, topic="seldon.prod.model.iris.inputs", key=b"x.cie1"),
            Dialect.CORE2,
            Kind.REQUEST,
            {
                "ce_requestid": "cie2",
                "ce_time": STAMP_TEXT,
                "ce_inferenceservicename": "iris",
                "ce_namespace": "prod",
                "ce_modelid": "iris",
            },
            id="Core 2, a model",
        ),
        pytest.param(
            arrival({"pipeline": "flow"}, topic="seldon.prod.pipeline.flow.outputs", key=b"flow.cie1"),
            Dialect.CORE2,
            Kind.RESPONSE,
            {
                "ce_requestid": "cie1",
                "ce_time": STAMP_TEXT,
                "ce_inferenceservicename": "flow",
                "ce_namespace": "prod",
            },
            id="Core 2, a pipeline",
        ),
    ],
)
def test_an_event_of_each_source(arrived: Arrival, dialect: Dialect, kind: Kind, headers: dict[str, str]) -> None:
    understood = one(arrived)
    assert (understood.dialect, understood.kind) == (dialect, kind)
    assert headers_of(arrived) == headers | {"ce_type": TYPE_OF[kind]}
    assert understood.event.key == headers["ce_requestid"].encode()
    assert understood.event.value == BODY


@pytest.mark.parametrize("key", [(7).to_bytes(8, "big"), b"\0\0\0\1\x2a\x06abc", b"\0p", b"\xff\xfe"])
@pytest.mark.parametrize("headers", [SELDON, BINARY])
def test_a_key_that_is_no_puid_matters_not_where_a_header_names_the_puid(headers: dict[str, Any], key: bytes) -> None:
    assert one(arrival(headers, key=key)) == one(arrival(headers, key=None))
    without = {name: value for name, value in headers.items() if "requestid" not in name}
    with pytest.raises(RefusedError) as refused:
        understand(arrival(without, key=key))
    assert refused.value.reason is Reason.NO_PUID


def an_event(**changes: Any) -> CloudEvent:
    attributes = {
        "type": RESPONSE,
        "source": "http://:8000/",
        "id": ID,
        "time": datetime(2026, 11, 21, 6, 59, 58, 123456, UTC),
        "datacontenttype": "application/json",
        "requestid": PUID,
        "inferenceservicename": "fraud é 100 %",
        "namespace": "bank",
        "modelid": "classifier",
    }
    data = changes.pop("data", {"data": {"ndarray": [[0.5, 0.5]]}})
    return CloudEvent(attributes | changes, data)


def from_kafka(message: Any) -> Arrival:
    headers = [(name, value) for name, value in message.headers.items()]
    key = message.key.encode() if isinstance(message.key, str) else message.key
    return arrival(headers, message.value, key=key)


def from_http(message: http_binding.HTTPMessage) -> Arrival:
    return arrival(dict(message.headers), message.body, topic=None)


def written_by_old_sdk(to: Callable[[Any], Any]) -> Arrival:
    attributes = {name: value for name, value in an_event().get_attributes().items() if name != "datacontenttype"}
    attributes |= {"time": "2026-11-21T06:59:58.123456Z", "partitionkey": "any", "datacontenttype": "application/json"}
    message = to(OldCloudEvent(attributes, an_event().get_data()))
    value = message.value.encode() if isinstance(message.value, str) else message.value
    return from_kafka(message._replace(value=value))


@pytest.mark.parametrize(
    ("arrived", "dialect"),
    [
        (from_kafka(kafka_binding.to_binary_event(an_event())), Dialect.CANONICAL),
        (from_kafka(kafka_binding.to_structured_event(an_event())), Dialect.STRUCTURED),
        (from_kafka(kafka_binding.to_structured_event(an_event(data=b'{"data":{"ndarray":[[0.5,0.5]]}}'))),
         Dialect.STRUCTURED),
        (from_http(http_binding.to_binary_event(an_event())), Dialect.HTTP),
        (from_http(http_binding.to_structured_event(an_event())), Dialect.STRUCTURED),
        (written_by_old_sdk(old_kafka_binding.to_binary), Dialect.CANONICAL),
        (written_by_old_sdk(old_kafka_binding.to_structured), Dialect.STRUCTURED),
    ],
    ids=["binary", "structured", "bytes", "http binary", "http structured", "old binary", "old structured"],
)  # fmt: skip
def test_what_the_cloudevents_sdk_writes(arrived: Arrival, dialect: Dialect) -> None:
    understood = one(arrived)
    assert (understood.dialect, understood.kind, understood.event.key) == (dialect, Kind.RESPONSE, PUID.encode())
    assert headers_of(arrived) == {
        "ce_type": RESPONSE,
        "ce_source": "http://:8000/",
        "ce_id": ID,
        "ce_time": "2026-11-21T06:59:58.123456Z",
        "ce_requestid": PUID,
        "ce_inferenceservicename": "fraud é 100 %",
        "ce_namespace": "bank",
        "ce_modelid": "classifier",
    }
    assert orjson.loads(understood.event.value) == {"data": {"ndarray": [[0.5, 0.5]]}}


# -- the same exchange, whoever tells it ------------------------------------------------------------------------------

EVENTS: Final = (
    (Kind.REQUEST, 0, {"data": {"ndarray": [[5.1, 3.5]]}}),
    (Kind.RESPONSE, 1, {"data": {"ndarray": [[0.125, 0.875]]}}),
    (Kind.FEEDBACK, 2, {"reward": 1, "truth": {"data": {"ndarray": [0]}}}),
)
LEG: Final = {"inferenceservicename": "iris", "namespace": "prod", "modelid": "iris"}


def told_by_headers(pattern: str) -> Iterator[Arrival]:
    for kind, at, body in EVENTS:
        said = {"type": TYPE_OF[kind], "requestid": "p", "time": time_text(at), **LEG}
        yield arrival(
            {pattern.format(name): value for name, value in said.items()}, orjson.dumps(body), timestamp=STAMP + at
        )


def told_over_http() -> Iterator[Arrival]:
    for arrived in told_by_headers("ce-{}"):
        yield arrived._replace(topic=None)


def told_by_kserve() -> Iterator[Arrival]:
    for kind, at, body in EVENTS:
        said = {"type": TYPE_OF[kind].replace("io.seldon", "org.kubeflow"), "id": "p", "time": time_text(at), **LEG}
        yield arrival({f"ce-{name}": value for name, value in said.items()}, orjson.dumps(body), topic=None)


def told_in_envelopes(data: Callable[[bytes], dict[str, Any]], content_type: str) -> Iterator[Arrival]:
    for kind, at, body in EVENTS:
        said = {"specversion": "1.0", "type": TYPE_OF[kind], "requestid": "p", "time": time_text(at), **LEG}
        yield arrival({"content-type": content_type}, orjson.dumps(said | data(orjson.dumps(body))))


def told_plainly() -> Iterator[Arrival]:
    for kind, at, body in EVENTS:
        said = {"puid": "p", "kind": kind, "service": "iris", "namespace": "prod", "model": "iris", "payload": body}
        yield arrival({}, orjson.dumps(said | {"time": time_text(at)}))


def told_by_core2(*feedback: Arrival) -> Iterator[Arrival]:
    request = message_class("inference.ModelInferRequest")(model_name="iris")
    tensor = request.inputs.add(name="x", datatype="FP64", shape=[1, 2])
    tensor.contents.fp64_contents.extend([5.1, 3.5])
    yield arrival(
        topic="a.b.prod.model.iris.inputs", key=b"3.iris.p", value=request.SerializeToString(), timestamp=START * 1000
    )
    response = message_class("inference.ModelInferResponse")(model_name="iris_1")
    response.outputs.add(name="y", datatype="FP64", shape=[1, 2])
    response.raw_output_contents.append(b"\0\0\0\0\0\0\xc0\x3f" + b"\0\0\0\0\0\0\xec\x3f")
    answer = arrival({"x-request-id": "p"}, response.SerializeToString(), topic="a.b.prod.model.iris.outputs")
    yield answer._replace(timestamp=START * 1000 + 1000)
    yield from feedback


def in_seldons_protobuf() -> Iterator[Arrival]:
    request, response = (message_class("seldon.protos.SeldonMessage")() for _ in range(2))
    request.data.ndarray.extend([[5.1, 3.5]])
    response.data.tensor.shape.extend([1, 2])
    response.data.tensor.values.extend([0.125, 0.875])
    feedback = message_class("seldon.protos.Feedback")(reward=1)
    feedback.truth.data.ndarray.extend([0])
    for arrived, body in zip(told_by_headers("ce_{}"), (request, response, feedback), strict=True):
        headers = [*arrived.headers, ("content-type", b"application/protobuf")]
        yield arrived._replace(headers=headers, value=body.SerializeToString())


def exchange(arrivals: Iterator[Arrival]) -> dict[str, Any]:
    """What is known of the puid once the join has read what these mean."""
    ledger = Ledger()
    for arrived in arrivals:
        for _, _, event in understand(arrived):
            ledger.absorb(Record(0, arrived.timestamp, event.key, event.value, list(event.headers)))
    ledger.settle().cut()
    assert not ledger.dead
    return ledger.describe("p")


@pytest.mark.parametrize(
    "told",
    [
        lambda: told_by_headers("{}"),
        lambda: told_by_headers("Ce-{}"),
        told_over_http,
        told_by_kserve,
        lambda: told_in_envelopes(
            lambda body: {"data": orjson.Fragment(body)}, "application/cloudevents+json; charset=utf-8"
        ),
        lambda: told_in_envelopes(lambda body: {"data": body.decode()}, "application/cloudevents+json"),
        lambda: told_in_envelopes(lambda body: {"data_base64": b64encode(body).decode()}, "application/json"),
        told_plainly,
        lambda: told_by_core2(list(told_plainly())[2]),
        in_seldons_protobuf,
    ],
    ids=["bare", "Ce-", "http", "kserve", "structured", "text", "base64", "plain", "core2", "protobuf"],
)
def test_an_exchange_is_the_same_whoever_tells_it(told: Callable[[], Iterator[Arrival]]) -> None:
    known = exchange(told_by_headers("ce_{}"))
    assert known["legs"][0]["rows"] == [{"predicted": "1", "score": 0.875, "label": "0", "correct": False}]
    assert exchange(told()) == known


# -- the plain form ---------------------------------------------------------------------------------------------------


def plain(**said: Any) -> Arrival:
    return arrival({}, orjson.dumps({"puid": "p"} | said))


def told(arrived: Arrival) -> dict[str, Any]:
    """The payloads of the events that an arrival means, by kind."""
    found = understand(arrived)
    assert {one.dialect for one in found} == {Dialect.PLAIN}
    payloads = {one.kind.value: orjson.loads(one.event.value) for one in found}
    assert len(payloads) == len(found)
    return payloads


def test_a_plain_event_names_its_leg_version_and_time() -> None:
    said = {"kind": "response", "namespace": "a", "service": "b", "endpoint": "c", "model": "d", "payload": {"x": 1}}
    assert headers_of(plain(**said, version=7, time="2026-11-21T07:00:00Z", puid="p-item-3")) == {
        "ce_type": RESPONSE,
        "ce_namespace": "a",
        "ce_inferenceservicename": "b",
        "ce_endpoint": "c",
        "ce_modelid": "d",
        "ce_modelversion": "7",
        "ce_time": "2026-11-21T07:00:00Z",
        "ce_requestid": "p-item-3",
    }
    nothing = plain(kind="request", payload={}, namespace=None, service="", version=None, time=None)
    assert headers_of(nothing) == {"ce_type": REQUEST, "ce_time": STAMP_TEXT, "ce_requestid": "p"}


def test_a_plain_payload_is_kept_as_sent() -> None:
    raw = b'{"puid":"p","kind":"request","payload": {"data": {"ndarray":[[1.0,  1e2]]}} }'
    assert one(arrival({}, raw)).event.value == b'{"data": {"ndarray":[[1.0,  1e2]]}}'


@pytest.mark.parametrize(
    ("features", "output", "request_data", "response_data"),
    [
        ([5.1, 3.5], 2, {"ndarray": [[5.1, 3.5]]}, {"ndarray": [2]}),
        ([5.1, 3.5], [0.1, 0.9], {"ndarray": [[5.1, 3.5]]}, {"ndarray": [[0.1, 0.9]]}),
        ([5.1, 3.5], [[0.1, 0.9]], {"ndarray": [[5.1, 3.5]]}, {"ndarray": [[0.1, 0.9]]}),
        ([[1], [2]], ["a", "b"], {"ndarray": [[1], [2]]}, {"ndarray": ["a", "b"]}),
        ([[1, 2]], [0], {"ndarray": [[1, 2]]}, {"ndarray": [0]}),
        ("words", {"cat": 0.2, "dog": 0.8}, {"ndarray": ["words"]}, {"names": ["cat", "dog"], "ndarray": [[0.2, 0.8]]}),
        ({"age": 3, "sex": "f"}, 1, {"names": ["age", "sex"], "ndarray": [[3, "f"]]}, {"ndarray": [1]}),
        ([{"a": 1, "b": 2}, {"b": 4, "a": 3}], [0, 1],
         {"names": ["a", "b"], "ndarray": [[1, 2], [3, 4]]}, {"ndarray": [0, 1]}),
        ([{"a": 1}, {"b": 1}], [1, 2], {"ndarray": [{"a": 1}, {"b": 1}]}, {"ndarray": [1, 2]}),
        ([[1, 2], [3]], [0, 1], {"ndarray": [[1, 2], [3]]}, {"ndarray": [0, 1]}),  # the join refuses the request alone
        ([], 1, {"ndarray": [[]]}, {"ndarray": [1]}),
        ([[1], [2]], [{"cat": 0.9, "dog": 0.1}, {"fox": 0.8, "cat": 0.2}],
         {"ndarray": [[1], [2]]}, {"ndarray": [{"cat": 0.9, "dog": 0.1}, {"fox": 0.8, "cat": 0.2}]}),
        ([1], {"label": "cat", "score": 0.9}, {"ndarray": [[1]]}, {"ndarray": [{"label": "cat", "score": 0.9}]}),
    ],
)  # fmt: skip
def test_a_pair_is_a_request_and_a_response(features: Any, output: Any, request_data: Any, response_data: Any) -> None:
    assert told(plain(features=features, output=output)) == {
        "request": {"data": request_data},
        "response": {"data": response_data},
    }


def test_a_pair_may_bring_its_label() -> None:
    assert told(plain(features=[1], output=0, label=[1], reward=0.5, tags={"country": "de"})) == {
        "request": {"data": {"ndarray": [[1]]}},
        "response": {"data": {"ndarray": [0]}, "meta": {"tags": {"country": "de"}}},
        "feedback": {"truth": {"data": {"ndarray": [1]}}, "reward": 0.5, "meta": {"tags": {"country": "de"}}},
    }


@pytest.mark.parametrize(
    ("said", "content"),
    [
        ({"label": 1}, {"truth": {"data": {"ndarray": [1]}}}),
        ({"label": None, "reward": 0}, {"truth": None, "reward": 0}),
        ({"label": [0, None, 1]}, {"truth": {"data": {"ndarray": [0, None, 1]}}}),
        ({"label": [None], "reward": 1}, {"truth": {"data": {"ndarray": [None]}}, "reward": 1}),
        ({"kind": "feedback", "payload": {"label": ["a", "b"]}}, {"truth": {"data": {"ndarray": ["a", "b"]}}}),
        ({"kind": "feedback", "payload": {"truth": {"data": {"ndarray": [1]}}}}, {"truth": {"data": {"ndarray": [1]}}}),
        ({"kind": "feedback", "payload": {"reward": 1, "response": {"x": 2}}}, {"reward": 1, "response": {"x": 2}}),
    ],
)
def test_plain_feedback(said: dict[str, Any], content: Any) -> None:
    assert told(plain(**said)) == {"feedback": content}


@pytest.mark.parametrize(
    ("said", "reason", "words"),
    [
        ({"kind": "request", "payload": {}, "modell": 1}, Reason.BAD_PAYLOAD,
         '"modell" is not known; known are endpoint, kind'),
        ({"features": [1], "output": 1, "modell": 1}, Reason.BAD_PAYLOAD,
         '"modell" is not known; known are endpoint, features'),
        ({"kind": "feedback", "payload": {"label": 1, "rewards": 1}}, Reason.BAD_PAYLOAD, '"rewards" is not known'),
        ({"kind": "reply", "payload": {}}, Reason.UNKNOWN_TYPE, '"kind" must be'),
        ({"kind": ["request"], "payload": {}}, Reason.UNKNOWN_TYPE, '"kind" must be'),
        ({"kind": "request"}, Reason.BAD_PAYLOAD, 'Send the request as "payload"'),
        ({"payload": {}}, Reason.UNKNOWN_TYPE, '"kind" must be'),
        ({"features": [1]}, Reason.BAD_PAYLOAD, 'Send "features" and "output" together'),
        ({"features": [[1], [2]], "output": [1]}, Reason.RAGGED, '"features" has 2 rows'),
        ({"features": [[1], [2]], "output": 1}, Reason.RAGGED, '"features" has 2 rows'),
        ({"service": "s"}, Reason.EMPTY, 'Send a "label"'),
        ({"label": [None, None]}, Reason.EMPTY, "Every label is null"),
        ({"features": [1], "output": 1, "label": 1, "truth": {}}, Reason.BAD_PAYLOAD, "not both"),
        ({"features": [1], "output": 1, "reward": "good"}, Reason.BAD_REWARD, "the reward is 'good'"),
        ({"label": 1, "service": 5}, Reason.BAD_PAYLOAD, '"service" must be a text'),
        ({"label": 1, "version": [5]}, Reason.BAD_PAYLOAD, '"version" must be'),
        ({"label": 1, "time": "noon"}, Reason.BAD_PAYLOAD, '"time" must be a time like'),
        ({"label": 1, "puid": 5}, Reason.NO_PUID, '"puid" must be a text'),
        ({"label": 1, "puid": None}, Reason.NO_PUID, 'Send the "puid"'),
        ({"label": 1, "puid": "\0mark"}, Reason.NO_PUID, "the first not NUL"),
    ],
)  # fmt: skip
def test_a_plain_record_that_does_not_fit_is_refused_with_what_to_send(
    said: dict[str, Any], reason: Reason, words: str
) -> None:
    told_reason, detail = refusal(plain(**said))
    assert (told_reason, words in detail) == (reason, True), detail


# -- which prediction -------------------------------------------------------------------------------------------------

#: The places where a request id may stand, the first before all others.
PLACES: Final = ("requestid", "Ce-Requestid", "x-request-id", "ce_id", "Seldon-Puid")


@pytest.mark.parametrize("kserve", [True, False])
@given(st.sets(st.sampled_from(PLACES)))
def test_the_first_of_the_places_names_the_request(kserve: bool, places: set[str]) -> None:
    kind = "org.kubeflow.serving.inference.request" if kserve else REQUEST
    given_places = arrival({"ce_type": kind} | {place: f"by {place}" for place in places}, key=b"by key")
    named = [place for place in PLACES if place in places and (kserve or place != "ce_id")]
    assert one(given_places).event.key == (f"by {named[0]}" if named else "by key").encode()


@pytest.mark.parametrize(
    ("puid", "key"),
    [
        ("p-item-3", "p"),
        ("a-item-3-item-12", "a-item-3"),
        ("p-item-x", "p-item-x"),
        ("p-item-٣", "p-item-٣"),
        ("-item-3", "-item-3"),
        ("ü-item-1", "ü"),
    ],
)
def test_the_feedback_of_a_row_is_kept_under_the_key_of_its_batch(puid: str, key: str) -> None:
    for kind, wanted in ((Kind.FEEDBACK, key), (Kind.REQUEST, puid), (Kind.RESPONSE, puid)):
        event = one(arrival({**SELDON, "type": TYPE_OF[kind], "requestid": puid})).event
        assert (event.key.decode(), dict(event.headers)["ce_requestid"].decode()) == (wanted, puid)


def test_a_pair_whose_id_ends_like_a_row_is_a_prediction_of_its_own() -> None:
    keys = {one.kind: one.event.key for one in understand(plain(puid="cart-item-1", features=[1], output=1, label=1))}
    assert set(keys.values()) == {b"cart-item-1"}  # the label is that of the prediction beside it
    (alone,) = understand(plain(puid="cart-item-1", label=1))
    assert alone.event.key == b"cart"


@pytest.mark.parametrize(
    ("key", "puid"),
    [
        ("cie1", "cie1"),
        ("flow.cie1", "cie1"),
        ("3.flow.cie1", "cie1"),
        ("12.step.cie1", "cie1"),
        ("step.my.own.id", "my.own.id"),
        ("other.cie1", "other.cie1"),
        ("3.other.cie1", "3.other.cie1"),
        ("a.flow.cie1", "a.flow.cie1"),
        ("flow.", "flow."),
    ],
)
def test_the_key_of_core2_holds_the_request_id(key: str, puid: str) -> None:
    record = arrival({"pipeline": "flow"}, topic="seldon.prod.model.step.inputs", key=key.encode())
    assert one(record).event.key.decode() == puid


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"requestid": ""}, None, "nothing names the request: send its id in the header requestid"),
        ({"requestid": '""'}, b"key", "nothing names the request"),
        ({"requestid": "\0x"}, None, "the first not NUL"),
        ({"requestid": "x" * 1001}, None, "at most 1000 characters"),
        ({"requestid": None}, b"\xff\xfe", "is not UTF-8"),
        ({"requestid": None}, b"", "nothing names the request"),
    ],
)
def test_an_event_without_a_usable_request_id_is_refused(changes: Any, key: bytes | None, words: str) -> None:
    reason, detail = refusal(arrival(SELDON | changes, key=key))
    assert (reason, words in detail) == (Reason.NO_PUID, True), detail


# -- what is tolerated ------------------------------------------------------------------------------------------------


def test_values_of_the_old_days_lose_their_quotes() -> None:
    headers = {"ce-type": '"org.kubeflow.serving.inference.request"', "ce-inferenceservice": '"iris"', "ce-id": '"x"'}
    assert headers_of(
        arrival(headers | {"ce-namespace": '"default"', "ce-endpoint": '""', "ce-time": f'"{TIME}"'})
    ) == {
        "ce_type": REQUEST,
        "ce_inferenceservicename": "iris",
        "ce_namespace": "default",
        "ce_id": "x",
        "ce_requestid": "x",
        "ce_servingengine": "inferenceservice",
        "ce_time": TIME,
    }


def test_a_request_id_has_nothing_around_it() -> None:
    for puid in (' p"', "p\n", '"p"'):
        event = one(arrival(SELDON | {"requestid": puid})).event
        assert (event.key, dict(event.headers)["ce_requestid"]) == (b"p", b"p")


def test_over_http_attributes_alone_are_percent_encoded() -> None:
    headers = {"ce-type": REQUEST, "ce-namespace": "a%20b", "Seldon-Puid": "50%25"}
    told = headers_of(arrival(headers, topic=None))
    assert (told["ce_namespace"], told["ce_requestid"]) == ("a b", "50%25")
    assert headers_of(arrival(headers))["ce_namespace"] == "a%20b"


def test_the_old_name_of_the_model() -> None:
    assert headers_of(arrival({"ce-type": REQUEST, "ce-model-id": "m"}, key=b"p"))["ce_modelid"] == "m"


def test_of_several_headers_the_last_with_a_value_holds() -> None:
    headers: Headers = [(name, value.encode()) for name, value in BINARY.items()]
    headers[:0] = [("CE_ENDPOINT", b"first"), ("ce_type", b"com.example.other")]
    headers += [("Ce_Endpoint", b"last"), ("CE-MODELID", None), ("ce_namespace", None)]
    assert headers_of(arrival(headers)) == headers_of(arrival(BINARY | {"ce_endpoint": "last"}))


@pytest.mark.parametrize("time", ["", "yesterday", "0001-01-01T00:00:00Z", '""'])
def test_an_event_without_a_time_has_that_of_its_record(time: str) -> None:
    assert headers_of(arrival(BINARY | {"ce_time": time}))["ce_time"] == STAMP_TEXT


@pytest.mark.parametrize("text", ["2000-01-01T06:42:33", "2000-01-01T06:42:33.5"])
def test_a_time_without_a_zone_is_utc(text: str) -> None:
    time = headers_of(arrival(BINARY | {"ce_time": text}))["ce_time"]
    assert parse_time(time.encode()) == parse_time(text.encode() + b"Z")


@pytest.mark.parametrize("timestamp", [-1, 0, 1 << 62])
def test_a_record_whose_time_is_none_gives_none(timestamp: int) -> None:
    assert "ce_time" not in headers_of(arrival(SELDON, timestamp=timestamp))
    assert "ce_time" not in headers_of(plain(kind="request", payload={})._replace(timestamp=timestamp))


@pytest.mark.parametrize("prefix", ["io.seldon.serving.", "org.kubeflow.serving."])
@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        ("inference.request", Kind.REQUEST),
        ("inference.response", Kind.RESPONSE),
        ("feedback", Kind.FEEDBACK),
        ("inference.feedback", Kind.FEEDBACK),
        ("inference.outlier", Kind.OUTLIER),
        ("outlier", Kind.OUTLIER),
        ("inference.drift", Kind.DRIFT),
        ("drift", Kind.DRIFT),
    ],
)
def test_the_types_of_both_families(prefix: str, suffix: str, kind: Kind) -> None:
    for name in ("type", "ce_type", "Ce-Type"):
        understood = one(arrival({name: prefix + suffix, "requestid": "p"}))
        assert (understood.kind, dict(understood.event.headers)["ce_type"].decode()) == (kind, TYPE_OF[kind])


@pytest.mark.parametrize(
    "content_type", ["application/protobuf", "application/x-protobuf", "application/grpc", "application/json", None]
)
@pytest.mark.parametrize("framed", [True, False])
def test_protobuf_becomes_json(content_type: str | None, framed: bool) -> None:
    message = message_class("seldon.protos.SeldonMessage")()
    message.data.tensor.shape.extend([1, 2])
    message.data.tensor.values.extend([1.0, 2.0])
    value: bytes = message.SerializeToString()
    frame = b"\0" + len(value).to_bytes(4, "big") if framed else b""
    event = one(arrival(SELDON | {"content-type": content_type}, frame + value)).event
    assert orjson.loads(event.value)["data"]["tensor"]["values"] == [1.0, 2.0]
    assert dict(event.headers)["content-type"] == b"application/json"


#: A field that no message has. Only who knows which message it is can pass over it.
UNKNOWN_FIELD: Final = b"\xa2\x06\x01x"


def test_protobuf_is_read_by_its_protocol() -> None:
    seldon = message_class("seldon.protos.SeldonMessage")(strData="x").SerializeToString() + UNKNOWN_FIELD
    assert orjson.loads(one(arrival(SELDON, seldon)).event.value) == {"strData": "x"}
    assert refusal(arrival(SELDON | {"protocol": None}, seldon))[0] is Reason.BAD_JSON
    message = message_class("inference.ModelInferRequest")(model_name="m")
    message.inputs.add(name="x", datatype="INT64", shape=[1]).contents.int64_contents.append(7)
    v2 = message.SerializeToString() + UNKNOWN_FIELD
    for arrived in (
        arrival({}, v2, topic="s.ns.model.m.inputs", key=b"p"),
        arrival({"mlserver-model": "m"}, v2, key=b"p"),
    ):
        assert orjson.loads(one(arrived).event.value)["inputs"][0]["data"] == [7]
    assert refusal(arrival(SELDON | {"protocol": "tensorflow"}, v2))[0] is Reason.BAD_JSON


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "application/protobuf", "", None])
@pytest.mark.parametrize("body", [BODY, b' \n {"instances": [[1]]}\n', b"[[1.0], [2.0]]", b'{"broken'])
def test_json_is_json_whatever_its_content_type(content_type: str | None, body: bytes) -> None:
    event = one(arrival(SELDON | {"content-type": content_type}, body)).event
    assert (event.value, dict(event.headers)["content-type"]) == (body, b"application/json")


@pytest.mark.parametrize("body", [b"3", b' "cat"\n', b"true", b"0.5"])
def test_a_bare_value_is_json_too(body: bytes) -> None:
    assert one(arrival(SELDON, body)).event.value == body


def test_a_registrys_frame_around_json_is_taken_off() -> None:
    assert one(arrival(SELDON, b"\0\0\0\0\x09" + BODY)).event.value == BODY
    framed = b"\0\0\0\0\x09" + orjson.dumps({"puid": "p", "kind": "request", "payload": 1})
    assert one(arrival({}, framed)).dialect is Dialect.PLAIN


@pytest.mark.parametrize("values", [["true"], ["On"], ["1"], ["TRUE", "0"], ["false", "1"], ["false, 1"], ['"true"']])
def test_who_asks_not_to_be_logged_is_not(values: list[str]) -> None:
    headers: Headers = [("Seldon-Skip-Logging", value.encode()) for value in values]
    for more in (SELDON, KSERVE, {}):
        assert understand(arrival([*headers, *arrival(more).headers])) == []


@pytest.mark.parametrize("values", [["false"], ["0"], ["asdasd"], [""]])
def test_any_other_wish_changes_nothing(values: list[str]) -> None:
    headers: Headers = [("seldon-skip-logging", value.encode()) for value in values]
    assert understand(arrival([*headers, *arrival(SELDON).headers])) == understand(arrival(SELDON))


# -- what stands around a body -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrap",
    [
        gzip.compress,
        lambda body: b"\xef\xbb\xbf" + body,
        lambda body: body.decode().encode("utf-16"),
        lambda body: b"\0" * 5 + body,
    ],
    ids=["gzip", "a mark", "UTF-16", "a frame"],
)
def test_what_stands_around_a_body_is_taken_off(wrap: Callable[[bytes], bytes]) -> None:
    assert one(arrival(SELDON, wrap(BODY))).event.value == BODY
    assert one(arrival({}, wrap(b'{"puid": "p", "kind": "request", "payload": 1}'))).dialect is Dialect.PLAIN
    envelope = {"specversion": "1.0", "type": REQUEST, "requestid": "p", "data": 1}
    assert one(arrival({}, wrap(orjson.dumps(envelope)))).dialect is Dialect.STRUCTURED


def test_a_body_that_inflates_without_end_is_refused() -> None:
    assert refusal(arrival(SELDON, gzip.compress(b"0" * (17 << 20))))[0] is Reason.TOO_LARGE


def binary_answer() -> tuple[bytes, bytes]:
    tensor = {"name": "y", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}
    return orjson.dumps({"outputs": [tensor]}), struct.pack("<2f", 0.25, 0.75)


def test_binary_tensors_are_read_by_the_length_of_their_header() -> None:
    header, data = binary_answer()
    headers = BINARY | {"Inference-Header-Content-Length": str(len(header))}
    assert orjson.loads(one(arrival(headers, header + data)).event.value)["outputs"][0]["data"] == [0.25, 0.75]
    assert one(arrival(BINARY, header + data)).event.value == header + data  # the join finds where it ends
    assert refusal(arrival(headers, header + data[:4]))[0] is Reason.RAGGED


# -- JSON that is not quite -------------------------------------------------------------------------------------------


def test_a_plain_record_may_hold_what_is_no_number_of_json() -> None:
    values = [one.event.value for one in understand(arrival({}, b'{"puid": "p", "features": [NaN], "output": 1}'))]
    assert values == [b'{"data":{"ndarray":[[NaN]]}}', b'{"data":{"ndarray":[1]}}']
    known = exchange(iter([arrival({}, b'{"puid": "p", "features": [1.0, NaN], "output": 1, "label": 1}')]))
    assert known["legs"][0]["rows"] == [{"predicted": "1", "label": "1", "correct": True}]
    reason, detail = refusal(arrival({}, b'{"puid": "p", "label": NaN}'))
    assert (reason, "row 0 of the truth has nan" in detail) == (Reason.NOT_FINITE, True)


# -- types of others ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("io.kserve.inference.request", Kind.REQUEST),
        ("io.kserve.inference.response", Kind.RESPONSE),
        ("io.kserve.inference.feedback", Kind.FEEDBACK),
        ("seldon.fraud.bank.response", Kind.RESPONSE),
        ("com.example.model/Request", Kind.REQUEST),
        ("model-feedback", Kind.FEEDBACK),
        ("response", Kind.RESPONSE),
    ],
)
def test_a_type_whose_end_is_a_kind_is_read_as_such(name: str, kind: Kind) -> None:
    for headers in (BINARY | {"ce_type": name}, SELDON | {"type": name}):
        assert one(arrival(headers)).kind is kind
    assert one(envelope(type=name, requestid="x", data={})).kind is kind


def test_kserves_own_type_has_its_id_as_puid_and_its_engine() -> None:
    headers = headers_of(arrival({"ce_type": "io.kserve.inference.response", "ce_id": "x"}))
    assert (headers["ce_requestid"], headers["ce_servingengine"]) == ("x", "inferenceservice")


def test_a_stray_header_named_type_says_nothing() -> None:
    record = arrival({"type": "order.request"}, b'{"puid": "p", "kind": "response", "payload": 1}')
    assert (one(record).dialect, one(record).kind) == (Dialect.PLAIN, Kind.RESPONSE)


# -- batches -----------------------------------------------------------------------------------------------------------


def test_a_batch_of_cloudevents_on_kafka_is_all_of_its_events() -> None:
    batch = [
        {"specversion": "1.0", "type": REQUEST, "requestid": "p", "data": {"data": {"ndarray": [[1]]}}},
        {"specversion": "1.0", "type": RESPONSE, "requestid": "q", "data": {"predictions": [1]}},
    ]
    headers = {"content-type": "application/cloudevents-batch+json; charset=utf-8", "ce_requestid": "not theirs"}
    found = understand(arrival(headers, orjson.dumps(batch), key=b"k"))
    assert [(one.kind, one.event.key) for one in found] == [(Kind.REQUEST, b"p"), (Kind.RESPONSE, b"q")]
    reason, detail = refusal(arrival(headers, orjson.dumps([*batch, {"specversion": "1.0"}])))
    assert (reason, detail.startswith("event 2 of the batch: ")) == (Reason.UNKNOWN_TYPE, True)
    del batch[0]["requestid"]
    assert refusal(arrival(headers, orjson.dumps(batch), key=b"k"))[0] is Reason.NO_PUID
    assert refusal(arrival(headers, b"{}"))[0] is Reason.BAD_JSON
    assert refusal(arrival(headers, orjson.dumps([{}] * 1001)))[0] is Reason.TOO_LARGE


# -- failed predictions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "body"), [("400", b"BadRequest\n"), ("500", b'{"error": "no model"}'), ("302", b"\xff\xfe"), ("503", None)]
)
def test_a_response_with_another_status_than_2xx_is_a_failed_prediction(code: str, body: bytes | None) -> None:
    failed = arrival(KSERVE | {"ce-statuscode": code}, body)
    assert headers_of(failed)["ce_statuscode"] == code
    status = orjson.loads(one(failed).event.value)["status"]
    assert status == {"status": 1, "code": int(code), "info": (body or b"").decode(errors="replace")}
    rows = exchange(iter([failed._replace(headers=[*failed.headers, ("requestid", b"p")])]))["legs"][0]["rows"]
    assert rows == [{"predicted": None}]


def test_seldons_own_error_body_is_kept() -> None:
    body = b'{"status": {"status": 1, "info": "no", "code": -1}}'
    assert one(arrival(KSERVE | {"ce-statuscode": "500"}, body)).event.value == body


def test_of_any_other_answer_so_much_is_kept() -> None:
    for body in (b'{"status": {"status": 0}, "data": {"ndarray": [1]}}', b"x" * 10_000):
        status = orjson.loads(one(arrival(KSERVE | {"ce-statuscode": "500"}, body)).event.value)["status"]
        assert status == {"status": 1, "code": 500, "info": body.decode()[:2000]}


@pytest.mark.parametrize("code", ["200", '"204"'])
def test_a_response_with_a_good_status_is_an_answer(code: str) -> None:
    good = arrival(KSERVE | {"ce-statuscode": code})
    assert (headers_of(good)["ce_statuscode"], one(good).event.value) == (code.strip('"'), BODY)


@pytest.mark.parametrize("code", ["", "none", "99", "4000"])
def test_a_status_that_is_none_says_nothing(code: str) -> None:
    answer = arrival(KSERVE | {"ce-statuscode": code})
    assert ("ce_statuscode" in headers_of(answer), one(answer).event.value) == (False, BODY)


def test_a_request_does_not_fail() -> None:
    event = one(arrival(KSERVE | {"ce-type": "org.kubeflow.serving.inference.request", "ce-statuscode": "500"})).event
    assert event.value == BODY


def test_an_error_of_core2_is_the_failed_response_of_its_model() -> None:
    headers = {"seldon-pipeline-errors": "step", "pipeline": "flow"}
    error = arrival(headers, b"out of memory", topic="my.prefix.prod.errors.errors", key=b"flow.cie1")
    assert headers_of(error) == {
        "ce_type": RESPONSE,
        "ce_namespace": "prod",
        "ce_inferenceservicename": "step",
        "ce_modelid": "step",
        "ce_requestid": "cie1",
        "ce_time": STAMP_TEXT,
    }
    assert orjson.loads(one(error).event.value) == {"status": {"status": 1, "info": "out of memory"}}
    model = arrival({}, topic="my.prefix.prod.model.step.outputs", key=b"flow.cie1")
    assert set(headers_of(model).items()) ^ set(headers_of(error).items()) == {
        ("ce_requestid", "flow.cie1"), ("ce_requestid", "cie1")  # without the pipeline's name, the key is the id
    }  # fmt: skip


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "io.seldon.serving.feedback.metrics",
        "io.seldon.serving.reference.request",
        "org.kubeflow.serving.reference.response",
        "com.example.order.created",
        "com.example.orderrequest",
        "request.v1",
        "",
    ],
)
def test_a_type_that_is_not_ours_is_refused(name: str) -> None:
    for headers in (SELDON | {"type": name}, BINARY | {"ce_type": name}, KSERVE | {"ce-type": name}):
        reason, detail = refusal(arrival(headers))
        assert reason is Reason.UNKNOWN_TYPE
        assert (repr(name) in detail, "io.seldon.serving.inference.request" in detail) == (True, True)
    assert refusal(envelope(type=name, requestid="x", data={}))[0] is Reason.UNKNOWN_TYPE


def envelope(**said: Any) -> Arrival:
    return arrival({}, orjson.dumps({"specversion": "1.0", "type": REQUEST} | said))


@pytest.mark.parametrize(
    ("arrived", "reason", "words"),
    [
        (arrival({}, BODY, key=b"p"), Reason.UNKNOWN_TYPE, "nothing says whether this is a request, a response or"),
        (arrival({"type": "order"}, b"{}"), Reason.UNKNOWN_TYPE, "nothing says"),
        (arrival({"ce_requestid": "p"}, b"[]"), Reason.NOT_AN_OBJECT, "send one record an event"),
        (arrival({}, b'[{"puid": "p", "label": 1}]'), Reason.NOT_AN_OBJECT, "send one record an event"),
        (arrival({}, None), Reason.BAD_JSON, "nor a body"),
        (arrival({}, b"{"), Reason.BAD_JSON, "the body is not JSON"),
        (arrival({}, b'{"a":' * 5000), Reason.BAD_JSON, "the body is not JSON"),
        (arrival(SELDON, None), Reason.BAD_JSON, "the event has no body"),
        (arrival(SELDON, b" \n"), Reason.EMPTY, "body is empty"),
        (arrival(SELDON, b"\x89PNG\r\n"), Reason.BAD_JSON, "neither JSON nor protobuf"),
        (arrival({**SELDON, "content-type": "application/protobuf"}, b"\x89PNG"), Reason.BAD_PAYLOAD, "protobuf"),
        (arrival({}, b"3", topic="s.ns.model.m.inputs", key=b"p"), Reason.BAD_PAYLOAD, "protobuf"),
        (arrival(SELDON | {"namespace": b"\xff"}), Reason.BAD_HEADERS, "namespace is"),
        (arrival(SELDON | {"modelid": "x" * 254}), Reason.BAD_HEADERS, "modelid has 254 characters"),
        (arrival({}, topic="mlserver-input", key=b"x"), Reason.BAD_HEADERS, "mlserver-model"),
        (arrival({"x-request-id": "x"}, topic="s.ns.errors.errors"), Reason.BAD_HEADERS, "what has failed"),
        (arrival({"content-type": "application/cloudevents+json"}, b'{"id": 1}'), Reason.UNKNOWN_TYPE, 'no "type"'),
        (arrival({"content-type": "application/cloudevents+json"}, b"x"), Reason.UNKNOWN_TYPE, 'no "type"'),
        (envelope(requestid="p"), Reason.BAD_JSON, "no body"),
        (envelope(requestid="p", data=None), Reason.BAD_JSON, "no body"),
        (envelope(requestid="p", data_base64="!"), Reason.BAD_PAYLOAD, "no Base64"),
        (arrival({}, b'{"specversion": "1.0", "type": "\xff"}'), Reason.BAD_JSON, "'type' of the CloudEvent is not"),
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_refused_with_a_sentence(arrived: Arrival, reason: Reason, words: str) -> None:
    told_reason, detail = refusal(arrived)
    assert (told_reason, words in detail) == (reason, True), detail


def test_a_text_that_holds_no_json_is_a_payload_of_its_own() -> None:
    assert one(envelope(requestid="p", data="cat", datacontenttype="text/plain")).event.value == b'"cat"'


def test_numbers_and_nulls_are_attributes_too() -> None:
    envelope = {
        "specversion": 1.0,
        "type": REQUEST,
        "requestid": 42,
        "namespace": None,
        "endpoint": True,
        "x": {"y": 1},
    }
    assert headers_of(arrival({}, json.dumps(envelope | {"data": {}}).encode())) == {
        "ce_type": REQUEST,
        "ce_requestid": "42",
        "ce_endpoint": "true",
        "ce_time": STAMP_TEXT,
    }


# -- anything at all --------------------------------------------------------------------------------------------------

NAMES: Final = (
    "type", "time", "id", "source", "requestid", "modelid", "model-id", "inferenceservicename", "inferenceservice",
    "namespace", "endpoint", "component", "statuscode", "modelversion", "protocol", "specversion", "traceparent",
)  # fmt: skip
OTHERS: Final = (
    "content-type", "x-request-id", "Seldon-Puid", "seldon-skip-logging", "mlserver-model", "mlserver-version",
    "pipeline", "seldon-pipeline-errors", "tally-rekeyed",
)  # fmt: skip
TOPICS: Final = ("seldon", "mlserver-input", "a.b.ns.model.m.inputs", "s.ns.pipeline.p.outputs", "s.ns.errors.errors")
WORDS: Final = (
    *(name.decode() for name in TYPES), "org.kubeflow.serving.inference.request", "seldon.a.b.response",
    "application/json", "application/cloudevents+json; charset=utf-8", "application/protobuf", "application/grpc",
    "1.0", "p", '"p"', "p-item-3", "ü", "", " ", "true", "404", TIME, "2026-11-21T07:00:00", "x" * 300, "v2", "seldon",
)  # fmt: skip
header_names = (
    st.builds(str.__add__, st.sampled_from(["", "", "ce_", "ce-", "Ce-", "CE_"]), st.sampled_from(NAMES))
    | st.sampled_from(OTHERS)
    | st.text(max_size=3)
)
header_values = st.none() | st.sampled_from([word.encode() for word in WORDS]) | st.binary(max_size=4)
headers_lists: st.SearchStrategy[Headers] = st.lists(st.tuples(header_names, header_values), max_size=10)
sources = st.sampled_from([SELDON, BINARY, KSERVE, MLSERVER, {}]).map(
    lambda headers: [(name, value.encode()) for name, value in headers.items()]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
members = (
    "puid", "kind", "service", "model", "version", "payload", "features", "output", "label", "truth", "reward", "tags",
    "data", "data_base64", "datacontenttype", "SpecVersion", *NAMES,
)  # fmt: skip
envelopes = st.dictionaries(st.sampled_from(members) | st.text(max_size=2), json_values, max_size=6)
payloads = (
    st.sampled_from([None, b"", BODY, b"{", b"\0\0\0\0\1{}", b"null", b'"\xed\xa0\x80"', b'{"puid": "\\ud800"}'])
    | st.binary(max_size=12)
    | envelopes.map(lambda body: json.dumps(body).encode())
    | st.sampled_from(["request", "feedback"]).flatmap(
        lambda kind: json_values.map(lambda body: json.dumps({"puid": "p", "kind": kind, "payload": body}).encode())
    )
)
arrivals = st.builds(
    Arrival,
    st.none() | st.sampled_from(TOPICS),
    st.builds(list.__add__, sources, headers_lists),
    st.none() | st.sampled_from([b"", b"p", b"m.p", b"3.m.p"]) | st.binary(max_size=4),
    payloads,
    st.integers(1_000, 4_000_000_000_000) | st.sampled_from([-1, 0, STAMP, 1 << 62]),
)
CANONICAL: Final = frozenset(
    {"content-type", "ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "ce_requestid", "ce_modelversion"}
    | {"ce_inferenceservicename", "ce_namespace", "ce_endpoint", "ce_modelid", "ce_statuscode", "ce_servingengine"}
)


def refusal_or_events(arrived: Arrival) -> str | list[Understood]:
    try:
        return understand(arrived)
    except RefusedError as refused:
        return f"{refused.reason}: {refused.detail}"


@settings(max_examples=100_000 if SOAK else 150)
@given(arrivals)
def test_whatever_arrives_is_canonical_or_refused_with_a_sentence(arrived: Arrival) -> None:
    found = refusal_or_events(arrived)
    assert refusal_or_events(arrived) == found
    if isinstance(found, str):
        assert len(found.encode()) > 20
        return
    for _, kind, event in found:
        headers = dict(event.headers)
        assert len(headers) == len(event.headers)
        assert headers.keys() <= CANONICAL
        assert all(headers.values())
        assert (headers["ce_type"], headers["ce_specversion"]) == (TYPE_OF[kind].encode(), b"1.0")
        puid = headers["ce_requestid"].decode()
        assert event.key.decode() == (base_puid(puid) if kind is Kind.FEEDBACK else puid)
        assert event.key[0] != 0
        assert "ce_time" not in headers or parse_time(headers["ce_time"])
        assert "ce_time" in headers or not 1000 <= arrived.timestamp < 1 << 60


@given(arrivals)
def test_what_is_canonical_stays_as_it_is(arrived: Arrival) -> None:
    found = refusal_or_events(arrived)
    for _, kind, event in found if isinstance(found, list) else ():
        again = one(Arrival("inference-requests", event.headers, event.key, event.value, arrived.timestamp))
        assert again == (Dialect.CANONICAL, kind, event)
