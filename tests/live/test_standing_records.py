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
    check,
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
MORE = traffic(50, seed=43, broken=0)


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


def put_garbage(settings: Settings, kind: str, partition: int, *, transaction: bool) -> tuple[bytes, int]:
    """Write such a record into the exchanges. Returns its key and offset."""
    key, value = GARBAGE[kind]
    if key == PUID:
        key = puid_in(partition, settings)
    return key, put(settings, changelog(settings, "exchanges"), partition, key, value, transaction=transaction)


def test_strangers_records_are_ignored_and_named(kafka: Kafka, tmp_path: Path) -> None:
    """What they would replace is still in the topic: nothing is missing, also after another restart."""
    settings = settings_for(kafka)
    topic = changelog(settings, "exchanges")
    with Fleet(tmp_path, settings) as fleet:
        counted(fleet, OLD)
        strays = [put_garbage(settings, kind, 1, transaction=False) for kind in GARBAGE]
        events = OLD
        for new in (NEW, MORE):
            events = events + new
            worker = fleet.start()
            wait_for("the worker is ready", worker.ready)
            produce(settings, new)
            assert_counts(fleet, expected(events))
            wait_for("nothing is wrong", lambda one=worker: problems(one) == [])  # type: ignore[misc]
            assert value_of(worker, "tally_unreadable_records_total", topic=topic) == len(strays)
            for key, offset in strays:
                words = [word.decode() for word in re.findall(rb"[\w ]{2,}", key)]
                assert len(said(worker, *record_of(topic, 1, offset), *words)) == 1, worker.log.read_text()
            assert worker.stop() == 0


@pytest.mark.parametrize("poisoned", [0, 5])
def test_a_partition_without_its_state_is_not_loaded_and_the_others_count_on(
    kafka: Kafka, tmp_path: Path, poisoned: int
) -> None:
    """An exchange is gone that the mark knows of: what it has counted can be corrected no more."""
    settings = settings_for(kafka, PARTITIONS="8")
    with Fleet(tmp_path, settings) as fleet:
        counted(fleet, OLD)
        put_garbage(settings, "a tombstone", poisoned, transaction=True)
        events = OLD
        for new in (NEW, MORE):
            worker = fleet.start()
            produce(settings, new)
            events = events + but_of(new, {poisoned}, settings)
            assert_counts(fleet, expected(events))
            assert_missing(worker, {poisoned}, settings)
            worker.stop()


def test_a_worker_that_could_load_none_of_its_partitions_is_found_by_check(kafka: Kafka, tmp_path: Path) -> None:
    """Nowhere is it written that it owns one: its group knows where it can be asked."""
    settings = settings_for(kafka)
    with Fleet(tmp_path, settings) as fleet:
        counted(fleet, OLD)
        poisoned = set(range(int(settings["PARTITIONS"])))
        for number in poisoned:
            put_garbage(settings, "a tombstone", number, transaction=True)
        worker = fleet.start()
        wait_for("each has a problem", lambda: len(worker.problems()) == len(poisoned))
        assert_missing(worker, poisoned, settings)


def test_whatever_a_stranger_has_done_as_tally_does_it_is_told_by_each_partition(kafka: Kafka, tmp_path: Path) -> None:
    """Each kind of garbage in a partition of its own, where no good value is told from it; the others count on."""
    settings = settings_for(kafka, PARTITIONS="8")
    with Fleet(tmp_path, settings) as fleet:
        counted(fleet, OLD)
        poisoned = set()
        for partition, kind in enumerate(GARBAGE, start=2):
            put_garbage(settings, kind, partition, transaction=True)
            poisoned.add(partition)
        worker = fleet.start()
        produce(settings, NEW)
        assert_counts(fleet, expected(OLD + but_of(NEW, poisoned, settings)))
        assert_missing(worker, poisoned, settings)


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
        assert_counts(fleet, expected(OLD + but_of(NEW, {1}, settings)))
        assert_missing(worker, {1}, settings)


def assert_missing(worker: Worker, poisoned: set[int], settings: Settings) -> None:
    """The worker says of these partitions, and of no others, that their state is missing, and once each."""
    wait_for("each has a problem", lambda: len(problems(worker)) == len(poisoned))
    sentences = problems(worker)
    for number, sentence in zip(sorted(poisoned), sorted(sentences), strict=True):
        assert changelog(settings, "exchanges") in sentence
        assert re.search(rf"partition {number}\b", sentence, re.IGNORECASE)
        assert "TALLY_APP_ID" in sentence
        assert len(said(worker, re.escape(sentence.rstrip(".")))) == 1, worker.log.read_text()
    screen = check(settings)
    assert screen.code != 0
    assert all(f"Worker {worker.url}: {sentence}" in screen.text for sentence in sentences), screen.text
    others = set(range(int(settings["PARTITIONS"]))) - poisoned
    assert worker.readiness() == (False, sorted(others))
    assert value_of(worker, "tally_partitions", state="failed") == len(poisoned)
    assert value_of(worker, "tally_partitions", state="ready") == len(others)


# -- panes ------------------------------------------------------------------------------------------------------------


def test_strangers_records_among_the_counts_are_ignored_and_named(kafka: Kafka, tmp_path: Path) -> None:
    """By every worker, while it runs and when it starts: each keeps what the records before them said."""
    settings = settings_for(kafka)
    topic = changelog(settings, "panes")
    with Fleet(tmp_path, settings) as fleet:
        workers = [fleet.start(), fleet.start()]
        wait_for("both are ready", lambda: all(worker.ready() for worker in workers))
        produce(settings, OLD)
        assert_counts(fleet, expected(OLD))
        rows = {
            number: [record.key() for record in records if record.key().startswith(b"[[") and record.value()]
            for number, records in read_topic(kafka.bootstrap, topic).items()
        }
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
        produce(settings, MORE)
        assert_counts(fleet, expected(OLD + NEW + MORE))
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
        wait_for("it is ready", worker.ready)
    wait_for("both know the same", lambda: len({worker.get("/api/models") for worker in workers}) == 1)
