"""The document writer and its group: what it commits has landed, whatever happens on the way."""

import asyncio
from types import SimpleNamespace
from typing import Any, Final

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from app.core.rules import Rulebook
from app.core.stats import Stats
from app.settings import load_settings
from app.worker.elasticsearch import writer as module
from app.worker.elasticsearch.writer import DocumentWriter
from tests.builders import a_request, run
from tests.worker.elasticsearch.landings import Index
from tests.worker.kafka.scripted import Brokers, in_no_time, until

TP: Final = TopicPartition("inference-log", 0)


class Node(Index):
    """An Elasticsearch that can be away."""

    def __init__(self) -> None:
        super().__init__()
        self.up = asyncio.Event()
        self.up.set()
        self.asked = 0

    async def prepare(self, _: Any) -> None:
        self.asked += 1
        await self.up.wait()

    async def close(self) -> None:
        pass


class Producer:
    """What the dead letters are given to."""

    def __init__(self) -> None:
        self.letters: list[dict[str, Any]] = []
        self.error: Exception | None = None
        self._sender = SimpleNamespace(sender_task=None)

    async def send_and_wait(self, topic: str, **fields: Any) -> None:
        if self.error is not None:
            raise self.error
        self.letters.append({"topic": topic} | fields)

    async def stop(self) -> None:
        pass


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    node = Node()
    monkeypatch.setattr(module, "Elasticsearch", lambda _: node)
    return node


def joined_records(count: int) -> list[bytes]:
    """Records of so many puids, each of which makes a document."""
    return [value for _, value in run([a_request(puid=f"p{n}") for n in range(count)], [], logs=True).logged]


def brokers_with(*values: bytes) -> Brokers:
    """Brokers with a log of these records."""
    brokers = Brokers(**{"inference-log": 1})
    brokers.write(TP, *values)
    return brokers


def a_writer(brokers: Brokers, producer: Producer | None = None) -> DocumentWriter:
    async def open_producer(*_: Any) -> Any:
        return producer

    settings = load_settings(elasticsearch_url="http://127.0.0.1:1", session_timeout=1.0)
    return DocumentWriter(
        settings, Rulebook(), Stats(), open_consumer=brokers.open_consumer, open_producer=open_producer
    )


def test_a_rebalance_while_elasticsearch_is_away_does_not_end_it(node: Node) -> None:
    brokers = brokers_with(*joined_records(1))
    brokers.committed[TP] = 0

    async def test() -> None:
        node.up.clear()
        writer = a_writer(brokers)
        writer.start()
        await until(lambda: node.asked == 2)  # at its start, and for the first documents
        await brokers.member.rebalance()
        assert writer.backlog() == 1
        await until(lambda: node.asked == 3)
        node.up.set()
        await until(lambda: brokers.committed == {TP: 1})
        await until(lambda: writer.backlog() == 0)
        assert writer.results == {"written": 1}
        assert len(brokers.consumers) == 1
        await writer.stop()

    in_no_time(test())


def test_at_a_first_start_all_records_of_the_log_become_documents_and_nothing_is_committed_before_they_are(
    node: Node,
) -> None:
    records = joined_records(60)
    brokers = brokers_with(b"gone", *records, b"")
    brokers.logs[TP][-1] = None  # the marker of their transaction
    brokers.beginnings[TP] = 1

    async def test() -> None:
        node.up.clear()
        writer = a_writer(brokers)
        writer.start()
        await until(lambda: node.asked == 2)  # at its start, and for the first documents
        await asyncio.sleep(60)
        assert brokers.committed == {}
        assert writer.oldest_seconds() > 0
        node.up.set()
        await until(lambda: brokers.committed == {TP: 62})
        await writer.stop()

    in_no_time(test())
    assert sorted(place[1] for place in node.documents()) == sorted(f"p{n}" for n in range(60))


def test_what_is_on_its_way_when_partitions_go_may_land_and_is_committed(node: Node) -> None:
    brokers = brokers_with(*joined_records(1))

    async def test() -> None:
        node.up.clear()
        writer = a_writer(brokers)
        writer.start()
        await until(lambda: node.asked == 2)  # at its start, and for the first documents
        rebalance = asyncio.ensure_future(brokers.member.rebalance())
        await asyncio.sleep(0.3)
        node.up.set()
        await rebalance
        assert brokers.commits == [{TP: 1}]
        await writer.stop()

    in_no_time(test())


def test_a_record_that_makes_no_document_is_a_dead_letter_before_it_is_committed(node: Node) -> None:
    brokers = brokers_with(b"no joined record", *joined_records(1))
    producer = Producer()

    async def test() -> None:
        producer.error = KafkaError("away")
        writer = a_writer(brokers, producer)
        writer.start()
        await until(lambda: len(brokers.consumers) == 3)
        assert brokers.committed == {}
        producer.error = None
        await until(lambda: brokers.committed == {TP: 2})
        await writer.stop()

    in_no_time(test())
    (letter,) = producer.letters
    assert (letter["topic"], letter["partition"], letter["value"]) == ("tally-dead-letters", 0, b"no joined record")
    assert dict(letter["headers"])["reason"] == b"document-refused"


def test_a_defect_at_one_record_stops_no_other(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    records = joined_records(3)
    brokers = brokers_with(*records)
    producer = Producer()

    async def test() -> None:
        writer = a_writer(brokers, producer)
        understood = writer._documents.changes

        def changes(record: bytes) -> Any:
            if record == records[1]:
                raise ZeroDivisionError
            return understood(record)

        monkeypatch.setattr(writer._documents, "changes", changes)
        writer.start()
        await until(lambda: brokers.committed == {TP: 3})
        await writer.stop()

    in_no_time(test())
    assert sorted(place[1] for place in node.documents()) == ["p0", "p2"]
    (letter,) = producer.letters
    assert dict(letter["headers"])["reason"] == b"unexpected"


def test_elasticsearch_is_asked_for_its_templates_before_there_are_documents(node: Node) -> None:
    """What is wrong with it is told at the start."""

    async def test() -> None:
        writer = a_writer(brokers_with())
        node.up.clear()
        writer.start()
        await until(lambda: node.asked == 1)
        await writer.stop()  # though it has not answered

    in_no_time(test())
