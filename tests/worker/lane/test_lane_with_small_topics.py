"""A lane whose topics take little: batches fit, what does not fit is put aside, and all else counts."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson
import pytest
from aiokafka import TopicPartition

from app.core.rules import Rulebook
from app.core.wire.partitioning import partition_of
from app.core.wire.records import Record as Written
from app.settings import load_settings
from app.worker.clock import Clock
from app.worker.kafka.metadata import LARGEST_BATCH, TopicFacts
from app.worker.kafka.sizes import Sizes
from app.worker.lane.lane import Lane
from app.worker.lane.partition import Partition
from app.worker.lane.upkeep import Upkeep
from tests.builders import START, Record, a_feedback, a_request, a_response
from tests.memory_kafka import MemoryKafka
from tests.memory_kafka.broker import size_of
from tests.patience import PATIENCE
from tests.simulation.loop import run_virtually

SETTINGS: Final = load_settings(
    request_topic="request", response_topic="response", feedback_topic="feedback", log_topic="log", session_timeout="2s"
)
LETTERS: Final = SETTINGS.dead_letters_topic


def facts(**most: int) -> dict[str, TopicFacts]:
    """What brokers say that topics take."""
    names = {"exchanges": SETTINGS.exchanges_topic, "panes": SETTINGS.panes_topic, "letters": LETTERS}
    return {names.get(name, name): TopicFacts(1, "", {LARGEST_BATCH: str(limit)}) for name, limit in most.items()}


class Scene:
    """A lane, what its topics take, and what it knows of that. Its partition is loaded again when it is lost."""

    def __init__(self, told: dict[str, int], partitions: int = 1) -> None:
        self.kafka = MemoryKafka(dict.fromkeys(SETTINGS.own_topics, partitions))
        self.partitions = partitions
        self.losses = 0
        self.failures: list[Exception] = []
        self.sizes = Sizes(facts(**told))
        self.take(**told)
        loop = asyncio.get_running_loop()
        self.lane = Lane(
            SETTINGS,
            Rulebook(),
            partitions,
            rejoin=self._rejoin,
            fail=self.failures.append,
            open_consumer=self.kafka.open_consumer,
            open_producer=self.kafka.open_producer,
            sizes=self.sizes,
            ask_ids=self.kafka.ask_ids,
            clock=Clock(lambda: START + loop.time(), loop.time),
        )
        upkeep: Any = self.lane.upkeep
        upkeep.note_loss = self._note_loss
        self._rejoining: list[asyncio.Task[None]] = []

    def take(self, **most: int) -> None:
        """Let topics take so much from now on."""
        self.kafka.broker.largest |= {name: int(known.config[LARGEST_BATCH]) for name, known in facts(**most).items()}

    def _note_loss(self, part: Partition) -> None:
        self.losses += 1
        Upkeep.note_loss(self.lane.upkeep, part)

    def _rejoin(self) -> None:
        self._rejoining.append(asyncio.get_running_loop().create_task(self._join()))

    async def _join(self) -> None:
        await self.lane.revoke()
        await self.lane.assign(set(range(self.partitions)))

    def write(self, *records: Record) -> None:
        """Write events, each to the partition of its key."""
        for record in records:
            kind = dict(record.headers)["ce_type"].decode().rpartition(".")[2]
            place = TopicPartition(kind, partition_of(record.key or b"", self.partitions))
            self.kafka.broker.append(place, [record.read()])

    def read(self, topic: str) -> list[Written]:
        """What is committed in a topic."""
        return [record for log in self.kafka.broker.topics[topic] for record in log.committed()]

    def largest(self, topic: str) -> int:
        """The bytes of the largest batch of a topic."""
        return max(size_of(batch.records) for log in self.kafka.broker.topics[topic] for batch in log.batches)

    def knows(self, *puids: str) -> list[str]:
        """Of which of these puids anything is known."""
        parts = self.lane.running.values()
        return [puid for puid in puids if any(part.shard.get(puid.encode()) for part in parts)]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds, and nothing waits for a commit."""
        async with asyncio.timeout(PATIENCE):
            for _ in iter(lambda: holds() and self._is_quiet(), True):
                await asyncio.sleep(0.01)

    def _is_quiet(self) -> bool:
        return self.lane.ready and not any(part.has_news or part.committing for part in self.lane.running.values())

    def all_read(self) -> bool:
        """Whether the inputs are read to their ends."""
        return all(
            part.shard.offsets.get(topic, 0) == self.kafka.broker.log_of(TopicPartition(topic, part.number)).end
            for part in self.lane.running.values()
            for topic in SETTINGS.topics
        )


def play(act: Callable[[Scene], Awaitable[Any]], partitions: int = 1, **told: int) -> None:
    """Run a scene whose topics take what is told."""

    async def whole() -> None:
        scene = Scene(told, partitions)
        await scene.lane.start()
        await scene.lane.assign(set(range(partitions)))
        await scene.until(lambda: True)
        await act(scene)
        assert not scene.failures
        await scene.lane.stop()

    run_virtually(whole())


def test_all_batches_fit_their_topics() -> None:
    limits = {"exchanges": 20_000, "panes": 17_000, "log": 30_000, "letters": 18_000}

    async def act(scene: Scene) -> None:
        puids = [f"puid-{number}" for number in range(600)]
        scene.write(*(a_request(puid=puid) for puid in puids), *(a_response("x" * 60, puid=puid) for puid in puids))
        scene.write(*(a_request(puid=f"bad-{number}", value=b"x" * 900) for number in range(100)))
        await scene.until(scene.all_read)
        assert scene.losses == 0
        assert scene.knows(*puids) == puids
        assert len(scene.read("log")) >= 600
        assert len(scene.read(LETTERS)) == 100
        for name, most in limits.items():
            (topic,) = facts(**{name: most})
            assert scene.largest(topic) <= most
        assert scene.largest(SETTINGS.exchanges_topic) > 10_000

    play(act, **limits)


