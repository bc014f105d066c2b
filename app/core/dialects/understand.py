"""The dialects in which events arrive, and the canonical event that each of them means.

See `understand`. What is read here is only how an event is wrapped: who answered, what it brings of which puid, when.
What its payload holds is read by `app.core.payloads.bodies`.

CloudEvents are described in https://github.com/cloudevents/spec, `bindings/kafka-protocol-binding.md` and
`http-protocol-binding.md`; the writers of the others in `origins`, `plain` and `sagemaker`.

An event is read in two steps. What all events of one source have in common, an `Origin`, is found in their headers and
their topic by `origin_of`, so that `rekeying` can keep it; `event_of` adds what each event has of its own.
"""

from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec
import orjson

from app.core.clock import parse_time
from app.core.dialects.keeping import NO_SEGMENTS, SegmentHeaders
from app.core.dialects.origins import (
    AROUND,
    CONTENT_TYPE,
    FREE,
    SKIP,
    Dialect,
    Origin,
    clean,
    fold,
    origin_of,
    typed_origin,
)
from app.core.dialects.plain import Event, base_puid, is_puid, lacks_puid, moment_of, plain_events
from app.core.dialects.sagemaker import is_sagemaker, sagemaker_events
from app.core.events import Kind, Reason, RefusedError, shown
from app.core.payloads.loosejson import dumps, loads, mended, strict_dumps
from app.core.payloads.protobuf import to_json
from app.core.payloads.unwrapping import unwrapped
from app.core.payloads.v2_binary import read_binary


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


Headers = Mapping[bytes, bytes]

_OPEN: Final = ord("{")
#: Of what a failed prediction answered so much is kept.
_LONGEST_INFO: Final = 2000
_SEND: Final = 'send a CloudEvent, or {"puid": …, "service": …, "features": …, "output": …}.'
#: Of one batch of CloudEvents.
_MOST_EVENTS: Final = 1000

_read_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_read_batch = msgspec.json.Decoder(list[msgspec.Raw]).decode


