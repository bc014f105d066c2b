"""A worker with a model, its shadow and labels, asked over its port; what runs beside it is a stand-in."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from app.core.rules import Rules
from app.settings import Settings, load_settings
from app.worker.http.api import Api
from app.worker.running import Running
from tests.builders import START, Ledger, Record, a_feedback, a_response
from tests.patience import PATIENCE
from tests.worker.test_running import a_running

KEY: Final = "ns/svc/default/m"
PAIR: Final = f"current={KEY}&shadow=ns/svc/shadow/m"
SETTINGS: Final = load_settings()


class Reply(NamedTuple):
    """An answer: its status, and what it says."""

    status: int
    content: Any


def events() -> list[Record]:
    """Thirty predictions of two legs, of which each has some wrong."""
    found = []
    for number in range(30):
        puid, at = f"p{number}", number * 20.0
        found += [
            a_response(int(number % 3 != 0), puid=puid, at=at),
            a_response(int(number % 4 != 0), puid=puid, at=at, predictor="shadow"),
            a_feedback(1, puid=puid, at=at + 1),
        ]
    return found


def a_worker(
    *records: Record,
    rules: tuple[Rules, ...] = (),
    settings: Settings = SETTINGS,
    now: float = START + 600.0,
    **changes: Any,
) -> Running:
    """All parts of a worker that has counted these events, or those of `events`; it is ten minutes after the start."""
    ledger = Ledger(*rules, clock=settings.clock).absorb(*(records or events())).cut()
    running = a_running(readings=ledger.readings(), **changes)
    lane: Any = running.lane
    lane.now = lambda: now
    lane.running = {0: SimpleNamespace(shard=ledger.shards[0])}
    lane.assigned = {0}
    lane.partitions = 1
    lane.lags = lambda: {0: 0.0}
    lane.partition_of = lambda _: 0
    running.feed.at_end.set()
    return running


def ask(
    story: Callable[[Callable[..., Awaitable[Reply]], Api], Awaitable[None]],
    running: Running | None,
    settings: Settings = SETTINGS,
) -> None:
    """Run a story, which is given what asks, and the interface."""

    async def run() -> None:
        api = Api(settings, lambda: running)
        server = web.Application()
        api.add_routes(server)
        async with asyncio.timeout(PATIENCE), TestClient(TestServer(server)) as client:

            async def of(path: str, method: str = "GET", **options: Any) -> Reply:
                async with client.request(method, path, **options) as reply:
                    return Reply(reply.status, json.loads(await reply.text()))

            await story(of, api)
        await api.close()

    asyncio.run(run())


def get(path: str, running: Running | None = None, settings: Settings = SETTINGS) -> Reply:
    """One answer."""
    found: list[Reply] = []

    async def story(of: Callable[..., Awaitable[Reply]], _: Api) -> None:
        found.append(await of(path))

    ask(story, a_worker() if running is None else running, settings)
    return found[0]


def error(reply: Reply) -> tuple[int, str]:
    """The status and the sentence of an error."""
    content: Mapping[str, str] = reply.content
    return reply.status, content["error"]
