"""An exchange: what is known of one puid, whatever the order in which its events came (design 3, rules 2 to 7)."""

from typing import Any

import orjson
import pytest

from app.core.events import Reason
from app.core.join.position import DamagedError
from app.core.limits import Limits
from app.core.rules import Rules
from tests.builders import START, Ledger, Record, a_feedback, a_request, a_response, a_shard, absorb, tell, time_text


def leg(story: Ledger, predictor: str = "default", model: str = "m") -> dict[str, Any]:
    """What is known of one leg."""
    for found in story.describe()["legs"]:
        if (found["predictor"], found["model"]) == (predictor, model):
            return dict(found)
    raise AssertionError(f"no leg {predictor}/{model}")


def rows(*records: Record, rules: tuple[Rules, ...] = ()) -> list[dict[str, Any]]:
    """The rows of the one leg of a story."""
    (found,) = tell(*records, rules=rules).describe()["legs"]
    return list(found["rows"])


def test_an_exchange_for_people() -> None:
    story = tell(
        a_request(at=0),
        a_response([0.25, 0.75], version="v2", at=0.01),
        a_feedback(0, reward=-0.5, at=90),
    )
    assert story.describe() == {
        "puid": "p",
        "legs": [
            {
                "model_namespace": "ns",
                "model_service": "svc",
                "predictor": "default",
                "model": "m",
                "model_version": "v2",
                "request_time": "2026-11-21T07:00:00.000000Z",
                "response_time": "2026-11-21T07:00:00.010000Z",
                "rows": [{"predicted": "1", "score": 0.75, "label": "0", "correct": False}],
            }
        ],
        "label": "0",
        "reward": -0.5,
        "feedback_time": "2026-11-21T07:01:30.000000Z",
        "detections": [],
        "note": None,
    }


def test_before_its_response_a_leg_has_no_rows_and_no_version() -> None:
    found = leg(tell(a_request(at=0), a_feedback(1, at=1)))
    assert (found["rows"], found["response_time"], found["model_version"]) == ([], None, "")


def test_a_feedback_without_a_prediction_says_what_to_send() -> None:
    assert "Seldon-Puid" in tell(a_feedback(1)).describe()["note"]
    assert tell(a_feedback(1), a_response(1)).describe()["note"] is None


@pytest.mark.parametrize(
    ("feedback", "words"),
    [
        (a_feedback(1), None),
        (a_feedback(reward=1), None),
        (a_feedback(None), None),
        (a_feedback([1, 0]), "do not match the rows"),
        (a_feedback(1, row=3), "do not match the rows"),
        (a_feedback(1, service="svk"), "has not answered"),
        (a_feedback(1, namespace="other"), "has not answered"),
    ],
)
def test_labels_that_count_nowhere_say_why(feedback: Record, words: str | None) -> None:
    note = tell(a_response(1), feedback).describe()["note"]
    assert (note is None) if words is None else words in note


# -- rule 2: the greatest (event time, digest) wins -------------------------------------------------------------------


def test_of_two_responses_of_a_leg_the_newer_wins() -> None:
    story = tell(a_response(1, version="v1", at=0), a_response(0, version="v2", at=1))
    assert [row["predicted"] for row in leg(story)["rows"]] == ["0"]
    assert leg(story)["model_version"] == "v2"


def test_of_two_responses_at_the_same_time_one_wins_in_any_order() -> None:
    tell(a_response(1, at=0), a_response(0, at=0), a_feedback(1, at=1))


def test_of_two_labels_at_the_same_time_one_wins_in_any_order() -> None:
    tell(a_response(1), a_feedback(1, at=5), a_feedback(0, at=5), a_feedback(2, at=5))


def test_a_label_that_goes_from_a_to_b_to_a_ends_at_a() -> None:
    first, second, third = a_feedback(1, at=1), a_feedback(0, at=2), a_feedback(1, at=3)
    story = tell(a_response(1), first, second, third)
    assert leg(story)["rows"] == [{"predicted": "1", "label": "1", "correct": True}]
    assert story.describe()["feedback_time"] == time_text(3)


