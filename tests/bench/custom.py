"""Custom metrics, segments and estimates: what they cost an exchange more, in CPU and in state.

It is measured in this process, on one shard: absorbing, settling and cutting, without Kafka. An answer has a counter, a
gauge and a timer, each in a series of one model; an exchange has a request, an answer and a label, which comes in a
later batch.
"""

import random
import time
from typing import Any, Final

from app.core.rules import Rules
from app.core.segments import TAGS, Segment
from tests.bench.table import Row
from tests.bench.tally_runs import Tally
from tests.builders import a_feedback, a_request, a_response, a_shard

CUSTOM: Final = "custom metrics"
_EXCHANGES: Final = 20_000
_BATCH: Final = 500
_RUNS: Final = 5
_SEGMENTS: Final = (Rules(segments=(Segment("country", TAGS, "country"), Segment("tier", TAGS, "tier"))),)
_ESTIMATES: Final = (Rules(estimate=True),)


def run(_: Tally) -> list[Row]:
    """Of answers with metrics, of those whose tags are segments, and of those that are estimated, each against those
    without.
    """
    plain, metrics, tagged, segments, estimates = zip(
        *(
            (
                _folded({}),
                _folded({"metrics": True}),
                _folded({"tags": True}),
                _folded({"tags": True}, _SEGMENTS),
                _folded({}, _ESTIMATES),
            )
            for _ in range(_RUNS)
        ),
        strict=True,
    )
    rows = []
    for figure, own, without in (
        (CUSTOM, metrics, plain),
        ("two segments", segments, tagged),
        ("estimates", estimates, plain),
    ):
        more = min(cpu for cpu, _ in own) - min(cpu for cpu, _ in without)
        rows += [
            Row(f"{figure}: CPU more", more * 1e6, "µs an exchange"),
            Row(f"{figure}: state more", own[0][1] - without[0][1], "B an exchange"),
        ]
    return rows


def _meta(chance: random.Random, has: dict[str, bool]) -> dict[str, Any]:
    meta: dict[str, Any] = {"requestPath": {"m": "repo/m:1"}}
    if "metrics" in has:
        meta["metrics"] = [
            {"type": "COUNTER", "key": "searches", "value": 1},
            {"type": "GAUGE", "key": "queue", "value": round(chance.uniform(0, 100), 2)},
            {"type": "TIMER", "key": "lookup", "value": round(chance.uniform(0, 100), 2)},
        ]
    if "tags" in has:
        meta["tags"] = {"country": chance.choice(["DE", "FR", "IT"]), "tier": chance.choice(["free", "gold"])}
    return meta


def _scores(chance: random.Random) -> list[float]:
    first = round(chance.random(), 3)
    return [first, 1 - first]


def _folded(has: dict[str, bool], rules: tuple[Rules, ...] = ()) -> tuple[float, float]:
    """Seconds of CPU and bytes of state, an exchange."""
    chance = random.Random(2)
    numbers = range(_EXCHANGES)
    asked = [a_request(puid=f"p{it}", at=it / 1000) for it in numbers]
    told = [
        a_response(
            body={"data": {"ndarray": [_scores(chance)]}, "meta": _meta(chance, has)}, puid=f"p{it}", at=it / 1000
        )
        for it in numbers
    ]
    labels = [a_feedback(1, puid=f"p{it}", at=it / 1000) for it in numbers]
    batches = [
        (topic, [record.read() for record in records[start : start + _BATCH]])
        for start in range(0, _EXCHANGES, _BATCH)
        for topic, records in (("request", asked), ("response", told), ("feedback", labels))
    ]
    shard = a_shard(*rules)
    begun = time.process_time()
    for topic, batch in batches:
        shard.absorb(topic, batch)
        if topic != "request":  # an answer is there before its request is settled
            shard.settle()
        if topic == "feedback":
            shard.cut(None)
    used = time.process_time() - begun
    return used / _EXCHANGES, sum(map(len, shard.store.values())) / _EXCHANGES
