"""How far behind the monitors are: the runner tells the worker, in lines on its standard output."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Final

import orjson

from app.core.rules import Rulebook

#: How often the runner tells it, and after how long what it told no longer holds.
TELL_SECONDS: Final = 1.0
_HOLDS_SECONDS: Final = 10.0


def monitor_names(rulebook: Rulebook) -> list[str]:
    """The names of all monitors, each once: those of several models that have one name share a runner."""
    return list(dict.fromkeys(monitor.spec.name for entry in rulebook.entries for monitor in entry.monitors))


def line_of(lags: Mapping[str, float]) -> bytes:
    """What the runner writes: a JSON object of records by monitor, null where they are not known, and a line end."""
    return orjson.dumps(lags, option=orjson.OPT_APPEND_NEWLINE)


class MonitorLags:
    """What the runner of this worker told last. `clock` gives seconds."""

    def __init__(self, rulebook: Rulebook, clock: Callable[[], float] = time.monotonic) -> None:
        self._names = monitor_names(rulebook)
        self._clock = clock
        self._told: dict[str, float] = {}
        self._told_at = 0.0

    def take(self, line: bytes) -> None:
        """Take in a line of the runner. One that `line_of` has not made is left out."""
        try:
            found = orjson.loads(line)
        except orjson.JSONDecodeError:
            return
        if isinstance(found, dict) and all(lag is None or type(lag) in (int, float) for lag in found.values()):
            self._told = {name: math.nan if lag is None else lag for name, lag in found.items()}
            self._told_at = self._clock()

    def forget(self) -> None:
        """The runner has ended: nothing is known until the next one tells it."""
        self._told = {}

    def read(self) -> dict[str, float]:
        """By monitor, the joined records that are not scored yet of this worker's share; NaN while not known."""
        told = self._told if self._clock() - self._told_at <= _HOLDS_SECONDS else {}
        return dict.fromkeys(self._names, math.nan) | told
