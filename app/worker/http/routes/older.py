"""What was before the panes that are kept, from the documents of windows in Elasticsearch."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from app.core.counts.accounts import Pair, Subject
from app.core.counts.panes import Window
from app.core.measures.readings import LABELS as LABELS_WINDOW
from app.core.outputs import compared, windows
from app.core.outputs.slots import LABELS, PREDICTIONS, moment
from app.core.outputs.trends import grid_of
from app.settings import Settings
from app.worker.elasticsearch.search import Search, SearchError

#: Points of one answer, at most.
MOST_POINTS: Final = 2000

Read = TypeVar("Read")


class Older:
    """The documents. `search` is None where no Elasticsearch is configured."""

    def __init__(self, settings: Settings, search: Search | None) -> None:
        self._settings = settings
        self._search = search

    def window(self, step: int, begin: float, now: float) -> Window | None:
        """The window whose documents say what was before the panes that are kept; None where nobody asks, or has any:
        the shortest that is no shorter than a stretch, else the longest.
        """
        grid = grid_of(self._settings.clock, step, begin, now, now)
        if self._search is None or grid is None or begin >= grid.numbers.start * step:
            return None
        found = sorted(self._settings.windows, key=lambda window: window.seconds)
        return next((window for window in found if window.seconds >= step), found[-1] if found else None)

    async def read(
        self,
        subject: Subject,
        window: Window,
        begin: float,
        end: float,
        read: Callable[[Mapping[str, Any]], Read],
        *,
        by_labels: bool = False,
    ) -> tuple[list[Read], str | None]:
        """What documents say, the oldest first; and why there are none, where that is for a reason.

        `read` raises LookupError, TypeError or ValueError where a document is none of Tally's.
        """
        assert self._search is not None
        index, legs = _place_of(subject)
        said = {
            **legs,
            "window": f"{LABELS_WINDOW}{window.name}" if by_labels else window.name,
            "clock": LABELS if by_labels else PREDICTIONS,
            "segment": "",
        }
        filters: list[Any] = [{"term": {field: word}} for field, word in said.items()]
        filters.append({"range": {"start": {"gte": moment(begin), "lt": moment(end)}}})
        try:
            hits = await self._search.find(
                index, {"bool": {"filter": filters}}, sort=[{"start": {"order": "desc"}}], most=MOST_POINTS
            )
        except SearchError as error:
            return [], str(error)
        found = []
        for hit in reversed(hits):
            try:
                found.append(read(hit.body))
            except (LookupError, TypeError, ValueError):
                return [], f"{index} holds what no Tally has written: {hit.place[1]}."
        return found, None


def _place_of(subject: Subject) -> tuple[str, dict[str, str]]:
    """The index of the documents of a model, or of a pair, and by which fields they are found there."""
    if isinstance(subject, Pair):
        return compared.INDEX, {"current.identity": str(subject.first), "shadow.identity": str(subject.second)}
    return windows.INDEX, {"identity": str(subject)}
