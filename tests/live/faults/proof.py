"""All that a fleet says of its traffic, beside a brute-force count of the same events.

Compared are the series (totals, windows by both clocks, segments, custom metrics), the pairs of a default and its
shadow, the distributions of features, some exchanges one by one as they lie in the stores, the documents where there is
an Elasticsearch, and by `tally verify` every exchange and every count of the changelogs.
"""

import json
import random
import re
import time
import urllib.error
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from app.core.drift.building import distribution_of
from app.core.drift.reference import Reference
from app.reference_file import write_reference
from tests.live.standing import tally
from tests.live.story import NOW, Event, answers, compared, expected, segments_of
from tests.live.test_documents import Node, brute_force
from tests.live.workers import Fleet, Worker

FEATURES: Final = ("age", "b", "c", "d")
#: What features are compared with: five bins of numbers up to 80, where those of the traffic go up to 100.
EDGES: Final = (0.0, 16.0, 32.0, 48.0, 64.0, 80.0)
#: So many exchanges are looked at one by one.
SAMPLE: Final = 60
IDENTITY: Final = ("model_namespace", "model_service", "predictor", "model", "model_version")

Facts = dict[tuple[Any, ...], Any]


def with_rules(folder: Path) -> str:
    """A YAML file by which all models have segments and a reference."""
    spread = [EDGES[0], *(edge for edge in EDGES[1:] for _ in range(20))]
    features = tuple(distribution_of(name, spread, "continuous", bins=5) for name in FEATURES)
    write_reference(folder / "histogram.prom", Reference(features))
    file = folder / "tally.yaml"
    file.write_text(
        'models: [{match: "*", reference: histogram.prom, '
        "segments: {country: tags.country, age: {field: features.age, bins: [30, 50]}}}]\n"
    )
    return str(file)


class Documents:
    """The documents of a namespace that no other test has."""

    def __init__(self, node: Node, namespace: str) -> None:
        self.node = node
        self.namespace = namespace
        self.indices = f"inference-log-seldon-{namespace}-*"

    def wrong(self, events: list[Event]) -> list[str]:
        """What differs from those of a brute-force count."""
        found, wanted = self.node.documents(self.indices), brute_force(events, self.namespace)
        for document in wanted.values():
            asked, answered = (document[part]["payload"] for part in ("request", "response"))
            document["verdict"]["segments"] = dict(segments_of(asked, answered))
        return [
            f"{at}: " + "; ".join(_wrong(found.get(at, {}), wanted.get(at, {})))
            for at in found.keys() | wanted.keys()
            if found.get(at) != wanted.get(at)
        ]

    def remove(self) -> None:
        """Leave none."""
        self.node.remove(self.indices)


def differences(
    fleet: Fleet,
    events: list[Event],
    seconds: float,
    *,
    now: Callable[[], datetime] = lambda: NOW,
    documents: Documents | None = None,
) -> list[str]:
    """What the workers say otherwise than a brute-force count, once they have had so long to get there.

    `now` is until when windows reach.
    """
    end = time.monotonic() + seconds
    others = _others_of(events)

    @lru_cache(maxsize=1)  # to count as many as in a soak takes a minute, and a clock may stand still
    def series_at(moment: datetime) -> Facts:
        return _series_of(events, moment)

    def wrong_now() -> list[str]:
        series = series_at(now())
        found = found_of(fleet, others)
        return _wrong(found, others | series) or (documents.wrong(events) if documents else [])

    while (wrong := wrong_now()) and time.monotonic() < end:
        time.sleep(0.5)
    if wrong:
        return wrong
    done = tally(fleet.settings, "verify")
    said = done.stdout.decode()
    if (done.returncode, "difference 0\n" in said) == (0, True):
        return []
    counted = re.search(r"difference (\d+)", said)
    return [f"tally verify: {said or done.stderr.decode()}"] * (int(counted[1]) if counted else 1)


def wanted_of(events: list[Event]) -> Facts:
    """What is right."""
    return _series_of(events, NOW) | _others_of(events)


