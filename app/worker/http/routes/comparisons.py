"""What is known of legs that are compared: all of them, and their difference over time."""

from collections.abc import Callable
from typing import Final

from aiohttp import web

from app.core.counts.accounts import BY_LABELS, Account, Pair
from app.core.measures.readings import Readings
from app.core.outputs.comparisons import comparisons_report
from app.core.outputs.difference_history import (
    Difference,
    DifferenceHistory,
    difference_of_document,
    differences,
    history_of,
)
from app.core.outputs.keys import key_of
from app.core.outputs.shapes import Comparisons
from app.core.outputs.versions import versions_report
from app.worker.http.answers import AnswerError, json_response
from app.worker.http.guard import shortened
from app.worker.http.routes.asked import by_labels, model_named, needed
from app.worker.http.routes.past import Past
from app.worker.http.routes.route import BACK, CLOCK, FROM, STEP, TO, Parameter, Route
from app.worker.http.routes.stale import stale_sentence
from app.worker.http.turns import Turns
from app.worker.running import Running

CURRENT: Final = Parameter("current", "The key of the model that is compared with.", needed=True)
SHADOW: Final = Parameter("shadow", "The key of the model that is compared.", needed=True)


class ComparisonRoutes:
    """The routes."""

    def __init__(self, started: Callable[[], Running], past: Past) -> None:
        self._started = started
        self._past = past

    def routes(self) -> list[Route]:
        """The rows."""
        return [
            Route(
                "GET",
                "/api/comparisons",
                self.comparisons,
                "All comparisons of two legs, and of the newest two versions.",
                Comparisons,
            ),
            Route(
                "GET",
                "/api/comparisons/history",
                self.history,
                "The difference of two legs over time, with its interval; what is older than the panes is from "
                "Elasticsearch, where it is configured.",
                DifferenceHistory,
                (CURRENT, SHADOW, STEP, CLOCK, BACK, FROM, TO),
                (400, 404),
            ),
        ]

    async def comparisons(self, _: web.Request) -> web.Response:
        """`GET /api/comparisons`."""
        running = self._started()
        readings = running.readings
        now = running.lane.now()
        found = comparisons_report(readings.of_pairs(now), readings.rulebook)
        versions = versions_report(readings, now)
        return json_response({**found, "versions": versions, "stale": stale_sentence(running)})

    async def history(self, request: web.Request) -> web.Response:
        """`GET /api/comparisons/history`."""
        running = self._started()
        pair = pair_asked(request, running.readings)
        return json_response(await self.history_asked(request, running, pair))

    async def history_asked(self, request: web.Request, running: Running, pair: Pair) -> DifferenceHistory:
        """The history of two legs that the query of a request asks for. Raises AnswerError."""
        readings, now = running.readings, running.lane.now()
        labels = by_labels(request, readings)
        accounts = [Account(pair, BY_LABELS if labels else "")]
        grid, older, note = await self._past.asked(
            request, readings, accounts, now, difference_of_document, by_labels=labels
        )
        turns, newer = Turns(), list[Difference]()
        for point in differences(readings, pair, grid, by_labels=labels):
            newer.append(point)
            await turns.pause()
        return history_of(pair, grid.step, older, newer, note, by_labels=labels)


def pair_asked(request: web.Request, readings: Readings) -> Pair:
    """The two legs that are asked for."""
    pair = Pair(*(model_named(needed(request, name), readings) for name in ("current", "shadow")))
    if pair not in readings.view.pairs():
        one, other = (shortened(key_of(leg)) for leg in pair)
        raise AnswerError(404, f"{other} is not compared with {one}; /api/comparisons lists what is.")
    return pair
