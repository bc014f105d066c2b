"""Panes of event time, and the counts of one partition in them.

Every count is kept three times: in the total, in a coarse pane and in a fine one. A window is a union of panes: fine
panes for windows of up to 120 of them, coarse panes for longer ones.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson

from app.core.counts.accounts import Account, Subject, parse_subject, subject_words
from app.core.counts.atoms import Atom
from app.core.counts.cells import Cell, Latest, later, parse_row_value, row_value
from app.core.counts.numbers import Numbers

TOTAL: Final = "total"
COARSE: Final = "coarse"
FINE: Final = "fine"
COARSE_PANES: Final = 10
FINE_KEPT: Final = 120


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
    """One row of counts: of a subject and segment, in a pane of a level. The total has pane 0."""

    subject: Subject
    segment: str
    level: str
    pane: int
    row: str

    @property
    def account(self) -> Account:
        """Whose row it is."""
        return Account(self.subject, self.segment)


class Counts:
    """The counts of one partition, and which rows changed since they were last written."""

    def __init__(self, clock: PaneClock) -> None:
        self.rows: dict[RowKey, dict[str, Cell]] = {}
        self._panes: dict[tuple[str, int], set[RowKey]] = {}
        self._clock = clock
        self._changed: set[RowKey] = set()
        self._swept = -1
        #: The latest clock: a pane that is no longer kept does not come back when a clock steps back.
        self.latest = 0.0
        self.first_seen: dict[Subject, int] = {}
        self._newly_seen: set[Subject] = set()

    @property
    def changed(self) -> bool:
        """Whether rows wait to be written."""
        return bool(self._changed)

    def add(self, delta: Mapping[tuple[int, int], Mapping[int, int]], numbers: Numbers) -> dict[Atom, int]:
        """Add an epoch's changes, given by (account, fine pane) and by atom or bundle, all as numbers.

        Returns what was added to panes that are no longer kept, and so to the totals alone.
        """
        late: dict[Atom, int] = {}
        sums: dict[tuple[Account, str, int], dict[int, int]] = {}
        for (number, pane), atoms in delta.items():
            places = self._places(numbers.accounts[number], pane)
            changes = _unbundled(atoms, numbers)
            if len(places) == 1:
                for atom, amount in changes.items():
                    if amount > 0:
                        late[numbers.atoms[atom]] = late.get(numbers.atoms[atom], 0) + amount
            for place in places:
                total = sums.get(place)
                if total is None:
                    sums[place] = dict(changes)
                else:
                    for atom, amount in changes.items():
                        total[atom] = total.get(atom, 0) + amount
        for ((subject, segment), level, pane), changes in sums.items():
            rows: dict[str, dict[str, Any]] = {}
            for atom, amount in changes.items():
                if amount:
                    row, column = numbers.atoms[atom]
                    columns = rows.get(row)
                    if columns is None:
                        columns = rows[row] = self._row(RowKey(subject, segment, level, pane, row))
                    columns[column] = columns.get(column, 0) + amount
        return late

    def note(self, account: Account, pane: int, values: Mapping[Atom, Latest]) -> None:
        """Take values of which the latest counts, in the same panes as `add`."""
        for place, level, number in self._places(account, pane):
            for (row, column), value in values.items():
                columns: dict[str, Any] = self._row(RowKey(*place, level, number, row))
                columns[column] = later(columns.get(column), value)

    def _places(self, account: Account, pane: int) -> list[tuple[Account, str, int]]:
        """Where what falls in a fine pane is counted: in the total, and in the panes that are still kept."""
        subject = account.subject
        seen = pane * self._clock.pane_seconds
        if seen < self.first_seen.get(subject, seen + 1):
            self.first_seen[subject] = seen
            self._newly_seen.add(subject)
        places = [(account, TOTAL, 0)]
        coarse = self._clock.coarse(pane)
        if not self._clock.retired(COARSE, coarse, self.latest):
            places.append((account, COARSE, coarse))
        if not self._clock.retired(FINE, pane, self.latest):
            places.append((account, FINE, pane))
        return places

    def _row(self, key: RowKey) -> dict[str, Any]:
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
            row = {column: cell for column, cell in self.rows[key].items() if cell}
            yield row_key(key), row_value(row) if row else None
            if row:
                self.rows[key] = row
            else:
                del self.rows[key]
                if key.level != TOTAL and (key.level, key.pane) in self._panes:
                    self._panes[key.level, key.pane].discard(key)
        self._changed.clear()
        for subject in self._newly_seen:
            yield first_seen_key(subject), orjson.dumps(self.first_seen[subject])
        self._newly_seen.clear()

    def recover(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Take the rows from changelog records."""
        for raw_key, value in records:
            key = parse_key(raw_key)
            if isinstance(key, RowKey):
                self.rows[key] = parse_row_value(value)
                if key.level != TOTAL:
                    self._panes.setdefault((key.level, key.pane), set()).add(key)
            elif key is not None:
                self.first_seen[key] = orjson.loads(value)


def _unbundled(atoms: Mapping[int, int], numbers: Numbers) -> dict[int, int]:
    result: dict[int, int] = {}
    for number, amount in atoms.items():
        for atom in numbers.unbundle(number):
            result[atom] = result.get(atom, 0) + amount
    return result


def row_key(key: RowKey) -> bytes:
    """The record key of a row: `[subject, segment, level, pane, row]` as JSON; see `subject_words`."""
    return orjson.dumps([subject_words(key.subject), key.segment, key.level, key.pane, key.row])


def parse_key(raw: bytes) -> RowKey | Subject | None:
    """What a record key names: a row, a subject (its first-seen time), or None for the partition's owner."""
    words = orjson.loads(raw)
    if words[0] == "owner":
        return None
    if words[0] == "first":
        return parse_subject(words[1])
    subject, segment, level, pane, row = words
    return RowKey(parse_subject(subject), segment, level, pane, row)


def owner_key(partition: int) -> bytes:
    """The record key under which the owner of a partition says where it can be asked."""
    return orjson.dumps(["owner", partition])


def first_seen_key(subject: Subject) -> bytes:
    """The record key of the start of the earliest pane, in seconds, in which a subject was counted."""
    return orjson.dumps(["first", subject_words(subject)])
