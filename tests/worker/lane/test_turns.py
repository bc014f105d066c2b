"""The lane shares its loop: what else runs there has its turns between two lists of records."""

import asyncio

import pytest

from app.worker.lane import lane as lane_module
from app.worker.lane.inputs import Inputs
from app.worker.lane.partition import Partition
from tests.builders import a_request
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
