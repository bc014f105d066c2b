"""Records of strangers in the topics of the state: what can be told apart is left alone, and said.

Where state is missing, its partition is not loaded, and `/ready` says which; all others count on.
"""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live.changelogs import read_topic
from tests.live.servers import Kafka
from tests.live.standing import (
    Settings,
    but_of,
    changelog,
    counted,
    only_of,
    problems,
    put,
    record_of,
    said,
    set_config,
    settings_for,
    value_of,
)
from tests.live.story import expected, traffic
from tests.live.workers import Fleet, Worker, assert_counts, produce, wait_for

OLD = traffic(100, seed=41, broken=0)
NEW = traffic(100, seed=42, broken=0)


def puid_in(partition: int, settings: Settings) -> bytes:
    """A puid of OLD that is counted in a partition."""
    key = next(event.key for event in only_of(OLD, partition, settings) if event.kind == "response")
    assert key is not None
    return key


# -- exchanges --------------------------------------------------------------------------------------------------------


#: In keys it stands for a puid that is counted.
PUID = b"puid"
GARBAGE = {
    "a value that is garbage": (PUID, b"\xff garbage"),
    "a value that is cut off": (PUID, b"\x01"),
    "a tombstone": (PUID, None),
    "a record of somebody else": (b"a key of somebody else", b'{"not": "ours"}'),
    "a mark that is garbage": (b"\0mark", b"garbage"),
    "a word that is garbage": (b"\0l1", b"garbage"),
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_a_strangers_record_is_ignored_and_named(kafka: Kafka, tmp_path: Path, kind: str) -> None:
    """What it would replace is still in the topic: nothing is missing."""
    settings = settings_for(kafka)
    topic = changelog(settings, "exchanges")
    key, value = GARBAGE[kind]
    if key == PUID:
        key = puid_in(1, settings)
    with Fleet(tmp_path, settings) as fleet:
        counted(fleet, OLD)
        offset = put(settings, topic, 1, key, value)
        events = OLD
        for new in (NEW, traffic(50, seed=43, broken=0)):
            events = events + new
            worker = fleet.start()
            wait_for("the worker is ready", worker.ready)
            produce(settings, new)
            assert_counts(fleet, expected(events))
            assert problems(worker) == []
            words = [word.decode() for word in re.findall(rb"[\w ]{2,}", key)]
            assert len(said(worker, *record_of(topic, 1, offset), *words)) == 1, worker.log.read_text()
            assert value_of(worker, "tally_unreadable_records_total", topic=topic) == 1
            assert worker.stop() == 0


@pytest.mark.parametrize(
    ("kind", "poisoned"),
    [(kind, 5) for kind in GARBAGE] + [("a tombstone", 0)],
    ids=lambda value: value if isinstance(value, str) else f"partition {value}",
)
def test_a_partition_without_its_state_is_not_loaded_and_the_others_count_on(
    kafka: Kafka, tmp_path: Path, kind: str, poisoned: int
) -> None:
    """A stranger who writes as Tally does may have done anything: what is not sure is not counted on."""
    settings = settings_for(kafka, PARTITIONS="8")
    topic = changelog(settings, "exchanges")
    key, value = GARBAGE[kind]
    with Fleet(tmp_path, settings) as fleet:
        counted(fleet, OLD)
        put(settings, topic, poisoned, puid_in(poisoned, settings) if key == PUID else key, value, transaction=True)
        events = OLD
        for new in (NEW, traffic(50, seed=43, broken=0)):
            worker = fleet.start()
            produce(settings, new)
            events = events + but_of(new, poisoned, settings)
            assert_counts(fleet, expected(events))
            assert_only_one_is_missing(worker, topic, poisoned, 8)
            worker.stop()


def test_a_value_that_compaction_took_for_garbage_is_missing(own_kafka: Callable[..., Kafka], tmp_path: Path) -> None:
    """The garbage is the only record of its key by now, and the mark says that there was an exchange."""
    settings = settings_for(own_kafka(overrides={"log.cleaner.backoff.ms": "500"}))
    topic = changelog(settings, "exchanges")
    key = puid_in(1, settings)
    with Fleet(tmp_path, settings) as fleet:
        counted(fleet, OLD)
        set_config(settings, topic, "segment.ms", "200")
        set_config(settings, topic, "min.cleanable.dirty.ratio", "0.01")
        put(settings, topic, 1, key, b"\xff garbage")

        def is_gone() -> bool:
            put(settings, topic, 1, b"another segment", b"")
            records = read_topic(settings["KAFKA_BOOTSTRAP_SERVERS"], topic)[1]
            return [record.value() for record in records if record.key() == key] == [b"\xff garbage"]

        wait_for("the former value is gone", is_gone)
        worker = fleet.start()
        produce(settings, NEW)
        assert_counts(fleet, expected(OLD + but_of(NEW, 1, settings)))
        assert_only_one_is_missing(worker, topic, 1, 2)


def assert_only_one_is_missing(worker: Worker, topic: str, partition: int, of: int) -> None:
    """The worker says of a partition, and of no other, that its state is missing."""
    (problem,) = problems(worker)
    assert topic in problem
    assert re.search(rf"partition {partition}\b", problem, re.IGNORECASE)
    assert "TALLY_APP_ID" in problem
    assert worker.readiness() == (False, [number for number in range(of) if number != partition])
    assert value_of(worker, "tally_partitions", state="failed") == 1
    assert value_of(worker, "tally_partitions", state="ready") == of - 1
    assert len(said(worker, re.escape(problem.rstrip(".")))) == 1, worker.log.read_text()


# -- panes ------------------------------------------------------------------------------------------------------------


def test_strangers_records_among_the_counts_are_ignored_and_named(kafka: Kafka, tmp_path: Path) -> None:
    """By every worker, while it runs and when it starts: each keeps what the records before them said."""
    settings = settings_for(kafka)
    topic = changelog(settings, "panes")
    with Fleet(tmp_path, settings) as fleet:
        counted(fleet, OLD)
        rows = {
            number: [record.key() for record in records if record.key().startswith(b"[[") and record.value()]
            for number, records in read_topic(kafka.bootstrap, topic).items()
        }
        workers = [fleet.start(), fleet.start()]
        wait_for("both are ready", lambda: all(worker.ready() for worker in workers))
        strays: list[tuple[int, int]] = []  # partition, offset
        for number in (0, 1):
            for key, value in (
                (b"a key of somebody else", b"its value"),
                (b'{"a key": "of somebody else"}', b"{}"),
                (b'["somebody", "else"]', b"1"),
                (b"[1, 2, 3]", b"1"),
                (rows[number][0], b"\xff garbage"),
                (rows[number][-1], b"[1]"),
                (b'["owner",%d]' % number, b"http://nobody"),
            ):
                strays.append((number, put(settings, topic, number, key, value)))
        produce(settings, NEW)
        assert_counts(fleet, expected(OLD + NEW))
        assert_named(workers, topic, strays)
        fleet.stop()
        workers = [fleet.start(), fleet.start()]
        more = traffic(50, seed=43, broken=0)
        produce(settings, more)
        assert_counts(fleet, expected(OLD + NEW + more))
        assert_named(workers, topic, strays)


def assert_named(workers: list[Worker], topic: str, strays: list[tuple[int, int]]) -> None:
    """Both workers have named each of the records once, know the same, and are ready."""
    for worker in workers:
        wait_for(
            "the series counts them",
            lambda one=worker: value_of(one, "tally_unreadable_records_total", topic=topic) == len(strays),  # type: ignore[misc]
        )
        for number, offset in strays:
            assert len(said(worker, *record_of(topic, number, offset))) == 1, worker.log.read_text()
        assert "Traceback" not in worker.log.read_text()
        assert worker.ready()
    wait_for("both know the same", lambda: len({worker.get("/api/models") for worker in workers}) == 1)
