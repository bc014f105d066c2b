"""How a worker ends by itself: one sentence, and an exit code that says whether a restart helps.

Whatever it holds then is committed, or is done again by whoever gets its partitions next.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Final, NoReturn

from app.worker.life import LIFE

log = logging.getLogger(__name__)

EXIT_SETUP: Final = 2
EXIT_FAILED: Final = 3

_APP: Final = str(Path(__file__).parent.parent)


def lines_about(error: Exception) -> str:
    """What an error says, as the user is told: a line for each sentence."""
    return "\n".join(f"tally: {line}" for line in str(error).splitlines())


def give_up(error: Exception) -> NoReturn:
    """End the process with a sentence: the world must change before a restart helps."""
    if lasted := LIFE.lasted():
        log.info("Tally stops%s: something around it must change", lasted)
    print(lines_about(error), file=sys.stderr, flush=True)
    os._exit(EXIT_SETUP)


def fail(what: str, error: BaseException | None) -> NoReturn:
    """End the process with one sentence: a part of it has failed that it cannot do without."""
    log.critical(
        "%s ended (%s): this worker stops%s, its partitions go to others; start it again",
        what,
        named(error),
        LIFE.lasted(),
    )
    log.debug("%s ended", what, exc_info=error)
    os._exit(EXIT_FAILED)


async def guarded(what: str, work: Awaitable[None]) -> None:
    """Do what goes on in the background; where it fails, the worker ends."""
    try:
        await work
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or not task.cancelling():  # by nobody who stops it: by a library that lets one of its own end
            fail(what, None)
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, nobody else hears of it
        fail(what, error)


def named(error: BaseException | None) -> str:
    """An error in a few words, on one line."""
    if error is None:
        return "without an error"
    return " ".join(f"{type(error).__name__}: {error}".rstrip(": ").split())


def on_unhandled(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What a loop does with an error that nobody has handled; to be given to its `set_exception_handler`.

    A task of Tally that has ended with one is missing from now on: the worker ends. One of a library, or a callback, is
    told in one line; what it was for is missed, and told, by whoever waits for it. What nobody fetched of a future is
    no news: a producer that was given up leaves many.
    """
    error, future = context.get("exception"), context.get("future")
    what = str(context.get("message"))
    if isinstance(future, asyncio.Task):
        code = getattr(future.get_coro(), "cr_code", None)
        what = f"the task {code.co_qualname if code is not None else future.get_name()}"
        if code is not None and code.co_filename.startswith(_APP):
            fail(what, error)
    if error is not None and (future is None or isinstance(future, asyncio.Task)):
        log.warning("an error that nobody expected: %s (%s)", what, named(error))
    log.debug("%s", what, exc_info=error)
