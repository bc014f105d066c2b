"""Scoring: what joined records bring for monitors to score, and the events that their results are.

An answer is scored with the request that it answers. Both mostly stand in one joined record; where they were joined in
two epochs, the first waits for the other. What waits too long for its request is not scored, and says so: its rows
have failed. A request alone is no answer, and is forgotten.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from app.core.dialects.plain import Event
from app.core.events import TYPE_OF, Identity, Kind, Leg, Reason, RefusedError
from app.core.monitors import MonitorSpec
from app.core.outputs.documents.contents import parsed
from app.core.outputs.documents.records import Answer, JoinedRecord, Part, read
from app.core.payloads.forms import table_of
from app.core.payloads.table import Table
from app.core.rules import Column, Rulebook

#: How long an answer waits for its request, in seconds of the log's own time.
WAIT_SECONDS: Final = 60
#: Of so many failed rows of an answer the result says why: where very many fail, all do for one reason.
_MOST_REASONS: Final = 100
_NO_REQUEST: Final = f"its request has not come within {WAIT_SECONDS} s"


class Columns(NamedTuple):
    """A table by columns: the names of these, and the rows, each a list of values."""

    names: tuple[str, ...]
    rows: list[list[Any]]


class Answered(NamedTuple):
    """An answer to be scored: whose it is, when it came (as it was written), and its request beside it.

    `trouble` says why it cannot be scored; then it has no columns.
    """

    puid: str
    identity: Identity
    engine: str
    time: str
    size: int  # in rows
    inputs: Columns | None = None
    outputs: Columns | None = None
    trouble: str = ""


class _Waiting(NamedTuple):
    offset: int
    stamp: int  # of its record, in ms
    part: Part
    answer: Answer | None = None  # None for a request


class Pairs:
    """Pairs answers with their requests, of one partition of the log, for the models that have monitors."""

    def __init__(self, rulebook: Rulebook) -> None:
        self._rulebook = rulebook
        self._waiting: dict[tuple[str, Leg, str], _Waiting] = {}

    def first_offset(self, next_offset: int) -> int:
        """Where reading must go on after a restart: at what waits, or behind all that has been taken."""
        return min((one.offset for one in self._waiting.values()), default=next_offset)

    def take(self, offset: int, stamp: int, record: bytes) -> list[Answered]:
        """The answers that a joined record completes, at a time in ms. Raises RefusedError where it is none."""
        try:
            joined = read(record)
        except (msgspec.DecodeError, RecursionError) as error:
            raise RefusedError(Reason.DOCUMENT_REFUSED, f"the joined record cannot be read: {error}") from None
        parts = [
            part
            for part in joined.parts
            if part.kind in (Kind.REQUEST.value, Kind.RESPONSE.value) and self._rulebook.of(part.leg).monitors
        ]
        for part in parts:
            answer = None if part.kind == Kind.REQUEST.value else _answer_of(joined, part)
            self._waiting[joined.puid, part.leg, part.kind] = _Waiting(offset, stamp, part, answer)
        return [
            found
            for leg in dict.fromkeys(part.leg for part in parts)
            if (found := self._pair(joined.puid, leg)) is not None
        ]

    def _pair(self, puid: str, leg: Leg) -> Answered | None:
        request, response = (self._waiting.get((puid, leg, kind.value)) for kind in (Kind.REQUEST, Kind.RESPONSE))
        if request is None or response is None:
            return None
        del self._waiting[puid, leg, Kind.REQUEST.value], self._waiting[puid, leg, Kind.RESPONSE.value]
        return self._answered(puid, response, request.part)

    def expire(self, stamp: int) -> list[Answered]:
        """The answers that have waited too long at a time in ms: they have failed. Requests go without a word."""
        gone = [key for key, one in self._waiting.items() if one.stamp <= stamp - WAIT_SECONDS * 1000]
        found = []
        for key in gone:
            one = self._waiting.pop(key)
            if one.answer is not None:
                found.append(self._answered(key[0], one, None))
        return found

    def _answered(self, puid: str, response: _Waiting, request: Part | None) -> Answered:
        part, answer = response.part, response.answer
        assert answer is not None
        rules = self._rulebook.of(part.leg)
        schema = rules.prediction_schema
        blank = Answered(puid, answer.leg, part.engine, part.time, max(1, len(answer.rows)))
        if request is None:
            return blank._replace(trouble=_NO_REQUEST)
        try:
            outputs = _columns(table_of(parsed(part.payload), Kind.RESPONSE.value), schema.responses, "output")
            inputs = _columns(table_of(parsed(request.payload), Kind.REQUEST.value), schema.requests, "x")
        except RefusedError as refused:
            return blank._replace(trouble=refused.detail)
        if len(inputs.rows) != len(outputs.rows):
            there, here = len(inputs.rows), len(outputs.rows)
            return blank._replace(trouble=f"the request has {there} rows, and the answer {here}")
        return blank._replace(size=len(outputs.rows), inputs=inputs, outputs=outputs)


def _answer_of(joined: JoinedRecord, part: Part) -> Answer:
    """What the record says of the leg of a response."""
    found = next((answer for answer in joined.legs if Leg(*answer.leg[:4]) == part.leg), None)
    return found or Answer(Identity(*part.leg, ""), 0, [])


def _columns(table: Table, schema: Sequence[Column], beginning: str) -> Columns:
    """The columns of a table, named by the schema, else by the payload, else by their places."""
    rows = [row if type(row) is list else [row] for row in table.rows]
    width = len(rows[0])
    declared = tuple(name for column in schema for name in column.names)
    names = declared if len(declared) == width else table.names
    if names is None or len(names) != width or any(name.startswith("t:") for name in names):
        names = (beginning,) if width == 1 and beginning != "x" else tuple(f"{beginning}{n}" for n in range(width))
    return Columns(names, rows)


def result_event(answered: Answered, spec: MonitorSpec, values: Iterable[float | str]) -> Event:
    """The event that the result of a monitor is. In the place of a value there may be a sentence: why it has failed.

    It is the same event whenever the same rows are scored again.
    """
    shown: list[float | None] = []
    outcomes: list[str] = []
    why: dict[str, str] = {}
    for row, value in enumerate(values):
        if isinstance(value, str):
            if len(why) < _MOST_REASONS:
                why[str(row)] = value
            shown.append(None)
            outcomes.append("failed")
        else:
            shown.append(value if abs(value) < float("inf") else None)
            outcomes.append("alert" if spec.when(value) else "ok")
    body = {"monitor": spec.name, "version": spec.version, "values": shown, "outcomes": outcomes}
    identity = answered.identity
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", f"{answered.puid}-{spec.key}".encode()),
        ("ce_type", TYPE_OF[Kind.MONITOR].encode()),
        ("ce_source", b"tally.monitors"),
        ("ce_time", answered.time.encode()),
        ("ce_requestid", answered.puid.encode()),
        ("ce_namespace", identity.namespace.encode()),
        ("ce_inferenceservicename", identity.service.encode()),
        ("ce_endpoint", identity.predictor.encode()),
        ("ce_modelid", identity.model.encode()),
    ]
    if answered.engine:
        headers.append(("ce_servingengine", answered.engine.encode()))
    return Event(
        answered.puid.encode(),
        orjson.dumps(body | ({"why": why} if why else {})),
        tuple(headers),
    )
