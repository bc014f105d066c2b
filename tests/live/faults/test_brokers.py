"""Faults of the brokers: killed, silent, and a batch that they refuse."""

import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.live import servers
from tests.live.faults.trial import Record, trial
from tests.live.servers import Kafka
from tests.live.standing import set_config
from tests.live.story import expected, traffic
from tests.live.test_exactness import COMMON
from tests.live.workers import Fleet, assert_counts, produce, topic_settings
from tests.soak import SOAK


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """A broker of these tests alone."""
    with servers.kafka(tmp_path_factory.mktemp("faults"), own=True) as server:
        yield server


def kill_and_start(broker: Kafka) -> None:
    broker.kill()
    time.sleep(10)
    broker.start()


def keep_silent(broker: Kafka) -> None:
    """Its connections stay and nothing comes, as behind a firewall that drops all."""
    os.killpg(broker.pid, signal.SIGSTOP)
    time.sleep(120 if SOAK else 12)
    os.killpg(broker.pid, signal.SIGCONT)


@pytest.mark.parametrize(
    ("fault", "strike"),
    [("the broker killed and restarted", kill_and_start), ("the broker unreachable", keep_silent)],
    ids=["killed", "unreachable"],
)
def test_a_broker_away_for_a_while(
    broker: Kafka, tmp_path: Path, record_property: Record, fault: str, strike: Callable[[Kafka], None]
) -> None:
    """Workers outlive the broker's absence, whatever was on its way."""
    with trial(fault, broker.bootstrap, tmp_path, seconds=6) as it:
        it.start(2)
        it.begin()
        for _ in it.strikes(3.0, 4.0):
            strike(broker)
        it.prove(record_property)
        assert len(it.fleet.running()) == 2


def test_a_batch_that_the_broker_refuses(kafka: Kafka, tmp_path: Path) -> None:
    """Nothing is committed over a refused batch: once the topic takes it, the counts are right."""
    events = traffic(3_000, seed=13)
    name = f"refused-{uuid.uuid4().hex[:8]}"
    settings = topic_settings(kafka.bootstrap, name) | COMMON | {"PARTITIONS": "2"}
    with Fleet(tmp_path, settings) as fleet:
        worker = fleet.start()
        fleet.wait_for("the worker is ready", worker.ready)
        set_config(settings, f"{name}-exchanges", "max.message.bytes", "3000")
        produce(settings, events)
        fleet.wait_for("the worker says that a partition is lost", lambda: "lost" in worker.log.read_text())
        time.sleep(3)
        set_config(settings, f"{name}-exchanges", "max.message.bytes", "1048588")
        assert_counts(fleet, expected(events))
        assert worker.process.poll() is None
