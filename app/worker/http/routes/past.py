"""Which stretches of the past a request asks for; and of those before the panes that are kept what the documents of
windows in Elasticsearch say.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Generic, NamedTuple, TypeVar

from aiohttp import web

from app.core.counts.accounts import Account, Pair, Subject
from app.core.counts.panes import PaneClock, Window
from app.core.measures.readings import LABELS as LABELS_WINDOW
from app.core.measures.readings import Readings
from app.core.outputs import compared, windows
from app.core.outputs.score_history import POINTS
from app.core.outputs.slots import LABELS, PREDICTIONS, moment
from app.core.outputs.trends import Grid, grid_of, kept_since, levels_of, step_for
from app.settings import Settings
from app.worker.elasticsearch.search import Search, SearchError
from app.worker.http.answers import AnswerError
from app.worker.http.routes.asked import ALL, back_of, moment_of, seconds_of

#: Points of one answer, at most.
_MOST_POINTS: Final = 2000
#: Documents that are asked for where nobody says how long stretches are: a month by the hour.
_DOCUMENTS: Final = 744

Read = TypeVar("Read")


class Stretches(NamedTuple, Generic[Read]):
    """The stretches that panes answer for, what documents say of those before, the oldest first; and why there are
    none, where that is for a reason.
    """

    grid: Grid
    older: list[Read]
    note: str | None


class _Since(NamedTuple):
    """From when on anything of a subject is kept in panes, and from when on it was counted, kept or not."""

    kept: float
    counted: float


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
        """What a request asks for, of what some accounts of one subject have counted, by `step`, `back` or `from`,
        and `to`.

        `read` raises LookupError, TypeError or ValueError where a document is none of Tally's.
        """
        end = moment_of(request, "to", now)
        since = _since(readings, accounts, self._settings.clock, now)
        begin = _begin(request, end, since)
        if begin > end:
            raise AnswerError(400, f"from: {begin:.0f} is after `to`, {end:.0f}.")
        wanted = seconds_of(request, "step")
        least = (end - begin) / _DOCUMENTS if wanted is None else 0.0
        window = self._window(self._step(wanted, begin, now), least, begin, now)
        if window is not None:
            grid = self._grid(window.seconds, begin, end, now)
            (subject,) = {account.subject for account in accounts}
            until = min(end, grid.numbers.start * grid.step)
            older, note = await self._read(subject, window, begin, until, read, by_labels=by_labels)
            if older or note or since.counted < until:
                return Stretches(grid, older, note)
        # There is nothing of before it was counted, so stretches need be no longer for it.
        begin = max(begin, min(end, since.counted))
        grid = self._grid(self._step(wanted, begin, now), begin, end, now)
        return Stretches(grid, [], self._lacking(grid, begin))

    @property
    def has_older(self) -> bool:
        """Whether documents are asked for what is older than the panes that are kept."""
        return self._search is not None

    def _step(self, wanted: int | None, begin: float, now: float) -> int:
        """How long each stretch is, as it is asked for or so that not too many lead from `begin` to now."""
        return step_for(self._settings.clock, max(1.0, now - begin), POINTS) if wanted is None else wanted

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

    def _lacking(self, grid: Grid, begin: float) -> str | None:
        """Why what was counted from some time on is not in the panes; None where it is, but for what just expires."""
        if begin >= (grid.numbers.start - 2) * grid.step:
            return None
        clock = self._settings.clock
        if max(clock.kept(level) for level in levels_of(clock)) > clock.kept(grid.level):
            return (
                f"Stretches of {grid.step:,} s are kept for {clock.kept(grid.level) / 3600:g} h: "
                f"longer ones (`step`) reach further back."
            )
        return (
            f"Workers keep counts for {clock.retention_seconds / 3600:g} h (TALLY_WINDOW_RETENTION): what is older is "
            "shown where they write to Elasticsearch (TALLY_ELASTICSEARCH_URL)."
        )

    def _window(self, step: int, least: float, begin: float, now: float) -> Window | None:
        """The window whose documents say what was before the panes that are kept; None where nobody asks, or has any:
        the shortest that is no shorter than a stretch, and than `least` seconds, else the longest.
        """
        grid = grid_of(self._settings.clock, step, begin, now, now)
        if self._search is None or grid is None or begin >= grid.numbers.start * step:
            return None
        found = sorted(self._settings.windows, key=lambda window: window.seconds)
        return next((one for one in found if one.seconds >= max(step, least)), found[-1] if found else None)

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
        if len(hits) < _MOST_POINTS:
            return found, None
        return found, f"Only the newest {_MOST_POINTS:,} of the older stretches are shown: make them longer (`step`)."


def _since(readings: Readings, accounts: Collection[Account], clock: PaneClock, now: float) -> _Since:
    kept = kept_since(readings, accounts, clock, now)
    seen = (readings.view.first_seen(account.subject) for account in accounts)
    return _Since(kept, min(kept, *(first or kept for first in seen)))


def _begin(request: web.Request, end: float, since: _Since) -> float:
    """From when on a request asks, by `back` or by `from`."""
    if "back" not in request.query:
        return moment_of(request, "from", since.kept)
    if "from" in request.query:
        raise AnswerError(400, "back: give either `back` or `from`.")
    back = back_of(request)
    if isinstance(back, int):
        return max(0.0, end - back)
    return since.counted if back == ALL else since.kept


def _place_of(subject: Subject) -> tuple[str, dict[str, str]]:
    """The index of the documents of a model, or of a pair, and by which fields they are found there."""
    if isinstance(subject, Pair):
        return compared.INDEX, {"current.identity": str(subject.first), "shadow.identity": str(subject.second)}
    return windows.INDEX, {"identity": str(subject)}
