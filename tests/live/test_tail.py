"""`tally tail` and `tally dead-letters list` on a real broker."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from app.core.events import TYPE_OF, Kind, Reason
from app.core.letters import DeadLetter, letter_record
from app.core.payloads.messages import message_class
from app.core.wire.records import Record
from tests.live import servers
from tests.live.changelogs import read_topic
from tests.live.test_cli import Tally
from tests.live.workers import wait_for
from tests.patience import PATIENCE

REQUEST = TYPE_OF[Kind.REQUEST].encode()
BODY = b'{"data": {"ndarray": [[1, 2], [3, 4]]}}'

Sent = tuple[str, bytes | None, bytes | None, list[tuple[str, bytes]]]


@pytest.fixture
def tally(kafka: servers.Kafka) -> Tally:
    """A command line whose topics exist."""
    tally = Tally(kafka.bootstrap)
    tally.says("topics", "--create")
    return tally


def table_of(text: str, topic: str) -> list[list[str]]:
    """The rows of a topic's table."""
    block = text.split(f"{topic} (")[1].split("\n\n", maxsplit=1)[0]
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in block.splitlines()[3:]]


def test_tail_shows_every_dialect_and_what_is_refused(tally: Tally) -> None:
    source, core2 = f"{tally.id}-any", f"{tally.id}.ns.model.iris.outputs"
    tally.settings["INTAKE_TOPICS"] = rf"{source},{tally.id}\..*outputs"
    response = message_class("inference.ModelInferResponse")(model_name="iris_1")
    response.outputs.add(name="y", datatype="INT64", shape=[1]).contents.int64_contents.append(2)
    canonical = [("ce_type", REQUEST), ("ce_requestid", b"p"), ("ce_modelid", b"m")]
    bare = [("type", REQUEST), ("requestid", b"p"), ("namespace", b"bank"), ("modelid", b"m")]
    pair = orjson.dumps({"puid": "q", "features": [1, 2], "output": "cat", "service": "pets"})
    asyncio.run(create(tally.bootstrap, source, core2))
    asyncio.run(
        send(
            tally.bootstrap,
            [
                (tally.requests, b"p", BODY, canonical),
                (tally.feedback, b"p", b"{}", [("ce_type", TYPE_OF[Kind.FEEDBACK].encode())]),
                (source, None, BODY, bare),
                (source, None, pair, []),
                (source, b"k", b"\x89PNG", []),
                (core2, b"iris.p", response.SerializeToString(), []),
            ],
        )
    )
    text = tally.says("tail")
    assert [row[2:] for row in table_of(text, tally.requests)] == [
        ["canonical", "request", "Seldon", "p", "///m", "2 rows"]
    ]
    assert f"{tally.responses}: no events." in text
    ((_, _, *refused),) = table_of(text, tally.feedback)
    assert refused[:4] == ["canonical", "feedback", "-", "p"]
    assert refused[-1].startswith("refused (empty): ")
    assert [row[2:] for row in table_of(text, source)[:3]] == [
        ["seldon", "request", "Seldon", "p", "bank///m", "2 rows"],
        ["plain", "request", "Seldon", "q", "/pets", "1 row"],
        ["plain", "response", "Seldon", "q", "/pets", "predicted cat"],
    ]
    assert table_of(text, source)[3][2:7] == ["-", "-", "-", "k", "-"]
    assert table_of(text, source)[3][7].startswith("refused (bad-json): the body ")
    assert [row[2:] for row in table_of(text, core2)] == [
        ["core2", "response", "V2", "p", "ns/iris//iris", "predicted 2"]
    ]


def test_tail_shows_the_last_of_the_topics_that_are_named(tally: Tally) -> None:
    headers = [("ce_type", REQUEST)]
    events: list[Sent] = [(tally.requests, b"%02d" % number, BODY, headers) for number in range(40)]
    asyncio.run(send(tally.bootstrap, events, transactions=f"{tally.id}-tail"))  # each takes two offsets
    wait_for("all have committed", lambda: committed(tally.bootstrap, tally.requests) == len(events))
    text = tally.says("tail", "--topic", tally.requests, "-n", "25")
    assert [row[5] for row in table_of(text, tally.requests)] == [f"{number:02d}" for number in range(15, 40)]
    assert tally.responses not in text
    assert len(table_of(tally.says("tail", "--topic", tally.requests, "-n", "1000"), tally.requests)) == 40


