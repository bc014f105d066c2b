"""Stories by seed: what is written to the canonical topics, and what must come of it.

The events are those of the laws (tests/core/test_laws.py): corrections, answers that change, labels that come late, or
first, or row by row, clocks that are ahead. Stories of documents are those of which the documents, too, are the same in
any order (tests/core/outputs/test_documents.py). Beside them: events that come again, events under a wrong key, and
what nobody can read.
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
from app.core.rules import Fairness, Rules
from app.core.segments import FEATURES, HEADERS, Segment
from app.core.wire.partitioning import partition_of
from tests.builders import Fields, Record, a_feedback, a_request, a_response, kind_of
from tests.core.test_laws import BODIES, LABELS, LEGS, NAMED, REWARDS, TIMES, later, of_one_mind

_KINDS: Final = ("request", "response", "response", "label", "row", "reward", "both", "carried")
#: All models have a reference and a declared feature.
_REFERENCE: Final = Reference(
    (Distribution("age", "continuous", (18.0, 30.0, 65.0), (), (1, 60, 39)),),
    Distribution(PREDICTION, "categorical", (), ("0", "1"), (80, 20)),
    None,
    Distribution(LABEL, "categorical", (), ("0", "1"), (90, 10)),
)
_WATCHED: Final = Watched("", Live(_REFERENCE, 1, (Declared("age", 0.0, 45.0),)))
#: All have estimates, and segments: of a header, by which they are to be fair, and of a feature that single rows may
#: have values of their own of.
_SEGMENTS: Final = (Segment("tier", HEADERS, "x-tier", kept=("gold",)), Segment("age", FEATURES, "age", (30.0,)))
RULES: Final = (Rules(segments=_SEGMENTS, fairness=Fairness("tier", "gold", "1"), reference=_WATCHED, estimate=True),)
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
    """

    told: list[Told]
    folded: list[Record]
    bad: int
    astray: int
    documents: bool
    misplaced: bool


def a_story(rng: random.Random, partitions: int) -> Story:
    """Some events of some puids, in any order, over all partitions."""
    documents = rng.random() < 0.4
    good: list[Record] = []
    for puid in [f"{rng.getrandbits(24):06x}" for _ in range(rng.randint(2, 8))]:
        if documents:
            good += _of_documents(rng, puid)
        else:
            good += of_one_mind(_of_laws(rng, puid) for _ in range(rng.randint(1, 5)))
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
    return Story(told, folded, len(bad), len(astray), documents, misplaced)


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
    count = rng.choice((1, 1, 1, 3))
    legs: Sequence[Fields] = ({}, {"predictor": "shadow"}, {"service": "other"})
    legs = rng.sample(legs, rng.randint(1, 3)) if count == 1 else legs[:1]
    named = {leg.get("service"): leg for leg in legs}
    kinds = [rng.choice(("request", "response", "feedback", "row")) for _ in range(rng.randrange(4))]
    events = [("response", leg) for leg in legs] + [(kind, rng.choice(legs)) for kind in kinds]
    rng.shuffle(events)
    records = []
    for number, (kind, leg) in enumerate(events):
        fields: Fields = {**(named[leg.get("service")] if kind in ("feedback", "row") else leg), "at": float(number)}
        fields["puid"] = puid
        rows = [rng.choice((0, 1)) for _ in range(count)]
        if kind == "request":
            records.append(a_request({"data": {"ndarray": [[number, row] for row in rows]}}, **fields))
        elif kind == "response":
            records.append(a_response(*rows, **fields))
        else:
            body: dict[str, Any] = {}
            if rng.random() < 0.5:
                body["truth"] = {"data": {"ndarray": rows if kind == "feedback" else rows[:1]}}
            if rng.random() < 0.5 or "truth" not in body:
                body["reward"] = rng.choice((0, 1, -0.5, True))
            if kind == "row":
                fields["row"] = rng.randrange(count)
            records.append(a_feedback(body=body, **fields))
    return records


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
