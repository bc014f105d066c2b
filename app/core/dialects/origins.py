"""Whose an event is: what its headers and its topic say of who answered, of what kind it is, and how it is written.

What all events of one source have in common, an `Origin`, is found once, so that `rekeying` can keep it.

- Seldon's executor: SeldonIO/seldon-core v1, `executor/logger/worker.go`;
- KServe's logger: kserve/kserve, `pkg/logger/worker.go`;
- MLServer: SeldonIO/MLServer, `mlserver/cloudevents.py` and `mlserver/kafka/`;
- Seldon Core 2: SeldonIO/seldon-core v2, `scheduler/pkg/kafka/topics.go` and `scheduler/pkg/kafka/gateway/`.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

from app.core.events import TYPE_OF, Kind, Reason, RefusedError, shown


class Dialect(StrEnum):
    """How an event was wrapped."""

    CANONICAL = "canonical"  # CloudEvents binary mode on Kafka: `ce_…` headers
    SELDON = "seldon"  # Seldon's executor on Kafka: bare header names, no key
    MLSERVER = "mlserver"  # `Ce-…` headers on Kafka, `mlserver-…` for a request
    CORE2 = "core2"  # Seldon Core 2: the topic says model and kind, protobuf
    STRUCTURED = "structured"  # CloudEvents structured mode: a JSON envelope
    HTTP = "http"  # CloudEvents binary mode over HTTP: `ce-…` headers
    PLAIN = "plain"  # Tally's own JSON form, for any server
    SAGEMAKER = "sagemaker"  # a capture record of SageMaker, or a line of its ground truth


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
    header_length: int = 0  # where V2's binary tensors begin, as Inference-Header-Content-Length says
    rewrites: bool = False  # whether a payload that begins like an object becomes another one


#: By what follows `io.seldon.serving.` or `org.kubeflow.serving.`; nothing else does that is meant here
#: (`reference.request` is training data). Only a request and a response are of an inference in every writer's mind.
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
_KSERVE: Final = b"io.kserve."
#: A type of anybody else's that ends with a kind.
_SUFFIX: Final = re.compile(rb"(?:.*[._/:-])?(request|response|feedback)", re.IGNORECASE | re.DOTALL)

#: Attributes that say what an event is, with the names that they have had.
_ATTRIBUTES: Final = (
    b"source", b"namespace", b"inferenceservicename", b"inferenceservice", b"endpoint", b"modelid", b"model-id",
    b"modelversion", b"component", b"statuscode", b"protocol", b"servingengine",
)  # fmt: skip
_ATTRIBUTE_HEADERS: Final = (*_ATTRIBUTES, *(b"ce_" + name for name in _ATTRIBUTES))
CONTENT_TYPE: Final = b"content-type"
_HEADER_LENGTH: Final = b"inference-header-content-length"
_MODEL: Final = b"mlserver-model"
_MODEL_VERSION: Final = b"mlserver-version"
_PIPELINE: Final = b"pipeline"
_FAILED_MODEL: Final = b"seldon-pipeline-errors"

#: The header that asks for an event not to be logged. All of its values count.
SKIP: Final = b"seldon-skip-logging"
#: The headers by which `origin_of` knows an origin, by what `fold` makes of their names.
READ: Final = frozenset({
    b"ce_type", b"ce-type", b"type", *_ATTRIBUTE_HEADERS, CONTENT_TYPE, _HEADER_LENGTH,
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
AROUND: Final = b'" \t\r\n'
_LONGEST_NAME: Final = 253
#: Of what a failed prediction answered so much is kept.
_LONGEST_INFO: Final = 2000


def fold(name: bytes) -> bytes:
    """What a header's name is known by: `Ce-Id`, `ce-id` and `CE_ID` are `ce_id`.

    Of the type both ways of writing are kept apart, to tell whose they are.
    """
    name = name.lower()
    return b"ce_" + name[3:] if name.startswith(b"ce-") and name != b"ce-type" else name


def origin_of(topic: str | None, headers: Mapping[bytes, bytes]) -> Origin | None:
    """The origin that headers (those of `READ`) and topic tell; None where the body says what the event is.

    Raises RefusedError.
    """
    content_type = headers.get(CONTENT_TYPE, b"").lower()
    if b"cloudevents" in content_type:
        return None
    if b"ce_type" in headers:
        dialect = Dialect.CANONICAL if topic is not None else Dialect.HTTP
        return typed_origin(dialect, headers[b"ce_type"], headers)
    if b"ce-type" in headers:
        dialect = Dialect.MLSERVER if topic is not None else Dialect.HTTP
        return typed_origin(dialect, headers[b"ce-type"], headers)
    # Many programs write some header `type`; Seldon's executor names the model, too.
    if b"type" in headers and (
        b"inferenceservicename" in headers or b"modelid" in headers or _known_kind(clean(headers[b"type"]))
    ):
        return typed_origin(Dialect.SELDON, headers[b"type"], headers)
    if topic is not None:
        found = _CORE2.fullmatch(topic)
        if found is not None:
            return _core2(found, headers)
        failed = _CORE2_ERRORS.fullmatch(topic)
        if failed is not None:
            return _core2_error(failed[1], headers)
    model = clean(headers.get(_MODEL, b""))
    if model:
        version = clean(headers.get(_MODEL_VERSION, b""))
        leg = {b"inferenceservicename": _MLSERVER, b"endpoint": model, b"modelid": model, b"modelversion": version}
        return Origin(Dialect.MLSERVER, Kind.REQUEST, _kept(Kind.REQUEST, leg), protocol="v2")
    if topic == "mlserver-input":
        raise RefusedError(Reason.BAD_HEADERS, "MLServer's input has no mlserver-model header: send one.")
    return None


# -- whose it is ------------------------------------------------------------------------------------------------------


def typed_origin(dialect: Dialect, raw_type: bytes, headers: Mapping[bytes, bytes]) -> Origin:
    """The origin of an event that names its type."""
    origin = _origin(dialect, raw_type, headers.get(CONTENT_TYPE, b""), tuple(map(headers.get, _ATTRIBUTE_HEADERS)))
    length = headers.get(_HEADER_LENGTH, b"")
    if length.isdigit() and len(length) < 10:
        return origin._replace(header_length=int(length), rewrites=True)
    return origin


@lru_cache(maxsize=1024)
def _origin(dialect: Dialect, raw_type: bytes, content_type: bytes, values: tuple[bytes | None, ...]) -> Origin:
    """The same, found again where all that is read is the same."""
    headers = {name: value for name, value in zip(_ATTRIBUTE_HEADERS, values, strict=True) if value is not None}
    name = clean(raw_type)
    kind = _kind(name)
    if kind is None:
        raise RefusedError(
            Reason.UNKNOWN_TYPE,
            f"the type is {shown(name)}: Tally takes io.seldon.serving.inference.request, .inference.response, "
            ".inference.outlier, .inference.drift and io.seldon.serving.feedback, what KServe calls them, and others "
            "that end with request, response or feedback.",
        )
    by_kserve = name.startswith((_KUBEFLOW, _KSERVE))
    leg = {name: attribute(headers, name) for name in _ATTRIBUTES}
    leg[b"inferenceservicename"] = leg[b"inferenceservicename"] or leg[b"inferenceservice"]
    # KServe names no model, but which part of its service answers: a transformer's answers are not the predictor's.
    leg[b"modelid"] = leg[b"modelid"] or leg[b"model-id"] or leg[b"component"]
    # Documents of predictions are kept apart by what served them, as the request logger did; where nothing else is
    # known that is Seldon.
    leg[b"servingengine"] = leg[b"servingengine"] or (b"inferenceservice" if by_kserve else b"")
    status = leg[b"statuscode"]
    code = status.decode() if _STATUS.fullmatch(status) else ""
    failed = kind is Kind.RESPONSE and bool(code) and code[0] != "2"
    return Origin(
        dialect,
        kind,
        _kept(kind, leg, code),
        id_is_puid=by_kserve,
        protocol=leg[b"protocol"].decode(errors="replace").lower(),
        protobuf=b"protobuf" in content_type.lower() or b"grpc" in content_type.lower(),
        failed=failed,
        code=code,
        rewrites=failed,
    )


def _kind(name: bytes) -> Kind | None:
    """The kind of a type: one of those above, or what a type of somebody else's ends with."""
    if name.startswith((_SELDON, _KUBEFLOW)):
        return _known_kind(name)
    suffix = _SUFFIX.fullmatch(name)
    return None if suffix is None else Kind(suffix[1].decode().lower())


