"""The worker's HTTP interface: events and feedback in, metrics, health, and what is known of models and exchanges."""

import time
from collections.abc import Callable
from itertools import chain
from typing import Any

from aiohttp import web

from app.core.dialects.keeping import NO_SEGMENTS, SegmentHeaders
from app.core.events import Reason
from app.exporters import prometheus
from app.exporters.packing import Packer
from app.settings import Settings
from app.worker.elasticsearch.search import Search
from app.worker.http import page_files
from app.worker.http.answers import AnswerError, json_response
from app.worker.http.exposition import Exposition, send
from app.worker.http.guard import Guard
from app.worker.http.openapi import description
from app.worker.http.port import PortRunner
from app.worker.http.publisher import Publisher, make_producer
from app.worker.http.rate import Rate
from app.worker.http.receive import Receiver
from app.worker.http.requests import Requests
from app.worker.http.routes.comparisons import ComparisonRoutes
from app.worker.http.routes.examples import ExampleRoutes
from app.worker.http.routes.exchanges import ExchangeRoutes
from app.worker.http.routes.letters import LetterRoutes
from app.worker.http.routes.models import ModelRoutes
from app.worker.http.routes.monitors import MonitorRoutes
from app.worker.http.routes.overview import OverviewRoutes
from app.worker.http.routes.past import Past
from app.worker.http.routes.route import Route, checked
from app.worker.http.routes.views import ViewRoutes
from app.worker.http.routes.worker import WorkerRoutes
from app.worker.kafka.sizes import Sizes
from app.worker.running import Running

_STARTING = "The worker is starting."


class Api:
    """The routes, and the little state that they need. `running` gives what they ask, None until it has started."""

    def __init__(
        self,
        settings: Settings,
        running: Callable[[], Running | None],
        sizes: Sizes | None = None,
        segments: SegmentHeaders = NO_SEGMENTS,
    ) -> None:
        self._settings = settings
        self._running = running
        sizes = Sizes() if sizes is None else sizes
        self._publisher = Publisher(lambda: make_producer(settings, sizes), sizes)
        self._receiver = Receiver(settings, self._publisher, segments, self._now)
        self.requests = Requests()
        self._exposition: Exposition | None = None
        self._search = _search(settings)
        past = Past(settings, self._search)
        self._rate = Rate()
        self._overviews = OverviewRoutes(settings, self._started)
        self._exchanges = ExchangeRoutes(settings, self._started, self._search)
        self._worker = WorkerRoutes(settings, self._started, self._rate)
        models, monitors, comparisons = (
            ModelRoutes(self._started, past),
            MonitorRoutes(self._started, past),
            ComparisonRoutes(self._started, past),
        )
        self._routes = [
            *self._overviews.routes(),
            *ExampleRoutes(self._started, self._search).routes(),
            *ViewRoutes(self._started, models, monitors, comparisons, past).routes(),
            *monitors.routes(),
            *models.routes(),
            *comparisons.routes(),
            *self._exchanges.routes(),
            *LetterRoutes(settings, self._started).routes(),
            *self._worker.routes(),
            Route("GET", "/api/openapi.json", self._openapi, "This description.", dict[str, Any]),
        ]

    def _started(self) -> Running:
        running = self._running()
        if running is None:
            raise AnswerError(503, _STARTING, retry_after=1)
        return running

    def add_routes(self, server: web.Application) -> None:
        """Add all routes, and what stands before all of them, to a server."""
        server.middlewares.append(Guard(self._settings, self.requests, self._started, self._refuse).answer)
        routes = server.router
        routes.add_get("/metrics", self._metrics)
        routes.add_get("/live", self._live)
        routes.add_get("/ready", self._ready)
        for route in self._routes:
            add = routes.add_get if route.method == "GET" else routes.add_post
            add(route.path, checked(route))
        routes.add_get("/", page_files.index)
        routes.add_get("/page/{file:.+}", page_files.file)
        routes.add_post("/", self._receiver.events)
        routes.add_post("/events", self._receiver.events)
        routes.add_post("/feedback", self._receiver.feedback)
        routes.add_post("/seldon/{namespace}/{service}/api/v1.0/feedback", self._receiver.seldon_feedback)

    def runner(self, server: web.Application) -> PortRunner:
        """What serves the routes of that server on a port."""
        return PortRunner(server, self.requests)

    def _now(self) -> float:
        """What time it is. While the worker starts nobody has heard what time the brokers have."""
        running = self._running()
        return running.lane.now() if running is not None else self._settings.now or time.time()

    def _refuse(self, reason: Reason) -> None:
        self._started().lane.stats.rejected[reason] += 1

    async def close(self) -> None:
        """Close what was opened for requests."""
        if self._exposition is not None:
            self._exposition.close()
        self._receiver.close()
        for routes in (self._overviews, self._exchanges, self._worker):
            await routes.close()
        if self._search is not None:
            await self._search.close()
        await self._publisher.close()

    # -- health -------------------------------------------------------------------------------------------------------

    async def _live(self, _: web.Request) -> web.Response:
        running = self._running()
        problem = running.lane.standstill() if running is not None else None
        if problem is None:
            return json_response({"live": True})
        return json_response({"live": False, "problems": [problem]}, 503)

    async def _ready(self, _: web.Request) -> web.Response:
        running = self._running()
        if running is None:
            return json_response({"ready": False, "partitions": [], "problems": [_STARTING], "notes": []}, 503)
        ready, problems, notes = running.ready, [*running.problems()], [*running.notes]
        content = {"ready": ready, "partitions": running.partitions, "problems": problems, "notes": notes}
        return json_response(content, 200 if ready else 503)

    # -- numbers ------------------------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Note how much is read. Make the first text of the models as soon as this worker may export, and keep none
        where it may not. To be called a few times a second.
        """
        running = self._running()
        if running is not None:
            events = running.lane.stats.events.total()
            self._rate.note(time.monotonic(), events)
        if running is not None and running.exporting.begun:
            self._texts(running).begin(running.lane.now())
        elif self._exposition is not None:
            self._exposition.close()
            self._exposition = None

    def _texts(self, running: Running) -> Exposition:
        if self._exposition is None:
            settings = self._settings
            self._exposition = Exposition(
                running.readings,
                seldon=settings.seldon_series,
                boxkite=settings.boxkite_series,
                most=settings.max_series,
                longest_rest=settings.scrape_interval,
            )
        return self._exposition

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        running = self._started()
        models = None
        if running.exporting.exports():
            texts = self._texts(running)
            await texts.refresh(running.lane.now())
            models = texts.text if running.exporting.exports() else None
        running.notes.note("TALLY_MAX_SERIES", models.trouble if models else None)
        own = prometheus.worker_text(running.numbers(models.dropped if models else {})) + prometheus.http_text(
            self.requests.numbers()
        )
        packer = Packer()
        return await send(
            request,
            chain(
                [packer.pack(own.encode())],
                models.chunks() if models else (),
                [packer.pack(prometheus.process_text().encode())],
            ),
        )

    # -- what describes the routes ------------------------------------------------------------------------------------

    async def _openapi(self, _: web.Request) -> web.Response:
        return json_response(description(self._routes))


def _search(settings: Settings) -> Search | None:
    """Elasticsearch where the settings name one: importing its client is a third of a worker's start."""
    if settings.elasticsearch_url is None:
        return None
    from app.worker.elasticsearch.searching import Searching

    return Searching(settings)
