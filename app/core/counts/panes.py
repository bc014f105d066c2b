"""Panes of event time, and the counts of one partition in them.

Every count is kept three times: in the total, in a coarse pane and in a fine one. A window is a union of panes: fine
panes for windows of up to 120 of them, coarse panes for longer ones.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import orjson

from app.core.counts.numbers import Names
from app.core.events import Identity
from app.core.measures.verdict import MEASURED, Atom

TOTAL: Final = "total"
COARSE: Final = "coarse"
FINE: Final = "fine"
COARSE_PANES: Final = 10
FINE_KEPT: Final = 120

#: Counters that may exceed 64 bits, written as text.
_WIDE: Final = ("points", "delay_us")


class Window(NamedTuple):
    """A window's name and length in seconds."""

    name: str
    seconds: int


@dataclass(frozen=True, slots=True)
class PaneClock:
    """How event time is cut. All times in seconds."""

    pane_seconds: int = 60
    retention_seconds: int = 25 * 3600

    def coarse(self, pane: int) -> int:
        """The coarse pane that holds a fine one."""
        return pane // COARSE_PANES

    def retired(self, level: str, pane: int, clock: float) -> bool:
        """Whether a pane is no longer kept at a partition's clock."""
        if level == FINE:
            return (pane + 1 + FINE_KEPT) * self.pane_seconds <= clock
        return (pane + 1) * self.pane_seconds * COARSE_PANES + self.retention_seconds <= clock

    def span(self, window: Window, now: float) -> tuple[str, int, int]:
        """The panes of a window that ends now: (level, first, one beyond the last), the open pane included."""
        level = FINE if window.seconds <= FINE_KEPT * self.pane_seconds else COARSE
        length = self.pane_seconds if level == FINE else self.pane_seconds * COARSE_PANES
        last = int(now // length)
        return level, last - -(-window.seconds // length), last + 1


class RowKey(NamedTuple):
    """One row of counts: of an identity, in a pane of a level. The total has pane 0."""

    identity: Identity
    level: str
    pane: int
    row: str


class Counts:
    """The counts of one partition, and which rows changed since they were last written."""

    def __init__(self, clock: PaneClock) -> None:
        self.rows: dict[RowKey, dict[str, int]] = {}
        self._panes: dict[tuple[str, int], set[RowKey]] = {}
        self._clock = clock
        self._changed: set[RowKey] = set()
        self._swept = -1
        #: The latest clock: a pane that is no longer kept does not come back when a clock steps back.
        self.latest = 0.0
        self.first_seen: dict[Identity, int] = {}
        self._newly_seen: set[Identity] = set()

    @property
    def changed(self) -> bool:
        """Whether rows wait to be written."""
        return bool(self._changed)

    def add(self, delta: Mapping[tuple[int, int], Mapping[int, int]], names: Names) -> int:
        """Add an epoch's changes, given by (identity, fine pane) and atom. Returns how many labels came too late."""
        late = 0
        clock = self.latest
        sums: dict[tuple[Identity, str, int], dict[int, int]] = {}
        for (number, pane), atoms in delta.items():
            identity = names.identities[number]
            seen = pane * self._clock.pane_seconds
            if seen < self.first_seen.get(identity, seen + 1):
                self.first_seen[identity] = seen
                self._newly_seen.add(identity)
            places = [(identity, TOTAL, 0)]
            coarse = self._clock.coarse(pane)
            kept = not self._clock.retired(COARSE, coarse, clock)
            if kept:
                places.append((identity, COARSE, coarse))
            if not self._clock.retired(FINE, pane, clock):
                places.append((identity, FINE, pane))
            changes = _unbundled(atoms, names)
            if not kept:
                late += sum(n for atom, n in changes.items() if n > 0 and _is_labelled(names.atoms[atom]))
            for place in places:
                total = sums.get(place)
                if total is None:
                    sums[place] = dict(changes)
                else:
                    for atom, amount in changes.items():
                        total[atom] = total.get(atom, 0) + amount
        for place, changes in sums.items():
            rows: dict[str, dict[str, int]] = {}
            for atom, amount in changes.items():
                if amount:
                    row, column = names.atoms[atom]
                    if row not in rows:
                        rows[row] = self._row(RowKey(*place, row))
                    columns = rows[row]
                    columns[column] = columns.get(column, 0) + amount
        return late

    def _row(self, key: RowKey) -> dict[str, int]:
        """A row that is about to change."""
        self._changed.add(key)
        row = self.rows.get(key)
        if row is None:
            row = self.rows[key] = {}
            if key.level != TOTAL:
                self._panes.setdefault((key.level, key.pane), set()).add(key)
        return row

    def retire(self, clock: float) -> None:
        """Drop the panes that are no longer kept; their rows are written as gone."""
        self.latest = clock = max(clock, self.latest)
        step = int(clock // self._clock.pane_seconds)
        if step == self._swept:
            return
        self._swept = step
        for level, pane in [at for at in self._panes if self._clock.retired(*at, clock)]:
            for key in self._panes.pop((level, pane)):
                self.rows[key] = {}
                self._changed.add(key)

    def changes(self) -> Iterator[tuple[bytes, bytes | None]]:
        """The changed rows as records with absolute values, None for a row that is gone. They count as written."""
        for key in self._changed:
            row = {column: amount for column, amount in self.rows[key].items() if amount}
            yield row_key(key), row_value(row) if row else None
            if row:
                self.rows[key] = row
            else:
                del self.rows[key]
                if key.level != TOTAL and (key.level, key.pane) in self._panes:
                    self._panes[key.level, key.pane].discard(key)
        self._changed.clear()
        for identity in self._newly_seen:
            yield first_seen_key(identity), orjson.dumps(self.first_seen[identity])
        self._newly_seen.clear()

    def recover(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Take the rows from changelog records."""
        for raw_key, value in records:
            key = parse_key(raw_key)
            if isinstance(key, Identity):
                self.first_seen[key] = orjson.loads(value)
            elif isinstance(key, RowKey):
                self.rows[key] = parse_row_value(value)
                if key.level != TOTAL:
                    self._panes.setdefault((key.level, key.pane), set()).add(key)


def _is_labelled(atom: Atom) -> bool:
    return atom.row[:1] == "=" or atom == MEASURED


def _unbundled(atoms: Mapping[int, int], names: Names) -> dict[int, int]:
    result: dict[int, int] = {}
    for number, amount in atoms.items():
        for atom in names.unbundle(number):
            result[atom] = result.get(atom, 0) + amount
    return result


def row_key(key: RowKey) -> bytes:
    """The record key of a row: `[leg with version, segment, level, pane, row]` as JSON."""
    return orjson.dumps([tuple(key.identity), "", key.level, key.pane, key.row])


def parse_key(raw: bytes) -> RowKey | Identity | None:
    """What a record key names: a row, an identity (its first-seen time), or None for the partition's owner."""
    words = orjson.loads(raw)
    if words[0] == "owner":
        return None
    if words[0] == "first":
        return Identity(*words[1])
    identity, _segment, level, pane, row = words
    return RowKey(Identity(*identity), level, pane, row)


def row_value(row: Mapping[str, int]) -> bytes:
    """The record value of a row: `{column: absolute count}` as JSON, wide sums as text."""
    return orjson.dumps({column: str(amount) if column in _WIDE else amount for column, amount in row.items()})


def parse_row_value(raw: bytes) -> dict[str, int]:
    """The counts of a record value."""
    return {column: int(amount) for column, amount in orjson.loads(raw).items()}


def owner_key(partition: int) -> bytes:
    """The record key under which the owner of a partition says where it can be asked."""
    return orjson.dumps(["owner", partition])


def first_seen_key(identity: Identity) -> bytes:
    """The record key of the start of the earliest pane, in seconds, in which an identity was counted."""
    return orjson.dumps(["first", tuple(identity)])
