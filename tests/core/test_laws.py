"""Laws of the fold: order, repetition, batches, partitions and restarts change nothing, and every count is exact.

The oracle below says what a list of events counts as, straight from the rules (design 3.2 to 3.9) and without the
state that the core keeps.
"""

import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final
from unittest.mock import patch

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from app.core.clock import parse_time
from app.core.counts.accounts import Pair
from app.core.counts.panes import COARSE, FINE, TOTAL, PaneClock, Window
from app.core.counts.rows import Owner, RowKey, row_key, row_value
from app.core.counts.view import View
from app.core.events import Identity, Leg, identity_fields
from app.core.join import shard
from app.core.measures.readings import Readings
from app.core.rules import Rulebook, Rules
from tests.builders import (
    START,
    Fields,
    Ledger,
    Read,
    Record,
    a_feedback,
    a_request,
    a_response,
    kind_of,
    known,
    run,
    tell,
    totals_of,
)

DELAYS: Final = (1, 10, 60, 300, 1800, 3600, 21600, 86400, 259200, 604800, 2592000)

# -- events -----------------------------------------------------------------------------------------------------------

AHEAD: Final = 300  # seconds by which an event time may lie before its record timestamp
TIMES = (0.0, 1.0, 59.5, 60.0, 61.25, 130.0, 700.0)  # few, so that ties are common
BODIES: tuple[dict[str, Any], ...] = (
    {"data": {"ndarray": [[0.25, 0.75]]}},
    {"data": {"ndarray": [[0.75, 0.25]]}, "model_version": "v2"},
    {"data": {"ndarray": [[0.25, 0.5, 0.25]]}, "model_version": "v1"},
    {"data": {"ndarray": [1]}},
    {"data": {"ndarray": [0]}},
    {"data": {"ndarray": [1, 0, 1]}},
    {"data": {"ndarray": [[0.25, 0.75], [0.75, 0.25]]}},
    {"status": {"code": 500}},
)
LABELS: tuple[Any, ...] = (0, 1, 2, [1, 0], [0, 0, 1], None)
REWARDS: tuple[Any, ...] = (0, 1, -0.5, None)
LEGS: tuple[Fields, ...] = (
    {},
    {"model": "n"},
    {"predictor": "shadow"},
    {"predictor": "canary"},
    {"service": "other"},
)
NAMED: tuple[Fields, ...] = (
    *LEGS,
    {"predictor": None, "model": None},
    {"model": None},
    {"namespace": None, "service": None, "predictor": None, "model": None},
)
RULES: tuple[tuple[Rules, ...], ...] = ((), (Rules("ns/svc/default/*", scored_model="n"),))


@st.composite
def an_event(draw: st.DrawFn, puids: tuple[str, ...] = ("p", "q")) -> Record:
    time = draw(st.sampled_from(TIMES))
    ahead = draw(st.sampled_from([0, 0, 0, AHEAD + 0.75]))
    fields: Fields = {"puid": draw(st.sampled_from(puids)), "at": time, "stamp": time - ahead}
    kind = draw(st.sampled_from(["request", "response", "response", "label", "row", "reward", "both", "carried"]))
    fields |= draw(st.sampled_from(LEGS if kind in ("request", "response") else NAMED))
    if kind == "request":
        return a_request(**fields)
    body = draw(st.sampled_from(BODIES))
    if kind == "response":
        return a_response(body=body, **fields)
    label = draw(st.sampled_from(LABELS))
    reward = draw(st.sampled_from(REWARDS))
    if kind == "row":
        fields["row"] = draw(st.integers(0, 2))
        return a_feedback(label if not isinstance(label, list) else 1, **fields)
    if kind == "reward":
        return a_feedback(reward=reward, **fields)
    if kind == "both":
        return a_feedback(label, reward=reward, **fields)
    if kind == "carried":
        return a_feedback(label, response=body, request={"data": {"ndarray": [1]}}, **fields)
    return a_feedback(label, **fields)


def of_one_mind(records: Iterable[Record]) -> list[Record]:
    """Without equals: the same bytes at the same time from the same leg is one event, twice."""
    return list({(record.value, tuple(record.headers)): record for record in records}.values())


def later(record: Record) -> Record:
    """The same event as a new record. (A clock ahead aside: then the record timestamp says when it was.)"""
    event = event_of(record)
    return record._replace(timestamp=record.timestamp + 400_000) if event.pane_time == event.time else record


