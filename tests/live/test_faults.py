"""Faults of the world: a broker away, a batch that the broker refuses, a transaction that times out."""

import signal
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from tests.live.servers import Kafka
from tests.live.story import expected, traffic
from tests.live.test_exactness import COMMON
from tests.live.workers import Fleet, assert_counts, produce, topic_settings, wait_for
from tests.soak import SOAK


def test_a_broker_away_for_a_while(own_kafka: Callable[..., Kafka], tmp_path: Path) -> None:
    """Workers outlive the broker's absence, whatever was on its way; nothing is lost, nothing counted twice."""
    broker = own_kafka()
    events = traffic(6_000, seed=12)
    settings = topic_settings(broker.bootstrap, "away") | COMMON | {"PARTITIONS": "4"}
    with Fleet(tmp_path, settings) as fleet:
        first, second = fleet.start(), fleet.start()
        wait_for("both are ready", lambda: first.ready() and second.ready())
        producer = threading.Thread(target=produce, args=(settings, events, 1_500))
        producer.start()
        time.sleep(4)
        broker.kill()
        time.sleep(60 if SOAK else 15)
        broker.start()
        producer.join()
        assert_counts(fleet, expected(events), 120)
        assert len(fleet.running()) == 2


def test_a_batch_that_the_broker_refuses(kafka: Kafka, tmp_path: Path) -> None:
    """Nothing is committed over a refused batch: once the topic takes it, the counts are right."""
    events = traffic(3_000, seed=13)
    name = f"refused-{uuid.uuid4().hex[:8]}"
    settings = topic_settings(kafka.bootstrap, name) | COMMON | {"PARTITIONS": "2"}
    with Fleet(tmp_path, settings) as fleet:
        worker = fleet.start()
        wait_for("the worker is ready", worker.ready)
        _set_config(kafka.bootstrap, f"{name}-exchanges", "max.message.bytes", "3000")
        produce(settings, events)
        wait_for("the worker says that a partition is lost", lambda: "lost" in worker.log.read_text())
        time.sleep(3)
        _set_config(kafka.bootstrap, f"{name}-exchanges", "max.message.bytes", "1048588")
        assert_counts(fleet, expected(events), 60)
        assert worker.process.poll() is None


def test_a_transaction_that_times_out(kafka: Kafka, tmp_path: Path) -> None:
    """A lone worker that stalls beyond the transaction time-out finds its epoch aborted, and does it again."""
    events = traffic(5_000, seed=14)
    settings = topic_settings(kafka.bootstrap, f"timeout-{uuid.uuid4().hex[:8]}") | COMMON | {"PARTITIONS": "4"}
    with Fleet(tmp_path, settings) as fleet:
        worker = fleet.start()
        wait_for("the worker is ready", worker.ready)
        producer = threading.Thread(target=produce, args=(settings, events, 1_000))
        producer.start()
        for pause in (4.0, 5.5):
            time.sleep(3)
            worker.signal(signal.SIGSTOP)
            time.sleep(pause)
            worker.signal(signal.SIGCONT)
        producer.join()
        assert_counts(fleet, expected(events), 60)


def _set_config(bootstrap: str, topic: str, name: str, value: str) -> None:
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(10)
