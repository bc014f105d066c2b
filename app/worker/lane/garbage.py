"""Python's garbage collector, called by hand while a lane runs.

A list of records is many small objects without cycles: collecting while it is alive cost a quarter of all time. So what
refers to itself is freed between lists. What has survived a minute is left alone for long: to look at 100,000
panes, and at all that is loaded, takes some tenths of a second.
"""

import gc
from typing import Final

#: So many seconds pass between two looks at what has come since the last full minute, and at all that there is.
_MINUTE: Final = 60
_HOUR: Final = 3600


class Garbage:
    """Takes the collector over, from `begin` on."""

    def __init__(self) -> None:
        self._seconds = 0
        #: Whether so much has been let go that all is looked at after the next full minute.
        self.much = False

    def begin(self) -> None:
        """Collect by hand from now on. What exists is left alone."""
        gc.disable()
        gc.freeze()

    def collect(self) -> None:
        """Free what it is time for; to be called every second."""
        self._seconds += 1
        if self._seconds % _MINUTE != 0:
            gc.collect(1)
            return
        if self.much or self._seconds % _HOUR == 0:
            self.much = False
            gc.unfreeze()
        gc.collect()
        gc.freeze()
