"""Dead letters over HTTP. The topic, and who may write, are stand-ins; live tests ask real brokers."""

import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest
from aiokafka import TopicPartition

from app.core.events import TYPE_OF, Kind, Reason
from app.core.letters import DeadLetter, done_record, letter_record
from app.core.rules import Rules
from app.core.wire.records import Record, pack_headers
from app.settings import load_settings
from app.worker.http.routes import letters
from app.worker.kafka.client import SetupError
from app.worker.kafka.metadata import TopicFacts
from app.worker.letters import box
from app.worker.letters.box import LetterError
from app.worker.letters.returning import Out
from tests.patience import PATIENCE
from tests.worker.http.routes.scene import Reply, a_worker, ask, error, get

Of = Callable[..., Awaitable[Reply]]
SETTINGS = load_settings()
WEEK = {"retention.ms": str(7 * 86400 * 1000), "max.message.bytes": "1000000"}


def a_letter(offset: int, reason: Reason, value: bytes = b"{", puid: bytes = b"p") -> Record:
    headers = [("ce_type", TYPE_OF[Kind.FEEDBACK].encode()), ("ce_requestid", puid)]
    refused = Record(70 + offset, 1000, puid, value, pack_headers(headers))
    key, content, *own = letter_record(DeadLetter(SETTINGS.feedback_topic, 1, refused, reason, "why"))
    return Record(offset, 2000 + offset, key, content, pack_headers(own[0]))


class Topic:
    """The topic of dead letters, of one partition, in memory."""

    def __init__(self, *records: Record) -> None:
        self.records = [*records]
        self.opened = 0
        self.sent: list[Out] = []
        self.trouble: Exception | None = None

    async def span(self, *_: Any) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
        tp = TopicPartition(SETTINGS.dead_letters_topic, 0)
        return {tp: 0}, {tp: len(self.records)}

    async def between(
        self, starts: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> AsyncGenerator[tuple[TopicPartition, list[Record]], None]:
        for tp, start in starts.items():
            yield tp, self.records[start:]

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, len(self.records))

    async def commit(self, records: Sequence[Out], done: str, offsets: dict[int, list[int]]) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.sent += records
        key, value, *headers = done_record(done, offsets[0])
        self.records.append(Record(len(self.records), 9000, key, value, pack_headers(headers[0])))


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[[Topic], None]:
    def put(topic: Topic) -> None:
        @contextlib.asynccontextmanager
        async def opened(_: Any) -> AsyncIterator[Topic]:
            topic.opened += 1
            yield topic

        async def facts(_: Any) -> TopicFacts:
            return TopicFacts(1, "", WEEK)

        async def topics(_: Any) -> dict[str, TopicFacts]:
            return {name: TopicFacts(4, "", WEEK) for name in SETTINGS.topics}

        monkeypatch.setattr(letters, "open_reader", opened)
        monkeypatch.setattr(letters, "open_writing", opened)
        monkeypatch.setattr(letters, "topic_facts", facts)
        monkeypatch.setattr(letters, "topics_written", topics)
        monkeypatch.setattr(box, "open_offsets_reader", opened)

    return put


def test_the_letters_that_wait_are_told_the_newest_first(serve: Callable[[Topic], None]) -> None:
    serve(
        Topic(a_letter(0, Reason.BAD_JSON), a_letter(1, Reason.TOO_LARGE, b"\xffx" * 400), a_letter(2, Reason.BAD_JSON))
    )
    found = get("/api/letters").content
    assert (found["reasons"], found["note"]) == ({"bad-json": 2, "too-large": 1}, None)
    assert [one["id"] for one in found["letters"]] == ["0-2", "0-1", "0-0"]
    newest, large, _ = found["letters"]
    assert newest == {
        "id": "0-2",
        "time_at": 2.002,
        "reason": "bad-json",
        "detail": "why",
        "topic": "inference-feedback",
        "kind": "feedback",
        "preview": "{",
    }
    assert large["preview"] == "�x" * 250


def test_values_are_not_shown_where_any_are_kept_back(serve: Callable[[Topic], None]) -> None:
    serve(Topic(a_letter(0, Reason.BAD_JSON, b'{"name": "Jane"')))
    found = get("/api/letters", a_worker(rules=(Rules("other/*", redact=("name",)),))).content
    assert (found["letters"][0]["preview"], found["letters"][0]["kind"]) == ("", "feedback")
    assert found["note"] == "Values are not shown: `redact` keeps some back. `tally dead-letters show` shows them."


def test_only_so_many_offsets_are_counted(serve: Callable[[Topic], None], monkeypatch: pytest.MonkeyPatch) -> None:
    serve(Topic(*(a_letter(at, Reason.EMPTY) for at in range(6))))
    monkeypatch.setattr(letters, "_NEWEST", 4)
    found = get("/api/letters").content
    assert (found["reasons"], len(found["letters"])) == ({"empty": 4}, 6)
    assert found["note"] == "Counted are the newest 4 offsets of each partition of tally-dead-letters."