def test_without_ce_time_the_record_timestamp_is_the_event_time() -> None:
    story = tell(a_response(1, at=None, stamp=7.5), a_feedback(0, at=None, stamp=9), a_feedback(1, at=8))
    assert leg(story)["response_time"] == "2026-11-21T07:00:07.500000Z"
    assert story.describe()["label"] == "0"


@pytest.mark.parametrize("text", [b"yesterday", b"", b"\xff", b"0001-01-01T00:00:00Z", b"9999-12-31T23:59:59-23:59"])
def test_a_ce_time_that_is_none_is_the_record_timestamp(text: bytes) -> None:
    story = tell(a_response(1, stamp=7.5, headers={"ce_time": text}), a_feedback(0, row=0, at=9))
    assert leg(story)["response_time"] == "2026-11-21T07:00:07.500000Z"
    assert leg(story)["rows"][0]["label"] == "0"


@pytest.mark.parametrize("text", [b"0001-01-01T00:00:00Z", b"1960-01-01T00:00:00Z", b"0001-01-01T00:00:00+23:59"])
def test_times_before_1970_depend_on_no_order(text: bytes) -> None:
    ancient: dict[str, bytes | None] = {"ce_time": text}
    tell(
        a_request(puid="p", headers=ancient),
        a_response(1, puid="p", at=0),
        a_feedback(0, puid="p", row=0, headers=ancient),
        a_response(1, puid="q", at=0),
    )


def test_a_feedback_changes_only_what_it_states() -> None:
    story = tell(a_response(1), a_feedback(0, reward=1, at=1), a_feedback(1, at=2), a_feedback(reward=0, at=3))
    assert (story.describe()["label"], story.describe()["reward"]) == ("1", 0)


def test_an_explicit_null_takes_a_label_back() -> None:
    story = tell(a_response(1), a_feedback(0, reward=1, at=1), a_feedback(None, at=2))
    assert leg(story)["rows"] == [{"predicted": "1"}]
    assert (story.describe()["label"], story.describe()["reward"]) == (None, 1)


def test_an_explicit_null_takes_a_reward_back() -> None:
    story = tell(a_response(1), a_feedback(0, reward=1, at=1), a_feedback(reward=None, at=2))
    assert (story.describe()["label"], story.describe()["reward"]) == ("0", None)


def test_an_older_null_takes_nothing_back() -> None:
    story = tell(a_response(1), a_feedback(0, reward=1, at=2), a_feedback(None, reward=None, at=1))
    assert (story.describe()["label"], story.describe()["reward"]) == ("0", 1)


# -- rules 1 and 7: rows ----------------------------------------------------------------------------------------------


def test_the_labels_of_a_batch_go_to_its_rows_by_position() -> None:
    assert rows(a_response(1, 0, 1), a_feedback([1, 1, 0], at=1)) == [
        {"predicted": "1", "label": "1", "correct": True},
        {"predicted": "0", "label": "1", "correct": False},
        {"predicted": "1", "label": "0", "correct": False},
    ]


def test_a_feedback_may_address_one_row() -> None:
    story = tell(a_response(1, 0, 1), a_feedback(1, row=1, at=1))
    assert leg(story)["rows"] == [
        {"predicted": "1"},
        {"predicted": "0", "label": "1", "correct": False},
        {"predicted": "1"},
    ]


def test_rows_that_get_the_same_body_at_the_same_time_each_get_their_label() -> None:
    """A client that labels a batch row by row, without ce_time, does so within one millisecond."""
    labels = [a_feedback(1, row=row, at=None, stamp=1) for row in range(3)]
    assert [row.get("label") for row in rows(a_response(1, 0, 1), *labels)] == ["1", "1", "1"]


def test_the_label_of_an_exchange_shows_all_its_rows() -> None:
    story = tell(a_response(1, 0, 1), a_feedback(1, row=0, at=1), a_feedback(0, row=2, at=1))
    assert story.describe()["label"] == {"0": "1", "2": "0"}


