"""Which stretches of the past a request asks for; and of those before the panes that are kept what the documents of
windows in Elasticsearch say.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Generic, NamedTuple, TypeVar

from aiohttp import web

from app.core.counts.accounts import Account, Pair, Subject
from app.core.counts.panes import Window
from app.core.measures.readings import LABELS as LABELS_WINDOW
from app.core.measures.readings import Readings
from app.core.outputs import compared, windows
from app.core.outputs.score_history import POINTS
from app.core.outputs.slots import LABELS, PREDICTIONS, moment
from app.core.outputs.trends import Grid, grid_of, kept_since, step_for
from app.settings import Settings
from app.worker.elasticsearch.search import Search, SearchError
from app.worker.http.answers import AnswerError
from app.worker.http.routes.asked import moment_of, seconds_of

#: Points of one answer, at most.
_MOST_POINTS: Final = 2000

Read = TypeVar("Read")


class Stretches(NamedTuple, Generic[Read]):
    """The stretches that panes answer for, what documents say of those before, the oldest first; and why there are
    none, where that is for a reason.
    """

    grid: Grid
    older: list[Read]
    note: str | None


class Past:
    """Answers for the past. `search` is None where no Elasticsearch is configured."""

    def __init__(self, settings: Settings, search: Search | None) -> None:
        self._settings = settings
        self._search = search

    async def asked(
        self,
        request: web.Request,
        readings: Readings,
        accounts: Collection[Account],
        now: float,
        read: Callable[[Mapping[str, Any]], Read],
        *,
        by_labels: bool = False,
    ) -> Stretches[Read]:
        """What a request asks for, of what some accounts of one subject have counted, by `step`, `from` and `to`.

        `read` raises LookupError, TypeError or ValueError where a document is none of Tally's.
        """
        step, begin, end = self._bounds(request, readings, accounts, now)
        window = self._window(step, begin, now)
        if window is None:
            return Stretches(self._grid(step, begin, end, now), [], None)
        grid = self._grid(window.seconds, begin, end, now)
        (subject,) = {account.subject for account in accounts}
        until = min(end, grid.numbers.start * grid.step)
        return Stretches(grid, *await self._read(subject, window, begin, until, read, by_labels=by_labels))

    def _bounds(
        self, request: web.Request, readings: Readings, accounts: Collection[Account], now: float
    ) -> tuple[int, float, float]:
        """How long stretches are, and between which times they lie."""
        clock = self._settings.clock
        begin = moment_of(request, "from", kept_since(readings, accounts, clock, now))
        end = moment_of(request, "to", now)
        if begin > end:
            raise AnswerError(400, f"from: {begin:.0f} is after `to`, {end:.0f}.")
        step = seconds_of(request, "step")
        return step_for(clock, max(1.0, now - begin), POINTS) if step is None else step, begin, end

    def _grid(self, step: int, begin: float, end: float, now: float) -> Grid:
        clock = self._settings.clock
        grid = grid_of(clock, step, begin, end, now)
        if grid is None:
            raise AnswerError(
                400, f"step: {step} s is no multiple of the panes of {clock.pane_seconds} s (TALLY_PANE_SECONDS)."
            )
        many = len(grid.numbers)
        if many > _MOST_POINTS:
            raise AnswerError(
                400, f"step: {many:,} stretches of {step} s are too many: make them longer, or fewer by `from`."
            )
        return grid

    def _window(self, step: int, begin: float, now: float) -> Window | None:
        """The window whose documents say what was before the panes that are kept; None where nobody asks, or has any:
        the shortest that is no shorter than a stretch, else the longest.
        """
        grid = grid_of(self._settings.clock, step, begin, now, now)
        if self._search is None or grid is None or begin >= grid.numbers.start * step:
            return None
        found = sorted(self._settings.windows, key=lambda window: window.seconds)
        return next((window for window in found if window.seconds >= step), found[-1] if found else None)

    async def _read(
        self,
        subject: Subject,
        window: Window,
        begin: float,
        end: float,
        read: Callable[[Mapping[str, Any]], Read],
        *,
        by_labels: bool,
    ) -> tuple[list[Read], str | None]:
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
                index, {"bool": {"filter": filters}}, sort=[{"start": {"order": "desc"}}], most=_MOST_POINTS
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
