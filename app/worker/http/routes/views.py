"""What the page shows of a model, or of two legs that are compared, in one answer: who looks asks once."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypedDict, TypeVar

import orjson
from aiohttp import web

from app.core.counts.accounts import Pair
from app.core.events import Identity
from app.core.measures.readings import Readings
from app.core.outputs.comparisons import comparison_report
from app.core.outputs.difference_history import DifferenceHistory
from app.core.outputs.monitor_history import MonitorHistory
from app.core.outputs.overview import usual_window
from app.core.outputs.score_history import History, parse_score
from app.core.outputs.shapes import Comparison, ModelReport
from app.worker.http.answers import AnswerError, json_bytes
from app.worker.http.routes.asked import model_in_path
from app.worker.http.routes.comparisons import CURRENT, SHADOW, ComparisonRoutes, pair_asked
from app.worker.http.routes.models import SCORE, ModelRoutes
from app.worker.http.routes.monitors import MONITOR, MonitorRoutes, names_of
from app.worker.http.routes.past import Past
from app.worker.http.routes.route import BACK, CLOCK, FROM, KEY, STEP, TO, Route
from app.worker.http.routes.stale import stale_sentence
from app.worker.running import Running

Part = TypeVar("Part")


class ModelView(TypedDict):
    """A model with its history, that of a monitor (null where it has none), and the comparisons that it has part in.
    `window` is the one by which the overview shows it, where none is chosen; `intervals` are those (95 %) of the score
    of the history in each window.

    `errors` says of parts that are null, by their names, why they could not be answered. `older` says whether
    Elasticsearch is asked for what is older than the counts that workers keep.
    """

    now_at: float
    stale: str | None
    older: bool
    window: str
    model: ModelReport
    intervals: dict[str, tuple[float, float] | None]
    history: History | None
    monitor: MonitorHistory | None
    comparisons: list[Comparison]
    errors: dict[str, str]


class ComparisonView(TypedDict):
    """A comparison with its history, and the scores of both legs in each window; the rest as of a model."""

    now_at: float
    stale: str | None
    older: bool
    comparison: Comparison
    current: dict[str, dict[str, float | None]]
    shadow: dict[str, dict[str, float | None]]
    history: DifferenceHistory | None
    errors: dict[str, str]


class ViewRoutes:
    """The routes; other routes make the parts."""

    def __init__(
        self,
        started: Callable[[], Running],
        models: ModelRoutes,
        monitors: MonitorRoutes,
        comparisons: ComparisonRoutes,
        past: Past,
    ) -> None:
        self._started = started
        self._models = models
        self._monitors = monitors
        self._comparisons = comparisons
        self._past = past

    def routes(self) -> list[Route]:
        """The rows."""
        times = (STEP, CLOCK, BACK, FROM, TO)
        return [
            Route(
                "GET",
                "/api/models/{key:.+}/view",
                self.model,
                "What the page shows of a model: all that is known of it, with histories and comparisons.",
                ModelView,
                (KEY, SCORE, MONITOR._replace(says="A monitor; by default the first one.", needed=False), *times),
                (400, 404),
            ),
            Route(
                "GET",
                "/api/comparisons/view",
                self.comparison,
                "What the page shows of two legs that are compared.",
                ComparisonView,
                (CURRENT, SHADOW, *times),
                (400, 404),
            ),
        ]

    async def model(self, request: web.Request) -> web.Response:
        """`GET /api/models/{key}/view`."""
        running, errors = self._started(), dict[str, str]()
        readings = running.readings
        identity = model_in_path(request, readings, "/view")
        monitor = request.query.get("monitor") or next(iter(names_of(running, identity)), None)
        history = await _part(errors, "history", self._models.history_asked(request, running, identity))
        said = None
        if monitor is not None:
            made = self._monitors.history_asked(request, running, identity, monitor)
            said = await _part(errors, "monitor", made)
        score = None if history is None else parse_score(history["score"])
        report, intervals = await self._models.report(running, identity, score)
        return self._answer(
            running,
            errors,
            {
                "window": usual_window(readings),
                "model": orjson.Fragment(report),
                "intervals": intervals,
                "history": history,
                "monitor": said,
                "comparisons": _comparisons_of(identity, readings, running.lane.now()),
            },
        )

    async def comparison(self, request: web.Request) -> web.Response:
        """`GET /api/comparisons/view`."""
        running, errors = self._started(), dict[str, str]()
        readings = running.readings
        pair = pair_asked(request, readings)
        report = _report(pair, readings, running.lane.now())
        if report is None:
            raise AnswerError(404, "Nothing that these two have both answered is counted any more.")
        return self._answer(
            running,
            errors,
            {
                "comparison": report,
                "current": await self._models.scores(running, pair.first),
                "shadow": await self._models.scores(running, pair.second),
                "history": await _part(errors, "history", self._comparisons.history_asked(request, running, pair)),
            },
        )

    def _answer(self, running: Running, errors: Mapping[str, str], parts: Mapping[str, Any]) -> web.Response:
        said = {"now_at": running.lane.now(), "stale": stale_sentence(running), "older": self._past.has_older}
        return json_bytes(orjson.dumps({**said, **parts, "errors": errors}))


async def _part(errors: dict[str, str], name: str, made: Awaitable[Part]) -> Part | None:
    try:
        return await made
    except AnswerError as error:
        errors[name] = error.sentence
        return None


def _comparisons_of(identity: Identity, readings: Readings, now: float) -> list[dict[str, Any]]:
    """The comparisons in which a model has part."""
    found = (_report(pair, readings, now) for pair in readings.view.pairs() if identity in pair)
    return [report for report in found if report is not None]


def _report(pair: Pair, readings: Readings, now: float) -> dict[str, Any] | None:
    shared = readings.of_pair(pair, now)
    return None if shared is None else comparison_report(pair, shared, readings.rulebook)
