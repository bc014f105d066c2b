"""Drift: what comparing features with a reference costs an exchange more, in CPU and in state, and a scrape.

It is measured in this process, on one shard: absorbing, settling and cutting, without Kafka.
"""

import random
import time
from collections.abc import Iterable
from typing import Final

from app.core.drift.building import distribution_of
from app.core.drift.live import Live, Version, Watched
from app.core.drift.reference import Reference
from app.core.events import Identity
from app.core.rules import Rules
from app.exporters.prometheus import ModelText
from tests.bench.table import Row
from tests.bench.tally_runs import Tally
from tests.builders import START, Ledger, Record, a_feedback, a_request, a_response, a_shard

DRIFT: Final = "drift"
FEATURES: Final = {10: 10_000, 100: 2_000}  # and how many exchanges
FIRST: Final = 10_000
MODELS, OF_MODEL = 20, 50
_BATCH: Final = 500
_RUNS: Final = 3
_HOUR: Final = 3600


def run(_: Tally) -> list[Row]:
    """An exchange has a request, an answer and a label, which comes in a later batch."""
    rows = []
    for features, exchanges in FEATURES.items():
        plain = min(_folded(Rules(), features, exchanges) for _ in range(_RUNS))
        own = min(_folded(_rules(features), features, exchanges) for _ in range(_RUNS))
        rows += [
            Row(f"drift on {features} features: CPU more", (own[0] - plain[0]) * 1e6, "µs an exchange"),
            Row(f"drift on {features} features: state more", own[1] - plain[1], "B an exchange"),
        ]
        first = min(_folded(_rules_of_first_rows(features), features, exchanges) for _ in range(_RUNS))
        rows += [
            Row(
                f"drift on {features} features against first rows: CPU more",
                (first[0] - plain[0]) * 1e6,
                "µs an exchange",
            ),
            Row(f"drift on {features} features against first rows: state more", first[1] - plain[1], "B an exchange"),
        ]
    return [*rows, Row(f"text of {MODELS} models of {OF_MODEL} features: CPU", _text_seconds() * 1e3, "ms")]


def _values(features: int, rng: random.Random) -> list[float]:
    return [rng.gauss(0, 1) for _ in range(features)]


def _rules(features: int) -> Rules:
    rng = random.Random(1)
    columns = [distribution_of(f"f{place}", _values(1000, rng)) for place in range(features)]
    return Rules(reference=Watched("histogram.prom", Live(Reference(tuple(columns)))))


def _rules_of_first_rows(features: int) -> Rules:
    """The same, where the reference is that of a version's first rows, and has been made."""
    own = _rules(features).reference
    assert own is not None
    watched = Watched("", Live(Reference(())), FIRST)
    watched.versions[Identity("ns", "svc", "default", "m", "")] = Version(own.live, 0)
    return Rules(reference=watched)


def _folded(rules: Rules, features: int, exchanges: int) -> tuple[float, float]:
    """Seconds of CPU and bytes of state, an exchange."""
    rng = random.Random(2)
    numbers = range(exchanges)
    asked = [a_request({"data": {"ndarray": [_values(features, rng)]}}, puid=f"p{it}", at=it / 1000) for it in numbers]
    told = [a_response([0.2, 0.8], puid=f"p{it}", at=it / 1000) for it in numbers]
    labels = [a_feedback(1, puid=f"p{it}", at=it / 1000) for it in numbers]
    batches = [
        (topic, [record.read() for record in records[start : start + _BATCH]])
        for start in range(0, exchanges, _BATCH)
        for topic, records in (("request", asked), ("response", told), ("feedback", labels))
    ]
    shard = a_shard(rules)
    begun = time.process_time()
    for topic, batch in batches:
        shard.absorb(topic, batch)
        if topic != "request":  # an answer is there before its request is settled
            shard.settle()
        if topic == "feedback":
            shard.cut(None)
    used = time.process_time() - begun
    return used / exchanges, sum(map(len, shard.store.values())) / exchanges


def _text_seconds() -> float:
    """The CPU that the text of all models takes where all have changed, total and three windows."""
    rng = random.Random(3)
    ledger = Ledger(_rules(OF_MODEL))
    for model in range(MODELS):
        ledger.absorb(*_of_model(model, rng))
    readings = ledger.cut().readings()
    text = ModelText(seldon=True, most=10**9)
    begun = time.process_time()
    for who, by_window in readings.of_models(START + _HOUR):
        text.put(who, text.block(who, by_window, 0))
    text.text()
    return time.process_time() - begun


def _of_model(model: int, rng: random.Random) -> Iterable[Record]:
    for number in range(60):
        puid, at = f"{model}-{number}", float(number * 60)
        yield a_request({"data": {"ndarray": [_values(OF_MODEL, rng)]}}, puid=puid, model=f"m{model}", at=at)
        yield a_response(1, puid=puid, model=f"m{model}", at=at)
