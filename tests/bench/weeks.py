"""What windows of a week and of 30 days cost: the state of a model that has labels in every minute, and taking it up.

In memory, of one partition: a model has as much in each partition that it has events in. Taking it up is what a worker
does that loads the partition, and what every worker does that reads the merged view; reading Kafka is not in it.
"""

import gc
import time
from collections.abc import Iterable, Iterator
from typing import Final

from app.core.counts.accounts import BY_LABELS, Account
from app.core.counts.atoms import Atom
from app.core.counts.counts import Counts
from app.core.counts.numbers import Numbers
from app.core.counts.panes import COARSE_PANES, DAY_SECONDS, FINE_KEPT, PaneClock, Window
from app.core.counts.view import View
from app.core.events import Identity
from tests.bench.table import Row
from tests.bench.tally_runs import Tally
from tests.builders import START, WINDOWS

WEEKS: Final = "a model with windows of 7 and 30 days"
_MODELS: Final = 40
_LONG: Final = (*WINDOWS, Window("7d", 7 * DAY_SECONDS), Window("30d", 30 * DAY_SECONDS))
_RETENTION: Final = 31 * DAY_SECONDS
_CLASSES: Final = ("setosa", "versicolor", "virginica")
#: What is counted of a model of three classes whose labels come, and bring rewards, within minutes.
_OF_LABELS: Final = [
    *(Atom(f"confusion={actual}", predicted) for actual in _CLASSES for predicted in _CLASSES),
    Atom("rewards", "count"),
    Atom("rewards", "points"),
]
_OF_PREDICTIONS: Final = [
    *_OF_LABELS,
    *(Atom("exchanges", part) for part in ("request", "response", "feedback")),
    *(Atom("delay", column) for column in ("2", "3", "us")),
    Atom("confusion/classes", '["setosa","versicolor","virginica"]'),
]


def run(_tally: Tally) -> list[Row]:
    """Records, bytes and time a model: by default, of a month with days, and of a month of coarse panes alone."""
    default = PaneClock.for_windows(WINDOWS, 60, 25 * 3600, by_labels=True)
    days = PaneClock.for_windows(_LONG, 60, _RETENTION, by_labels=True)
    coarse = PaneClock(60, _RETENTION, by_labels=True)
    return [
        *_rows("a model with windows of a day", default, WINDOWS, _MODELS),
        *_rows(WEEKS, days, _LONG, _MODELS),
        *_rows(f"{WEEKS}, of coarse panes alone", coarse, _LONG, max(1, _MODELS // 10)),
    ]


def _rows(figure: str, clock: PaneClock, windows: tuple[Window, ...], models: int) -> list[Row]:
    records = written(clock, models)
    size = sum(len(key) + len(value) for key, value in records)
    gc.collect()
    begin = time.process_time()
    Counts(0, clock, Numbers()).recover(records)
    loaded = time.process_time()
    view = View(clock, windows)
    for key, value in records:
        view.take(0, key, value)
    for identity in view.identities():
        for account in (Account(identity), Account(identity, BY_LABELS)):
            for window in windows:
                view.window(account, window, START)
    seen = time.process_time()
    return [
        Row(f"{figure}: records", len(records) / models),
        Row(f"{figure}: size", size / models / 1000, "kB"),
        Row(f"{figure}: loading", (loaded - begin) * 1000 / models, "ms"),
        Row(f"{figure}: merged view", (seen - loaded) * 1000 / models, "ms"),
    ]


def written(clock: PaneClock, models: int) -> list[tuple[bytes, bytes]]:
    """The records of the panes topic at `START`, of models that have been busy for as long as panes are kept."""
    numbers = Numbers()
    counts = Counts(0, clock, numbers)
    counts.retire(START)
    for model in range(models):
        identity = Identity("seldon", f"service-{model:04}", "default", "classifier", "v1")
        for account, atoms in ((Account(identity), _OF_PREDICTIONS), (Account(identity, BY_LABELS), _OF_LABELS)):
            number, amounts = numbers.account(account), {numbers.atom(atom): 37 for atom in atoms}
            counts.add({(number, pane): amounts for pane in _busy(clock)})
    return [(key, value) for key, value in counts.changes(900_000) if value is not None]


def _busy(clock: PaneClock) -> Iterable[int]:
    """A fine pane in each pane that is kept."""
    last = START // clock.pane_seconds

    def panes() -> Iterator[int]:
        yield from range(last - FINE_KEPT, last + 1)
        yield from range(last - clock.retention_seconds // clock.pane_seconds, last - FINE_KEPT, COARSE_PANES)

    return panes()
