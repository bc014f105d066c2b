"""The exchanges of a partition in a database on disk, and in memory what of them is hot.

In memory is what has been settled and is not durable yet, so that the database is never ahead of its changelog; and,
within bounds, what was asked for or written last. The database has the records of the changelog under their own keys.
Under keys that no record has it says what it is of (`ABOUT`), how far it reaches (`STANDS`), and the ages of exchanges.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from app.core.join.exchange import decode_age
from app.core.join.store import NUL, LoadedStore, StoreError
from app.worker.store.ages import KeptAges, Row
from app.worker.store.database import Database

ABOUT: Final = b"\0\1about"
STANDS: Final = b"\0\1stands"
_MARKS: Final = b"\0\2"  # the records that are no exchanges begin here
_EXCHANGES: Final = b"\1"
_END: Final = b"\xff" * 64
_PAGE: Final = 2_000
#: What an entry costs in memory beside its key and value.
_ENTRY_BYTES: Final = 160
#: Where a write has to wait until more is in files, it is tried again after so long.
_STALL_SECONDS: Final = 0.01
_UNKNOWN: Final[Any] = object()


class RocksStore(LoadedStore):
    """The exchanges of one partition. `most_bytes` bounds what is in memory of those that are written already."""

    ages: KeptAges

    def __init__(self, database: Database, most_bytes: int) -> None:
        self.database = database
        self.most_bytes = most_bytes
        self.place, self._count, serial = self._stands()
        self.ages = KeptAges(database, serial)
        self.was_kept = self.place > 0
        self._changed: dict[bytes, bytes | None] = {}  # and not written; None is what is gone
        self._young: dict[bytes, bytes | None] = {}  # written, or read, last; None is what is not there
        self._old: dict[bytes, bytes | None] = {}  # those of before
        self._young_bytes = 0
        self._sealed: tuple[list[Row], int] | None = None  # ages, how many exchanges
        self._broken: Exception | None = None

    def _stands(self) -> tuple[int, int, int]:
        """The offset that the database reaches, how many exchanges it has, and the serial of its ages."""
        (stands,) = self.database.read([STANDS])
        try:
            place, count, serial = (0, 0, 0) if stands is None else orjson.loads(stands)
        except (TypeError, ValueError):
            raise StoreError("nobody can read where it stands") from None
        return place, count, serial

    # -- a mapping ----------------------------------------------------------------------------------------------------

    def get(self, key: bytes, default: Any = None) -> Any:
        """What is kept under a puid. Raises StoreError."""
        value = self._changed.get(key, _UNKNOWN)
        if value is _UNKNOWN:
            value = self._young.get(key, _UNKNOWN)
            if value is _UNKNOWN:
                value = self._old.get(key, _UNKNOWN)
                if value is _UNKNOWN:
                    self.fetch([key])
                    value = self._young[key]
        return default if value is None else value

    def __getitem__(self, key: bytes) -> bytes:
        value: bytes | None = self.get(key)
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._count += self.get(key) is None
        self._changed[key] = value

    def __delitem__(self, key: bytes) -> None:
        if self.get(key) is None:
            raise KeyError(key)
        self._count -= 1
        self._changed[key] = None

    def __contains__(self, key: object) -> bool:
        return isinstance(key, bytes) and self.get(key) is not None

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[bytes]:
        changed = dict(self._changed)
        for key, _ in self._all(_EXCHANGES, _END):
            if key not in changed:
                yield key
        yield from (key for key, value in changed.items() if value is not None)

    def __reversed__(self) -> Iterator[bytes]:
        """What is in memory first, the newest of it before all; then the others, in any order."""
        hot = {**self._old, **self._young, **self._changed}
        yield from (key for key in reversed(hot) if hot[key] is not None)
        for key, _ in self._all(_EXCHANGES, _END):
            if key not in hot:
                yield key

    def _all(self, first: bytes, before: bytes) -> Iterator[tuple[bytes, bytes]]:
        while page := self.database.pairs(first, before, _PAGE):
            yield from page
            first = page[-1][0] + NUL

    # -- what a shard asks --------------------------------------------------------------------------------------------

    def fetch(self, keys: Iterable[bytes | None]) -> None:
        """Have these at hand: they are asked for next. Raises StoreError."""
        if self._young_bytes > self.most_bytes // 2:
            self._old, self._young, self._young_bytes = self._young, {}, 0
        changed, young, old = self._changed, self._young, self._old
        wanted = [key for key in keys if key and key not in changed and key not in young and key not in old]
        if wanted:
            found = self.database.read(wanted)
            young.update(zip(wanted, found, strict=True))
            self._young_bytes += sum(map(len, wanted)) + sum(map(len, filter(None, found))) + _ENTRY_BYTES * len(found)

    def seal(self) -> None:
        """All that has changed until now belongs to the epoch that has just been cut."""
        self._sealed = self.ages.seal(), self._count

    # -- what is durable ----------------------------------------------------------------------------------------------

    async def keep(self, changes: Sequence[Row], place: int) -> None:
        """Write the records of the sealed epoch, which stand before this offset of the changelog. Raises StoreError."""
        assert self._sealed is not None, "no epoch is sealed"
        ages, count = self._sealed
        await self._write([*changes, *ages], place, count)
        self.ages.written(ages)
        changed, young = self._changed, self._young
        for key, value in changes:
            if changed.get(key, _UNKNOWN) is value:  # else it has changed again
                del changed[key]
                young[key] = value
                self._young_bytes += _ENTRY_BYTES + len(key) + len(value or b"")

    async def _write(self, rows: list[Row], place: int, count: int) -> None:
        self.place = max(place, self.place)
        rows.append((STANDS, orjson.dumps((self.place, count, self.ages.serial))))
        while not self.database.write(rows):  # noqa: ASYNC110 - RocksDB tells nobody when it can go on
            await asyncio.sleep(_STALL_SECONDS)

    # -- loading ------------------------------------------------------------------------------------------------------

    async def load(self, changes: Mapping[bytes, bytes | None], place: int) -> None:
        """Take the newest records before an offset, by key; None is what is gone. Raises StoreError."""
        keys = [key for key in changes if key[:1] != NUL]
        add = self.ages.add
        for key, known in zip(keys, self.database.read(keys), strict=True):
            value = changes[key]
            if value is None:
                self._count -= known is not None
            elif known is None:
                self._count += 1
                add(key, self._newest(value))
        ages = self.ages.seal()
        await self._write([*changes.items(), *ages], place, self._count)

    def _newest(self, raw: bytes) -> int:
        try:
            return decode_age(raw).newest
        except Exception as error:  # noqa: BLE001 - there are as many errors as ways to write what is no exchange
            self._broken = error
            return 0

    def take_marks(self) -> dict[bytes, bytes]:
        """The records that are no exchanges. Raises StoreError."""
        return dict(self._all(_MARKS, _EXCHANGES))

    def note_ages(self) -> None:
        """Ages are noted while it is loaded. Raises the error of what was found to be no exchange then."""
        if self._broken is not None:
            self.database.spoilt = True
            raise self._broken

    # -- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Give the database up; what is not durable is dropped."""
        self.database.close()

    def memory_bytes(self) -> int:
        """About how many bytes are in memory beside what all databases share."""
        hot = 2 * self._young_bytes + 2 * _ENTRY_BYTES * len(self._changed)
        return hot + self.database.size("estimate-table-readers-mem")

    def disk_bytes(self) -> int:
        """How many bytes its files have."""
        return self.database.size("total-sst-files-size")
