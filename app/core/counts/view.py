"""The merged view: the sum over partitions of all that is counted, kept so that reading costs no walk through panes.

Rows arrive with absolute values, so a row that arrives twice changes nothing; what has changed is added to the pane,
to the panes that hold it, to the total and to the windows: a late label restates all of them. That is done when an
account is read, once for all epochs of all partitions that have come since. An epoch is taken as a whole, so that
nobody reads half of one: what it only moves from a pane to another changes nothing in between.

Records are kept as the bytes that they came as, and read again when another one takes their place: of many models with
many classes they are very many, and the garbage collector has nothing to walk in bytes.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from app.core.counts.accounts import BY_LABELS, METRICS, Account, Pair, Subject
from app.core.counts.atoms import measure_of
from app.core.counts.book import Book, Cells, Sums, accumulate
from app.core.counts.cells import Latest, later
from app.core.counts.gathered import Gathered
from app.core.counts.panes import COARSE, TOTAL, PaneClock, Window
from app.core.counts.rows import FirstKey, Note, Owner, RowKey, parse_key, parse_rows
from app.core.events import Identity

_Place = tuple[str, int]  # a level and a pane of it
_Columns = Mapping[str, Any]
_Rows = dict[str, dict[str, Any]]  # by row and column
_NO_COLUMNS: Final[_Columns] = {}
#: So many changed cells are added in one step of `prepare`: a few milliseconds.
_PART: Final = 4000
#: So many keys of records are remembered as they were read: those of panes that change now.
_KNOWN_KEYS: Final = 8192
_key_of: Final = lru_cache(_KNOWN_KEYS)(parse_key)


class UnreadableError(ValueError):
    """A record of the panes topic that is none of Tally's."""


