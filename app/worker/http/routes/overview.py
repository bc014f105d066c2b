"""`/api/overview`: all models in short. There may be hundreds, and many who look, so one answer is made for all."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import orjson
from aiohttp import web

from app.core.counts.accounts import BY_LABELS, Account
from app.core.events import Identity
from app.core.outputs.overview import (
    Choice,
    Overview,
    OverviewModel,
    clocks_of,
    gather,
    in_order,
    line_of,
    notes_of,
    windows_of,
)
from app.core.outputs.slots import LABELS, PREDICTIONS
from app.settings import Settings
from app.worker.http.answers import json_bytes
from app.worker.http.routes.asked import by_labels, window_of
from app.worker.http.routes.route import CLOCK, WINDOW, Route
from app.worker.http.routes.stale import stale_sentence
from app.worker.http.turns import Turns, begun
from app.worker.running import Running

#: An answer is given again for so many seconds, or for four times as long as it took to make, up to the second.
_REST_SECONDS: Final = 1.0
_REST: Final = 4
_LONGEST_REST_SECONDS: Final = 10.0


class _Made(NamedTuple):
    """An answer, and until when it is given again."""

    body: bytes
    until: float


class OverviewRoutes:
    """The route, and the answers that it has made."""

    def __init__(self, settings: Settings, started: Callable[[], Running]) -> None:
        self._settings = settings
        self._started = started
        self._made: dict[Choice, _Made] = {}
        self._making: dict[Choice, asyncio.Task[bytes]] = {}
        #: The lines of each answer, with what the view said when they were made.
        self._lines: dict[Choice, dict[Identity, tuple[Any, OverviewModel | None]]] = {}

    def routes(self) -> list[Route]:
        """The rows."""
        says = "All models in a line each, in the order in which they need attention."
        return [Route("GET", "/api/overview", self.overview, says, Overview, (WINDOW, CLOCK))]

    async def close(self) -> None:
        """Make nothing any more."""
        for making in self._making.values():
            making.cancel()
        await asyncio.gather(*self._making.values(), return_exceptions=True)

    async def overview(self, request: web.Request) -> web.Response:
        """`GET /api/overview`."""
        readings = self._started().readings
        choice = Choice(window_of(request, readings), by_labels(request, readings))
        made = self._made.get(choice)
        if made is None or asyncio.get_running_loop().time() >= made.until:
            making = self._making.get(choice)
            if making is None or making.done():
                making = self._making[choice] = begun("the overview", self._make(choice))
            body = await asyncio.shield(making)  # others wait for it, too
        else:
            body = made.body
        return json_bytes(body)

    async def _make(self, choice: Choice) -> bytes:
        running, clock = self._started(), asyncio.get_running_loop().time
        began = clock()
        now = running.lane.now()
        readings, turns = running.readings, Turns()
        identities = readings.view.identities()
        before, lines = self._lines.get(choice, {}), dict[Identity, tuple[Any, OverviewModel | None]]()
        for identity in identities:
            accounts = [Account(identity), *([Account(identity, BY_LABELS)] if choice.by_labels else [])]
            for account in accounts:
                await turns.through(readings.view.prepare(account, now))
            # Also with each pane: a fall may have gone from those that are kept.
            pane = int(now // self._settings.pane_seconds)
            versions = (readings.view.version(account, now) for account in accounts)
            version = pane, readings.rules_in_force(identity), *versions
            known = before.get(identity)
            if known is None or known[0] != version:
                known = version, await self._line(running, identity, identities, choice, now, turns)
            lines[identity] = known
            await turns.pause()
        self._lines[choice] = lines
        models = in_order(line for _, line in lines.values() if line is not None)
        found: Overview = {
            "now_at": now,
            "window": choice.window,
            "windows": windows_of(readings),
            "clock": LABELS if choice.by_labels else PREDICTIONS,
            "clocks": clocks_of(readings),
            "stale": stale_sentence(running),
            "notes": [*running.notes, *notes_of(readings, identities)],
            "events_per_second": sum(model["events_per_second"] for model in models),
            "models": models,
        }
        body = orjson.dumps(found)
        ended = clock()
        rest = max(_REST_SECONDS, min(_REST * (ended - began), _LONGEST_REST_SECONDS))
        self._made[choice] = _Made(body, ended + rest)
        return body

    async def _line(
        self,
        running: Running,
        identity: Identity,
        identities: list[Identity],
        choice: Choice,
        now: float,
        turns: Turns,
    ) -> OverviewModel | None:
        steps = gather(running.readings, self._settings.clock, identity, identities, choice, now)
        known = await turns.drive(steps)
        if known is None:
            return None
        if known.rules.run_code:
            return await asyncio.to_thread(line_of, known, choice.window)
        return line_of(known, choice.window)
