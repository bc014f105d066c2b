"""Runners of monitors on a Kafka in memory, in fast motion: each answer has its result, whatever happens to others."""

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import orjson
import pytest
from aiokafka import TopicPartition

from app.core.monitors import AlertWhen, Code, Monitor, MonitorSpec
from app.core.rules import Rulebook, Rules
from app.core.wire.records import Record as Written
from app.settings import load_settings
from app.worker.monitors import runner as runners
from app.worker.monitors.runner import Runner
from app.worker.monitors.scorer import Asked, Value
from tests.builders import Ledger, a_request, a_response, time_text
from tests.memory_kafka import MemoryKafka
from tests.simulation.loop import run_virtually

SETTINGS: Final = load_settings(response_topic="response", log_topic="log", session_timeout="2s")
PARTITIONS: Final = 2
HOUR: Final = 3600
#: Of so many rows a result has more than 20 kB.
LARGE: Final = 3000
#: When all is asked.
AT: Final = time_text(0)


class Process:
    """In the place of a monitor's process: the slow one never answers, the other at once."""

    def __init__(self, name: str, code: Code) -> None:
        self.name = name
        self.value = 0.25 if code.timeout == Code("function", "m:f").timeout else 0.75

    async def score(self, asked: Sequence[Asked]) -> list[list[Value]]:
        if self.name == "slow":
            await asyncio.Event().wait()
        return [[self.value] * len(inputs.rows) for inputs, _ in asked]

    def close(self) -> None:
        pass


def rulebook() -> Rulebook:
    monitors = tuple(Monitor(MonitorSpec(name, "v1", AlertWhen(">", 0.5)), Code("function", "m:f"))
                     for name in ("slow", "quick"))  # fmt: skip
    return Rulebook((Rules("ns/*", monitors=monitors),))


class Scene:
    """A Kafka with the log of joined records, and what runs of monitors."""

    def __init__(self) -> None:
        self.kafka = MemoryKafka({"log": PARTITIONS, "response": PARTITIONS})
        self.running: list[Runner] = []

    def log(self, *puids: str, rows: int = 1, at: int = 0) -> None:
        """Answers of so many rows, written at a time in seconds."""
        for puid in puids:
            ledger = Ledger(logs=True)
            asked = {"data": {"ndarray": [[1]] * rows}}
            ledger.absorb(a_request(asked, puid=puid), a_response(*[1] * rows, puid=puid)).cut()
            place = TopicPartition("log", sum(puid.encode()) % PARTITIONS)
            records = [Written(0, at * 1000, puid.encode(), value) for _, value in ledger.logged]
            self.kafka.broker.append(place, records)

    def start(self, name: str = "quick", rules: Rulebook | None = None) -> Runner:
        kafka, rules = self.kafka, rules or rulebook()
        found = Runner(SETTINGS, rules, name, open_consumer=kafka.open_consumer, open_producer=kafka.open_producer)
        found.start()
        self.running.append(found)
        return found

    def results(self) -> dict[str, set[bytes]]:
        """What was said of each puid."""
        found: dict[str, set[bytes]] = {}
        for log in self.kafka.broker.topics["response"]:
            for record in log.committed():
                assert record.key is not None
                assert record.value is not None
                found.setdefault(record.key.decode(), set()).add(record.value)
        return found

    async def until(self, *puids: str) -> None:
        async with asyncio.timeout(600):
            for _ in iter(lambda: self.results().keys() == {*puids}, True):
                await asyncio.sleep(0.05)


@pytest.fixture(autouse=True)
def _no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "MonitorProcess", Process)


def play(act: Callable[[Scene], Awaitable[None]]) -> None:
    async def whole() -> None:
        scene = Scene()
        await act(scene)
        await asyncio.gather(*(one.stop() for one in scene.running))

    run_virtually(whole())


def names(*numbers: int) -> list[str]:
    return [f"p{number}" for number in range(*numbers)]


def test_a_monitor_that_never_answers_holds_up_no_other() -> None:
    async def act(scene: Scene) -> None:
        scene.start("slow")
        scene.start("quick")
        for begin in (0, 10, 20):
            scene.log(*names(begin, begin + 10))
            await scene.until(*names(begin + 10))
        said = {orjson.loads(value)["monitor"] for values in scene.results().values() for value in values}
        assert said == {"quick"}

    play(act)


