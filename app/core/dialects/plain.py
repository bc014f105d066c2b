"""Tally's own forms: the canonical event, and the plain JSON forms with the canonical events that mean the same.

For a server that knows no CloudEvents one record, keyed or not, is

    {"puid": "…", "kind": "request|response|feedback", "namespace": "…", "service": "…", "endpoint": "…", "model": "…",
     "version": "…", "time": "2026-11-21T07:00:00Z", "payload": …}

where all but `puid`, `kind` and `payload` may be left out; or both halves of a prediction, and what is known of its
truth:

    {"puid": "…", "features": [5.1, 3.5], "output": [0.1, 0.9], "label": 1, "reward": 1, "service": "…", …}

`features` is one row, or a list of rows; a row is a value, a list, or an object by column. `output` is the answer to
the one row, or a list with one a row; an answer is a value, a vector, an object by class, or one by column. A record
with `label`, `truth` or `reward` alone is a feedback.
"""

import uuid
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

from app.core.clock import format_time, parse_time
from app.core.events import TYPE_OF, Kind, Reason, RefusedError, shown
from app.core.limits import Limits
from app.core.payloads.bodies import brings_label, labels_of, parse_reward
from app.core.payloads.loosejson import dumps, loads

_LEG_HEADERS: Final = {
    "namespace": "ce_namespace",
    "service": "ce_inferenceservicename",
    "endpoint": "ce_endpoint",
    "model": "ce_modelid",
}
_STATEMENTS: Final = ("label", "truth", "reward")
_FEEDBACK: Final = frozenset({*_STATEMENTS, "tags"})
_KNOWN: Final = frozenset({"puid", "time", *_FEEDBACK, *_LEG_HEADERS})
#: A record with one of these and no other name than those below is one of the forms above.
_TELLING: Final = frozenset({"features", "output", "payload", *_STATEMENTS})
_OF_EVENT: Final = frozenset({"puid", "time", "version", "kind", "payload", *_LEG_HEADERS})
_OF_PAIR: Final = frozenset({"version", "features", "output", *_KNOWN})
_KINDS: Final = {kind.value: kind for kind in (Kind.REQUEST, Kind.RESPONSE, Kind.FEEDBACK)}
#: How long a class text may be is for the join to say.
_ANY_LENGTH: Final = 1 << 30
_MOST_LABELS: Final = Limits().exchange_bytes
_LONGEST_PUID: Final = 1000
_YEAR_9999: Final = 253_370_764_800
_MILLIS: Final = tuple(b".%03d000Z" % millis for millis in range(1000))


class Event(NamedTuple):
    """A canonical event, ready for its topic."""

    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


def base_puid(puid: str) -> str:
    """The puid that a row's id (`puid-item-N`) belongs to."""
    base, separator, row = puid.rpartition("-item-")
    return base if separator and base and row.isascii() and row.isdecimal() and len(row) < 8 else puid


def is_puid(puid: str) -> bool:
    """Whether a text can be a request id."""
    return 0 < len(puid) <= _LONGEST_PUID and puid[0] != "\0"


def moment_of(timestamp: int) -> bytes:
    """The `ce_time` of a record without a time of its own: that of the record (ms); empty where it has none either."""
    seconds, millis = divmod(timestamp, 1000)
    return _second(seconds) + _MILLIS[millis] if 0 < seconds < _YEAR_9999 else b""


@lru_cache(maxsize=1024)
def _second(seconds: int) -> bytes:
    return format_time(seconds * 1_000_000)[:19].encode()


def canonical_feedback(body: Any, now: datetime, longest: int = 200) -> Event:
    """The canonical event of a plain feedback.

    `{"puid", "label" (a value, or a list with one a row) or "truth" (Seldon's form), "reward", "namespace"?,
    "service"?, "endpoint"?, "model"?, "tags"?, "time"?}`. Refuses with a sentence that says what to send.
    """
    if type(body) is not dict:
        raise RefusedError(Reason.NOT_AN_OBJECT, 'Send a JSON object like {"puid": "…", "label": 1}.')
    puid = _puid(body)
    _check_known(body, _KNOWN)
    content = _content(body, longest)
    time = _time(body, now.isoformat().replace("+00:00", "Z").encode())
    own = {"ce_id": str(uuid.uuid4()).encode(), "ce_source": b"tally"}
    return _event(Kind.FEEDBACK, puid, time, _leg(body), content, own)


