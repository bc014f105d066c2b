"""Searches in Elasticsearch for whoever asks by HTTP: each asked once, for a bounded time."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch

from app.exporters.elasticsearch.client import connect, sentence
from app.settings import Settings, SettingsError
from app.worker.elasticsearch.search import Hit, Search, SearchError

_SECONDS: Final = 10.0


class Searching(Search):
    """Elasticsearch as the settings name it, which must name one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: AsyncElasticsearch | None = None

    async def find(
        self, index: str, query: Mapping[str, Any], *, sort: Sequence[Mapping[str, Any]], most: int
    ) -> list[Hit]:
        """The first so many documents that fit, in this order; none where there is no such index.

        Raises SearchError.
        """
        try:
            if self._client is None:
                self._client = connect(self._settings)
            reply = await self._client.options(request_timeout=_SECONDS).search(
                index=index,
                query=query,
                sort=sort,
                size=most,
                ignore_unavailable=True,
                allow_no_indices=True,
                allow_partial_search_results=False,
            )
            return [Hit((hit["_index"], hit["_id"]), hit["_source"]) for hit in reply.body["hits"]["hits"]]
        except SettingsError as error:
            raise SearchError(str(error)) from None
        except (TransportError, ApiError) as error:
            raise SearchError(sentence(error, self._settings)) from None

    async def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.close()
