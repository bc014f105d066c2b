"""The worker's HTTP interface: metrics, health, what is known of models and exchanges, and feedback in."""

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
from aiohttp import web
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from app.core.events import RefusedError
from app.core.log import describe
from app.core.plain import canonical_feedback
from app.core.report import models_report
from app.exporters import prometheus
from app.worker.kafka import client_options

if TYPE_CHECKING:
    from app.worker.build import Worker

log = logging.getLogger(__name__)

_OPEN_PATHS = frozenset({"/metrics", "/live", "/ready"})
_FORWARDED = "X-Tally-Forwarded"
#: How long a feedback may wait for Kafka before its sender is told to come again.
_KAFKA_SECONDS = 15

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def json_response(content: Any, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(body=orjson.dumps(content), status=status, content_type="application/json")


def error_response(status: int, sentence: str) -> web.Response:
    """An error, as all of them look."""
    return json_response({"error": sentence}, status)


class Api:
    """The routes, and the little state that they need."""

    def __init__(self, worker: "Worker") -> None:
        self._worker = worker
        self._producer: AIOKafkaProducer | None = None
        self._session: aiohttp.ClientSession | None = None
        self._exporter_since: float | None = None
        self._page = resources.files("app.worker").joinpath("page.html").read_text()

    def add_routes(self, server: web.Application) -> None:
        """Add all routes and the two middlewares to a server."""
        server.middlewares.append(self._guard)
        routes = server.router
        routes.add_get("/metrics", self._metrics)
        routes.add_get("/live", self._live)
        routes.add_get("/ready", self._ready)
        routes.add_get("/api/models", self._models)
        routes.add_get("/api/exchanges/{puid:.+}", self._exchange)
        routes.add_post("/feedback", self._feedback)
        routes.add_get("/", self._index)

    async def close(self) -> None:
        """Close what was opened for requests."""
        if self._session is not None:
            await self._session.close()
        if self._producer is not None:
            await self._producer.stop()

    # -- the way in ---------------------------------------------------------------------------------------------------

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        token = self._worker.settings.http_token
        if token is not None and request.path not in _OPEN_PATHS:
            given = request.headers.get("Authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
                return error_response(401, "Send the header `Authorization: Bearer <TALLY_HTTP_TOKEN>`.")
        try:
            return await handler(request)
        except web.HTTPRequestEntityTooLarge:
            return error_response(413, f"The body is larger than {self._worker.settings.max_body} bytes.")
        except web.HTTPException as error:
            return error_response(error.status, f"{request.method} {request.path}: {error.reason}.")
        except Exception:
            log.exception("request failed method=%s path=%s", request.method, request.path)
            return error_response(500, "The worker failed at this request; its log says why.")

    # -- health -------------------------------------------------------------------------------------------------------

    async def _live(self, _: web.Request) -> web.Response:
        return json_response({"live": True})

    async def _ready(self, _: web.Request) -> web.Response:
        lane = getattr(self._worker, "lane", None)
        ready = lane is not None and lane.ready and self._worker.feed.at_end.is_set()
        owned = sorted(lane.running) if lane is not None else []
        return json_response({"ready": ready, "partitions": owned}, 200 if ready else 503)

    # -- numbers ------------------------------------------------------------------------------------------------------

    def _exports_models(self) -> bool:
        """Whether this worker is the one that exports model series: the owner of partition 0, if it surely still is.

        After it became owner it waits a scrape interval: a gap, never a double.
        """
        lane, settings = self._worker.lane, self._worker.settings
        surely: bool = (
            0 in lane.running
            and lane.running[0].lost is None
            and self._worker.feed.at_end.is_set()
            and self._worker.consumer._thread.heartbeat_age <= settings.session_timeout
            and lane.longest_epoch() <= settings.session_timeout
        )
        now = self._worker.loop.time()
        if not surely:
            self._exporter_since = None
            return False
        if self._exporter_since is None:
            self._exporter_since = now
        waited: float = now - self._exporter_since
        return waited >= settings.scrape_interval

    def watch_exporter(self) -> None:
        """Note the moment at which this worker becomes the exporter, without waiting for a scrape."""
        self._exports_models()

    async def _metrics(self, _: web.Request) -> web.Response:
        lane = getattr(self._worker, "lane", None)
        if lane is None:
            return error_response(503, "The worker is starting.")
        text = prometheus.worker_text(self._worker_samples())
        if self._exports_models():
            view = self._worker.view
            models = ((who, readings, view.first_seen(who)) for who, readings in view.readings(lane.now()))
            text += prometheus.model_text(models, seldon=self._worker.settings.seldon_series)
        text += prometheus.process_text()
        return web.Response(body=text.encode(), headers={"Content-Type": prometheus.CONTENT_TYPE})

    def _worker_samples(self) -> prometheus.WorkerSamples:
        lane = self._worker.lane
        stats = lane.stats
        lag_events, lag_seconds = lane.lag()
        assigned = len(lane.assigned or ())
        ready = len(lane.running)
        parts = list(lane.running.values())
        kinds = ("request", "response", "feedback")
        return {
            "tally_events_total": [((kind,), stats.events[kind]) for kind in kinds],
            "tally_rejected_total": [((reason,), count) for reason, count in sorted(stats.rejected.items())],
            "tally_duplicates_total": [((kind,), stats.duplicates[kind]) for kind in kinds],
            "tally_corrections_total": [((), stats.corrections)],
            "tally_late_total": [((), stats.late)],
            "tally_orphans_total": [((), stats.orphans)],
            "tally_failed_predictions_total": [((), stats.failed)],
            "tally_clock_ahead_total": [((), stats.clock_ahead)],
            "tally_dropped_total": [(("classes",), sum(part.shard.counting.dropped_classes for part in parts))],
            "tally_lag_events": [((topic,), events) for topic, events in lag_events.items()],
            "tally_lag_seconds": [((), lag_seconds)],
            "tally_open_exchanges": [((), sum(part.shard.open_exchanges for part in parts))],
            "tally_partitions": [(("ready",), ready), (("loading",), max(0, assigned - ready))],
            "tally_recovered_records": [((), lane.recovery.records)],
            "tally_recovery_seconds": [((), lane.recovery.seconds)],
        }  # fmt: skip

    async def _models(self, _: web.Request) -> web.Response:
        worker = self._worker
        readings = worker.view.readings(worker.lane.now())
        return json_response(models_report(readings, worker.view.first_seen, worker.rulebook))

    # -- exchanges ----------------------------------------------------------------------------------------------------

    async def _exchange(self, request: web.Request) -> web.StreamResponse:
        puid = request.match_info["puid"]
        lane = self._worker.lane
        number = lane.partition_of(puid.encode())
        part = lane.running.get(number)
        if part is None:
            return await self._ask_owner(number, request)
        exchange = part.shard.get(puid.encode())
        if exchange is None:
            return error_response(404, f"No event with puid {puid} is known; it never came, or has expired.")
        return json_response(describe(puid, exchange, part.shard.names, part.shard.counting))

    async def _ask_owner(self, number: int, request: web.Request) -> web.StreamResponse:
        owner = self._worker.view.owners.get(number)
        if owner is None or _FORWARDED in request.headers or owner == self._worker.settings.url:
            return error_response(503, f"Partition {number} is being handed over; ask again in a few seconds.")
        headers = {_FORWARDED: "1"}
        if "Authorization" in request.headers:
            headers["Authorization"] = request.headers["Authorization"]
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5))
        try:
            async with self._session.get(owner + request.raw_path, headers=headers) as reply:
                return web.Response(body=await reply.read(), status=reply.status, content_type=reply.content_type)
        except (aiohttp.ClientError, TimeoutError):
            return error_response(503, f"Partition {number} belongs to {owner}, which does not answer.")

    # -- feedback -----------------------------------------------------------------------------------------------------

    async def _feedback(self, request: web.Request) -> web.Response:
        settings = self._worker.settings
        raw = await request.read()
        if len(raw) > settings.max_body:
            return error_response(413, f"The body is larger than {settings.max_body} bytes.")
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            return error_response(400, f"The body is not JSON: {error}.")
        try:
            event = canonical_feedback(body, datetime.now(UTC), settings.max_label_length)
        except RefusedError as refused:
            return error_response(400, refused.detail)
        try:
            async with asyncio.timeout(_KAFKA_SECONDS):
                producer = await self._get_producer()
                await producer.send_and_wait(
                    settings.feedback_topic, key=event.key, value=event.value, headers=list(event.headers)
                )
        except (KafkaError, OSError, TimeoutError) as error:
            reply = error_response(503, f"Kafka did not take the feedback ({type(error).__name__}); send it again.")
            reply.headers["Retry-After"] = "5"
            return reply
        return web.Response(status=202)

    async def _get_producer(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                **client_options(self._worker.settings), acks="all", enable_idempotence=True, request_timeout_ms=10_000
            )
            await producer.start()
            self._producer = producer
        return self._producer

    async def _index(self, _: web.Request) -> web.Response:
        return web.Response(text=self._page, content_type="text/html")
