"""Faults that stay: what strangers write into the changelogs, topics that go and come again, records that are gone."""

import re

import pytest

from app.core.wire.partitioning import partition_of
from tests.builders import a_request
from tests.worker.lane.scene import SETTINGS, Scene, play


def reads_anew(scene: Scene) -> None:
    """Let another lane load what this one has left: nobody is there in between."""
    scene.lane = scene.new_lane()


def test_what_a_stranger_writes_into_a_changelog_is_named_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    async def act(scene: Scene) -> None:
        await scene.begin(0)
        scene.write(a_request(puid="a"), a_request(puid="b"))
        await scene.until(lambda: scene.lane.running[0].shard.open_exchanges == 2 and scene.is_quiet())
        await scene.lane.stop()
        for key, value in ((b"a", b"?"), (b"\0mark", b"?"), (b"x", b"{}"), (b"b", None)):
            scene.stranger(SETTINGS.exchanges_topic, key, value)
        scene.stranger(SETTINGS.panes_topic, b"?", b"?")
        reads_anew(scene)
        await scene.begin(0)
        shard = scene.lane.running[0].shard
        assert shard.store.keys() == {b"a", b"b"}
        assert shard.offsets["request"] == 2
        assert scene.lane.stats.unreadable == {SETTINGS.exchanges_topic: 4}
        assert not [*scene.lane.problems()]

    play(act)
    named = [record.getMessage() for record in caplog.records if "was not written by a worker" in record.getMessage()]
    assert len(named) == 4
    assert "key=b'a'" in named[0]


def test_a_partition_of_which_state_is_missing_is_not_counted_and_the_others_are() -> None:
    of = {number: [it for it in "abcdefgh" if partition_of(it.encode(), 2) == number] for number in (0, 1)}

    async def act(scene: Scene) -> None:
        await scene.begin(0, 1)
        scene.write(a_request(puid=of[0][0]), partition=0)
        scene.write(a_request(puid=of[1][0]), partition=1)
        await scene.until(lambda: scene.is_quiet() and all(p.shard.store for p in scene.lane.running.values()))
        await scene.lane.stop()
        scene.stranger(SETTINGS.exchanges_topic, of[0][0].encode(), None)
        scene.stranger(SETTINGS.exchanges_topic, b"x", b"")  # the newest batch is not compacted
        scene.kafka.broker.topics[SETTINGS.exchanges_topic][0].compact(1000, tombstones=True)
        reads_anew(scene)
        await scene.lane.start()
        await scene.lane.assign({0, 1})
        await scene.until(lambda: 1 in scene.lane.running and scene.lane.running[1].committed is not None)
        scene.write(a_request(puid=of[1][1]), partition=1)
        await scene.until(lambda: scene.lane.running[1].shard.open_exchanges == 2)
        assert 0 not in scene.lane.running
        assert not scene.lane.ready
        (problem,) = scene.lane.problems()
        assert "Partition 0 is not counted, its state in tally-exchanges and tally-panes is damaged" in problem
        assert "another TALLY_APP_ID" in problem
        assert scene.open_producers() == 1

    play(act, partitions=2)


@pytest.mark.parametrize(
    ("topics", "said"),
    [
        (["exchanges"], "there are counts, and no mark"),
        (["panes"], "there are exchanges, and no counts"),
        (["exchanges", "panes"], "The state of .* is gone: its group has read"),
    ],
)
def test_a_changelog_that_is_gone_ends_the_worker_with_a_sentence(topics: list[str], said: str) -> None:
    async def act(scene: Scene) -> None:
        await scene.begin(0)
        scene.write(a_request(puid="a"))
        await scene.until(lambda: scene.lane.running[0].shard.open_exchanges == 1 and scene.is_quiet())
        await scene.lane.stop()
        for topic in topics:
            scene.kafka.broker.delete(f"{SETTINGS.app_id}-{topic}")
            scene.kafka.broker.create(f"{SETTINGS.app_id}-{topic}", 1)
        reads_anew(scene)
        await scene.lane.start()
        await scene.lane.assign({0})
        await scene.until(lambda: bool(scene.failures))
        assert re.search(said, str(scene.failures[0]))
        assert "another TALLY_APP_ID" in str(scene.failures[0])

    play(act)


@pytest.mark.parametrize("more", [1, 5])
@pytest.mark.parametrize("away", [True, False])
def test_a_topic_that_is_made_anew_is_read_from_its_beginning(more: int, away: bool) -> None:
    async def act(scene: Scene) -> None:
        await scene.begin(0)
        scene.write(*(a_request(puid=f"old-{number}") for number in range(3)))
        await scene.until(lambda: scene.lane.running[0].shard.open_exchanges == 3 and scene.is_quiet())
        if away:
            await scene.lane.stop()
        scene.kafka.broker.delete("request")
        scene.kafka.broker.create("request", 1)
        scene.write(*(a_request(puid=f"new-{number}") for number in range(more)))
        if away:
            reads_anew(scene)
            await scene.begin(0)
        else:
            scene.lane.begin_anew("request", scene.kafka.broker.ids["request"])
        await scene.until(lambda: scene.lane.running[0].shard.open_exchanges == 3 + more and scene.is_quiet())
        assert scene.lane.running[0].shard.topic_ids["request"] == scene.kafka.broker.ids["request"]
        assert not scene.lane.stats.lost

    play(act)


def test_another_apps_state_is_told_from_ours() -> None:
    async def act(scene: Scene) -> None:
        await scene.begin(0)
        await scene.lane.stop()
        other = SETTINGS.model_copy(update={"request_topic": "other"})
        scene.kafka.broker.create("other", 1)
        scene.lane = scene.new_lane(other)
        await scene.lane.start()
        await scene.lane.assign({0})
        await scene.until(lambda: bool(scene.failures))
        assert "was written for topics feedback, request, response, and this worker reads feedback, other" in str(
            scene.failures[0]
        )

    play(act)


def test_events_that_were_deleted_before_they_were_read_are_counted() -> None:
    async def act(scene: Scene) -> None:
        await scene.begin(0)
        await scene.lane.stop()
        scene.write(*(a_request(puid=f"{number}") for number in range(5)))
        scene.kafka.broker.topics["request"][0].delete_before(3)
        reads_anew(scene)
        await scene.begin(0)
        await scene.until(lambda: scene.lane.running[0].shard.open_exchanges == 2)
        assert scene.lane.stats.lost == {"request": 3}

    play(act)


def test_a_state_that_was_copied_from_elsewhere_is_refused() -> None:
    """A mirror writes outside transactions: what it brings would be left out record by record, in silence."""

    async def act(scene: Scene) -> None:
        await scene.begin(0)
        scene.write(a_request(puid="a"))
        await scene.until(lambda: scene.lane.running[0].shard.open_exchanges == 1 and scene.is_quiet())
        await scene.lane.stop()
        for topic in (SETTINGS.exchanges_topic, SETTINGS.panes_topic):
            records = scene.kafka.broker.topics[topic][0].committed()
            scene.kafka.broker.delete(topic)
            scene.kafka.broker.create(topic, 1)
            for record in records:
                scene.stranger(topic, record.key or b"", record.value)
        reads_anew(scene)
        await scene.lane.start()
        await scene.lane.assign({0})
        await scene.until(lambda: bool(scene.failures))
        assert "Topic tally-exchanges has been copied from elsewhere" in str(scene.failures[0])

    play(act)
