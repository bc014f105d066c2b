"""What becomes of a dead letter that is sent back."""

import time
from typing import Any, Final

import orjson
import pytest

from app.core.events import TYPE_OF, Kind, Reason
from app.core.letters import REKEYED, RESENT, DeadLetter, Letter, letter_record, read_letter
from app.core.rules import Rulebook
from app.core.wire.records import Record, pack_headers
from app.settings import Settings, load_settings
from app.worker.kafka.metadata import TopicFacts
from app.worker.letters.returning import Returning, UselessError

NOW: Final = int(time.time() * 1000)
SETTINGS: Final = load_settings(app_id="shop", log_topic="log")
REQUESTS, RESPONSES, FEEDBACK = SETTINGS.topics
WEEK: Final = {"retention.ms": str(7 * 86400 * 1000), "max.message.bytes": "100000"}
FACTS: Final = {topic: TopicFacts(4, "", WEEK) for topic in (*SETTINGS.topics, "log")}
HEADERS: Final = [("ce_type", TYPE_OF[Kind.FEEDBACK].encode()), ("ce_requestid", b"p")]
JOINED: Final = (
    b'{"puid":"p","parts":[{"kind":"request","leg":["n","s","p","m"],"source":"","time":"2026-11-21T07:00:00Z",'
    b'"payload":{"data":{"ndarray":[[1]]}}}],"legs":[]}'
)


def a_letter(
    topic: str = FEEDBACK,
    *,
    key: bytes | None = b"p",
    value: bytes | None = b'{"reward":1}',
    headers: list[tuple[str, bytes]] = HEADERS,
    timestamp: int = NOW - 60_000,
    offset: int = 5,
    reason: Reason = Reason.TOO_LARGE,
) -> Letter:
    record = Record(offset, timestamp, key, value, pack_headers(headers))
    key, value, *own = letter_record(DeadLetter(topic, 1, record, reason, "why"))
    letter = read_letter(2, Record(9, NOW, key, value, pack_headers(own[0])))
    assert letter is not None
    return letter


def returned(letter: Letter) -> list[Any]:
    return list(Returning(SETTINGS, FACTS, Rulebook(), NOW).records(letter))


def test_an_event_of_a_canonical_topic_goes_back_as_it_came() -> None:
    (out,) = returned(a_letter())
    assert out == (FEEDBACK, b"p", b'{"reward":1}', [*HEADERS, (RESENT, b"2-9")], NOW - 60_000, None)


def test_an_old_one_goes_back_in_a_younger_record_with_its_own_time() -> None:
    (out,) = returned(a_letter(timestamp=1_793_491_200_123))
    assert out.timestamp == NOW - 7 * 86400 * 1000 // 2
    assert dict(out.headers)["ce_time"] == b"2026-11-01T00:00:00.123000Z"


@pytest.mark.parametrize("size", [50, 90_000])
def test_what_settings_may_allow_is_sent(size: int) -> None:
    value = orjson.dumps({"truth": {"data": {"ndarray": ["x" * size]}}})
    assert [out.value for out in returned(a_letter(value=value, reason=Reason.LABEL_TOO_LONG))] == [value]


def test_a_pair_of_a_source_becomes_the_events_of_the_canonical_topics() -> None:
    value = orjson.dumps(
        {"puid": "q", "features": [1, 2], "output": "cat", "label": "cat", "time": "2026-11-21T07:00:00Z"}
    )
    made = returned(a_letter("any", key=None, value=value, headers=[]))
    assert [(out.topic, out.key, dict(out.headers)[RESENT]) for out in made] == [
        (topic, b"q", b"2-9") for topic in SETTINGS.topics
    ]
    assert {dict(out.headers)["ce_time"] for out in made} == {b"2026-11-21T07:00:00Z"}


def test_a_joined_record_goes_back_to_its_partition_of_the_log() -> None:
    (out,) = returned(a_letter("log", value=JOINED, headers=[], reason=Reason.DOCUMENT_REFUSED))
    assert out == ("log", b"p", JOINED, [(RESENT, b"2-9")], NOW, 1)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"value": bytes(1_000_000)}, "cut short, and the whole is not in the topic any more"),
        ({"value": b'{"reward":1,"x":"%s"}' % (b"x" * 100_000)}, "too large for their topic: inference-"),
        ({"topic": ""}, "do not say where they come from"),
        ({"value": b"{"}, "of no use to this version, whatever the settings (bad-json)"),
        ({"key": None}, "of no use to this version, whatever the settings (no-key)"),
        ({"headers": [*HEADERS, (REKEYED, b"1")], "key": b"q"},
         "of no use to this version, whatever the settings (wrong-key)"),
        ({"topic": "any", "value": b"x", "headers": []}, "of no use to this version, whatever the settings ("),
        ({"topic": "any", "value": b'{"puid":"q","kind":"feedback","payload":{}}', "headers": []},
         "of no use to this version, whatever the settings (empty)"),
        ({"topic": "log", "value": b"{"}, "of no use to this version, whatever the settings (document-refused)"),
        ({"topic": "log", "value": JOINED, "offset": -1}, "joined records that log has never taken"),
        ({"topic": "old-log", "value": JOINED, "reason": Reason.DOCUMENT_REFUSED},
         "documents from old-log, and TALLY_LOG_TOPIC is log"),
    ],
)  # fmt: skip
def test_of_what_is_of_no_use_it_is_said_why(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(UselessError) as said:
        returned(a_letter(**changes))
    assert str(said.value).startswith(why)


@pytest.mark.parametrize(
    ("settings", "facts", "why"),
    [
        (load_settings(app_id="shop"), FACTS, "documents, and none are written: TALLY_LOG_TOPIC is not set"),
        (SETTINGS, {topic: FACTS[topic] for topic in SETTINGS.topics}, "documents, and the topic log does not exist"),
        (SETTINGS, FACTS | {"log": TopicFacts(1, "", WEEK)}, "joined records that log has never taken"),
    ],
)
def test_documents_need_their_log(settings: Settings, facts: dict[str, TopicFacts], why: str) -> None:
    letter = a_letter("log", value=JOINED, headers=[], reason=Reason.DOCUMENT_REFUSED)
    with pytest.raises(UselessError) as said:
        Returning(settings, facts, Rulebook(), NOW).records(letter)
    assert str(said.value) == why
