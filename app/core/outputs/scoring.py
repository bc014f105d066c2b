"""Scoring: what joined records bring for monitors to score, and the events that their results are.

An answer is scored with the request that it answers. Both mostly stand in one joined record; where they were joined in
two epochs, the first waits for the other. What waits too long for its request is not scored, and says so: its rows
have failed. A request alone is no answer.

What has been scored stays known for a while: where the answer or the request is replaced, it is scored again with what
stands beside it, and where a request comes too late, too. A joined record says whether the other of the two was there
before it; so after a restart it is known when to look for it in the log, before the place where reading goes on.
"""

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from app.core.dialects.plain import Event
from app.core.events import TYPE_OF, Identity, Kind, Leg, Reason, RefusedError
from app.core.join.monitored import in_short
from app.core.monitors import Columns, MonitorSpec
from app.core.outputs.documents.contents import parsed
from app.core.outputs.documents.records import Answer, Part, read
from app.core.payloads.forms import table_of
from app.core.payloads.table import Table
from app.core.rules import Column, Rulebook

#: How long an answer waits for its request, in seconds of the log's own time.
WAIT_SECONDS: Final = 60
#: Of so many failed rows of an answer the result says why: where very many fail, all do for one reason.
_MOST_REASONS: Final = 100
_NO_REQUEST: Final = f"its request has not come within {WAIT_SECONDS} s"
_LOST_REQUEST: Final = "its request is not in the log of joined records, or too far before it"
#: So many puids of a partition stay known after they were scored, each by one model: of answers of 1 kB, some 20 MB.
_MOST_SETTLED: Final = 10_000
_REQUEST: Final = Kind.REQUEST.value
_RESPONSE: Final = Kind.RESPONSE.value

_Key = tuple[str, Leg]


class Answered(NamedTuple):
    """An answer to be scored: whose it is, when it came and when its request came (as they were written), and the
    request beside it.

    `trouble` says why it cannot be scored; then it has no columns.
    """

    puid: str
    identity: Identity
    engine: str
    time: str
    size: int  # in rows
    asked: str = ""  # empty where it has no request
    inputs: Columns | None = None
    outputs: Columns | None = None
    trouble: str = ""


@dataclass(slots=True)
class _Pair:
    """What is known of a puid's leg. `offset` and `stamp` (in ms) are of the record that brought its last part."""

    offset: int
    stamp: int
    request: Part | None = None
    response: Part | None = None
    answer: Answer | None = None  # what that record said of the leg
    earlier: bool = False  # whether it said that the other of the two had come before


