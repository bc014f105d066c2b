"""Records as the rules speak of them."""

from datetime import datetime
from typing import Any, NamedTuple

import orjson
from xxhash import xxh3_64_intdigest

from tests.builders import Record
from tests.oracle.classes import Position, Value, names_of, value_of
from tests.oracle.rules import Leg

AHEAD = 300_000_000  # µs


class Event(NamedTuple):
    """One event. Times in µs; `pane_time` is the record's where the event's is too far ahead."""

    kind: str
    puid: str
    row: int | None
    leg: Leg
    time: int
    digest: int
    pane_time: int
    stamp: int
    version: str
    headers: dict[str, str]
    value: bytes
    body: dict[str, Any]

    @property
    def rank(self) -> tuple[int, int, Leg]:
        return self.time, self.digest, self.leg

    @property
    def statement(self) -> Any:
        """What is the same in all copies of one event."""
        return self.kind, self.puid, self.row, self.leg, self.time, self.digest


def event_of(record: Record) -> Event:
    """What a record says. Its topic's kind is the end of its type."""
    headers = {name: (value or b"").decode() for name, value in record.headers}
    stamp = record.timestamp * 1000
    time = stamp
    if "ce_time" in headers:
        seconds, micros = datetime.fromisoformat(headers["ce_time"]), 0
        micros = seconds.microsecond
        time = int(seconds.replace(microsecond=0).timestamp()) * 1_000_000 + micros
    puid = (record.key or b"").decode()
    whole = headers["ce_requestid"]
    value = record.value or b""
    return Event(
        headers["ce_type"].rpartition(".")[2],
        puid,
        None if whole == puid else int(whole.removeprefix(f"{puid}-item-")),
        Leg(*(headers.get(f"ce_{word}", "") for word in ("namespace", "inferenceservicename", "endpoint", "modelid"))),
        time,
        xxh3_64_intdigest(value),
        time if time <= stamp + AHEAD else stamp,
        stamp,
        headers.get("ce_modelversion", ""),
        headers,
        value,
        orjson.loads(value),
    )


def is_label(event: Event) -> bool:
    """Whether it states a label: `{}`, only `meta`, and nulls alone do not; null itself takes one back."""
    if event.kind != "feedback" or "truth" not in event.body:
        return False
    truth = event.body["truth"]
    return truth is None or ("data" in truth and any(label is not None for label in labels_of(event) or ()))


def labels_of(event: Event) -> list[Value] | None:
    """The labels of a feedback by row, None for a row that it leaves alone; None where it takes all back."""
    truth = event.body["truth"]
    if truth is None:
        return None
    data = truth["data"]
    names = data.get("names")
    found: list[Value] = []
    for row in data["ndarray"]:
        if row is None or row == [None]:
            found.append(None)
        elif isinstance(row, list) and len(row) > 1:
            index = row.index(max(row))
            own = names_of(names, len(row))
            found.append(value_of(own[index]) if own else Position(index))
        else:
            found.append(value_of(row))
    return found


class Answer(NamedTuple):
    """What a response says: the version, of each row the prediction (None: failed), and the classes that it fixes."""

    version: str
    rows: list[Value]
    classes: tuple[str, ...]
    vectors: list[list[float]] | None = None  # by row, where rows are vectors


def answer_of(event: Event, body: dict[str, Any], declared: tuple[str, ...]) -> Answer:
    """The answer in a response, or in a feedback that carries one."""
    image = body.get("meta", {}).get("requestPath", {}).get(event.leg.model, "")
    version = str(body.get("model_version", "")) or event.version or image.rpartition(":")[2]
    if "data" not in body:
        return Answer(version, [None], ())
    raw, given = body["data"]["ndarray"], body["data"].get("names")
    if isinstance(raw[0], list) and len(raw[0]) > 1:
        width = len(raw[0])
        classes = names_of(given, width) or (declared if len(declared) == width else ())
        classes = classes or tuple(str(index) for index in range(width))
        return Answer(version, [Position(row.index(max(row))) for row in raw], classes, raw)
    classes = names_of(given, len(given)) if given and len(given) > 1 else ()
    return Answer(version, [value_of(row) for row in raw], classes)
