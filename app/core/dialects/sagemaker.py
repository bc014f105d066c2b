"""SageMaker's records: what its data capture writes of a call, and the lines of ground truth that go with it.

    {"captureData": {"endpointInput": {"observedContentType", "mode", "data", "encoding"}, "endpointOutput": {…}},
     "eventMetadata": {"eventId", "inferenceId"?, "inferenceTime", …}, "eventVersion"}
    {"groundTruthData": {"data", "encoding"}, "eventMetadata": {"eventId"}, "eventVersion"}

`encoding` is CSV, JSON or BASE64; `data` is the body as a text. The `eventId` of a ground truth is the `inferenceId` of
its call, or its `eventId` where the caller gave none. Nothing in a record says which endpoint it was: headers can, by
the names that other events have (inferenceservicename, endpoint, modelid …).

https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-data-capture.html
https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-model-quality-merge.html
"""

import csv
from base64 import b64decode
from collections.abc import Mapping
from typing import Any, Final

import orjson

from app.core.clock import parse_time
from app.core.dialects.origins import attribute
from app.core.dialects.plain import Event, base_puid, is_puid, moment_of
from app.core.events import TYPE_OF, Kind, Reason, RefusedError
from app.core.payloads.forms import carries
from app.core.payloads.loosejson import dumps, loads

_CAPTURE: Final = "captureData"
_TRUTH: Final = "groundTruthData"
_SIDES: Final = ((Kind.REQUEST, "endpointInput"), (Kind.RESPONSE, "endpointOutput"))
_LEG: Final = (b"inferenceservicename", b"namespace", b"endpoint", b"modelid", b"modelversion")
#: The service of predictions whose headers name none.
_SERVICE: Final = b"sagemaker"


def is_sagemaker(members: Mapping[str, bytes]) -> bool:
    """Whether a record is one of SageMaker's, by its members."""
    return _CAPTURE in members or _TRUTH in members


def sagemaker_events(
    members: Mapping[str, bytes], headers: Mapping[bytes, bytes], timestamp: int
) -> list[tuple[Kind, Event]]:
    """The canonical events of a record: the request and the response of a capture, or the feedback of a ground truth.

    `timestamp` is the record's, in ms. Raises RefusedError.
    """
    metadata = _object("eventMetadata", members.get("eventMetadata", b"null"))
    puid = metadata.get("inferenceId") or metadata.get("eventId")
    if type(puid) is not str or not is_puid(puid):
        raise RefusedError(Reason.NO_PUID, "eventMetadata has neither inferenceId nor eventId, which names the call.")
    time = metadata.get("inferenceTime")
    moment = time.encode() if type(time) is str and parse_time(time.encode()) is not None else moment_of(timestamp)
    if _TRUTH in members:
        body = {"truth": _body(_TRUTH, _object(_TRUTH, members[_TRUTH]))}
        return [(Kind.FEEDBACK, _event(Kind.FEEDBACK, puid, moment, headers, body))]
    capture = _object(_CAPTURE, members[_CAPTURE])
    found = []
    for kind, side in _SIDES:
        if type(capture.get(side)) is dict:
            body = _body(side, capture[side])
            found.append((kind, _event(kind, puid, moment, headers, body)))
    if not found:
        raise RefusedError(Reason.EMPTY, f"{_CAPTURE} has neither endpointInput nor endpointOutput.")
    return found


def _object(name: str, raw: bytes) -> dict[str, Any]:
    value = loads(raw)
    if type(value) is not dict:
        raise RefusedError(Reason.NOT_AN_OBJECT, f"{name} is not a JSON object.")
    return value


def _body(name: str, side: dict[str, Any]) -> Any:
    """The body that was captured, in a form that is read."""
    text = side.get("data")
    encoding = str(side.get("encoding", "")).upper()
    content_type = str(side.get("observedContentType", "")).lower()
    if type(text) is not str:
        return _in_a_form(text)
    if encoding == "BASE64":
        try:
            text = b64decode(text, validate=True).decode()
        except ValueError:
            raise RefusedError(
                Reason.BAD_PAYLOAD, f"{name} is a body of {content_type or 'unknown type'}, which is no text."
            ) from None
    if encoding == "JSON" or (encoding != "CSV" and "csv" not in content_type):
        try:
            return _in_a_form(loads(text))
        except RefusedError:
            if encoding == "JSON":
                raise
    return {"data": {"ndarray": _rows(text)}}


def _in_a_form(body: Any) -> Any:
    """A body; an object that has no form is one row."""
    return body if carries(body) and type(body) in (dict, list) else {"data": {"ndarray": [body]}}


def _rows(text: str) -> list[Any]:
    """The rows of a CSV. One cell is a value; a text and a number are a class and its score."""
    rows: list[Any] = []
    for line in csv.reader(text.strip().splitlines()):
        cells = [_cell(cell.strip()) for cell in line]
        ranked = len(cells) == 2 and type(cells[0]) is str and type(cells[1]) is float
        rows.append(cells[0] if len(cells) == 1 else [cells] if ranked else cells)
    return rows


def _cell(text: str) -> Any:
    """A number where a text is one, null where it is empty."""
    if not text:
        return None
    try:
        return float(text) if any(letter in text for letter in ".eEnN") else int(text)
    except ValueError:
        return text


def _event(kind: Kind, puid: str, moment: bytes, outer: Mapping[bytes, bytes], body: Any) -> Event:
    leg = {name: attribute(outer, name) for name in _LEG}
    if kind is not Kind.FEEDBACK:  # a label without a service judges whoever answered
        leg[b"inferenceservicename"] = leg[b"inferenceservicename"] or _SERVICE
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_type", TYPE_OF[kind].encode()),
        *((f"ce_{name.decode()}", value) for name, value in leg.items()),
        ("content-type", b"application/json"),
        ("ce_time", moment),
        ("ce_requestid", puid.encode()),
    ]
    key = base_puid(puid) if kind is Kind.FEEDBACK else puid
    return Event(key.encode(), _dump(body), tuple(header for header in headers if header[1]))


def _dump(body: Any) -> bytes:
    text = dumps(body)
    try:
        return orjson.dumps(orjson.loads(text))
    except orjson.JSONDecodeError:  # words that are no JSON numbers, which the join reads
        return text
