"""The dialects in which events arrive, and the canonical event that each of them means.

See `understand`. What is read here is only how an event is wrapped: who answered, what it says of which puid, when.
What its payload says is read by `app.core.payloads.bodies`.

Where the forms are written down, or to be read from the code that writes them:

- CloudEvents: https://github.com/cloudevents/spec, `bindings/kafka-protocol-binding.md` and `http-protocol-binding.md`;
- Seldon's executor: SeldonIO/seldon-core v1, `executor/logger/worker.go`;
- KServe's logger: kserve/kserve, `pkg/logger/worker.go`;
- MLServer: SeldonIO/MLServer, `mlserver/cloudevents.py` and `mlserver/kafka/`;
- Seldon Core 2: SeldonIO/seldon-core v2, `scheduler/pkg/kafka/topics.go` and `scheduler/pkg/kafka/gateway/`.

An event is read in two steps. What all events of one source have in common, an `Origin`, is found in their headers and
their topic by `origin_of`, so that `rekeying` can keep it; `event_of` adds what each event has of its own.
"""

import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec
import orjson

from app.core.clock import parse_time
from app.core.dialects.plain import Event, base_puid, is_puid, moment_of, plain_events
from app.core.events import TYPE_OF, Kind, Reason, RefusedError, shown
from app.core.payloads.protobuf import to_json


class Dialect(StrEnum):
    """How an event was wrapped."""

    CANONICAL = "canonical"  # CloudEvents binary mode on Kafka: `ce_…` headers
    SELDON = "seldon"  # Seldon's executor on Kafka: bare header names, no key
    MLSERVER = "mlserver"  # `Ce-…` headers on Kafka, `mlserver-…` for a request
    CORE2 = "core2"  # Seldon Core 2: the topic says model and kind, protobuf
    STRUCTURED = "structured"  # CloudEvents structured mode: a JSON envelope
    HTTP = "http"  # CloudEvents binary mode over HTTP: `ce-…` headers
    PLAIN = "plain"  # Tally's own JSON form, for any server


class Arrival(NamedTuple):
    """What came from outside: a Kafka record, or an HTTP request (then `topic` is None)."""

    topic: str | None
    headers: Sequence[tuple[str, bytes | None]]
    key: bytes | None
    value: bytes | None
    timestamp: int  # ms since the epoch


class Understood(NamedTuple):
    """One event in its canonical form. A pair in one record is two of them."""

    dialect: Dialect
    kind: Kind
    event: Event


class Origin(NamedTuple):
    """What all events of one source have in common."""

    dialect: Dialect
    kind: Kind
    kept: tuple[tuple[str, bytes], ...]  # the canonical headers that are the same in all of them
    id_is_puid: bool = False  # KServe: request and response share their `id`, which is the request's
    resources: tuple[bytes, ...] = ()  # Core 2: what may stand before the puid in the record's key
    protocol: str = ""
    protobuf: bool = False  # the content type says so
    failed: bool = False
    code: str = ""  # the HTTP status of a failed prediction, where it is known


#: By what follows `io.seldon.serving.` or `org.kubeflow.serving.`. Only a request and a response are of an inference in
#: every writer's mind.
_KINDS: Final = {
    b"inference.request": Kind.REQUEST,
    b"inference.response": Kind.RESPONSE,
    b"feedback": Kind.FEEDBACK,
    b"inference.feedback": Kind.FEEDBACK,
    b"inference.outlier": Kind.OUTLIER,
    b"outlier": Kind.OUTLIER,
    b"inference.drift": Kind.DRIFT,
    b"drift": Kind.DRIFT,
}
_SELDON: Final = b"io.seldon.serving."
_KUBEFLOW: Final = b"org.kubeflow.serving."

