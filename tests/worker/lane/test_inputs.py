"""Reading: of a partition's topics the one that is furthest back comes next, and the others wait for it."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

import pytest

from app.core.wire.records import Record
from app.settings import load_settings
from app.worker.lane.inputs import Inputs

SETTINGS: Final = load_settings(request_topic="asked", response_topic="answered", feedback_topic="told")
TIME: Final = 1_795_244_400_000


class Topics:
    """What a consumer has fetched of partition 0, and where its topics end."""

    def __init__(self, **ends: int) -> None:
        self._ends = ends
        self.fetched: dict[str, list[Record]] = {topic: [] for topic in ends}

    def fetch(self, topic: str, begin: int, end: int) -> None:
        """One record every 10 ms."""
        self.fetched[topic] += [Record(offset, TIME + 10 * offset, b"k", b"{}", b"") for offset in range(begin, end)]

    def take(self, tp: Any, most: int) -> list[Record]:
        records, self.fetched[tp.topic] = self.fetched[tp.topic][:most], self.fetched[tp.topic][most:]
        return records

    def next_offset(self, tp: Any) -> None:
        return None

    def end(self, tp: Any) -> int:
        return self._ends[tp.topic]


class Clock:
    """The time of a loop, which passes only where a test says so."""

    now = 0.0


def run(test: Callable[[Clock], None]) -> None:
    """Run a test in a loop with such a clock."""
    clock = Clock()

    async def whole() -> None:
        asyncio.get_running_loop().time = lambda: clock.now  # type: ignore[method-assign]
        test(clock)

    asyncio.run(whole())


def read(topics: Topics, part: Any) -> list[str]:
    """Take lists until there is none, and say of which topics they were."""
    consumer: Any = topics
    inputs = Inputs(SETTINGS, 1, consumer)
    order: list[str] = []
    while True:
        topic, records = inputs._next_list(part)
        if not records:
            return order
        order.append(topic)
        part.shard.newest[topic] = records[-1].timestamp
        part.shard.offsets[topic] = records[-1].offset + 1


def a_part() -> Any:
    return SimpleNamespace(number=0, awaited={}, shard=SimpleNamespace(newest={}, offsets={}))


@pytest.mark.parametrize("told", [0, 5])
def test_a_topic_waits_for_the_one_behind_it_whatever_a_third_has(told: int) -> None:
    def test(clock: Clock) -> None:
        topics, part = Topics(asked=1000, answered=1000, told=told), a_part()
        topics.fetch("asked", 0, 1000)
        topics.fetch("answered", 0, 200)
        topics.fetch("told", 0, told)
        order = read(topics, part)
        assert part.shard.offsets["answered"] == 200
        assert part.shard.offsets["asked"] <= 300  # a list further at the most
        assert order.count("asked") - order.count("answered") <= 1
        topics.fetch("answered", 200, 1000)
        read(topics, part)
        assert part.shard.offsets["asked"] == part.shard.offsets["answered"] == 1000

    run(test)


def test_nobody_waits_for_a_topic_that_has_been_read_to_its_end() -> None:
    def test(clock: Clock) -> None:
        topics, part = Topics(asked=1000, answered=200, told=0), a_part()
        topics.fetch("asked", 0, 1000)
        topics.fetch("answered", 0, 200)
        read(topics, part)
        assert part.shard.offsets == {"asked": 1000, "answered": 200}

    run(test)


def test_patience_has_an_end() -> None:
    def test(clock: Clock) -> None:
        topics, part = Topics(asked=1000, answered=1000, told=0), a_part()
        topics.fetch("asked", 0, 1000)
        topics.fetch("answered", 0, 100)
        read(topics, part)
        assert part.shard.offsets["asked"] <= 200
        clock.now += 1
        read(topics, part)
        assert part.shard.offsets["asked"] == 1000

    run(test)


def test_of_records_that_take_long_fewer_are_taken_at_once() -> None:
    lists: list[int] = []
    slow = [True]

    def test(clock: Clock) -> None:
        def absorb(topic: str, records: list[Record], partition_of: Any) -> None:
            lists.append(len(records))
            if slow[0]:
                clock.now += 0.001 * len(records)

        topics, part = Topics(asked=2000, answered=0, told=0), a_part()
        part.shard.absorb, part.met = absorb, {"asked"}
        topics.fetch("asked", 0, 2000)
        consumer: Any = topics
        inputs = Inputs(SETTINGS, 1, consumer)
        for number in range(16):
            slow[0] = number < 4
            assert inputs.fold_next(part)

    run(test)
    assert lists[0] == 100
    assert 1 <= max(lists[1:4]) <= 10, "about a hundredth of a second"
    assert lists[4:] == sorted(lists[4:])
    assert lists[-1] == 100
