"""Every count equals the brute-force count: quiet, with two workers, and after a restart."""

import uuid
from pathlib import Path

from tests.live.seeds import seed
from tests.live.servers import Kafka
from tests.live.story import NOW, SEGMENTS, expected, traffic
from tests.live.workers import Fleet, assert_counts, produce, topic_settings, wait_for
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
        assert_counts(fleet, wanted)
        # Those under a wrong key are brought home; there they are known already.
        broken = sum(event.key is None or b"broken" in event.key for event in events)
        put_aside = ("tally_rejected_total", "tally_rekeyed_total")
        wait_for("broken ones are put aside", lambda: sum(map(fleet.total, put_aside)) == broken)
        assert fleet.total("tally_rekeyed_total") > 0
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
        assert_counts(fleet, expected(events))
