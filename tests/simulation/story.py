"""Stories by seed: what is written to the canonical topics, and what must come of it.

The events are those of the laws (tests/core/test_laws.py): corrections, answers that change, labels that come late, or
first, or row by row, clocks that are ahead. Stories of documents are those of which the documents, too, are the same in
any order (tests/core/outputs/test_documents.py); some of them are scored by a monitor beside each worker. Beside them:
events that come again, events under a wrong key, and what nobody can read.
"""

import random
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import orjson

from app.core.drift.declared import Declared
from app.core.drift.distribution import Distribution
from app.core.drift.live import Live, Watched
from app.core.drift.reference import LABEL, PREDICTION, Reference
from app.core.letters import REKEYED
from app.core.monitors import AlertWhen, Code, Monitor, MonitorSpec
from app.core.rules import Rules
from app.core.segments import FEATURES, HEADERS, Segment
from app.core.wire.partitioning import partition_of
from tests.builders import Fields, Record, a_feedback, a_request, a_response, a_result, kind_of, time_text
from tests.core.test_laws import BODIES, LABELS, LEGS, NAMED, REWARDS, TIMES, later, of_one_mind

_KINDS: Final = ("request", "response", "response", "label", "row", "reward", "both", "carried", "result")
#: All models have a reference, some of what their versions were asked first, and a declared feature.
_REFERENCE: Final = Reference(
    (Distribution("age", "continuous", (18.0, 30.0, 65.0), (), (1, 60, 39)),),
    Distribution(PREDICTION, "categorical", (), ("0", "1"), (80, 20)),
    None,
    Distribution(LABEL, "categorical", (), ("0", "1"), (90, 10)),
)
_DECLARED: Final = (Declared("age", 0.0, 45.0),)
_FIRST: Final = {"ns/other/*": 2, "ns/svc/canary/*": 1}  # rows
#: All have estimates, and segments: of a header, and of a feature that single rows may have values of their own of.
_SEGMENTS: Final = (Segment("tier", HEADERS, "x-tier"), Segment("age", FEATURES, "age", (30.0,)))
#: And all are scored by this monitor, where one runs.
MONITOR: Final = "odd"
_MONITORS: Final = (Monitor(MonitorSpec(MONITOR, "v1", AlertWhen(">", 0.5)), Code("function", "m:f")),)
_RESULTS: Final = ((0.25,), (0.75,), (None,), (0.25, 0.75, None))


def rules() -> tuple[Rules, ...]:
    """The rules of a worker: each finds out for itself which references its versions have."""
    references = [Watched("", Live(Reference(()), 1, _DECLARED), first) for first in _FIRST.values()]
    references.append(Watched("", Live(_REFERENCE, 1, _DECLARED)))
    return tuple(
        Rules(match, segments=_SEGMENTS, reference=reference, estimate=True, monitors=_MONITORS)
        for match, reference in zip((*_FIRST, "*"), references, strict=True)
    )


RULES: Final = rules()
_TIERS: Final = (b"gold", b"free", b"")
_REQUESTS: Final = ([[20]], [[40]], [[20], [40]], [[20], [20], [50]])
_AHEAD: Final = 300.75  # seconds by which an event's clock is ahead of Kafka's


class Told(NamedTuple):
    """A record, and where it is written. A plain one is neither astray nor bad."""

    topic: str
    partition: int
    record: Record
    plain: bool = True


class Story(NamedTuple):
    """What is written, in this order, and what must come of it: what is folded, how often is refused and rekeyed.

    `documents`: the documents, too, must be those of a straight pass. `misplaced`: events stand in wrong partitions.
    `results`: what a monitor must have said in the end; None where none runs.
    """

    told: list[Told]
    folded: list[Record]
    bad: int
    astray: int
    documents: bool
    misplaced: bool
    results: list[Record] | None


