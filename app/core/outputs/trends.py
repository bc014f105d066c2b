"""Trends: a score over time, stretch by stretch, from the panes that are kept.

A stretch is some panes of one level, aligned to the epoch. Scores are the same as everywhere else: each stretch is read
as a window is, by what the totals show the model to be; only the measures are read that its score asks for.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from app.core.counts.accounts import BY_LABELS, Account
from app.core.counts.book import Sums
from app.core.counts.panes import COARSE, DAY, FINE, PaneClock
from app.core.events import Identity
from app.core.measures.catalogue import MEASURES
from app.core.measures.confusion import CONFUSION
from app.core.measures.reading import Nature, Reading
from app.core.measures.readings import Readings
from app.core.scores.catalogue import score_of
from app.core.scores.intervals import Moments, interval_of, moments_of

_MEASURES: Final = {measure.name: measure for measure in MEASURES}
_LEVELS: Final = (FINE, COARSE, DAY)


class Point(NamedTuple):
    """What a score was in one stretch: its value and interval, and how many rows were labelled, and answered."""

    start: int
    value: float | None
    low: float | None
    high: float | None
    samples: int
    labelled: int
    predictions: int
    moments: Moments | None


class Grid(NamedTuple):
    """Stretches of one length, one behind the other: their length in seconds, their panes, and which they are."""

    step: int
    level: str
    panes: int
    numbers: range  # counted from 1970


class Asked(NamedTuple):
    """Which score of a model, by which clock."""

    score: str
    of_class: str = ""
    by_labels: bool = False


def levels_of(clock: PaneClock) -> list[str]:
    """The levels of panes that there are, the shortest first."""
    return [level for level in _LEVELS if level != DAY or clock.days_after]


def step_for(clock: PaneClock, seconds: float, most: int) -> int:
    """The shortest stretches of which so many, and the open one, cover the last seconds, as far as panes are kept."""
    levels = levels_of(clock)
    reaching = [level for level in levels if clock.kept(level) >= seconds]
    level = reaching[0] if reaching else max(levels, key=clock.kept)
    length = clock.length(level)
    span = min(seconds, clock.kept(level))
    return max(1, -(-int(span) // (length * most))) * length


def level_for(clock: PaneClock, step: int) -> str | None:
    """Of the panes that such stretches can be made of those that are kept longest; None where there are none."""
    levels = [level for level in levels_of(clock) if step % clock.length(level) == 0]
    return max(levels, key=clock.kept) if levels else None


def grid_of(clock: PaneClock, step: int, begin: float, end: float, now: float) -> Grid | None:
    """The stretches between two times of which all panes are kept; None where no panes make such stretches."""
    level = level_for(clock, step)
    if level is None:
        return None
    length = clock.length(level)
    oldest = -(-int(now - clock.kept(level)) // step)
    return Grid(step, level, step // length, range(max(oldest, int(begin // step)), int(min(end, now) // step) + 1))


class _OnDemand(dict[str, Any]):
    """What measures have read, read when it is asked for."""

    def __init__(self, sums: Sums, nature: Nature) -> None:
        super().__init__()
        self._sums = sums
        self._nature = nature

    def __missing__(self, name: str) -> Any:
        found = self[name] = _MEASURES[name].read(self._sums.get(name, {}), self._nature)
        return found


def reading_of(sums: Sums, nature: Nature, *, by_labels: bool = False) -> Reading:
    """The reading of some sums, of which each measure is read when a score asks for it."""
    return Reading(nature, _OnDemand(sums, nature), by_labels)


def kept_since(readings: Readings, accounts: Iterable[Account], clock: PaneClock, now: float) -> float:
    """From when on anything is known of some accounts: the start of the first pane that is kept; now for none."""
    counted = (place for account in accounts for place in readings.view.counted_panes(account))
    return min((pane * clock.length(level) for level, pane in counted), default=now)


def rows_of(reading: Reading) -> tuple[int, int]:
    """How many rows of a reading are labelled, and how many were answered."""
    rows = CONFUSION.of(reading).rows
    labelled = rows["correct"] + rows["incorrect"] + rows["measured"]
    return labelled, labelled + rows["unlabelled"]


class Stretch(NamedTuple):
    """What is read of one stretch: its start, and how many rows were labelled, and answered."""

    start: int
    reading: Reading
    labelled: int
    predictions: int


def stretches(
    readings: Readings, identity: Identity, nature: Nature, grid: Grid, *, by_labels: bool
) -> Iterator[Stretch]:
    """The stretches in which anything was counted, in order. What one is read from no longer changes."""
    view = readings.view
    account = Account(identity)
    own = Account(identity, BY_LABELS) if by_labels else account
    counted = {
        pane // grid.panes for one in {account, own} for level, pane in view.counted_panes(one) if level == grid.level
    }
    for number in sorted(number for number in counted if number in grid.numbers):
        panes = range(number * grid.panes, (number + 1) * grid.panes)
        reading = reading_of(view.panes(own, grid.level, panes), nature, by_labels=by_labels)
        labelled, predictions = rows_of(reading)
        if by_labels:
            predictions = rows_of(reading_of(view.panes(account, grid.level, panes), nature))[1]
        yield Stretch(number * grid.step, reading, labelled, predictions)


def point_of(stretch: Stretch, asked: Asked) -> Point:
    """What a score was in a stretch. It may run code of the user's own, where that is such a score."""
    start, reading, labelled, predictions = stretch
    score = score_of(reading, asked.score, asked.of_class)
    if score is None:
        return Point(start, None, None, None, 0, labelled, predictions, None)
    moments = moments_of(score, reading)
    low, high = interval_of(moments) or (None, None)
    return Point(start, score.value, low, high, score.samples, labelled, predictions, moments)
