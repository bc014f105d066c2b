"""What the documents of a request logger say, as canonical events: a history in Elasticsearch that is counted again.

Documents are those of Seldon's request logger, whatever its version, and Tally's own (`app.core.outputs.documents`):
one a row, `puid` where the request has one row, `puid-item-N` where it has more.

    {"RequestId": "<puid>", "@timestamp", "ServingEngine", "Ce-Namespace", "Ce-Inferenceservicename", "Ce-Endpoint",
     "Ce-Modelid", "Ce-Modelversion",
     "request" and "response": {"payload", "instance", "elements", "names", "dataType", "ce-time", "ce-source", …},
     "feedback": {"reward", "truth", …, "ce-time", "ce-source"}, "verdict"}

- `payload` is the whole body as it was sent, the same in all rows; where there is none, the body is put together from
  the rows. Loggers up to 1.5.1 wrote the values of `elements` as lists of one.
- Seldon's logger has the feedback for all rows in a document of its own, under `puid`; Tally has it in each row's, the
  reward in the first alone; fields of other times than the newest have theirs in `ce-times`, and in `ce-others` what
  came with them.

An event depends on nothing but its documents, its time included, so that the join drops what is imported twice.

Sources: SeldonIO/seldon-core 9e8d5e8f, `components/seldon-request-logger/app/default_logger.py`; the notebooks of
`examples/feedback` print documents of 1.2.2 and 1.5.1.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple

import orjson

from app.core.clock import format_time, parse_time
from app.core.dialects.plain import Event, base_puid, is_puid
from app.core.events import TYPE_OF, Kind, RefusedError
from app.core.payloads.forms import table_of

#: What `events_of` reads of a document.
FIELDS: Final = (
    "RequestId", "@timestamp", "ServingEngine", "Ce-Namespace", "Ce-Inferenceservicename", "Ce-Endpoint", "Ce-Modelid",
    "Ce-Modelversion", "request", "response", "feedback", "verdict",
)  # fmt: skip
#: The parts of a document that become events.
KINDS: Final = (Kind.REQUEST, Kind.RESPONSE, Kind.FEEDBACK)
_LEG: Final = {
    "ce_inferenceservicename": "Ce-Inferenceservicename",
    "ce_namespace": "Ce-Namespace",
    "ce_endpoint": "Ce-Endpoint",
    "ce_modelid": "Ce-Modelid",
}
_STAMPS: Final = frozenset({"ce-time", "ce-source"})
#: What a logger adds to a feedback. (Tally's has the whole body as `payload` where it says more than Tally reads.)
_ADDED: Final = frozenset({"ce-time", "ce-times", "ce-others", "ce-source", "payload"})
_SELDON: Final = "seldon"

Headers = tuple[tuple[str, bytes], ...]


class StoredDocument(NamedTuple):
    """One document: its id and its `_source`."""

    id: str
    source: Mapping[str, Any]


class LeftOut(StrEnum):
    """Why a document, or a part of one, cannot be an event."""

    NO_PUID = "without a request id"
    NO_TIME = "without a time"
    NO_PAYLOAD = "without a payload that could be put together"
    TOO_LARGE = "larger than TALLY_MAX_BODY"


class Imported(NamedTuple):
    """The events of some documents, and what was left out."""

    events: list[tuple[Kind, Event]]
    left_out: Counter[LeftOut]


class _Place(NamedTuple):
    """Whose words a part of a document is."""

    kind: Kind
    puid: str
    leg: Headers


class _Part(NamedTuple):
    """What one document has of a request, a response or a feedback."""

    row: int | None  # None: the document is of no row
    content: Mapping[str, Any]
    time: bytes
    source: bytes
    is_labelled: bool  # the document says which label its row has


def puid_of(document: StoredDocument) -> str:
    """The puid that a document belongs to, empty where it names none."""
    named = document.source.get("RequestId")
    return named if type(named) is str and named else base_puid(document.id)


def events_of(documents: Iterable[StoredDocument], largest: int) -> Imported:
    """The events of all documents of one puid: a request and a response for each leg, and each feedback.

    `largest` is how many bytes an event may have. The order of the documents does not matter.
    """
    left_out: Counter[LeftOut] = Counter()
    parts: dict[_Place, list[_Part]] = {}
    for document in sorted(documents, key=lambda document: document.id):
        puid = puid_of(document)
        if not is_puid(puid) or not _is_text(puid):
            left_out[LeftOut.NO_PUID] += 1
            continue
        row = _row(document.id, puid)
        verdict = document.source.get("verdict")
        is_labelled = type(verdict) is dict and "label" in verdict
        for kind in KINDS:
            content = document.source.get(kind.value)
            if type(content) is not dict or content.keys() <= (_ADDED if kind is Kind.FEEDBACK else _STAMPS):
                continue
            time = _time(content.get("ce-time")) or _time(document.source.get("@timestamp"))
            if not time:
                left_out[LeftOut.NO_TIME] += 1
                continue
            place = _Place(kind, puid, _leg(kind, document.source, content))
            part = _Part(row, content, time, _word(content.get("ce-source")), is_labelled)
            parts.setdefault(place, []).extend(_statements(part) if kind is Kind.FEEDBACK else [part])
    # Of several rows all have the same; several answers of one model are for the join to choose from.
    events: dict[tuple[Kind, Event], None] = {}
    for place, found in sorted(parts.items(), key=lambda one: KINDS.index(one[0].kind)):
        whole = _feedbacks(found) if place.kind is Kind.FEEDBACK else _bodies(found)
        for part, body in whole:
            events[place.kind, _event(place, part, orjson.dumps(body))] = None
        if not whole:
            left_out[LeftOut.NO_PAYLOAD] += 1
    fitting = [(kind, event) for kind, event in events if len(event.value) <= largest]
    left_out[LeftOut.TOO_LARGE] += len(events) - len(fitting)
    return Imported(fitting, +left_out)


def _bodies(parts: list[_Part]) -> list[tuple[_Part, Any]]:
    """The bodies that the rows of a request or a response have, or the one that they are together."""
    whole = [(part._replace(row=None), part.content.get("payload")) for part in parts]
    whole = [(part, payload) for part, payload in whole if type(payload) in (dict, list)]
    if not whole:
        body = _rebuilt(parts)
        if body is not None:
            newest = max(parts, key=lambda part: (parse_time(part.time) or 0, part.time))
            whole = [(newest._replace(row=None), body)]
    return whole


# -- feedback ---------------------------------------------------------------------------------------------------------


def _statements(part: _Part) -> list[_Part]:
    """What a document's feedback states, by its time."""
    times, others = part.content.get("ce-times"), part.content.get("ce-others")
    fields: dict[bytes, dict[str, Any]] = {}
    for name, value in part.content.items():
        if name not in _ADDED:
            own = _time(times.get(name)) if type(times) is dict else b""
            beside = others.get(name) if type(others) is dict else None
            its = fields.setdefault(own or part.time, {})
            its[name] = value
            if type(beside) is dict:
                its.update((field, came) for field, came in beside.items() if field not in _STAMPS)
    return [part._replace(content=content, time=time) for time, content in fields.items()]


