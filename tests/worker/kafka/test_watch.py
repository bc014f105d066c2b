"""The watch over topics: what changes while a worker runs is acted on, or ends it with a sentence."""

import logging
from typing import Final

import pytest

from app.settings import load_settings
from app.worker.kafka.client import SetupError
from app.worker.kafka.metadata import TopicFacts
from app.worker.kafka.sizes import Sizes
from app.worker.kafka.watch import TopicWatch

SETTINGS: Final = load_settings(app_id="x")
PANES: Final = "x-panes"
REQUESTS: Final = "inference-requests"


def facts(**changes: TopicFacts | None) -> dict[str, TopicFacts]:
    """All topics as they were at the start, but for those that have changed (by what their name ends with)."""
    found = {topic: TopicFacts(4, f"id of {topic}") for topic in SETTINGS.own_topics}
    for end, changed in changes.items():
        (name,) = [topic for topic in found if topic.endswith(end)]
        if changed is None:
            del found[name]
        else:
            found[name] = changed
    return found


class Watched:
    """A watch, and what it has said."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.failures: list[str] = []
        self.sizes = Sizes()
        self.watch = TopicWatch(SETTINGS, facts(), self.sizes, lambda *told: self.told.append(told), self._fail)

    def _fail(self, error: SetupError) -> None:
        self.failures.append(str(error))

    def look(self, times: int = 1, **changes: TopicFacts | None) -> None:
        for _ in range(times):
            self.watch.compare(facts(**changes))


def test_what_stays_as_it_is_is_no_news() -> None:
    watched = Watched()
    watched.look(3)
    assert (watched.failures, [*watched.watch.troubles]) == ([], [])
    assert set(watched.told) == {(topic, f"id of {topic}") for topic in SETTINGS.topics}


def test_whoever_reads_a_canonical_topic_is_told_its_id_at_every_look() -> None:
    """Partitions that were being loaded at the look before know nothing of it yet."""
    watched = Watched()
    watched.look(3, requests=TopicFacts(4, "another"))
    assert watched.told.count((REQUESTS, "another")) == 3
    assert not watched.failures


def test_a_changelog_made_anew_ends_the_worker() -> None:
    watched = Watched()
    watched.look(panes=TopicFacts(4, "another"))
    (said,) = watched.failures
    assert said.startswith(
        "Topic x-panes has been made anew while this worker ran, and with it the state: start afresh"
    )


def test_a_topic_without_id_is_taken_for_the_one_before() -> None:
    watched = Watched()
    watched.look(panes=TopicFacts(4))
    watched.look()
    assert not watched.failures


def test_a_topic_that_is_gone_is_told_when_brokers_have_said_so_three_times(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    watched = Watched()
    watched.look(2, requests=None)
    assert not [*watched.watch.troubles]
    watched.look(2, requests=None)
    assert [*watched.watch.troubles] == ["Topic inference-requests is gone: make it again (`tally topics --create`)."]
    watched.look()
    assert not [*watched.watch.troubles]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    watched.look(3, panes=None)
    assert watched.failures[-1].startswith("Topic x-panes is gone while this worker ran")


def test_more_partitions_end_the_worker() -> None:
    watched = Watched()
    watched.look(requests=TopicFacts(8, f"id of {REQUESTS}"))
    assert watched.failures == [
        "Topic inference-responses has 4 partitions and inference-requests has 8: all must have the same."
    ]


def test_a_policy_that_loses_state_ends_the_worker() -> None:
    watched = Watched()
    watched.look(panes=TopicFacts(4, f"id of {PANES}", {"cleanup.policy": "delete"}))
    assert "Topic x-panes" in watched.failures[0]
    assert "cleanup.policy=delete" in watched.failures[0]


def test_what_topics_take_now_is_told_on() -> None:
    watched = Watched()
    watched.look(requests=TopicFacts(4, f"id of {REQUESTS}", {"max.message.bytes": "50000"}))
    assert watched.sizes.of(REQUESTS) == 50000
