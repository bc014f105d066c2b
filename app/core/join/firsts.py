"""First rows: what a partition gathers of versions that have no reference yet, as records beside its counts.

Of each answer there is one record, by its version and puid, with absolute values as all counts have: a corrected answer
writes it again, one that has moved to another version takes it back. Once the reference of a version is known its
records go, and those answers that are later than it are counted. A partition may hear of a reference at any time, and
forget it with a restart: what is counted does not depend on when.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

import orjson

from app.core.counts.numbers import Numbers
from app.core.counts.rows import FirstKey, Note, clock_key
from app.core.drift.first import First, decode_first
from app.core.drift.live import Watched
from app.core.events import Identity
from app.core.join.by_version import ByVersion
from app.core.join.exchange import Exchange
from app.core.rules import Rulebook

#: So many answers are counted at once when their reference has become known; the others follow with the next epochs.
MOST_AT_ONCE: Final = 2000
#: What the names of a version take in a key at most, and a byte of a puid.
_ROOM_OF_KEY: Final = 8000
_BYTES_OF_CHARACTER: Final = 6


class Firsts:
    """The records of one partition, and what of them has changed since the last cut."""

    def __init__(self, partition: int, numbers: Numbers, by_version: ByVersion, rulebook: Rulebook) -> None:
        self._partition = partition
        self._numbers = numbers
        self._by_version = by_version
        self._watched = watched_of(rulebook)
        #: Whether any model has references of first rows.
        self.active = bool(self._watched)
        self._records: dict[bytes, dict[int, bytes]] = {}  # by puid and version
        self._counts: Counter[int] = Counter()  # of each version the records
        self._changed: dict[tuple[int, bytes], bytes | None] = {}
        self._references: dict[Identity, First] = {}  # that were made here
        self._unwritten: list[Identity] = []
        self._clock = self._told = -1

    @property
    def keys(self) -> int:
        """How many keys the changelog holds of these, once what has changed is written."""
        return self._counts.total() + len(self._references) + (self._told >= 0)

    @property
    def has_news(self) -> bool:
        """Whether there is anything to write, or to count."""
        return self.active and (
            bool(self._changed)
            or bool(self._unwritten)
            or (self._clock > self._told and self.awaits_clock())
            or any(not self._by_version.awaits(identity) for identity in self._counts)
        )

    def awaits_clock(self) -> bool:
        """Whether somebody waits to know up to when the partition has been read."""
        return any(watched.waits for watched in self._watched)

    def hear_clock(self, clock: float) -> None:
        """Hear up to when the partition has been read, in seconds: what came until then has been absorbed."""
        self._clock = max(self._clock, int(clock))

    def gather_no_more(self) -> None:
        """Leave the records as they are, whatever comes and whatever reference is known."""
        self.active = False

    def give(self, identity: Identity, first: First) -> None:
        """Give a version its reference, which is written with the next epoch. One that it has stays."""
        if identity not in self._references:
            self._references[identity] = first
            self._unwritten.append(identity)

    def note(self, puid: bytes, exchange: Exchange | None, most: int) -> None:
        """Note what an exchange has come to be; None says that it is gone. A record may have so many bytes at most."""
        known = self._records.get(puid)
        wanted = {} if exchange is None else dict(self.records_of(puid, exchange, most))
        if known is None and not wanted:
            return
        for identity in (known or {}).keys() - wanted.keys():
            self._changed[identity, puid] = None
            self._count(identity, -1)
        for identity, record in wanted.items():
            before = (known or {}).get(identity)
            if record != before:
                self._changed[identity, puid] = record
                self._count(identity, before is None)
        if wanted:
            self._records[puid] = wanted
        else:
            del self._records[puid]

    def records_of(self, puid: bytes, exchange: Exchange, most: int) -> Iterator[tuple[int, bytes]]:
        """What is to be gathered of an exchange, by the number of its version; a record has so many bytes at most."""
        most -= _ROOM_OF_KEY + _BYTES_OF_CHARACTER * len(puid)
        for state in exchange.legs:
            record = self._by_version.record(state, most) if state.evidence is not None else None
            if record is not None:
                yield state.identity, record

    def _count(self, identity: int, more: int) -> None:
        self._counts[identity] += more
        if not self._counts[identity]:
            del self._counts[identity]

    def due(self) -> list[bytes]:
        """The puids of some answers whose reference has become known since they were gathered."""
        known = {identity for identity in self._counts if not self._by_version.awaits(identity)}
        if not known:
            return []
        return [*islice((puid for puid, own in self._records.items() if known & own.keys()), MOST_AT_ONCE)]

    def changes(self) -> Iterator[tuple[bytes, bytes | None]]:
        """What has changed, as records; it counts as written. The clock stands behind all that was heard before it."""
        for (identity, puid), record in self._changed.items():
            yield FirstKey(self._numbers.identities[identity], puid).encode(), record
        for one in self._unwritten:
            yield FirstKey(one).encode(), self._references[one].encode()
        self._changed, self._unwritten = {}, []
        if self._clock > self._told and self.awaits_clock():
            self._told = self._clock
            yield clock_key(self._partition), orjson.dumps(self._told)

    def recover(self, records: Iterable[tuple[FirstKey | Note, bytes]]) -> None:
        """Take what the changelog holds."""
        for key, value in records:
            if not isinstance(key, FirstKey):
                self._told = orjson.loads(value)
            elif key.puid is None:
                self._references[key.identity] = decode_first(value)
            else:
                identity = self._numbers.identity(key.identity)
                self._records.setdefault(key.puid, {})[identity] = value
                self._count(identity, 1)


def watched_of(rulebook: Rulebook) -> list[Watched]:
    """The references of first rows that a user asks for."""
    references = (entry.reference for entry in rulebook.entries)
    return [watched for watched in references if watched is not None and watched.first]