def _known_kind(name: bytes) -> Kind | None:
    for prefix in (_SELDON, _KUBEFLOW):
        if name.startswith(prefix):
            return _KINDS.get(name[len(prefix) :])
    return None


def _core2(found: re.Match[str], headers: Mapping[bytes, bytes]) -> Origin:
    """The origin of a record on a topic of a model or a pipeline, which is a service of its own.

    The header `pipeline` is not taken for the service: the steps of a pipeline would then be judged by its labels.
    """
    namespace, what, name, way = (part.encode() for part in found.groups())
    kind = Kind.REQUEST if way == b"inputs" else Kind.RESPONSE
    leg = {b"namespace": namespace, b"inferenceservicename": name, b"modelid": name if what == b"model" else b""}
    resources = (name, clean(headers.get(_PIPELINE, b"")))
    return Origin(Dialect.CORE2, kind, _kept(kind, leg), resources=resources, protocol="v2", protobuf=True)


def _core2_error(namespace: str, headers: Mapping[bytes, bytes]) -> Origin:
    """The origin of a record on the topic of errors: the failed response of a model, or of the pipeline as a whole."""
    model, pipeline = (clean(headers.get(name, b"")) for name in (_FAILED_MODEL, _PIPELINE))
    if not model and not pipeline:
        raise RefusedError(Reason.BAD_HEADERS, "neither seldon-pipeline-errors nor pipeline says what has failed.")
    leg = {b"namespace": namespace.encode(), b"inferenceservicename": model or pipeline, b"modelid": model}
    kept = _kept(Kind.RESPONSE, leg)
    resources = (model, pipeline)
    return Origin(Dialect.CORE2, Kind.RESPONSE, kept, resources=resources, protocol="v2", failed=True, rewrites=True)


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


def attribute(headers: Mapping[bytes, bytes], name: bytes) -> bytes:
    """An attribute of an event, by its header with or without `ce_`."""
    return clean(headers.get(b"ce_" + name, b"")) or clean(headers.get(name, b""))


def clean(value: bytes) -> bytes:
    """A header's value without what stands around it."""
    return value.strip(AROUND)
