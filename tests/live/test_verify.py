"""`tally verify` finds no difference beside live workers, whatever befalls them, and names what was damaged."""

import contextlib
import json
import re
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from app.core.counts.numbers import is_number_key
from app.core.counts.rows import RowKey, parse_key
from app.core.join.exchange import decode, encode
from app.core.join.position import POSITION_KEY
from tests.live.changelogs import committed, ends, read_topic
from tests.live.seeds import seed
from tests.live.servers import Elasticsearch, Kafka
from tests.live.standing import put
from tests.live.story import Event, expected, traffic
from tests.live.test_documents import Node
from tests.live.test_exactness import COMMON
from tests.live.test_replay import tally
from tests.live.workers import Fleet, assert_counts, produce, topic_settings, wait_for
from tests.soak import SOAK

AWAY = {"ELASTICSEARCH_URL": "http://127.0.0.1:1"}
PUIDS, RATE = (150_000, 3_000) if SOAK else (5_000, 900)


def settings_for(kafka: Kafka) -> dict[str, str]:
    return topic_settings(kafka.bootstrap, f"verify-{uuid.uuid4().hex[:8]}") | COMMON | {"PARTITIONS": "4"}


def write(settings: dict[str, str], changelog: str, partition: int, key: bytes, value: bytes | None) -> None:
    """Write a record as a worker would, in a transaction; others are told to be strangers' and left out."""
    put(settings, f"{settings['APP_ID']}-{changelog}", partition, key, value, transaction=True)


def newest(
    settings: dict[str, str], changelog: str, wanted: Callable[[bytes, bytes], bool]
) -> tuple[int, bytes, bytes]:
    """A record of a changelog that holds still: its partition, key and value."""
    topic = f"{settings['APP_ID']}-{changelog}"
    for number, records in read_topic(settings["KAFKA_BOOTSTRAP_SERVERS"], topic).items():
        state = {record.key(): record.value() for record in records}
        for key, value in state.items():
            if value is not None and wanted(key, value):
                return number, key, value
    raise AssertionError(f"{topic} has no such record")


def is_exchange(key: bytes) -> bool:
    return key != POSITION_KEY and not is_number_key(key)


def is_row(key: bytes) -> bool:
    with contextlib.suppress(ValueError):
        return isinstance(parse_key(key), RowKey)
    return False


def test_it_finds_no_difference_under_load_after_a_kill_and_after_a_rebalance(kafka: Kafka, tmp_path: Path) -> None:
    """And then, at rest, what was damaged on purpose."""
    settings = settings_for(kafka)
    events = traffic(PUIDS, seed(19))
    with Fleet(tmp_path, settings) as fleet:
        first, second = fleet.start(), fleet.start()
        wait_for(
            "both have a half", lambda: {len(it.readiness()[1]) for it in (first, second)} == {2} and first.ready()
        )
        producer = threading.Thread(target=produce, args=(settings, events, RATE))
        producer.start()
        time.sleep(3)
        assert_no_difference(settings)
        second.kill()
        assert_no_difference(settings)
        third = fleet.start()
        wait_for("the third has its half", lambda: len(third.readiness()[1]) == 2)
        assert_no_difference(settings)
        producer.join()
        assert_counts(fleet, expected(events))
        assert "difference 0" in (answered := tally(settings, "verify", "--url", first.url)).stdout, answered.stderr
        assert f"of {first.url} compared" in answered.stdout
        fleet.stop()
    assert_no_difference(settings)
    sampled = tally(settings, "verify", "--sample", "10%")
    assert "difference 0" in sampled.stdout, sampled.stderr

    number, puid, raw = newest(settings, "exchanges", lambda key, _: is_exchange(key))
    exchange = decode(raw)
    exchange.counted = []
    write(settings, "exchanges", number, puid, encode(exchange))
    done = tally(settings, "verify")
    assert done.returncode == 1, done.stderr
    assert "difference 1\n" in done.stdout
    assert f"partition {number}, puid {puid.decode()}\n" in done.stdout
    assert '"counted":{}' in done.stdout
    write(settings, "exchanges", number, puid, None)
    done = tally(settings, "verify")
    assert f"partition {number}, puid {puid.decode()}\n  changelog: nothing\n" in done.stdout
    write(settings, "exchanges", number, puid, raw)
    assert_no_difference(settings)

    number, key, raw = newest(settings, "panes", lambda key, _: is_row(key))
    rows = json.loads(raw)
    row = next(iter(rows))
    cells = rows[row] if isinstance(rows[row], dict) else rows
    column = next(iter(cells))
    cells[column] += 7
    write(settings, "panes", number, key, json.dumps(rows).encode())
    done = tally(settings, "verify")
    assert done.returncode == 1
    assert "difference 1\n" in done.stdout
    assert f"  changelog: {cells[column]}\n  topics: {cells[column] - 7}\n" in done.stdout


