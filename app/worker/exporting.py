"""Who exports the model series: one worker of all, so that no series is scraped twice.

It is the owner of partition 0, for as long as it surely is that still. A new one waits a scrape interval first, so that
Prometheus has seen the end of the last one's series: a gap, never a double.
"""

from collections.abc import Callable

from app.settings import Settings
from app.worker.lane.feed import Feed
from app.worker.lane.lane import Lane

#: Whoever owns this partition exports.
_PARTITION = 0


class Exporting:
    """Whether this worker exports. `clock` counts seconds and never goes back.

    `heartbeat_age` gives the seconds since the broker last answered a heartbeat of this worker: an older one than the
    session time-out means that its partitions may be another's by now.
    """

    def __init__(
        self,
        settings: Settings,
        lane: Lane,
        feed: Feed,
        heartbeat_age: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._lane = lane
        self._feed = feed
        self._heartbeat_age = heartbeat_age
        self._clock = clock
        self._since: float | None = None  # the time from which on this worker could have exported without a break

    def watch(self) -> None:
        """Note when this worker begins or ceases to be the one that may export; to be called a few times a second."""
        if not self._may_export():
            self._since = None
        elif self._since is None:
            self._since = self._clock()

    @property
    def begun(self) -> bool:
        """Whether this worker could export when that was looked at last, or only waits for it."""
        return self._since is not None

    def exports(self) -> bool:
        """Whether this worker exports now: it may, and has waited a scrape interval since it may."""
        self.watch()
        return self._since is not None and self._clock() - self._since >= self._settings.scrape_interval

    def _may_export(self) -> bool:
        part = self._lane.running.get(_PARTITION)
        # The owner of a damaged partition is its owner still: what the others count must be seen.
        ours = part.lost is None if part is not None else _PARTITION in self._lane.upkeep.damaged
        most = self._settings.session_timeout
        return (
            ours and self._feed.at_end.is_set() and self._heartbeat_age() <= most and self._lane.longest_epoch() <= most
        )
