"""Turns: long work on the worker's loop, a few milliseconds at a time."""

import asyncio
from collections.abc import Generator, Iterable
from typing import Any, Final, TypeVar

Result = TypeVar("Result")

#: For so many seconds the loop is held at most before all others have their turn, a little more by the last step.
_TURN_SECONDS: Final = 0.005


class Turns:
    """The turns of one piece of work."""

    def __init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()

    async def pause(self) -> None:
        """Let all others have their turn, if it is time."""
        if self._clock() - self._began >= _TURN_SECONDS:
            await asyncio.sleep(0)
            self._began = self._clock()

    async def through(self, steps: Iterable[object]) -> None:
        """Do all steps."""
        for _ in steps:
            await self.pause()

    async def drive(self, steps: Generator[Any, None, Result]) -> Result:
        """Do all steps, and give what comes out at their end."""
        while True:
            try:
                next(steps)
            except StopIteration as end:
                found: Result = end.value
                return found
            await self.pause()