#: Attributes that say what an event is, with the names that they have had.
_ATTRIBUTES: Final = (
    b"source", b"namespace", b"inferenceservicename", b"inferenceservice", b"endpoint", b"modelid", b"model-id",
    b"modelversion", b"component", b"statuscode", b"protocol", b"servingengine",
)  # fmt: skip
_ATTRIBUTE_HEADERS: Final = (*_ATTRIBUTES, *(b"ce_" + name for name in _ATTRIBUTES))
_CONTENT_TYPE: Final = b"content-type"
_MODEL: Final = b"mlserver-model"
_MODEL_VERSION: Final = b"mlserver-version"
_PIPELINE: Final = b"pipeline"
_FAILED_MODEL: Final = b"seldon-pipeline-errors"

#: The header that asks for an event not to be logged. All of its values count.
SKIP: Final = b"seldon-skip-logging"
#: The headers by which `origin_of` knows an origin, by what `fold` makes of their names.
READ: Final = frozenset({
    b"ce_type", b"ce-type", b"type", *_ATTRIBUTE_HEADERS, _CONTENT_TYPE,
    _MODEL, _MODEL_VERSION, _PIPELINE, _FAILED_MODEL,
})  # fmt: skip
#: The headers that each event has of its own, as `event_of` takes their values.
FREE: Final = (
    b"ce_time", b"time", b"ce_id", b"id",
    b"requestid", b"ce_requestid", b"x-request-id", b"seldon-puid",
)  # fmt: skip

_CORE2: Final = re.compile(r".+\.([^.]+)\.(model|pipeline)\.([^.]+)\.(inputs|outputs)", re.DOTALL)
_CORE2_ERRORS: Final = re.compile(r".+\.([^.]+)\.errors\.errors", re.DOTALL)
_STATUS: Final = re.compile(rb"[1-9]\d\d")
#: MLServer names itself in its responses alone, by this name unless its settings say another.
_MLSERVER: Final = b"mlserver"

_OPEN: Final = ord("{")
#: What may stand around a value and is no part of it; spec 0.2 of KServe's logger wrote its values in quotes.
_AROUND: Final = b'" \t\r\n'
_LONGEST_NAME: Final = 253
#: Of what a failed prediction answered so much is kept.
_LONGEST_INFO: Final = 2000

_read_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def understand(arrival: Arrival) -> list[Understood]:
    """The canonical events that an arrival means; none where it asks not to be logged (Seldon-Skip-Logging).

    Header names are known whatever their case; of several with one name the last that has a value holds. A canonical
    event has the headers of `ce_specversion`, `ce_id`, `ce_source`, `ce_type`, `ce_time`, `ce_requestid`,
    `ce_inferenceservicename`, `ce_namespace`, `ce_endpoint`, `ce_modelid`, `ce_modelversion`, `ce_statuscode` that its
    source gave a value, `ce_servingengine` where that is KServe, and always `ce_time`, so that it is the same event
    when it is published again. Its value is the payload as sent; protobuf becomes JSON, and the response of a failed
    prediction an error body.

    Raises RefusedError with a sentence that says what is missing.
    """
    said: dict[bytes, bytes] = {}
    for name, value in arrival.headers:
        if value is not None:
            folded = fold(name.encode(errors="replace"))
            if folded != SKIP:
                encoded = arrival.topic is None and folded.startswith((b"ce_", b"ce-"))  # HTTP binding, 3.1.3.2
                said[folded] = unquote_to_bytes(value) if encoded else value
            elif _is_true(value):
                return []
    origin = origin_of(arrival.topic, said)
    if origin is None:
        return _from_body(arrival, said)
    return [_understood(origin, said, arrival, arrival.value)]


def fold(name: bytes) -> bytes:
    """What a header's name is known by: `Ce-Id`, `ce-id` and `CE_ID` are `ce_id`.

    Of the type both ways of writing are kept apart, to tell whose they are.
    """
    name = name.lower()
    return b"ce_" + name[3:] if name.startswith(b"ce-") and name != b"ce-type" else name