def test_after_an_hour_away_all_that_came_meanwhile_is_scored_and_nothing_twice_otherwise() -> None:
    async def act(scene: Scene) -> None:
        first = scene.start()
        scene.log(*names(20))
        await scene.until(*names(20))
        await first.stop()
        for second in range(0, HOUR, 36):
            scene.log(f"p{20 + second // 36}", at=second)
            await asyncio.sleep(36)
        scene.start()
        await scene.until(*names(120))
        assert {len(values) for values in scene.results().values()} == {1}

    play(act)


def test_what_is_scored_again_by_another_worker_is_the_same_result() -> None:
    async def act(scene: Scene) -> None:
        first = scene.start()
        scene.log(*names(40))
        await scene.until(*names(40))
        assert first.task is not None
        first.task.cancel()  # as if it were killed
        scene.start()
        scene.log(*names(40, 60))
        await scene.until(*names(60))
        assert {len(values) for values in scene.results().values()} == {1}

    play(act)


def test_a_result_that_the_topic_does_not_take_says_in_short_that_its_rows_have_failed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def act(scene: Scene) -> None:
        scene.kafka.broker.largest["response"] = 20_000
        scene.log(*names(100))
        scene.log("large", rows=LARGE)
        scene.start()
        await scene.until(*names(100), "large")
        scene.log("after")
        await scene.until(*names(100), "large", "after")
        await asyncio.sleep(60)  # it goes well: nothing is said again
        sent = Counter(record.key for log in scene.kafka.broker.topics["response"] for record in log.committed())
        assert sent[b"after"] == 1
        (value,) = scene.results()["large"]
        said = orjson.loads(value)
        assert said.pop("why").startswith("the result has ")
        assert said == {"monitor": "quick", "version": "v1", "request_time": AT, "failed": LARGE}

    play(act)
    said = [message for message in caplog.messages if message.startswith("puid=large: the result of a monitor has")]
    assert len(said) == 1
    assert "its rows count as failed. response is taken to take" in said[0]


def test_an_answer_that_is_replaced_is_scored_with_its_request_wherever_the_runner_was_restarted() -> None:
    async def act(scene: Scene) -> None:
        ledger = Ledger(logs=True)
        for event in (a_request(), a_response(1), a_response(0, at=1)):
            ledger.absorb(event).cut()
        for number, (_, value) in enumerate(ledger.logged):
            scene.kafka.broker.append(TopicPartition("log", 0), [Written(0, 0, b"p", value)])
            runner = scene.start()
            await asyncio.sleep(5)
            written = scene.kafka.broker.topics["response"]
            said = [orjson.loads(record.value or b"") for log in written for record in log.committed()]
            assert [one["outcomes"] for one in said] == [["ok"]] * number
            await runner.stop()

    play(act)


def test_what_waits_for_a_monitor_is_all_that_it_has_not_scored_and_none_where_it_has() -> None:
    async def act(scene: Scene) -> None:
        slow, quick = scene.start("slow"), scene.start("quick")
        assert math.isnan(quick.lag())
        scene.log(*names(20))
        await scene.until(*names(20))
        await asyncio.sleep(1)
        assert (slow.lag(), quick.lag()) == (20, 0)
        scene.log(*names(20, 1020))
        await scene.until(*names(1020))
        await asyncio.sleep(1)
        assert (slow.lag(), quick.lag()) == (1020, 0)
        await quick.stop()
        assert math.isnan(quick.lag())

    play(act)


def test_another_time_out_holds_from_the_next_row_on_in_a_process_of_its_own() -> None:
    async def act(scene: Scene) -> None:
        rules = rulebook()
        scene.log("before")
        scene.start(rules=rules)
        await scene.until("before")
        for monitor in rules.entries[0].monitors:
            monitor.code = monitor.code._replace(timeout=3.0)
        scene.log("after")
        await scene.until("before", "after")
        values = {puid: orjson.loads(value)["values"] for puid, (value,) in scene.results().items()}
        assert values == {"before": [0.25], "after": [0.75]}

    play(act)


def test_each_result_says_of_which_monitor_and_row_it_is() -> None:
    async def act(scene: Scene) -> None:
        scene.log("two", rows=2)
        scene.start()
        await scene.until("two")
        ((value,),) = scene.results().values()
        said: Any = {"monitor": "quick", "version": "v1", "values": [0.25, 0.25], "outcomes": ["ok", "ok"]}
        assert orjson.loads(value) == said | {"request_time": AT}

    play(act)
