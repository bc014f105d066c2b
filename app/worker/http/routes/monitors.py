"""What a monitor of a model has said over time."""

from collections.abc import Callable
from itertools import chain
from typing import Final

from aiohttp import web

from app.core.counts.accounts import Account
from app.core.events import Identity
from app.core.outputs.monitor_history import (
    MonitorHistory,
    MonitorPoint,
    monitor_history_of,
    monitor_names,
    points_of,
    points_of_document,
)
from app.core.outputs.trends import reading_of, stretches
from app.worker.http.answers import AnswerError, json_response
from app.worker.http.guard import shortened
from app.worker.http.routes.asked import model_in_path, needed
from app.worker.http.routes.past import Past
from app.worker.http.routes.route import BACK, FROM, KEY, STEP, TO, Parameter, Route
from app.worker.http.turns import Turns
from app.worker.running import Running

MONITOR: Final = Parameter("monitor", "The name of a monitor of the model.", needed=True)


class MonitorRoutes:
    """The route."""

    def __init__(self, started: Callable[[], Running], past: Past) -> None:
        self._started = started
        self._past = past

    def routes(self) -> list[Route]:
        """The row."""
        return [
            Route(
                "GET",
                "/api/models/{key:.+}/monitor-history",
                self.history,
                "The values of a monitor over time, with its threshold.",
                MonitorHistory,
                (KEY, MONITOR, STEP, BACK, FROM, TO),
                (400, 404, 503),
            )
        ]

    async def history(self, request: web.Request) -> web.Response:
        """`GET /api/models/{key}/monitor-history`."""
        running = self._started()
        identity = model_in_path(request, running.readings, "/monitor-history")
        return json_response(await self.history_asked(request, running, identity, needed(request, "monitor")))

    async def history_asked(
        self, request: web.Request, running: Running, identity: Identity, name: str
    ) -> MonitorHistory:
        """The history of a monitor, of the time that the query of a request asks for. Raises AnswerError."""
        readings, now = running.readings, running.lane.now()
        rules = readings.rulebook.of(identity.leg)
        known = names_of(running, identity)
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none (`monitors:` in the YAML file)"
            raise AnswerError(400, f"monitor: {shortened(name)!r} is no monitor of this model: {has}.")
        grid, older, note = await self._past.asked(
            request, readings, [Account(identity)], now, lambda body: points_of_document(body, name)
        )
        nature, turns = readings.nature(identity), Turns()
        assert nature is not None
        newer: list[MonitorPoint] = []
        for stretch in stretches(readings, identity, nature, grid, by_labels=False):
            newer += points_of(stretch, name)
            await turns.pause()
        return monitor_history_of(identity, rules, name, grid.step, [*chain(*older)], newer, note)


def names_of(running: Running, identity: Identity) -> list[str]:
    """The monitors of a model that there is."""
    readings = running.readings
    nature = readings.nature(identity)
    assert nature is not None
    total = reading_of(readings.view.total(Account(identity)), nature)
    return monitor_names(total, readings.rulebook.of(identity.leg))