def test_tail_names_a_topic_that_does_not_exist(tally: Tally) -> None:
    assert tally.refuses("tail", "--topic", f"{tally.id}-none") == f"Topic {tally.id}-none does not exist."
    text = tally.says("tail", FEEDBACK_TOPIC=f"{tally.id}-later", INTAKE_TOPICS=f"{tally.id}-source")
    assert f"{tally.id}-later does not exist yet: `tally topics --create` creates it." in text
    assert f"{tally.id}-source does not exist yet: the intake waits for it." in text


@pytest.fixture
def following(tally: Tally) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-u", "-m", "app", "tail", "--follow"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits "ignored"
    process = subprocess.Popen(
        command, env=tally.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )
    signal.signal(signal.SIGINT, before)
    yield process
    process.kill()
    process.communicate()


def test_tail_follows_until_it_is_interrupted(tally: Tally, following: "subprocess.Popen[bytes]") -> None:
    assert following.stdout is not None
    for topic in (tally.requests, tally.responses, tally.feedback):
        assert following.stdout.readline().decode().strip() == f"{topic}: no events."
        assert following.stdout.readline() == b"\n"
    for puid in (b"p", b"q"):
        asyncio.run(send(tally.bootstrap, [(tally.requests, puid, BODY, [("ce_type", REQUEST)])]))
        words = following.stdout.readline().decode().split("  ")
        assert (words[0], words[4:]) == (tally.requests, ["request", "Seldon", puid.decode(), "-", "2 rows\n"])
    following.send_signal(signal.SIGINT)
    out, err = following.communicate(timeout=PATIENCE)
    assert (following.returncode, out, err) == (0, b"", b"")


def test_dead_letters_are_listed_the_newest_first(tally: Tally) -> None:
    topic = f"{tally.id}-dead-letters"
    assert tally.says("dead-letters", "list") == "No dead letters.\n"
    letters = []
    for number in range(30):
        record = Record(100 + number, 0, b"key-%02d" % number, b"{", b"\0")
        reason = Reason.BAD_JSON if number == 4 else Reason.NO_PUID
        letters.append(DeadLetter(tally.requests, number % 3, record, reason, f"detail {number}"))
    sent: list[Sent] = [(topic, *headed(letter_record(letter))) for letter in letters]
    asyncio.run(send(tally.bootstrap, sent, transactions=f"{tally.id}-tail"))
    wait_for("all have committed", lambda: committed(tally.bootstrap, topic) == len(sent))
    rows = listed(tally.says("dead-letters", "list", "-n", "3"))
    assert [row[2:] for row in rows] == [
        ["no-puid", f"detail {number}", tally.requests, str(number % 3), str(100 + number), f"key-{number}"]
        for number in (29, 28, 27)
    ]
    ((_, _, *only),) = listed(tally.says("dead-letters", "list", "-n", "3", "--reason", "bad-json"))
    assert only == ["bad-json", "detail 4", tally.requests, "1", "104", "key-04"]
    assert tally.says("dead-letters", "list", "--reason", "ragged") == "No dead letters with the reason ragged.\n"


def test_dead_letters_without_their_topic(kafka: servers.Kafka) -> None:
    assert "-dead-letters does not exist: run `tally topics --create`" in Tally(kafka.bootstrap).refuses(
        "dead-letters", "list"
    )


def committed(bootstrap: str, topic: str) -> int:
    """How many records can be read: those of the last transaction a moment after it is said to have committed."""
    return sum(map(len, read_topic(bootstrap, topic).values()))


def headed(record: Any) -> tuple[Any, Any, Any]:
    key, value, *headers = record
    return key, value, headers[0]


def listed(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines()[3:]]


async def create(bootstrap: str, *topics: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1) for topic in topics])
    finally:
        await admin.close()


async def send(bootstrap: str, events: Sequence[Sent], transactions: str | None = None) -> None:
    """Send events one after the other; with a transactional id each in a transaction of its own."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=transactions)
    await producer.start()
    try:
        for topic, key, value, headers in events:
            if transactions:
                async with producer.transaction():
                    await producer.send_and_wait(topic, key=key, value=value, headers=headers)
            else:
                await producer.send_and_wait(topic, key=key, value=value, headers=headers)
            await asyncio.sleep(0.002)  # so that their times tell them apart
    finally:
        await producer.stop()
