"""A database of RocksDB in a folder of its own, with what it needs of memory.

It is written without its log: what a crash takes away the changelog has. What is written at once is there at once or
not at all, and in the order in which it was written, since all stands in one column family. So whatever is left after a
crash is the state at an earlier write, whole.
"""

import contextlib
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from rocksdict import (
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    Options,
    Rdict,
    ReadOptions,
    WriteBatch,
    WriteBufferManager,
    WriteOptions,
)

from app.core.join.store import StoreError

#: Bits of a filter for each key. One key in a hundred that is not there is looked for all the same.
_FILTER_BITS: Final = 10
#: The same of what is not in a file yet: so much of its room.
_FILTER_SHARE: Final = 0.05
_BLOCK_BYTES: Final = 8 << 10
#: A table has so many bytes: 20 M exchanges are some 40 tables, each an open file.
_TABLE_BYTES: Final = 64 << 20
#: What is written first is soon written again: only what lies deeper is compressed.
_COMPRESSED_FROM: Final = 2
_MIB: Final = 1 << 20
#: While a database is filled from nothing its files are left as they come.
_LOADING: Final = {
    "disable_auto_compactions": "true",
    "level0_slowdown_writes_trigger": "100000",
    "level0_stop_writes_trigger": "100000",
}
_LOADED: Final = {
    "disable_auto_compactions": "false",
    "level0_slowdown_writes_trigger": "20",
    "level0_stop_writes_trigger": "36",
}
#: What RocksDB says where another process, or this one, has a database open.
_LOCKED: Final = ("While lock file", "lock hold by current process")


class Memory:
    """The memory that all databases of a worker share: `most` bytes for blocks that were read and as many for what is
    not in a file yet.

    What they hold of filters and of the indexes of tables is beside it: some 3 bytes an exchange. Within a bounded
    cache every look-up would read them from the disk again.
    """

    def __init__(self, most: int) -> None:
        self.cache = Cache(most)
        self.buffers = WriteBufferManager(most, False)
        self.buffer_bytes = max(_MIB, most // 2)  # of one database, at most

    def bytes(self) -> int:
        """How many of it are used."""
        return self.cache.get_usage() + self.buffers.get_usage()


class LockedError(StoreError):
    """Somebody else has a database open."""


class Database:
    """An open database. Keys and values are bytes."""

    def __init__(self, folder: Path, memory: Memory) -> None:
        """Open a database, or make it. Raises LockedError, else StoreError."""
        self.folder = folder
        #: Whether what is in the folder cannot be used any more, so that it goes when it is closed.
        self.spoilt = False
        self.closed = False
        tables = BlockBasedOptions()
        tables.set_bloom_filter(_FILTER_BITS, block_based=False)
        tables.set_block_size(_BLOCK_BYTES)
        tables.set_block_cache(memory.cache)
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_block_based_table_factory(tables)
        options.set_compression_type(DBCompressionType.lz4())
        options.set_min_level_to_compress(_COMPRESSED_FROM)
        options.set_write_buffer_manager(memory.buffers)
        options.set_write_buffer_size(memory.buffer_bytes)
        # Most puids that are asked for are new: by a filter that is known at a tenth of the cost.
        options.set_memtable_whole_key_filtering(True)
        options.set_memtable_prefix_bloom_ratio(_FILTER_SHARE)
        options.set_target_file_size_base(_TABLE_BYTES)
        options.set_keep_log_file_num(2)
        options.set_max_log_file_size(_MIB)
        options.set_stats_dump_period_sec(0)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            # Else rocksdict takes what it finds in the folder for the options of the records: no filter, another cache.
            self._rocks = Rdict(str(folder), options, {"default": options})
        except Exception as error:  # noqa: BLE001 - the library has no class of its own for its errors
            kind = LockedError if any(words in str(error) for words in _LOCKED) else StoreError
            raise kind(f"the database in {folder} cannot be opened ({_told(error)})") from None
        self._writing = WriteOptions()
        self._writing.disable_wal = True  # type: ignore[assignment, method-assign]  # its stub has a method for it
        self._writing.no_slowdown = True

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - as above
            self.spoilt = True
            raise StoreError(
                f"the database in {self.folder} cannot be read ({_told(error)}); it is built anew"
            ) from None

    def read(self, keys: list[Any]) -> list[bytes | None]:
        """The values of keys, None where there is none. Raises StoreError."""
        with self._reading():
            found: Any = self._rocks.get(keys)
        return list(found)

    def pairs(self, first: bytes, before: bytes, most: int) -> list[tuple[bytes, bytes]]:
        """Up to so many keys from one on and before another, with their values, in order. Raises StoreError."""
        options = ReadOptions()
        options.set_iterate_upper_bound(before)
        found: list[tuple[bytes, bytes]] = []
        with self._reading():
            rows = self._rocks.iter(options)
            rows.seek(first)
            while rows.valid() and len(found) < most:
                found.append((rows.key(), rows.value()))
                rows.next()
            rows.status()
        return found

    def write(self, changes: Iterable[tuple[bytes, bytes | None]]) -> bool:
        """Write all of this at once; None takes a key out. Returns whether it did, or has to wait until more is in
        files. Raises StoreError.
        """
        batch = WriteBatch(raw_mode=True)
        put, delete = batch.put, batch.delete
        for key, value in changes:
            if value is None:
                delete(key)
            else:
                put(key, value)
        try:
            self._rocks.write(batch, self._writing)
        except Exception as error:  # noqa: BLE001 - as above
            text = _told(error)
            if text.startswith("Result incomplete"):
                return False
            self.spoilt |= text.startswith("Corruption")
            raise StoreError(f"the database in {self.folder} cannot be written ({text})") from None
        return True

    def begin_loading(self) -> None:
        """Much is written from now on, and nothing read. Raises StoreError."""
        self._set(_LOADING)

    def end_loading(self) -> None:
        """Put the files in order from now on. Raises StoreError."""
        self._set(_LOADED)

    def _set(self, options: dict[str, str]) -> None:
        try:
            self._rocks.set_options(options)  # it writes them to a file of its own
        except Exception as error:  # noqa: BLE001 - as above
            raise StoreError(f"the database in {self.folder} cannot be written ({_told(error)})") from None

    def size(self, name: str) -> int:
        """A number of RocksDB's own, of bytes."""
        return self._rocks.property_int_value(f"rocksdb.{name}") or 0

    def close(self) -> None:
        """Write what is in memory to its files, and close; what is spoilt goes."""
        if self.closed:
            return
        self.closed = True
        with contextlib.suppress(Exception):  # what it could not write the changelog has
            self._rocks.close()
        if self.spoilt:
            remove(self.folder)


def remove(folder: Path) -> None:
    """Remove what stands in the place of a database, as far as that can be done."""
    if folder.is_dir():
        shutil.rmtree(folder, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            folder.unlink()


def _told(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
