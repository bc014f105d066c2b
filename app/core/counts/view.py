"""The merged view: the sum over partitions of all rows of counts, kept so that reading costs no walk through panes.

Rows arrive with absolute values, so a row that arrives twice changes nothing, and a late label restates the windows
that hold its pane: the difference is added to the sums of each.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from app.core.counts.accounts import Account, Subject
from app.core.counts.atoms import measure_of
from app.core.counts.cells import Cell, Latest, later, parse_row_value
from app.core.counts.panes import TOTAL, PaneClock, RowKey, Window, parse_key
from app.core.events import Identity

#: Of one measure: (row, column) → what is counted there, a `Cell`.
Cells = dict[tuple[str, str], Any]
#: The cells of each measure, by its name, as far as it has counted anything.
Sums = dict[str, Cells]


class _Span:
    """The sums of one window of one account, adjusted as rows change and as time passes."""

    __slots__ = ("level", "lo", "hi", "sums")  # noqa: RUF023 - in the order of use

    def __init__(self) -> None:
        self.level = ""
        self.lo = self.hi = 0
        self.sums: Sums = {}

    def move(self, level: str, lo: int, hi: int, panes: Mapping[int, Sums]) -> None:
        if (level, lo, hi) == (self.level, self.lo, self.hi):
            return
        if level != self.level or lo >= self.hi or hi <= self.lo:
            self.sums = {}
            self.lo = self.hi = lo
        self.level = level
        for pane in range(self.lo, lo):
            _accumulate(self.sums, panes.get(pane, {}), -1)
        for pane in range(hi, self.hi):
            _accumulate(self.sums, panes.get(pane, {}), -1)
        for pane in range(lo, self.lo):
            _accumulate(self.sums, panes.get(pane, {}), 1)
        for pane in range(self.hi, hi):
            _accumulate(self.sums, panes.get(pane, {}), 1)
        self.lo, self.hi = lo, hi


def _accumulate(sums: Sums, more: Sums, sign: int) -> None:
    for measure, cells in more.items():
        for (row, column), amount in cells.items():
            _add(sums, measure, row, column, sign * amount)


def _add(sums: Sums, measure: str, row: str, column: str, amount: int) -> None:
    cells = sums.get(measure)
    if cells is None:
        cells = sums[measure] = {}
    total = cells.get((row, column), 0) + amount
    if total:
        cells[row, column] = total
    else:
        cells.pop((row, column), None)
        if not cells:
            del sums[measure]


class _Book:
    """All sums of one account."""

    __slots__ = ("latest", "panes", "spans", "total")

    def __init__(self, windows: Iterable[Window]) -> None:
        self.total: Sums = {}
        self.panes: dict[str, dict[int, Sums]] = {}
        self.spans: dict[str, _Span] = {window.name: _Span() for window in windows}
        #: By level and pane the keys of rows that hold latest values, which are folded when they are read.
        self.latest: dict[tuple[str, int], set[bytes]] = {}

    @property
    def empty(self) -> bool:
        return not self.total and not any(self.panes.values()) and not self.latest

    def adjust(self, key: RowKey, measure: str, column: str, amount: int) -> None:
        if key.level == TOTAL:
            _add(self.total, measure, key.row, column, amount)
            return
        panes = self.panes.setdefault(key.level, {})
        sums = panes.setdefault(key.pane, {})
        _add(sums, measure, key.row, column, amount)
        if not sums:
            del panes[key.pane]
        for span in self.spans.values():
            if span.level == key.level and span.lo <= key.pane < span.hi:
                _add(span.sums, measure, key.row, column, amount)


class View:
    """The counts of all accounts over all partitions, and who owns which partition."""

    def __init__(self, clock: PaneClock, windows: tuple[Window, ...]) -> None:
        self.windows = windows
        self._clock = clock
        self._rows: dict[bytes, dict[int, dict[str, Cell]]] = {}  # by partition
        self._keys: dict[bytes, tuple[RowKey, str]] = {}  # what a record key means, and whose row it is
        self._books: dict[Account, _Book] = {}
        self.owners: dict[int, str] = {}
        self._first_seen: dict[Subject, dict[int, int]] = {}
        #: The (account, level, pane) of all rows that came since somebody emptied this; None while nobody does.
        self.touched: set[tuple[Account, str, int]] | None = None

    # -- writing ------------------------------------------------------------------------------------------------------

    def apply(self, partition: int, raw_key: bytes, value: bytes | None) -> None:
        """Take one record of the panes topic."""
        known = self._keys.get(raw_key)
        if known is None:
            parsed = parse_key(raw_key)
            if not isinstance(parsed, RowKey):
                if value is not None and parsed is None:
                    self.owners[partition] = orjson.loads(value)
                elif value is not None and parsed is not None:
                    self._first_seen.setdefault(parsed, {})[partition] = orjson.loads(value)
                return
            known = self._keys[raw_key] = parsed, measure_of(parsed.row)
        key, measure = known
        account = key.account
        if self.touched is not None:
            self.touched.add((account, key.level, key.pane))
        rows = self._rows.setdefault(raw_key, {})
        old: dict[str, Any] = rows.get(partition, {})
        new: dict[str, Any] = parse_row_value(value) if value is not None else {}
        if new:
            rows[partition] = new
        else:
            rows.pop(partition, None)
        book = self._books.get(account)
        if book is None:
            book = self._books[account] = _Book(self.windows)
        for column, cell in new.items():
            if type(cell) is Latest:
                book.latest.setdefault((key.level, key.pane), set()).add(raw_key)
            elif cell != old.get(column, 0):
                book.adjust(key, measure, column, cell - old.get(column, 0))
        for column, cell in old.items():
            if column not in new and type(cell) is int:
                book.adjust(key, measure, column, -cell)
        if not rows:
            self._drop(raw_key, key, book)

    def _drop(self, raw_key: bytes, key: RowKey, book: _Book) -> None:
        """Forget a row that no partition has any more."""
        del self._rows[raw_key], self._keys[raw_key]
        latest = book.latest.get((key.level, key.pane))
        if latest is not None:
            latest.discard(raw_key)
            if not latest:
                del book.latest[key.level, key.pane]
        if book.empty:
            del self._books[key.account]

    def forget(self, partition: int) -> None:
        """Drop what a partition has said; it will be read again from its beginning."""
        for raw_key in [raw_key for raw_key, rows in self._rows.items() if partition in rows]:
            self.apply(partition, raw_key, None)

    # -- reading ------------------------------------------------------------------------------------------------------

    def identities(self) -> list[Identity]:
        """All models of which anything is counted as a whole, in order."""
        return sorted(
            subject
            for (subject, segment), book in self._books.items()
            if isinstance(subject, Identity) and not segment and book.total
        )

    def total(self, account: Account) -> Sums:
        """What an account has counted in total, empty where that is nothing."""
        book = self._books.get(account)
        return {} if book is None else self._with_latest(book, book.total, TOTAL, range(1))

    def window(self, account: Account, window: Window, now: float) -> Sums:
        """What an account has counted in a window that ends now."""
        book = self._books.get(account)
        if book is None:
            return {}
        level, lo, hi = self._clock.span(window, now)
        span = book.spans[window.name]
        span.move(level, lo, hi, book.panes.get(level, {}))
        return self._with_latest(book, span.sums, level, range(lo, hi))

    def panes(self, account: Account, level: str, panes: range) -> Sums:
        """What some panes of an account hold together."""
        book = self._books.get(account)
        sums: Sums = {}
        if book is None:
            return sums
        counted = book.panes.get(level, {})
        for pane in panes:
            if pane in counted:
                _accumulate(sums, counted[pane], 1)
        return self._with_latest(book, sums, level, panes)

    def counted_panes(self, account: Account) -> Iterator[tuple[str, int]]:
        """The (level, pane) of all panes in which anything of an account is counted."""
        book = self._books.get(account)
        if book is not None:
            for level, panes in book.panes.items():
                for pane in panes:
                    yield level, pane
            yield from (at for at in book.latest if at[0] != TOTAL and at[1] not in book.panes.get(at[0], {}))

    def first_seen(self, subject: Subject) -> int:
        """The start of the earliest pane, in seconds, in which a subject was counted; 0 where it is unknown."""
        return min(self._first_seen.get(subject, {0: 0}).values())

    def _with_latest(self, book: _Book, sums: Sums, level: str, panes: range) -> Sums:
        """The same sums, and the latest values of these panes over all partitions."""
        if not book.latest:
            return sums
        found: Sums = dict(sums)
        for pane in panes:
            for raw_key in book.latest.get((level, pane), ()):
                key, measure = self._keys[raw_key]
                cells = found[measure] = dict(found.get(measure, {}))
                for row in self._rows[raw_key].values():
                    for column, cell in row.items():
                        if type(cell) is Latest:
                            cells[key.row, column] = later(cells.get((key.row, column)), cell)
        return found
