"""The merged view: the sum over partitions of all rows of counts, kept so that a read-out costs no walk through panes.

Rows arrive with absolute values, so a row that arrives twice changes nothing.
"""

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

import orjson

from app.core.counts.panes import TOTAL, PaneClock, RowKey, Window, parse_key, parse_row_value
from app.core.events import Identity
from app.core.measures.reading import Reading, known_classes, read, task_of
from app.core.rules import Rulebook, Rules, Task

Sums = dict[tuple[str, str], int]


class Nature(NamedTuple):
    """As what a model's counts are read."""

    task: Task | Literal["unknown"]
    classes: set[str]


class _Span:
    """The sums of one window of one model, adjusted as rows change and as time passes."""

    __slots__ = ("level", "lo", "hi", "sums")  # noqa: RUF023 - in the order of use

    def __init__(self) -> None:
        self.level = ""
        self.lo = self.hi = 0
        self.sums: Sums = {}

    def move(self, level: str, lo: int, hi: int, panes: dict[int, Sums]) -> None:
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


def _nature(total: Sums, rules: Rules) -> Nature:
    return Nature(task_of(total, rules), known_classes(total, rules))


def _accumulate(sums: Sums, more: Sums, sign: int) -> None:
    for atom, amount in more.items():
        total = sums.get(atom, 0) + sign * amount
        if total:
            sums[atom] = total
        else:
            sums.pop(atom, None)


class _Model:
    """All sums of one identity."""

    __slots__ = ("panes", "spans", "total")

    def __init__(self, windows: Iterable[Window]) -> None:
        self.total: Sums = {}
        self.panes: dict[str, dict[int, Sums]] = {}
        self.spans: dict[str, _Span] = {window.name: _Span() for window in windows}

    def adjust(self, key: RowKey, column: str, amount: int) -> None:
        change = {(key.row, column): amount}
        if key.level == TOTAL:
            _accumulate(self.total, change, 1)
            return
        panes = self.panes.setdefault(key.level, {})
        sums = panes.setdefault(key.pane, {})
        _accumulate(sums, change, 1)
        if not sums:
            del panes[key.pane]
        for span in self.spans.values():
            if span.level == key.level and span.lo <= key.pane < span.hi:
                _accumulate(span.sums, change, 1)


class View:
    """The counts of all models over all partitions, and who owns which partition."""

    def __init__(self, clock: PaneClock, windows: tuple[Window, ...], rulebook: Rulebook, most_classes: int) -> None:
        self._clock = clock
        self.windows = windows
        self._rulebook = rulebook
        self._most_classes = most_classes
        self._rows: dict[tuple[int, bytes], dict[str, int]] = {}
        self._keys: dict[bytes, RowKey] = {}
        self._models: dict[Identity, _Model] = {}
        self.owners: dict[int, str] = {}
        self._first_seen: dict[Identity, dict[int, int]] = {}
        #: The (identity, level, pane) of all rows that came since somebody emptied this; None while nobody does.
        self.touched: set[tuple[Identity, str, int]] | None = None

    def apply(self, partition: int, raw_key: bytes, value: bytes | None) -> None:
        """Take one record of the panes topic."""
        key = self._keys.get(raw_key)
        if key is None:
            parsed = parse_key(raw_key)
            if not isinstance(parsed, RowKey):
                if value is not None and parsed is None:
                    self.owners[partition] = orjson.loads(value)
                elif value is not None and parsed is not None:
                    self._first_seen.setdefault(parsed, {})[partition] = orjson.loads(value)
                return
            key = self._keys[raw_key] = parsed
        if self.touched is not None:
            self.touched.add(key[:3])
        at = (partition, raw_key)
        old = self._rows.get(at, {})
        new = parse_row_value(value) if value is not None else {}
        if new:
            self._rows[at] = new
        else:
            self._rows.pop(at, None)
            self._keys.pop(raw_key, None)
        model = self._models.get(key.identity)
        if model is None:
            model = self._models[key.identity] = _Model(self.windows)
        for column, amount in new.items():
            if amount != old.get(column, 0):
                model.adjust(key, column, amount - old.get(column, 0))
        for column, amount in old.items():
            if column not in new:
                model.adjust(key, column, -amount)
        if not new and not model.total and not any(model.panes.values()):
            del self._models[key.identity]

    def forget(self, partition: int) -> None:
        """Drop what a partition has said; it will be read again from its beginning."""
        for at in [at for at in self._rows if at[0] == partition]:
            self.apply(partition, at[1], None)

    def readings(self, now: float) -> Iterator[tuple[Identity, dict[str, Reading]]]:
        """For each model its readings: "total", then each window that ends now."""
        for identity in sorted(self._models):
            model = self._models[identity]
            if not model.total:
                continue
            rules = self._rulebook.of(identity.leg)
            task, known = _nature(model.total, rules)
            readings = {TOTAL: read(model.total, task, rules, known, self._most_classes)}
            for window in self.windows:
                level, lo, hi = self._clock.span(window, now)
                span = model.spans[window.name]
                span.move(level, lo, hi, model.panes.get(level, {}))
                readings[window.name] = read(span.sums, task, rules, known, self._most_classes)
            yield identity, readings

    def nature(self, identity: Identity) -> Nature | None:
        """As what a model's panes are read; None where nothing is counted of it."""
        model = self._models.get(identity)
        return None if model is None else _nature(model.total, self._rulebook.of(identity.leg))

    def panes(self, identity: Identity) -> Iterator[tuple[str, int]]:
        """The (level, pane) of all panes in which a model is counted."""
        model = self._models.get(identity)
        for level, panes in model.panes.items() if model is not None else ():
            for pane in panes:
                yield level, pane

    def reading(self, identity: Identity, level: str, panes: range) -> Reading | None:
        """What some panes of a model say together; None where nothing is counted in them."""
        model = self._models.get(identity)
        if model is None:
            return None
        sums: Sums = {}
        counted = model.panes.get(level, {})
        for pane in panes:
            if pane in counted:
                _accumulate(sums, counted[pane], 1)
        if not sums:
            return None
        rules = self._rulebook.of(identity.leg)
        task, known = _nature(model.total, rules)
        return read(sums, task, rules, known, self._most_classes)

    def first_seen(self, identity: Identity) -> int:
        """The start of the earliest pane, in seconds, in which a model was counted; 0 where it is unknown."""
        return min(self._first_seen.get(identity, {0: 0}).values())

    def sums(self) -> dict[Identity, Sums]:
        """The totals of all models by atom."""
        return {identity: dict(model.total) for identity, model in self._models.items() if model.total}