def test_it_compares_what_the_topics_still_hold_and_says_how_far_they_reach_back(kafka: Kafka, tmp_path: Path) -> None:
    settings = settings_for(kafka)
    events = sorted(traffic(2_000, seed(21), broken=0), key=lambda event: event.timestamp)
    with Fleet(tmp_path, settings) as fleet:
        wait_for("the worker is ready", fleet.start().ready)
        produce(settings, events)
        assert_counts(fleet, expected(events))
        fleet.stop()
    admin = AdminClient({"bootstrap.servers": settings["KAFKA_BOOTSTRAP_SERVERS"]})
    for kind in ("REQUEST", "RESPONSE", "FEEDBACK"):
        topic = settings[f"{kind}_TOPIC"]
        halves = ends(settings["KAFKA_BOOTSTRAP_SERVERS"], topic)
        for done in admin.delete_records([TopicPartition(topic, n, end // 2) for n, end in halves.items()]).values():
            done.result()
    verified = tally(settings, "verify")
    assert (verified.returncode, "difference 0" in verified.stdout) == (0, True), verified.stdout + verified.stderr
    told = re.search(r"compared (\d+) exchanges and (\d+) counts\.\nThe topics hold all from 2.* on: ", verified.stdout)
    left = re.search(r"Not compared: (\d+) exchanges with a part before", verified.stdout)
    assert told is not None, verified.stdout
    assert left is not None, verified.stdout
    assert int(told[1]) > 300
    assert int(told[2]) > 1000
    assert int(left[1]) > 300
    assert int(told[1]) + int(left[1]) == 2_000


def assert_no_difference(settings: dict[str, str]) -> None:
    done = tally(settings, "verify")
    assert (done.returncode, "difference 0" in done.stdout) == (0, True), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "changes", "sentence"),
    [
        (("--sample", "1"), {}, "--sample must be a share like 1% or 0.1%, up to 100% (got '1')."),
        (("--sample", "0%"), {}, "--sample must be a share like 1% or 0.1%, up to 100% (got '0%')."),
        (("--sample", "101%"), {}, "--sample must be a share like 1% or 0.1%, up to 100% (got '101%')."),
        (("--from", "latest"), {}, "--from latest is after all that was counted: name where the workers began."),
        ((), {"START": "latest"}, "TALLY_START is latest, which no topic tells: say with --from where workers began."),
        ((), {}, "Topic none-requests does not exist: is it the right broker, and the right name of the topic?"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_sentence(
    kafka: Kafka, words: tuple[str, ...], changes: dict[str, str], sentence: str
) -> None:
    done = tally(topic_settings(kafka.bootstrap, "none"), "verify", *words, **changes)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"tally: {sentence}\n")


def test_it_finds_documents_that_are_missing_foreign_or_different(
    kafka: Kafka, elasticsearch: Elasticsearch, tmp_path: Path
) -> None:
    name = f"proof{uuid.uuid4().hex[:8]}"
    settings = topic_settings(kafka.bootstrap, name) | COMMON
    settings |= {"PARTITIONS": "2", "LOG_TOPIC": f"{name}-log", "ELASTICSEARCH_URL": elasticsearch.url}
    events = [_in_service(event, name) for event in traffic(300, seed(20), broken=0)]
    node = Node(elasticsearch)
    index = f"inference-log-seldon-demo-{name}-iris-default"
    with Fleet(tmp_path, settings) as fleet:
        worker = fleet.start()
        wait_for("the worker is ready", worker.ready)
        produce(settings, events)
        topics = [settings[f"{kind}_TOPIC"] for kind in ("REQUEST", "RESPONSE", "FEEDBACK")]
        wait_for("all is counted", lambda: committed(settings, topics) == len(events) and worker.ready())
        done = tally(settings, "verify", "--documents")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "documents missing 0, foreign 0, different 0\ndifference 0\n" in done.stdout
        found = node.documents(index)
        assert f"{index}: {len(found)} documents by the topics, {len(found)} there" in done.stdout
        (_, missing), (_, different), *_ = sorted(found)
        node.ask("DELETE", f"/{index}/_doc/{missing}")
        node.ask("PUT", f"/{index}/_doc/{different}", found[index, different] | {"verdict": {"predicted": "7"}})
        node.ask("PUT", f"/{index}/_doc/foreign", found[index, different] | {"RequestId": "foreign"})
        node.ask("PUT", f"/{index}/_doc/strange", found[index, different] | {"RequestId": "strange"})
        done = tally(settings, "verify", "--documents")
        assert done.returncode == 1, done.stderr
        assert "documents missing 1, foreign 2, different 1\ndifference 4\n" in done.stdout
        for what in (f"document {index}/{missing}, as a whole\n", f"document {index}/foreign\n",
                     f"document {index}/{different}, verdict."):  # fmt: skip
            assert what in done.stdout, done.stdout

        repaired = tally(settings, "replay", "--repair")
        assert repaired.stdout.startswith("1 document written, "), repaired.stdout + repaired.stderr
        assert node.documents(index)[index, missing] == found[index, missing]
        prefix = f"what-if-{name}"
        copied = tally(settings, "replay", "--to-elasticsearch", prefix)
        assert copied.stdout.endswith(" 0 documents there already, 0 documents refused\n"), copied.stderr
        copies = {number: body for (_, number), body in node.documents(f"{prefix}-{index}").items()}
        assert copies == {number: body for (_, number), body in found.items()}
        node.remove(f"{prefix}-*")


def _in_service(event: Event, name: str) -> Event:
    """The same event of a service of this test alone, which has indices of its own."""
    return event._replace(
        headers=[
            (header, f"{name}-".encode() + value if header == "ce_inferenceservicename" else value)
            for header, value in event.headers
        ]
    )


@pytest.mark.parametrize(
    ("words", "changes", "sentence"),
    [
        ((), {}, "TALLY_ELASTICSEARCH_URL is not set: name the Elasticsearch that has the documents."),
        (("--sample", "1%"), {"ELASTICSEARCH_URL": "http://es:1"}, "--documents compares all: leave --sample out."),
    ],
)  # fmt: skip
def test_documents_that_cannot_be_compared_are_said_in_one_sentence(
    words: tuple[str, ...], changes: dict[str, str], sentence: str
) -> None:
    done = tally(topic_settings("127.0.0.1:1", "none"), "verify", "--documents", *words, **changes)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"tally: {sentence}\n")


@pytest.mark.parametrize(
    ("words", "changes", "sentence"),
    [
        (("--repair",), {}, r"TALLY_ELASTICSEARCH_URL is not set: name the Elasticsearch that documents .*"),
        (("--repair", "--to-elasticsearch", "x"), {}, r"--to-elasticsearch and --repair exclude each other\."),
        (("--repair", "--topic", "x"), {}, r"--to-elasticsearch and --repair are for the canonical topics: .*"),
        (("--to-elasticsearch", "X"), AWAY, r"--to-elasticsearch must be a prefix like what-if, .* \(got 'X'\)\."),
        (("--to-elasticsearch", "inference-log"), AWAY, r"--to-elasticsearch must be a prefix like what-if, .*"),
        (("--repair",), AWAY, r"Elasticsearch at http://127\.0\.0\.1:1 .*"),
    ],
)
def test_documents_that_cannot_be_written_are_said_in_one_sentence(
    words: tuple[str, ...], changes: dict[str, str], sentence: str
) -> None:
    done = tally(topic_settings("127.0.0.1:1", "none"), "replay", *words, **changes)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert re.fullmatch(f"tally: {sentence}\n", done.stderr), done.stderr