def a_story(rng: random.Random, partitions: int) -> Story:
    """Some events of some puids, in any order, over all partitions."""
    documents = rng.random() < 0.4
    scored = documents and rng.random() < 0.5
    good: list[Record] = []
    results: list[Record] = []
    for puid in [f"{rng.getrandbits(24):06x}" for _ in range(rng.randint(2, 8))]:
        if scored:
            good += _scored(rng, puid, results)
        elif documents:
            good += _of_documents(rng, puid)
        else:
            good += of_one_mind(_of_laws(rng, puid) for _ in range(rng.randint(1, 5)))
    if not documents and rng.random() < 0.5:
        good += [record for _ in range(rng.randint(2, 6)) for record in _of_first_rows(rng)]
    good += [later(record) for record in rng.sample(good, min(len(good), rng.choice((0, 0, 1, 3))))]
    astray = set(rng.sample(range(len(good)), min(len(good), rng.choice((0, 0, 1, 2)))))
    misplaced = partitions > 1 and rng.random() < 0.2
    told: list[Told] = []
    folded: list[Record] = []
    for number, record in enumerate(good):
        if number in astray:
            folded.append(record._replace(headers=[*record.headers, (REKEYED, b"1")]))
            told.append(_astray(rng, record, partitions, misplaced=misplaced))
        else:
            folded.append(record)
            told.append(Told(kind_of(record), _home(record, partitions), record))
    bad = [_broken(rng, rng.choice(good)) for _ in range(rng.choice((0, 0, 1, 2)))]
    for record in bad:
        folded.append(record)
        place = _home(record, partitions) if record.key else rng.randrange(partitions)
        told.append(Told(kind_of(record), place, record, plain=False))
    rng.shuffle(told)
    return Story(told, folded, len(bad), len(astray), documents, misplaced, results if scored else None)


def _home(record: Record, partitions: int) -> int:
    return partition_of(record.key or b"", partitions)


def _astray(rng: random.Random, record: Record, partitions: int, *, misplaced: bool) -> Told:
    """The record under the key of another puid, or in a partition that is not that of its key."""
    if misplaced and rng.random() < 0.7:
        wrong = (_home(record, partitions) + rng.randrange(1, partitions)) % partitions
        return Told(kind_of(record), wrong, record, plain=False)
    record = record._replace(key=b"other-%d" % rng.randrange(9))
    return Told(kind_of(record), _home(record, partitions), record, plain=False)


def _of_laws(rng: random.Random, puid: str) -> Record:
    time = rng.choice(TIMES)
    fields: Fields = {"puid": puid, "at": time, "stamp": time - rng.choice((0, 0, 0, _AHEAD))}
    kind = rng.choice(_KINDS)
    fields |= rng.choice(LEGS if kind in ("request", "response") else NAMED)
    if kind in ("request", "response"):
        fields["headers"] = {"x-tier": rng.choice(_TIERS)}
    if kind == "request":
        return a_request({"data": {"names": ["age"], "ndarray": rng.choice(_REQUESTS)}}, **fields)
    if kind == "result":
        return a_result(*rng.choice(_RESULTS), version=rng.choice(("v1", "v2")), **fields)
    body = rng.choice(BODIES)
    if kind in ("response", "carried"):
        body = body | {"meta": {"metrics": _metrics(TIMES.index(time))}}
    if kind == "response":
        return a_response(body=body, **fields)
    label, reward = rng.choice(LABELS), rng.choice(REWARDS)
    if kind == "row":
        fields["row"] = rng.randrange(3)
        return a_feedback(label if not isinstance(label, list) else 1, **fields)
    if kind == "reward":
        return a_feedback(reward=reward, **fields)
    if kind == "both":
        return a_feedback(label, reward=reward, **fields)
    if kind == "carried":
        return a_feedback(label, response=body, request={"data": {"ndarray": [1]}}, **fields)
    return a_feedback(label, **fields)


def _of_first_rows(rng: random.Random) -> list[Record]:
    """A question and its answer, of a leg whose versions have references of their own, and sometimes another answer."""
    puid, service = f"{rng.getrandbits(24):06x}", "other"
    times = [rng.choice(TIMES) for _ in range(rng.choice((1, 1, 2)))]
    body = {"data": {"names": ["age"], "ndarray": rng.choice(_REQUESTS)}}
    answers = [a_response(body=rng.choice(BODIES), at=time, puid=puid, service=service) for time in times]
    return [a_request(body, at=rng.choice(TIMES), puid=puid, service=service), *answers]


def _metrics(number: int) -> list[dict[str, Any]]:
    """The custom metrics of an answer of which nothing else is drawn."""
    metrics = [
        {"type": "COUNTER", "key": "a", "value": 1 + number % 3},
        {"type": "GAUGE", "key": "g", "value": number},
        {"type": "TIMER", "key": "t", "value": number % 5, "tags": {"k": str(number % 2)}},
    ]
    return metrics[: number % 4]


def _of_documents(rng: random.Random, puid: str) -> list[Record]:
    """Events at times of their own, of several predictors where each has one row, else of one."""
    count, legs = _legs(rng)
    kinds = [rng.choice(("request", "response", "feedback", "row")) for _ in range(rng.randrange(4))]
    events = [("response", leg) for leg in legs] + [(kind, rng.choice(legs)) for kind in kinds]
    rng.shuffle(events)
    records = []
    for number, (kind, leg) in enumerate(events):
        rows = [rng.choice((0, 1)) for _ in range(count)]
        fields: Fields = {**leg, "at": float(number), "puid": puid}
        if kind == "request":
            records.append(a_request({"data": {"ndarray": [[number, row] for row in rows]}}, **fields))
        elif kind == "response":
            records.append(a_response(*rows, **fields))
        else:
            records.append(_feedback(rng, kind, legs, rows, fields))
    return records


