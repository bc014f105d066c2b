"""Traffic for the live tests, and the short brute-force count that it is compared with.

The count shares no code with `app`: it keeps every event, sorts, and says what the rules of the count say.
"""

import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from xxhash import xxh3_64_intdigest

#: When the story ends: yesterday, since brokers delete what is older than a topic keeps.
NOW = (datetime.now(UTC) - timedelta(days=1)).replace(hour=9, minute=0, second=30, microsecond=0)
WINDOWS = {"5m": (60, 5), "1h": (60, 60), "24h": (600, 144)}
TYPES = {
    "request": "io.seldon.serving.inference.request",
    "response": "io.seldon.serving.inference.response",
    "feedback": "io.seldon.serving.feedback",
}
MICROSECOND = timedelta(microseconds=1)
#: By so much an event's own time may be ahead of its record's.
AHEAD_MICROS = 300 * 1_000_000
COUNTRIES = ("DE", "FR", "a/b", None)
#: The segments of all models, as `TALLY_CONFIG` has them.
SEGMENTS = """
models: [{match: "*", segments: {country: tags.country, age: {field: features.age, bins: [30, 50]}}}]
"""


class Event(NamedTuple):
    """One record to produce; `kind` names its topic."""

    kind: str
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]
    timestamp: int


def an_event(kind: str, puid: str, leg: tuple[str, str, str, str], micros: int, body: Any) -> Event:
    namespace, service, predictor, model = leg
    headers = {
        "ce_specversion": "1.0",
        "ce_type": TYPES[kind],
        "ce_time": _time_text(micros),
        "ce_requestid": puid,
        "ce_namespace": namespace,
        "ce_inferenceservicename": service,
        "ce_endpoint": predictor,
        "ce_modelid": model,
    }
    return Event(
        kind, puid.encode(), json.dumps(body).encode(), [(k, v.encode()) for k, v in headers.items()], micros // 1000
    )