def test_letters_of_one_reason_and_so_many(serve: Callable[[Topic], None]) -> None:
    serve(Topic(*(a_letter(at, (Reason.BAD_JSON, Reason.EMPTY)[at % 2]) for at in range(6))))
    found = get("/api/letters?reason=empty&limit=2").content
    assert [one["id"] for one in found["letters"]] == ["0-5", "0-3"]
    assert Counter(found["reasons"]) == {"bad-json": 3, "empty": 3}


def test_who_looks_again_within_seconds_is_told_the_same(
    serve: Callable[[Topic], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(letters, "_KEPT_SECONDS", PATIENCE)
    topic = Topic(a_letter(0, Reason.BAD_JSON))
    serve(topic)

    async def story(of: Of, _: Any) -> None:
        first = await of("/api/letters")
        assert await of("/api/letters") == first
        assert topic.opened == 1
        await of("/api/letters?limit=3")
        assert topic.opened == 2

    ask(story, a_worker())


def test_a_letter_goes_back_once_and_what_is_of_no_use_says_why(serve: Callable[[Topic], None]) -> None:
    topic = Topic(a_letter(0, Reason.TOO_LARGE, b'{"reward":1}'), a_letter(1, Reason.BAD_JSON))
    serve(topic)

    async def story(of: Of, _: Any) -> None:
        assert len((await of("/api/letters")).content["letters"]) == 2
        first = await of("/api/letters/resend", "POST", json={"ids": ["0-0", "0-1"]})
        assert first == Reply(
            200,
            {
                "sent": 1,
                "refused": [
                    {
                        "id": "0-1",
                        "why": "Such letters are of no use to this version, whatever the settings (bad-json).",
                    }
                ],
            },
        )
        assert [(out.topic, out.key, out.value) for out in topic.sent] == [
            ("inference-feedback", b"p", b'{"reward":1}')
        ]
        again = await of("/api/letters/resend", "POST", json={"ids": ["0-0"]})
        assert again.content == {
            "sent": 0,
            "refused": [{"id": "0-0", "why": "It was sent back, or dropped, before."}],
        }
        assert len(topic.sent) == 1
        assert [one["id"] for one in (await of("/api/letters")).content["letters"]] == ["0-1"]

    ask(story, a_worker())


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (b"", 400, 'The body must be JSON like {"ids": ["3-1042"]}, with ids of /api/letters.'),
        (b'["0-0"]', 400, 'The body must be JSON like {"ids": ["3-1042"]}, with ids of /api/letters.'),
        (b'{"ids": [3]}', 400, 'The body must be JSON like {"ids": ["3-1042"]}, with ids of /api/letters.'),
        (b'{"ids": "\xff"}', 400, 'The body must be JSON like {"ids": ["3-1042"]}, with ids of /api/letters.'),
        (b'{"ids": []}', 400, "ids: 0 letters; name 1 to 500 at once."),
        (b'{"ids": [' + b'"0-1",' * 500 + b'"0-1"]}', 400, "ids: 501 letters; name 1 to 500 at once."),
        (
            b'{"ids": ["zero"]}',
            400,
            "'zero' is no id of a dead letter: one looks like 3-1042, as `tally dead-letters list` shows it.",
        ),
        (
            b'{"ids": ["0-7"]}',
            404,
            "There is no letter 0-7: `tally dead-letters list` shows those that there are.",
        ),
    ],
)
def test_what_cannot_be_sent_back(serve: Callable[[Topic], None], body: bytes, status: int, sentence: str) -> None:
    topic = Topic(a_letter(0, Reason.TOO_LARGE, b'{"reward":1}'))
    serve(topic)

    async def story(of: Of, _: Any) -> None:
        assert error(await of("/api/letters/resend", "POST", data=body)) == (status, sentence)
        assert not topic.sent

    ask(story, a_worker())


@pytest.mark.parametrize("trouble", [LetterError("Another has begun."), SetupError("Kafka is away.")])
def test_sending_that_fails_says_why(serve: Callable[[Topic], None], trouble: Exception) -> None:
    topic = Topic(a_letter(0, Reason.TOO_LARGE, b'{"reward":1}'))
    topic.trouble = trouble
    serve(topic)

    async def story(of: Of, _: Any) -> None:
        assert error(await of("/api/letters/resend", "POST", json={"ids": ["0-0"]})) == (503, str(trouble))

    ask(story, a_worker())


def test_a_page_of_another_site_sends_nothing_back(serve: Callable[[Topic], None]) -> None:
    serve(Topic(a_letter(0, Reason.TOO_LARGE, b'{"reward":1}')))

    async def story(of: Of, _: Any) -> None:
        headers = {"Sec-Fetch-Site": "cross-site"}
        assert (await of("/api/letters/resend", "POST", json={"ids": ["0-0"]}, headers=headers)).status == 403

    ask(story, a_worker())


def test_brokers_that_are_away_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(_: Any) -> TopicFacts:
        raise SetupError("The brokers at 127.0.0.1:9092 cannot be reached.")

    monkeypatch.setattr(letters, "topic_facts", away)
    assert error(get("/api/letters")) == (503, "The brokers at 127.0.0.1:9092 cannot be reached.")