stories = st.lists(an_event(), min_size=1, max_size=9).map(of_one_mind)


# -- the oracle -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Event:
    """A record as the rules speak of it."""

    kind: str
    puid: str
    row: int | None
    leg: Leg
    time: int  # µs
    pane_time: int
    digest: int
    body: dict[str, Any]

    @property
    def rank(self) -> tuple[int, int, Leg]:
        return self.time, self.digest, self.leg

    @property
    def says(self) -> tuple[bool, bool]:
        """Whether it states a label, a reward."""
        feedback = self.kind == "feedback"
        return feedback and "truth" in self.body, feedback and "reward" in self.body and self.leg.predictor != "shadow"

    @property
    def labels(self) -> list[Any] | None:
        truth = self.body["truth"]
        return None if truth is None else list(truth["data"]["ndarray"])


def event_of(record: Record) -> Event:
    headers = {name: value.decode() for name, value in record.headers}
    time, stamp = (parse_time(headers["ce_time"].encode()) or 0), record.timestamp * 1000
    names = ("ce_namespace", "ce_inferenceservicename", "ce_endpoint", "ce_modelid")
    base, _, row = headers["ce_requestid"].partition("-item-")
    value = record.value or b""
    return Event(
        kind_of(record),
        base,
        int(row) if row else None,
        Leg(*(headers.get(name, "") for name in names)),
        time,
        time if time <= stamp + AHEAD * 1_000_000 else stamp,
        xxh3_64_intdigest(value),
        orjson.loads(value),
    )


@dataclass(frozen=True)
class Answer:
    """The winning response of a leg."""

    who: Identity
    time: int
    pane_time: int
    classes: list[str | None]  # of each row; None: failed
    vectors: list[list[float]]  # of each row, where rows are vectors

    @property
    def width(self) -> int:
        return len(self.vectors[0]) if self.vectors else 0


def answer_of(event: Event, body: dict[str, Any]) -> Answer:
    who = Identity(*event.leg, body.get("model_version", ""))
    if "status" in body:
        return Answer(who, event.time, event.pane_time, [None], [])
    rows = body["data"]["ndarray"]
    if isinstance(rows[0], list):
        return Answer(who, event.time, event.pane_time, [str(row.index(max(row))) for row in rows], rows)
    return Answer(who, event.time, event.pane_time, [str(row) for row in rows], [])


#: (identity, minute) → (row, column) → amount
Panes = dict[tuple[Identity, int], Counter[tuple[str, str]]]