def moved(event: Event, own: timedelta, record: timedelta) -> Event:
    """The same event as one whose own time, and the time of whose record, are off by so much."""
    headers = [
        (name, _time_text(_micros(value) + own // MICROSECOND).encode() if name == "ce_time" else value)
        for name, value in event.headers
    ]
    return event._replace(headers=headers, timestamp=event.timestamp + record // timedelta(milliseconds=1))


def _time_text(micros: int) -> str:
    moment = datetime.fromtimestamp(micros // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{moment}.{micros % 1_000_000:06d}123Z"


def traffic(
    puids: int, seed: int = 7, *, broken: float = 0.02, metrics: bool = False, until: datetime = NOW
) -> list[Event]:
    """Shuffled events of `puids` request ids, of three hours `until` then: 5 % twice, 5 % never labelled, 3 %
    corrected, `broken` unusable. With `metrics` answers have custom ones.
    """
    rng = random.Random(seed)
    now = int(until.timestamp() * 1_000_000)
    events: list[Event] = []
    for number in range(puids):
        puid = f"{rng.getrandbits(64):016x}-{number}"
        asked = now - rng.randrange(3 * 3600 * 1_000_000)
        answered = asked + rng.randrange(1, 50_000)
        many = rng.random() < 0.6
        service, model = ("iris", "forest") if many else ("cancer", "logistic")
        legs = [("demo", service, "default", model)]
        if many and rng.random() < 0.1:
            legs.append(("demo", service, "shadow", "net"))
        classes = 3 if many else 2
        for leg in legs:
            features = {"names": ["age", "b", "c", "d"], "ndarray": [[100 * rng.random() for _ in range(4)]]}
            events.append(an_event("request", puid, leg, asked, {"data": features}))
            output: Any = [rng.random() for _ in range(3)] if many else [round(rng.random(), 6)]
            images = {leg[3]: f"registry/{leg[3]}:1.{rng.randrange(2)}"}
            meta: dict[str, Any] = {"requestPath": images, "tags": {"country": rng.choice(COUNTRIES)}}
            if metrics:
                meta["metrics"] = [
                    {
                        "type": "COUNTER",
                        "key": "searches",
                        "value": number % 3 / 2,
                        "tags": {"store": f"s{number % 4}"},
                    },
                    {"type": "GAUGE", "key": "queue", "value": number},
                    {"type": "TIMER", "key": "lookup", "value": number % 97 / 4},
                ]
            events.append(an_event("response", puid, leg, answered, {"data": {"ndarray": [output]}, "meta": meta}))
        if rng.random() < 0.05:
            continue
        told = min(answered + rng.randrange(1, 3600 * 1_000_000), now)
        answers = [rng.randrange(classes)]
        if rng.random() < 0.03:
            answers.append(rng.randrange(classes))
            if rng.random() < 0.3:
                answers.append(answers[0])
        for turn, answer in enumerate(answers):
            truth: Any = [[int(answer == n) for n in range(3)]] if many else [answer]
            body = {"reward": rng.choice([0, 1, 0.5, -1]), "truth": {"data": {"ndarray": truth}}}
            events.append(an_event("feedback", puid, legs[0], told + turn, body))
    events += [rng.choice(events) for _ in range(len(events) // 20)]
    events += [_broken(rng, rng.choice(events)) for _ in range(int(len(events) * broken))]
    rng.shuffle(events)
    return events


def _broken(rng: random.Random, event: Event) -> Event:
    other = f"broken-{rng.getrandbits(64):x}".encode()
    headers = [(name, value) for name, value in event.headers if name != "ce_requestid"]
    choice = rng.randrange(6)
    if choice == 0:
        return event._replace(key=other, headers=headers, value=event.value[:-3])
    if choice == 1:
        return event._replace(key=None)
    if choice == 2:
        return event._replace(key=other, headers=[("ce_type", b"nothing.known")])
    if choice == 3:
        return event._replace(key=other, headers=headers, value=b"12")
    if choice == 4:
        return event._replace(key=other, headers=[*headers, ("ce_namespace", b"\xff\xfe")])
    return event._replace(key=other)  # the headers name another puid


def expected(
    events: Iterable[Event], *, segments: bool = False, now: datetime = NOW
) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every count series of every model `now`: (name, labels) → value; with the rows by segment where that is asked
    for.
    """
    counts, told = counted(events)
    found = _series(counts, ("", *WINDOWS), "", now) | _series(told, WINDOWS, "labels_", now)
    found |= _custom(events)
    return {series: value for series, value in found.items() if segments or series[0] != "tally_segment_rows"}


def _custom(events: Iterable[Event]) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """The custom metrics of answers: counters and times of those that hold, of gauges the latest of all."""
    events = [event for event in events if event.kind == "response" and b'"metrics"' in event.value]
    sums: Counter[tuple[tuple[str, ...], str, str]] = Counter()
    for parts in _winners(events):
        for (_, leg), (_, _, (body, _)) in parts.items():
            counter, _, timer = body["meta"]["metrics"]
            model = _model(leg, body)
            sums[model, "searches_total", counter["tags"]["store"]] += round(counter["value"] * 10**9)
            sums[model, "lookup_count", ""] += 10**9
            sums[model, "lookup_sum", ""] += round(timer["value"] * 10**6)
    latest: dict[tuple[tuple[str, ...], str, str], tuple[int, int, float]] = {}
    for event in events:  # each is its own winner
        for parts in _winners([event]):
            for (_, leg), (time, digest, (body, _)) in parts.items():
                said = time, digest, body["meta"]["metrics"][1]["value"]
                at = _model(leg, body), "queue", ""
                latest[at] = max(said, latest.get(at, said))
    values = {at: amount / 10**9 for at, amount in sums.items()} | {at: said[2] for at, said in latest.items()}
    names = ("model_namespace", "model_service", "predictor", "model", "model_version")
    return {
        (
            name,
            tuple(sorted({**dict(zip(names, model, strict=True)), "method": "predict", **_store(store)}.items())),
        ): value
        for (model, name, store), value in values.items()
        if value
    }


def _store(store: str) -> dict[str, str]:
    return {"store": store} if store else {}


#: (model, minute, name, labels) → amount
Minutes = Counter[tuple[tuple[str, ...], int, str, tuple[str, ...]]]


def counted(events: Iterable[Event]) -> tuple[Minutes, Minutes]:
    """All counts by the minute of the prediction; and what labels and rewards say by their own."""
    counts: Minutes = Counter()
    told: Minutes = Counter()
    for parts in _winners(events):
        _count(parts, counts, told)
    return counts, told


_WHO = {(True, True): "both", (True, False): "first", (False, True): "second", (False, False): "neither"}
#: (the default's model, the shadow's, minute of the default's answer, name) → rows that both have answered
Shared = Counter[tuple[tuple[str, ...], tuple[str, ...], int, str]]


def compared(events: Iterable[Event]) -> tuple[Shared, Shared]:
    """The rows that a default and a shadow have answered: whether they agree, and which of them the label says to be
    right: both, the first, the second, neither. Then those that have a label by its minute.
    """
    found: Shared = Counter()
    told: Shared = Counter()
    for parts in _winners(events):
        answers = {leg[2]: (leg, *winner) for (kind, leg), winner in parts.items() if kind == "response"}
        if answers.keys() != {"default", "shadow"}:
            continue
        first, second = answers["default"], answers["shadow"]
        pair = (_model(first[0], first[3][0]), _model(second[0], second[3][0]))
        said = [_predicted(one[3][0]) for one in (first, second)]
        minute, agree = first[1] // 60_000_000, "agree" if said[0] == said[1] else "differ"
        found[*pair, minute, agree] += 1
        feedback = parts.get(("feedback", ()))
        if feedback is not None:
            actual = _actual(feedback[2][0])
            right, came = _WHO[said[0] == actual, said[1] == actual], feedback[0] // 60_000_000
            found[*pair, minute, right] += 1
            told[*pair, came, agree] += 1
            told[*pair, came, right] += 1
    return found, told


def answers(events: Iterable[Event]) -> Iterator[tuple[tuple[str, ...], Any, tuple[str, str], str | None]]:
    """Each answer that holds: its model, the body of its request, its puid and class, and the label."""
    for puid, parts in _winners_by_puid(events).items():
        feedback = parts.get(("feedback", ()))
        for (kind, leg), (_, _, (body, _)) in parts.items():
            if kind == "response":
                request = parts.get(("request", leg))
                asked = None if request is None else request[2][0]
                actual = None if feedback is None else _actual(feedback[2][0])
                yield _model(leg, body), asked, (puid, _predicted(body)), actual


def _winners(events: Iterable[Event]) -> Iterable[dict[Any, Any]]:
    return _winners_by_puid(events).values()


def _winners_by_puid(events: Iterable[Event]) -> dict[str, dict[Any, Any]]:
    """Of each request id what holds: (kind, leg) → (when it counts, digest, (body, leg)).

    What says that it is of a time long after its record counts when that was written.
    """
    best: dict[tuple[str, str, tuple[str, ...]], tuple[int, int, Any]] = {}
    counts_at: dict[tuple[str, str, tuple[str, ...]], int] = {}
    for event in events:
        names = dict(event.headers)
        try:
            body = json.loads(event.value)
        except ValueError:
            continue
        if event.key is None or not isinstance(body, dict) or names.get("ce_requestid", event.key) != event.key:
            continue
        leg = tuple(
            names.get(name, b"").decode(errors="replace")
            for name in ("ce_namespace", "ce_inferenceservicename", "ce_endpoint", "ce_modelid")
        )
        kind = next((kind for kind, name in TYPES.items() if names.get("ce_type", b"").decode() == name), None)
        if kind is None or "�" in leg[0]:
            continue
        rank = (_micros(names["ce_time"]), xxh3_64_intdigest(event.value))
        at = (event.key.decode(), kind, leg if kind != "feedback" else ())
        written = event.timestamp * 1000
        counts = written if rank[0] > written + AHEAD_MICROS else rank[0]
        if at not in best or rank > best[at][:2]:
            best[at], counts_at[at] = (*rank, (body, leg)), counts
        elif rank == best[at][:2]:
            counts_at[at] = min(counts, counts_at[at])
    by_puid: dict[str, dict[tuple[str, tuple[str, ...]], tuple[int, int, Any]]] = defaultdict(dict)
    for (puid, kind, leg), (_, *winner) in best.items():
        by_puid[puid][kind, leg] = counts_at[puid, kind, leg], *winner
    return by_puid


def _model(leg: tuple[str, ...], body: Any) -> tuple[str, ...]:
    return (*leg, body["meta"]["requestPath"][leg[3]].rpartition(":")[2])


def _predicted(body: Any) -> str:
    row = body["data"]["ndarray"][0]
    return str(row.index(max(row))) if len(row) > 1 else str(int(row[0] >= 0.5))


def _actual(body: Any) -> str:
    truth = body["truth"]["data"]["ndarray"][0]
    return str(truth.index(1)) if isinstance(truth, list) else str(truth)


def _micros(raw: bytes) -> int:
    moment = datetime.fromisoformat(raw.decode()[:19] + "+00:00")
    return int(moment.timestamp()) * 1_000_000 + int(raw[20:26])


def _count(parts: dict[Any, Any], counts: Counter[Any], told: Counter[Any]) -> None:
    """By the minute of the prediction, and what feedback tells also by its own."""
    feedback = parts.get(("feedback", ()))
    for (kind, leg), (micros, _, (body, _)) in parts.items():
        if kind != "response":
            continue
        minute = micros // 60_000_000
        model, predicted = _model(leg, body), _predicted(body)
        counts[model, minute, "exchanges", ("response",)] += 1
        counts[model, minute, "exchanges", ("request",)] += ("request", leg) in parts
        request = parts.get(("request", leg))  # which lies outside where a stretch is counted
        slices = _slices(None if request is None else request[2][0], body)
        if feedback is None:
            counts[model, minute, "rows", ("unlabelled",)] += 1
            for own in slices:
                counts[model, minute, "segment_rows", (*own, "unlabelled")] += 1
            continue
        actual = _actual(feedback[2][0])
        counts[model, minute, "exchanges", ("feedback",)] += 1
        for own in slices:
            counts[model, minute, "segment_rows", (*own, "correct" if actual == predicted else "incorrect")] += 1
        for found, when in ((counts, minute), (told, feedback[0] // 60_000_000)):
            found[model, when, "rows", ("correct" if actual == predicted else "incorrect",)] += 1
            found[model, when, "confusion", (actual, predicted)] += 1
            if leg[2] == "default":
                found[model, when, "rewards", ()] += 1
                found[model, when, "reward_points", ()] += feedback[2][0]["reward"]


def _slices(request: Any, response: Any) -> list[tuple[str, str]]:
    """The value of a row in each segment."""
    of_age = "(missing)"
    if request is not None:
        age = request["data"]["ndarray"][0][0]
        of_age = "<30" if age < 30 else "30-50" if age < 50 else ">=50"
    return [("country", response["meta"]["tags"]["country"] or "(missing)"), ("age", of_age)]


LABELS = {
    "segment_rows": ("segment", "value", "verdict"),
    "exchanges": ("part",),
    "rows": ("verdict",),
    "confusion": ("actual", "predicted"),
    "class": ("class", "outcome"),
    "rewards": (),
    "reward_points": (),
}


def _series(
    counts: Counter[Any], windows: Iterable[str], prefix: str, now: datetime
) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    result: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for window in windows:
        sums: Counter[Any] = Counter()
        for (model, minute, name, labels), amount in counts.items():
            if window:
                length, panes = WINDOWS[window]
                age = int(now.timestamp() // length) - minute * 60 // length
                if not 0 <= age <= panes:
                    continue
            sums[model, name, labels] += amount
        for (model, name, labels), amount in [*sums.items(), *_one_against_rest(sums).items()]:
            if amount:
                words = dict(
                    zip(("model_namespace", "model_service", "predictor", "model", "model_version"), model, strict=True)
                )
                words |= dict(zip(LABELS[name], labels, strict=True))
                if window or name == "segment_rows":
                    words["window"] = prefix + (window or "total")
                beginning = "tally_window_" if window and name != "segment_rows" else "tally_"
                result[beginning + name, tuple(sorted(words.items()))] = amount
    return result


def _one_against_rest(sums: Counter[Any]) -> Counter[Any]:
    result: Counter[Any] = Counter()
    for (model, name, cell), amount in sums.items():
        if name != "confusion":
            continue
        binary = model[1] == "cancer"
        for one in ("1",) if binary else ("0", "1", "2"):
            outcome = ("t" if (cell[0] == one) == (cell[1] == one) else "f") + ("p" if cell[1] == one else "n")
            result[model, "class", ("" if binary else one, outcome)] += amount
    return result