def test_the_label_of_a_batch_shows_what_was_corrected_row_by_row() -> None:
    story = tell(a_response(1, 0, 1), a_feedback(["a", "b", "c"], at=1), a_feedback("new", row=1, at=2))
    assert story.describe()["label"] == ["a", "new", "c"]


def test_for_each_row_the_greatest_label_wins_of_its_own_and_the_batchs() -> None:
    found = rows(
        a_response(1, 1, 1),
        a_feedback("old", row=0, at=1),
        a_feedback(["a", "b", "c"], at=2),
        a_feedback("new", row=1, at=3),
        a_feedback("newest", row=1, at=4),
    )
    assert [row["label"] for row in found] == ["a", "newest", "c"]


def test_a_null_for_one_row_takes_back_that_row_alone() -> None:
    found = rows(a_response(1, 1), a_feedback([1, 0], at=1), a_feedback(None, row=0, at=2))
    assert [row.get("label") for row in found] == [None, "0"]


def test_a_null_for_the_batch_takes_back_older_rows_alone() -> None:
    found = rows(a_response(1, 1), a_feedback(1, row=0, at=1), a_feedback(None, at=2), a_feedback(0, row=1, at=3))
    assert [row.get("label") for row in found] == [None, "0"]


def test_while_lengths_do_not_match_rows_stay_unlabelled() -> None:
    story = tell(a_response(1, 0, 1), a_feedback([1, 1], at=1))
    assert leg(story)["rows"] == [{"predicted": "1"}, {"predicted": "0"}, {"predicted": "1"}]
    assert story.models()["ns/svc/default/m"].mismatched == 1


@pytest.mark.parametrize("repair", [a_feedback([1, 1, 0], at=2), a_response(1, 0, at=2)])
def test_a_mismatch_is_judged_again_on_every_change(repair: Record) -> None:
    story = tell(a_response(1, 0, 1), a_feedback([1, 1], at=1), repair)
    assert story.models()["ns/svc/default/m"].mismatched == 0
    assert all("label" in row for row in leg(story)["rows"])


def test_a_label_for_a_row_that_does_not_exist_is_a_mismatch() -> None:
    story = tell(a_response(1, 0), a_feedback(1, row=0, at=1), a_feedback(1, row=7, at=2))
    assert story.models()["ns/svc/default/m"].mismatched == 1
    assert [row.get("label") for row in leg(story)["rows"]] == ["1", None]


def test_one_row_takes_one_label() -> None:
    ledger = Ledger().absorb(a_response(1, 0), a_feedback([1, 0], row=0)).cut()
    assert ledger.refusals == [Reason.RAGGED]
    assert [row.get("label") for row in leg(ledger)["rows"]] == [None, None]


# -- rule 6: a feedback that carries the response ---------------------------------------------------------------------


def test_a_feedback_that_carries_the_response_judges_on_it() -> None:
    response = {"data": {"ndarray": [[0.1, 0.9]]}, "model_version": "v1"}
    story = tell(a_feedback(1, response=response, request={"data": {"ndarray": [[1]]}}, at=5))
    found = leg(story)
    assert [row["correct"] for row in found["rows"]] == [True]
    assert (found["model_version"], found["request_time"], found["response_time"]) == (
        "v1", time_text(5), time_text(5),
    )  # fmt: skip


def test_a_response_of_its_own_goes_before_one_in_a_feedback_even_if_older() -> None:
    carried = a_feedback(1, response={"data": {"ndarray": [1]}}, request={"data": {"ndarray": [1]}}, at=5)
    story = tell(a_request(at=0), a_response(0, at=0.5), carried)
    found = leg(story)
    assert [row["predicted"] for row in found["rows"]] == ["0"]
    assert (found["request_time"], found["response_time"]) == (time_text(0), time_text(0.5))


def test_of_two_carried_responses_the_newer_wins() -> None:
    story = tell(*(a_feedback(1, response={"data": {"ndarray": [n]}}, at=n) for n in (1, 2, 3)))
    assert [row["predicted"] for row in leg(story)["rows"]] == ["3"]


