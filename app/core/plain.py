"""The plain feedback form, and the canonical Seldon feedback that means the same."""

import uuid
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from app.core.clock import parse_time
from app.core.events import TYPE_OF, Kind, Reason, RefusedError
from app.core.payloads import brings_label, labels_of, parse_reward

_LEG_HEADERS = {
    "namespace": "ce_namespace",
    "service": "ce_inferenceservicename",
    "endpoint": "ce_endpoint",
    "model": "ce_modelid",
}
_KNOWN = frozenset({"puid", "label", "truth", "reward", "tags", "time", *_LEG_HEADERS})


class Event(NamedTuple):
    """A canonical event, ready for its topic."""

    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


def base_puid(puid: str) -> str:
    """The puid that a row's id (`puid-item-N`) belongs to."""
    base, separator, row = puid.rpartition("-item-")
    return base if separator and base and row.isdecimal() and len(row) < 8 else puid


def canonical_feedback(body: Any, now: datetime, longest: int = 200) -> Event:
    """The canonical event of a plain feedback.

    `{"puid", "label" (a value, or a list with one a row) or "truth" (Seldon's form), "reward", "namespace"?,
    "service"?, "endpoint"?, "model"?, "tags"?, "time"?}`. Refuses with a sentence that says what to send.
    """
    if type(body) is not dict:
        raise RefusedError(Reason.NOT_AN_OBJECT, 'Send a JSON object like {"puid": "…", "label": 1}.')
    puid = body.get("puid")
    if type(puid) is not str or not puid or len(puid) > 1000 or puid[0] == "\0":
        raise RefusedError(
            Reason.NO_PUID, 'Send the "puid" of the prediction: the Seldon-Puid header that it was returned with.'
        )
    unknown = sorted(set(body) - _KNOWN)
    if unknown:
        raise RefusedError(Reason.BAD_PAYLOAD, f'"{unknown[0]}" is not known; known are {", ".join(sorted(_KNOWN))}.')
    if "label" in body and "truth" in body:
        raise RefusedError(Reason.BAD_PAYLOAD, 'Send "label" or "truth", not both.')
    if not body.keys() & {"label", "truth", "reward"}:
        raise RefusedError(Reason.EMPTY, 'Send a "label", a "truth" or a "reward".')
    content: dict[str, Any] = {}
    if "label" in body or "truth" in body:
        content["truth"] = _truth(body)
        if content["truth"] is not None and brings_label(content["truth"]):
            labels_of(content["truth"], longest)
    if "reward" in body:
        parse_reward(body["reward"])
        content["reward"] = body["reward"]
    if body.get("tags") is not None:
        content["meta"] = {"tags": body["tags"]}
    time = body.get("time", now.isoformat().replace("+00:00", "Z"))
    if type(time) is not str or parse_time(time.encode()) is None:
        raise RefusedError(Reason.BAD_PAYLOAD, '"time" must be a time like 2026-11-21T07:00:00Z.')
    headers = {
        "ce_specversion": "1.0",
        "ce_id": str(uuid.uuid4()),
        "ce_source": "tally",
        "ce_type": TYPE_OF[Kind.FEEDBACK],
        "ce_time": time,
        "ce_requestid": puid,
        "content-type": "application/json",
    }
    for name, header in _LEG_HEADERS.items():
        if body.get(name) is not None:
            if type(body[name]) is not str:
                raise RefusedError(Reason.BAD_PAYLOAD, f'"{name}" must be a text.')
            headers[header] = body[name]
    return Event(
        base_puid(puid).encode(),
        orjson.dumps(content),
        tuple((name, value.encode()) for name, value in headers.items()),
    )


def _truth(body: dict[str, Any]) -> Any:
    if "truth" in body:
        return body["truth"]
    label = body["label"]
    if label is None:
        return None
    return {"data": {"ndarray": label if type(label) is list else [label]}}
