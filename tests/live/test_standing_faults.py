"""Topics that change around a worker: made again, gone, of the wrong kind, with more partitions, of another app.

Whatever happens to them, a worker counts exactly, or says in one sentence what is not as it must be and ends with 2.
"""

import re
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.live.servers import Kafka
from tests.live.standing import (
    canonical,
    changelog,
    check,
    counted,
    create,
    delete,
    delete_records,
    only_of,
    put,
    raise_partitions,
    refusal,
    said,
    set_config,
    settings_for,
    tally,
    topic_names,
    value_of,
)
from tests.live.story import expected, traffic
from tests.live.workers import Fleet, Worker, assert_counts, produce, topic_settings, wait_for

CHANGELOGS = ("exchanges", "panes")
OLD = traffic(20, seed=31, broken=0)


# -- identity ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [5, 30], ids=["shorter", "longer"])
def test_topics_made_again_while_no_worker_runs_are_read_from_their_beginning(
    kafka: Kafka, tmp_path: Path, more: int
) -> None:
    """Whether the new topic ends before the old position or behind it."""
    settings = settings_for(kafka)
    new = traffic(more, seed=32, broken=0)
    with Fleet(tmp_path, settings) as fleet:
        counted(fleet, OLD)
        delete(settings, *canonical(settings))
        create(settings, *canonical(settings))
        produce(settings, new)
        worker = fleet.start()
        assert_counts(fleet, expected(OLD + new))
        for topic in canonical(settings):
            assert len(said(worker, re.escape(topic))) == 1, worker.log.read_text()


def test_topics_made_again_while_a_worker_runs_are_read_from_their_beginning(kafka: Kafka, tmp_path: Path) -> None:
    settings = settings_for(kafka)
    new = traffic(30, seed=32, broken=0)
    with Fleet(tmp_path, settings) as fleet:
        worker = fleet.start()
        wait_for("the worker is ready", worker.ready)
        produce(settings, OLD)
        assert_counts(fleet, expected(OLD))
        delete(settings, *canonical(settings))
        create(settings, *canonical(settings))
        produce(settings, new)
        assert_counts(fleet, expected(OLD + new))
        assert worker.process.poll() is None
        for topic in canonical(settings):
            # While it was gone nobody answered; on a busy machine that may be long enough to be worth a line.
            lines = [line for line in said(worker, re.escape(topic)) if "Kafka has not answered" not in line]
            assert len(lines) == 1, worker.log.read_text()


def test_one_topic_made_again_does_not_touch_the_others(kafka: Kafka, tmp_path: Path) -> None:
    """It is made again by hand with what was in it and more: what was counted before is counted once."""
    settings = settings_for(kafka)
    new = traffic(5, seed=32, broken=0)
    with Fleet(tmp_path, settings) as fleet:
        counted(fleet, OLD)
        delete(settings, settings["RESPONSE_TOPIC"])
        create(settings, settings["RESPONSE_TOPIC"])
        produce(settings, [event for event in OLD if event.kind == "response"] + new)
        worker = fleet.start()
        assert_counts(fleet, expected(OLD + new))
        for topic in canonical(settings):
            assert len(said(worker, re.escape(topic))) == (topic == settings["RESPONSE_TOPIC"])


def test_a_source_made_again_while_no_worker_runs_is_read_from_its_beginning(kafka: Kafka, tmp_path: Path) -> None:
    """Brokers forget the offsets of a topic that is deleted, so its group begins anew."""
    settings = settings_for(kafka)
    source = f"{settings['APP_ID']}-source"
    settings["INTAKE_TOPICS"] = source
    into_source = settings | {f"{kind}_TOPIC": source for kind in ("REQUEST", "RESPONSE", "FEEDBACK")}
    new = traffic(30, seed=32, broken=0)
    with Fleet(tmp_path, settings) as fleet:
        create(settings, source)
        produce(into_source, OLD)
        first = fleet.start()
        assert_counts(fleet, expected(OLD))
        first.stop()
        delete(settings, source)
        create(settings, source)
        produce(into_source, new)
        fleet.start()
        assert_counts(fleet, expected(OLD + new))


# -- changelogs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gone", [["exchanges"], ["panes"], ["exchanges", "panes"]], ids="+".join)
def test_changelogs_that_are_gone_are_refused(kafka: Kafka, tmp_path: Path, gone: list[str]) -> None:
    """Also once they are made again, empty: what they held is gone all the same."""
    settings = settings_for(kafka)
    topics = [changelog(settings, name) for name in gone]
    with Fleet(tmp_path, settings) as fleet:
        counted(fleet, OLD)
        delete(settings, *topics)
        sentences = [refusal(fleet.start())]
        assert tally(settings, "topics", "--create").returncode == 0
        sentences.append(refusal(fleet.start()))
        screen = check(settings)
        assert screen.code != 0
        sentences.append(screen.text)
        for sentence in sentences:
            assert any(topic in sentence for topic in topics), sentence
            assert "TALLY_APP_ID" in sentence


