"""What the lane does when Kafka is slow or fails, step by step, on the Kafka in memory.

Each of these has been found by a simulated history, or beside one (tests/simulation).
"""

import asyncio

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError, UnknownError

from app.core.wire.partitioning import partition_of
from app.worker.lane.loading import Loaded
from tests.builders import a_request
from tests.memory_kafka import Fate
from tests.patience import PATIENCE
from tests.worker.lane.scene import SETTINGS, Scene, play


def test_a_lane_ends_when_it_is_stopped_right_after_an_assignment() -> None:
    """Its reader had been woken up by the assignment, and forgot that it was cancelled."""

    async def act(scene: Scene) -> None:
        await scene.begin()
        await asyncio.sleep(0.1)
        await scene.lane.assign(set())
        async with asyncio.timeout(PATIENCE):
            await scene.lane.stop()

    play(act)


def test_a_lane_ends_when_it_is_stopped_while_it_closes_a_lost_partition() -> None:
    """The closing of the producer swallowed the cancellation."""

    async def act(scene: Scene) -> None:
        await scene.begin(0)
        await scene.until(lambda: not scene.lane.running[0].has_news)
        scene.trouble.next["produce"] = [Fate(lost=True)] * 9  # which keeps the producer busy
        scene.write(a_request())
        await scene.until(lambda: not scene.lane.running)
        async with asyncio.timeout(PATIENCE):
            await scene.lane.stop()

    play(act)


@pytest.mark.parametrize("moment", [0.0, 0.3, 0.49])
def test_a_load_that_a_rebalance_cuts_short_leaves_no_producer_open(moment: float) -> None:
    """One of them had been opened by then, and nobody knew it any more."""

    async def act(scene: Scene) -> None:
        await scene.lane.start()
        scene.trouble.next["init producer"] = [Fate(), Fate(there=0.5)]
        await scene.lane.assign({0, 1})
        await asyncio.sleep(moment)
        await scene.lane.revoke()
        await scene.lane.assign(set())
        assert not scene.lane.running
        assert scene.open_producers() == 0
        await scene.lane.assign({0, 1})
        await scene.until(lambda: set(scene.lane.running) == {0, 1})
        assert scene.open_producers() == 2

    play(act, partitions=2)


def test_a_load_that_fails_is_tried_again_and_leaves_no_producer_open() -> None:
    async def act(scene: Scene) -> None:
        scene.trouble.next["list offsets"] = [Fate(error=KafkaTimeoutError)]
        await scene.begin(0, 1)
        assert scene.open_producers() == 2

    play(act, partitions=2)


def test_brokers_that_go_away_while_partitions_are_loaded_do_not_end_the_worker() -> None:
    """They had gone between the producer's start and the question which topics there are."""

    async def act(scene: Scene) -> None:
        await scene.lane.start()
        scene.trouble.next["metadata"] = [
            *[Fate()] * 3,
            Fate(error=KafkaConnectionError),
        ]  # of two producers, and a consumer
        await scene.lane.assign({0, 1})
        await scene.until(lambda: scene.lane.ready)
        assert scene.trouble.next["metadata"] == []
        assert scene.failures == []
        assert scene.open_producers() == 2

    play(act, partitions=2)


