"""What `/ready`, `/metrics` and `/api` are told of what runs. The parts are stand-ins."""

import asyncio
import math
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from app.core.outputs.worker_series import DocumentNumbers, IntakeNumbers, WorkerNumbers
from app.core.stats import Stats
from app.worker.running import Running
from tests.builders import START, Ledger


class Part:
    """A part that notes in a shared list when it was started and stopped."""

    def __init__(self, name: str, told: list[str], **answers: Any) -> None:
        self._name = name
        self._told = told
        self.__dict__.update(answers)

    def start(self) -> None:
        self._told.append(f"start {self._name}")

    async def stop(self) -> None:
        self._told.append(f"stop {self._name}")


class Lane:
    """The same, of which the start waits for Kafka."""

    def __init__(self, told: list[str], **answers: Any) -> None:
        self._part = Part("lane", told)
        self.__dict__.update(answers)

    async def start(self) -> None:
        await asyncio.sleep(0)
        self._part.start()

    async def stop(self) -> None:
        await self._part.stop()


def a_partition(open_exchanges: int) -> Any:
    return SimpleNamespace(shard=SimpleNamespace(open_exchanges=open_exchanges))


def a_running(told: list[str] | None = None, **changes: Any) -> Running:
    """All parts of a worker that has loaded partitions 3 and 1 of the four that it was given."""
    told = [] if told is None else told
    problems: list[str] = []
    parts: dict[str, Any] = {
        "readings": Ledger().readings(),
        "lane": Lane(
            told,
            running={3: a_partition(5), 1: a_partition(7)},
            assigned={0, 1, 2, 3},
            partitions=4,
            standbys=SimpleNamespace(lags={0: 30, 2: 12}),
            ready=False,
            stats=Stats(late=2),
            recovery=SimpleNamespace(records=9, seconds=0.5),
            now=lambda: START + 30.0,
            lag=lambda: ({"asked": 4}, 1.5),
            store_bytes=lambda: {"memory": 5},
            lags=lambda: {3: 4.0, 1: math.nan},
            upkeep=SimpleNamespace(damaged={0: "Partition 0 is not counted."}),
            clock=SimpleNamespace(offset=2.5),
            problems=lambda: iter(problems),
            standstill=lambda: None,
            fetch_age=lambda: 0.125,
            failure=lambda: None,
        ),
        "feed": SimpleNamespace(at_end=asyncio.Event(), troubles=[]),
        "topics": SimpleNamespace(troubles=[]),
        "exporting": SimpleNamespace(),
        "monitor_lags": SimpleNamespace(read=lambda: {"outliers": 11.0}),
        "contact": SimpleNamespace(heartbeat_age=lambda: 2.5, problem=lambda: None, close=lambda: None),
        "intake": Part("intake", told, events=Counter(seldon=6), task=None, lag=lambda: 8.0, stalled=lambda: 0.75),
        "documents": Part("documents", told, task=None, numbers=lambda: DocumentNumbers({"written": 3}, 2, 0.25)),
        "windows": Part("windows", told, task=None),
    }
    return Running(**parts | changes)


def test_the_lane_is_connected_before_the_rest_begins_and_is_closed_last() -> None:
    told: list[str] = []
    running = a_running(told)
    asyncio.run(running.start())
    assert told == ["start lane", "start intake", "start documents", "start windows"]
    told.clear()
    asyncio.run(running.stop())
    assert told == ["stop intake", "stop documents", "stop windows", "stop lane"]


def test_what_no_setting_asks_for_is_neither_started_nor_stopped() -> None:
    told: list[str] = []
    running = a_running(told, intake=None, documents=None, windows=None)
    asyncio.run(running.start())
    asyncio.run(running.stop())
    assert told == ["start lane", "stop lane"]


@pytest.mark.parametrize(("loaded", "at_end"), [(False, False), (False, True), (True, False), (True, True)])
def test_it_is_ready_once_all_is_loaded_and_the_view_is_complete(loaded: bool, at_end: bool) -> None:
    running = a_running()
    lane: Any = running.lane
    lane.ready = loaded
    if at_end:
        running.feed.at_end.set()
    assert running.ready == (loaded and at_end)


def test_it_is_not_ready_while_there_is_a_problem() -> None:
    running = a_running(contact=SimpleNamespace(problem=lambda: "Kafka has not answered for 12 s."))
    lane: Any = running.lane
    lane.ready = True
    running.feed.at_end.set()
    assert (running.ready, list(running.problems())) == (False, ["Kafka has not answered for 12 s."])


def test_a_part_that_has_ended_by_itself_is_named_with_its_error() -> None:
    async def ended(error: BaseException | None) -> asyncio.Task[None]:
        async def work() -> None:
            if error is not None:
                raise error

        task = asyncio.create_task(work())
        await asyncio.wait([task])
        return task

    async def test() -> None:
        error = ZeroDivisionError()
        running = a_running()
        assert list(running.failures()) == []
        parts: Any = running
        parts.lane.failure = lambda: error
        parts.intake.task = await ended(error)
        parts.documents.task = await ended(None)
        parts.windows.task = await ended(asyncio.CancelledError())
        assert list(running.failures()) == [
            ("the counting lane", error),
            ("the intake", error),
            ("the document writer", None),
            ("the window writer", None),
        ]

    asyncio.run(test())


def test_the_loaded_partitions_are_told_in_their_order() -> None:
    assert a_running().partitions == [1, 3]


def test_the_numbers_of_all_parts() -> None:
    assert a_running().numbers({"classes": 3}) == WorkerNumbers(
        stats=Stats(late=2),
        dropped={"classes": 3},
        score_failures={},
        documents=DocumentNumbers({"written": 3}, 2, 0.25),
        intake=IntakeNumbers({"seldon": 6}, 8, 0.75),
        monitor_lag={"outliers": 11.0},
        lag_events={"asked": 4},
        lag_seconds=1.5,
        open_exchanges=12,
        store_bytes={"memory": 5},
        standbys=2,
        standby_lag=42,
        ready=2,
        loading=1,
        failed=1,
        of_topics=4,
        other_rules=0,
        clock_offset=2.5,
        recovered_records=9,
        recovery_seconds=0.5,
        fetch_age=0.125,
        heartbeat_age=2.5,
    )


def test_what_does_not_run_has_no_numbers() -> None:
    numbers = a_running(intake=None, documents=None, windows=None).numbers({})
    assert numbers == replace(a_running().numbers({}), intake=None, documents=None)


@pytest.mark.parametrize(("assigned", "loading"), [(None, 0), (set(), 0), ({0, 1, 3}, 0), ({0, 1, 2, 3}, 1)])
def test_partitions_are_loading_that_were_given_and_are_not_loaded(assigned: set[int] | None, loading: int) -> None:
    running = a_running()
    running.lane.assigned = assigned
    assert running.numbers({}).loading == loading
