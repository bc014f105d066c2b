"""A store of exchanges that outgrows memory: what has not been touched for long goes to a file in a scratch folder."""

import contextlib
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, ValuesView
from pathlib import Path
from typing import Any, Final

from app.core.join.ages import HOUR, Ages
from app.core.join.store import Store, StoreError

#: So many exchanges are in memory at most, half of them for long.
MOST_IN_MEMORY: Final = 50_000
#: As many ages of exchanges as this are written together.
_AGES_TOGETHER: Final = 20_000
#: In one question, as many as SQLite takes everywhere.
_ASKED_TOGETHER: Final = 500
_ASK_ONE: Final = "SELECT puid, value FROM exchanges WHERE puid IN (?)"
_ASK: Final = tuple(_ASK_ONE.replace("?", ",".join("?" * count)) for count in range(_ASKED_TOGETHER + 1))
_TABLES: Final = (
    "CREATE TABLE exchanges (puid BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID",
    "CREATE TABLE ages (number INTEGER PRIMARY KEY, hour INTEGER, puid BLOB)",
    "CREATE INDEX by_hour ON ages (hour)",
)


class _Scratch:
    """A file of SQLite that is made when it is needed. It survives nothing: who is interrupted begins again."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._disk: sqlite3.Connection | None = None

    @property
    def is_empty(self) -> bool:
        return self._disk is None

    def ask(self, question: str, values: Iterable[Any] = ()) -> list[Any]:
        """The rows of an answer. Raises StoreError."""
        if self._disk is None:
            return []
        with self._told():
            return self._disk.execute(question, tuple(values)).fetchall()

    def walk(self, question: str) -> Iterator[Any]:
        """The rows of an answer, one after the other. Raises StoreError."""
        if self._disk is not None:
            with self._told():
                yield from self._disk.execute(question)

    def write(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Write rows. Raises StoreError."""
        with self._told():
            disk = self._disk or self._open()
            disk.executemany(statement, rows)

    def _open(self) -> sqlite3.Connection:
        disk = self._disk = sqlite3.connect(self._file, isolation_level=None)
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE", "cache_size = -8000"):
            disk.execute(f"PRAGMA {pragma}")
        for table in _TABLES:
            disk.execute(table)
        disk.execute("BEGIN")
        return disk

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _without(self._file.parent, error) from None

    def close(self) -> None:
        if self._disk is not None:
            self._disk.close()
            self._disk = None


def _without(folder: Path | None, error: Exception) -> StoreError:
    where, why = folder or tempfile.gettempdir(), getattr(error, "strerror", None) or error
    return StoreError(
        f"What has no room in memory cannot be kept in {where} ({why}): make room there, or name another folder with "
        "TALLY_DATA_DIR."
    )


class SpillingAges(Ages):
    """Ages of which those of the last while are in memory, and all others in a file."""

    def __init__(self, scratch: _Scratch, together: int) -> None:
        super().__init__()
        self._scratch = scratch
        self._together = together
        self._waiting = 0
        self._written: Counter[int] = Counter()  # how many there are in the file, by hour

    def add(self, key: bytes, seconds: int) -> None:
        """Note an exchange whose newest part is of that time, in seconds. Raises StoreError."""
        super().add(key, seconds)
        self._waiting += 1
        if self._waiting >= self._together:
            rows = [(hour, key) for hour, keys in self.by_hour.items() for key in keys]
            self._scratch.write("INSERT INTO ages (hour, puid) VALUES (?, ?)", rows)
            self._written.update(hour for hour, _ in rows)
            self.by_hour.clear()
            self._waiting = 0

    def take(self, edge: float, most: int) -> list[tuple[int, bytes]]:
        """Take out up to so many keys of hours that have ended at an edge. Raises StoreError."""
        found = super().take(edge, most)
        for hour in sorted(hour for hour in self._written if (hour + 1) * HOUR <= edge):
            room = most - len(found)
            if not room:
                break
            rows = self._scratch.ask(
                "SELECT number, puid FROM ages WHERE hour = ? ORDER BY number LIMIT ?", (hour, room)
            )
            self._scratch.write("DELETE FROM ages WHERE hour = ? AND number <= ?", [(hour, rows[-1][0])])
            found += [((hour + 1) * HOUR, key) for _, key in rows]
            self._written[hour] -= len(rows)
            if not self._written[hour]:
                del self._written[hour]
        return found


