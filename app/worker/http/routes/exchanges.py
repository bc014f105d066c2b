"""What is known of one request id: by the worker that owns its partition, whoever is asked; and its documents."""

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import orjson
from aiohttp import web

from app.core.dialects.plain import base_puid
from app.core.outputs.shapes import ExchangeDocuments, ExchangeReport
from app.settings import Settings
from app.worker.asking import session
from app.worker.elasticsearch.search import Search, SearchError
from app.worker.http.answers import AnswerError, json_response
from app.worker.http.routes.route import Parameter, Route
from app.worker.http.routes.stale import stale_sentence
from app.worker.running import Running

_FORWARDED: Final = "X-Tally-Forwarded"
_PUID: Final = Parameter("puid", "The request id, percent-encoded.", needed=True, place="path")
_MOST_DOCUMENTS: Final = 200


class ExchangeRoutes:
    """The routes. `search` is None where no Elasticsearch is configured."""

    def __init__(self, settings: Settings, started: Callable[[], Running], search: Search | None) -> None:
        self._settings = settings
        self._started = started
        self._search = search
        self._session: aiohttp.ClientSession | None = None

    def routes(self) -> list[Route]:
        """The rows: the longer path first, since a puid may hold anything."""
        return [
            Route(
                "GET",
                "/api/exchanges/{puid:.+}/documents",
                self.documents,
                "The documents of a request id in Elasticsearch, one a row of each leg.",
                ExchangeDocuments,
                (_PUID,),
                (404, 503),
            ),
            Route(
                "GET",
                "/api/exchanges/{puid:.+}",
                self.exchange,
                "All that is known of a request id: what was answered, the label, and whether it was right.",
                ExchangeReport,
                (_PUID,),
                (404, 503),
            ),
        ]

    async def close(self) -> None:
        """Close what was opened for requests."""
        if self._session is not None:
            await self._session.close()

    async def exchange(self, request: web.Request) -> web.Response:
        """`GET /api/exchanges/{puid}`."""
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
        running = self._started()
        lane = running.lane
        number = lane.partition_of(puid.encode())
        part = lane.running.get(number)
        if part is None:
            return await self._ask_owner(number, puid, request)
        known, stale = part.shard.describe(puid), stale_sentence(running)
        if known is None:
            said = f"No event with puid {puid} is known; it never came, or has expired."
            return {"error": said if stale is None else f"{said} {stale}"}, 404
        return {**known, "stale": stale}, 200

    async def _ask_owner(self, number: int, puid: str, request: web.Request) -> tuple[dict[str, Any], int]:
        owner = self._started().readings.view.owners.get(number)
        if owner is None or _FORWARDED in request.headers or owner.url == self._settings.url:
            return {"error": f"Partition {number} is being handed over; ask again in a few seconds."}, 503
        headers = {_FORWARDED: "1"}
        if "Authorization" in request.headers:
            headers["Authorization"] = request.headers["Authorization"]
        if self._session is None:
            self._session = session(self._settings, 5, with_token=False)
        try:
            url = f"{owner.url}/api/exchanges/{quote(puid, safe='')}"
            async with self._session.get(url, headers=headers) as reply:
                return orjson.loads(await reply.read()), reply.status
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError):
            return {"error": f"Partition {number} belongs to {owner.url}, which does not answer."}, 503

    async def documents(self, request: web.Request) -> web.Response:
        """`GET /api/exchanges/{puid}/documents`."""
        if self._search is None:
            raise AnswerError(404, "There are no documents: TALLY_ELASTICSEARCH_URL is not set.")
        puid = request.match_info["puid"]
        names = [*dict.fromkeys((puid, base_puid(puid)))]
        try:
            hits = await self._search.find(
                "inference-log-*",
                {"bool": {"filter": [{"terms": {"RequestId": names}}]}},
                sort=[{"@timestamp": {"order": "asc", "unmapped_type": "date"}}],
                most=_MOST_DOCUMENTS,
            )
        except SearchError as error:
            raise AnswerError(503, str(error)) from None
        found: ExchangeDocuments = {
            "documents": [{"index": hit.place[0], "id": hit.place[1], "body": dict(hit.body)} for hit in hits]
        }
        return json_response(found)
