"""Letters of joined records go back with what the log said since, so that the last word stays the last."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import pytest
from aiokafka import TopicPartition

from app.core.events import Reason
from app.core.letters import RESENT, RESENT_BACK, DeadLetter, Letter, letter_record, read_letter, sent_back
from app.core.wire.records import Record, pack_headers
from app.settings import load_settings
from app.worker.letters import joined
from app.worker.letters.joined import LogLetters
from app.worker.letters.returning import Out


class Log:
    """A log of one partition, by key and value, that is read and written as if it were the brokers."""

    def __init__(self, *said: tuple[str, str]) -> None:
        self.records = [Record(at, at, key.encode(), value.encode()) for at, (key, value) in enumerate(said)]
        self.commits: list[dict[int, list[int]]] = []
        #: What somebody else writes just before a commit.
        self.meanwhile: list[tuple[str, str]] = []

    async def commit(self, records: Sequence[Out], done: str, offsets: dict[int, list[int]]) -> None:
        assert done == RESENT_BACK
        self.commits.append(offsets)
        if self.meanwhile:
            key, value = self.meanwhile.pop(0)
            self._write(key.encode(), value.encode(), [])
        for out in records:
            assert (out.topic, out.partition) == ("log", 0)
            self._write(out.key, out.value, out.headers)

    def _write(self, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]) -> None:
        self.records.append(Record(len(self.records), 0, key, value, pack_headers(headers)))

    def said(self, key: str, first: int = 0) -> list[str]:
        """All that it says of a puid, from a place on."""
        return [(one.value or b"").decode() for one in self.records[first:] if one.key == key.encode()]

    # -- as a reader, and as a consumer that is asked for offsets ------------------------------------------------------

    async def span(self, topic: str, partitions: int) -> None:
        assert (topic, partitions) == ("log", 1)

    async def between(
        self, starts: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> AsyncGenerator[tuple[TopicPartition, list[Record]], None]:
        for tp, start in starts.items():
            yield tp, self.records[start:]  # what came after the end may be among it

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, len(self.records))

    async def beginning_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, 0)


@pytest.fixture
def send(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Send the letters of some offsets of a log back."""
    settings = load_settings(app_id="shop", log_topic="log")

    def send(log: Log, *offsets: int) -> None:
        @contextlib.asynccontextmanager
        async def opened(_: Any) -> AsyncIterator[Log]:
            yield log

        monkeypatch.setattr(joined, "open_reader", opened)
        monkeypatch.setattr(joined, "open_offsets_reader", opened)
        letters = [_letter(log.records[offset], 70 + offset) for offset in offsets]
        logged = [(one, Out("log", one.key, one.value, sent_back(one), 0, 0)) for one in letters]
        asyncio.run(LogLetters(settings).send(log, logged, {2: [one.offset for one in letters]}))

    return send


def _letter(record: Record, offset: int) -> Letter:
    key, value, *headers = letter_record(DeadLetter("log", 0, record, Reason.DOCUMENT_REFUSED, "why"))
    letter = read_letter(2, Record(offset, 0, key, value, pack_headers(headers[0])))
    assert letter is not None
    return letter


def test_what_came_since_goes_after_it_and_other_puids_are_left_alone(send: Callable[..., None]) -> None:
    log = Log(("p", "asked"), ("q", "asked"), ("p", "labelled"), ("q", "labelled"), ("p", "corrected"))
    send(log, 0)
    assert log.said("p", 5) == ["asked", "labelled", "corrected"]
    assert log.said("q", 5) == []
    assert log.commits == [{2: [70]}]
    assert all(dict(one.headers)[RESENT] == b"2-70" for one in log.records[5:])


def test_several_letters_of_a_puid_keep_their_order_and_go_once(send: Callable[..., None]) -> None:
    log = Log(("p", "asked"), ("p", "answered"), ("q", "asked"), ("p", "labelled"))
    send(log, 1, 0, 2)
    assert log.said("p", 4) == ["asked", "answered", "labelled"]
    assert log.said("q", 4) == ["asked"]


def test_what_is_said_while_it_is_on_its_way_stays_the_last_word(send: Callable[..., None]) -> None:
    log = Log(("p", "asked"), ("p", "labelled"))
    log.meanwhile = [("p", "corrected"), ("p", "corrected again")]
    send(log, 0)
    assert log.said("p", 2) == ["corrected", "asked", "labelled", "corrected again", "corrected", "corrected again"]
    assert log.commits == [{2: [70]}, {}, {}]