def origin_of(topic: str | None, said: Mapping[bytes, bytes]) -> Origin | None:
    """The origin that headers (those of `READ`) and topic tell; None where the body says what the event is.

    Raises RefusedError.
    """
    content_type = said.get(_CONTENT_TYPE, b"").lower()
    if b"cloudevents" in content_type:
        return None
    if b"ce_type" in said:
        dialect = Dialect.CANONICAL if topic is not None else Dialect.HTTP
        return _typed(dialect, said[b"ce_type"], said)
    if b"ce-type" in said:
        dialect = Dialect.MLSERVER if topic is not None else Dialect.HTTP
        return _typed(dialect, said[b"ce-type"], said)
    # Many programs write some header `type`; Seldon's executor names the model, too.
    if b"type" in said and (b"inferenceservicename" in said or b"modelid" in said or _kind(_clean(said[b"type"]))):
        return _typed(Dialect.SELDON, said[b"type"], said)
    if topic is not None:
        found = _CORE2.fullmatch(topic)
        if found is not None:
            return _core2(found, said)
        failed = _CORE2_ERRORS.fullmatch(topic)
        if failed is not None:
            return _core2_error(failed[1], said)
    model = _clean(said.get(_MODEL, b""))
    if model:
        version = _clean(said.get(_MODEL_VERSION, b""))
        leg = {b"inferenceservicename": _MLSERVER, b"endpoint": model, b"modelid": model, b"modelversion": version}
        return Origin(Dialect.MLSERVER, Kind.REQUEST, _kept(Kind.REQUEST, leg), protocol="v2")
    if topic == "mlserver-input":
        raise RefusedError(Reason.BAD_HEADERS, "MLServer's input has no mlserver-model header: send one.")
    return None


def event_of(
    key: bytes | None, value: bytes | None, timestamp: int, origin: Origin,
    ce_time: bytes, time: bytes, ce_id: bytes, bare_id: bytes,
    requestid: bytes, ce_requestid: bytes, request_id: bytes, seldon_puid: bytes,
) -> Event:  # fmt: skip
    """The canonical event of a record, its origin and the values of its `FREE` headers, empty where there is none.

    Raises RefusedError.
    """
    identity = ce_id or bare_id
    if identity and identity[0] == _AROUND[0]:
        identity = _clean(identity)
    puid = (
        requestid or ce_requestid or request_id or (identity if origin.id_is_puid else b"")
        or seldon_puid or _puid_of_key(key, origin.resources)
    )  # fmt: skip
    if not puid or puid[0] in _AROUND or puid[-1] in _AROUND or not puid.isascii() or len(puid) > 200 or not puid[0]:
        puid = _usable_puid(puid)
    moment = ce_time or time
    if not moment:
        moment = moment_of(timestamp)
    elif parse_time(moment) is None:
        moment = _clean(moment)
        told = (text for text in (moment, moment + b"Z") if parse_time(text) is not None)  # without a zone it is UTC
        moment = next(told, b"") or moment_of(timestamp)
    if value is None or not value or value[0] != _OPEN or origin.failed:
        value = _payload(origin, value)
    headers: tuple[tuple[str, bytes], ...]
    if identity:
        headers = (*origin.kept, ("ce_id", identity), ("ce_time", moment), ("ce_requestid", puid))
    else:
        headers = (*origin.kept, ("ce_time", moment), ("ce_requestid", puid))
    if not moment:
        headers = tuple(header for header in headers if header[0] != "ce_time")
    return Event(puid if b"-item-" not in puid else base_puid(puid.decode()).encode(), value, headers)


# -- whose it is ------------------------------------------------------------------------------------------------------


def _typed(dialect: Dialect, raw_type: bytes, said: Mapping[bytes, bytes]) -> Origin:
    """The origin of an event that names its type."""
    return _origin(dialect, raw_type, said.get(_CONTENT_TYPE, b""), tuple(map(said.get, _ATTRIBUTE_HEADERS)))


