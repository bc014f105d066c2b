"""The exchanges of a partition in a database on disk, and in memory what of them is hot.

In memory is what has been settled and is not durable yet, so that the database is never ahead of its changelog; and,
within bounds, what was asked for or written last. The database has the records of the changelog under their own keys.
Under keys that no record has it says what it is of (`ABOUT`), how far it reaches (`STANDS`), and the ages of exchanges.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

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
_ENTRY_BYTES: Final = 260
#: So many committed changes are written together, and none waits longer than so: what changes again meanwhile is
#: written once, and a crash costs the time to read them in the changelog.
_WRITTEN_TOGETHER: Final = 10_000
_LONGEST_SECONDS: Final = 5.0
#: Where a write has to wait until more is in files, it is tried again after so long.
_STALL_SECONDS: Final = 0.01
_UNKNOWN: Final[Any] = object()

Rows = dict[bytes, bytes | None]


class Sealed(NamedTuple):
    """What was changed by an epoch that is on its way: exchanges, and their ages; and how many exchanges are open."""

    exchanges: Rows
    ages: list[Row]
    open_exchanges: int


class RocksStore(LoadedStore):
    """The exchanges of one partition. `most_bytes` bounds what is in memory of those that are written already."""

    ages: KeptAges

    def __init__(self, database: Database, most_bytes: int) -> None:
        self.database = database
        self.most_bytes = most_bytes
        #: So many changes that are durable are written together.
        self.most_waiting = _WRITTEN_TOGETHER
        stands = self._stands()
        self.place, self._count, serial = stands or (0, 0, 0)
        self.ages = KeptAges(database, serial)
        self.was_kept = self.place > 0
        self._is_new = stands is None  # and filled from nothing, until all is loaded
        self._hot: Rows = {}  # all that is in memory; None is what is not there, or gone
        self._changed: Rows = {}  # and not sealed
        self._sealed: Sealed | None = None
        self._durable: Rows = {}  # exchanges that are not written yet
        self._waiting: Rows = {}  # all that is to be written: records
        self._waiting_ages: Rows = {}
        self._waiting_since = 0.0
        self._reaches = self.place, self._count  # once that is written
        self._young: Rows = {}  # written, or read, last
        self._young_bytes = 0
        self._broken: Exception | None = None

    def _stands(self) -> tuple[int, int, int] | None:
        """The offset that the database reaches, how many exchanges it has, and the serial of its ages; None before it
        says so.
        """
        (stands,) = self.database.read([STANDS])
        if stands is None:
            return None
        try:
            place, count, serial = orjson.loads(stands)
        except (TypeError, ValueError):
            raise StoreError("nobody can read where it stands") from None
        return place, count, serial

    @property
    def is_half_loaded(self) -> bool:
        """Whether a loading has ended before all was loaded."""
        return self._is_new and bool(self.database.pairs(_MARKS, _END, 1))

    # -- a mapping ----------------------------------------------------------------------------------------------------

    def get(self, key: bytes, default: Any = None) -> Any:
        """What is kept under a puid. Raises StoreError."""
        value = self._hot.get(key, _UNKNOWN)
        if value is _UNKNOWN:
            (value,) = self.database.read([key])
        return default if value is None else value

    def __getitem__(self, key: bytes) -> bytes:
        value: bytes | None = self.get(key)
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._count += self.get(key) is None
        self._hot[key] = self._changed[key] = value

    def __delitem__(self, key: bytes) -> None:
        if self.get(key) is None:
            raise KeyError(key)
        self._count -= 1
        self._hot[key] = self._changed[key] = None

    def __contains__(self, key: object) -> bool:
        return isinstance(key, bytes) and self.get(key) is not None

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[bytes]:
        unwritten = self._unwritten()
        for key, _ in self._all(_EXCHANGES, _END):
            if key not in unwritten:
                yield key
        yield from (key for key, value in unwritten.items() if value is not None)

    def __reversed__(self) -> Iterator[bytes]:
        """What is in memory first, the newest of it before all; then the others, in any order."""
        hot = dict(self._hot)
        yield from (key for key in reversed(hot) if hot[key] is not None)
        for key, _ in self._all(_EXCHANGES, _END):
            if key not in hot:
                yield key

    def _all(self, first: bytes, before: bytes) -> Iterator[tuple[bytes, bytes]]:
        while page := self.database.pairs(first, before, _PAGE):
            yield from page
            first = page[-1][0] + NUL

    def _unwritten(self) -> Rows:
        """The exchanges of which the database has another state."""
        return self._durable | (self._sealed.exchanges if self._sealed else {}) | self._changed

    # -- what a shard asks --------------------------------------------------------------------------------------------

    def fetch(self, keys: Iterable[bytes | None]) -> Callable[[bytes], bytes | None]:
        """Have these at hand, and give what they are looked up by until the next `seal`. Raises StoreError."""
        hot = self._hot
        wanted = [key for key in {*keys}.difference(hot) if key and key[0]]
        if wanted:
            found = dict(zip(wanted, self.database.read(wanted), strict=True))
            hot.update(found)
            self._keep_young(found)
        return hot.get

    def put(self, exchanges: Mapping[bytes, bytes]) -> None:
        """Keep these exchanges, in the place of what was kept. Raises StoreError."""
        known = self.fetch(exchanges)
        self._count += list(map(known, exchanges)).count(None)
        self._hot.update(exchanges)
        self._changed.update(exchanges)

    def seal(self) -> None:
        """All that has changed until now belongs to the epoch that has just been cut."""
        self._sealed = Sealed(self._changed, self.ages.seal(), self._count)
        self._changed = {}
        if self._young_bytes > self.most_bytes // 2:
            self._hot = self._young | self._unwritten()
            self._young, self._young_bytes = {}, 0

    def _keep_young(self, rows: Rows) -> None:
        self._young.update(rows)
        self._young_bytes += sum(map(len, rows)) + sum(map(len, filter(None, rows.values()))) + _ENTRY_BYTES * len(rows)

    # -- what is durable ----------------------------------------------------------------------------------------------

    async def keep(self, changes: Sequence[Row], place: int) -> None:
        """Write the records of the sealed epoch, which stand before this offset of the changelog; maybe later, together
        with others. Raises StoreError.
        """
        assert self._sealed is not None, "no epoch is sealed"
        exchanges, ages, count = self._sealed
        self._sealed = None
        now = asyncio.get_running_loop().time()
        if not self._waiting:
            self._waiting_since = now
        self._durable |= exchanges
        self._waiting.update(changes)
        self._waiting_ages.update(ages)
        self._reaches = max(place, self._reaches[0]), count
        if len(self._waiting) >= self.most_waiting or now > self._waiting_since + _LONGEST_SECONDS:
            while not self._write_waiting():  # noqa: ASYNC110 - RocksDB tells nobody when it can go on
                await asyncio.sleep(_STALL_SECONDS)

    def _write_waiting(self) -> bool:
        """Write all that is durable. Returns whether it did, or has to wait. Raises StoreError."""
        done = self._write([*self._waiting.items(), *self._waiting_ages.items()], *self._reaches)
        if done:
            self.ages.written(self._waiting_ages)
            self._keep_young(self._durable)
            self._durable, self._waiting, self._waiting_ages = {}, {}, {}
        return done

    def _write(self, rows: list[Row], place: int, count: int) -> bool:
        """Write this, and that the database reaches so far. Returns whether it did, or has to wait."""
        done = self.database.write([*rows, (STANDS, orjson.dumps((place, count, self.ages.serial)))])
        if done:
            self.place = place
        return done

    # -- loading ------------------------------------------------------------------------------------------------------

    async def load(self, changes: Mapping[bytes, bytes | None], place: int) -> None:
        """Take the newest records before an offset, by key; None is what is gone. Raises StoreError.

        In a new database each record is written as it comes; what they are is looked at when all are there.
        """
        self._reaches = max(place, self.place), self._count
        if self._is_new:
            if not self.place:
                self.database.begin_loading()
            await self._wait_for(lambda: self.database.write(changes.items()))
            self.place = self._reaches[0]
            return
        keys = [key for key in changes if key[:1] != NUL]
        for key, known in zip(keys, self.database.read(keys), strict=True):
            value = changes[key]
            if value is None:
                self._count -= known is not None
            elif known is None:
                self._count += 1
                self.ages.add(key, self._newest(value))
        await self._write_loaded(changes.items())

    async def loaded(self) -> None:
        """All of the changelog has been taken. Raises StoreError."""
        if not self._is_new:
            return
        first = _EXCHANGES
        while page := self.database.pairs(first, _END, _PAGE):
            for key, value in page:
                self.ages.add(key, self._newest(value))
            self._count += len(page)
            first = page[-1][0] + NUL
            if sum(map(len, self.ages.by_hour.values())) > _WRITTEN_TOGETHER:
                await self._write_ages()
            await asyncio.sleep(0)
        await self._write_loaded(())
        self._is_new = False
        if self.place:
            self.database.end_loading()

    async def tidy(self, edge: float) -> None:
        """Forget the ages of what is gone, of exchanges from before an edge, in seconds. Raises StoreError.

        Where exchanges come from the changelog alone it is done by nobody else: who expires them takes their ages.
        """
        old = self.ages.take(edge, _WRITTEN_TOGETHER)
        for (later, key), raw in zip(old, self.database.read([key for _, key in old]), strict=True):
            if raw is not None:
                self.ages.add(key, max(later, self._newest(raw)))
        if old:
            await self._write_loaded(())

    async def _write_ages(self) -> None:
        ages = self.ages.seal()
        await self._wait_for(lambda: self.database.write(ages))
        self.ages.written(dict(ages))

    async def _write_loaded(self, rows: Iterable[Row]) -> None:
        """Write records, and the ages that have been noted."""
        ages = self.ages.seal()
        self._reaches = self._reaches[0], self._count
        await self._wait_for(lambda: self._write([*rows, *ages], *self._reaches))
        self.ages.written(dict(ages))

    async def _wait_for(self, write: Callable[[], bool]) -> None:
        while not write():  # noqa: ASYNC110 - RocksDB tells nobody when it can go on
            await asyncio.sleep(_STALL_SECONDS)

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
        if (self._waiting or self._waiting_ages) and not (self.database.closed or self.database.spoilt):
            with contextlib.suppress(StoreError):  # the changelog has it
                self._write_waiting()
        self.database.close()

    def memory_bytes(self) -> int:
        """About how many bytes are in memory beside what all databases share."""
        hot = 2 * self._young_bytes + 2 * _ENTRY_BYTES * (len(self._changed) + len(self._durable))
        return hot + self.database.size("estimate-table-readers-mem")

    def disk_bytes(self) -> int:
        """How many bytes its files have."""
        return self.database.size("total-sst-files-size")