class SpillingStore(Store):
    """Exchanges by request id, those of the last while in memory and all others in SQLite. Of their ages likewise."""

    def __init__(self, file: Path, most: int = MOST_IN_MEMORY) -> None:
        super().__init__()
        self._scratch = _Scratch(file)
        self.ages = SpillingAges(self._scratch, min(most, _AGES_TOGETHER))
        self._half = max(1, most // 2)
        self._young: dict[bytes, bytes] = {}
        self._old: dict[bytes, bytes] = {}
        self._absent: set[bytes] = set()  # of what was asked for and is nowhere, until it is put
        self._spills = 0
        self._count = 0

    def fetch(self, keys: Iterable[bytes | None]) -> Callable[[bytes], bytes | None]:
        """Have these at hand, all by one question, and give what they are looked up by. Raises StoreError."""
        young, old, spills = self._young, self._old, self._spills
        if not self._scratch.is_empty:
            missing = [*{key for key in keys if key and key not in young and key not in old}]
            for begin in range(0, len(missing), _ASKED_TOGETHER):
                some = missing[begin : begin + _ASKED_TOGETHER]
                old.update(self._scratch.ask(_ASK[len(some)], some))  # they are about to change
            self._absent.update(key for key in missing if key not in old)

        def kept(key: bytes) -> bytes | None:
            found = young.get(key)
            if found is None:
                found = old.get(key)
            return found if found is not None or spills == self._spills else self.get(key)

        return kept

    def put(self, exchanges: Mapping[bytes, bytes]) -> None:
        """Keep these exchanges, in the place of what was kept. Raises StoreError."""
        for key, value in exchanges.items():
            self[key] = value
        self._absent.clear()

    def __getitem__(self, key: bytes) -> bytes:
        found = self._young.get(key)
        if found is None:
            found = self._old.get(key)
            if found is None:
                found = self._on_disk(key)
                if found is None:
                    raise KeyError(key)
                self._old[key] = found  # it is about to change
        return found

    def __contains__(self, key: object) -> bool:
        return key in self._young or key in self._old or self._on_disk(key) is not None

    def __setitem__(self, key: bytes, value: bytes) -> None:
        if key in self._absent:
            self._absent.discard(key)
            self._count += 1
        else:
            self._count += key not in self
        self._young[key] = value
        if len(self._young) >= self._half:
            self._spill()

    def __delitem__(self, key: bytes) -> None:
        if key not in self:
            raise KeyError(key)
        self._count -= 1
        self._young.pop(key, None)
        self._old.pop(key, None)
        if not self._scratch.is_empty:
            self._scratch.write("DELETE FROM exchanges WHERE puid = ?", [(key,)])

    def __iter__(self) -> Iterator[bytes]:
        memory = self._old.keys() | self._young.keys()
        yield from memory
        for (key,) in self._scratch.walk("SELECT puid FROM exchanges"):
            if key not in memory:
                yield key

    def items(self) -> ItemsView[bytes, bytes]:
        """All exchanges, of which those of the file do not come to memory."""
        return _Items(self)

    def values(self) -> ValuesView[bytes]:
        """The same without request ids."""
        return _Values(self)

    def each(self) -> Iterator[tuple[bytes, bytes]]:
        """All exchanges, one after the other."""
        memory = self._old | self._young
        yield from memory.items()
        for key, value in self._scratch.walk("SELECT puid, value FROM exchanges"):
            if key not in memory:
                yield key, value

    def __len__(self) -> int:
        return self._count

    def _on_disk(self, key: object) -> bytes | None:
        rows = self._scratch.ask(_ASK_ONE, (key,))
        return rows[0][1] if rows else None

    def _spill(self) -> None:
        """Write what has not been touched for longest to the file."""
        if self._old:
            rows = sorted((key, value) for key, value in self._old.items() if key not in self._young)
            self._scratch.write("INSERT OR REPLACE INTO exchanges VALUES (?, ?)", rows)
        self._old, self._young = self._young, {}
        self._spills += 1

    def close(self) -> None:
        """Close the file."""
        self._scratch.close()


class _Items(ItemsView[bytes, bytes]):
    _mapping: SpillingStore

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return self._mapping.each()


class _Values(ValuesView[bytes]):
    _mapping: SpillingStore

    def __iter__(self) -> Iterator[bytes]:
        return (value for _, value in self._mapping.each())


@contextlib.contextmanager
def spilling_store(folder: Path | None, most: int = MOST_IN_MEMORY) -> Iterator[SpillingStore]:
    """A store whose file lies in a folder of its own below this one, or below the system's for scratch.

    Raises StoreError where there can be none.
    """
    with contextlib.ExitStack() as stack:
        try:
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
            scratch = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="tally-replay-", dir=folder, ignore_cleanup_errors=True)
            )
        except OSError as error:
            raise _without(folder, error) from None
        store = SpillingStore(Path(scratch) / "exchanges.sqlite", most)
        stack.callback(store.close)
        yield store
