"""A rebalance stops nothing that stays: partitions are read on, loads go on; what goes is handed over."""

import asyncio
from functools import partial

import pytest
from aiokafka.errors import UnknownError

from app.core.wire.partitioning import partition_of
from tests.builders import a_request
from tests.memory_kafka import Fate
from tests.worker.lane.scene import Scene, play

#: A request id of each of two partitions.
OF = [next(it for it in "abcdefgh" if partition_of(it.encode(), 2) == number) for number in (0, 1)]


def write_one_each(scene: Scene, at: int) -> None:
    for number in (0, 1):
        scene.write(a_request(puid=OF[number], at=at), partition=number)


def is_durable(scene: Scene, offset: int) -> bool:
    committed = [part.committed or {} for part in scene.lane.running.values()]
    return [it.get("request") for it in committed] == [offset, offset]


def test_partitions_are_read_and_committed_while_the_others_are_waited_for() -> None:
    """As long as that takes: a member that stands still holds nobody up."""

    async def act(scene: Scene) -> None:
        await scene.begin(0, 1)
        await scene.lane.revoke()
        for at in (1, 2):
            write_one_each(scene, at)
            await scene.until(partial(is_durable, scene, at))
            await asyncio.sleep(20)
        assert scene.lane.ready

    play(act, partitions=2)


def test_one_that_stays_is_not_loaded_again_and_one_that_goes_is_durable() -> None:
    async def act(scene: Scene) -> None:
        await scene.begin(0, 1)
        kept = scene.lane.running[0]
        await scene.lane.revoke()
        write_one_each(scene, 1)
        await scene.until(lambda: all(part.has_news for part in scene.lane.running.values()))
        await scene.lane.assign({0})
        assert scene.lane.running == {0: kept}
        assert scene.open_producers() == 1
        scene.lane = scene.new_lane()
        await scene.begin(1)
        assert scene.lane.running[1].shard.offsets["request"] == 1, "the next owner reads it in the changelog"

    play(act, partitions=2)


def test_one_that_another_has_taken_before_the_end_of_the_rebalance_is_given_up_without_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def act(scene: Scene) -> None:
        await scene.begin(0, 1)
        await scene.lane.revoke()
        ours = scene.lane
        scene.lane = scene.new_lane()
        await scene.begin(1)
        write_one_each(scene, 1)
        await scene.until(lambda: ours.running[1].lost is not None)
        await asyncio.sleep(1)
        await ours.assign({0})
        assert ([*ours.running], scene.rejoins, [*ours.problems()]) == ([0], 0, [])

    play(act, partitions=2)
    assert not [it for it in caplog.records if "was lost" in it.getMessage()]


def test_one_that_is_lost_meanwhile_and_stays_is_loaded_again() -> None:
    async def act(scene: Scene) -> None:
        await scene.begin(0, 1)
        await scene.lane.revoke()
        scene.trouble.next["commit"] = [Fate(error=UnknownError)]
        scene.write(a_request(puid=OF[0]), partition=0)
        await scene.until(lambda: scene.lane.running[0].lost is not None)
        await scene.lane.assign({0, 1})
        await scene.until(lambda: scene.lane.ready)
        assert scene.lane.running[0].shard.get(OF[0].encode()) is not None
        assert scene.rejoins == 0

    play(act, partitions=2)


def test_a_load_of_what_stays_goes_on_and_none_is_begun() -> None:
    async def act(scene: Scene) -> None:
        await scene.lane.start()
        scene.trouble.next["init producer"] = [Fate(there=0.5), Fate(there=0.5)]
        await scene.lane.assign({0, 1})
        await asyncio.sleep(0.1)
        await scene.lane.revoke()
        await scene.until(lambda: set(scene.lane.running) == {0, 1})
        scene.lane.upkeep.begin({2})
        await asyncio.sleep(5)
        assert scene.open_producers() == 2, "who loads fences whoever has the partition by then"
        parts = dict(scene.lane.running)
        await scene.lane.assign({0, 1, 2})
        await scene.until(lambda: set(scene.lane.running) == {0, 1, 2})
        assert scene.lane.running.items() >= parts.items()
        assert scene.open_producers() == 3

    play(act, partitions=3)


def test_the_end_of_a_rebalance_does_not_wait_for_a_broker_that_is_stuck() -> None:
    """No heartbeat is sent before it: a member that is silent for a session is put out."""

    async def act(scene: Scene) -> None:
        await scene.begin(0, 1)
        scene.trouble.next["produce"] = [Fate(lost=True)] * 99
        write_one_each(scene, 1)
        await scene.until(lambda: any(part.committing for part in scene.lane.running.values()))
        began = asyncio.get_running_loop().time()
        await scene.lane.revoke()
        await scene.lane.assign(set())
        assert asyncio.get_running_loop().time() - began < 3.5

    play(act, partitions=2)
