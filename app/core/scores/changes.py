"""Changes: since when a share, like the accuracy, is another than before, without any window to choose.

It is fed with the closed panes that are kept, in their order: so no order within one matters, and whoever has the
counts finds the same, after a crash too. A label that comes late restates its pane, and all is found anew.

adwin         Adaptive windowing (Bifet and Gavaldà 2007) over rows, cut where panes begin: where two parts of the
              window differ by more than chance (delta 0.002), the older one is dropped, until none do.
page_hinkley  The test of Page and Hinkley for a fall: the sum of what rows are below the mean so far, less 0.02 each,
              has risen by 50 rows; then it begins anew. Rows of one pane count as its mean.

The time of a change is the beginning of the first pane of the new level.
"""

import math
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from app.core.measures.reading import Reading

_DELTA: Final = 0.002
#: Rows that either part must have, as river's ADWIN.
_LEAST_ROWS: Final = 5
_TOLERATED: Final = 0.02
_THRESHOLD: Final = 50.0


class Pane(NamedTuple):
    """A pane: when it begins (seconds), its rows, and how many of them are right."""

    begin: int
    rows: int
    right: int


class Change(NamedTuple):
    """When a score has changed last by a detector, in seconds; None where it has not in the panes that are kept."""

    score: str
    detector: str
    time: int | None


def changes_of(total: Reading) -> list[Change]:
    """When the accuracy of a model has changed last, by each detector."""
    known = [Pane(*pane) for pane in total.history if pane[1]]
    return [Change("accuracy", name, detect(known)) for name, detect in DETECTORS.items()]


def adwin(panes: list[Pane]) -> int | None:
    """The last change by adaptive windowing."""
    window: list[Pane] = []
    changed = None
    for pane in panes:
        window.append(pane)
        while cut := _cut(window):
            del window[:cut]
            changed = window[0].begin
    return changed


def _cut(window: list[Pane]) -> int:
    """After how many panes lies the cut that tells two parts apart best; 0 where none does."""
    best, found = 1.0, 0
    rows, right = sum(pane.rows for pane in window), sum(pane.right for pane in window)
    mean = right / rows
    # Of so many cuts together at most delta is by chance.
    evidence = math.log(2 * math.log(rows) / _DELTA) if rows > 2 * _LEAST_ROWS else math.inf
    spread = 2 * mean * (1 - mean) * evidence
    old_rows = old_right = 0
    for place, pane in enumerate(window[:-1], 1):
        old_rows += pane.rows
        old_right += pane.right
        new_rows = rows - old_rows
        if old_rows < _LEAST_ROWS or new_rows < _LEAST_ROWS:
            continue
        both = 1 / old_rows + 1 / new_rows
        bound = math.sqrt(both * spread) + 2 / 3 * both * evidence
        excess = abs(old_right / old_rows - (right - old_right) / new_rows) / bound
        if excess > best:
            best, found = excess, place
    return found


def page_hinkley(panes: list[Pane]) -> int | None:
    """The last fall by the test of Page and Hinkley."""
    changed = None
    rows = right = 0
    risen, begin = 0.0, 0  # since when it has only been above zero
    for pane in panes:
        rows += pane.rows
        right += pane.right
        if risen <= 0:
            risen, begin = 0.0, pane.begin
        risen += pane.rows * (right / rows - pane.right / pane.rows - _TOLERATED)
        if risen > _THRESHOLD:
            changed = begin
            rows, right, risen = 0, 0, 0.0
    return changed


DETECTORS: Final[Mapping[str, Callable[[list[Pane]], int | None]]] = {"adwin": adwin, "page_hinkley": page_hinkley}
