"""Long work gives all others their turn, and an error of work that nobody waits for any more ends no worker."""

import asyncio
from collections.abc import Generator
from typing import Any

import pytest

from app.worker.http import turns
from app.worker.http.answers import AnswerError
from app.worker.http.turns import Turns, begun
from tests.patience import PATIENCE


def test_others_have_their_turn_when_it_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_TURN_SECONDS", 0.0)
    seen: list[str] = []

    def steps() -> Generator[None, None, str]:
        for number in range(3):
            seen.append(f"step {number}")
            yield
        return "made"

    async def other() -> None:
        for _ in range(3):
            seen.append("other")
            await asyncio.sleep(0)

    async def run() -> None:
        task = asyncio.create_task(other())
        assert await Turns().drive(steps()) == "made"
        await Turns().through(steps())
        await task

    asyncio.run(run())
    assert seen[:6] == ["step 0", "other", "step 1", "other", "step 2", "other"]


def test_within_a_turn_nobody_is_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_TURN_SECONDS", PATIENCE)

    async def run() -> list[int]:
        seen: list[int] = []

        def steps() -> Generator[None, None, None]:
            for number in range(100):
                seen.append(number)
                yield

        task = asyncio.create_task(asyncio.sleep(0))
        await Turns().through(steps())
        assert not task.done()
        await task
        return seen

    assert asyncio.run(run()) == [*range(100)]


@pytest.mark.parametrize(
    ("error", "told"),
    [(ValueError("why"), ["the overview could not be made (ValueError: why)"]), (AnswerError(503, "Away."), [])],
)
def test_what_nobody_waits_for_fails_alone(error: Exception, told: list[str], caplog: pytest.LogCaptureFixture) -> None:
    unhandled: list[Any] = []

    async def fail() -> None:
        raise error

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
        making = begun("the overview", fail())
        await asyncio.wait([making])
        del making
        await asyncio.sleep(0)

    asyncio.run(run())
    assert [record.message for record in caplog.records] == told
    assert not unhandled