def lacks_puid(members: Mapping[str, bytes]) -> bool:
    """Whether a record without a puid is one of the plain forms but for that."""
    return not members.keys().isdisjoint(_TELLING) and members.keys() <= (_OF_PAIR | _OF_EVENT)


def plain_events(members: Mapping[str, bytes], timestamp: int) -> list[tuple[Kind, Event]]:
    """The canonical events of a plain record, whose members are given as the JSON that they were sent as.

    `timestamp` is the record's, in ms. Refuses with a sentence that says what to send.
    """
    body = {name: _parse(name, raw) for name, raw in members.items() if name != "payload"}
    puid = _puid(body)
    single = "kind" in members or "payload" in members
    _check_known(members, _OF_EVENT if single else _OF_PAIR)
    time = _time(body, moment_of(timestamp))
    leg = _leg(body)
    if single:
        kind, payload = _single(body.get("kind"), members.get("payload"))
        return [(kind, _event(kind, puid, time, leg, payload))]
    contents = _pair(body) if "features" in body or "output" in body else []
    if not contents or not body.keys().isdisjoint(_STATEMENTS):
        contents.append((Kind.FEEDBACK, _content(body, _ANY_LENGTH)))
    paired = len(contents) > 1  # what is known of the truth is of this prediction, whatever its id ends in
    return [(kind, _event(kind, puid, time, leg, content, of_row=not paired)) for kind, content in contents]


def _single(kind_name: Any, payload: bytes | None) -> tuple[Kind, bytes]:
    kind = _KINDS.get(kind_name) if type(kind_name) is str else None
    if kind is None:
        raise RefusedError(Reason.UNKNOWN_TYPE, '"kind" must be "request", "response" or "feedback".')
    if payload is None:
        raise RefusedError(Reason.BAD_PAYLOAD, f'Send the {kind} as "payload".')
    if kind is Kind.FEEDBACK:
        content = _parse("payload", payload)
        if type(content) is dict and not content.keys().isdisjoint(("label", "tags")):
            _check_known(content, _FEEDBACK)
            return kind, _content(content, _ANY_LENGTH)
    return kind, payload


def _pair(body: Mapping[str, Any]) -> list[tuple[Kind, bytes]]:
    """The request and the response of a prediction."""
    if "features" not in body or "output" not in body:
        raise RefusedError(
            Reason.BAD_PAYLOAD, 'Send "features" and "output" together, or one event with "kind" and "payload".'
        )
    features, output = body["features"], body["output"]
    if _is_rows(features) or (_is_rows(output) and len(output) == 1):
        answers = output
    else:
        answers = [output]
    rows = features if _is_rows(features) else [features]
    if type(answers) is not list or len(answers) != len(rows):
        raise RefusedError(
            Reason.RAGGED, f'"features" has {len(rows)} rows: "output" must be a list with one answer a row.'
        )
    tags = {"meta": {"tags": body["tags"]}} if body.get("tags") is not None else {}
    return [
        (Kind.REQUEST, _dump({"data": _data(rows)})),
        (Kind.RESPONSE, _dump({"data": _data(answers, scores=True), **tags})),
    ]


def _is_rows(value: Any) -> bool:
    """Whether these are several rows: a list of one is."""
    return type(value) is list and bool(value) and type(value[0]) in (list, dict)


def _data(rows: list[Any], *, scores: bool = False) -> dict[str, Any]:
    """Seldon's form of rows. Objects with the same names are rows of columns; in an answer only where all of their
    values are numbers, one a class.
    """
    names = list(rows[0]) if type(rows[0]) is dict else []
    if not names or any(type(row) is not dict or row.keys() != rows[0].keys() for row in rows):
        return {"ndarray": rows}
    if scores and not all(type(value) in (int, float) for row in rows for value in row.values()):
        return {"ndarray": rows}
    return {"names": names, "ndarray": [[row[name] for name in names] for row in rows]}


def _event(
    kind: Kind,
    puid: str,
    time: bytes,
    leg: dict[str, bytes],
    value: bytes,
    own: Mapping[str, bytes] | None = None,
    *,
    of_row: bool = True,
) -> Event:
    """The canonical event. With `of_row` a feedback for `puid-item-N` is one for that row of `puid`."""
    headers = {"ce_specversion": b"1.0", "ce_type": TYPE_OF[kind].encode(), **leg, "content-type": b"application/json"}
    headers |= own or {}
    if time:
        headers["ce_time"] = time
    headers["ce_requestid"] = puid.encode()
    key = base_puid(puid) if kind is Kind.FEEDBACK and of_row else puid  # a row can be labelled, but not asked for
    return Event(key.encode(), value, tuple(headers.items()))


