"""Panes of event time, and windows: unions of panes.

There are three levels of panes, and the total beyond them: fine ones, coarse ones of ten fine ones each, and days, from
midnight to midnight UTC. A window of up to 120 fine panes is a union of these; one of whole weeks or other days, from
seven days on, of days; any other of coarse panes. In each case it is the full panes of its length and the open one: a
window of seven days is seven full days and today until now.

Days are counted only where a window is made of them. Then coarse panes are kept no longer than other windows need.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

TOTAL: Final = "total"
DAY: Final = "day"
COARSE: Final = "coarse"
FINE: Final = "fine"
#: All levels of panes, from those that are held to those that hold them.
LEVELS: Final = (FINE, COARSE, DAY)
COARSE_PANES: Final = 10
FINE_KEPT: Final = 120
DAY_SECONDS: Final = 86400
#: Of fewer days a window is no union of days: it would be much longer than its name says.
_LEAST_DAYS: Final = 7
#: For so long coarse panes are kept beside days in any case: labels that come within a day find their hour.
_LEAST_COARSE_SECONDS: Final = 25 * 3600
#: By how much longer than a window its panes are kept, for those who are a little behind.
_SLACK_SECONDS: Final = 3600


class Window(NamedTuple):
    """A window's name and length in seconds."""

    name: str
    seconds: int


@dataclass(frozen=True, slots=True)
class PaneClock:
    """How event time is cut. All times in seconds.

    With `by_labels` what labels and rewards say is counted in the panes in which they came, too. Coarse panes that are
    older than `days_after` are counted as days; 0 says that there are no days.
    """

    pane_seconds: int = 60
    retention_seconds: int = 25 * 3600
    by_labels: bool = False
    days_after: int = 0

    @classmethod
    def for_windows(
        cls, windows: Iterable[Window], pane_seconds: int, retention_seconds: int, *, by_labels: bool
    ) -> Self:
        """The clock with the levels that these windows need."""
        days_after = 0
        clock = cls(pane_seconds, retention_seconds, by_labels, days_after=1)
        longest = dict.fromkeys(LEVELS, 0)
        for window in windows:
            level = clock.level(window)
            longest[level] = max(longest[level], window.seconds)
        if longest[DAY]:
            days_after = min(retention_seconds, max(_LEAST_COARSE_SECONDS, longest[COARSE] + _SLACK_SECONDS))
        return cls(pane_seconds, retention_seconds, by_labels, days_after)

    def length(self, level: str) -> int:
        """How long a pane of a level is."""
        if level == DAY:
            return DAY_SECONDS
        return self.pane_seconds if level == FINE else self.pane_seconds * COARSE_PANES

    def kept(self, level: str) -> int:
        """How long panes of a level are kept after their end."""
        if level == FINE:
            return self.pane_seconds * FINE_KEPT
        return self.days_after if level == COARSE and self.days_after else self.retention_seconds

    def retired(self, level: str, pane: int, clock: float) -> bool:
        """Whether a pane is no longer kept at a partition's clock; the total always is.

        Days that were counted by other settings are not, where there are none by these.
        """
        if level == FINE:  # without a call: it is asked of every account in every epoch
            return (pane + 1 + FINE_KEPT) * self.pane_seconds <= clock
        if level == TOTAL:
            return False
        if level == DAY and not self.days_after:
            return True
        return (pane + 1) * self.length(level) + self.kept(level) <= clock

    def holder(self, level: str, pane: int) -> tuple[str, int]:
        """The next level's pane that holds a pane, and its level."""
        if level == FINE:
            return COARSE, pane // COARSE_PANES
        if level == COARSE and self.days_after:
            return DAY, pane * self.length(COARSE) // DAY_SECONDS
        return TOTAL, 0

    def level(self, window: Window) -> str:
        """The panes that a window which ends now is made of."""
        if window.seconds <= FINE_KEPT * self.pane_seconds:
            return FINE
        return DAY if window.seconds >= _LEAST_DAYS * DAY_SECONDS and self.can_be_of_days(window) else COARSE

    def can_be_of_days(self, window: Window) -> bool:
        """Whether a window is made of whole days, and these are counted."""
        whole = DAY_SECONDS % self.length(COARSE) == 0  # else a coarse pane would lie in two of them
        return self.days_after > 0 and whole and window.seconds % DAY_SECONDS == 0

    def span(self, window: Window, now: float) -> tuple[str, int, int]:
        """The panes of a window that ends now: (level, first, one beyond the last), the open pane included."""
        level = self.level(window)
        length = self.length(level)
        last = int(now // length)
        return level, last - -(-window.seconds // length), last + 1
