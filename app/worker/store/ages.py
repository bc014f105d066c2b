"""The ages of exchanges in a database: lists of puids, whose keys lie in the order of the hours, the oldest first."""

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
        self._taken_to = _PREFIX  # what lies before this key has been taken
        self._taken: list[Row] = []

    def take(self, edge: float, most: int) -> list[tuple[int, bytes]]:
        """Take out so many keys of hours that have ended at an edge, or somewhat more. Raises StoreError."""
        found = super().take(edge, most)
        end = _from(int(edge // HOUR))
        while len(found) < most and self._taken_to < end:
            for row, puids in self._database.pairs(self._taken_to, end, 1):
                self._taken.append((row, None))
                self._taken_to = row + b"\0"
                later = (int.from_bytes(row[len(_PREFIX) : _HOUR_END]) + 1) * HOUR
                found += [(later, puid) for puid in _decode(puids)]
                break
            else:
                self._taken_to = end
        return found

    def seal(self) -> list[Row]:
        """What is to be written of all that has been added and taken until now."""
        rows = self._taken
        for hour, puids in self.by_hour.items():
            self.serial += 1
            rows.append((_from(hour) + self.serial.to_bytes(_SERIAL_BYTES), _encode(puids)))
        self._taken = []
        self.by_hour.clear()
        return rows

    def written(self, rows: list[Row]) -> None:
        """Know that these are written: what lies before where has been looked is looked for again."""
        self._taken_to = min([self._taken_to, *(row for row, value in rows if value is not None)])


def _from(hour: int) -> bytes:
    """What the keys of an hour begin with. Hours that no clock shows are the first or the last one."""
    return _PREFIX + min(max(hour, 0), _LAST_HOUR).to_bytes(_HOUR_BYTES)
