"""Faults of workers: killed one by one and all at once, stalled, more and fewer of them."""

import signal
import time
from pathlib import Path

from tests.live.changelogs import read_topic
from tests.live.faults.trial import Record, Trial, trial
from tests.live.servers import Elasticsearch, Kafka
from tests.live.standing import changelog
from tests.soak import SOAK


def test_kill_9_of_one_worker_at_a_time(kafka: Kafka, tmp_path: Path, record_property: Record) -> None:
    """In the middle of the input, at random moments; there are two of them again and again. Custom metrics are right,
    too.
    """
    with trial("kill -9 of one worker", kafka.bootstrap, tmp_path, seconds=16, metrics=True, PARTITIONS="8") as it:
        it.start(2)
        it.begin()
        for _ in it.strikes(1.0, 5.0):
            it.rng.choice(it.fleet.running()).kill()
            if len(it.fleet.running()) < 2:
                it.fleet.start()
        if not it.fleet.running():
            it.fleet.start()
        assert it.times >= 3
        it.prove(record_property)


def test_kill_9_of_all_workers_at_once(
    kafka: Kafka, elasticsearch: Elasticsearch, tmp_path: Path, record_property: Record
) -> None:
    """Custom metrics and documents are right, too."""
    with trial(
        "kill -9 of all workers",
        kafka.bootstrap,
        tmp_path,
        metrics=True,
        elasticsearch=elasticsearch,
        SESSION_TIMEOUT="6s",
    ) as it:
        it.start(2)
        it.begin()
        for _ in it.strikes(3.0, 6.0):
            for worker in it.fleet.running():
                worker.kill()
            it.fleet.start()
            it.fleet.start()
        it.prove(record_property)


def test_a_worker_that_stalls_beyond_its_session_gives_way_and_comes_back(
    kafka: Kafka, tmp_path: Path, record_property: Record
) -> None:
    """SIGSTOP beyond the session time-out: the other takes over; the late one says what it lost, and is back."""
    with trial("SIGSTOP past the session time-out", kafka.bootstrap, tmp_path, seconds=8) as it:
        it.start(2)
        first, second = it.fleet.workers
        it.begin()
        for _ in it.strikes(2.0, 4.0):
            first.signal(signal.SIGSTOP)
            it.fleet.wait_for("the other has all", lambda: len(second.readiness()[1]) == 4)
            time.sleep(1)
            first.signal(signal.SIGCONT)
            it.fleet.wait_for("the late one takes part again", lambda: first.ready() and bool(first.readiness()[1]))
        it.prove(record_property)

        def has_lost() -> bool:
            said = first.log.read_text()
            return "lost" in said or said.count("loaded partitions=") > 1

        it.fleet.wait_for("it says what it had not committed, or had nothing", has_lost)


def test_sigterm_under_load_leaves_nothing_to_repeat(kafka: Kafka, tmp_path: Path, record_property: Record) -> None:
    """A worker that is told to end has committed all that it has begun."""
    with trial("SIGTERM under load", kafka.bootstrap, tmp_path, seconds=7, SESSION_TIMEOUT="10s") as it:
        it.start()
        it.begin()
        took: list[float] = []
        for _ in it.strikes(1.0, 2.0):
            (leaves,) = it.fleet.running()
            lost = any("was lost" in worker.log.read_text() for worker in it.fleet.workers)  # on a machine that is busy
            asked = time.monotonic()
            assert leaves.stop() == 0
            took.append(time.monotonic() - asked)
            for name in ("exchanges", "panes"):
                topic = changelog(it.fleet.settings, name)
                committed, written = (
                    sum(map(len, read_topic(kafka.bootstrap, topic, isolation).values()))
                    for isolation in ("read_committed", "read_uncommitted")
                )
                assert lost or written == committed, "epochs were aborted"
            it.start()
        it.prove(record_property)
        record_property("seconds", [("longest from SIGTERM to the end", max(took))])


def test_a_transaction_that_times_out(kafka: Kafka, tmp_path: Path, record_property: Record) -> None:
    """A lone worker that stalls beyond the transaction time-out finds its epoch aborted, and does it again."""
    with trial("a transaction that times out", kafka.bootstrap, tmp_path, seconds=8) as it:
        it.start()
        (worker,) = it.fleet.workers
        it.begin()
        for _ in it.strikes(2.0, 3.0):
            worker.signal(signal.SIGSTOP)
            time.sleep(it.rng.uniform(4.0, 5.5))
            worker.signal(signal.SIGCONT)
        it.prove(record_property)


def share(it: Trial, workers: int) -> bool:
    """Whether so many workers have all partitions among them, and each has some."""
    parts = [worker.readiness()[1] for worker in it.fleet.running()]
    return len(parts) == workers and all(parts) and sum(map(len, parts)) == 4


def test_one_worker_then_four_then_two(kafka: Kafka, tmp_path: Path, record_property: Record) -> None:
    """All come and go in order: on a busy machine a short session would add the losses of the other tests."""
    with trial("1, 4, 2 workers", kafka.bootstrap, tmp_path, seconds=10, SESSION_TIMEOUT="15s") as it:
        it.start()
        it.begin()
        for _ in it.strikes(1.0, 2.0):
            for _ in range(4 - len(it.fleet.running())):
                it.fleet.start()
            it.fleet.wait_for("all four have some", lambda: share(it, 4))
            first, second, *_ = it.fleet.running()
            assert (first.stop(), second.stop()) == (0, 0)
            it.fleet.wait_for("two have all", lambda: share(it, 2))
            if SOAK:
                it.fleet.running()[0].stop()
        it.prove(record_property)