def _feedbacks(parts: list[_Part]) -> list[tuple[_Part, Mapping[str, Any]]]:
    """The feedbacks of all rows. One for the batch is found in several of them, or has the labels of several."""
    whole: dict[tuple[bytes, bytes], _Part] = {}
    single = []
    copies = Counter(_truth_key(part) for part in parts)
    for part in parts:
        key = _truth_key(part)
        # Several rows may have the same label at the same time: then it has labelled them, which one for all would not.
        of_all = "truth" in part.content and (
            _is_batch(part.content["truth"]) or (copies[key] > 1 and not part.is_labelled)
        )
        if part.row is None or not of_all:
            single.append(part)
        elif key in whole:
            whole[key] = whole[key]._replace(content={**part.content, **whole[key].content})
        else:
            whole[key] = part._replace(row=None)
    return [(part, part.content) for part in (*single, *whole.values())]


def _truth_key(part: _Part) -> tuple[bytes, bytes]:
    return part.time, orjson.dumps(part.content.get("truth"), option=orjson.OPT_SORT_KEYS)


def _is_batch(truth: Any) -> bool:
    try:
        return len(table_of(truth, "truth").rows) > 1
    except RefusedError:  # what it says is for the join to judge
        return False


# -- without a payload ------------------------------------------------------------------------------------------------


