"""The worker's HTTP interface: events and feedback in, metrics, health, and what is known of models and exchanges."""

import asyncio
from collections.abc import Callable
from importlib import resources
from itertools import chain
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import orjson
from aiohttp import web

from app.core.dialects.plain import base_puid
from app.core.events import Reason
from app.core.outputs.comparisons import comparisons_report
from app.core.outputs.report import report_of
from app.exporters import prometheus
from app.exporters.packing import Packer
from app.settings import Settings
from app.worker.http.answers import AnswerError, json_response
from app.worker.http.exposition import Exposition, send
from app.worker.http.guard import Guard
from app.worker.http.port import PortRunner
from app.worker.http.publisher import Publisher, make_producer
from app.worker.http.receive import Receiver
from app.worker.http.requests import Requests
from app.worker.kafka.sizes import Sizes
from app.worker.running import Running

_STARTING = "The worker is starting."
_FORWARDED = "X-Tally-Forwarded"
#: For so many seconds the loop is held at most before all others have their turn.
_TURN_SECONDS: Final = 0.005


class Api:
    """The routes, and the little state that they need. `running` gives what they ask, None until it has started."""

    def __init__(self, settings: Settings, running: Callable[[], Running | None], sizes: Sizes | None = None) -> None:
        self._settings = settings
        self._running = running
        sizes = Sizes() if sizes is None else sizes
        self._publisher = Publisher(lambda: make_producer(settings, sizes), sizes)
        self._receiver = Receiver(settings, self._publisher)
        self.requests = Requests()
        self._exposition: Exposition | None = None
        self._session: aiohttp.ClientSession | None = None
        self._page = resources.files("app.worker.http").joinpath("page", "index.html").read_text()

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
        routes.add_get("/api/models", self._models)
        routes.add_get("/api/comparisons", self._comparisons)
        routes.add_get("/api/exchanges/{puid:.+}", self._exchange)
        routes.add_get("/", self._index)
        routes.add_post("/", self._receiver.events)
        routes.add_post("/events", self._receiver.events)
        routes.add_post("/feedback", self._receiver.feedback)
        routes.add_post("/seldon/{namespace}/{service}/api/v1.0/feedback", self._receiver.seldon_feedback)

    def runner(self, server: web.Application) -> PortRunner:
        """What serves the routes of that server on a port."""
        return PortRunner(server, self.requests)

    def _refuse(self, reason: Reason) -> None:
        self._started().lane.stats.rejected[reason] += 1

    async def close(self) -> None:
        """Close what was opened for requests."""
        if self._exposition is not None:
            self._exposition.close()
        self._receiver.close()
        if self._session is not None:
            await self._session.close()
        await self._publisher.close()

    # -- health -------------------------------------------------------------------------------------------------------

    async def _live(self, _: web.Request) -> web.Response:
        return json_response({"live": True})

    async def _ready(self, _: web.Request) -> web.Response:
        running = self._running()
        if running is None:
            return json_response({"ready": False, "partitions": [], "problems": [_STARTING], "notes": []}, 503)
        ready, problems, notes = running.ready, [*running.problems()], [*running.notes]
        content = {"ready": ready, "partitions": running.partitions, "problems": problems, "notes": notes}
        return json_response(content, 200 if ready else 503)

    # -- numbers ------------------------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Make the first text of the models as soon as this worker may export, and keep none where it may not; to be
        called a few times a second.
        """
        running = self._running()
        if running is not None and running.exporting.begun:
            self._texts(running).begin(running.lane.now())
        elif self._exposition is not None:
            self._exposition.close()
            self._exposition = None

    def _texts(self, running: Running) -> Exposition:
        if self._exposition is None:
            rest = self._settings.scrape_interval
            seldon, most = self._settings.seldon_series, self._settings.max_series
            self._exposition = Exposition(running.readings, seldon=seldon, most=most, longest_rest=rest)
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

    async def _models(self, _: web.Request) -> web.Response:
        running = self._started()
        readings, clock = running.readings, asyncio.get_running_loop().time
        rulebook, first_seen = readings.rulebook, readings.view.first_seen
        families = readings.metric_families()
        parts: list[bytes] = []
        turn = clock()
        for identity, of_model in readings.of_models(running.lane.now()):
            model = identity, of_model, first_seen(identity), rulebook, families
            slow = rulebook.of(identity.leg).run_code
            parts.append(orjson.dumps(await asyncio.to_thread(report_of, *model) if slow else report_of(*model)))
            if clock() - turn >= _TURN_SECONDS:
                await asyncio.sleep(0)
                turn = clock()
        body = b'{"models":[%b],"notes":%b}' % (b",".join(parts), orjson.dumps([*running.notes]))
        return web.Response(body=body, content_type="application/json")

    async def _comparisons(self, _: web.Request) -> web.Response:
        running = self._started()
        readings = running.readings
        return json_response(comparisons_report(readings.of_pairs(running.lane.now()), readings.rulebook))

    # -- exchanges ----------------------------------------------------------------------------------------------------

    async def _exchange(self, request: web.Request) -> web.StreamResponse:
        puid = request.match_info["puid"]
        content, status = await self._known(puid, request)
        base = base_puid(puid)
        if base != puid and status in (200, 404) and not content.get("legs") and _FORWARDED not in request.headers:
            of_base, status_of_base = await self._known(base, request)  # it may be the id of a row
            if status == 404 or of_base.get("legs"):
                row = {} if "error" in of_base else {"row": int(puid[len(base) + len("-item-") :])}
                content, status = of_base | row, status_of_base
        return json_response(content, status)

    async def _known(self, puid: str, request: web.Request) -> tuple[dict[str, Any], int]:
        """What the owner of a puid knows of it, and the status of that answer."""
        lane = self._started().lane
        number = lane.partition_of(puid.encode())
        part = lane.running.get(number)
        if part is None:
            return await self._ask_owner(number, puid, request)
        known = part.shard.describe(puid)
        if known is None:
            return {"error": f"No event with puid {puid} is known; it never came, or has expired."}, 404
        return known, 200

    async def _ask_owner(self, number: int, puid: str, request: web.Request) -> tuple[dict[str, Any], int]:
        owner = self._started().readings.view.owners.get(number)
        if owner is None or _FORWARDED in request.headers or owner.url == self._settings.url:
            return {"error": f"Partition {number} is being handed over; ask again in a few seconds."}, 503
        headers = {_FORWARDED: "1"}
        if "Authorization" in request.headers:
            headers["Authorization"] = request.headers["Authorization"]
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5))
        try:
            url = f"{owner.url}/api/exchanges/{quote(puid, safe='')}"
            async with self._session.get(url, headers=headers) as reply:
                return orjson.loads(await reply.read()), reply.status
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError):
            return {"error": f"Partition {number} belongs to {owner.url}, which does not answer."}, 503

    async def _index(self, _: web.Request) -> web.Response:
        return web.Response(text=self._page, content_type="text/html")
