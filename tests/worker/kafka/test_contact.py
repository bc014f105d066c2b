"""What a worker says while Kafka does not answer. What it hears is what a test says."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from app.settings import Settings, load_settings
from app.worker.kafka.contact import Contact
from tests.worker.kafka.scripted import in_no_time

SETTINGS = load_settings(session_timeout=10.0, app_id="shop")


class World:
    """The answers that a worker has, and the clock."""

    def __init__(self) -> None:
        self.heard_at = float("-inf")
        self.unread: list[str] = []
        self.refused: Exception | None = None
        self.reason = "Nobody is there."
        loop = asyncio.get_running_loop()
        self.contact = Contact(
            SETTINGS,
            lambda: loop.time() - self.heard_at,
            lambda _: self.unread,
            lambda: self.refused,
            reason_of=self._reason,
            clock=loop.time,
        )

    async def _reason(self, settings: Settings) -> str:
        await asyncio.sleep(0.5)
        return self.reason

    async def pass_by(self, seconds: float, *, heard: bool) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end:
            if heard:
                self.heard_at = loop.time()
            self.contact.watch()
            await asyncio.sleep(0.2)
        self.contact.watch()


def run(test: Callable[[World], Awaitable[None]]) -> None:
    async def whole() -> None:
        await test(World())

    in_no_time(whole())


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_a_silence_that_outlasts_a_session_is_said_once_when_it_begins_and_once_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")

    async def test(world: World) -> None:
        await world.pass_by(30, heard=True)
        await world.pass_by(9, heard=False)
        await world.pass_by(1, heard=True)
        assert (world.contact.problem(), messages(caplog)) == (None, [])
        await world.pass_by(75, heard=False)
        assert world.contact.problem() == "Kafka has not answered for 75 s. Nobody is there."
        assert messages(caplog) == ["Kafka has not answered this worker's heartbeats for 11 s: Nobody is there."]
        world.reason = "Somebody is there and refuses."
        await world.pass_by(25, heard=False)
        assert world.contact.problem() == "Kafka has not answered for 100 s. Somebody is there and refuses."
        assert len(messages(caplog)) == 2
        await world.pass_by(30, heard=True)
        assert world.contact.problem() is None
        assert messages(caplog)[2:] == ["Kafka answers again after 100 s"]

    run(test)


def test_a_process_that_stood_still_itself_has_a_sessions_time_to_listen_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test(world: World) -> None:
        await world.pass_by(20, heard=True)
        await asyncio.sleep(30)
        world.unread = ["asked"]
        await world.pass_by(1, heard=False)
        assert world.contact.heartbeat_age() > 30
        world.unread = []
        await world.pass_by(20, heard=True)
        assert messages(caplog) == []
        await asyncio.sleep(30)
        await world.pass_by(11, heard=False)
        assert len(messages(caplog)) == 1

    run(test)


def test_before_the_reason_is_known_the_silence_is_said_alone() -> None:
    async def test(world: World) -> None:
        await world.pass_by(10.2, heard=False)
        assert world.contact.problem() == "Kafka has not answered for 10 s."

    run(test)


def test_partitions_that_nobody_serves_are_a_silence_too(caplog: pytest.LogCaptureFixture) -> None:
    async def test(world: World) -> None:
        await world.pass_by(20, heard=True)
        world.unread = ["asked", "told"]
        await world.pass_by(5, heard=True)
        assert messages(caplog) == [
            "Kafka has not answered this worker's fetches of asked, told for 10 s: Nobody is there."
        ]
        world.unread = []
        await world.pass_by(1, heard=True)
        assert world.contact.problem() is None

    run(test)


def test_a_group_that_refuses_the_worker_is_named_and_nobody_else_asked() -> None:
    async def test(world: World) -> None:
        world.refused, world.reason = PermissionError(), ""
        await world.pass_by(12, heard=False)
        problem = world.contact.problem()
        assert problem is not None
        assert "The group shop does not take it (PermissionError): `tally topics` lists the ACLs" in problem

    run(test)


def test_one_that_never_heard_anything_counts_from_its_start() -> None:
    async def test(world: World) -> None:
        await world.pass_by(4, heard=False)
        assert round(world.contact.heartbeat_age()) == 4
        assert world.contact.problem() is None

    run(test)