@pytest.mark.parametrize("name", CHANGELOGS)
def test_a_changelog_that_is_deleted_while_a_worker_runs_ends_it(kafka: Kafka, tmp_path: Path, name: str) -> None:
    """Also where somebody has made it again before the worker has looked."""
    settings = settings_for(kafka)
    topic = changelog(settings, name)
    with Fleet(tmp_path, settings) as fleet:
        worker = fleet.start()
        wait_for("the worker is ready", worker.ready)
        produce(settings, OLD)
        assert_counts(fleet, expected(OLD))
        delete(settings, topic)
        create(settings, topic, cleanup_policy="compact")
        produce(settings, traffic(30, seed=33, broken=0))
        for sentence in (refusal(worker), refusal(fleet.start())):
            assert topic in sentence
            assert "TALLY_APP_ID" in sentence


def test_no_worker_makes_a_changelog_again_by_asking_for_it(own_kafka: Callable[..., Kafka], tmp_path: Path) -> None:
    """Where brokers make a topic for whoever asks: it would have another policy, and nothing in it.

    Two apps, each without one of its changelogs: that brokers do not know a topic is believed after half a minute.
    """
    broker = own_kafka(overrides={"auto.create.topics.enable": "true"})
    with ExitStack() as stack:
        apps = []
        for name in CHANGELOGS:
            (tmp_path / name).mkdir()
            settings = settings_for(broker)
            fleet = stack.enter_context(Fleet(tmp_path / name, settings))
            apps.append((fleet, fleet.start(), settings, changelog(settings, name)))
        for fleet, worker, settings, topic in apps:
            wait_for("the worker is ready", worker.ready)
            produce(settings, OLD)
            assert_counts(fleet, expected(OLD))
            delete(settings, topic)
            produce(settings, traffic(30, seed=33, broken=0))
        for fleet, worker, settings, topic in apps:
            assert topic in refusal(worker)
            assert topic not in topic_names(settings)
            put(settings, topic, 0, b"made by asking", b"")
            assert topic in refusal(fleet.start())


@pytest.mark.parametrize("name", CHANGELOGS)
def test_a_changelog_that_is_not_compacted_is_refused(kafka: Kafka, tmp_path: Path, name: str) -> None:
    settings = settings_for(kafka)
    topic = changelog(settings, name)
    create(settings, topic, cleanup_policy="delete")
    with Fleet(tmp_path, settings) as fleet:
        sentence = refusal(fleet.start())
    screen = check(settings)
    assert screen.code != 0
    for text in (sentence, screen.text):
        assert topic in text
        assert "cleanup.policy=delete" in text


@pytest.mark.parametrize("name", CHANGELOGS)
def test_a_changelog_that_is_no_longer_compacted_ends_a_worker(kafka: Kafka, tmp_path: Path, name: str) -> None:
    settings = settings_for(kafka)
    topic = changelog(settings, name)
    with Fleet(tmp_path, settings) as fleet:
        worker = fleet.start()
        wait_for("the worker is ready", worker.ready)
        set_config(settings, topic, "cleanup.policy", "delete")
        screen = check(settings)
        assert screen.code != 0
        for text in (refusal(worker), screen.text):
            assert topic in text
            assert "cleanup.policy=delete" in text


# -- partitions -------------------------------------------------------------------------------------------------------


def test_one_topic_with_more_partitions_ends_a_worker(kafka: Kafka, tmp_path: Path) -> None:
    settings = settings_for(kafka)
    with Fleet(tmp_path, settings) as fleet:
        worker = fleet.start()
        wait_for("the worker is ready", worker.ready)
        raise_partitions(settings, 4, settings["RESPONSE_TOPIC"])
        produce(settings, OLD)
        for sentence in (refusal(worker), refusal(fleet.start())):
            assert settings["RESPONSE_TOPIC"] in sentence
            assert "has 4 partitions" in sentence
            assert "has 2: all must have the same" in sentence
        assert "has 4 partitions" in check(settings).text


def test_all_canonical_topics_with_more_partitions_end_a_worker(kafka: Kafka, tmp_path: Path) -> None:
    settings = settings_for(kafka)
    with Fleet(tmp_path, settings) as fleet:
        worker = fleet.start()
        wait_for("the worker is ready", worker.ready)
        raise_partitions(settings, 4, *canonical(settings))
        produce(settings, OLD)
        for sentence in (refusal(worker), refusal(fleet.start())):
            assert "has 2 partitions" in sentence or "was written with 2 partitions" in sentence
            assert "4" in sentence


