"""The lane shares its loop: what else runs there has its turns between two lists of records; and its epochs."""

import asyncio
import itertools
from typing import Any

import pytest

from app.core.join.shard import Shard
from app.worker.lane import lane as lane_module
from app.worker.lane.inputs import Inputs
from app.worker.lane.partition import Partition
from tests.builders import a_request, a_response
from tests.worker.lane.scene import Scene, play


@pytest.mark.parametrize(("long_seconds", "rests"), [(-1.0, True), (60.0, False)])
def test_after_a_long_list_there_is_a_rest_of_several_turns(
    monkeypatch: pytest.MonkeyPatch, long_seconds: float, rests: bool
) -> None:
    monkeypatch.setattr(lane_module, "_LONG_SECONDS", long_seconds)
    folded: list[float] = []
    fold_next = Inputs.fold_next

    def noted(inputs: Inputs, part: Partition) -> bool:
        more = fold_next(inputs, part)
        if more:
            folded.append(asyncio.get_running_loop().time())
        return more

    monkeypatch.setattr(Inputs, "fold_next", noted)

    async def act(scene: Scene) -> None:
        await scene.begin(0)
        scene.write(*(a_request(puid=f"p-{number}") for number in range(1500)))
        await scene.until(lambda: scene.lane.running[0].shard.offsets.get("request") == 1500)
        assert len(folded) >= 15
        lists_in_one_go = max(folded.count(moment) for moment in folded)
        assert (lists_in_one_go <= 3) == rests, "one of each topic, where it rests"

    play(act)


@pytest.mark.parametrize("rows", [200, 3000], ids=["large", "bulky"])
def test_while_large_exchanges_are_settled_others_have_their_turns(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    steps: list[int] = []  # of the loop, in which it was settled
    settle = Shard._settle

    def noted(shard: Shard, *some: Any) -> Any:
        settled = settle(shard, *some)
        if settled:
            steps.append(asyncio.get_running_loop().steps)  # type: ignore[attr-defined]
        return settled

    monkeypatch.setattr(Shard, "_settle", noted)

    async def act(scene: Scene) -> None:
        await scene.begin(0)
        scene.write(*(a_response(*range(rows), puid=f"p-{number}") for number in range(60)))
        await scene.until(lambda: scene.lane.running[0].shard.open_exchanges == 60 and scene.is_quiet())

    play(act)
    assert len(steps) >= 5
    assert len({*steps}) == len(steps), "others have their turn in between"


@pytest.mark.parametrize(
    ("models", "far_behind", "seconds"),
    [(1, False, 0.2), (6, False, 0.6), (60, False, 2.0), (6, True, 1.2), (60, True, 1.5)],
)
def test_epochs_are_longer_where_many_panes_change_up_to_a_limit(
    monkeypatch: pytest.MonkeyPatch, models: int, far_behind: bool, seconds: float
) -> None:
    monkeypatch.setattr(lane_module, "_SECONDS_A_PANE", 0.1)
    monkeypatch.setattr(lane_module, "_SECONDS_A_PANE_FAR_BEHIND", 0.2)
    monkeypatch.setattr(lane_module, "_LONGEST_FAR_BEHIND_SECONDS", 1.5)
    if far_behind:
        monkeypatch.setattr(lane_module, "_FAR_BEHIND", -1)
    cut: list[float] = []
    start_epoch = Partition.start_epoch

    def noted(part: Partition, clock: float | None) -> None:
        cut.append(asyncio.get_running_loop().time())
        start_epoch(part, clock)

    monkeypatch.setattr(Partition, "start_epoch", noted)

    async def act(scene: Scene) -> None:
        await scene.begin(0)
        for number in range(120):
            scene.write(*(a_request(puid=f"p-{number}-{model}", model=f"m-{model}") for model in range(models)))
            await asyncio.sleep(0.05)
        lengths = sorted(after - before for before, after in itertools.pairwise(cut))
        assert lengths[len(lengths) // 2] == pytest.approx(seconds, abs=0.1)

    play(act)