def _series_of(events: list[Event], now: datetime) -> Facts:
    return {("series", *at): value for at, value in expected(events, segments=True, now=now).items()}


def _others_of(events: list[Event]) -> Facts:
    found: Facts = {("pair", *at): value for at, value in _pairs(events).items()}
    found |= {("feature", *at): rows for at, rows in _distributions(events).items()}
    return found | dict(_exchanges(events))


def found_of(fleet: Fleet, wanted: Facts) -> Facts:
    """What the workers say: the one that exports the series, and any of them the rest."""
    found: Facts = {("series", *at): value for at, value in fleet.counts().items()}
    running = fleet.running()
    if not running:
        return found
    worker = random.choice(running)  # whichever: all must say the same
    try:
        found |= dict(_pairs_of(worker)) | dict(_distributions_of(worker))
        found |= {at: _exchange_of(worker, at[1]) for at in wanted if at[0] == "exchange"}
    except (OSError, ValueError):  # it does not answer, or cannot ask another: later
        return found
    return found


def _wrong(found: Mapping[Any, Any], wanted: Mapping[Any, Any]) -> list[str]:
    return [
        f"{at}: {found.get(at)} instead of {wanted.get(at)}"
        for at in found.keys() | wanted.keys()
        if found.get(at) != wanted.get(at)
    ]


def _pairs(events: Iterable[Event]) -> dict[tuple[Any, ...], tuple[int, int, int]]:
    counts: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    for (first, second, _, name), rows in compared(events)[0].items():
        counts[first, second][name] += rows
    return {
        pair: (sum(it[name] for name in ("both", "first", "second", "neither")), it["first"], it["second"])
        for pair, it in counts.items()
    }


def _pairs_of(worker: Worker) -> Iterator[tuple[tuple[Any, ...], Any]]:
    for one in json.loads(worker.get("/api/comparisons"))["comparisons"]:
        total = one["windows"]["total"]
        pair = (tuple(one[leg][name] for name in IDENTITY) for leg in ("current", "shadow"))
        yield ("pair", *pair), tuple(total[name] for name in ("samples", "only_current_right", "only_shadow_right"))


def _distributions(events: Iterable[Event]) -> dict[tuple[Any, ...], list[int]]:
    """By model and feature the rows of each bin: missing, below, at the least edge, those between, above."""
    found: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * (len(EDGES) + 3))
    for model, request, _, _ in answers(events):
        for name, value in zip(FEATURES, request["data"]["ndarray"][0] if request else (), strict=False):
            inside = [low < value <= high for low, high in pairwise(EDGES)]
            place = 3 + inside.index(True) if True in inside else len(EDGES) + 2
            found[model, name][place] += 1
    return found


def _distributions_of(worker: Worker) -> Iterator[tuple[tuple[Any, ...], list[int]]]:
    for one in json.loads(worker.get("/api/models"))["models"]:
        model = tuple(one[name] for name in IDENTITY)
        for feature in one["windows"]["total"].get("drift", ()):
            if feature["feature"] in FEATURES:
                yield ("feature", model, feature["feature"]), [it["rows"] for it in feature["bins"]]


def _exchanges(events: Iterable[Event]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Some request ids, and what each model has answered and is told."""
    legs: dict[str, list[Any]] = defaultdict(list)
    for model, _, (puid, predicted), actual in answers(events):
        legs[puid].append((model, predicted, actual))
    for puid in random.Random(5).sample(sorted(legs), min(SAMPLE, len(legs))):
        yield ("exchange", puid), sorted(legs[puid], key=str)


def _exchange_of(worker: Worker, puid: str) -> Any:
    try:
        legs = json.loads(worker.get(f"/api/exchanges/{puid}"))["legs"]
    except urllib.error.HTTPError:
        return None
    said = [(tuple(it[name] for name in IDENTITY), it["rows"][0] if it["rows"] else {}) for it in legs]
    return sorted(((model, row.get("predicted"), row.get("label")) for model, row in said), key=str)
