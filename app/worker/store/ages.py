"""The ages of exchanges in a database: its keys of them lie in the order of the hours, the oldest first."""

from typing import Final

from app.core.join.ages import HOUR, Ages
from app.worker.store.database import Database

_PREFIX: Final = b"\0\0"
_HOUR_BYTES: Final = 4
_PUID: Final = len(_PREFIX) + _HOUR_BYTES
_LAST_HOUR: Final = (1 << 8 * _HOUR_BYTES) - 1

#: A key of the database, and its value; None takes it out.
Row = tuple[bytes, bytes | None]


def age_key(hour: int, puid: bytes) -> bytes:
    """The key that says in which hour an exchange is to be looked at; one before all of that hour without a puid.

    Hours that no clock shows are the first or the last one.
    """
    return _PREFIX + min(max(hour, 0), _LAST_HOUR).to_bytes(_HOUR_BYTES, "big") + puid


class KeptAges(Ages):
    """The ages of which those that are not written yet are in memory.

    What is taken goes from the database together with what came of it: else a crash in between would leave exchanges
    that nobody looks at again.
    """

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._taken_to = _PREFIX  # what lies before this key has been taken
        self._taken: list[Row] = []

    def take(self, edge: float, most: int) -> list[tuple[int, bytes]]:
        """Take out up to so many keys of hours that have ended at an edge. Raises StoreError."""
        found = super().take(edge, most)
        room, end = most - len(found), age_key(int(edge // HOUR), b"")
        if room and self._taken_to < end:
            rows = self._database.pairs(self._taken_to, end, room)
            self._taken_to = rows[-1][0] + b"\0" if len(rows) == room else end
            self._taken += [(row, None) for row, _ in rows]
            found += [((int.from_bytes(row[len(_PREFIX) : _PUID]) + 1) * HOUR, row[_PUID:]) for row, _ in rows]
        return found

    def seal(self) -> list[Row]:
        """What is to be written of all that has been added and taken until now."""
        rows = self._taken
        rows += [(age_key(hour, puid), b"") for hour, puids in self.by_hour.items() for puid in puids]
        self._taken = []
        self.by_hour.clear()
        return rows

    def written(self, rows: list[Row]) -> None:
        """Know that these are written: what lies before where has been looked is looked for again."""
        self._taken_to = min([self._taken_to, *(row for row, value in rows if value is not None)])