def test_a_reward_counts_though_the_response_that_it_carries_is_only_meta() -> None:
    story = tell(a_response(1), a_feedback(reward=1, response={"meta": {"routing": {"router": 1}}}, at=1))
    assert story.describe()["reward"] == 1


# -- versions, names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "header", "version"),
    [
        ({}, None, ""),
        ({}, b"7", "7"),
        ({"model_version": "v2"}, b"7", "v2"),
        ({"meta": {"requestPath": {"m": "repo/m:1.4"}}}, None, "1.4"),
        ({"meta": {"requestPath": {"m": "repo/m:1.4"}}}, b"7", "7"),
    ],
)
def test_the_version_of_a_response(body: dict[str, Any], header: bytes | None, version: str) -> None:
    response = a_response(body={"data": {"ndarray": [1]}, **body}, headers={"ce_modelversion": header})
    assert leg(tell(response))["model_version"] == version


# -- rule 10: what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (a_response(key=None), Reason.NO_KEY),
        (a_response(key=b""), Reason.NO_KEY),
        (a_response(key=b"\0p", headers={"ce_requestid": None}), Reason.NO_PUID),
        (a_response(value=None), Reason.BAD_JSON),
        (a_response(value=b""), Reason.BAD_JSON),
        (a_response(value=b"x" * 70), Reason.TOO_LARGE),
        (a_response(headers={"ce_type": b"io.seldon.serving.inference.other"}), Reason.UNKNOWN_TYPE),
        (a_response(headers={"ce_type": None}), Reason.UNKNOWN_TYPE),
        (a_response(headers={"ce_endpoint": b"\xff"}), Reason.BAD_HEADERS),
        (a_response(model="m" * 254), Reason.BAD_HEADERS),
        (a_response(headers={"ce_modelversion": b"\xff"}), Reason.BAD_HEADERS),
        (a_response(headers={"ce_modelversion": b"v" * 201}), Reason.BAD_HEADERS),
        (a_response(body={"data": {"ndarray": ["abcdef"]}}), Reason.LABEL_TOO_LONG),
        (a_response([0, 1], names=["abcdef", "b"]), Reason.LABEL_TOO_LONG),
        (a_feedback("abcdef"), Reason.LABEL_TOO_LONG),
        (a_feedback(reward=2e9), Reason.BAD_REWARD),
    ],
)
def test_what_cannot_be_used_is_put_aside_with_its_reason_and_leaves_no_trace(record: Record, reason: Reason) -> None:
    ledger = Ledger(limits=Limits(body_bytes=69, label_length=5))
    ledger.absorb(record).settle()
    assert not ledger.knows()
    ledger.cut()
    assert ledger.refusals == [reason]
    (letter,) = ledger.dead
    assert (letter.record.key, letter.record.value, letter.record.headers) == (record.key, record.value, record.headers)
    assert letter.detail
    assert not ledger.totals()
    assert ledger.stats.rejected == {reason: 1}


@pytest.mark.parametrize("header", ["ce_requestid", "ce_time", "ce_modelversion", "ce_endpoint", "content-type"])
def test_a_header_without_value_is_as_none(header: str) -> None:
    """Kafka knows them."""
    ledger = Ledger().absorb(a_response(headers={header: None})).cut()
    assert (ledger.refusals, ledger.knows()) == ([], True)


def test_a_refused_event_leaves_its_exchange_and_the_others_of_its_batch_alone() -> None:
    bad = a_feedback(5, response={"data": {"ndarray": []}}, at=9)
    ledger = Ledger().absorb(a_response(1), a_feedback(1, at=1), bad, a_response(0, puid="q")).cut()
    assert ledger.refusals == [Reason.EMPTY]
    assert ledger.describe()["label"] == "1"
    assert ledger.knows("q")