@lru_cache(maxsize=1024)
def _origin(dialect: Dialect, raw_type: bytes, content_type: bytes, values: tuple[bytes | None, ...]) -> Origin:
    """The same, found again where all that is read is the same."""
    said = {name: value for name, value in zip(_ATTRIBUTE_HEADERS, values, strict=True) if value is not None}
    name = _clean(raw_type)
    kind = _kind(name)
    if kind is None:
        raise RefusedError(
            Reason.UNKNOWN_TYPE,
            f"the type is {shown(name)}: Tally takes io.seldon.serving.inference.request, .inference.response, "
            ".inference.outlier, .inference.drift and io.seldon.serving.feedback, and what KServe calls them.",
        )
    leg = {name: _attribute(said, name) for name in _ATTRIBUTES}
    leg[b"inferenceservicename"] = leg[b"inferenceservicename"] or leg[b"inferenceservice"]
    # KServe names no model, but which part of its service spoke: a transformer's answers are not the predictor's.
    leg[b"modelid"] = leg[b"modelid"] or leg[b"model-id"] or leg[b"component"]
    # Documents of predictions are kept apart by what served them, as the request logger did; it is Seldon unless said.
    leg[b"servingengine"] = leg[b"servingengine"] or (b"inferenceservice" if name.startswith(_KUBEFLOW) else b"")
    status = leg[b"statuscode"]
    code = status.decode() if _STATUS.fullmatch(status) else ""
    return Origin(
        dialect,
        kind,
        _kept(kind, leg, code),
        id_is_puid=name.startswith(_KUBEFLOW),
        protocol=leg[b"protocol"].decode(errors="replace").lower(),
        protobuf=b"protobuf" in content_type.lower() or b"grpc" in content_type.lower(),
        failed=kind is Kind.RESPONSE and bool(code) and code[0] != "2",
        code=code,
    )


def _kind(name: bytes) -> Kind | None:
    for prefix in (_SELDON, _KUBEFLOW):
        if name.startswith(prefix):
            return _KINDS.get(name[len(prefix) :])
    return None


def _core2(found: re.Match[str], said: Mapping[bytes, bytes]) -> Origin:
    """The origin of a record on a topic of a model or a pipeline, which is a service of its own.

    The header `pipeline` is not taken for the service: the steps of a pipeline would then be judged by its labels.
    """
    namespace, what, name, way = (part.encode() for part in found.groups())
    kind = Kind.REQUEST if way == b"inputs" else Kind.RESPONSE
    leg = {b"namespace": namespace, b"inferenceservicename": name, b"modelid": name if what == b"model" else b""}
    resources = (name, _clean(said.get(_PIPELINE, b"")))
    return Origin(Dialect.CORE2, kind, _kept(kind, leg), resources=resources, protocol="v2", protobuf=True)


def _core2_error(namespace: str, said: Mapping[bytes, bytes]) -> Origin:
    """The origin of a record on the topic of errors: the failed response of a model, or of the pipeline as a whole."""
    model, pipeline = (_clean(said.get(name, b"")) for name in (_FAILED_MODEL, _PIPELINE))
    if not model and not pipeline:
        raise RefusedError(Reason.BAD_HEADERS, "neither seldon-pipeline-errors nor pipeline says what has failed.")
    leg = {b"namespace": namespace.encode(), b"inferenceservicename": model or pipeline, b"modelid": model}
    kept = _kept(Kind.RESPONSE, leg)
    return Origin(Dialect.CORE2, Kind.RESPONSE, kept, resources=(model, pipeline), protocol="v2", failed=True)


def _kept(kind: Kind, leg: Mapping[bytes, bytes], code: str = "") -> tuple[tuple[str, bytes], ...]:
    """The canonical headers that all events of an origin have; of those without a value none."""
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_source", leg.get(b"source", b"")),
        ("ce_type", TYPE_OF[kind].encode()),
        *(
            (f"ce_{name.decode()}", _name(name, leg.get(name, b"")))
            for name in (
                b"inferenceservicename",
                b"namespace",
                b"endpoint",
                b"modelid",
                b"modelversion",
                b"servingengine",
            )
        ),
        ("ce_statuscode", code.encode()),
        ("content-type", b"application/json"),
    ]
    return tuple(header for header in headers if header[1])


def _name(attribute: bytes, value: bytes) -> bytes:
    """A name of a leg, as the join takes it."""
    try:
        characters = len(value.decode())
    except UnicodeDecodeError:
        raise RefusedError(
            Reason.BAD_HEADERS, f"{attribute.decode()} is {shown(value)}, which is not UTF-8: send a text."
        ) from None
    if characters > _LONGEST_NAME:
        raise RefusedError(
            Reason.BAD_HEADERS, f"{attribute.decode()} has {characters} characters; send at most {_LONGEST_NAME}."
        )
    return value


