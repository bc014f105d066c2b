"""Stores on disk: a database each, in a folder of its own.

A database is used again where it is of the same app, changelog and partition. Where it is not, or is damaged, it is
built anew from the changelog; one that somebody else has open is left to him. Whatever it says, the changelog decides.
"""

import logging
from pathlib import Path
from typing import Final

import orjson

from app.core.join.store import LoadedStore, StoreError
from app.settings import Settings
from app.worker.store.database import Database, LockedError, Memory, remove
from app.worker.store.rocks import ABOUT, RocksStore

log = logging.getLogger(__name__)

#: Of what databases hold beside records, and of their keys. Raise it with any change.
_FORMAT: Final = 1
#: So many workers may share a folder: each partition has a database for each that has it open.
_MOST_SHARING: Final = 16


class DiskStores:
    """Stores on disk, in `folder`. All together take about `most_bytes` of memory, and some bytes for each exchange."""

    def __init__(self, settings: Settings, folder: Path, most_bytes: int) -> None:
        self._settings = settings
        self._folder = folder / settings.app_id
        self._memory = Memory(most_bytes // 4)
        self._hot_bytes = most_bytes // 4
        self._open: list[RocksStore] = []

    def open(self, number: int, topic_id: str | None) -> LoadedStore:
        """The store of a partition, as it was left where that can be used. Raises StoreError."""
        database = self._open_database(number)
        about = self._about(number, topic_id)
        try:
            (found,) = database.read([ABOUT])
            if found is None and not database.pairs(b"", b"\xff", 1):
                return self._begin(database, about)
            why = self._misfit(found, about)
            if why is None:
                store = self._take(database)
                if not store.is_half_loaded:
                    return store
                why = "it was not filled to the end"
        except StoreError as error:
            why = str(error)
        return self._build_anew(number, about, database, why)

    def open_anew(self, number: int, topic_id: str | None, store: LoadedStore, why: str) -> LoadedStore:
        """An empty one instead of a store that does not fit its changelog. Raises StoreError."""
        assert isinstance(store, RocksStore)
        return self._build_anew(number, self._about(number, topic_id), store.database, why)

    def sizes(self) -> dict[str, int]:
        """How many bytes all stores have: about, in memory; and in files."""
        stores = self.open_stores()
        return {
            "memory": self._memory.bytes() + sum(store.memory_bytes() for store in stores),
            "disk": sum(store.disk_bytes() for store in stores),
        }

    def open_stores(self) -> list[RocksStore]:
        """The stores that are not closed."""
        self._open = [store for store in self._open if not store.database.closed]
        return self._open

    def _open_database(self, number: int) -> Database:
        """A database of a partition that nobody else has open, whatever it holds."""
        for copy in range(1, _MOST_SHARING + 1):
            folder = self._folder / (f"{number}" if copy == 1 else f"{number}-{copy}")
            try:
                return Database(folder, self._memory)
            except LockedError as error:
                log.warning("Partition %d: %s; another one is used.", number, error)
            except StoreError as error:
                log.warning(
                    "Partition %d: %s; it is built anew from %s.", number, error, self._settings.exchanges_topic
                )
                remove(folder)
                return Database(folder, self._memory)
        raise StoreError(f"{_MOST_SHARING} workers have databases open in {self._folder}: give each a TALLY_DATA_DIR")

    def _build_anew(self, number: int, about: bytes, database: Database, why: str) -> RocksStore:
        log.warning(
            "Partition %d: the database in %s is built anew from %s: %s.",
            number, database.folder, self._settings.exchanges_topic, why,
        )  # fmt: skip
        database.spoilt = True
        database.close()
        return self._begin(Database(database.folder, self._memory), about)

    def _begin(self, database: Database, about: bytes) -> RocksStore:
        database.write([(ABOUT, about)])
        return self._take(database)

    def _take(self, database: Database) -> RocksStore:
        stores = [*self.open_stores(), RocksStore(database, 0)]
        for store in stores:
            store.most_bytes = self._hot_bytes // len(stores)
        self._open = stores
        return stores[-1]

    def _about(self, number: int, topic_id: str | None) -> bytes:
        """What stands in the database of a partition, so that no other is taken for it."""
        settings = self._settings
        return orjson.dumps([_FORMAT, settings.exchanges_topic, topic_id, number])

    def _misfit(self, found: bytes | None, about: bytes) -> str | None:
        """Why what a database says of itself does not fit a partition; None where it does."""
        try:
            form, topic, topic_id, number = orjson.loads(found or b"null")
        except (TypeError, ValueError):
            return "it is none of Tally's"
        wanted = orjson.loads(about)
        if form != _FORMAT:
            return f"another version of Tally has made it (format {form}; this one has {_FORMAT})"
        if (topic, number) != (wanted[1], wanted[3]):
            return f"it is of partition {number} of {topic}"
        if wanted[2] is None:
            return f"the brokers tell no id of {topic}, by which it could be known again"
        return None if topic_id == wanted[2] else f"{topic} was deleted and made again since"