def test_all_topics_with_more_partitions_end_a_worker(kafka: Kafka, tmp_path: Path) -> None:
    """Where somebody has thought of the changelogs too, the state says how many it was written with."""
    settings = settings_for(kafka)
    with Fleet(tmp_path, settings) as fleet:
        worker = fleet.start()
        wait_for("the worker is ready", worker.ready)
        produce(settings, OLD)
        assert_counts(fleet, expected(OLD))
        own = [changelog(settings, name) for name in (*CHANGELOGS, "dead-letters")]
        raise_partitions(settings, 4, *canonical(settings), *own)
        for sentence in (refusal(worker), refusal(fleet.start())):
            assert "was written with 2 partitions and the topics have 4" in sentence
        assert "was written with 2 partitions and the topics have 4" in " ".join(check(settings).text.split())


# -- events that are gone ---------------------------------------------------------------------------------------------


def test_events_that_retention_took_are_counted_as_lost(kafka: Kafka, tmp_path: Path) -> None:
    """The first ten new feedbacks of each partition go before anybody has read them; all else counts."""
    settings = settings_for(kafka)
    topic = settings["FEEDBACK_TOPIC"]
    new = traffic(200, seed=34, broken=0)
    kept = list(new)
    with Fleet(tmp_path, settings) as fleet:
        counted(fleet, OLD)
        produce(settings, new)
        for number in range(2):
            read = [event for event in only_of(OLD, number, settings) if event.kind == "feedback"]
            delete_records(settings, topic, {number: len(read) + 10})
            for event in [event for event in only_of(new, number, settings) if event.kind == "feedback"][:10]:
                kept.remove(event)
        worker = fleet.start()
        assert_counts(fleet, expected(OLD + kept))
        assert value_of(worker, "tally_lost_events_total", topic=topic) == 20
        assert len(said(worker, re.escape(topic), r"\b10\b")) == 2, worker.log.read_text()


# -- another app ------------------------------------------------------------------------------------------------------


def test_another_app_of_the_same_id_is_refused_and_the_first_goes_on(kafka: Kafka, tmp_path: Path) -> None:
    settings = settings_for(kafka)
    others = topic_settings(kafka.bootstrap, f"{settings['APP_ID']}-other") | {"APP_ID": settings["APP_ID"]}
    new = traffic(100, seed=35, broken=0)
    with Fleet(tmp_path, settings) as fleet:
        first = fleet.start()
        wait_for("the first is ready", first.ready)
        produce(settings, OLD)
        assert_counts(fleet, expected(OLD))
        second = fleet.start(**others)
        wait_for("it has made its topics", lambda: topic_names(settings) >= {*canonical(others)})
        produce(settings | others, traffic(20, seed=36, broken=0))
        sentence = refusal(second)
        assert f"The state of {settings['APP_ID']} was written for topics" in sentence
        for topic in canonical(settings):
            assert topic in sentence
        assert "TALLY_APP_ID" in sentence
        produce(settings, new)
        assert_counts(fleet, expected(OLD + new))
        assert first.process.poll() is None


def differs(worker: Worker, partitions: int) -> bool:
    return value_of(worker, "tally_rules_differ") == partitions


def names(worker: Worker, other: Worker) -> bool:
    return len(said(worker, "WARNING", re.escape(other.url), "TALLY_CONFIG")) == 1


def test_workers_with_other_rules_name_each_other(kafka: Kafka, tmp_path: Path) -> None:
    settings = settings_for(kafka)
    files = {}
    for name, threshold in (("one", 0.5), ("other", 0.6)):
        files[name] = tmp_path / f"{name}.yaml"
        files[name].write_text(f'models: [{{match: "demo/cancer/*", threshold: {threshold}}}]\n')
    with Fleet(tmp_path, settings | {"CONFIG": str(files["one"])}) as fleet:
        first, second = fleet.start(), fleet.start(CONFIG=str(files["other"]))
        pairs = ((first, second), (second, first))
        wait_for(
            "each has its half", lambda: all(worker.readiness() in ((True, [0]), (True, [1])) for worker, _ in pairs)
        )
        for worker, other in pairs:
            wait_for("the series says so", partial(differs, worker, 1))
            wait_for("the log names the other", partial(names, worker, other))
        second.stop()
        third = fleet.start()
        wait_for("each has its half", lambda: all(len(one.readiness()[1]) == 1 for one in (first, third)))
        wait_for("they agree", lambda: differs(first, 0) and differs(third, 0))
