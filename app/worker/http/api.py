"""The worker's HTTP interface: events and feedback in, metrics, health, and what is known of models and exchanges."""

import base64
import hmac
import logging
from collections.abc import Awaitable, Callable
from importlib import resources
from itertools import chain
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
from aiohttp import web

from app.core.dialects.plain import base_puid
from app.core.events import Reason
from app.core.outputs.comparisons import comparisons_report
from app.core.outputs.report import models_report
from app.exporters import prometheus
from app.settings import Settings
from app.worker.http.exposition import Exposition, send
from app.worker.http.publisher import Publisher, make_producer
from app.worker.http.receive import AnswerError, Receiver
from app.worker.kafka.sizes import Sizes
from app.worker.running import Running

log = logging.getLogger(__name__)

_OPEN_PATHS = frozenset({"/metrics", "/live", "/ready"})
_STARTING = "The worker is starting."
_FORWARDED = "X-Tally-Forwarded"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def json_response(content: Any, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(body=orjson.dumps(content), status=status, content_type="application/json")


def error_response(status: int, sentence: str, reason: Reason | None = None) -> web.Response:
    """An error, as all of them look; `reason` is that of an event that was refused."""
    return json_response({"error": sentence} | ({"reason": reason} if reason else {}), status)


class Api:
    """The routes, and the little state that they need. `running` gives what they ask, None until it has started."""

    def __init__(self, settings: Settings, running: Callable[[], Running | None], sizes: Sizes | None = None) -> None:
        self._settings = settings
        self._running = running
        sizes = Sizes() if sizes is None else sizes
        self._publisher = Publisher(lambda: make_producer(settings, sizes), sizes)
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
        server.middlewares.append(self._guard)
        routes = server.router
        routes.add_get("/metrics", self._metrics)
        routes.add_get("/live", self._live)
        routes.add_get("/ready", self._ready)
        routes.add_get("/api/models", self._models)
        routes.add_get("/api/comparisons", self._comparisons)
        routes.add_get("/api/exchanges/{puid:.+}", self._exchange)
        routes.add_get("/", self._index)
        receiver = Receiver(self._settings, self._publisher)
        routes.add_post("/", receiver.events)
        routes.add_post("/events", receiver.events)
        routes.add_post("/feedback", receiver.feedback)
        routes.add_post("/seldon/{namespace}/{service}/api/v1.0/feedback", receiver.seldon_feedback)

    async def close(self) -> None:
        """Close what was opened for requests."""
        if self._session is not None:
            await self._session.close()
        await self._publisher.close()

    # -- the way in ---------------------------------------------------------------------------------------------------

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        token = self._settings.http_token
        given = request.headers.get("Authorization", "")
        if token is not None and request.path not in _OPEN_PATHS and not _is_allowed(token, given):
            return error_response(401, "Send the header `Authorization: Bearer <TALLY_HTTP_TOKEN>`.")
        try:
            if request.method == "POST":
                self._started()  # perhaps the topics are not made yet
            return await handler(request)
        except AnswerError as error:
            if error.reason is not None:
                self._started().lane.stats.rejected[error.reason] += 1
            reply = error_response(error.status, error.sentence, error.reason)
            if error.retry_after is not None:
                reply.headers["Retry-After"] = str(error.retry_after)
            if error.hang_up:
                reply.force_close()
            return reply
        except web.HTTPException as error:
            return error_response(error.status, f"{request.method} {request.path}: {error.reason}.")
        except Exception:
            log.exception("request failed method=%s path=%s", request.method, request.path)
            return error_response(500, "The worker failed at this request; its log says why.")

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

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        running = self._started()
        if self._exposition is None:
            rest = self._settings.scrape_interval
            seldon, most = self._settings.seldon_series, self._settings.max_series
            self._exposition = Exposition(running.readings, seldon=seldon, most=most, longest_rest=rest)
        if running.exporting.exports():
            await self._exposition.refresh(running.lane.now())
        exports, models = running.exporting.exports(), self._exposition.text
        running.notes.note("TALLY_MAX_SERIES", models.trouble if exports else None)
        folded, dropped = (models.folded_classes, models.dropped_series) if exports else (0, 0)
        of_worker = prometheus.worker_text(running.numbers(folded, dropped))
        of_models = models.chunks() if exports else ()
        return await send(request, chain([of_worker.encode()], of_models, [prometheus.process_text().encode()]))

    async def _models(self, _: web.Request) -> web.Response:
        running = self._started()
        readings = running.readings
        models = readings.of_models(running.lane.now())
        report = models_report(models, readings.view.first_seen, readings.rulebook)
        return json_response(report | {"notes": [*running.notes]})

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


def _is_allowed(token: str, given: str) -> bool:
    """Whether an Authorization header brings the token: as a bearer, or as the password that a URL may hold.

    The second is for Seldon's and KServe's loggers, which are told a URL and no header.
    """
    kind, _, secret = given.partition(" ")
    brought = secret.strip().encode(errors="surrogateescape")
    if kind.lower() == "basic":
        try:
            brought = base64.b64decode(brought).partition(b":")[2]
        except ValueError:
            return False
    elif kind.lower() != "bearer":
        return False
    return hmac.compare_digest(brought, token.encode())
