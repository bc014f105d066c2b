"""Faults that stay: what somebody may do to the topics of a worker, and what a worker and `tally check` say of it."""

import json
import re
import subprocess
import urllib.error
import uuid
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from app.core.wire.partitioning import partition_of
from tests.live.changelogs import ends
from tests.live.forked import run
from tests.live.servers import Kafka
from tests.live.story import NOW, Event, expected
from tests.live.workers import Fleet, Worker, assert_counts, produce, topic_settings, wait_for
from tests.patience import PATIENCE

Settings = dict[str, str]


def settings_for(kafka: Kafka, **more: str) -> Settings:
    """Topics and an app id of one test alone, with two partitions unless it says otherwise."""
    common = {"NOW": NOW.strftime("%Y-%m-%dT%H:%M:%SZ"), "SESSION_TIMEOUT": "3s", "PARTITIONS": "2"}
    return topic_settings(kafka.bootstrap, f"standing-{uuid.uuid4().hex[:8]}") | common | more


def canonical(settings: Settings) -> list[str]:
    """The three canonical topics."""
    return [settings[f"{kind}_TOPIC"] for kind in ("REQUEST", "RESPONSE", "FEEDBACK")]


def changelog(settings: Settings, name: str) -> str:
    """The changelog `exchanges` or `panes`."""
    return f"{settings['APP_ID']}-{name}"


def counted(fleet: Fleet, events: list[Event]) -> None:
    """Let a worker count events, see that it does it right, and stop it."""
    worker = fleet.start()
    wait_for("the worker is ready", worker.ready)
    produce(fleet.settings, events)
    assert_counts(fleet, expected(events))
    assert worker.stop() == 0


def only_of(events: Iterable[Event], partition: int, settings: Settings) -> list[Event]:
    """The events of one partition."""
    return [event for event in events if _partition(event, settings) == partition]


def but_of(events: Iterable[Event], partitions: set[int], settings: Settings) -> list[Event]:
    """The events of all partitions but these."""
    return [event for event in events if _partition(event, settings) not in partitions]


def _partition(event: Event, settings: Settings) -> int:
    return partition_of(event.key or b"", int(settings["PARTITIONS"]))


# -- what somebody does to topics -------------------------------------------------------------------------------------


def _admin(settings: Settings) -> AdminClient:
    return AdminClient({"bootstrap.servers": settings["KAFKA_BOOTSTRAP_SERVERS"]})


def _do(settings: Settings, ask: Callable[[AdminClient], dict[Any, Any]]) -> None:
    """Ask the brokers for something, and wait until it is done."""
    admin = _admin(settings)
    for answer in ask(admin).values():
        answer.result(PATIENCE)


def topic_names(settings: Settings) -> set[str]:
    """All topics that there are."""
    return set(_admin(settings).list_topics(timeout=PATIENCE).topics)


def delete(settings: Settings, *topics: str) -> None:
    """Delete topics; they are gone afterwards."""
    _do(settings, lambda admin: admin.delete_topics(list(topics), operation_timeout=10))
    wait_for(f"{topics} are gone", lambda: not topic_names(settings) & set(topics))


def create(settings: Settings, *topics: str, **config: str) -> None:
    """Create topics as the worker does, or with other settings (`cleanup_policy` is cleanup.policy)."""
    words = {name.replace("_", "."): value for name, value in config.items()}
    new = [NewTopic(topic, int(settings["PARTITIONS"]), 1, config=words) for topic in topics]
    _do(settings, lambda admin: admin.create_topics(new, operation_timeout=10))
    wait_for(f"{topics} are there", lambda: topic_names(settings) >= set(topics))


def set_config(settings: Settings, topic: str, name: str, value: str) -> None:
    """Change a setting of a topic."""
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    _do(settings, lambda admin: admin.incremental_alter_configs([resource]))


def raise_partitions(settings: Settings, count: int, *topics: str) -> None:
    """Give topics more partitions."""
    _do(settings, lambda admin: admin.create_partitions([NewPartitions(topic, count) for topic in topics]))


def delete_records(settings: Settings, topic: str, before: dict[int, int]) -> None:
    """Take away the records before these offsets, by partition, as retention does."""
    offsets = [TopicPartition(topic, number, offset) for number, offset in before.items()]
    _do(settings, lambda admin: admin.delete_records(offsets, operation_timeout=10))


def put(
    settings: Settings, topic: str, partition: int, key: bytes, value: bytes | None, *, transaction: bool = False
) -> int:
    """Write a record as a stranger; in a transaction, as Tally does it, nothing tells it from Tally's own records.

    Returns its offset.
    """
    offsets: list[int] = []

    def delivered(error: KafkaError | None, message: Any) -> None:
        if error is not None:
            raise KafkaException(error)
        offsets.append(message.offset())

    options = {"bootstrap.servers": settings["KAFKA_BOOTSTRAP_SERVERS"]}
    producer = Producer(options | ({"transactional.id": f"stranger-{uuid.uuid4()}"} if transaction else {}))
    if transaction:
        producer.init_transactions(PATIENCE)
        producer.begin_transaction()
    producer.produce(topic, key=key, value=value, partition=partition, on_delivery=delivered)
    producer.flush()
    (offset,) = offsets
    if transaction:
        producer.commit_transaction(PATIENCE)
        # The broker says so a moment before it can be read.
        wait_for("it is committed", lambda: ends(options["bootstrap.servers"], topic)[partition] > offset)
    return offset


# -- what a worker says -----------------------------------------------------------------------------------------------


class Screen(NamedTuple):
    """What `tally check` ended with and printed."""

    code: int
    text: str


def check(settings: Settings) -> Screen:
    """Run `tally check`."""
    done = tally(settings, "check")
    return Screen(done.returncode, done.stdout.decode() + done.stderr.decode())


def tally(settings: Settings, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    """Run a command of the command line."""
    return run(settings, *arguments)


def refusal(worker: Worker, seconds: float = PATIENCE) -> str:
    """The one sentence of a worker that ends with 2."""
    wait_for("the worker ends", lambda: worker.process.poll() is not None, seconds)
    log = worker.log.read_text()
    assert worker.process.returncode == 2, log[-3000:]
    assert "Traceback" not in log, log[-3000:]
    (sentence,) = [line for line in log.splitlines() if line.startswith("tally: ")]
    return sentence


def problems(worker: Worker) -> list[str]:
    """The sentences of /ready; with any of them it answers 503."""
    found: list[str]
    try:
        found, status = json.loads(worker.get("/ready", 5)).get("problems", []), 200
    except urllib.error.HTTPError as error:
        found, status = json.loads(error.read()).get("problems", []), error.code
    assert not found or status == 503
    return found


def said(worker: Worker, *patterns: str) -> list[str]:
    """The lines of the log in which all of these are found."""
    lines = worker.log.read_text().splitlines()
    return [line for line in lines if all(re.search(pattern, line) for pattern in patterns)]


def record_of(topic: str, partition: int, offset: int) -> tuple[str, ...]:
    """What a line must say of a record."""
    return re.escape(topic), rf"partition[ =]{partition}\b", rf"offset[ =]{offset}\b"


def value_of(worker: Worker, name: str, **labels: str) -> float | None:
    """A sample of a worker; None where it has none."""
    return worker.series().get((name, tuple(sorted(labels.items()))))
