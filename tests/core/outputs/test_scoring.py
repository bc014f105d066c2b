"""What joined records bring for monitors: answers beside their requests; and the events that results are."""

import math
from typing import Any

import orjson
import pytest

from app.core.events import RefusedError
from app.core.monitors import AlertWhen, Code, Columns, Monitor, MonitorSpec
from app.core.outputs import scoring
from app.core.outputs.scoring import Answered, Pairs, result_event, too_large
from app.core.rules import Column, Rulebook, Rules, Schema
from app.core.wire import records as wire
from tests.builders import Ledger, Record, a_feedback, a_request, a_response, time_text

SPEC = MonitorSpec("odd", "v1", AlertWhen(">", 0.5))
RULES = Rules("ns/*", monitors=(Monitor(SPEC, Code("function", "m:f")),))
BODY = {"data": {"names": ["a", "b"], "ndarray": [[1, 2]]}}
MINUTE = 60_000


def log_of(*epochs: list[Record]) -> list[bytes]:
    ledger = Ledger(logs=True)
    for records in epochs:
        ledger.absorb(*records).cut()
    return [value for _, value in ledger.logged]


def answers(*records: bytes, rules: Rules = RULES) -> list[Answered]:
    pairs = Pairs(Rulebook((rules,)))
    return [one for offset, record in enumerate(records) for one in taken(pairs, record, offset)]


def taken(pairs: Pairs, record: bytes, offset: int = 0, stamp: int = 0) -> list[Answered]:
    pairs.take(offset, stamp, record)
    return pairs.answers()


def scored(one: Answered) -> tuple[str, Any, Any]:
    """Whether an answer can be scored, else why not; and what."""
    return one.trouble, one.inputs and one.inputs.rows, one.outputs and one.outputs.rows


def test_an_answer_comes_with_its_request_whether_one_record_holds_them_or_two() -> None:
    asked, answered = a_request(BODY), a_response([0.25, 0.75], version="7")
    (one,) = answers(*log_of([asked, answered]))
    assert (one.puid, str(one.identity), one.size) == ("p", "ns/svc/default/m@7", 1)
    assert one.inputs == Columns(("a", "b"), [[1, 2]])
    assert one.outputs == Columns(("output0", "output1"), [[0.25, 0.75]])
    assert answers(*log_of([asked], [answered])) == answers(*log_of([answered], [asked])) == [one]


def test_columns_have_the_names_of_the_schema_else_of_the_payload_else_their_places() -> None:
    schema = Schema((Column("one", ("one[x]", "one[y]")),), (Column("class"),))
    rules = Rules("ns/*", monitors=RULES.monitors, prediction_schema=schema)
    (one,) = answers(*log_of([a_request(BODY), a_response(1)]), rules=rules)
    assert (one.inputs, one.outputs) == (Columns(("one[x]", "one[y]"), [[1, 2]]), Columns(("class",), [[1]]))
    (bare,) = answers(*log_of([a_request(), a_response([3], names=["t:0"])]))
    assert bare.inputs is not None
    assert bare.outputs is not None
    assert (bare.inputs.names, bare.outputs.names) == (("x0", "x1"), ("output",))


def test_a_label_brings_nothing_to_score_and_neither_does_a_model_without_monitors() -> None:
    assert len(answers(*log_of([a_request(BODY), a_response(1)], [a_feedback(1)]))) == 1
    other = [a_request(BODY, namespace="other"), a_response(1, namespace="other")]
    assert answers(*log_of(other)) == []


@pytest.mark.parametrize(
    ("records", "trouble", "size"),
    [
        ([a_request(BODY), a_response(body={"status": {"code": 500}})], "the response", 1),
        ([a_request(BODY), a_response(1, 0)], "the request has 1 rows, and the answer 2", 2),
    ],
)
def test_what_cannot_be_scored_says_why(records: list[Record], trouble: str, size: int) -> None:
    (one,) = answers(*log_of(records))
    assert one.trouble.startswith(trouble)
    assert (one.size, one.inputs) == (size, None)


def test_an_answer_waits_a_minute_for_its_request_and_is_read_again_after_a_restart_until_then() -> None:
    first, second = log_of([a_request(BODY, puid="q")], [a_response(1)])
    pairs = Pairs(Rulebook((RULES,)))
    assert taken(pairs, first, 10) == []
    assert taken(pairs, second, 11, 1000) == []
    assert pairs.first_offset(12) == 10
    assert pairs.expire(MINUTE) == []  # a request goes without a word
    assert pairs.first_offset(12) == 11
    (one,) = pairs.expire(MINUTE + 1000)
    assert one.trouble == "its request has not come within 60 s"
    assert pairs.first_offset(12) == 12


def test_a_request_that_comes_after_a_minute_is_scored_with_its_answer_then() -> None:
    first, second = log_of([a_response(1)], [a_request(BODY)])
    pairs = Pairs(Rulebook((RULES,)))
    assert taken(pairs, first) == []
    (failed,) = pairs.expire(MINUTE)
    assert (failed.trouble, failed.asked) == ("its request has not come within 60 s", "")
    (one,) = taken(pairs, second)
    assert scored(one) == ("", [[1, 2]], [[1]])
    assert one.asked == time_text(0)


#: A request that is answered, both of which are replaced.
FIRST, OTHER = a_request(BODY, at=1), a_request({"data": {"ndarray": [[3, 4]]}}, at=3)
ANSWER, LATER = a_response(1, at=2), a_response(0, at=4)


