"""The ages of exchanges in a database: lists of puids, whose keys lie in the order of the hours, the oldest first."""

from collections.abc import Iterator
from typing import Final

import msgspec

from app.core.join.ages import HOUR, Ages
from app.worker.store.database import Database

_PREFIX: Final = b"\0\0"
_HOUR_BYTES: Final = 4
_HOUR_END: Final = len(_PREFIX) + _HOUR_BYTES
_LAST_HOUR: Final = (1 << 8 * _HOUR_BYTES) - 1
_SERIAL_BYTES: Final = 8

#: A key of the database, and its value; None takes it out.
Row = tuple[bytes, bytes | None]

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[bytes]).decode


class KeptAges(Ages):
    """The ages of which those that are not written yet are in memory. `serial` tells apart the lists of an hour.

    What is taken goes from the database together with what came of it: else a crash in between would leave exchanges
    that nobody looks at again.
    """

    def __init__(self, database: Database, serial: int) -> None:
        super().__init__()
        self.serial = serial
        self._database = database
        self._rows: dict[bytes, bytes | None] = {}  # those that differ from the database's; None is what was taken
        self._looked_to = _PREFIX  # nothing is left before this key
        self._taken: list[Row] = []

    def take(self, edge: float, most: int) -> list[tuple[int, bytes]]:
        """Take out so many keys of hours that have ended at an edge, or somewhat more. Raises StoreError."""
        found = super().take(edge, most)
        end = _from(int(edge // HOUR))
        lists = self._lists(end)
        while len(found) < most and self._looked_to < end:
            self._looked_to, puids = next(lists, (end, None))
            if puids is not None:
                self._taken.append((self._looked_to, None))
                self._rows[self._looked_to] = None
                later = (int.from_bytes(self._looked_to[len(_PREFIX) : _HOUR_END]) + 1) * HOUR
                found += [(later, puid) for puid in _decode(puids)]
        return found

    def _lists(self, before: bytes) -> Iterator[Row]:
        """The lists before a key from where has been looked to, in their order, whether they are written or not."""
        rows, written = self._rows, self._looked_to
        waiting = sorted(key for key, puids in rows.items() if puids and written <= key < before)
        for key in (*waiting, before):
            while pairs := self._database.pairs(written, key, 1):
                written = pairs[0][0] + b"\0"
                if pairs[0][0] not in rows:
                    yield pairs[0]
            if key != before:
                yield key, rows[key]

    def seal(self) -> list[Row]:
        """What is to be written of all that has been added and taken until now."""
        sealed, self._taken = self._taken, []
        for hour, puids in self.by_hour.items():
            self.serial += 1
            key = _from(hour) + self.serial.to_bytes(_SERIAL_BYTES)
            sealed.append((key, _encode(puids)))
            self._looked_to = min(self._looked_to, key)
        self._rows.update(sealed)
        self.by_hour.clear()
        return sealed

    def written(self, rows: dict[bytes, bytes | None]) -> None:
        """Know that these are written."""
        for key, puids in rows.items():
            if key in self._rows and self._rows[key] is puids:  # else it has been taken since
                del self._rows[key]


def _from(hour: int) -> bytes:
    """What the keys of an hour begin with. Hours that no clock shows are the first or the last one."""
    return _PREFIX + min(max(hour, 0), _LAST_HOUR).to_bytes(_HOUR_BYTES)
