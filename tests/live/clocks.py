"""Workers whose clock a test sets, by what Python runs before all else in them."""

import os
from pathlib import Path
from typing import Final

import pytest

#: The wall clock is ahead by the seconds that a file holds, or behind.
AHEAD: Final = """
import os, time

def ahead(clock=time.time, path=os.environ["TEST_CLOCK"]):
    with open(path) as file:
        return clock() + float(file.read())

time.time = ahead
time.time_ns = lambda: int(ahead() * 1e9)
"""
#: It is the time that a file holds, in seconds since 1970, whatever wall clocks and brokers say.
TOLD: Final = """
import os
from app.worker.clock import Clock

def told(_, path=os.environ["TEST_CLOCK"]):
    with open(path) as file:
        return float(file.read())

Clock.now = told
Clock.settled = True
Clock.hear = lambda *_: None
"""


class Clock:
    """The clock of the workers that are started from now on, until there is another; it stays theirs."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, code: str = AHEAD, seconds: float = 0) -> None:
        folder.mkdir(exist_ok=True)
        self._file = folder / "clock"
        self.set(seconds)
        (folder / "sitecustomize.py").write_text(code)
        path = [str(folder), str(Path.cwd()), *filter(None, [os.environ.get("PYTHONPATH")])]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
        monkeypatch.setenv("TEST_CLOCK", str(self._file))

    def set(self, seconds: float) -> None:
        """By how much it is ahead from now on, or what time it is."""
        new = self._file.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self._file)