def test_a_lane_that_waits_for_ever_says_so_and_one_that_waits_for_kafka_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def for_ever(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    async def act(scene: Scene) -> None:
        await scene.begin(0)
        scene.trouble.next["fetch"] = [Fate(error=UnknownError)] * 10_000
        await asyncio.sleep(150)
        assert scene.lane.standstill() is None
        assert scene.lane._inputs is not None
        monkeypatch.setattr(scene.lane._inputs.consumer, "wait_for_records", for_ever)
        await asyncio.sleep(150)
        said = scene.lane.standstill()
        assert said is not None
        assert "while reading" in said

    play(act)


def test_records_that_are_gone_do_not_end_the_lane_when_their_topic_cannot_be_asked() -> None:
    async def act(scene: Scene) -> None:
        await scene.begin(0)
        scene.write(a_request(puid="p"), a_request(puid="q"))
        tp = TopicPartition("request", 0)
        await scene.until(lambda: scene.lane.running[0].shard.offsets["request"] == 2)
        scene.kafka.broker.log_of(tp).append([a_request(puid=puid).read() for puid in "rst"])
        scene.kafka.broker.log_of(tp).delete_before(4)
        scene.trouble.next["list offsets"] = [Fate(error=KafkaTimeoutError)]
        scene.kafka.broker.moved(tp)
        await scene.until(lambda: scene.lane.running[0].shard.offsets["request"] == 5)
        assert scene.lane.failure() is None
        assert [puid for puid in "pqrst" if scene.lane.running[0].shard.get(puid.encode())] == ["p", "q", "t"]

    play(act)


def test_a_partition_is_not_moved_to_where_another_owner_had_been() -> None:
    """While the lane asks where a topic begins, the partition changes hands."""

    async def act(scene: Scene) -> None:
        await scene.begin(0)
        tp = TopicPartition("request", 0)
        scene.kafka.broker.log_of(tp).append([a_request(puid=puid).read() for puid in "abc"])
        scene.kafka.broker.log_of(tp).delete_before(2)
        scene.trouble.next["list offsets"] = [Fate(there=0.5)]
        scene.kafka.broker.moved(tp)
        await asyncio.sleep(0.2)
        await scene.lane.assign(set())
        await scene.lane.assign({0})
        await scene.until(lambda: 0 in scene.lane.running)
        scene.lane.running[0].shard.offsets["request"] = 3  # as others have read
        await asyncio.sleep(2)
        assert scene.lane.running[0].shard.offsets["request"] == 3
        assert scene.lane.running[0].shard.get(b"c") is None

    play(act)


def test_what_is_unexpected_in_a_load_is_told() -> None:
    """It must end the worker, which would wait for its partitions for ever."""

    async def act(scene: Scene) -> None:
        async def fail(_: object) -> Loaded:
            raise RuntimeError("a bug")

        scene.lane.upkeep._load_partitions = fail
        await scene.lane.start()
        await scene.lane.assign({0})
        await scene.until(lambda: scene.lane.failure() is not None)

    play(act)


def test_lost_partitions_are_closed_at_once() -> None:
    """A producer that is stuck takes two seconds to close; a member that is silent for so long a group gives up."""

    async def act(scene: Scene) -> None:
        await scene.begin(0, 1, 2)
        await scene.until(lambda: not any(part.has_news for part in scene.lane.running.values()))
        scene.trouble.next["produce"] = [Fate(lost=True)] * 99
        for puid in ("a", "b", "f"):  # one for each partition
            scene.write(a_request(puid=puid), partition=partition_of(puid.encode(), 3))
        await scene.until(lambda: len(scene.lane.running) < 3)
        began = asyncio.get_running_loop().time()
        await scene.until(lambda: scene.open_producers() == 0)
        assert asyncio.get_running_loop().time() - began < 2.5
        await scene.until(lambda: scene.rejoins == 1)

    play(act, partitions=3)


@pytest.mark.parametrize("fate", [Fate(error=UnknownError), Fate(unanswered=True)], ids=["did not", "did hold"])
def test_what_a_lost_epoch_had_seen_is_counted_once(fate: Fate) -> None:
    """The worker's own counters go by what is committed, like all that is counted."""

    async def act(scene: Scene) -> None:
        await scene.begin(0)
        scene.trouble.next["commit"] = [fate]
        scene.write(a_request(puid="a"), a_request(puid="a", at=1), a_request(puid="b", value=b"no JSON"))
        await scene.until(lambda: scene.rejoins == 1)
        assert not scene.lane.stats.events["request"]
        await scene.lane.assign({0})
        await scene.until(lambda: 0 in scene.lane.running and scene.is_quiet())
        stats = scene.lane.stats
        assert (stats.events["request"], stats.duplicates["request"], stats.rejected["bad-json"]) == (3, 0, 1)

    play(act)


@pytest.mark.parametrize("holds", [False, True])
def test_what_a_lost_epoch_had_seen_is_not_counted_where_another_has_had_the_partition_since(holds: bool) -> None:
    """That an epoch holds is known to the worker alone that has lost it: the other counts what it has read itself."""

    async def act(scene: Scene) -> None:
        await scene.begin(0)
        scene.trouble.next["commit"] = [Fate(unanswered=holds, lost=not holds)]
        scene.write(a_request(puid="a"))
        await scene.until(lambda: scene.rejoins == 1)
        first = scene.lane
        second = scene.lane = scene.new_lane(SETTINGS.model_copy(update={"web_port": SETTINGS.web_port + 1}))
        await scene.begin(0)
        if holds:
            scene.write(a_request(puid="b"))
        await scene.until(lambda: second.stats.events["request"] == 1)
        await second.stop()
        await first.assign({0})
        await scene.until(lambda: 0 in first.running)
        assert first.running[0].shard.open_exchanges == 1 + holds
        assert first.stats.events["request"] == 0
        await first.stop()

    play(act)
