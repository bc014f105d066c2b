"""What a worker knows of itself: its partitions, its settings, and what `tally check` says of all around it."""

import asyncio
import math
import os
import sys
import time
from collections.abc import Callable
from typing import Final

from aiohttp import web

from app.core.outputs.shapes import CheckReport, Setting, WorkerPartition, WorkerReport
from app.setting_names import PREFIX
from app.setting_values import shown_value
from app.settings import Settings, version
from app.worker.http.answers import AnswerError, json_response
from app.worker.http.rate import Rate
from app.worker.http.routes.route import Route
from app.worker.http.routes.stale import stale_sentence
from app.worker.http.turns import begun
from app.worker.running import Running

_CHECK_SECONDS: Final = 60.0
#: What was checked is told again for so many seconds: a check is a process of its own, which asks the brokers.
_CHECKED_SECONDS: Final = 10.0
_LINKS: Final = {
    "metrics": "/metrics",
    "ready": "/ready",
    "models": "/api/models",
    "openapi": "/api/openapi.json",
}


class WorkerRoutes:
    """The routes. `rate` is of the events that this worker reads."""

    def __init__(self, settings: Settings, started: Callable[[], Running], rate: Rate) -> None:
        self._settings = settings
        self._started = started
        self._rate = rate
        self._since = time.time()
        self._checking: asyncio.Task[CheckReport] | None = None

    def routes(self) -> list[Route]:
        """The rows."""
        return [
            Route(
                "GET",
                "/api/worker",
                self.worker,
                "This worker: its partitions, the other workers, its settings without secrets.",
                WorkerReport,
            ),
            Route(
                "GET",
                "/api/worker/check",
                self.check,
                "What `tally check` says, run beside this worker with its settings: it may take seconds.",
                CheckReport,
                (),
                (503,),
            ),
        ]

    async def close(self) -> None:
        """End a check that is on its way."""
        if self._checking is not None:
            self._checking.cancel()
            await asyncio.gather(self._checking, return_exceptions=True)

    async def worker(self, _: web.Request) -> web.Response:
        """`GET /api/worker`."""
        running, settings = self._started(), self._settings
        owners = {number: owner.url for number, owner in running.readings.view.owners.items()}
        found: WorkerReport = {
            "version": version(),
            "url": settings.url,
            "app_id": settings.app_id,
            "started_at": self._since,
            "ready": running.ready,
            "partitions": _partitions(running, owners, settings),
            "workers": sorted({settings.url, *owners.values()}),
            "events_per_second": self._rate.per_second(),
            "settings": settings_shown(settings),
            "stale": stale_sentence(running),
            "problems": [*running.problems()],
            "notes": [*running.notes],
            "links": _LINKS,
        }
        return json_response(found)

    async def check(self, _: web.Request) -> web.Response:
        """`GET /api/worker/check`: one at a time, however many ask."""
        checking = self._checking
        is_old = (
            checking is not None
            and checking.done()
            and (
                checking.cancelled()
                or checking.exception() is not None
                or time.time() - checking.result()["checked_at"] > _CHECKED_SECONDS
            )
        )
        if checking is None or is_old:
            checking = self._checking = begun("the check", _checked())
        return json_response(await asyncio.shield(checking))


def _partitions(running: Running, owners: dict[int, str], settings: Settings) -> list[WorkerPartition]:
    lane = running.lane
    lags = lane.lags()
    found: list[WorkerPartition] = []
    for number in range(lane.partitions):
        part = lane.running.get(number)
        lag = lags.get(number, math.nan)
        found.append(
            {
                "number": number,
                "ready": part is not None if number in (lane.assigned or ()) else None,
                "lag": None if math.isnan(lag) else lag,
                "open_exchanges": None if part is None else part.shard.open_exchanges,
                "owner": settings.url if part is not None else owners.get(number),
                "here": part is not None,
            }
        )
    return found


def settings_shown(settings: Settings) -> list[Setting]:
    """All settings without secrets."""
    return [
        {
            "name": f"{PREFIX}{name.upper()}",
            "value": "***" if not field.repr and getattr(settings, name) is not None else value,
            "default": name not in settings.model_fields_set,
            "meaning": field.description or "",
        }
        for name, field in Settings.model_fields.items()
        for value in (shown_value(getattr(settings, name), field),)
    ]


async def _checked() -> CheckReport:
    """Run the command in a process of its own: it asks brokers and workers, and its own loop does so."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "app",
        "check",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"},
    )
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            said, _ = await process.communicate()
    except TimeoutError:
        raise AnswerError(
            503, f"`tally check` has not ended within {_CHECK_SECONDS:g} s: run it where this worker runs."
        ) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    lines = [line.rstrip() for line in said.decode(errors="replace").splitlines()]
    return {
        "fine": process.returncode == 0,
        "lines": [line for line in lines if line],
        "problems": [line[2:] for line in lines if line.startswith("- ")],
        "checked_at": time.time(),
    }
