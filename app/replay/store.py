"""A store of exchanges that outgrows memory: what has not been touched for long goes to a file in a scratch folder."""

import contextlib
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from app.core.join.store import Store

#: So many exchanges are in memory at most, half of them for long.
MOST_IN_MEMORY: Final = 300_000


class SpillingStore(Store):
    """Exchanges by request id, those of the last while in memory and all others in SQLite.

    The file is made when it is needed. It survives nothing: a replay that is interrupted begins again.
    """

    def __init__(self, file: Path, most: int = MOST_IN_MEMORY) -> None:
        super().__init__()
        self._file = file
        self._half = max(1, most // 2)
        self._young: dict[bytes, bytes] = {}
        self._old: dict[bytes, bytes] = {}
        self._disk: sqlite3.Connection | None = None
        self._count = 0

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
        if self._disk is not None:
            self._disk.execute("DELETE FROM exchanges WHERE puid = ?", (key,))

    def __iter__(self) -> Iterator[bytes]:
        memory = self._old.keys() | self._young.keys()
        yield from memory
        if self._disk is not None:
            for (key,) in self._disk.execute("SELECT puid FROM exchanges"):
                if key not in memory:
                    yield key

    def __len__(self) -> int:
        return self._count

    def _on_disk(self, key: object) -> bytes | None:
        if self._disk is None:
            return None
        row = self._disk.execute("SELECT value FROM exchanges WHERE puid = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def _spill(self) -> None:
        """Write what has not been touched for longest to the file."""
        if self._old:
            disk = self._disk or self._open()
            rows = sorted((key, value) for key, value in self._old.items() if key not in self._young)
            disk.executemany("INSERT OR REPLACE INTO exchanges VALUES (?, ?)", rows)
        self._old, self._young = self._young, {}

    def _open(self) -> sqlite3.Connection:
        disk = self._disk = sqlite3.connect(self._file, isolation_level=None)
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE", "cache_size = -8000"):
            disk.execute(f"PRAGMA {pragma}")
        disk.execute("CREATE TABLE exchanges (puid BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")
        disk.execute("BEGIN")
        return disk

    def close(self) -> None:
        """Close the file."""
        if self._disk is not None:
            self._disk.close()
            self._disk = None


@contextlib.contextmanager
def spilling_store(folder: Path | None, most: int = MOST_IN_MEMORY) -> Iterator[SpillingStore]:
    """A store whose file lies in a folder of its own below this one, or below the system's for scratch."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tally-replay-", dir=folder, ignore_cleanup_errors=True) as scratch:
        store = SpillingStore(Path(scratch) / "exchanges.sqlite", most)
        try:
            yield store
        finally:
            store.close()
