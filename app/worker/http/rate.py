"""How many events a second a worker reads, over the last while."""

from collections import deque
from typing import Final

#: Over so many seconds, and noted as often.
_SPAN_SECONDS: Final = 10.0
_EVERY_SECONDS: Final = 0.5


class Rate:
    """The rate of a counter that is noted from time to time."""

    def __init__(self) -> None:
        self._noted: deque[tuple[float, int]] = deque()

    def note(self, at: float, count: int) -> None:
        """What the counter says at a time, in seconds."""
        if self._noted and at - self._noted[-1][0] < _EVERY_SECONDS:
            return
        self._noted.append((at, count))
        while len(self._noted) > 2 and self._noted[1][0] <= at - _SPAN_SECONDS:
            self._noted.popleft()

    def per_second(self) -> float:
        """What is added in a second; 0 until that is known."""
        if len(self._noted) < 2:
            return 0.0
        (since, before), (at, now) = self._noted[0], self._noted[-1]
        return (now - before) / (at - since)