def test_a_large_exchange_is_refused_and_the_others_count() -> None:
    async def act(scene: Scene) -> None:
        scene.write(a_response(*["x" * 150] * 400, puid="large"), a_response(1, puid="small"))
        await scene.until(scene.all_read)
        (letter,) = scene.read(LETTERS)
        assert dict(letter.headers)["reason"] == b"exchange-too-large"
        assert scene.knows("large", "small") == ["small"]
        assert scene.losses == 0

    play(act, exchanges=60_000)


def test_events_astray_go_in_batches_that_their_topic_takes() -> None:
    async def act(scene: Scene) -> None:
        value = orjson.dumps({"data": {"ndarray": [["x" * 900]]}})
        astray = [a_request(puid=f"p{number}", key=b"other", value=value) for number in range(100)]
        scene.write(*astray, a_request(puid="big", key=b"other", value=value * 20))
        await scene.until(lambda: scene.all_read() and len(scene.knows(*(f"p{n}" for n in range(100)))) == 100)
        assert scene.losses == 0
        (letter,) = scene.read(LETTERS)
        assert dict(letter.headers)["reason"] == b"wrong-key"

    play(act, request=17_000)


def test_a_limit_that_is_lowered_ends_the_partition_once_or_twice_and_then_all_counts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nobody has told the lane: it learns by what is refused."""

    async def act(scene: Scene) -> None:
        scene.take(exchanges=20_000)
        puids = [f"puid-{number}" for number in range(400)]
        scene.write(*(a_response("x" * 60, puid=puid) for puid in puids), a_response(*["x" * 50] * 600, puid="large"))
        await scene.until(scene.all_read)
        assert scene.knows(*puids, "large") == puids
        assert 0 < scene.losses < 6
        (letter,) = scene.read(LETTERS)
        assert dict(letter.headers)["reason"] == b"exchange-too-large"

    play(act)
    assert f"a batch for {SETTINGS.exchanges_topic} of " in caplog.text
    assert "the next ones are smaller" in caplog.text


def test_a_limit_that_is_raised_holds_from_the_next_epoch() -> None:
    async def act(scene: Scene) -> None:
        scene.write(a_response(*["x" * 150] * 400, puid="large"))
        await scene.until(scene.all_read)
        assert scene.knows("large") == []
        scene.take(exchanges=1_000_000)
        scene.sizes.update(facts(exchanges=1_000_000))
        scene.write(a_response(1, puid="small"))
        await scene.until(scene.all_read)
        scene.write(a_response(*["x" * 150] * 400, puid="large"))
        await scene.until(scene.all_read)
        assert scene.knows("large", "small") == ["large", "small"]
        assert scene.losses == 0

    play(act, exchanges=60_000)


def test_a_joined_record_that_its_topic_does_not_take_even_in_parts_is_a_dead_letter() -> None:
    """The verdicts of all rows alone are larger."""

    async def act(scene: Scene) -> None:
        scene.write(a_response(*[1] * 5000, puid="many"), a_request(puid="few"), a_response(1, puid="few"))
        await scene.until(scene.all_read)
        (letter,) = scene.read(LETTERS)
        said = dict(letter.headers)
        assert (said["reason"], said["origin-topic"], said["origin-offset"]) == (b"too-large", b"log", b"-1")
        assert b"log takes 60000 bytes at once: raise its max.message.bytes" in (said["detail"] or b"")
        assert letter.key == b"many"
        assert scene.lane.stats.rejected == {"too-large": 1}
        assert {record.key for record in scene.read("log")} == {b"few"}
        assert scene.knows("many", "few") == ["many", "few"]
        assert scene.losses == 0

    play(act, log=60_000)


def test_a_row_of_counts_that_its_topic_does_not_take_is_told_and_other_partitions_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def act(scene: Scene) -> None:
        names = [f"{number:0100}" for number in range(300)]
        puids = [f"puid-{number}" for number in range(40)]
        bad = next(puid for puid in puids if partition_of(puid.encode(), 2) == 0)
        others = [puid for puid in puids if partition_of(puid.encode(), 2) == 1]
        scene.write(*(a_request(puid=puid) for puid in others))
        scene.write(a_response([1.0] + [0.0] * 299, names=names, puid=bad))
        await asyncio.sleep(10)
        assert scene.losses > 0
        assert scene.knows(*others) == others
        committed = {record.key for record in scene.read(SETTINGS.exchanges_topic)}
        assert {puid.encode() for puid in others} <= committed
        assert bad.encode() not in committed

    play(act, partitions=2, panes=17_000)
    assert "Partition 0 was lost: its record of" in caplog.text
    assert f"{SETTINGS.panes_topic} takes 17000 bytes at once: raise its max.message.bytes" in caplog.text


def test_a_feedback_that_waits_leaves_room_for_its_exchange() -> None:
    async def act(scene: Scene) -> None:
        note = "x" * 1500
        told = [a_feedback(body={"reward": n, "note": note}, at=n, puid="p") for n in range(30)]
        labels = [a_feedback(["y" * 100] * 60, puid="p", at=50)]
        scene.write(*told, *labels)
        await scene.until(scene.all_read)
        assert scene.losses == 0
        assert scene.knows("p") == ["p"]
        assert scene.largest(SETTINGS.exchanges_topic) <= 17_000

    play(act, exchanges=17_000)