def test_an_exchange_that_grows_too_large_keeps_what_it_has() -> None:
    ledger = Ledger().absorb(a_response(*[1] * 50_000)).settle()
    before = ledger.describe()
    ledger.absorb(a_response(*["a text"] * 30_000, predictor="other"), a_feedback([1] * 200_000, at=1)).cut()
    assert ledger.refusals == [Reason.EXCHANGE_TOO_LARGE] * 2
    assert ledger.describe() == before
    ledger.absorb(a_feedback(reward=1)).cut()
    assert ledger.describe()["reward"] == 1


@pytest.mark.parametrize("settled", [True, False])
@pytest.mark.parametrize("rows", [[1] * 7000, [0.1] * 975])
def test_no_exchange_is_written_that_is_larger_than_the_limit(rows: list[Any], settled: bool) -> None:
    """Even if it grows by many parts, none of them large, that come together."""
    shard = a_shard()
    for number in range(60):
        absorb(shard, [a_response(*rows, model=f"m{number}")])
        if settled:
            shard.settle()
    cut = shard.cut(None)
    assert max(len(value) for key, value in cut.exchanges if key == b"p" and value) <= Limits().exchange_bytes
    assert {letter.reason for letter in cut.dead} == {Reason.EXCHANGE_TOO_LARGE}


def test_a_wide_vector_makes_no_record_too_large_for_kafka() -> None:
    """A vector of many entries (an embedding, a picture) is no list of classes that every count must carry."""
    wide = b'{"data": {"ndarray": [[' + b", ".join([b"0.1"] * 100_000) + b"]]}}"
    ledger = Ledger(logs=True).absorb(a_response(value=wide)).cut()
    assert largest_record(ledger) < 900_000


def test_a_model_that_answers_with_texts_of_its_own_makes_no_record_too_large_for_kafka() -> None:
    texts = [a_response(f"{number} " + "x" * 180, puid=f"p{number}") for number in range(6000)]
    assert largest_record(Ledger().absorb(*texts).cut()) < 900_000


def largest_record(ledger: Ledger) -> int:
    return max(
        len(key) + len(value)
        for changelog in (*ledger.exchanges, *ledger.panes)
        for key, value in changelog.items()
    )  # fmt: skip


# -- rule 11: how many models -----------------------------------------------------------------------------------------


def test_models_beyond_the_limit_are_refused_and_those_below_it_go_on() -> None:
    ledger = Ledger(limits=Limits(models=2))
    ledger.absorb(a_request(model="a"), a_request(model="b")).cut()
    ledger.absorb(a_request(model="c", puid="q")).cut()
    assert ledger.refusals == [Reason.TOO_MANY_MODELS]
    ledger.absorb(a_response(1, model="a"), a_response(1, model="b"), a_feedback(1, model="a", at=1)).cut()
    assert ledger.refusals == [Reason.TOO_MANY_MODELS]
    assert [row["correct"] for row in leg(ledger, model="a")["rows"]] == [True]


@pytest.mark.parametrize("what", ["models", "versions", "lists of classes"])
def test_models_below_the_limit_go_on_after_a_restart(what: str) -> None:
    ledger = Ledger(limits=Limits(models=1))
    for number in range(9):
        response = a_response(
            [0.1, 0.9],
            names=[f"a{number}", "b"] if what == "lists of classes" else None,
            version=f"v{number}" if what == "versions" else None,
            puid=f"p{number}",
        )
        ledger.absorb(response).cut()
        known = not ledger.dead
        ledger.dead.clear()
        ledger.restart()
        ledger.absorb(response, response._replace(timestamp=response.timestamp + 1000)).cut()
        assert bool(ledger.dead) is not known
        ledger.dead.clear()


# -- the log ----------------------------------------------------------------------------------------------------------


def test_events_of_any_time_can_be_logged() -> None:
    ledger = Ledger(logs=True)
    for number, text in enumerate(
        (b"0001-01-01T00:00:00+23:59", b"9999-12-31T23:59:59-23:59", b"1969-01-01T00:00:00Z")
    ):
        ledger.absorb(a_response(1, puid=f"p{number}", headers={"ce_time": text})).cut()
        ledger.describe(f"p{number}")
    assert len(ledger.logged) == 3