def _attribute(said: Mapping[bytes, bytes], name: bytes) -> bytes:
    return _clean(said.get(b"ce_" + name, b"")) or _clean(said.get(name, b""))


def _clean(value: bytes) -> bytes:
    """A header's value without what stands around it."""
    return value.strip(_AROUND)


def _is_true(value: bytes) -> bool:
    """Whether a value of Seldon-Skip-Logging, or one of several that a proxy has put together, says so."""
    return any(_clean(one).lower() in (b"true", b"on", b"1") for one in value.split(b","))


# -- which prediction -------------------------------------------------------------------------------------------------


def _usable_puid(puid: bytes) -> bytes:
    """A request id that has something around it, is long, or is none at all."""
    puid = _clean(puid)
    try:
        text = puid.decode()
    except UnicodeDecodeError:
        raise RefusedError(Reason.NO_PUID, f"the request id {shown(puid)} is not UTF-8: send a text.") from None
    if not text:
        raise RefusedError(
            Reason.NO_PUID,
            "nothing names the request: send its id in the header requestid, ce_requestid (Ce-Requestid over HTTP), "
            "x-request-id or Seldon-Puid, or as the record's key.",
        )
    if not is_puid(text):
        raise RefusedError(
            Reason.NO_PUID,
            f"the request id {shown(puid)} cannot be used: send at most 1000 characters, the first not NUL.",
        )
    return puid


def _puid_of_key(key: bytes | None, resources: tuple[bytes, ...]) -> bytes:
    """The request id in a record's key.

    Core 2 writes it alone up to 2.7, `<resource>.<id>` in 2.8 and 2.9, `<partition>.<resource>.<id>` from 2.10 on. An
    id that its client chose may hold dots, too, so it is the resource that is looked for.
    """
    if not key:
        return b""
    for resource in resources:
        if resource:
            number, _, rest = key.partition(b".")
            for text in (key, rest) if number.isdigit() else (key,):
                if text.startswith(resource + b".") and len(text) > len(resource) + 1:
                    return text[len(resource) + 1 :]
    return key


# -- what it holds ----------------------------------------------------------------------------------------------------


def _payload(origin: Origin, value: bytes | None) -> bytes:
    """The payload as JSON.

    A body that begins like an object or a list is JSON whatever its content type says: no protobuf message begins so
    (these would be groups of the fields 15 and 11). KServe gives a response the content type of its request.
    """
    if origin.failed:
        return _error_body(origin.code, value or b"")
    if value is None:
        raise RefusedError(Reason.BAD_JSON, "the event has no body: send the payload as its value.")
    value = _unframed(value)
    if value.lstrip()[:1] in (b"{", b"["):
        return value
    if origin.protobuf:
        return to_json(value, origin.kind, origin.protocol)
    if not value.strip():
        raise RefusedError(Reason.BAD_JSON, "the event's body is empty: send the payload.")
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError:
        pass
    else:
        return value
    try:
        return to_json(value, origin.kind, origin.protocol)
    except RefusedError as refused:
        sentence = f"the body {shown(value)} is neither JSON nor protobuf ({refused.detail})"
        raise RefusedError(Reason.BAD_JSON, sentence) from None


def _error_body(code: str, value: bytes) -> bytes:
    """A failed prediction's answer as Seldon's error body, which the join counts as failed whatever it says."""
    try:
        body = orjson.loads(value)
    except orjson.JSONDecodeError:
        body = None
    if type(body) is dict and type(body.get("status")) is dict and "data" not in body:
        return value
    status: dict[str, object] = {"status": 1, "info": value.decode(errors="replace")[:_LONGEST_INFO]}
    return orjson.dumps({"status": status | ({"code": int(code)} if code else {})})


