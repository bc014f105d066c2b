"""Panes of event time, and windows: unions of panes.

There are two levels of panes, fine ones and coarse ones of ten fine ones each, and the total beyond them. A window of
up to 120 fine panes is a union of these, a longer one of coarse panes.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

TOTAL: Final = "total"
COARSE: Final = "coarse"
FINE: Final = "fine"
COARSE_PANES: Final = 10
FINE_KEPT: Final = 120


class Window(NamedTuple):
    """A window's name and length in seconds."""

    name: str
    seconds: int


@dataclass(frozen=True, slots=True)
class PaneClock:
    """How event time is cut. All times in seconds.

    With `by_labels` what labels and rewards say is counted in the panes in which they came, too.
    """

    pane_seconds: int = 60
    retention_seconds: int = 25 * 3600
    by_labels: bool = False

    def retired(self, level: str, pane: int, clock: float) -> bool:
        """Whether a pane is no longer kept at a partition's clock; the total always is."""
        if level == TOTAL:
            return False
        if level == FINE:
            return (pane + 1 + FINE_KEPT) * self.pane_seconds <= clock
        return (pane + 1) * self.pane_seconds * COARSE_PANES + self.retention_seconds <= clock

    def holder(self, level: str, pane: int) -> tuple[str, int]:
        """The next level's pane that holds a pane, and its level."""
        return (COARSE, pane // COARSE_PANES) if level == FINE else (TOTAL, 0)

    def span(self, window: Window, now: float) -> tuple[str, int, int]:
        """The panes of a window that ends now: (level, first, one beyond the last), the open pane included."""
        level = FINE if window.seconds <= FINE_KEPT * self.pane_seconds else COARSE
        length = self.pane_seconds if level == FINE else self.pane_seconds * COARSE_PANES
        last = int(now // length)
        return level, last - -(-window.seconds // length), last + 1