def test_parts_of_a_puid_that_meet_are_logged_together_as_they_came() -> None:
    response = a_response([0.25, 0.75], at=1)
    ledger = Ledger(logs=True).absorb(a_request(at=0), response, response, a_feedback(1, at=2)).cut()
    ((key, raw),) = ledger.logged
    assert key == b"p"
    entry = orjson.loads(raw)
    assert [part["kind"] for part in entry["parts"]] == ["request", "response", "feedback"]
    assert entry["parts"][1]["payload"] == orjson.loads(response.value or b"")
    assert entry["parts"][1]["leg"] == ["ns", "svc", "default", "m"]
    assert entry["legs"] == [
        {
            "leg": ["ns", "svc", "default", "m", ""],
            "request_time": START * 1_000_000,
            "response_time": (START + 1) * 1_000_000,
            "rows": [{"predicted": "1", "probability": 0.75, "label": "1", "correct": True}],
            "delay": 1_000_000,
        }
    ]


def test_a_feedback_waits_for_its_prediction_to_be_logged() -> None:
    ledger = Ledger(logs=True).absorb(a_feedback(1, at=2), a_request(at=0)).cut()
    assert [kinds(raw) for _, raw in ledger.logged] == [["request"]]
    ledger.restart()
    ledger.absorb(a_response(1, at=1)).cut()
    assert [kinds(raw) for _, raw in ledger.logged] == [["request"], ["feedback", "response"]]
    ledger.absorb(a_feedback(0, at=3)).cut()
    assert kinds(ledger.logged[-1][1]) == ["feedback"]


def test_a_feedback_that_never_meets_its_prediction_is_logged_when_it_expires() -> None:
    ledger = Ledger(logs=True, limits=Limits(retention_seconds=HOUR)).absorb(a_feedback(1)).cut()
    assert ledger.logged == []
    ledger.cut(3 * HOUR)
    assert [kinds(raw) for _, raw in ledger.logged] == [["feedback"]]


def kinds(raw: bytes) -> list[str]:
    return [part["kind"] for part in orjson.loads(raw)["parts"]]


# -- rule 12: expiry and the clock ------------------------------------------------------------------------------------

WEEK = 7 * 86400
HOUR = 3600


def test_an_exchange_is_forgotten_after_the_retention_of_its_newest_part() -> None:
    ledger = Ledger().absorb(a_response(1, at=0), a_feedback(1, at=3 * HOUR)).cut()
    ledger.cut(WEEK + 2 * HOUR)
    assert ledger.knows()
    ledger.cut(WEEK + 5 * HOUR)
    assert not ledger.knows()
    assert b"p" not in ledger.exchanges[0]
    assert ledger.models()["ns/svc/default/m"].rows["correct"] == 1


def test_a_repetition_does_not_keep_an_exchange() -> None:
    response = a_response(1, at=0)
    ledger = Ledger().absorb(response).cut()
    ledger.absorb(response._replace(timestamp=(START + 5 * HOUR) * 1000)).cut()
    assert not ledger.cut(WEEK + 2 * HOUR).knows()


def test_expiry_goes_by_record_timestamps_so_that_catching_up_loses_no_label() -> None:
    ledger = Ledger().absorb(a_response(1, at=0, stamp=20 * HOUR)).cut(WEEK + 10 * HOUR)
    assert ledger.knows()


@pytest.mark.parametrize("restarts", [False, True])
def test_after_expiry_a_puid_is_new(restarts: bool) -> None:
    ledger = Ledger().absorb(a_response(1, at=0)).cut()
    if restarts:
        ledger.restart()
    ledger.cut(WEEK + 2 * HOUR)
    if restarts:
        ledger.restart()
    ledger.absorb(a_feedback(1, at=WEEK + 2 * HOUR)).cut(WEEK + 2 * HOUR)
    assert ledger.describe()["legs"] == []
    assert ledger.models()["ns/svc/default/m"].rows["unlabelled"] == 1