def _unframed(value: bytes) -> bytes:
    """A body without the frame of gRPC, or JSON without that of a schema registry.

    Both begin with a NUL byte, as neither JSON nor protobuf does, and have five bytes: gRPC's other four are the length
    of the message, a registry's the number of its schema
    (https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/, "Wire format").
    """
    framed = value[:1] == b"\0" and (int.from_bytes(value[1:5], "big") == len(value) - 5 or value[5:6] in (b"{", b"["))
    return value[5:] if framed else value


# -- where the body says what the event is ----------------------------------------------------------------------------


def _from_body(arrival: Arrival, said: Mapping[bytes, bytes]) -> list[Understood]:
    """The events of a body that is an envelope itself."""
    members = _members(_unframed(arrival.value or b""))
    attributes = {name.lower(): raw for name, raw in members.items()}
    if b"cloudevents" in said.get(_CONTENT_TYPE, b"").lower() or "specversion" in attributes:
        return [_structured(arrival, said, attributes)]
    if "puid" in members:
        return [Understood(Dialect.PLAIN, kind, event) for kind, event in plain_events(members, arrival.timestamp)]
    if arrival.value is None:
        raise RefusedError(Reason.BAD_JSON, "the record has neither headers that Tally knows nor a body.")
    raise RefusedError(
        Reason.UNKNOWN_TYPE,
        "nothing says whether this is a request, a response or a feedback, and of which model (Seldon's serverType "
        "kafka and a model's own output do not): log payloads as CloudEvents, with ce_type and ce_requestid, or send "
        '{"puid": …, "kind": …, "service": …, "payload": …}.',
    )


def _members(value: bytes) -> dict[str, bytes]:
    """The members of a JSON object, each as it was sent; none where the value begins like something else."""
    if value.lstrip()[:1] != b"{":
        return {}
    try:
        return {name: bytes(raw) for name, raw in _read_members(value).items()}
    except (msgspec.DecodeError, RecursionError) as error:
        raise RefusedError(Reason.BAD_JSON, f"the body is not JSON: {error}") from None


def _structured(arrival: Arrival, outer: Mapping[bytes, bytes], members: Mapping[str, bytes]) -> Understood:
    """The event of a CloudEvent in structured mode."""
    said = dict(outer)
    said[_CONTENT_TYPE] = b"application/json"
    for name, raw in members.items():
        if name not in ("data", "data_base64"):
            word = _word(name, raw)
            if word is not None:
                said[_CONTENT_TYPE if name == "datacontenttype" else b"ce_" + name.encode(errors="replace")] = word
    if b"ce_type" not in said:
        raise RefusedError(
            Reason.UNKNOWN_TYPE, 'the CloudEvent has no "type": send one like io.seldon.serving.inference.request.'
        )
    origin = _typed(Dialect.STRUCTURED, said[b"ce_type"], said)
    return _understood(origin, said, arrival, _data(members))


def _data(members: Mapping[str, bytes]) -> bytes | None:
    """The payload of a structured CloudEvent."""
    data = members.get("data", b"null")
    if data[:1] == b'"':
        # Of a payload whose content type is not JSON the SDKs write the text; it may be JSON all the same.
        text = _word("data", data) or b""
        return text if text.lstrip()[:1] in (b"{", b"[") else data
    if data != b"null":
        return data
    encoded = _word("data_base64", members.get("data_base64", b"null"))
    if encoded is None:
        return None
    try:
        return b64decode(encoded, validate=True)
    except ValueError:
        raise RefusedError(Reason.BAD_PAYLOAD, '"data_base64" is no Base64.') from None


def _word(name: str, raw: bytes) -> bytes | None:
    """An attribute's value as a header would hold it; None for what no header holds."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        place = shown(name.encode(errors="replace"))
        raise RefusedError(Reason.BAD_JSON, f"{place} of the CloudEvent is not JSON: {error}") from None
    if type(value) is str:
        return value.encode()
    return raw.strip() if type(value) in (bool, int, float) else None


def _understood(origin: Origin, said: Mapping[bytes, bytes], arrival: Arrival, value: bytes | None) -> Understood:
    own: list[Any] = [said.get(name, b"") for name in FREE]
    event = event_of(arrival.key, value, arrival.timestamp, origin, *own)
    return Understood(origin.dialect, origin.kind, event)