def _legs(rng: random.Random) -> tuple[int, Sequence[Fields]]:
    """How many rows each answer of a puid has, and which predictors answer."""
    count = rng.choice((1, 1, 1, 3))
    legs: Sequence[Fields] = ({}, {"predictor": "shadow"}, {"service": "other"})
    return count, rng.sample(legs, rng.randint(1, 3)) if count == 1 else legs[:1]


def _feedback(rng: random.Random, kind: str, legs: Sequence[Fields], rows: list[int], fields: Fields) -> Record:
    """What a feedback says of the answers of a service."""
    body: dict[str, Any] = {}
    if rng.random() < 0.5:
        body["truth"] = {"data": {"ndarray": rows if kind == "feedback" else rows[:1]}}
    if rng.random() < 0.5 or "truth" not in body:
        body["reward"] = rng.choice((0, 1, -0.5, True))
    if kind == "row":
        fields["row"] = rng.randrange(len(rows))
    named = {leg.get("service"): leg for leg in legs}[fields.get("service")]
    fields.pop("predictor", None)
    fields.update(named)
    return a_feedback(body=body, **fields)


def _scored(rng: random.Random, puid: str, results: list[Record]) -> list[Record]:
    """Events as those of documents, but each predictor is asked and answers, once or again, and answers have custom
    metrics.

    `results` are given what is said of the last answer of each beside its last request.
    """
    count, legs = _legs(rng)
    events = [(kind, leg) for leg in legs for kind in ("request", "response") * rng.choice((1, 1, 2, 3))]
    for _ in range(rng.randrange(4)):
        events.insert(rng.randint(0, len(events)), (rng.choice(("feedback", "row")), rng.choice(legs)))
    records: list[Record] = []
    last: dict[tuple[str, int], tuple[float, list[Any]]] = {}
    for number, (kind, leg) in enumerate(events):
        fields: Fields = {**leg, "at": float(number), "puid": puid}
        answers = [rng.choice((0, 1)) for _ in range(count)]
        rows = [[number, answer] for answer in answers]
        if kind == "request":
            last[kind, legs.index(leg)] = number, rows
            records.append(a_request({"data": {"ndarray": rows}}, **fields))
        elif kind == "response":
            last[kind, legs.index(leg)] = number, answers
            body = {"data": {"ndarray": answers}, "meta": {"metrics": _metrics(number)}}
            records.append(a_response(body=body, **fields))
        else:
            records.append(_feedback(rng, kind, legs, answers, fields))
    for number, leg in enumerate(legs):
        (asked, rows), (at, answers) = last["request", number], last["response", number]
        said = [said_of(row, answer) for row, answer in zip(rows, answers, strict=True)]
        results.append(_result(asked, said, {**leg, "at": at, "puid": puid}))
    return records


def _result(asked: float, said: list[float | str], fields: Fields) -> Record:
    body: dict[str, Any] = {"monitor": MONITOR, "version": "v1", "request_time": time_text(asked)}
    body["values"] = [None if isinstance(one, str) else one for one in said]
    body["outcomes"] = ["failed" if isinstance(one, str) else "alert" if one > 0.5 else "ok" for one in said]
    why = {str(row): one for row, one in enumerate(said) if isinstance(one, str)}
    return a_result(body=body | ({"why": why} if why else {}), **fields)


def said_of(row: Sequence[Any], answer: Any) -> float | str:
    """What the monitor says of a row: its value, or why it has none."""
    value = (3 * sum(row) + 5 * answer) % 8
    return value / 8 if value else "it gives none"


def _broken(rng: random.Random, record: Record) -> Record:
    """Something like a record, of a puid of its own, that is of no use whatever else is known."""
    puid = b"bad-%06x" % rng.getrandbits(24)
    spoiled = {"ce_requestid": puid}
    record = record._replace(key=puid)
    kind = rng.randrange(6)
    if kind == 0:
        record = record._replace(value=(record.value or b"")[:-3])
    elif kind == 1:
        record = record._replace(key=None)
    elif kind == 2:
        record = record._replace(value=orjson.dumps(rng.randrange(9)))
    elif kind == 3:
        record = record._replace(value=None)
    elif kind == 4:
        spoiled["ce_namespace"] = b"\xff\xfe"
    else:
        spoiled["ce_type"] = b"nothing.known"
    return record._replace(headers=[*{**dict(record.headers), **spoiled}.items()])
