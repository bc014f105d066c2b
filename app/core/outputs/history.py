"""All documents of counts: what models and comparisons have been in each window, and what is known by now."""

from collections.abc import Iterable

from app.core.counts.panes import PaneClock
from app.core.measures.readings import Readings
from app.core.outputs.compared import TotalDocument, TotalDocuments
from app.core.outputs.windows import WindowDocument, WindowDocuments

Document = WindowDocument | TotalDocument


class History:
    """Which documents have to be written, and what they say. It alone takes from the view what is touched.

    `now` is when this worker begins. What others counted before, and took back before they could say so, it finds too.
    """

    def __init__(self, readings: Readings, clock: PaneClock, now: float) -> None:
        self._view = readings.view
        self._view.take_touched()
        self._view.watch_emptied(now)
        self._windows = WindowDocuments(readings, clock)
        self._totals = TotalDocuments(readings)

    @property
    def dropped(self) -> int:
        """How many documents were not written before there were too many of them."""
        return self._windows.dropped

    def note(self, now: float, *, writing: bool) -> None:
        """Take from the view what has changed. To be called every few seconds, on every worker.

        Not `writing`, it only remembers what would have to be written: this worker may be the next one.
        """
        touched = self._view.take_touched()
        self._totals.note({account.subject for account, _, _ in touched if not account.segment}, now)
        self._windows.note(touched, now, writing=writing)

    def take(self, now: float, most: int) -> list[Document]:
        """Some of the documents that have changed. They count as written: whoever cannot write them puts them back."""
        totals = self._totals.take(now, most)
        return [*totals, *self._windows.take(now, most - len(totals))]

    def put_back(self, documents: Iterable[Document], now: float) -> None:
        """Say that documents were not written. They come again, as they are then."""
        given = list(documents)
        self._windows.put_back((one for one in given if isinstance(one, WindowDocument)), now)
        self._totals.put_back(one for one in given if isinstance(one, TotalDocument))
