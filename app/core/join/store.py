"""The store: where a shard keeps its exchanges, by puid. It is in memory, unless a shell gives it another one.

A shard asks few things of it: what is kept under a puid; to have those at hand that a list of records is about; which
may have grown too old. What has been cut is the store's to keep once it is durable.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from typing import Final

from app.core.join.ages import Ages
from app.core.join.exchange import decode_age

#: What the keys of records begin with that are no exchanges.
NUL: Final = b"\0"


class StoreError(Exception):
    """A store cannot be read or written. The message says which and why; whoever stands on it must be dropped."""


class Store(MutableMapping[bytes, bytes]):
    """Exchanges as bytes, by puid, and their ages. What it has beside a mapping's own is here as it does in memory."""

    def __init__(self) -> None:
        self.ages = Ages()

    def fetch(self, keys: Iterable[bytes | None]) -> Callable[[bytes], bytes | None]:
        """Have these at hand, and give what they are looked up by until the next `seal`. Raises StoreError."""
        return self.get

    def put(self, exchanges: Mapping[bytes, bytes]) -> None:
        """Keep these exchanges, in the place of what was kept. Raises StoreError."""
        self.update(exchanges)

    def seal(self) -> None:
        """All that has changed until now belongs to the epoch that has just been cut."""

    async def keep(self, changes: Sequence[tuple[bytes, bytes | None]], place: int) -> None:
        """The records of the sealed epoch are durable, and stand before this offset of the changelog; -1 where nobody
        knows. Raises StoreError.
        """

    def close(self) -> None:
        """Give it up."""


class LoadedStore(Store):
    """A store that is filled from a changelog. That has records, too, which are no exchanges: their keys begin with
    NUL.
    """

    #: It holds what the changelog says before this offset.
    place = 0
    #: Whether it has held something since before it was opened.
    was_kept = False

    @abstractmethod
    async def load(self, changes: Mapping[bytes, bytes | None], place: int) -> None:
        """Take the newest records before an offset, by key; None is what is gone. Raises StoreError."""

    async def loaded(self) -> None:
        """All of the changelog has been taken. Raises StoreError."""

    async def tidy(self, edge: float) -> None:
        """Forget the ages of what is gone, of exchanges from before an edge, in seconds. Raises StoreError."""

    @abstractmethod
    def take_marks(self) -> dict[bytes, bytes]:
        """Take the records out that are no exchanges. Raises StoreError."""

    @abstractmethod
    def note_ages(self) -> None:
        """Note the ages of all that is kept. Raises an error of many kinds where something is no exchange."""


class MemoryStore(dict[bytes, bytes], LoadedStore):
    """The store in memory."""

    def __init__(self, records: Mapping[bytes, bytes] | None = None) -> None:
        dict.__init__(self, records or {})
        LoadedStore.__init__(self)

    async def load(self, changes: Mapping[bytes, bytes | None], place: int) -> None:
        """Take the newest records before an offset, by key; None is what is gone."""
        take_changes(self, changes)

    def take_marks(self) -> dict[bytes, bytes]:
        """Take the records out that are no exchanges."""
        return {key: self.pop(key) for key in [key for key in self if key[:1] == NUL]}

    def note_ages(self) -> None:
        """Note the ages of all that is kept. Raises an error of many kinds where something is no exchange."""
        add = self.ages.add
        for key, raw in self.items():
            add(key, decode_age(raw).newest)


def take_changes(records: dict[bytes, bytes], changes: Mapping[bytes, bytes | None]) -> None:
    """Take the newest records of a changelog, by key; None is what is gone."""
    records.update(changes)  # type: ignore[arg-type]  # what is gone is taken out at once
    for key in [key for key, value in changes.items() if value is None]:
        del records[key]
