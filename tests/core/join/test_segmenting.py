"""Segments: which value an answer has in each, and that what it counts there is exact whatever comes in what order."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, matthews_corrcoef

from app.core.counts.panes import PaneClock
from app.core.dialects.keeping import SegmentHeaders
from app.core.dialects.understand import Arrival, understand
from app.core.join.exchange import decode, encode
from app.core.join.segmenting import MOST_ROW_VALUES
from app.core.limits import Limits
from app.core.measures.confusion import CONFUSION
from app.core.measures.errors import ERRORS
from app.core.measures.exchanges import EXCHANGES
from app.core.measures.probabilities import PROBABILITIES
from app.core.measures.reading import Reading
from app.core.measures.rewards import REWARDS
from app.core.rules import Rulebook, Rules
from app.core.scores.catalogue import scores_of
from app.core.segments import FEATURES, HEADERS, PAYLOAD, ROUTE, TAGS, Segment, shown_values, value_rank
from tests.builders import START, Ledger, Record, a_feedback, a_request, a_response, run, tell, ways

HOUR: Final = 3600
COUNTRY: Final = Segment("country", TAGS, "country")
AGE: Final = Segment("age", FEATURES, "age", (30.0, 50.0))


def tagged(value: Any, **more: Any) -> dict[str, Any]:
    return {"data": {"ndarray": [1]}, "meta": {"tags": {"country": value}}, **more}


def read(ledger: Ledger, window: str = "total", now: float = 0) -> dict[tuple[str, str], Reading]:
    """What is read of the one model in each value of its segments."""
    ((_, readings),) = ledger.readings().of_models(START + now)
    return dict(readings[window].segments)


def rows(ledger: Ledger, window: str = "total", now: float = 0) -> dict[tuple[str, str], dict[str, int]]:
    found = {own: CONFUSION.of(reading).rows for own, reading in read(ledger, window, now).items()}
    return {own: {verdict: n for verdict, n in verdicts.items() if n} for own, verdicts in found.items()}


def value_of(segment: Segment, *records: Record) -> list[str]:
    """The values that one answered puid has in a segment, in any order of its records."""
    ledger = tell(*records, rules=(Rules(segments=(segment,)),))
    return sorted(value for _, value in read(ledger))


@pytest.mark.parametrize("value", [b"gold", b" gold ", b"\xff", b"31", b"g" * 300, b" " * 300 + b"31", b""])
@pytest.mark.parametrize("name", ["X-Tier", "x-tier", "Ce-X-Tier", "ce_x-tier"])
@pytest.mark.parametrize("bins", [(), (30.0,)])
def test_an_event_that_the_intake_has_made_counts_where_the_canonical_one_does(
    bins: tuple[float, ...], name: str, value: bytes
) -> None:
    segment = Segment("tier", HEADERS, "x-tier", bins)
    folded = name.lower().replace("ce-", "ce_")
    request, response = a_request(), a_response(headers={folded: value})
    named = [(name if own == folded else own, said) for own, said in response.headers]
    keeping = SegmentHeaders(Rulebook((Rules(segments=(segment,)),)))
    (made,) = understand(Arrival("source", named, response.key, response.value, response.timestamp), keeping)
    again = response._replace(headers=list(made.event.headers))
    assert value_of(segment, request, again) == value_of(segment, request, response)


# -- where values are -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("DE", "DE"),
        (" DE ", "DE"),
        ("", "(missing)"),
        (None, "(missing)"),
        (3, "3"),
        (3.0, "3"),
        (0.5, "0.5"),
        (True, "true"),
        (False, "false"),
        ([7], "7"),
        (["DE", "FR"], "(list)"),
        ([], "(list)"),
        ({"a": 1}, "(object)"),
        ("x" * 101, "(too long)"),
        ("größer/ =@", "größer/ =@"),
        ("(missing)", "(missing)"),
    ],
)
def test_the_value_of_what_a_payload_says(raw: Any, value: str) -> None:
    assert value_of(COUNTRY, a_response(body=tagged(raw))) == [value]


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (29.999, "<30"),
        (30, "30-50"),
        (49, "30-50"),
        (50, ">=50"),
        ("31", "30-50"),
        (1e300, ">=50"),
        (None, "(missing)"),
        ("", "(missing)"),
        ("old", "(no number)"),
        (True, "(no number)"),
        ([40], "30-50"),
        ([40, 50], "(list)"),
        ({}, "(object)"),
    ],
)
def test_a_bin_holds_its_lower_bound(raw: Any, value: str) -> None:
    assert value_of(
        Segment("age", PAYLOAD, "who.age", (30.0, 50.0)), a_response(body=tagged("", who={"age": raw}))
    ) == [value]


@pytest.mark.parametrize(
    ("bins", "labels"),
    [((0.5,), ("<0.5", ">=0.5")), ((-10.0, -5.0), ("<-10", "-10--5", ">=-5")), ((1e20,), ("<1e+20", ">=1e+20"))],
)
def test_the_labels_of_bins(bins: tuple[float, ...], labels: tuple[str, ...]) -> None:
    assert Segment("x", TAGS, "x", bins).labels == labels


REQUEST: Final = {"data": {"names": ["age", "sex"], "ndarray": [[31, "f"]]}, "meta": {"tags": {"country": "FR"}}}


@pytest.mark.parametrize(
    ("segment", "records", "value"),
    [
        (COUNTRY, (a_request(REQUEST), a_response(body=tagged("DE"))), "DE"),  # the answer's before the request's
        (COUNTRY, (a_request(REQUEST), a_response(body=tagged(None))), "FR"),
        (COUNTRY, (a_request(REQUEST), a_response()), "FR"),
        (COUNTRY, (a_response(), a_feedback(body={"reward": 1, "meta": {"tags": {"country": "DE"}}})), "(missing)"),
        (COUNTRY, (a_response(body={"data": {"ndarray": [1]}, "meta": "none"}),), "(missing)"),
        (Segment("c", PAYLOAD, "a.b"), (a_response(body={"data": {"ndarray": [1]}, "a": {"b": "x"}}),), "x"),
        (Segment("c", PAYLOAD, "a.b"), (a_response(body={"data": {"ndarray": [1]}, "a": "x"}),), "(missing)"),
        (
            Segment("r", ROUTE),
            (a_response(body=tagged("", meta={"routing": {"eg": 1, "ab": 0, "all": -1}})),),
            "ab:0,eg:1",
        ),
        (Segment("r", ROUTE), (a_request(REQUEST | {"meta": {"routing": {"eg": 1}}}), a_response()), "(missing)"),
        (Segment("t", HEADERS, "x-tier"), (a_request(headers={"x-tier": b"gold"}), a_response()), "gold"),
        (Segment("t", HEADERS, "x-tier"), (a_response(headers={"x-tier": b"\xff"}),), "\ufffd"),
        (Segment("t", HEADERS, "tier"), (a_response(headers={"ce_tier": b"gold"}),), "gold"),
        (Segment("t", HEADERS, "x"), (a_response(headers={"x": b"g" * 101}),), "(too long)"),
        (Segment("t", HEADERS, "x"), (a_response(headers={"x": b" " * 101 + b"g"}),), "g"),
        (Segment("t", HEADERS, "x", (30.0,)), (a_response(headers={"x": b"0" * 100 + b"1"}),), "(no number)"),
        (Segment("s", FEATURES, "sex"), (a_request(REQUEST), a_response()), "f"),
        (Segment("s", FEATURES, "other"), (a_request(REQUEST), a_response()), "(missing)"),
        (Segment("s", FEATURES, "x"), (a_response(["f"], names=["x"]),), "(missing)"),  # an answer has no features
        (
            Segment("s", FEATURES, "sex"),
            (a_request({"data": {"names": ["sex"], "tensor": {"shape": [1, 1], "values": [2]}}}), a_response()),
            "2",
        ),
        (
            Segment("s", FEATURES, "sex"),
            (
                a_request(
                    {
                        "inputs": [
                            {"name": "sex", "datatype": "BYTES", "shape": [1], "data": ["f"]},
                            {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]},
                        ]
                    }
                ),
                a_response(),
            ),
            "f",
        ),
        (
            Segment("s", FEATURES, "sex"),
            (
                a_request({"inputs": [{"name": "sex", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}),
                a_response(),
            ),
            "(list)",
        ),
        (Segment("s", FEATURES, "sex"), (a_request({"data": {"ndarray": [{"sex": "f"}]}}), a_response()), "f"),
        (Segment("s", FEATURES, "sex"), (a_request({"instances": [{"sex": "f"}]}), a_response()), "f"),
        (Segment("s", FEATURES, "sex"), (a_request({"jsonData": {"sex": "f"}}), a_response()), "f"),
        (
            Segment("s", FEATURES, "sex"),
            (a_feedback(1, response={"data": {"ndarray": [1]}}, request=REQUEST),),
            "f",
        ),
        (COUNTRY, (a_feedback(1, response=tagged("DE"), request=REQUEST),), "DE"),
    ],
)  # fmt: skip
def test_where_a_value_is(segment: Segment, records: tuple[Record, ...], value: str) -> None:
    assert value_of(segment, *records) == [value]


def test_two_segments_of_which_one_stands_within_the_other() -> None:
    rules = Rules(segments=(Segment("a", PAYLOAD, "a"), Segment("b", PAYLOAD, "a.b")))
    ledger = tell(a_response(body={"data": {"ndarray": [1]}, "a": {"b": "x"}}), rules=(rules,))
    assert sorted(read(ledger)) == [("a", "(object)"), ("b", "x")]


def test_a_model_without_segments_has_none_and_keeps_nothing() -> None:
    ledger = tell(a_request(REQUEST), a_response(body=tagged("DE")))
    assert read(ledger) == {}
    (shard,) = ledger.shards
    exchange = shard.get(b"p")
    assert exchange is not None
    assert exchange.legs[0].segments is None
    assert exchange.counted[0].also == ()


def test_only_who_has_answered_counts_in_segments() -> None:
    ledger = tell(a_request(REQUEST), a_feedback(1, puid="q"), rules=(Rules(segments=(COUNTRY,)),))
    view = ledger.view()
    assert [view.segments(identity) for identity in view.identities()] == [[]]


# -- rows that differ -------------------------------------------------------------------------------------------------

BATCH: Final = {"data": {"names": ["age"], "ndarray": [[20], [40], [45]]}}


def test_rows_count_in_their_own_values_and_the_rest_in_that_of_several() -> None:
    ledger = tell(
        a_request(BATCH), a_response(0, 1, 1), a_feedback([0, 0, 1], reward=2), rules=(Rules(segments=(AGE,)),)
    )
    found = read(ledger)
    assert rows(ledger) == {
        ("age", "<30"): {"correct": 1}, ("age", "30-50"): {"correct": 1, "incorrect": 1}, ("age", "(several)"): {},
    }  # fmt: skip
    several = found["age", "(several)"]
    assert (REWARDS.of(several).points, EXCHANGES.of(several)["response"]) == (2, 1)
    assert REWARDS.of(found["age", "<30"]).feedbacks == EXCHANGES.of(found["age", "<30"])["response"] == 0
    assert ledger.describe()["legs"][0]["rows"][1]["segments"] == {"age": "30-50"}


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        ((1, 0), {"(missing)": 2}),  # nobody knows which row is whose
        ((1,), {"(missing)": 1}),
        ((1, 0, 0), {"<30": 1, "30-50": 2, "(several)": 0}),
    ],
)
def test_rows_have_values_where_the_answer_has_as_many(answers: Sequence[int], found: dict[str, int]) -> None:
    ledger = tell(a_request(BATCH), a_response(*answers), rules=(Rules(segments=(AGE,)),))
    assert {value: verdicts.get("unlabelled", 0) for (_, value), verdicts in rows(ledger).items()} == found


def test_rows_that_are_alike_are_one_value_however_many_there_are() -> None:
    batch = {"data": {"names": ["age"], "ndarray": [[20], [25]]}}
    ledger = tell(a_request(batch), a_response(1, 0), a_feedback(reward=1), rules=(Rules(segments=(AGE,)),))
    assert rows(ledger) == {("age", "<30"): {"unlabelled": 2}}
    assert REWARDS.of(read(ledger)["age", "<30"]).feedbacks == 1


def test_measurements_have_their_errors_by_row() -> None:
    ledger = tell(
        a_request(BATCH), a_response(1.5, 2.5, 4.5), a_feedback([1.25, 2.25, 2.5]), rules=(Rules(segments=(AGE,)),)
    )
    errors = {value: ERRORS.of(reading) for (_, value), reading in read(ledger).items()}
    assert {value: (one.rows, one.absolute / 2**80) for value, one in errors.items()} == {
        "<30": (1, 0.25), "30-50": (2, 2.25), "(several)": (0, 0.0),
    }  # fmt: skip


def test_probabilities_of_rows_are_those_of_the_whole_told_apart_and_follow_another_answer() -> None:
    rules = (Rules(segments=(AGE, COUNTRY)),)
    vectors = ([0.75, 0.25], [0.5, 0.5], [0.125, 0.875])
    other = ([0.25, 0.75], [0.5, 0.5], [0.125, 0.875])
    records = [a_request(BATCH), a_response(*vectors, at=1), a_feedback([0, 0, 1], at=2), a_response(*other, at=3)]
    ((_, readings),) = tell(*records, rules=rules).readings().of_models(START)
    whole = PROBABILITIES.of(readings["total"])
    assert whole.rows == 3
    by_value = {own: PROBABILITIES.of(reading) for own, reading in readings["total"].segments.items()}
    assert by_value["country", "(missing)"] == whole
    assert {value: of.rows for (segment, value), of in by_value.items() if segment == "age"} == {
        "<30": 1, "30-50": 2, "(several)": 0,
    }  # fmt: skip
    assert sum(of.brier for (segment, _), of in by_value.items() if segment == "age") == whole.brier
    assert sum(of.log_loss for (segment, _), of in by_value.items() if segment == "age") == whole.log_loss


def test_more_rows_than_can_be_kept_have_no_values() -> None:
    count = MOST_ROW_VALUES + 2
    request = {"data": {"names": ["age"], "ndarray": [[20 + 20 * (n % 2)] for n in range(count)]}}
    ledger = Ledger(Rules(segments=(AGE,)))
    ledger.absorb(a_request(request), a_response(*[1] * count)).cut()
    assert ledger.dead == []
    assert rows(ledger) == {("age", "(missing)"): {"unlabelled": count}}


def test_an_exchange_of_many_rows_does_not_grow_beyond_its_limit() -> None:
    count = 4000
    segments = tuple(Segment(f"s{n}", FEATURES, "age", (30.0, 50.0 + n)) for n in range(5))
    request = {"data": {"names": ["age"], "ndarray": [[20 + 20 * (n % 2)] for n in range(count)]}}
    ledger = Ledger(Rules(segments=segments), limits=Limits(exchange_bytes=20_000))
    ledger.absorb(a_request(request), a_response(*[1] * count)).cut()
    assert ledger.dead
    assert all(len(raw) <= 20_000 for raw in ledger.exchanges[0].values())


# -- whatever is replaced ---------------------------------------------------------------------------------------------


def test_a_request_that_is_replaced_takes_its_values_along() -> None:
    rules = (Rules(segments=(AGE,)),)
    older = a_request({"data": {"names": ["age"], "ndarray": [[20]]}}, at=0)
    newer = a_request({"data": {"names": ["age"], "ndarray": [[60]]}}, at=1)
    assert rows(tell(older, a_response(at=2), newer, a_feedback(1), rules=rules)) == {("age", ">=50"): {"correct": 1}}


def test_of_requests_of_one_time_the_same_wins_in_any_order() -> None:
    rules = (Rules(segments=(AGE, Segment("tier", HEADERS, "tier"))),)
    bodies = [{"data": {"names": ["age"], "ndarray": [[age]]}} for age in (20, 40, 60)]
    requests = [a_request(body, at=0, headers={"tier": tier}) for body in bodies for tier in (b"a", b"b")]
    assert len(read(tell(*requests, a_response(at=2), rules=rules))) == 2


def test_by_the_time_of_labels_too_and_a_corrected_label_moves() -> None:
    ledger = Ledger(Rules(segments=(COUNTRY, AGE)), clock=PaneClock(by_labels=True))
    ledger.absorb(a_request(BATCH, at=0), a_response(0, 1, 1, at=1), a_feedback([0, 0, 1], reward=1, at=3 * HOUR)).cut()
    now = 3 * HOUR + 60
    assert rows(ledger, "5m", now)["age", "<30"] == {}
    assert rows(ledger, "labels_5m", now) == {
        ("country", "(missing)"): {"correct": 2, "incorrect": 1},
        ("age", "<30"): {"correct": 1},
        ("age", "30-50"): {"correct": 1, "incorrect": 1},
        ("age", "(several)"): {},
    }
    assert REWARDS.of(read(ledger, "labels_5m", now)["age", "(several)"]).feedbacks == 1
    ledger.absorb(a_feedback([1, 1, 1], at=5 * HOUR)).cut()
    assert rows(ledger, "labels_5m", now)["age", "<30"] == {}
    assert rows(ledger, "labels_5m", 5 * HOUR + 60)["age", "<30"] == {"incorrect": 1}


def test_what_was_counted_before_a_segment_was_declared_is_missing_once_it_changes() -> None:
    ledger = Ledger().absorb(a_request(REQUEST), a_response(body=tagged("DE"))).cut()
    ledger.restart(Rules(segments=(COUNTRY,)))
    assert rows(ledger) == {}
    assert rows(ledger.absorb(a_feedback(1)).cut()) == {("country", "(missing)"): {"correct": 1}}
    ledger.absorb(a_response(body=tagged("FR"), at=9)).cut()
    assert rows(ledger) == {("country", "FR"): {"correct": 1}}


def test_a_segment_that_is_declared_no_more_is_not_shown_and_comes_back() -> None:
    rules = Rules(segments=(COUNTRY,))
    ledger = Ledger(rules).absorb(a_response(body=tagged("DE"))).cut()
    ledger.restart(Rules())
    assert rows(ledger) == {}
    ledger.restart(rules)
    assert rows(ledger) == {("country", "DE"): {"unlabelled": 1}}


def test_an_exchange_of_before_there_were_segments_is_read() -> None:
    ledger = Ledger().absorb(a_request(), a_response(), a_feedback(1)).cut()
    whole = decode(ledger.exchanges[0][b"p"])
    words = msgpack(ledger.exchanges[0][b"p"])
    words[1] = [leg[:-1] for leg in words[1]]
    words[3] = [counted[:-1] for counted in words[3]]
    assert encode(decode(packed(words))) == encode(whole)


def msgpack(raw: bytes) -> list[Any]:
    found: list[Any] = msgspec.msgpack.decode(raw)
    return found


def packed(words: list[Any]) -> bytes:
    return msgspec.msgpack.encode(words)


# -- too many values --------------------------------------------------------------------------------------------------


def many(count: int) -> list[Record]:
    return [a_response(body=tagged(f"v{n}"), puid=f"p{n}") for n in range(count)]


@pytest.mark.parametrize("partitions", [1, 2, 4])
@pytest.mark.parametrize("order", [1, -1])
def test_of_too_many_values_the_same_are_shown_in_any_order_and_over_any_partitions(
    order: int, partitions: int
) -> None:
    records = many(300)
    kept = sorted((f"v{n}" for n in range(300)), key=value_rank)[:5]
    ledger = run(
        records[::order], [50] * 6, rules=(Rules(segments=(COUNTRY,)),), partitions=partitions,
        limits=Limits(segment_values=5),
    )  # fmt: skip
    assert {value: found["unlabelled"] for (_, value), found in rows(ledger).items()} == {
        **dict.fromkeys(kept, 1), "other": 295,
    }  # fmt: skip
    ledger.restart()
    assert len(ledger.shards[0].numbers.segment_values) <= 80
    ledger.absorb(*[a_feedback(1, puid=f"p{n}") for n in range(300)]).cut()
    assert sum(found.get("correct", 0) for found in rows(ledger).values()) == 300
    assert rows(ledger)["country", kept[0]] == {"correct": 1}


def test_values_that_count_no_more_make_no_gap() -> None:
    rules = (Rules(segments=(COUNTRY,)),)
    ledger = run(many(100), [], rules=rules, limits=Limits(segment_values=5))
    first, *others = sorted((f"v{n}" for n in range(100)), key=value_rank)
    ledger.absorb(a_response(body=tagged(others[0]), puid="p" + first[1:], at=1)).cut()
    shown = {value: found["unlabelled"] for (_, value), found in rows(ledger).items()}
    assert shown == {**dict.fromkeys(others[:5], 1), others[0]: 2, "other": 94}


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (["a"], {"a": "a"}),
        ([" other", "a"], {"a": "a", " other": "other"}),
        (["other", " other"], {"other": "other", " other": "(other)"}),
        (["b", "(missing)", "c"], {"(missing)": "(missing)", "b": "other", "c": "other"}),
    ],
)
def test_how_values_are_shown(values: list[str], shown: dict[str, str]) -> None:
    assert shown_values(values, 1, {"(missing)"}) == shown


def test_bins_and_values_in_brackets_are_told_apart_however_many_values_there_are() -> None:
    rules = (Rules(segments=(COUNTRY._replace(kept=("v7",)),)),)
    records = [*many(100), a_response(puid="none")]
    ledger = run(records, [1] * 101, rules=rules, limits=Limits(segment_values=2))
    assert {value for _, value in rows(ledger)} == {"(missing)", "v7", "other"}


# -- laws -------------------------------------------------------------------------------------------------------------

PUIDS: Final = ("p", "q", "r", "s")
COUNTRIES: Final = ("DE", "FR", None)
MARKS: Final = st.sampled_from((0, 1))


@st.composite
def stories(draw: st.DrawFn) -> list[Record]:
    """Requests, answers and feedbacks of batches, each at a time of its own."""
    records = []
    for time in range(draw(st.integers(1, 24))):
        fields: Any = {"puid": draw(st.sampled_from(PUIDS)), "at": float(time * draw(st.sampled_from((1, 90))))}
        kind = draw(st.sampled_from(("request", "response", "feedback")))
        batch = draw(st.lists(MARKS, min_size=1, max_size=3))
        if kind == "request":
            ages = [[draw(st.sampled_from((20, 40)))] for _ in batch]
            records.append(a_request({"data": {"names": ["age"], "ndarray": ages}}, **fields))
        elif kind == "response":
            body = {"data": {"ndarray": batch}, "meta": {"tags": {"country": draw(st.sampled_from(COUNTRIES))}}}
            records.append(a_response(body=body, **fields))
        else:
            records.append(a_feedback(batch, reward=draw(st.sampled_from((0, 1))), **fields))
    return list({record.value: record for record in records}.values())


def expected(records: Sequence[Record]) -> dict[tuple[str, str], Counter[tuple[int, int | None]]]:
    """By segment and value the (prediction, label) of rows, worked out from the records alone."""
    found: dict[tuple[str, str], Counter[tuple[int, int | None]]] = {}
    for _, own in groupby(sorted(records, key=lambda one: one.key or b""), key=lambda one: one.key):
        newest: dict[str, Any] = {}
        for record in sorted(own, key=lambda one: dict(one.headers)["ce_time"]):
            newest[dict(record.headers)["ce_type"].decode().rpartition(".")[2]] = orjson.loads(record.value or b"")
        if "response" not in newest:
            continue
        marks = newest["response"]["data"]["ndarray"]
        labels = newest["feedback"]["truth"]["data"]["ndarray"] if "feedback" in newest else []
        labels = labels if len(labels) == len(marks) else [None] * len(marks)
        ages = [age for (age,) in newest["request"]["data"]["ndarray"]] if "request" in newest else []
        bins = ["<30" if age < 30 else "30-50" for age in ages]
        if len({*bins}) == 1:
            bins = bins[:1] * len(marks)
        elif len(bins) != len(marks):
            bins = ["(missing)"] * len(marks)
        country = newest["response"]["meta"]["tags"]["country"] or "(missing)"
        for mark, label, of_age in zip(marks, labels, bins, strict=True):
            for slice_ in (("country", country), ("age", of_age)):
                found.setdefault(slice_, Counter())[mark, label] += 1
    return found


def counted(ledger: Ledger) -> dict[tuple[str, str], Counter[tuple[int, int | None]]]:
    models = [readings["total"].segments for _, readings in ledger.readings().of_models(START)]
    found: dict[tuple[str, str], Counter[tuple[int, int | None]]] = {}
    for own, reading in (models[0] if models else {}).items():
        confusion = CONFUSION.of(reading)
        rows: Counter[tuple[int, int | None]] = Counter()
        for (actual, predicted), amount in confusion.confusion.items():
            rows[int(predicted), int(actual)] += amount
        unlabelled = confusion.rows["unlabelled"]
        if unlabelled:
            rows[-1, None] = unlabelled
        if rows:
            found[own] = rows
    return found


@settings(max_examples=150)
@given(stories(), st.sampled_from((1, 2, 4)))
def test_what_counts_in_segments_is_what_the_records_say(records: list[Record], partitions: int) -> None:
    rules = (Rules(segments=(COUNTRY, AGE), task="multiclass"),)
    wanted: dict[tuple[str, str], Counter[tuple[int, int | None]]] = {}
    for own, cells in expected(records).items():
        for cell, amount in cells.items():
            wanted.setdefault(own, Counter())[cell if cell[1] is not None else (-1, None)] += amount
    first: Ledger | None = None
    for how, again, batches in ways(records):
        ledger = run(again, batches, rules=rules, partitions=partitions)
        assert counted(ledger) == wanted, how
        first = first or ledger
        assert ledger.rows() == first.rows(), how
        twin = ledger.copy()
        assert twin.rows() == ledger.rows()


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(("DE", "FR")), MARKS, MARKS), min_size=1, max_size=40))
def test_the_scores_of_a_slice_are_those_of_scikit_learn(told: list[tuple[str, int, int]]) -> None:
    ledger = Ledger(Rules(segments=(COUNTRY,), task="binary"))
    for number, (country, mark, label) in enumerate(told):
        body = {"data": {"ndarray": [mark]}, "meta": {"tags": {"country": country}}}
        ledger.absorb(a_response(body=body, puid=f"p{number}"), a_feedback(label, puid=f"p{number}"))
    for (_, country), reading in read(ledger.cut()).items():
        marks, labels = zip(*[(mark, label) for of, mark, label in told if of == country], strict=True)
        scores = {score.name: score.value for score in scores_of(reading)}
        assert scores["accuracy"] == pytest.approx(accuracy_score(labels, marks))
        if scores["mcc"] is not None:
            assert scores["mcc"] == pytest.approx(matthews_corrcoef(labels, marks))
