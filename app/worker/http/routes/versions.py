"""How far two versions of a model are apart: a version and the one before it, or another one that is named."""

from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from app.core.events import Identity
from app.core.outputs.keys import key_of
from app.core.outputs.shapes import VersionComparison
from app.core.outputs.versions import between, report_of, versions_of
from app.worker.http.answers import AnswerError, json_response
from app.worker.http.guard import shortened
from app.worker.http.routes.asked import model_named, needed
from app.worker.http.routes.models import ModelRoutes
from app.worker.http.routes.route import Parameter, Route
from app.worker.running import Running

AFTER: Final = Parameter("after", "The key of the version that is compared.", needed=True)
BEFORE: Final = Parameter("before", "The key of the version that it is compared with; by default the one before it.")


class VersionRoutes:
    """The route."""

    def __init__(self, started: Callable[[], Running], models: ModelRoutes) -> None:
        self._started = started
        self._models = models

    def routes(self) -> list[Route]:
        """The row."""
        return [
            Route(
                "GET",
                "/api/comparisons/versions",
                self.versions,
                "How far a version of a model is from another one in what it answers and is asked, and the scores of "
                "both.",
                VersionComparison,
                (AFTER, BEFORE),
                (400, 404),
            )
        ]

    async def versions(self, request: web.Request) -> web.Response:
        """`GET /api/comparisons/versions`."""
        running = self._started()
        after = model_named(needed(request, "after"), running.readings)
        before = self.before_asked(request, running, after)
        if before is None:
            raise AnswerError(404, f"Before {shortened(key_of(after))} no version of its model has answered.")
        found = self.report(running, before, after)
        if found is None:
            one, other = (shortened(key_of(version)) for version in (before, after))
            raise AnswerError(
                404,
                f"Nothing that both {one} and {other} have counted can be compared: no classes, scores or features.",
            )
        scores = await self._models.scores(running, after)
        of_before = await self._models.scores(running, before)
        return json_response({**found, "scores": scores, "scores_before": of_before})

    def before_asked(self, request: web.Request, running: Running, after: Identity) -> Identity | None:
        """The version that is asked for, else the one before; None where there is none. Raises AnswerError."""
        readings = running.readings
        asked = request.query.get("before")
        if asked is not None:
            before = model_named(asked, readings)
            if before.leg != after.leg or before == after:
                one, other = (shortened(key_of(version)) for version in (before, after))
                raise AnswerError(400, f"before: {one} is no other version of the model of {other}.")
            return before
        known = versions_of(readings, after)
        place = known.index(after) if after in known else 0
        return known[place - 1] if place else None

    @staticmethod
    def report(running: Running, before: Identity, after: Identity) -> dict[str, Any] | None:
        """What is said of two versions; None where nothing of them can be compared."""
        found = between(running.readings, before, after, running.lane.now())
        return None if found is None else report_of(found, bins=True)