class View:
    """The counts of all accounts over all partitions, and who owns which partition."""

    def __init__(self, clock: PaneClock, windows: tuple[Window, ...]) -> None:
        self.windows = windows
        self._clock = clock
        #: Of each partition its records of rows, as they came.
        self._records: dict[int, dict[bytes, bytes]] = {}
        self._measures: dict[str, str] = {}
        self._books: dict[Account, Book] = {}
        #: Of each subject the segments in which anything of it is counted, or was.
        self._segments: dict[Subject, set[str]] = {}
        #: What has changed in each pane since the account was read.
        self._unread: dict[Account, dict[_Place, Cells]] = {}
        #: By partition what has come of the epoch whose end has not come yet.
        self._waiting: dict[int, dict[bytes, tuple[RowKey, bytes | None, _Rows]]] = {}
        self._begun: set[int] = set()  # partitions of which an epoch has been taken; before, nobody reads
        self._versions: defaultdict[Account, int] = defaultdict(int)
        self.owners: dict[int, Owner] = {}
        self.gathered = Gathered()  # the first rows of versions
        self._first_seen: dict[Subject, dict[int, int]] = {}
        self._touched: set[tuple[Account, str, int]] | None = None
        self._emptied: set[tuple[Account, str, int]] = set()
        self._watched_from: float | None = None

    # -- writing ------------------------------------------------------------------------------------------------------

    def take(self, partition: int, raw_key: bytes, value: bytes | None) -> None:
        """Take one record of the panes topic, in the order in which they lie in a partition.

        What is read before the first end of an epoch is taken at once: it may be very much.

        Raises UnreadableError, which leaves the view as it was.
        """
        try:
            key = _key_of(raw_key)
            said: Any = None if value is None else self._parse(key, value)
        except Exception as error:  # noqa: BLE001 - there are as many errors as ways to write what is no row
            raise UnreadableError(f"{type(error).__name__}: {error}") from None
        if isinstance(key, FirstKey):
            self.gathered.take(partition, key, said)
        elif isinstance(key, RowKey):
            if partition in self._begun:
                self._waiting.setdefault(partition, {})[raw_key] = key, value, said or {}
            else:
                self._replace(partition, raw_key, key, value, said or {})
        elif key is Note.END:
            self._begun.add(partition)
            for changed, (row, came, rows) in self._waiting.pop(partition, {}).items():
                self._replace(partition, changed, row, came, rows)
        elif value is not None and key is Note.OWNER:
            self.owners[partition] = said
        elif value is not None and key is Note.CLOCK:
            self.gathered.clocks[partition] = said
        elif value is not None and isinstance(key, tuple):
            self._first_seen.setdefault(key, {})[partition] = said

    def _parse(self, key: RowKey | Subject | FirstKey | Note, value: bytes) -> Any:
        """What a record says, by its key."""
        match key:
            case RowKey():
                return parse_rows(key.row, value)
            case FirstKey():
                return self.gathered.read(key, value)
            case Note.OWNER:
                return msgspec.json.decode(value, type=Owner)
            case _:
                return msgspec.json.decode(value, type=int)

    def apply(self, partition: int, raw_key: bytes, value: bytes | None) -> None:
        """Take one row of counts at once, whether its epoch has ended or not; None says that it is gone."""
        key = _key_of(raw_key)
        assert isinstance(key, RowKey)
        self._replace(partition, raw_key, key, value, {} if value is None else self._parse(key, value))

    def _replace(self, partition: int, raw_key: bytes, key: RowKey, value: bytes | None, new: _Rows) -> None:
        """Put a record, which says these rows, in the place of the one before it, and note by how much cells differ."""
        records = self._records.setdefault(partition, {})
        before = records.pop(raw_key, None)
        old: _Rows = {} if before is None else parse_rows(key.row, before)
        if new and value is not None:
            records[raw_key] = value
        account, place = key.account, (key.level, key.pane)
        if not new and not old and self._watched_from is not None:
            self._note_emptied(account, place)
        self._versions[account] += 1
        if account not in self._unread and account not in self._books:
            self._segments.setdefault(account.subject, set()).add(account.segment)
        changes = self._unread.setdefault(account, {}).setdefault(place, {})
        latest = False
        for row, columns in new.items():
            known = old.get(row, _NO_COLUMNS)
            if columns != known:
                latest = _note_changes(changes, row, known, columns) or latest
        for row, columns in old.items():
            if row not in new:
                _note_changes(changes, row, columns, _NO_COLUMNS)
        if latest:
            self._book(account).latest.setdefault(place, set()).add(raw_key)
            if self._touched is not None:
                self._touched.update((account, *holder) for holder in self._places(*place) if holder[0] != TOTAL)
        if not new:
            self._drop_latest(raw_key, key)

    def _note_emptied(self, account: Account, place: _Place) -> None:
        assert self._watched_from is not None
        for level, pane in self._places(*place):
            if not self._clock.retired(level, pane, self._watched_from):
                self._emptied.add((account, level, pane))

    def _bring_up(self, account: Account) -> None:
        """Bring the sums of an account up to what has come."""
        unread = self._unread.pop(account, None)
        if unread is not None:
            self._apply(account, unread)

    def _apply(self, account: Account, changed: Mapping[_Place, Cells]) -> None:
        """Add what has changed in some panes of an account, to them and to all that holds them."""
        changes: dict[_Place, Sums] = {}
        for own, cells in changed.items():
            by_measure: Sums = {}
            for cell, amount in cells.items():
                if amount:
                    by_measure.setdefault(self._measure(cell[0]), {})[cell] = amount
            for place in self._places(*own):
                accumulate(changes.setdefault(place, {}), by_measure, 1)
        book = self._book(account)
        for (level, pane), sums in changes.items():
            if sums:
                book.adjust(level, pane, sums)
                if self._touched is not None:
                    self._touched.add((account, level, pane))
        if book.empty:
            self._close(account)

    def _close(self, account: Account) -> None:
        """Forget a book in which nothing is left."""
        del self._books[account]
        if account not in self._unread:
            segments = self._segments[account.subject]
            segments.discard(account.segment)
            if not segments:
                del self._segments[account.subject]

    def _some_unread(self, account: Account) -> dict[_Place, Cells]:
        """Take a few of the changes that have come to an account and are in no sum yet."""
        unread, some, left = self._unread[account], {}, _PART
        while unread and left > 0:
            place, cells = unread.popitem()
            if len(cells) > left:
                some[place] = dict(cells.popitem() for _ in range(left))
                unread[place] = cells
                break
            some[place] = cells
            left -= len(cells)
        if not unread:
            del self._unread[account]
        return some

    def _places(self, level: str, pane: int) -> list[_Place]:
        """Where what falls in a pane is counted: in it, in the panes that hold it, and in the total."""
        places = [(level, pane)]
        while level != TOTAL:
            level, pane = self._clock.holder(level, pane)
            places.append((level, pane))
        return places

    def _book(self, account: Account) -> Book:
        book = self._books.get(account)
        if book is None:
            book = self._books[account] = Book(self.windows)
        return book

    def _measure(self, row: str) -> str:
        measure = self._measures.get(row)
        if measure is None:
            measure = self._measures[row] = measure_of(row)
        return measure

    def _drop_latest(self, raw_key: bytes, key: RowKey) -> None:
        """Look for latest values no more in a record that no partition has."""
        book = self._books.get(key.account)
        latest = None if book is None else book.latest.get((key.level, key.pane))
        if book is None or latest is None:
            return
        if not any(raw_key in records for records in self._records.values()):
            latest.discard(raw_key)
            if not latest:
                del book.latest[key.level, key.pane]
                if book.empty:
                    self._close(key.account)

    def forget(self, partition: int) -> None:
        """Drop what a partition has said; it will be read again from its beginning."""
        self._waiting.pop(partition, None)
        self._begun.discard(partition)
        self.gathered.forget(partition)
        for raw_key in [*self._records.get(partition, ())]:
            self.apply(partition, raw_key, None)
        self._records.pop(partition, None)

    # -- reading ------------------------------------------------------------------------------------------------------

    @property
    def by_labels(self) -> bool:
        """Whether there are counts by the time at which labels came."""
        return self._clock.by_labels

    def identities(self) -> list[Identity]:
        """All models of which anything is counted as a whole, or was, or that have custom metrics, in order."""
        known = self._segments.items()
        return sorted(
            subject
            for subject, segments in known
            if isinstance(subject, Identity) and ("" in segments or METRICS in segments)
        )

    def pairs(self) -> list[Pair]:
        """All pairs of legs of which anything is counted, or was, in order."""
        known = self._segments.items()
        return sorted(subject for subject, segments in known if isinstance(subject, Pair) and "" in segments)

    def segments(self, identity: Identity) -> list[str]:
        """The segments of a model in which anything is counted, or was, with those by labels, in order."""
        return sorted(self._segments.get(identity, set()) - {"", BY_LABELS, METRICS})

    def version(self, account: Account, now: float) -> tuple[Any, ...]:
        """Something that changes with what an account has counted, and with what its windows that end now hold."""
        book = self._books.get(account)
        version: list[Any] = [self._versions[account]]
        if account.segment == METRICS:  # which has no windows
            return tuple(version)
        for window in self.windows:
            level, lo, hi = self._clock.span(window, now)
            span = None if book is None or book.latest else book.spans[window.name]
            holds = span is not None and book is not None and span.holds(level, lo, hi, book.panes[level])
            version.append(span.moves if span is not None and holds else (level, lo, hi))
        return tuple(version)

    def take_touched(self) -> set[tuple[Account, str, int]]:
        """The (account, level, pane) of all that has changed since this was asked before; the first time nothing."""
        for account in [*self._unread]:
            self._bring_up(account)
        touched, self._touched = (self._touched or set()) | self._emptied, set()
        self._emptied.clear()
        return touched

    def watch_emptied(self, now: float) -> None:
        """Count as touched, too, panes that are emptied before it is known what they held, if they are kept at this
        time: whoever has begun meanwhile finds nothing else of them.
        """
        self._watched_from = now

    def total(self, account: Account) -> Sums:
        """What an account has counted in total, empty where that is nothing."""
        self._bring_up(account)
        book = self._books.get(account)
        return {} if book is None else self._with_latest(book, book.total, TOTAL, range(1))

    def window(self, account: Account, window: Window, now: float) -> Sums:
        """What an account has counted in a window that ends now."""
        self._bring_up(account)
        book = self._books.get(account)
        if book is None:
            return {}
        level, lo, hi = self._clock.span(window, now)
        span = book.spans[window.name]
        for _ in span.steps(level, lo, hi, book.panes[level]):
            pass
        return self._with_latest(book, span.sums, level, range(lo, hi))

    def prepare(self, account: Account, now: float) -> Iterator[None]:
        """Do a little at a time what the next reading of an account would do at once: it may be very much.

        Whoever reads in between has all that has come all the same.
        """
        while account in self._unread:
            self._apply(account, self._some_unread(account))
            yield
        book = self._books.get(account)
        if book is not None:
            for window in self.windows:
                level, lo, hi = self._clock.span(window, now)
                yield from book.spans[window.name].steps(level, lo, hi, book.panes[level])

    def panes(self, account: Account, level: str, panes: range) -> Sums:
        """What some panes of an account hold together."""
        self._bring_up(account)
        book = self._books.get(account)
        sums: Sums = {}
        if book is None:
            return sums
        counted = book.panes[level]
        for pane in panes:
            if pane in counted:
                accumulate(sums, counted[pane], 1)
        return self._with_latest(book, sums, level, panes)

    def span(self, window: Window, now: float) -> tuple[str, int, int]:
        """The panes of a window that ends now: (level, first, one beyond the last), the open pane included."""
        return self._clock.span(window, now)

    def amounts(self, account: Account, level: str, panes: range, of: tuple[str, tuple[str, str]]) -> list[int]:
        """What one cell, `of` a measure, has counted in each of some panes of an account."""
        self._bring_up(account)
        book = self._books.get(account)
        measure, cell = of
        counted = {} if book is None else book.panes[level]
        return [counted.get(pane, {}).get(measure, {}).get(cell, 0) for pane in panes]

    def counted_panes(self, account: Account) -> Iterator[tuple[str, int]]:
        """The (level, pane) of all panes in which anything of an account is counted."""
        self._bring_up(account)
        book = self._books.get(account)
        if book is not None:
            for level, panes in book.panes.items():
                for pane in panes:
                    yield level, pane

    def open_pane(self, now: float) -> int:
        """The coarse pane that is open."""
        return int(now // self._clock.length(COARSE))

    def history(self, account: Account, now: float) -> Iterator[tuple[int, Sums]]:
        """The coarse panes of an account that are kept whole and closed, in order: when each begins, in seconds, and
        what it holds.
        """
        self._bring_up(account)
        book, length = self._books.get(account), self._clock.length(COARSE)
        for pane in sorted(() if book is None else book.panes[COARSE]):
            if (pane + 1) * length <= now and not self._clock.retired(COARSE, pane, now):
                yield pane * length, self.panes(account, COARSE, range(pane, pane + 1))

    def first_seen(self, subject: Subject) -> int:
        """The start of the earliest pane, in seconds, in which a subject was counted; 0 where it is unknown."""
        return min(self._first_seen.get(subject, {0: 0}).values())

    def _with_latest(self, book: Book, sums: Sums, level: str, panes: range) -> Sums:
        """The same sums, and the latest values of these panes over all partitions."""
        if not book.latest:
            return sums
        found: Sums = {measure: dict(cells) for measure, cells in sums.items()}
        for (of, pane), raw_keys in book.latest.items():
            if any(holder == level and (level == TOTAL or own in panes) for holder, own in self._places(of, pane)):
                for row, column, value in (one for raw_key in raw_keys for one in self._latest_of(raw_key)):
                    cells = found.setdefault(self._measure(row), {})
                    cells[row, column] = later(cells.get((row, column)), value)
        return found

    def _latest_of(self, raw_key: bytes) -> Iterator[tuple[str, str, Latest]]:
        """The latest values of a record in all partitions: each with its row and column."""
        key = _key_of(raw_key)
        assert isinstance(key, RowKey)
        for value in (records[raw_key] for records in self._records.values() if raw_key in records):
            for row, columns in parse_rows(key.row, value).items():
                for column, cell in columns.items():
                    if type(cell) is Latest:
                        yield row, column, cell


def _note_changes(changes: Cells, row: str, before: _Columns, after: _Columns) -> bool:
    """Note by how much the sums of a row differ. Returns whether it has latest values."""
    latest = False
    for column, amount in after.items():
        if type(amount) is not int:
            latest = True
            continue
        difference = amount - before.get(column, 0)
        if difference:
            changes[row, column] = changes.get((row, column), 0) + difference
    for column, amount in before.items():
        if column not in after and type(amount) is int:
            changes[row, column] = changes.get((row, column), 0) - amount
    return latest
