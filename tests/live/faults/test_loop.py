"""The loop that breaks stock Faust: a backlog, 16 partitions, workers that join, leave and are killed at random.

After it: all that was produced is processed, the tables are what a brute-force count says, the marks are the ends of
the inputs, and the changelogs replayed alone give the tables.
"""

import random
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from tests.live.changelogs import counted_by_exchanges, ends, recovered, totals_of
from tests.live.seeds import seed
from tests.live.servers import Kafka
from tests.live.story import expected, traffic
from tests.live.test_exactness import COMMON
from tests.live.workers import Fleet, assert_counts, produce, topic_settings
from tests.soak import SOAK

ROUNDS = 40 if SOAK else 10


def test_join_leave_kill_loop(kafka: Kafka, tmp_path: Path) -> None:
    events = traffic(60_000 if SOAK else 15_000, seed(11))
    settings = topic_settings(kafka.bootstrap, f"loop-{uuid.uuid4().hex[:8]}") | COMMON | {"PARTITIONS": "16"}
    rng = random.Random(seed(3))
    with Fleet(tmp_path, settings) as fleet:
        fleet.wait_for("topics exist", fleet.start().ready)
        backlog = len(events) // 2
        produce(settings, events[:backlog])
        rest = threading.Thread(target=produce, args=(settings, events[backlog:], len(events) / ROUNDS / 5))
        rest.start()
        for _ in range(ROUNDS):
            time.sleep(rng.uniform(0.3, 3.0))
            running = fleet.running()
            choice = rng.random()
            if len(running) < 2 or (len(running) < 3 and choice < 0.4):
                fleet.start()
            elif choice < 0.7:
                rng.choice(running).kill()
            else:
                leaves = rng.choice(running)
                fleet.wait_for("it answers", leaves.answers)  # before, SIGTERM ends it as any process
                assert leaves.stop() == 0
        rest.join()
        if not fleet.running():
            fleet.start()
        assert_counts(fleet, expected(events))
        # Also of partitions of a worker that was killed last, once the others have these.
        fleet.wait_for("all have an owner", lambda: sorted(loaded(fleet)) == [*range(16)])
        fleet.wait_for("what counts nothing is read as well", lambda: fleet.total("tally_lag_events") == 0)
        fleet.stop()
    shards = recovered(settings)
    assert len(shards) == 16
    for topic in (settings["REQUEST_TOPIC"], settings["RESPONSE_TOPIC"], settings["FEEDBACK_TOPIC"]):
        marks = {number: mark.offsets[topic] for number, (_, mark) in shards.items() if mark is not None}
        assert marks == ends(kafka.bootstrap, topic)
    for shard, _ in shards.values():
        assert totals_of(shard) == counted_by_exchanges(shard)


def loaded(fleet: Fleet) -> Iterator[int]:
    """The partitions that workers have."""
    for worker in fleet.running():
        yield from worker.readiness()[1]