def recount(records: Iterable[Record], rules: tuple[Rules, ...]) -> Panes:
    """What the records count as."""
    panes: Panes = {}
    events = [event_of(record) for record in records]
    for puid in {event.puid for event in events}:
        for who, time, row, column, amount in exchange([event for event in events if event.puid == puid], rules):
            panes.setdefault((who, time // 60_000_000), Counter())[row, column] += amount
    return panes


def exchange(events: list[Event], rules: tuple[Rules, ...]) -> Iterable[tuple[Identity, int, str, str, int]]:
    """What one exchange counts as: (identity, pane time, row, column, amount)."""
    events = sorted(events, key=lambda event: event.rank)  # so that of what is put in a dict the greatest stays
    carried = [event for event in events if "response" in event.body]
    requests = {event.leg: event.pane_time for event in carried}
    requests |= {event.leg: event.pane_time for event in events if event.kind == "request"}
    answers = {event.leg: answer_of(event, event.body["response"]) for event in carried}
    answers |= {event.leg: answer_of(event, event.body) for event in events if event.kind == "response"}
    labels = standing({(event.leg[:2], event.row): event for event in events if event.says[0]})  # by service and row
    reward = next((event for event in reversed(events) if event.says[1]), None)
    legs = {*requests, *answers}
    told: dict[Leg, int] = {}  # the newest pane time of what is stated about each leg

    # What is said of a row alone waits for the prediction: its id may be another puid's.
    for event in [event for event in labels.values() if holds(event, labels) and (legs or event.row is None)]:
        for leg in [leg for leg in legs if judges(event, leg, legs, rules)] or [event.leg]:
            told[leg] = max(told.get(leg, 0), event.pane_time)
    for leg in legs:
        if leg not in answers:
            yield Identity(*leg, ""), requests[leg], "exchanges", "request", 1
            continue
        answer = answers[leg]
        cells = [("exchanges", "response", 1)]
        if leg in requests:
            cells.append(("exchanges", "request", 1))
        if answer.width:
            cells.append(("confusion/classes", str([*map(str, range(answer.width))]), 1))
        cells += verdicts(answer, [event for event in labels.values() if judges(event, leg, legs, rules)])
        yield from ((answer.who, answer.pane_time, *cell) for cell in cells)
    if reward and reward.body["reward"] is not None:
        home = reward_home(reward, answers)
        who, pane_time = place(home, answers, reward.pane_time)
        yield who, pane_time, "rewards", "count", 1
        yield who, pane_time, "rewards", "points", round(reward.body["reward"] * 1_000_000_000)
        told[home] = max(told.get(home, 0), reward.pane_time)
    for leg, pane_time in told.items():
        yield *place(leg, answers, pane_time), "exchanges", "feedback", 1


Labels = dict[tuple[tuple[str, ...], int | None], Event]


def standing(labels: Labels) -> Labels:
    """The labels without those of rows that a newer one for the batch has outdated."""
    batches = {home: event.rank for (home, row), event in labels.items() if row is None}
    return {key: event for key, event in labels.items() if event.rank >= batches.get(key[0], event.rank)}


def holds(event: Event, labels: Labels) -> bool:
    """Whether any label of a feedback holds: of a batch those of which no newer one is for the row alone."""
    rows = range(len(event.labels or ()))
    return any(event.row is not None or (event.leg[:2], row) not in labels for row in rows)


def place(leg: Leg, answers: dict[Leg, Answer], pane_time: int) -> tuple[Identity, int]:
    """Where a statement about a leg counts: in the pane of the leg's answer, before that in its own."""
    if leg in answers:
        return answers[leg].who, answers[leg].pane_time
    return Identity(*leg, ""), pane_time


def judges(event: Event, leg: Leg, legs: Iterable[Leg], rules: tuple[Rules, ...]) -> bool:
    named = event.leg
    if named.service not in ("", leg.service) or named.namespace not in ("", leg.namespace):
        return False
    rule = Rulebook(rules).of(leg)
    if rule.scored_model and (leg.predictor not in rule.shadow or Leg(*leg[:3], rule.scored_model) in legs):
        return leg.model == rule.scored_model
    if rule.scored_model or named.predictor != leg.predictor or named.model in ("", leg.model):
        return True
    return Leg(*leg[:3], named.model) not in legs


def reward_home(reward: Event, answers: dict[Leg, Answer]) -> Leg:
    named = reward.leg
    if named.predictor and named.model:
        return named
    candidates = [
        leg
        for leg in answers
        if leg.predictor != "shadow" and all(word in ("", own) for word, own in zip(named, leg, strict=True))
    ]
    if len(candidates) == 1:
        return candidates[0]
    services = {leg[:2] for leg in candidates}
    return Leg(*(services.pop() if len(services) == 1 and not named.service else named[:2]), "", "")


def verdicts(answer: Answer, labels: list[Event]) -> Iterable[tuple[str, str, int]]:
    """The cells of an answer's rows, its mismatch and its delay."""
    rows: list[tuple[Any, int] | None] = [None] * len(answer.classes)
    labels = [] if answer.classes == [None] else labels  # a failed answer has no rows
    mismatched = False
    batches = sorted((event for event in labels if event.row is None), key=lambda event: event.rank)
    since = (0, 0)
    if batches:
        since = batches[-1].rank[:2]
        given = batches[-1].labels
        if given is not None and len(given) == len(rows):
            rows = [(label, batches[-1].time) for label in given]
        mismatched = given is not None and len(given) != len(rows)
    for event in sorted(labels, key=lambda event: event.rank):
        if event.row is not None and event.rank[:2] >= since:
            if event.row < len(rows):
                rows[event.row] = (event.labels[0], event.time) if event.labels else None
            elif event.labels:
                mismatched = True  # until it is taken back
    if mismatched:
        yield "mismatches", "answers", 1
    for predicted, label in zip(answer.classes, rows, strict=True):
        if predicted is None:
            yield "confusion", "failed", 1
        elif label is None:
            yield "confusion/unlabelled", predicted, 1
        else:
            yield f"confusion={label[0]}", predicted, 1
    for vector, label in zip(answer.vectors, rows, strict=False):
        if label is not None and math.isclose(sum(vector), 1) and int(label[0]) < len(vector):
            yield from chances(vector, int(label[0]))
    times = [label[1] for label in rows if label is not None]
    if times:
        delay = max(0, max(times) - answer.time)
        yield "delay", f"{sum(delay > bound * 1_000_000 for bound in DELAYS)}", 1
        yield "delay", "us", delay


def chances(vector: list[float], label: int) -> Iterable[tuple[str, str, int]]:
    """What the probabilities of one row add, but for their bins."""
    yield "probabilities", "rows", 1
    epsilon = sys.float_info.epsilon
    yield "probabilities", "log_loss", round(-math.log(min(max(vector[label], epsilon), 1 - epsilon)) * 2**40)
    errors = [value - (place == label) for place, value in enumerate(vector)]
    brier = errors[1] ** 2 if len(vector) == 2 else sum(error**2 for error in errors)
    yield "probabilities", "brier", round(brier * 2**40)


def by_rows(panes: Panes, ours: Callable[[str, str], bool]) -> dict[RowKey, dict[str, int]]:
    """The rows that the core would write for these counts: of the total, of coarse panes and of fine ones."""
    result: dict[RowKey, dict[str, int]] = {}
    for (who, minute), cells in panes.items():
        for (row, column), amount in cells.items():
            if ours(row, column) and amount:
                for level, pane in ((TOTAL, 0), (COARSE, minute // 10), (FINE, minute)):
                    columns = result.setdefault(RowKey(who, "", level, pane, row), {})
                    columns[column] = columns.get(column, 0) + amount
    cleaned = {key: {name: n for name, n in row.items() if n} for key, row in result.items()}
    return {key: row for key, row in cleaned.items() if row}


def written(ledger: Ledger, ours: Callable[[str, str], bool]) -> dict[RowKey, dict[str, int]]:
    """The same of what was written of single legs, with lists of classes as the oracle writes them."""
    result: dict[RowKey, dict[str, int]] = {}
    for key, row in ledger.rows().items():
        if isinstance(key.subject, Pair) or key.row.startswith("probabilities/"):
            continue
        cells = {str(orjson.loads(name)) if key.row == "confusion/classes" else name: n for name, n in row.items()}
        if kept := {name: n for name, n in cells.items() if ours(key.row, name)}:
            result[key] = kept
    return result


def is_feedback_part(row: str, column: str) -> bool:
    return (row, column) == ("exchanges", "feedback")


def is_any_other(row: str, column: str) -> bool:
    return not is_feedback_part(row, column)


# -- exactness --------------------------------------------------------------------------------------------------------


@given(stories, st.sampled_from(RULES), st.lists(st.integers(1, 3), max_size=4))
@settings(max_examples=400)
def test_every_count_equals_a_recount_of_the_events(
    records: list[Record], rules: tuple[Rules, ...], batches: list[int]
) -> None:
    """So nothing that was counted before a change is left behind, and nothing is negative."""
    ledger = run(records, batches, rules=rules)
    assert not ledger.dead
    assert written(ledger, is_any_other) == by_rows(recount(records, rules), is_any_other)


@given(stories, st.sampled_from(RULES), st.lists(st.integers(1, 3), max_size=4))
@settings(max_examples=400)
def test_the_feedback_part_is_counted_once_for_each_puid_and_model(
    records: list[Record], rules: tuple[Rules, ...], batches: list[int]
) -> None:
    ledger = run(records, batches, rules=rules)
    assert written(ledger, is_feedback_part) == by_rows(recount(records, rules), is_feedback_part)


@pytest.mark.parametrize("first", [None, 0])
def test_of_a_batch_and_a_row_alone_that_say_the_same_at_the_same_time_the_row_alone_holds(first: int | None) -> None:
    same = [a_feedback(0, puid="q", row=row) for row in (first, None if first == 0 else 0)]
    assert written(run(same, [], rules=()), is_feedback_part) == by_rows(recount(same, ()), is_feedback_part) == {}
    records = [a_request(puid="q"), *same]
    assert (
        written(run(records, [], rules=()), is_feedback_part) == by_rows(recount(records, ()), is_feedback_part) != {}
    )


# -- order, repetition, batches, partitions, restarts -----------------------------------------------------------------


@given(st.data(), stories, st.sampled_from(RULES))
@settings(max_examples=400)
def test_no_order_repetition_or_split_changes_anything(
    data: st.DataObject, records: list[Record], rules: tuple[Rules, ...]
) -> None:
    told = run(records, [], rules=rules)
    repeated = records + [later(record) for record in data.draw(st.lists(st.sampled_from(records), max_size=4))]
    again = data.draw(st.permutations(repeated))
    batches = data.draw(st.lists(st.integers(1, 4), max_size=6))
    other = run(again, batches, rules=rules, partitions=data.draw(st.integers(1, 3)))
    assert other.rows() == told.rows()
    assert known(other, records) == known(told, records)


@given(st.data(), stories, st.sampled_from(RULES))
def test_a_restart_at_any_cut_changes_nothing(
    data: st.DataObject, records: list[Record], rules: tuple[Rules, ...]
) -> None:
    """Nor do events that come again since their epoch was lost: the restarted shard has none of it."""
    half = data.draw(st.integers(0, len(records)))
    straight = run(records, [half], rules=rules)
    restarted = run(records[:half], [], rules=rules)
    before = known(restarted, records)
    restarted.absorb(*records[half:]).settle()  # lost: this epoch is never written
    restarted.restart()
    assert known(restarted, records) == before
    restarted.absorb(*records[half:]).cut()
    assert restarted.rows() == straight.rows()
    assert known(restarted, records) == known(straight, records)
    twin = restarted.copy()
    assert [shard.store for shard in twin.shards] == [shard.store for shard in restarted.shards]


@given(st.data(), stories, st.sampled_from(RULES))
def test_what_is_prepared_before_a_cut_changes_nothing(
    data: st.DataObject, records: list[Record], rules: tuple[Rules, ...]
) -> None:
    """Whatever its steps have done when more comes."""
    straight, prepared = Ledger(*rules), Ledger(*rules)
    with patch.multiple(shard, _ROWS_AT_ONCE=1, _CHANGES_AT_ONCE=1, _RECORDS_AT_ONCE=1):
        for record in records:
            straight.absorb(record)
            prepared.absorb(record)
            for _ in range(data.draw(st.integers(0, 9))):
                prepared.shards[0].prepare_some()
            if data.draw(st.booleans()):
                clock = data.draw(st.sampled_from([None, 0.0, 8000.0]))
                straight.cut(clock)
                prepared.cut(clock)
                assert prepared.rows() == straight.rows()
                assert prepared.shards[0].counts.keys == len(prepared.panes[0])
    assert prepared.cut().rows() == straight.cut().rows()
    assert known(prepared, records) == known(straight, records)


@given(st.lists(st.sampled_from(LABELS), min_size=1, max_size=5), st.sampled_from(BODIES))
def test_a_correction_equals_having_had_the_right_label_at_once(labels: list[Any], body: dict[str, Any]) -> None:
    response = a_response(body=body)
    corrected = run([response, *(a_feedback(label, at=time + 1) for time, label in enumerate(labels))], [1, 1, 1])
    at_once = run([response, a_feedback(labels[-1], at=len(labels))], [])
    assert corrected.rows() == at_once.rows()
    assert corrected.describe() == at_once.describe()


@given(st.sampled_from(LABELS), st.sampled_from(LABELS), st.sampled_from(BODIES), st.permutations(range(4)))
def test_a_then_b_then_a_ends_at_a(a: Any, b: Any, body: dict[str, Any], order: list[int]) -> None:
    records = [a_response(body=body), a_feedback(a, at=1), a_feedback(b, at=2), a_feedback(a, at=3)]
    ended = run([records[index] for index in order], [1, 1, 1])
    assert ended.rows() == run([records[0], records[3]], []).rows()


def test_the_oracle_knows_what_a_human_knows() -> None:
    """A check of the oracle itself, on a story worked out by hand."""
    records = [
        a_request(at=0),
        a_response(1, 0, 1, at=1),
        a_response([0.25, 0.75], predictor="shadow", at=61),
        a_feedback([1, 1, 0], reward=-0.5, at=12),
        a_feedback(None, row=1, at=13),
    ]
    current, shadow = Identity("ns", "svc", "default", "m", ""), Identity("ns", "svc", "shadow", "m", "")
    first = {
        ("exchanges", "request"): 1, ("exchanges", "response"): 1, ("exchanges", "feedback"): 1,
        ("confusion=1", "1"): 1, ("confusion/unlabelled", "0"): 1, ("confusion=0", "1"): 1,
        ("rewards", "count"): 1, ("rewards", "points"): -500_000_000,
        ("delay", "2"): 1, ("delay", "us"): 11_000_000,
    }  # fmt: skip
    second = {
        ("exchanges", "response"): 1, ("exchanges", "feedback"): 1, ("confusion/classes", "['0', '1']"): 1,
        ("confusion/unlabelled", "1"): 1, ("mismatches", "answers"): 1,
    }  # fmt: skip
    panes = recount(records, ())
    assert {at: dict(cells) for at, cells in panes.items()} == {
        (current, START // 60): first,
        (shadow, START // 60 + 1): second,
    }
    ledger = tell(*records)
    for ours in (is_feedback_part, is_any_other):
        assert written(ledger, ours) == by_rows(panes, ours)
    assert identity_fields(current)["predictor"] == "default"


# -- the merged view --------------------------------------------------------------------------------------------------

MODELS = (Identity("ns", "svc", "default", "m", ""), Identity("ns", "svc", "shadow", "m", "v2"))
VIEW_WINDOWS = (Window("5m", 300), Window("2h", 7200), Window("3h", 10800))
PANES = {TOTAL: (0,), FINE: (-3, -2, -1, 0, 1, 2, 3, 100, 125), COARSE: (-1, 0, 1, 17, 18)}
CELLS = (
    ("exchanges", "request"), ("rewards", "points"), ("confusion=1", "1"), ("confusion=1", "0"), ("confusion=0", "0"),
    ("confusion/unlabelled", "1"),
)  # fmt: skip


@st.composite
def a_row(draw: st.DrawFn) -> tuple[bytes, bytes | None]:
    """A record of the panes topic: absolute counts of a row, or None where it is gone."""
    level = draw(st.sampled_from([TOTAL, FINE, FINE, COARSE]))
    row = draw(st.sampled_from(sorted({row for row, _ in CELLS})))
    columns = [column for of, column in CELLS if of == row]
    counts = draw(st.dictionaries(st.sampled_from(columns), st.integers(1, 5), max_size=len(columns)))
    start = {TOTAL: 0, FINE: START // 60, COARSE: START // 600}[level]
    key = RowKey(draw(st.sampled_from(MODELS)), "", level, start + draw(st.sampled_from(PANES[level])), row)
    return row_key(key), row_value(counts) if counts else None


feeds = st.lists(st.lists(a_row(), max_size=8), min_size=1, max_size=3)  # of each partition, in its order


def a_view() -> View:
    return View(PaneClock(), VIEW_WINDOWS)


def read_out(view: View, now: float) -> dict[Identity, dict[str, Any]]:
    """The sums of all windows as far as readings show them."""
    return {
        who: {
            name: (read.parts["request"], round(read.reward_points * 1e9), read.confusion, read.rows)
            for name, read in ((name, Read(reading)) for name, reading in readings.items())
        }
        for who, readings in Readings(view, Rulebook(), 200).of_models(now)
    }


def brute_force(feed: list[list[tuple[bytes, bytes | None]]], now: float) -> dict[Identity, dict[str, Any]]:
    """The same from the newest value of each row of each partition."""
    latest = [dict(records) for records in feed]
    found: dict[Identity, dict[str, Any]] = {}
    for who in MODELS:
        total: Counter[tuple[str, str]] = Counter()
        sums: dict[str, Counter[tuple[str, str]]] = {"total": total} | {name: Counter() for name, _ in VIEW_WINDOWS}
        for rows in latest:
            for raw, value in rows.items():
                identity, _, level, pane, row = orjson.loads(raw)
                if Identity(*identity) == who and value is not None:
                    cells = {(row, column): int(amount) for column, amount in orjson.loads(value).items()}
                    for name in holders(level, pane, now):
                        sums[name].update(cells)
        if total:
            found[who] = {name: shown(cells) for name, cells in sums.items()}
    return found


def holders(level: str, pane: int, now: float) -> list[str]:
    """What holds a pane: the total, and the windows that reach back from now to it, or to the coarse one around it."""
    found = [TOTAL]
    for name, length in VIEW_WINDOWS if level != TOTAL else ():
        seconds = 60 if length <= 7200 else 600
        if level == FINE or seconds == 600:
            own = pane // 10 if level == FINE and seconds == 600 else pane
            found += [name] if 0 <= now // seconds - own <= length // seconds else []
    return found


def shown(cells: Counter[tuple[str, str]]) -> tuple[int, int, dict[tuple[str, str], int], dict[str, int]]:
    confusion = {(row[10:], column): n for (row, column), n in cells.items() if row[:10] == "confusion="}
    correct = sum(n for (actual, predicted), n in confusion.items() if actual == predicted)
    rows = {"correct": correct, "incorrect": sum(confusion.values()) - correct, "measured": 0, "failed": 0}
    rows["unlabelled"] = cells["confusion/unlabelled", "1"]
    return cells["exchanges", "request"], cells["rewards", "points"], confusion, rows


@given(st.data(), feeds)
def test_rows_that_come_again_or_interleaved_change_nothing(
    data: st.DataObject, feed: list[list[tuple[bytes, bytes | None]]]
) -> None:
    straight, mixed = a_view(), a_view()
    for number, records in enumerate(feed):
        for record in records:
            straight.apply(number, *record)
    turns = data.draw(st.permutations([number for number, records in enumerate(feed) for _ in records]))
    place = [0] * len(feed)
    for number in turns:
        place[number] += 1
        mixed.apply(number, *feed[number][place[number] - 1])
        if data.draw(st.booleans()):  # the topic is read again from some place on
            for record in feed[number][data.draw(st.integers(0, place[number] - 1)) : place[number]]:
                mixed.apply(number, *record)
    assert totals_of(mixed) == totals_of(straight)
    for now in (START, START + 7000):
        assert read_out(mixed, now) == read_out(straight, now)


@given(st.data(), feeds)
def test_windows_are_the_sums_of_their_panes_at_any_time_and_in_any_order_of_reading_and_applying(
    data: st.DataObject, feed: list[list[tuple[bytes, bytes | None]]]
) -> None:
    view = a_view()
    nows = st.sampled_from([-700, 0, 59, 60, 299, 300, 305, 600, 7200, 7260, 7500, 10800, 11400, 90000])
    done: list[list[tuple[bytes, bytes | None]]] = [[] for _ in feed]
    turns = data.draw(st.permutations([number for number, records in enumerate(feed) for _ in records]))
    for number in turns:
        record = feed[number][len(done[number])]
        done[number].append(record)
        view.apply(number, *record)
        if data.draw(st.booleans()):
            now = START + data.draw(nows)
            assert read_out(view, now) == brute_force(done, now)
    now = START + data.draw(nows)
    assert read_out(view, now) == brute_force(done, now)


@given(feeds, st.integers(0, 2))
def test_a_partition_that_is_forgotten_and_read_again_is_the_same(
    feed: list[list[tuple[bytes, bytes | None]]], number: int
) -> None:
    number %= len(feed)
    view = a_view()
    for partition, records in enumerate(feed):
        for record in records:
            view.apply(partition, *record)
    before = read_out(view, START)
    view.forget(number)
    assert read_out(view, START) == brute_force([[] if n == number else rows for n, rows in enumerate(feed)], START)
    for record in feed[number]:
        view.apply(number, *record)
    assert read_out(view, START) == before


@pytest.mark.parametrize("seconds", [300, 7200])
def test_a_window_holds_its_full_panes_and_the_open_one(seconds: int) -> None:
    window = Window("w", seconds)
    ledger = Ledger(windows=(window,)).absorb(a_response(1, at=0)).cut()
    held = [now for now in range(0, seconds + 181, 30) if ledger.models("w", now)["ns/svc/default/m"].parts["response"]]
    assert (held[0], held[-1]) == (0, seconds + 30)


def test_the_view_knows_who_owns_a_partition() -> None:
    view = a_view()
    view.take(3, b'["owner",3]', b'{"url":"http://one:6066","rules":"a"}')
    view.take(3, b'["owner",3]', b'{"url":"http://two:6066","rules":"b"}')
    assert view.owners == {3: Owner("http://two:6066", "b")}
    assert not view.identities()