def _rebuilt(parts: list[_Part]) -> dict[str, Any] | None:
    """The body of which parts hold the rows, None where rows are missing."""
    by_row = {part.row: part.content for part in parts}
    if None in by_row:
        contents = [by_row[None]]
    else:
        # A batch has at least two rows: one that says it is the first is not alone.
        if len(by_row) < 2 or by_row.keys() != set(range(len(by_row))):
            return None
        contents = [by_row[row] for row in range(len(by_row))]
    first = contents[0]
    meta = {"meta": first["meta"]} if type(first.get("meta")) is dict else {}
    if first.get("dataType") == "json" and first.get("instance") is not None:
        return {"jsonData": first["instance"], **meta}
    rows = [_cells(content) for content in contents]
    if any(row is None for row in rows):
        return None
    names = _names(first)
    return {"data": {"names": names, "ndarray": rows} if names else {"ndarray": rows}, **meta}


def _cells(content: Mapping[str, Any]) -> Any:
    """A row as it was in the body: the instance, else its elements in the order of their names; None without either."""
    instance, elements = content.get("instance"), content.get("elements")
    if instance is None and type(elements) is dict and elements:
        return [_single(elements[name]) for name in _names(content)]
    return instance


def _names(content: Mapping[str, Any]) -> list[str]:
    """The names of a row's columns, as they are given; where the row is its elements, those of the elements."""
    given, elements = content.get("names"), content.get("elements")
    names = given if type(given) is list and all(type(name) is str for name in given) else []
    if content.get("instance") is not None or type(elements) is not dict or set(names) == elements.keys():
        return names
    # A logger kept them in the order of a hash: `t:0`, `t:1` … are positions.
    if elements.keys() == {f"t:{index}" for index in range(len(elements))}:
        return sorted(elements, key=lambda name: int(name[2:]))
    return list(elements)


def _single(value: Any) -> Any:
    return value[0] if type(value) is list and len(value) == 1 else value


# -- words ------------------------------------------------------------------------------------------------------------


def _row(document_id: str, puid: str) -> int | None:
    """The row that a document is of, None for one that is of all. (The id of a long puid is not the puid itself.)"""
    base = base_puid(document_id)
    return None if document_id in (puid, base) else int(document_id[len(base) + len("-item-") :])


def _leg(kind: Kind, source: Mapping[str, Any], content: Mapping[str, Any]) -> Headers:
    """The headers that say who answered, and by which engine where that is not Seldon's.

    In the document of a graph a part may be of another model than the document (`ce-modelid`).
    """
    words = [(header, _word(source.get(field))) for header, field in _LEG.items()]
    model = _word(content.get("ce-modelid"))
    words[-1] = (words[-1][0], model or words[-1][1])
    # The version is that of the answer of the model that the document names.
    if not model and (kind is Kind.RESPONSE or (kind is Kind.FEEDBACK and "response" in content)):
        words.append(("ce_modelversion", _word(source.get("Ce-Modelversion"))))
    engine = source.get("ServingEngine")
    if engine != _SELDON:
        words.append(("ce_servingengine", _word(engine)))
    return tuple(word for word in words if word[1])


def _event(place: _Place, part: _Part, value: bytes) -> Event:
    kind, puid, leg = place
    of_row = puid if part.row is None else f"{puid}-item-{part.row}"
    headers: tuple[tuple[str, bytes], ...] = (
        ("ce_specversion", b"1.0"),
        ("ce_source", part.source or b"tally"),
        ("ce_type", TYPE_OF[kind].encode()),
        *leg,
        ("content-type", b"application/json"),
        ("ce_id", f"{of_row}/{kind.value}".encode()),
        ("ce_time", part.time),
        ("ce_requestid", of_row.encode()),
    )
    return Event(puid.encode(), value, headers)


def _time(value: Any) -> bytes:
    """A time as an event has it, empty where it is none: a text, or milliseconds, which Elasticsearch takes too."""
    if type(value) is int and 1000 <= value < 253_370_764_800_000:
        return format_time(value * 1000).encode()
    if type(value) is not str or not value.isascii():
        return b""
    return value.encode() if parse_time(value.encode()) is not None else b""


def _word(value: Any) -> bytes:
    return value.encode() if type(value) is str and _is_text(value) else b""


def _is_text(value: str) -> bool:
    """Whether a text has bytes: JSON can write half of a surrogate pair, UTF-8 cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
