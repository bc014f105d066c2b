"""Every count equals the brute-force count: quiet, with two workers, after a restart, and through kills and stalls."""

import random
import signal
import threading
import time
import uuid
from pathlib import Path

from tests.live.seeds import seed
from tests.live.servers import Kafka
from tests.live.story import NOW, SEGMENTS, expected, traffic
from tests.live.workers import Fleet, Worker, assert_counts, produce, topic_settings, wait_for
from tests.soak import SOAK

PUIDS = 200_000 if SOAK else 15_000
COMMON = {"NOW": NOW.strftime("%Y-%m-%dT%H:%M:%SZ"), "SESSION_TIMEOUT": "3s"}


def settings_for(kafka: Kafka, **more: str) -> dict[str, str]:
    return topic_settings(kafka.bootstrap, f"exact-{uuid.uuid4().hex[:8]}") | COMMON | more


def with_segments(folder: Path) -> str:
    """A YAML file by which all models have segments."""
    file = folder / "tally.yaml"
    file.write_text(SEGMENTS)
    return str(file)


def test_counts_equal_brute_force(kafka: Kafka, tmp_path: Path) -> None:
    """One worker, then two, then none and again one: the same totals, windows and segments, without new traffic."""
    events = traffic(PUIDS, seed(7))
    wanted = expected(events, segments=True)
    settings = settings_for(kafka, PARTITIONS="8", CONFIG=with_segments(tmp_path))
    with Fleet(tmp_path, settings) as fleet:
        first = fleet.start()
        wait_for("the first worker is ready", first.ready)
        produce(settings, events)
        assert_counts(fleet, wanted, 300)
        refused = fleet.total("tally_rejected_total")
        brought_home = fleet.total("tally_rekeyed_total")  # under a wrong key; there they are known already
        assert refused + brought_home == sum(event.key is None or b"broken" in event.key for event in events)
        assert brought_home > 0
        second = fleet.start()
        wait_for("the second worker has its share", lambda: second.ready() and len(second.readiness()[1]) == 4)
        assert_counts(fleet, wanted)
        fleet.stop()
        fleet.start()
        assert_counts(fleet, wanted)


def test_two_workers_from_the_start(kafka: Kafka, tmp_path: Path) -> None:
    """Two workers that begin with the whole backlog count the same."""
    events = traffic(PUIDS, seed(8))
    settings = settings_for(kafka, PARTITIONS="8")
    with Fleet(tmp_path, settings) as fleet:
        wait_for("topics exist", fleet.start().ready)
        fleet.stop()
        produce(settings, events)
        fleet.start()
        fleet.start()
        assert_counts(fleet, expected(events), 300)


def test_kills_lose_and_double_nothing(kafka: Kafka, tmp_path: Path) -> None:
    """Ten kill -9 in the middle of the input, at random moments: the same totals, custom metrics among them."""
    kills, rate = (10, 1_500) if SOAK else (5, 1_200)
    events = traffic(30_000 if SOAK else 8_000, seed(9), metrics=True)
    settings = settings_for(kafka, PARTITIONS="8", CONFIG=with_segments(tmp_path))
    rng = random.Random(seed(1))
    with Fleet(tmp_path, settings) as fleet:
        wait_for("the first worker is ready", fleet.start().ready)
        fleet.start()
        producer = threading.Thread(target=produce, args=(settings, events, rate))
        producer.start()
        killed = 0
        while killed < kills and producer.is_alive():
            time.sleep(rng.uniform(1.0, 5.0))
            victim = rng.choice(fleet.running())
            victim.kill()
            killed += 1
            if len(fleet.running()) < 2:
                fleet.start()
        producer.join()
        assert killed == kills, f"the input ended after {killed} kills"
        assert_counts(fleet, expected(events, segments=True), 120)


def shares(*workers: Worker) -> list[tuple[bool, list[int]]]:
    return [worker.readiness() for worker in workers]


def test_a_stalled_worker_gives_way_and_comes_back(kafka: Kafka, tmp_path: Path) -> None:
    """SIGSTOP beyond the session time-out: the other takes over; the late one says what it lost, and is back."""
    rate = 1_000
    events = traffic(8_000, seed(10))
    settings = settings_for(kafka, PARTITIONS="8")
    with Fleet(tmp_path, settings) as fleet:
        first, second = fleet.start(), fleet.start()
        halves = {(True, 4)}
        wait_for("each has its half", lambda: {(ready, len(it)) for ready, it in shares(first, second)} == halves)
        producer = threading.Thread(target=produce, args=(settings, events, rate))
        producer.start()
        time.sleep(4)
        first.signal(signal.SIGSTOP)
        wait_for("the second has all", lambda: len(second.readiness()[1]) == 8, 40)
        time.sleep(2)
        first.signal(signal.SIGCONT)
        producer.join()
        assert_counts(fleet, expected(events), 120)
        wait_for(
            "the late one takes part again, or has ended to be started again",
            lambda: first.process.poll() is not None or (first.ready() and len(first.readiness()[1]) > 0),
        )
        said = first.log.read_text()
        assert "lost" in said or said.count("loaded partitions=") > 1, "what it had not committed, or it had nothing"
