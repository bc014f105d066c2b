"""Intake on a real broker: whatever dialect and whichever topic events come in, the counts are those of the same
events in the canonical form, and stay so when workers are killed."""

import json
import random
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.live.servers import Kafka
from tests.live.story import NOW, TYPES, Event, expected, traffic
from tests.live.test_cli import Tally, _allow, guarded
from tests.live.test_exactness import COMMON
from tests.live.workers import Fleet, assert_counts, topic_settings, wait_for
from tests.patience import PATIENCE
from tests.soak import SOAK

Headers = list[tuple[str, bytes]]


class Sent(NamedTuple):
    """A record for a source topic, which has no key."""

    value: bytes
    headers: Headers
    timestamp: int


# -- the dialects -----------------------------------------------------------------------------------------------------


def canonical(event: Event) -> Sent:
    return Sent(event.value, event.headers, event.timestamp)


def seldon(event: Event) -> Sent:
    """As Seldon's executor writes to Kafka: names without prefix, and no time but the record's."""
    kept = ("type", "requestid", "namespace", "inferenceservicename", "endpoint", "modelid")
    headers = [(name.removeprefix("ce_"), value) for name, value in event.headers if name.removeprefix("ce_") in kept]
    return Sent(event.value, [*headers, ("protocol", b"seldon")], event.timestamp)


def mlserver(event: Event) -> Sent:
    """As MLServer does: the names of HTTP headers."""
    headers = [("-".join(word.title() for word in name.split("_")), value) for name, value in event.headers]
    return Sent(event.value, headers, event.timestamp)


def structured(event: Event) -> Sent:
    """A CloudEvent in structured mode."""
    envelope: dict[str, Any] = {name.removeprefix("ce_"): value.decode() for name, value in event.headers}
    envelope |= {"id": uuid.uuid4().hex, "source": "test", "data": json.loads(event.value)}
    headers = [("content-type", b"application/cloudevents+json; charset=utf-8")]
    return Sent(json.dumps(envelope).encode(), headers, event.timestamp)


def plain(event: Event) -> Sent:
    """Tally's own JSON form."""
    names = {name: value.decode() for name, value in event.headers}
    body = {
        "puid": names["ce_requestid"],
        "kind": event.kind,
        "namespace": names["ce_namespace"],
        "service": names["ce_inferenceservicename"],
        "endpoint": names["ce_endpoint"],
        "model": names["ce_modelid"],
        "time": names["ce_time"],
        "payload": json.loads(event.value),
    }
    return Sent(json.dumps(body).encode(), [], event.timestamp)


__all__ = ["guarded"]  # a fixture, found by its name

DIALECTS = (canonical, seldon, mlserver, structured, plain)


def in_milliseconds(event: Event) -> Event:
    """The event at the time that its record can say, since some dialects have no other; re-encoded as JSON parsers do.

    Of two payloads of one time the greater digest wins, so the bytes must be the same in all dialects.
    """
    headers = [(name, value[:23] + b"000Z" if name == "ce_time" else value) for name, value in event.headers]
    return event._replace(headers=headers)


# -- the world --------------------------------------------------------------------------------------------------------


def create(bootstrap: str, topic: str, partitions: int) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, partitions)])[topic].result(PATIENCE)


def partitions_of(client: Any, topic: str) -> Any:
    return client.list_topics(topic, timeout=PATIENCE).topics[topic].partitions


def send(bootstrap: str, topic: str, records: Iterable[Sent], per_second: float | None = None) -> None:
    """Write records without keys, each to any partition; returns once all are acknowledged."""
    chance = random.Random(5)
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, "acks": "all", "message.max.bytes": 20 << 20})
    # That a topic has been made a broker may know a moment later.
    wait_for(f"{topic} is there", lambda: len(partitions_of(producer, topic)) > 0)
    partitions = len(partitions_of(producer, topic))
    begun = time.monotonic()
    failed: list[str] = []
    for number, (value, headers, timestamp) in enumerate(records):
        producer.produce(
            topic,
            value,
            headers=headers,
            timestamp=timestamp,
            partition=chance.randrange(partitions),
            on_delivery=lambda error, _: failed.append(str(error)) if error else None,
        )
        if number % 200 == 0:
            producer.poll(0)
            if per_second is not None:
                time.sleep(max(0.0, number / per_second - (time.monotonic() - begun)))
    producer.flush()
    assert not failed, failed[0]


