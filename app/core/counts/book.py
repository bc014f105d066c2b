"""The sums of one account: its panes, its total and its windows, adjusted as rows change and as time passes."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from app.core.counts.panes import LEVELS, TOTAL, Window

#: Of one measure: (row, column) → what is counted there, a `Cell`.
Cells = dict[tuple[str, str], Any]
#: The cells of each measure, by its name, as far as it has counted anything.
Sums = dict[str, Cells]


class Span:
    """The sums of one window of one account, adjusted as rows change and as time passes."""

    __slots__ = ("level", "lo", "hi", "sums", "moves")  # noqa: RUF023 - in the order of use

    def __init__(self) -> None:
        self.moves = 0  # that changed the sums
        self.level = ""
        self.lo = self.hi = 0
        self.sums: Sums = {}

    def steps(self, level: str, lo: int, hi: int, panes: Mapping[int, Sums]) -> Iterator[None]:
        """Move to these panes, one at a time: after each the sums are those of the panes from `self.lo` to before
        `self.hi`.
        """
        if (level, lo, hi) == (self.level, self.lo, self.hi):
            return
        if level != self.level or lo >= self.hi or hi <= self.lo:
            self.moves += bool(self.sums)
            self.sums = {}
            self.level = level
            self.lo = self.hi = lo
        while (self.lo, self.hi) != (lo, hi):
            if self.lo < lo:
                pane, sign = self.lo, -1
                self.lo += 1
            elif self.hi > hi:
                self.hi -= 1
                pane, sign = self.hi, -1
            elif self.lo > lo:
                self.lo -= 1
                pane, sign = self.lo, 1
            else:
                pane, sign = self.hi, 1
                self.hi += 1
            if pane in panes:
                accumulate(self.sums, panes[pane], sign)
                self.moves += 1
                yield

    def holds(self, level: str, lo: int, hi: int, panes: Mapping[int, Sums]) -> bool:
        """Whether the sums are those of these panes already."""
        if (level, lo, hi) == (self.level, self.lo, self.hi):
            return True
        return level == self.level and all((lo <= pane < hi) == (self.lo <= pane < self.hi) for pane in panes)


def accumulate(sums: Sums, more: Sums, sign: int) -> None:
    """Add sums, or take them away. Neither holds a zero."""
    for measure, cells in more.items():
        own = sums.get(measure)
        if own is None:
            sums[measure] = dict(cells) if sign > 0 else {cell: -amount for cell, amount in cells.items()}
            continue
        for cell, amount in cells.items():
            total = own.get(cell, 0) + sign * amount
            if total:
                own[cell] = total
            else:
                own.pop(cell, None)
        if not own:
            del sums[measure]


class Book:
    """All sums of one account."""

    __slots__ = ("latest", "panes", "spans", "total")

    def __init__(self, windows: Iterable[Window]) -> None:
        self.total: Sums = {}
        self.panes: dict[str, dict[int, Sums]] = {level: {} for level in LEVELS}
        self.spans: dict[str, Span] = {window.name: Span() for window in windows}
        #: By level and pane the keys of records that hold latest values, which are folded when they are read.
        self.latest: dict[tuple[str, int], set[bytes]] = {}

    @property
    def empty(self) -> bool:
        """Whether nothing is left in it."""
        return not (self.total or self.latest or any(self.panes.values()))

    def adjust(self, level: str, pane: int, changed: Sums) -> None:
        """Add what has changed in a pane to it and to the windows that hold it, or to the total."""
        if level == TOTAL:
            accumulate(self.total, changed, 1)
            return
        panes = self.panes[level]
        own = panes.setdefault(pane, {})
        spans = [span.sums for span in self.spans.values() if span.level == level and span.lo <= pane < span.hi]
        for sums in (own, *spans):
            accumulate(sums, changed, 1)
        if not own:
            del panes[pane]