def _puid(body: Mapping[str, Any]) -> str:
    puid = body.get("puid")
    if puid is None or puid == "":
        raise RefusedError(
            Reason.NO_PUID,
            'Send the "puid" of the prediction: the id that its request was logged with (with Seldon the header '
            "Seldon-Puid of the answer).",
        )
    if type(puid) is not str:
        raise RefusedError(Reason.NO_PUID, '"puid" must be a text.')
    if not is_puid(puid):
        raise RefusedError(Reason.NO_PUID, '"puid" must have at most 1000 characters, the first not NUL.')
    return puid


def _check_known(body: Mapping[str, Any], known: frozenset[str]) -> None:
    unknown = sorted(set(body) - known)
    if unknown:
        name = shown(unknown[0].encode(errors="replace"))[1:-1]
        raise RefusedError(Reason.BAD_PAYLOAD, f'"{name}" is not known; known are {", ".join(sorted(known))}.')


def _time(body: Mapping[str, Any], otherwise: bytes) -> bytes:
    time = body.get("time")
    if time is None:
        return otherwise
    if type(time) is not str or parse_time(time.encode()) is None:
        raise RefusedError(Reason.BAD_PAYLOAD, '"time" must be a time like 2026-11-21T07:00:00Z.')
    return time.encode()


def _leg(body: Mapping[str, Any]) -> dict[str, bytes]:
    """The headers that name who answered."""
    headers = {}
    for name, header in _LEG_HEADERS.items():
        word = body.get(name)
        if word is not None:
            if type(word) is not str:
                raise RefusedError(Reason.BAD_PAYLOAD, f'"{name}" must be a text.')
            if word:
                headers[header] = word.encode()
    version = body.get("version")
    if version is not None:
        if type(version) not in (str, int, float):
            raise RefusedError(Reason.BAD_PAYLOAD, '"version" must be a text or a number.')
        if version != "":
            headers["ce_modelversion"] = str(version).encode()
    return headers


def _content(body: Mapping[str, Any], longest: int) -> bytes:
    """The Seldon feedback that says what a plain one says."""
    if "label" in body and "truth" in body:
        raise RefusedError(Reason.BAD_PAYLOAD, 'Send "label" or "truth", not both.')
    if body.keys().isdisjoint(_STATEMENTS):
        raise RefusedError(Reason.EMPTY, 'Send a "label", a "truth" or a "reward".')
    content: dict[str, Any] = {}
    if "label" in body or "truth" in body:
        content["truth"] = _truth(body)
        if content["truth"] is not None and brings_label(content["truth"]):
            labels = labels_of(content["truth"], longest)
            if all(label is None for label in labels) and "reward" not in body:
                raise RefusedError(
                    Reason.EMPTY, "Every label is null, which leaves its row alone: send one that is not."
                )
    if "reward" in body:
        parse_reward(body["reward"])
        content["reward"] = body["reward"]
    if body.get("tags") is not None:
        content["meta"] = {"tags": body["tags"]}
    return _dump(content)


def check_rows(labels: int) -> None:
    """Refuse a feedback with more labels than any exchange can hold, before it is looked at: each takes a byte."""
    if labels > _MOST_LABELS:
        detail = f"{labels} labels are more than an exchange can hold, which has {_MOST_LABELS} bytes at most."
        raise RefusedError(Reason.EXCHANGE_TOO_LARGE, detail)


def _truth(body: Mapping[str, Any]) -> Any:
    if "truth" in body:
        return body["truth"]
    label = body["label"]
    if label is None:
        return None
    if type(label) is list:
        check_rows(len(label))
    return {"data": {"ndarray": label if type(label) is list else [label]}}


def _parse(name: str, raw: bytes) -> Any:
    try:
        return loads(raw)
    except RefusedError as refused:
        detail = f"{shown(name.encode(errors='replace'))}: {refused.detail}"
        raise RefusedError(Reason.BAD_JSON, detail) from None


def _dump(content: Any) -> bytes:
    try:
        text = orjson.dumps(content)
    except orjson.JSONEncodeError:  # nested too deep for it
        return dumps(content)
    # It writes null for what is not finite: the join is to see what it was.
    return dumps(content) if b"null" in text else text