def read(bootstrap: str, topic: str) -> list[Message]:
    """All that is committed in a topic, partition by partition."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": uuid.uuid4().hex, "enable.auto.commit": False,
         "enable.partition.eof": True}
    )  # fmt: skip
    try:
        found: list[Message] = []
        for number in sorted(partitions_of(consumer, topic)):
            consumer.assign([TopicPartition(topic, number, 0)])
            while (message := consumer.poll(PATIENCE)) is not None and not message.error():
                found.append(message)
        return found
    finally:
        consumer.close()


def lag(bootstrap: str, group: str, topic: str) -> int:
    """How many records of a topic the group has not committed."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False})
    try:
        numbers = partitions_of(consumer, topic)
        places = consumer.committed([TopicPartition(topic, number) for number in numbers], timeout=30)
        ends = [consumer.get_watermark_offsets(place, timeout=30)[1] for place in places]
        return sum(end - max(0, place.offset) for end, place in zip(ends, places, strict=True))
    except KafkaException:  # on a new broker nobody keeps the group's offsets yet
        return -1
    finally:
        consumer.close()


def is_read(bootstrap: str, group: str, topic: str) -> bool:
    return lag(bootstrap, group, topic) == 0


@contextmanager
def a_fleet(kafka: Kafka, folder: Path, intake: str, partitions: int = 8) -> Iterator[tuple[Fleet, str]]:
    """Workers whose intake reads topics of their own; `{}` in `intake` stands for the test's name."""
    name = f"intake-{uuid.uuid4().hex[:8]}"
    settings = topic_settings(kafka.bootstrap, name) | COMMON
    settings |= {"PARTITIONS": str(partitions), "INTAKE_TOPICS": intake.replace("{}", name)}
    with Fleet(folder, settings) as fleet:
        yield fleet, name


# -- tests ------------------------------------------------------------------------------------------------------------


def test_events_in_all_dialects_count_as_the_canonical_ones(kafka: Kafka, tmp_path: Path) -> None:
    events = [in_milliseconds(event) for event in traffic(3_000, seed=21, broken=0)]
    chance = random.Random(2)
    with a_fleet(kafka, tmp_path, "{}-source") as (fleet, name):
        create(kafka.bootstrap, f"{name}-source", 3)
        send(kafka.bootstrap, f"{name}-source", [chance.choice(DIALECTS)(event) for event in events])
        worker = fleet.start()
        wait_for("all is committed", partial(is_read, kafka.bootstrap, f"{name}-intake", f"{name}-source"))
        assert_counts(fleet, expected(events))
        assert worker.total("tally_rejected_total") == 0


def test_workers_killed_and_stalled_while_they_read(kafka: Kafka, tmp_path: Path) -> None:
    """What they had not committed is sent again by others, what a stalled one had read even twice; all counts once."""
    events = [in_milliseconds(event) for event in traffic(40_000 if SOAK else 8_000, seed=22, broken=0)]
    records = [seldon(event) for event in events]
    with a_fleet(kafka, tmp_path, "{}-source") as (fleet, name):
        source = f"{name}-source"
        create(kafka.bootstrap, source, 6)
        first, second = fleet.start(), fleet.start()
        wait_for("both are ready", lambda: first.ready() and second.ready())
        producer = threading.Thread(target=send, args=(kafka.bootstrap, source, records, len(records) / 20))
        producer.start()
        time.sleep(4)
        first.kill()
        time.sleep(3)
        third = fleet.start()
        time.sleep(4)
        third.signal(signal.SIGSTOP)
        time.sleep(5)  # longer than the session time-out
        third.signal(signal.SIGCONT)
        time.sleep(2)
        second.kill()
        producer.join()
        wait_for("all is committed", partial(is_read, kafka.bootstrap, f"{name}-intake", source))
        assert_counts(fleet, expected(events))
        assert third.stop() == 0


def test_a_broker_away_for_a_while(own_kafka: Callable[..., Kafka], tmp_path: Path) -> None:
    broker = own_kafka()
    events = [in_milliseconds(event) for event in traffic(6_000, seed=26, broken=0)]
    with a_fleet(broker, tmp_path, "{}-source", 4) as (fleet, name):
        source = f"{name}-source"
        create(broker.bootstrap, source, 3)
        first, second = fleet.start(), fleet.start()
        wait_for("both are ready", lambda: first.ready() and second.ready())
        records = map(seldon, events)
        producer = threading.Thread(target=send, args=(broker.bootstrap, source, records, 1_500))
        producer.start()
        time.sleep(5)
        broker.kill()
        time.sleep(60 if SOAK else 15)
        broker.start()
        producer.join()
        wait_for("all is committed", partial(is_read, broker.bootstrap, f"{name}-intake", source))
        assert_counts(fleet, expected(events))
        assert len(fleet.running()) == 2