class Pairs:
    """Pairs answers with their requests, of one partition of the log, for the models that have monitors.

    `take` records, let it `remember` what was before them where it `lacks_past`, and ask for the `answers`. `begins_at`
    is the offset of the first record that it takes.
    """

    def __init__(self, rulebook: Rulebook, begins_at: int = 0) -> None:
        self.begins_at = begins_at
        self._rulebook = rulebook
        self._waiting: dict[_Key, _Pair] = {}  # of which one part has not come yet
        self._settled: dict[_Key, _Pair] = {}  # of which nothing is awaited, the longest untouched first
        self._touched: dict[_Key, _Pair] = {}  # since answers were asked for
        self._knows_past = False

    def first_offset(self, next_offset: int) -> int:
        """Where reading must go on after a restart: at what waits, or behind all that has been taken."""
        return min((one.offset for one in self._waiting.values()), default=next_offset)

    def take(self, offset: int, stamp: int, record: bytes) -> None:
        """Take a joined record, written at a time in ms. Raises RefusedError where it is none."""
        self._put(self._touched, offset, stamp, record)

    def _put(self, pairs: dict[_Key, _Pair], offset: int, stamp: int, record: bytes) -> None:
        try:
            joined = read(record)
        except (msgspec.DecodeError, RecursionError) as error:
            raise RefusedError(Reason.DOCUMENT_REFUSED, f"the joined record cannot be read: {error}") from None
        for part in joined.parts:
            if part.kind not in (_REQUEST, _RESPONSE) or not self._rulebook.of(part.leg).monitors:
                continue
            key = joined.puid, part.leg
            pair = pairs.pop(key, None)
            if pair is None and pairs is self._touched:
                pair = self._waiting.pop(key, None) or self._settled.pop(key, None)
            pairs[key] = pair = pair or _Pair(offset, stamp)
            pair.offset, pair.stamp = offset, stamp
            answer = next((one for one in joined.legs if Leg(*one.leg[:4]) == part.leg), None)
            if part.kind == _REQUEST:
                pair.request, pair.earlier = part, answer is not None
            else:
                pair.response, pair.earlier = part, answer is not None and answer.request_time > 0
                pair.answer = answer or Answer(Identity(*part.leg, ""), 0, [])

    @property
    def lacks_past(self) -> bool:
        """Whether a part has come before the first record that was taken, and may be found there."""
        return not self._knows_past and any(one.earlier and not _is_whole(one) for one in self._touched.values())

    def remember(self, records: Iterable[bytes]) -> None:
        """Know what was before the first record that was taken. What is no joined record is left out."""
        past: dict[_Key, _Pair] = {}
        for record in records:
            with contextlib.suppress(RefusedError):
                self._put(past, 0, 0, record)
        for key, old in past.items():
            pair = self._touched.get(key) or self._settled.get(key)
            if pair is not None:
                pair.request = pair.request or old.request
                if pair.response is None:
                    pair.response, pair.answer = old.response, old.answer
        known = self._touched.keys() | self._waiting.keys() | self._settled.keys()
        self._settled = {key: old for key, old in past.items() if key not in known} | self._settled
        self._knows_past = True

    def answers(self) -> list[Answered]:
        """The answers that have come with their requests, or with other ones than before, since this was asked last."""
        found = []
        for key, pair in self._touched.items():
            if not _is_whole(pair) and not pair.earlier:
                self._waiting[key] = pair
                continue
            self._settled[key] = pair
            if pair.response is not None:
                found.append(self._answered(key[0], pair, _LOST_REQUEST))
        self._touched.clear()
        for key in [*islice(self._settled, max(0, len(self._settled) - _MOST_SETTLED))]:
            del self._settled[key]
        return found

    def expire(self, stamp: int) -> list[Answered]:
        """The answers that have waited too long at a time in ms: they have failed. Requests go without a word."""
        gone = [key for key, one in self._waiting.items() if one.stamp <= stamp - WAIT_SECONDS * 1000]
        found = []
        for key in gone:
            pair = self._settled[key] = self._waiting.pop(key)
            if pair.response is not None:
                found.append(self._answered(key[0], pair, _NO_REQUEST))
        return found

    def _answered(self, puid: str, pair: _Pair, alone: str) -> Answered:
        """The answer, with its request; `alone` says why it fails where it has none."""
        part, answer, request = pair.response, pair.answer, pair.request
        assert part is not None
        assert answer is not None
        rules = self._rulebook.of(part.leg)
        schema = rules.prediction_schema
        blank = Answered(puid, answer.leg, part.engine, part.time, max(1, len(answer.rows)))
        if request is None:
            return blank._replace(trouble=alone)
        blank = blank._replace(asked=request.time)
        try:
            outputs = _columns(table_of(parsed(part.payload), _RESPONSE), schema.responses, "output")
            inputs = _columns(table_of(parsed(request.payload), _REQUEST), schema.requests, "x")
        except RefusedError as refused:
            return blank._replace(trouble=refused.detail)
        if len(inputs.rows) != len(outputs.rows):
            there, here = len(inputs.rows), len(outputs.rows)
            return blank._replace(trouble=f"the request has {there} rows, and the answer {here}")
        return blank._replace(size=len(outputs.rows), inputs=inputs, outputs=outputs)


def _is_whole(pair: _Pair) -> bool:
    return pair.request is not None and pair.response is not None


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
    body: dict[str, Any] = {"monitor": spec.name, "version": spec.version, "values": shown, "outcomes": outcomes}
    if answered.asked:
        body["request_time"] = answered.asked
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


def too_large(event: Event, why: str) -> Event:
    """What is sent for a result that is too large: its rows have failed."""
    return event._replace(value=in_short(orjson.loads(event.value), why))