@pytest.mark.parametrize(
    ("records", "orphans"),
    [
        ([a_feedback(1)], 1),
        ([a_feedback(reward=1)], 1),
        ([a_request(), a_feedback(1)], 1),
        ([a_request()], 0),
        ([a_response(1), a_feedback(1)], 0),
        ([a_response(1)], 0),
        ([a_feedback(1, response={"data": {"ndarray": [1]}})], 0),
    ],
)
def test_an_orphan_is_a_feedback_that_expires_without_a_response(records: list[Record], orphans: int) -> None:
    ledger = Ledger().absorb(*records).cut()
    ledger.cut(WEEK + 2 * HOUR)
    assert ledger.stats.orphans == orphans


@pytest.mark.parametrize(
    ("newest", "at_end", "clock"),
    [
        ({"a": 10, "b": 20, "c": 30}, [], 10),
        ({"a": 10, "b": 20, "c": 30}, ["a"], 20),
        ({"a": 10, "b": 20, "c": 30}, ["a", "b", "c"], 100),
        ({"a": 10, "b": 20}, ["c"], 10),
        ({"a": 10, "b": 20}, [], None),
        ({}, ["a", "b", "c"], 100),
        ({"a": 500, "b": 400, "c": 300}, [], 100),
    ],
)
def test_the_clock_of_a_partition_is_that_of_its_oldest_topic(
    newest: dict[str, int], at_end: list[str], clock: float | None
) -> None:
    shard = a_shard()
    for topic, seconds in newest.items():
        shard.newest[topic] = seconds * 1000
    assert shard.clock(100, at_end, ["a", "b", "c"]) == clock


def test_a_cut_says_how_far_it_reaches() -> None:
    shard = a_shard()
    absorb(shard, [a_request(offset=7, at=1), a_request(offset=9, at=0), a_response(offset=4), a_response(offset=5)])
    shard.skip("response", 8)
    shard.skip("request", 3)
    cut = shard.cut(None)
    assert (cut.offsets, cut.events) == ({"request": 10, "response": 8}, 4)
    assert not shard.has_news
    again = a_shard()
    exchanges, panes = (
        {key: value for key, value in changes if value is not None} for changes in (cut.exchanges, cut.panes)
    )
    mark = again.recover(exchanges, panes)
    assert mark is not None
    assert (mark.offsets, mark.partitions) == ({"request": 10, "response": 8}, 1)
    assert mark.newest == {"request": (START + 1) * 1000, "response": START * 1000}


def test_a_changelog_with_a_hole_in_its_words_is_not_believed() -> None:
    ledger = Ledger().absorb(a_response(1), a_response(1, model="n")).cut()
    (first,) = [key for key, value in ledger.exchanges[0].items() if value == b'["ns","svc","default","m"]']
    del ledger.exchanges[0][first]
    with pytest.raises(DamagedError, match="does not fit"):
        ledger.restart()


# -- the worker's own counters ----------------------------------------------------------------------------------------


def test_what_the_worker_has_seen() -> None:
    first, second = a_feedback(1, at=1), a_feedback(0, at=2)
    ledger = Ledger().absorb(a_request(), a_response(1), a_response(1), first, second, first, second).cut()
    assert +ledger.stats.events == {"request": 1, "response": 2, "feedback": 4}
    assert ledger.stats.duplicates == {"response": 1, "feedback": 2}
    assert ledger.stats.corrections == 1


def test_the_labels_of_several_rows_correct_nothing() -> None:
    rows_of_one = [a_feedback(1, row=row, at=row) for row in range(4)]
    ledger = Ledger().absorb(a_response(1, 1, 1, 1), *rows_of_one, *rows_of_one).cut()
    assert (ledger.stats.corrections, ledger.stats.duplicates["feedback"]) == (0, 4)


def test_errors_of_a_model_are_counted() -> None:
    ledger = Ledger().absorb(a_response(body={"status": {"code": 500}}), a_response(1, puid="q")).cut()
    assert ledger.stats.failed == 1
    assert ledger.models()["ns/svc/default/m"].rows["failed"] == 1