def test_topics_that_come_later_by_name_and_by_pattern(own_kafka: Callable[..., Kafka], tmp_path: Path) -> None:
    """The broker creates topics by itself where clients let it; the pattern matches Tally's own topics too."""
    broker = own_kafka(overrides={"auto.create.topics.enable": "true"})
    events = [in_milliseconds(event) for event in traffic(900, seed=23, broken=0)]
    records = [seldon(event) for event in events]
    third = len(records) // 3
    with a_fleet(broker, tmp_path, "late,{}-.*") as (fleet, name):
        worker = fleet.start(START="latest")  # which holds for what is there at the start, not for what is new
        wait_for("the worker is ready", worker.ready)
        wait_for("it says so", lambda: "intake waits for topic late" in worker.log.read_text())
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        time.sleep(4)
        assert "late" not in admin.list_topics(timeout=10).topics
        for number, (topic, part) in enumerate(
            [
                ("late", records[:third]),
                (f"{name}-one", records[third : 2 * third]),
                (f"{name}-two", records[2 * third :]),
            ]
        ):
            create(broker.bootstrap, topic, number + 1)
            send(broker.bootstrap, topic, part)
        for topic in ("late", f"{name}-one", f"{name}-two"):
            wait_for(f"{topic} is read", partial(is_read, broker.bootstrap, f"{name}-intake", topic))
        assert_counts(fleet, expected(events))
        admin.delete_topics(["late"])["late"].result(30)
        waits = "intake waits for topic late"
        wait_for("it says so again", lambda: worker.log.read_text().count(waits) == 2)
        time.sleep(4)
        assert "late" not in admin.list_topics(timeout=10).topics
        create(broker.bootstrap, "late", 1)
        again = [in_milliseconds(event) for event in traffic(100, seed=24, broken=0)]
        send(broker.bootstrap, "late", map(seldon, again))
        assert_counts(fleet, expected([*events, *again]))


def test_the_topics_of_a_model_of_seldon_core_2(kafka: Kafka, tmp_path: Path) -> None:
    """Its topics say whose the events are; what is known of the truth comes in another topic, in another dialect."""
    now = int(NOW.timestamp() * 1000)
    rows = [("a", 1), ("b", 0), ("c", 1)]
    with a_fleet(kafka, tmp_path, r"{}\..*\.model\..*\.(in|out)puts,{}-truth", 4) as (fleet, name):
        sent: dict[str, list[Sent]] = {}
        for puid, label in rows:
            asked = [("x-request-id", puid.encode()), ("pipeline", b"iris")]
            tensor = {"name": "x", "shape": [1], "datatype": "INT64"}
            request = json.dumps({"inputs": [tensor | {"data": [7]}]})
            response = json.dumps({"model_name": "iris_1", "outputs": [tensor | {"data": [1]}]})
            truth = json.dumps({"puid": puid, "label": label, "namespace": "default", "service": "iris"})
            sent.setdefault(f"{name}.default.model.iris.inputs", []).append(Sent(request.encode(), asked, now))
            sent.setdefault(f"{name}.default.model.iris.outputs", []).append(Sent(response.encode(), asked, now))
            sent.setdefault(f"{name}-truth", []).append(Sent(truth.encode(), [], now))
        for topic, records in sent.items():
            create(kafka.bootstrap, topic, 2)
            send(kafka.bootstrap, topic, records)
        worker = fleet.start()
        wait_for("all are counted", lambda: worker.total("tally_exchanges", model_namespace="default") == 9)
        assert worker.total("tally_rows", verdict="correct", model="iris") == 2
        assert worker.total("tally_rows", verdict="incorrect", model_service="iris") == 1


