"""The time of a worker: its wall clock, as long as that agrees with the brokers'.

A wall clock that is wrong would expire labels for good and empty the windows. The brokers say what time it is without
being asked: whenever an epoch commits they write a marker, stamped by their own clock, and every worker reads it at
once. Between two markers a steady clock counts on.
"""

import time
from collections.abc import Callable
from typing import Final

#: By so many seconds the wall clock may differ from the brokers' before theirs is taken.
AGREES: Final = 30.0
#: How long what was heard counts: the greatest of some is the one that was read with the least delay.
_HEARD_SECONDS: Final = 60.0
#: After so long without having heard anything the wall clock must do: these brokers write no markers.
_PATIENCE_SECONDS: Final = 60.0


class Clock:
    """What time it is, in seconds since 1970. `steady` counts seconds and never jumps."""

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._steady = steady
        self._started = steady()
        #: What the brokers' clock is ahead of the steady one, at least: of this minute, and of the one before.
        self._ahead: float | None = None
        self._ahead_before: float | None = None
        self._minute = 0

    def hear_old(self, brokers: float) -> None:
        """Take what a marker said that was written some time ago: it can only show that the wall clock is not ahead."""
        wall = self._wall()
        if wall - brokers <= AGREES:
            self.hear(max(wall, brokers))

    def hear(self, brokers: float) -> None:
        """Take what a marker said that has just been written."""
        now = self._steady()
        minute = int(now // _HEARD_SECONDS)
        if minute != self._minute:
            self._minute, self._ahead_before, self._ahead = minute, self._ahead, None
        ahead = brokers - now
        if self._ahead is None or ahead > self._ahead:
            self._ahead = ahead

    @property
    def offset(self) -> float:
        """By how many seconds the wall clock is ahead of the brokers'; 0 where these have not been heard."""
        heard = [ahead for ahead in (self._ahead, self._ahead_before) if ahead is not None]
        return self._wall() - self._steady() - max(heard) if heard else 0.0

    @property
    def settled(self) -> bool:
        """Whether the time may be relied on for what cannot be taken back: to let something expire."""
        return self._ahead is not None or self._steady() - self._started > _PATIENCE_SECONDS

    def now(self) -> float:
        """The wall clock's time; where that differs from the brokers', theirs."""
        offset = self.offset
        return self._wall() - offset if abs(offset) > AGREES else self._wall()

    def trouble(self) -> str | None:
        """A sentence while the wall clock is wrong."""
        offset = self.offset
        if abs(offset) <= AGREES:
            return None
        side = "ahead of" if offset > 0 else "behind"
        return f"The clock of this machine is {abs(offset):.0f} s {side} the brokers': theirs is used; set it right."