@pytest.mark.parametrize(
    ("epochs", "found"),
    [
        ([[FIRST, ANSWER], [LATER]], [([[1, 2]], [[1]]), ([[1, 2]], [[0]])]),
        ([[FIRST, ANSWER], [OTHER]], [([[1, 2]], [[1]]), ([[3, 4]], [[1]])]),
        ([[FIRST, ANSWER], [OTHER], [LATER]], [([[1, 2]], [[1]]), ([[3, 4]], [[1]]), ([[3, 4]], [[0]])]),
        ([[FIRST, OTHER], [ANSWER], [LATER]], [([[3, 4]], [[1]]), ([[3, 4]], [[0]])]),
        ([[LATER], [FIRST], [OTHER]], [([[1, 2]], [[0]]), ([[3, 4]], [[0]])]),
        ([[FIRST, ANSWER, OTHER, LATER]], [([[3, 4]], [[0]])]),
    ],
)
def test_what_is_replaced_is_scored_again_with_what_stands_beside_it(
    epochs: list[list[Record]], found: list[tuple[Any, Any]]
) -> None:
    assert [scored(one) for one in answers(*log_of(*epochs))] == [("", *one) for one in found]


@pytest.mark.parametrize(
    ("before", "after", "lacks", "found"),
    [
        ([[FIRST, ANSWER]], [LATER], True, [("", [[1, 2]], [[0]])]),
        ([[FIRST, ANSWER]], [OTHER], True, [("", [[3, 4]], [[1]])]),
        ([[FIRST], [ANSWER], [OTHER]], [LATER], True, [("", [[3, 4]], [[0]])]),
        ([[FIRST, ANSWER]], [OTHER, LATER], False, [("", [[3, 4]], [[0]])]),
        ([[a_request(BODY, puid="q")]], [FIRST, ANSWER], False, [("", [[1, 2]], [[1]])]),
        ([], [a_response(1, puid="q")], False, []),
    ],
)
def test_what_came_before_a_restart_is_asked_for_where_a_part_comes_alone(
    before: list[list[Record]], after: list[Record], lacks: bool, found: list[tuple[str, Any, Any]]
) -> None:
    *past, record = log_of(*before, after)
    pairs = Pairs(Rulebook((RULES,)))
    pairs.take(9, 0, record)
    assert pairs.lacks_past is lacks
    if lacks:
        pairs.remember([b"{", *past])
        assert not pairs.lacks_past
    assert [scored(one) for one in pairs.answers()] == found


def test_an_answer_whose_request_is_not_found_fails_at_once_and_asks_no_more() -> None:
    _, second, third = log_of([FIRST], [ANSWER], [LATER])
    pairs = Pairs(Rulebook((RULES,)))
    pairs.take(9, 0, second)
    pairs.remember([])
    why = "its request is not in the log of joined records, or too far before it"
    assert [scored(one) for one in pairs.answers()] == [(why, None, None)]
    assert pairs.first_offset(10) == 10
    pairs.take(10, 0, third)
    assert not pairs.lacks_past
    assert [scored(one) for one in pairs.answers()] == [(why, None, None)]


def test_of_very_many_only_the_newest_stay_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_MOST_SETTLED", 2)
    log = log_of(
        *([a_request(BODY, puid=puid), a_response(1, puid=puid)] for puid in "pqr"),
        [a_response(0, puid="p", at=1)],
        [a_response(0, puid="q", at=1)],
    )
    found = answers(*log)
    assert [(one.puid, bool(one.trouble)) for one in found] == [
        ("p", False), ("q", False), ("r", False), ("p", True), ("q", True),
    ]  # fmt: skip


def test_what_is_no_joined_record_is_refused() -> None:
    with pytest.raises(RefusedError, match="cannot be read"):
        Pairs(Rulebook((RULES,))).take(0, 0, b"{")


def test_of_very_many_failed_rows_some_say_why() -> None:
    (one,) = answers(*log_of([a_request(BODY), a_response(1, 0, 1, 0)]))
    said: dict[str, Any] = orjson.loads(result_event(one, SPEC, ["it hung"] * 5000).value)
    assert (said["outcomes"], len(said["why"])) == (["failed"] * 5000, 100)


def test_a_result_that_is_too_large_says_of_all_rows_that_they_failed() -> None:
    (one,) = answers(*log_of([a_request({"data": {"ndarray": [[1]] * 3}}, at=1), a_response(1, 0, 1, at=2)]))
    event = result_event(one, SPEC, [0.25, 0.75, "it hung"])
    short = too_large(event, "it has 9 bytes")
    assert short[::2] == event[::2]
    assert orjson.loads(short.value) == {
        "monitor": "odd", "version": "v1", "request_time": one.asked, "failed": 3, "why": "it has 9 bytes",
    }  # fmt: skip


def test_a_result_is_an_event_that_the_join_counts_with_its_answer() -> None:
    records = [a_request(BODY), a_response(1, 0, 1, 0, version="7")]
    body = {"data": {"ndarray": [[1, 2]] * 4}}
    records[0] = a_request(body)
    (one,) = answers(*log_of(records))
    event = result_event(one, SPEC, [0.25, 0.75, math.inf, "it gave NaN"])
    said: dict[str, Any] = orjson.loads(event.value)
    assert said["values"] == [0.25, 0.75, None, None]
    assert said["outcomes"] == ["ok", "alert", "alert", "failed"]
    assert said["why"] == {"3": "it gave NaN"}
    assert result_event(one, SPEC, [0.25, 0.75, math.inf, "it gave NaN"]) == event
    ledger = Ledger().absorb(*records)
    headers = [(name, value) for name, value in event.headers]
    result = wire.Record(9, records[1].timestamp, event.key, event.value, wire.pack_headers(headers))
    ledger.take("response", [result])
    (counted,) = ledger.cut().describe()["monitors"]
    assert counted["leg"] == "ns/svc/default/m"
    assert list(ledger.models()) == ["ns/svc/default/m@7"]
