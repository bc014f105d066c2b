"""What is known of models at length: all of them, one of them, and its scores over time."""

import asyncio
from collections.abc import Callable, Collection
from typing import Final

import orjson
from aiohttp import web

from app.core.counts.accounts import BY_LABELS, Account
from app.core.events import Identity
from app.core.measures.confusion import CONFUSION
from app.core.measures.reading import Reading
from app.core.outputs.class_changes import OfStretch
from app.core.outputs.overview import headline
from app.core.outputs.report import report_of, scores_report
from app.core.outputs.score_history import (
    History,
    ScoreName,
    history_of,
    intervals_of,
    is_score,
    names_of,
    parse_score,
    point_of_document,
)
from app.core.outputs.shapes import ModelReport, ModelReports
from app.core.outputs.trends import Asked, Grid, Point, point_of, reading_of, stretches
from app.worker.http.answers import AnswerError, json_bytes, json_response
from app.worker.http.guard import shortened
from app.worker.http.routes.asked import by_labels, model_in_path
from app.worker.http.routes.past import Past
from app.worker.http.routes.route import BACK, CLOCK, FROM, KEY, STEP, TO, Parameter, Route
from app.worker.http.turns import Turns
from app.worker.running import Running

SCORE: Final = Parameter(
    "score",
    "A name like `accuracy`, of one class `recall{cat}`; by default that by which the overview knows the model.",
)


class ModelRoutes:
    """The routes."""

    def __init__(self, started: Callable[[], Running], past: Past) -> None:
        self._started = started
        self._past = past

    def routes(self) -> list[Route]:
        """The rows: longer paths first, since a key may hold anything."""
        asked = (KEY, SCORE, STEP, CLOCK, BACK, FROM, TO)
        return [
            Route("GET", "/api/models", self.models, "All that is known of all models.", ModelReports),
            Route(
                "GET",
                "/api/models/{key:.+}/history",
                self.history,
                "A score over time, with its interval, and since when it is worse than before.",
                History,
                asked,
                (400, 404, 503),
            ),
            Route(
                "GET",
                "/api/models/{key:.+}",
                self.model,
                "All that is known of one model.",
                ModelReport,
                (KEY,),
                (400, 404),
            ),
        ]

    async def models(self, _: web.Request) -> web.Response:
        """`GET /api/models`."""
        running = self._started()
        turns = Turns()
        families = running.readings.metric_families()
        parts: list[bytes] = []
        for identity, of_model in running.readings.of_models(running.lane.now()):
            parts.append(await self._report(running, identity, of_model, families))
            await turns.pause()
        body = b'{"models":[%b],"notes":%b}' % (b",".join(parts), orjson.dumps([*running.notes]))
        return json_bytes(body)

    async def model(self, request: web.Request) -> web.Response:
        """`GET /api/models/{key}`."""
        running = self._started()
        report, _ = await self.report(running, model_in_path(request, running.readings), None)
        return json_bytes(report)

    async def report(
        self, running: Running, identity: Identity, score: ScoreName | None
    ) -> tuple[bytes, dict[str, tuple[float, float] | None]]:
        """What is known of one model that there is, as JSON; and of a score the interval in each window."""
        of_model = running.readings.of_model(identity, running.lane.now())
        assert of_model is not None
        report = await self._report(running, identity, of_model, running.readings.metric_families())
        return report, {} if score is None else intervals_of(of_model, score)

    async def scores(self, running: Running, identity: Identity) -> dict[str, dict[str, float | None]]:
        """The scores of a model that there is, by window; undefined is null."""
        of_model = running.readings.of_model(identity, running.lane.now())
        assert of_model is not None
        slow = running.readings.rulebook.of(identity.leg).run_code
        return await asyncio.to_thread(scores_report, of_model) if slow else scores_report(of_model)

    async def _report(
        self, running: Running, identity: Identity, of_model: dict[str, Reading], families: Collection[tuple[str, str]]
    ) -> bytes:
        rulebook = running.readings.rulebook
        model = identity, of_model, running.readings.view.first_seen(identity), rulebook, families
        slow = rulebook.of(identity.leg).run_code
        return orjson.dumps(await asyncio.to_thread(report_of, *model) if slow else report_of(*model))

    # -- history ------------------------------------------------------------------------------------------------------

    async def history(self, request: web.Request) -> web.Response:
        """`GET /api/models/{key}/history`."""
        running = self._started()
        identity = model_in_path(request, running.readings, "/history")
        return json_response(await self.history_asked(request, running, identity))

    async def history_asked(self, request: web.Request, running: Running, identity: Identity) -> History:
        """The history of a model that the query of a request asks for. Raises AnswerError."""
        readings, now = running.readings, running.lane.now()
        rules = readings.rulebook.of(identity.leg)
        name = self._score(request, running, identity)
        asked = Asked(*name, by_labels(request, readings))
        accounts = [Account(identity), *([Account(identity, BY_LABELS)] if asked.by_labels else [])]
        grid, older, note = await self._past.asked(
            request, readings, accounts, now, lambda body: point_of_document(body, asked), by_labels=asked.by_labels
        )
        newer, confusions = await self._newer(running, identity, grid, asked)
        return history_of(identity, rules, asked, grid.step, older, newer, note, confusions=confusions)

    def _score(self, request: web.Request, running: Running, identity: Identity) -> ScoreName:
        readings = running.readings
        rules, nature = readings.rulebook.of(identity.leg), readings.nature(identity)
        assert nature is not None
        total = reading_of(readings.view.total(Account(identity)), nature)
        text = request.query.get("score")
        if text is None:
            return ScoreName(headline(total, rules))
        name = parse_score(text)
        if name is None or not is_score(name, rules):
            known = ", ".join(names_of(total))
            raise AnswerError(
                400, f"score: {shortened(text)!r} is none of {known}; of one class it is recall{{class}}."
            )
        return name

    async def _newer(
        self, running: Running, identity: Identity, grid: Grid, asked: Asked
    ) -> tuple[list[Point], list[OfStretch]]:
        """The points of panes, and their confusions."""
        readings, turns = running.readings, Turns()
        nature = readings.nature(identity)
        assert nature is not None
        slow = any(own.name == asked.score and own.function.runs_code for own in nature.own_scores)
        points, confusions = list[Point](), list[OfStretch]()
        for stretch in stretches(readings, identity, nature, grid, by_labels=asked.by_labels):
            confusions.append(OfStretch(stretch.start, CONFUSION.of(stretch.reading).confusion))
            points.append(await asyncio.to_thread(point_of, stretch, asked) if slow else point_of(stretch, asked))
            await turns.pause()
        return points, confusions