def test_what_is_refused_says_where_it_came_from(kafka: Kafka, tmp_path: Path) -> None:
    moment = int(NOW.timestamp() * 1000)
    good = [in_milliseconds(event) for event in traffic(20, seed=25, broken=0)]
    unknown = Sent(b"{}", [("type", b"nothing.known"), ("requestid", b"one")], moment)
    without = Sent(b"{}", [("type", TYPES["request"].encode())], moment)
    # The source takes more than the canonical topics do.
    large = Sent(b'"' + b"v" * 1_500_000 + b'"', [("type", TYPES["request"].encode()), ("requestid", b"two")], moment)
    with a_fleet(kafka, tmp_path, "{}-source", 4) as (fleet, name):
        source = f"{name}-source"
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
        admin.create_topics([NewTopic(source, 1, config={"max.message.bytes": str(8 << 20)})])[source].result(30)
        send(kafka.bootstrap, source, [unknown, *map(seldon, good), without, large, *map(seldon, good)])
        worker = fleet.start()
        assert_counts(fleet, expected(good))
        wait_for("all is committed", partial(is_read, kafka.bootstrap, f"{name}-intake", source))
        letters = {
            int(dict(letter.headers())["origin-offset"]): letter
            for letter in read(kafka.bootstrap, f"{name}-dead-letters")
        }
        reasons = {offset: dict(letter.headers())["reason"].decode() for offset, letter in letters.items()}
        n = len(good)
        assert reasons == {0: "unknown-type", n + 1: "no-puid", n + 2: "too-large"}
        for letter, sent in zip(letters.values(), (unknown, without, large), strict=True):
            headers = dict(letter.headers())
            assert (headers["origin-topic"], headers["origin-partition"]) == (source.encode(), b"0")
            assert letter.headers()[: len(sent.headers)] == sent.headers
            assert sent.value.startswith(letter.value())
            assert headers["detail"]
        assert dict(letters[n + 2].headers())["original-length"] == str(len(large.value)).encode()
        for reason in reasons.values():
            wait_for(
                f"{reason} is counted",
                lambda it=reason: worker.total("tally_rejected_total", reason=it) == 1,  # type: ignore[misc]
            )


@pytest.mark.parametrize("labels", [(0, 1, 0), (1, 0, 1)])
def test_corrections_without_a_time_of_their_own_end_at_the_last(
    kafka: Kafka, tmp_path: Path, labels: tuple[int, ...]
) -> None:
    """The record's time is the event's; and in the canonical topic they stand in their order."""
    leg = {"namespace": "demo", "inferenceservicename": "cancer", "endpoint": "default", "modelid": "logistic"}
    begun = int(NOW.timestamp() * 1000) - 60_000
    bodies: list[tuple[str, Any]] = [
        ("request", {"data": {"ndarray": [[1.0]]}}),
        ("response", {"data": {"ndarray": [[0.9]]}}),
    ]
    bodies += [("feedback", {"truth": {"data": {"ndarray": [label]}}}) for label in labels]
    records = [
        Sent(
            json.dumps(body).encode(),
            [(name, value.encode()) for name, value in {"type": TYPES[kind], "requestid": "one", **leg}.items()],
            begun + number,
        )
        for number, (kind, body) in enumerate(bodies)
    ]
    with a_fleet(kafka, tmp_path, "{}-source", 4) as (fleet, name):
        create(kafka.bootstrap, f"{name}-source", 1)
        send(kafka.bootstrap, f"{name}-source", records)
        worker = fleet.start()
        outcome = "correct" if labels[-1] == 1 else "incorrect"
        wait_for("all is read", lambda: worker.total("tally_events_total", kind="feedback") == len(labels))
        wait_for("it is counted", lambda: worker.total("tally_rows", verdict=outcome) == 1)
        assert worker.total("tally_rows") == 1
        found = read(kafka.bootstrap, f"{name}-feedback")
        assert [(message.key(), message.value(), message.timestamp()[1]) for message in found] == [
            (b"one", record.value, record.timestamp) for record in records[2:]
        ]


def test_the_rights_and_the_group_that_the_command_line_lists(guarded: tuple[Kafka, str], tmp_path: Path) -> None:
    """A worker with just these rights reads its topics, one by name and one by pattern; `check` sees it do so."""
    server, address = guarded
    tally = Tally(server.bootstrap)
    tally.settings |= COMMON | {"INTAKE_TOPICS": rf"{tally.id}\.one,{tally.id}-tw.*,{tally.id}-absent"}
    listed = yaml.safe_load(tally.says("topics", "--yaml"))
    assert listed["intake"]["group"] == f"{tally.id}-intake"
    _allow(server.bootstrap, listed["acls"])
    tally.says("topics", "--create")
    events = [in_milliseconds(event) for event in traffic(200, seed=27, broken=0)]
    records = [seldon(event) for event in events]
    for topic, part in ((f"{tally.id}.one", records[:300]), (f"{tally.id}-two", records[300:])):
        create(server.bootstrap, topic, 2)
        send(server.bootstrap, topic, part)
    with Fleet(tmp_path, tally.as_user("worker", address).settings) as fleet:
        fleet.start()
        assert_counts(fleet, expected(events))
        shown = tally.as_user("worker", address).says("check")
        assert f"reads {tally.id}-two (2 partitions), {tally.id}.one (2 partitions)" in shown
        assert f"Note:    Topic {tally.id}-absent of TALLY_INTAKE_TOPICS does not exist: it is read as soon" in shown
        wait_for(
            "all is committed", lambda: "1 member; 0 events behind" in tally.says("check").partition("-intake,")[2]
        )
