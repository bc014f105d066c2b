"""What a search in Elasticsearch is to whoever asks by HTTP, without its client, which is slow to import."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol


class SearchError(Exception):
    """Elasticsearch has not answered; the message is a sentence that says why, and what to do."""


class Hit(NamedTuple):
    """A document, and its place: index and id."""

    place: tuple[str, str]
    body: Mapping[str, Any]


class Search(Protocol):
    """Elasticsearch as the settings name it."""

    async def find(
        self, index: str, query: Mapping[str, Any], *, sort: Sequence[Mapping[str, Any]], most: int
    ) -> list[Hit]:
        """The first so many documents that fit, in this order; none where there is no such index.

        Raises SearchError.
        """

    async def close(self) -> None:
        """Close all connections."""
