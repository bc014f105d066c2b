"""Turns: long work on the worker's loop, a few milliseconds at a time; and work that several who ask wait for."""

import asyncio
import logging
from collections.abc import Coroutine, Generator, Iterable
from functools import partial
from typing import Any, Final, TypeVar

from app.worker.ending import named
from app.worker.http.answers import AnswerError

log = logging.getLogger(__name__)

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


def begun(what: str, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
    """Work that is done for all who ask, also when all of them have hung up: then nobody else fetches its error."""
    making = asyncio.create_task(work)
    making.add_done_callback(partial(_report, what))
    return making


def _report(what: str, making: "asyncio.Task[Any]") -> None:
    error = None if making.cancelled() else making.exception()
    if error is not None and not isinstance(error, AnswerError):
        log.error("%s could not be made (%s)", what, named(error))
