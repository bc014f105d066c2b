"""The worker's side of monitors: the process of the runner, which is started again where it ends."""

import asyncio
import contextlib
import logging
import sys
from typing import Final

from app.core.rules import Rulebook
from app.settings import Settings
from app.worker.monitors.lags import MonitorLags
from app.worker.monitors.reloading import Reloading
from app.worker.troubles import Troubles

log = logging.getLogger(__name__)

_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0
#: A runner that has run for so long had gone well.
_LONG: Final = 60.0
_LEAVE_SECONDS: Final = 10.0
_TOPIC: Final = "monitors"
_RUNNER: Final = (sys.executable, "-m", "app.worker.monitors")
#: A line of the runner names all monitors.
_LONGEST_LINE: Final = 1024 * 1024


async def watch_monitors(settings: Settings, rulebook: Rulebook, notes: Troubles, lags: MonitorLags) -> None:
    """Run the monitors of a rulebook beside this worker, until it is cancelled. What is wrong goes to `notes`, how far
    behind they are to `lags`.
    """
    assert settings.config is not None
    if settings.log_topic is None:
        notes.note(
            _TOPIC,
            "Monitors score the log of joined records, and none is written: set TALLY_LOG_TOPIC, like inference-log.",
        )
        return
    reloading = Reloading(settings.config, rulebook, lambda sentence: notes.note("monitors of TALLY_CONFIG", sentence))
    async with asyncio.TaskGroup() as group:
        group.create_task(reloading.run())
        group.create_task(_keep_running(notes, lags))


async def _keep_running(notes: Troubles, lags: MonitorLags) -> None:
    loop = asyncio.get_running_loop()
    pause = _FIRST_PAUSE
    while True:
        began = loop.time()
        code = await _run_once(lags)
        if loop.time() - began > _LONG:
            pause = _FIRST_PAUSE
        notes.note(_TOPIC, f"The process that runs monitors ended with {code}: it is started again, and goes on.")
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
        notes.note(_TOPIC, None)


async def _run_once(lags: MonitorLags) -> int:
    """Run the runner once. Returns its exit code. It ends itself when this process does: its input closes."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*_RUNNER, stdin=pipe, stdout=pipe, limit=_LONGEST_LINE)
    listening = asyncio.create_task(_listen(process, lags))
    try:
        return await process.wait()
    finally:
        listening.cancel()
        lags.forget()
        if process.returncode is None:
            assert process.stdin is not None
            process.stdin.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LEAVE_SECONDS):
                    await process.wait()
            if process.returncode is None:
                process.kill()


async def _listen(process: asyncio.subprocess.Process, lags: MonitorLags) -> None:
    """Take in what the runner tells."""
    assert process.stdout is not None
    async for line in process.stdout:
        lags.take(line)