def understand(arrival: Arrival, segments: SegmentHeaders = NO_SEGMENTS) -> list[Understood]:
    """The canonical events that an arrival means; none where it asks not to be logged (Seldon-Skip-Logging).

    Header names are known whatever their case; of several with one name the last that has a value holds. A canonical
    event has the headers of `ce_specversion`, `ce_id`, `ce_source`, `ce_type`, `ce_time`, `ce_requestid`,
    `ce_inferenceservicename`, `ce_namespace`, `ce_endpoint`, `ce_modelid`, `ce_modelversion`, `ce_statuscode` that its
    source gave a value, `ce_servingengine` where that is KServe, and always `ce_time`, so that it is the same event
    when it is published again. Its value is the payload as sent, without what stands around it; protobuf becomes JSON,
    and the response of a failed prediction an error body. It keeps the headers that `segments` are read from, too.

    An event that says its time neither itself nor in a header has that of its record.

    Raises RefusedError with a sentence that names what is missing.
    """
    headers: dict[bytes, bytes] = {}
    for name, value in arrival.headers:
        if value is not None:
            folded = fold(name.encode(errors="replace"))
            if folded != SKIP:
                encoded = arrival.topic is None and folded.startswith((b"ce_", b"ce-"))  # HTTP binding, 3.1.3.2
                headers[folded] = unquote_to_bytes(value) if encoded else value
            elif _is_true(value):
                return []
    origin = origin_of(arrival.topic, headers)
    if origin is None:
        stated = headers.get(b"ce_time") or headers.get(b"time")
        moment = parse_time(stated) if stated else None
        return _from_body(arrival if moment is None else arrival._replace(timestamp=moment // 1000), headers, segments)
    return [_understood(segments.kept_by(origin, headers), headers, arrival, arrival.value)]


def event_of(
    key: bytes | None, value: bytes | None, timestamp: int, origin: Origin,
    ce_time: bytes, time: bytes, ce_id: bytes, bare_id: bytes,
    requestid: bytes, ce_requestid: bytes, request_id: bytes, seldon_puid: bytes,
) -> Event:  # fmt: skip
    """The canonical event of a record, its origin and the values of its `FREE` headers, empty where there is none.

    Raises RefusedError.
    """
    identity = ce_id or bare_id
    if identity and identity[0] == AROUND[0]:
        identity = clean(identity)
    puid = (
        requestid or ce_requestid or request_id or (identity if origin.id_is_puid else b"")
        or seldon_puid or _puid_of_key(key, origin.resources)
    )  # fmt: skip
    if not puid or puid[0] in AROUND or puid[-1] in AROUND or not puid.isascii() or len(puid) > 200 or not puid[0]:
        puid = _usable_puid(puid)
    moment = ce_time or time
    if not moment:
        moment = moment_of(timestamp)
    elif parse_time(moment) is None:
        moment = clean(moment)
        readable = (
            text for text in (moment, moment + b"Z") if parse_time(text) is not None
        )  # without a zone it is UTC
        moment = next(readable, b"") or moment_of(timestamp)
    if value is None or not value or value[0] != _OPEN or origin.rewrites:
        value = _payload(origin, value)
    headers: tuple[tuple[str, bytes], ...]
    if identity:
        headers = (*origin.kept, ("ce_id", identity), ("ce_time", moment), ("ce_requestid", puid))
    else:
        headers = (*origin.kept, ("ce_time", moment), ("ce_requestid", puid))
    if not moment:
        headers = tuple(header for header in headers if header[0] != "ce_time")
    if b"-item-" in puid and origin.kind is Kind.FEEDBACK:  # it may mean a row; elsewhere it is an id like any other
        return Event(base_puid(puid.decode()).encode(), value, headers)
    return Event(puid, value, headers)


def _is_true(value: bytes) -> bool:
    """Whether a value of Seldon-Skip-Logging, or one of several that a proxy has put together, asks for it."""
    return any(clean(one).lower() in (b"true", b"on", b"1") for one in value.split(b","))


# -- which prediction -------------------------------------------------------------------------------------------------


def _usable_puid(puid: bytes) -> bytes:
    """A request id that has something around it, is long, or is none at all."""
    puid = clean(puid)
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
    value = unwrapped(value)
    if 0 < origin.header_length < len(value):
        return strict_dumps(read_binary(value, origin.kind.value, origin.header_length))
    if value.lstrip()[:1] in (b"{", b"["):
        return value
    if origin.protobuf:
        return to_json(value, origin.kind, origin.protocol)
    if not value.strip():
        raise RefusedError(Reason.EMPTY, "the event's body is empty: send the payload.")
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
    """A failed prediction's answer as Seldon's error body, which the join counts as failed whatever it holds."""
    try:
        body = orjson.loads(value)
    except orjson.JSONDecodeError:
        body = None
    if type(body) is dict and type(body.get("status")) is dict and "data" not in body:
        return value
    status: dict[str, object] = {"status": 1, "info": value.decode(errors="replace")[:_LONGEST_INFO]}
    return orjson.dumps({"status": status | ({"code": int(code)} if code else {})})


# -- where the body says what the event is ----------------------------------------------------------------------------


def _from_body(arrival: Arrival, headers: Headers, segments: SegmentHeaders) -> list[Understood]:
    """The events of a body that is an envelope itself."""
    body = unwrapped(arrival.value or b"")
    content_type = headers.get(CONTENT_TYPE, b"").lower()
    if b"cloudevents" in content_type and not body.strip():
        raise RefusedError(Reason.EMPTY, "the body is empty: send the CloudEvent as JSON.")
    if b"cloudevents-batch" in content_type:
        return _batch(arrival, body, segments)
    members = _members(body)
    attributes = {name.lower(): raw for name, raw in members.items()}
    if b"cloudevents" in content_type or "specversion" in attributes:
        return [_structured(arrival, headers, attributes, segments)]
    if "puid" in members:
        events, dialect = plain_events(members, arrival.timestamp), Dialect.PLAIN
    elif is_sagemaker(members):
        events, dialect = sagemaker_events(members, headers, arrival.timestamp), Dialect.SAGEMAKER
    else:
        raise _nothing_known(arrival.value, body, members)
    return [
        Understood(dialect, kind, event._replace(headers=(*event.headers, *segments.of(event.headers, headers))))
        for kind, event in events
    ]


def _nothing_known(value: bytes | None, body: bytes, members: Mapping[str, bytes]) -> RefusedError:
    """What is wrong with a body that is no envelope."""
    if value is None:
        return RefusedError(Reason.BAD_JSON, "the record has neither headers that Tally knows nor a body.")
    if not body.strip():
        return RefusedError(Reason.EMPTY, f"the body is empty, and no header says which event this is: {_SEND}")
    if lacks_puid(members):
        return RefusedError(Reason.NO_PUID, 'the record has no "puid": send the id of the prediction as its "puid".')
    if body.lstrip()[:1] == b"{":
        return RefusedError(
            Reason.UNKNOWN_TYPE,
            "nothing says whether this is a request, a response or a feedback, and of which model: log payloads as "
            "CloudEvents, with ce_type and ce_requestid (Seldon's serverType kafka does not), or send "
            '{"puid": …, "kind": …, "service": …, "payload": …}.',
        )
    if body.lstrip()[:1] == b"[":
        return RefusedError(
            Reason.NOT_AN_OBJECT,
            "the body is a JSON list: send one record an event, or a batch of CloudEvents with the content type "
            "application/cloudevents-batch+json.",
        )
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return RefusedError(
            Reason.BAD_JSON, f"the body {shown(body)} is not JSON, and no header says which event this is: {_SEND}"
        )
    return RefusedError(Reason.NOT_AN_OBJECT, f"the body {shown(body)} is no JSON object: {_SEND}")


def _members(value: bytes) -> dict[str, bytes]:
    """The members of a JSON object, each as it was sent; none where the value begins like something else."""
    if value.lstrip()[:1] != b"{":
        return {}
    try:
        return {name: bytes(raw) for name, raw in _read_members(value).items()}
    except (msgspec.DecodeError, RecursionError) as error:
        if b"NaN" in value or b"Infinity" in value:
            return {name: dumps(member) for name, member in loads(value).items()}
        whole = mended(value)
        if whole != value:
            return _members(whole)
        raise RefusedError(Reason.BAD_JSON, f"the body is not JSON: {error}") from None


def _batch(arrival: Arrival, body: bytes, segments: SegmentHeaders) -> list[Understood]:
    """The events of a batch of CloudEvents: all of them, or none."""
    single = arrival._replace(key=None)  # which is the batch's
    batch: Sequence[bytes | msgspec.Raw]
    try:
        batch = _read_batch(body)
    except (msgspec.DecodeError, RecursionError) as error:
        whole = loads(body)
        if type(whole) is not list:
            raise RefusedError(Reason.BAD_JSON, f"the batch is not a JSON list: {error}") from None
        batch = [dumps(envelope) for envelope in whole]  # there are values that stricter readers refuse
    if len(batch) > _MOST_EVENTS:
        sentence = f"the batch has {len(batch)} events; send at most {_MOST_EVENTS} at once."
        raise RefusedError(Reason.TOO_LARGE, sentence)
    found = []
    for number, envelope in enumerate(batch):
        try:
            attributes = {name.lower(): raw for name, raw in _members(bytes(envelope)).items()}
            found.append(_structured(single, {}, attributes, segments))
        except RefusedError as refused:
            raise RefusedError(refused.reason, f"event {number} of the batch: {refused.detail}") from None
    return found


def _structured(arrival: Arrival, outer: Headers, members: Mapping[str, bytes], segments: SegmentHeaders) -> Understood:
    """The event of a CloudEvent in structured mode."""
    headers = dict(outer)
    headers[CONTENT_TYPE] = b"application/json"
    for name, raw in members.items():
        if name not in ("data", "data_base64"):
            word = _word(name, raw)
            if word is not None:
                place = CONTENT_TYPE if name == "datacontenttype" else b"ce_" + name.encode(errors="replace")
                headers[place] = word
    if b"ce_type" not in headers:
        raise RefusedError(
            Reason.UNKNOWN_TYPE, 'the CloudEvent has no "type": send one like io.seldon.serving.inference.request.'
        )
    origin = typed_origin(Dialect.STRUCTURED, headers[b"ce_type"], headers)
    return _understood(segments.kept_by(origin, headers), headers, arrival, _data(members))


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


def _understood(origin: Origin, headers: Headers, arrival: Arrival, value: bytes | None) -> Understood:
    own: list[Any] = [headers.get(name, b"") for name in FREE]
    event = event_of(arrival.key, value, arrival.timestamp, origin, *own)
    return Understood(origin.dialect, origin.kind, event)
