"""The documents that a request logger has written, read from Elasticsearch: those of a request id together.

Each index is read in the order of its request ids, in a snapshot (a point in time). A question that is not answered is
asked again for a while.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Any, Final, NamedTuple, TypeVar

from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch, NotFoundError, UnsupportedProductError

from app.core.dialects.history import FIELDS, KINDS, StoredDocument
from app.exporters.elasticsearch.client import connect, sentence
from app.exporters.elasticsearch.errors import HistoryError
from app.settings import Settings

#: How long Elasticsearch keeps a snapshot for the next question.
_KEEP_ALIVE: Final = "5m"
#: Documents of one answer; fewer where they are large.
_PAGE: Final = 500
#: Of an index whose mapping says nothing of them so many are looked at.
_SAMPLE: Final = 20
_PAGE_BYTES: Final = 16 << 20
#: Between attempts of a question that Elasticsearch did not answer.
_PAUSES: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
_PASSING: Final = frozenset({429, 502, 503, 504})

Hit = dict[str, Any]
Answer = TypeVar("Answer")


class Index(NamedTuple):
    """One index to read, and the field by which its request ids can be sorted, if there is one."""

    name: str
    uuid: str
    field: str | None


class History:
    """Reads documents with a @timestamp from `since` to before `until`, where these are set, as RFC 3339 texts."""

    def __init__(
        self, settings: Settings, client: AsyncElasticsearch, since: str | None = None, until: str | None = None
    ) -> None:
        self._settings = settings
        self._client = client
        between = {name: moment for name, moment in (("gte", since), ("lt", until)) if moment is not None}
        self._only = [{"range": {"@timestamp": between}}] if between else []

    async def find(self, names: Iterable[str]) -> list[Index]:
        """The indices that names, patterns and aliases mean. Raises HistoryError where one means none, or others."""
        where = self._settings.elasticsearch_url
        found: dict[str, Index] = {}
        for name in names:
            try:
                reply = await self._client.indices.get_settings(index=name, name="index.uuid", flat_settings=True)
            except NotFoundError:
                raise HistoryError(f"There is no index {name} at {where}.") from None
            if not reply.body:
                raise HistoryError(f"There is no index like {name} at {where}.")
            for index, content in sorted(reply.body.items()):
                await self._require_parts(index)
                found[index] = Index(index, content["settings"]["index.uuid"], await self._sorted_by(index))
        return list(found.values())

    async def count(self, index: Index) -> int:
        """How many documents of an index there are to read."""
        reply = await self._ask(lambda: self._client.count(index=index.name, query=self._query()))
        return int(reply.body["count"])

    async def portions(
        self, index: Index, after: str | None = None
    ) -> AsyncGenerator[tuple[str | None, list[list[StoredDocument]]], None]:
        """The documents of an index behind a request id, those of a puid together; each time with the last request id.

        Those whose request id cannot be sorted by come last, one by one, and without. These come again where
        Elasticsearch was started anew meanwhile.
        """
        while True:
            try:
                async with aclosing(self._groups(index, after)) as portions:
                    async for last, groups in portions:
                        yield last, groups
                        after = after if last is None else last
            except NotFoundError as error:
                if "search_context_missing_exception" not in str(error.body):
                    raise
                # Elasticsearch was started anew meanwhile: a new snapshot, from where the last one was.
            else:
                return

    async def _require_parts(self, index: str) -> None:
        """Refuse an index whose documents have no part of a prediction: Tally's own windows, or anybody's."""
        parts = [kind.value for kind in KINDS]
        known = await self._client.field_caps(index=index, fields=[f"{part}.*" for part in parts])
        if known.body["fields"]:
            return
        # A mapping need not name what the documents hold.
        some = await self._client.search(index=index, size=_SAMPLE, source_includes=parts)
        if not any(hit.get("_source") for hit in some.body["hits"]["hits"]):
            raise HistoryError(
                f"{index} holds no documents of a request logger: none has a request, response or feedback."
            )

    async def _sorted_by(self, index: str) -> str | None:
        """The field with its request ids: a keyword, or what a mapping that was not given makes of a text."""
        fields = ("RequestId", "RequestId.keyword")
        known = (await self._client.field_caps(index=index, fields=list(fields))).body["fields"]
        return next((field for field in fields if known.get(field, {}).keys() == {"keyword"}), None)

    async def _groups(
        self, index: Index, after: str | None
    ) -> AsyncGenerator[tuple[str | None, list[list[StoredDocument]]], None]:
        if index.field is not None:
            beyond = [{"range": {index.field: {"gt": after}}}] if after is not None else []
            query = self._query({"exists": {"field": index.field}}, *beyond)
            last: str | None = None
            group: list[StoredDocument] = []
            async with aclosing(self._pages(index, query, [{index.field: "asc"}])) as pages:
                async for hits in pages:
                    groups = []
                    before = None
                    for hit in hits:
                        if hit["sort"][0] != last:
                            if group:
                                groups.append(group)
                                before = last
                            last, group = hit["sort"][0], []
                        group.append(StoredDocument(hit["_id"], hit["_source"]))
                    if groups:
                        yield before, groups
            if group:
                yield last, [group]
        rest = self._query() if index.field is None else self._query(without=index.field)
        async with aclosing(self._pages(index, rest, ["_shard_doc"])) as pages:
            async for hits in pages:
                yield None, [[StoredDocument(hit["_id"], hit["_source"])] for hit in hits]

    def _query(self, *filters: dict[str, Any], without: str | None = None) -> dict[str, Any]:
        unless = {"must_not": [{"exists": {"field": without}}]} if without is not None else {}
        return {"bool": {"filter": [*self._only, *filters], **unless}}

    async def _pages(self, index: Index, query: dict[str, Any], order: list[Any]) -> AsyncGenerator[list[Hit], None]:
        """All documents of a query, as they were when it began."""
        client = self._client
        opened = await self._ask(lambda: client.open_point_in_time(index=index.name, keep_alive=_KEEP_ALIVE))
        snapshot = opened.body["id"]
        after: list[Any] | None = None
        size = _PAGE
        try:
            while True:
                reply = await self._ask(
                    lambda snapshot=snapshot, after=after, size=size: client.search(  # type: ignore[misc]
                        pit={"id": snapshot, "keep_alive": _KEEP_ALIVE},
                        query=query,
                        sort=order,
                        search_after=after,
                        size=size,
                        source_includes=list(FIELDS),
                        track_total_hits=False,
                        allow_partial_search_results=False,
                    )
                )
                snapshot = reply.body["pit_id"]
                hits = reply.body["hits"]["hits"]
                if hits:
                    after = hits[-1]["sort"]
                    yield hits
                if len(hits) < size:
                    return
                length = int(reply.meta.headers.get("content-length") or 1)
                size = max(1, min(_PAGE, size * _PAGE_BYTES // length))
        finally:
            with contextlib.suppress(TransportError, ApiError):
                await client.close_point_in_time(id=snapshot)

    async def _ask(self, question: Callable[[], Awaitable[Answer]]) -> Answer:
        """Ask Elasticsearch, and for a while again where it does not answer."""
        for pause in _PAUSES:
            try:
                return await question()
            except TransportError:
                pass
            except ApiError as error:
                if error.status_code not in _PASSING:
                    raise
            await asyncio.sleep(pause)
        try:
            return await question()
        except (TransportError, ApiError) as error:
            raise HistoryError(sentence(error, self._settings)) from None


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[AsyncElasticsearch]:
    """A client for Elasticsearch. Whatever goes wrong there becomes one sentence, as a HistoryError."""
    async with connect(settings) as client:
        try:
            yield client
        except UnsupportedProductError:
            raise HistoryError(f"What answers at {settings.elasticsearch_url} is no Elasticsearch.") from None
        except (TransportError, ApiError) as error:
            raise HistoryError(sentence(error, settings)) from None
