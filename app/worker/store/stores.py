"""The stores of a worker's partitions, and where they come from."""

from typing import Protocol

from app.core.join.store import LoadedStore, MemoryStore


class Stores(Protocol):
    """Opens the stores of partitions, by their number and the id of their changelog, as far as that is known."""

    def open(self, number: int, topic_id: str | None) -> LoadedStore:
        """The store of a partition. Raises StoreError."""

    def open_anew(self, number: int, topic_id: str | None, store: LoadedStore, why: str) -> LoadedStore:
        """An empty one instead of a store that does not fit its changelog. Raises StoreError."""

    def sizes(self) -> dict[str, int]:
        """How many bytes they have, by where; nothing where that is not known."""


class MemoryStores:
    """Stores in memory."""

    def open(self, number: int, topic_id: str | None) -> LoadedStore:
        """The store of a partition."""
        return MemoryStore()

    def open_anew(self, number: int, topic_id: str | None, store: LoadedStore, why: str) -> LoadedStore:
        """An empty one."""
        return MemoryStore()

    def sizes(self) -> dict[str, int]:
        """Nobody knows how much memory they take."""
        return {}
