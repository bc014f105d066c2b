"""The counts of one partition.

What is counted stands in one place: in its fine pane while that is kept, else in the coarse pane that holds it, else in
that one's day, where days are counted, else in the total. A coarse pane's count is its own and that of its fine panes,
the total's its own and that of all panes; the view adds them up. So an epoch writes each change once. When a pane
retires its counts move to the pane that holds it. That is also what happens when settings change: where days come in,
the coarse panes that are still kept are theirs; where they are given up, they move to the total.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from math import inf
from typing import Any, Final

import msgspec
import orjson

from app.core.counts.accounts import METRICS, Account, Subject
from app.core.counts.atoms import Atom
from app.core.counts.cells import Latest, later
from app.core.counts.numbers import Numbers
from app.core.counts.panes import FINE, LEVELS, TOTAL, PaneClock
from app.core.counts.rows import (
    WHOLE,
    FirstKey,
    Note,
    Owner,
    RowKey,
    end_key,
    first_seen_key,
    owner_key,
    pane_prefix,
    parse_key,
    parse_rows,
    row_value,
    whole_value,
)

#: A pane with more cells than this has a record for each row, so that a change of one does not write all of them.
MOST_CELLS_TOGETHER: Final = 128
#: What a record key has behind the prefix where it stands for all rows.
_ROOM_OF_ROW: Final = 4
#: So many panes move at once when they retire; the others follow with the next epochs.
_MOST_MOVES: Final = 1000

_At = tuple[int, str, int]  # number of the account, level, pane
#: What is to be added, by (account, fine pane) and by atom or bundle, all as numbers.
Changes = Mapping[tuple[int, int], Mapping[int, int]]


class _Pane:
    """The rows of one pane of one account, and which of them have changed since they were written."""

    __slots__ = ("changed", "prefix", "rows", "spread", "together", "written")

    def __init__(self, prefix: bytes) -> None:
        self.prefix = prefix  # of its records' keys
        self.rows: dict[str, dict[str, Any]] = {}
        self.changed: set[str] = set()
        self.together = False  # a record of all rows is written
        self.spread = False  # records of single rows are
        self.written = 0  # how many records of it the changelog holds

    def add(self, row: str, column: str, amount: int) -> None:
        columns = self.rows.get(row)
        if columns is None:
            columns = self.rows[row] = {}
        columns[column] = columns.get(column, 0) + amount
        self.changed.add(row)

    def note(self, row: str, column: str, value: Latest) -> None:
        columns = self.rows.setdefault(row, {})
        columns[column] = later(columns.get(column), value)
        self.changed.add(row)

    def take(self, other: "_Pane") -> None:
        """Add all that another pane holds, which is empty afterwards."""
        for row, columns in other.rows.items():
            for column, cell in columns.items():
                if type(cell) is Latest:
                    self.note(row, column, cell)
                else:
                    self.add(row, column, cell)
        other.changed.update(other.rows)
        other.rows = {}

    def records(self, most_bytes: int) -> Iterator[tuple[str, bytes | None]]:
        """(row, value) of what has changed, None for what is gone; it counts as written.

        All rows stand in one value while they are few, and have at most so many bytes.
        """
        for row in self.changed:
            columns = self.rows.get(row)
            if columns is None or 0 not in columns.values():
                continue
            self.rows[row] = {column: cell for column, cell in columns.items() if cell}
            if not self.rows[row]:
                del self.rows[row]
        whole = None
        if not self.spread and sum(map(len, self.rows.values())) <= MOST_CELLS_TOGETHER:
            whole = whole_value(self.rows)
        if not self.spread and (whole is None or len(whole) > most_bytes):
            self.spread = True
            self.changed.update(self.rows)
            if self.together:
                yield WHOLE, None
        if self.spread:
            for row in self.changed:
                yield row, row_value(self.rows[row]) if row in self.rows else None
        elif self.rows or self.together:
            yield WHOLE, whole if self.rows else None
            self.together = True
        self.written = len(self.rows) if self.spread else bool(self.rows)
        self.changed = set()


class Counts:
    """The counts of one partition, by its `Numbers`."""

    def __init__(self, partition: int, clock: PaneClock, numbers: Numbers) -> None:
        self._partition = partition
        self._clock = clock
        self._numbers = numbers
        self._panes: dict[_At, _Pane] = {}
        self._changed: dict[_At, None] = {}
        self._written: dict[bytes, bytes | None] = {}  # records that were made before the epoch is cut
        self._by_pane: dict[tuple[str, int], set[int]] = {}  # the accounts that have it
        self._swept = -1
        #: The latest clock: a pane that is no longer kept does not come back when a clock steps back.
        self.latest = 0.0
        self.epoch = 0  # the number of the one that was written last
        self.owner = ""  # the URL of the worker that had the partition last, by what was recovered
        self._row_keys = 0  # how many records of rows the changelog holds
        self.first_seen: dict[Subject, int] = {}
        self._newly_seen: set[Subject] = set()

    @property
    def changed(self) -> bool:
        """Whether rows wait to be written."""
        return bool(self._changed or self._written)

    @property
    def unwritten(self) -> int:
        """Of how many changed panes no records are made yet."""
        return len(self._changed)

    @property
    def keys(self) -> int:
        """How many keys the changelog holds, once what has changed is written."""
        return self._row_keys + len(self.first_seen) + bool(self.epoch)

    def add(self, delta: Changes) -> dict[Atom, int]:
        """Add what has changed.

        Returns what was added to panes that are no longer kept, and so to the totals alone.
        """
        late: dict[Atom, int] = {}
        unbundle, atoms = self._numbers.unbundle, self._numbers.atoms
        for (account, fine), changes in delta.items():
            pane, is_late = self._pane_for(account, fine)
            is_late = is_late and not self._numbers.accounts[account].segment  # else it is counted as late once more
            rows, changed = pane.rows, pane.changed.add  # the steps of `_Pane.add`: a call for each costs a third more
            bundles = [(number, amount) for number, amount in changes.items() if number < 0 and amount]
            singles = chain(changes.items(), ((one, amount) for number, amount in bundles for one in unbundle(number)))
            gained: dict[Atom, int] = {}
            for number, amount in singles:
                if amount and number >= 0:
                    atom = atoms[number]
                    row, column = atom
                    columns = rows.get(row)
                    if columns is None:
                        columns = rows[row] = {}
                    columns[column] = columns.get(column, 0) + amount
                    changed(row)
                    if is_late:
                        gained[atom] = gained.get(atom, 0) + amount
            for atom, amount in gained.items():
                if amount > 0:
                    late[atom] = late.get(atom, 0) + amount
        return late

    def note(self, account: int, fine: int, values: Mapping[Atom, Latest]) -> None:
        """Take values of which the latest counts, in the same place as `add`."""
        pane, _ = self._pane_for(account, fine)
        for (row, column), value in values.items():
            pane.note(row, column, value)

    def see(self, account: int, fine: int) -> None:
        """Note a fine pane in which a part of an account falls, if it is the earliest."""
        subject = self._numbers.accounts[account].subject
        seen = fine * self._clock.pane_seconds
        if seen < self.first_seen.get(subject, seen + 1):
            self.first_seen[subject] = seen
            self._newly_seen.add(subject)

    def _pane_for(self, account: int, fine: int) -> tuple[_Pane, bool]:
        """Where what falls in a fine pane is counted, and whether that is in the total alone."""
        if self._numbers.accounts[account].segment == METRICS:
            return self._pane((account, TOTAL, 0)), True
        self.see(account, fine)
        level, number = FINE, fine
        while self._clock.retired(level, number, self.latest):
            level, number = self._clock.holder(level, number)
        return self._pane((account, level, number)), level == TOTAL

    def _pane(self, at: _At) -> _Pane:
        """A pane that is about to change."""
        self._changed[at] = None
        pane = self._panes.get(at)
        if pane is None:
            account, level, number = at
            pane = self._panes[at] = _Pane(pane_prefix(self._numbers.accounts[account], level, number))
            if level != TOTAL:
                self._by_pane.setdefault((level, number), set()).add(account)
        return pane

    def retire(self, clock: float) -> None:
        """Move the counts of panes that are no longer kept to the panes that hold them; theirs are written as gone."""
        self.latest = clock = max(clock, self.latest)
        step = int(clock // self._clock.pane_seconds)
        if step == self._swept:
            return
        self._swept = step
        moves = 0
        for level in LEVELS:
            for of, number in sorted(self._by_pane):
                if of == level and self._clock.retired(level, number, clock):
                    if moves >= _MOST_MOVES:
                        self._swept = -1  # the rest is for the next epoch
                        return
                    accounts = self._by_pane.pop((level, number))
                    moves += len(accounts)
                    for account in accounts:
                        holder = self._pane((account, *self._clock.holder(level, number)))
                        holder.take(self._pane_that_goes((account, level, number)))

    def _pane_that_goes(self, at: _At) -> _Pane:
        self._changed[at] = None
        return self._panes[at]

    def changes(
        self, most_bytes: int, others: Collection[tuple[bytes, bytes | None]] = ()
    ) -> Iterator[tuple[bytes, bytes | None]]:
        """The changed rows as records with absolute values, None for what is gone, behind the `others` of the epoch.
        They count as written.

        The last one ends the epoch. Records have at most so many bytes, but where a single row has more.
        """
        self.write_some(most_bytes)
        yield from others
        yield from self._written.items()
        for subject in self._newly_seen:
            yield first_seen_key(subject), orjson.dumps(self.first_seen[subject])
        if self._written or self._newly_seen or others:
            self.epoch += 1
            yield end_key(self._partition), orjson.dumps(self.epoch)
        self._written = {}
        self._newly_seen = set()

    def write_some(self, most_bytes: int, most: float = inf) -> bool:
        """Make records of what has changed, about so many, for `changes`. Returns whether all are made.

        A pane that changes after this is written once more, in place of what was made of it.
        """
        made = 0
        while self._changed and made < most:
            at, _ = self._changed.popitem()
            pane = self._panes[at]
            made += len(pane.changed) if pane.spread else 1
            prefix = pane.prefix
            self._row_keys -= pane.written
            for row, value in pane.records(most_bytes - len(prefix) - _ROOM_OF_ROW):
                self._written[prefix + orjson.dumps(row) + b"]"] = value
            self._row_keys += pane.written
            if not pane.rows:
                self._forget(at)
        return not self._changed

    def _forget(self, at: _At) -> None:
        account, level, number = at
        del self._panes[at]
        accounts = self._by_pane.get((level, number))
        if accounts is not None:
            accounts.discard(account)
            if not accounts:
                del self._by_pane[level, number]

    def recover(self, records: Iterable[tuple[bytes, bytes]]) -> list[tuple[FirstKey | Note, bytes]]:
        """Take the rows from changelog records. Returns the records of first rows, and how far they were read."""
        others: list[tuple[FirstKey | Note, bytes]] = []
        for raw_key, value in records:
            key = parse_key(raw_key)
            if isinstance(key, RowKey):
                at = self._numbers.account(key.account), key.level, key.pane
                pane = self._pane(at)
                pane.rows.update(parse_rows(key.row, value))
                pane.written += 1
                self._row_keys += 1
                if key.row == WHOLE:
                    pane.together = True
                else:
                    pane.spread = True
            elif isinstance(key, FirstKey) or key is Note.CLOCK:
                others.append((key, value))
            elif isinstance(key, tuple):
                self.first_seen[key] = orjson.loads(value)
            elif raw_key == end_key(self._partition):
                self.epoch = orjson.loads(value)
            elif raw_key == owner_key(self._partition):
                self.owner = msgspec.json.decode(value, type=Owner).url
        self._changed = {}
        return others

    def cells(self) -> Iterator[tuple[Account, str, int, Atom, Any]]:
        """All that is counted, by account, level, pane and atom, each where it stands."""
        for (account, level, number), pane in self._panes.items():
            for row, columns in pane.rows.items():
                for column, cell in columns.items():
                    yield self._numbers.accounts[account], level, number, Atom(row, column), cell
